-- Shared by every script that reads or moves a session. The pinned JSON in `round` is handed on and never parsed; all that a script
-- decides on stands in fields of its own. Sequences are identity values of PostgreSQL and stay far below 2^53, up to which a Lua number is exact.

-- The session as a table of text fields, whichever run of Redis wrote it: nil when there is none, and nil and true when what is there cannot
-- be read. A caller who knows what the round pins (it never changes) saves the way through Lua of most of a session, and gets the round's id
-- in its place.
local function read_session(key, round_is_known)
  local fields = redis.pcall('HMGET', key, 'sequence', 'roundId', round_is_known and 'roundId' or 'round', 'currentStep', 'isActive',
    'endReason', 'firstCollision', 'maxLane', 'restored', 'run')
  if fields.err then return nil, true end -- not a hash
  local sequence, round_id, round, current, is_active, reason, first_collision, max_lane, restored, run = unpack(fields)
  if not (sequence and round_id and round and current and first_collision and max_lane) then
    for i = 1, 10 do
      if fields[i] then return nil, true end
    end
    return nil, false
  end
  reason = reason or '' -- not stored before the end
  local win = is_active == '0' and redis.call('HGET', key, 'isWin') or '0'
  local numbers = sequence .. ' ' .. current .. ' ' .. first_collision .. ' ' .. max_lane
  if #sequence > 16 or not string.find(numbers, '^%d+ %-?%d+ %-?%d+ %d+$') or is_active ~= (reason == '' and '1' or '0')
    or (restored ~= '0' and restored ~= '1') or (win ~= '0' and win ~= '1') then
    return nil, true
  end
  return {
    sequence = sequence, roundId = round_id, round = round, currentStep = current, isActive = is_active, isWin = win, endReason = reason,
    firstCollision = first_collision, maxLane = max_lane, restored = restored, run = run,
  }, false
end

-- The session on which a move may be decided, or nil and the reply without one. A session of another run of Redis may be behind what the
-- player was shown, or belong to a round that has ended since: it counts as missing until open_session has it confirmed by PostgreSQL.
local function read_confirmed_session(key, round_is_known)
  local session, unreadable = read_session(key, round_is_known)
  if session and session.run == this_run then return session end
  return nil, { unreadable and 'session_unreadable' or 'missing' }
end

-- The reply { tag, every field that Session::from_reply reads, in its order }.
local function reply_with(tag, session)
  return {
    tag, session.sequence, session.roundId, session.round, session.currentStep, session.isActive, session.isWin, session.endReason,
    session.firstCollision, session.maxLane, session.restored,
  }
end

-- Ends a session on `lane`, given as text.
local function end_session(key, session, lane, reason, is_win)
  session.currentStep, session.isActive, session.isWin, session.endReason, session.restored = lane, '0', is_win and '1' or '0', reason, '0'
  redis.call('HSET', key, 'currentStep', lane, 'isActive', '0', 'isWin', session.isWin, 'endReason', reason, 'restored', '0')
end

-- Walks an open session up to `lane`, given as text, at or above the one where it stands: a hazard on the way ends it there, the last playable
-- lane wins. Nothing is ever paid on or beyond the first collision, whatever the other fields say. Returns true if the round has ended.
local function walk(key, session, lane)
  local target, first_collision = tonumber(lane), tonumber(session.firstCollision)
  if first_collision >= 0 and first_collision <= target then
    end_session(key, session, session.firstCollision, 'hazard', false)
    return true
  end
  if lane == session.maxLane then
    end_session(key, session, lane, 'win', true)
    return true
  end
  -- A repeat walks nowhere and leaves `restored` alone: the player may still have been shown a lane further on.
  if lane ~= session.currentStep then
    if session.restored == '0' then
      redis.call('HSET', key, 'currentStep', lane)
    else
      redis.call('HSET', key, 'currentStep', lane, 'restored', '0')
    end
    session.currentStep, session.restored = lane, '0'
  end
  return false
end
