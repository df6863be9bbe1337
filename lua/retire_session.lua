-- After the end of a round is committed: the session lives on for a minute, so that late repeats are answered from it.
-- KEYS  1 gameSession:
-- ARGV  1 sequence  2 ttl_s
-- Returns { 'retired' } | { 'removed' } | { 'kept' } (there is none, or another bet's).
local outcome = 'kept'
local session, unreadable = read_session(KEYS[1])
if unreadable then
  redis.call('DEL', KEYS[1])
  outcome = 'removed'
elseif session and tonumber(session.sequence) == tonumber(ARGV[1]) then
  if session.isActive == '1' then
    -- The bet ended without this session (voided by a person, or rebuilt a moment too late). It does not know how, the bet row does.
    redis.call('DEL', KEYS[1])
    outcome = 'removed'
  else
    -- Shortened only: doing this twice does not make it live longer.
    local remaining_s = redis.call('TTL', KEYS[1])
    if remaining_s < 0 or remaining_s > tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
    outcome = 'retired'
  end
end
return { outcome }
