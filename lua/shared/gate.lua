-- The gate in front of every script that acts for a player: a check that each script spelled for itself would soon be five checks.

-- Whether the caller may pass: nil, or the reply that refuses. The order is fixed: unknown, signed out, suspended, rate. Of the caller it
-- reads the first ARGV of every gated script: 1 generation, 2 the rate limit and the window that it is by the server's clock, as
-- 'requests/window_ms/window'.
--   player       the `player:` hash
--   scope        which of the player's counters this request belongs to: 'bet', 'move' or 'read'
--   must_be_active  whether a suspended or locked player is turned away
-- A copy that is older than the caller's own token, or of another run of Redis, counts as unknown, so that it is refilled from PostgreSQL.
-- The hash keeps the window that is counted and how many requests it has left. Redis's own clock decides which window it is. It is asked
-- when the server believes in another window than the one that is counted and before anybody is refused: a server whose clock is wrong
-- costs a little time and lets nobody ask more often.
local function refused_at_gate(player, scope, must_be_active)
  local window_field, left_field = scope .. 'Window', scope .. 'Left'
  local fields = redis.pcall('HMGET', player, 'generation', 'status', 'run', window_field)
  if fields.err then return { 'player_unreadable' } end -- not a hash
  local generation, status, run, counted = unpack(fields)
  if not (generation or status or run) then return { 'player_unknown' } end
  -- By how many sign-outs the copy is ahead of the token.
  local ahead = generation == ARGV[1] and 0 or tonumber(generation or '') and generation - ARGV[1]
  if not ahead or (status ~= 'active' and status ~= 'suspended' and status ~= 'locked') then return { 'player_unreadable' } end
  if run ~= this_run or ahead < 0 then return { 'player_unknown' } end
  if ahead > 0 then return { 'signed_out' } end
  if must_be_active and status ~= 'active' then return { 'suspended' } end

  -- The count is neither written to the append-only file nor sent to replicas, which would cost as much as a step: it means nothing in
  -- another run of Redis. What cannot be counted down is counted anew.
  redis.set_repl(redis.REPL_NONE)
  local left = counted == ARGV[2] and redis.pcall('HINCRBY', player, left_field, '-1')
  if type(left) == 'number' and left >= 0 then
    redis.set_repl(redis.REPL_ALL)
    return nil
  end
  local requests, window_ms = string.match(ARGV[2], '^(%d+)/(%d+)/')
  local now = now_unix_ms()
  local window = math.floor(now / window_ms)
  local current = window_ms .. '/' .. text(window)
  -- A server with another limit counts the same window.
  local is_counted = string.match(counted or '', '^%d+/(.*)$') == current
  if is_counted and not left then left = redis.pcall('HINCRBY', player, left_field, '-1') end
  if not is_counted or type(left) ~= 'number' then
    left = requests - 1
    redis.call('HSET', player, window_field, requests .. '/' .. current, left_field, text(left))
  end
  redis.set_repl(redis.REPL_ALL)
  if left < 0 then return { 'rate_limited', text((window + 1) * window_ms - now) } end
  return nil
end
