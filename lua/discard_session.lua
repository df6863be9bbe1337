-- Removes a session whose contents somebody could not read, unless it belongs to a later bet by now.
-- KEYS  1 gameSession:
-- ARGV  1 highest sequence that may be removed
-- Returns { 'discarded' } | { 'kept' }.
local session, unreadable = read_session(KEYS[1])
if unreadable or (session and tonumber(session.sequence) <= tonumber(ARGV[1])) then
  redis.call('DEL', KEYS[1])
  return { 'discarded' }
end
return { 'kept' }
