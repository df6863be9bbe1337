-- The session as it stands, for the server itself: nobody is asked for, so no gate.
-- KEYS  1 gameSession:
-- Returns { 'found', session fields } | { 'missing' } | { 'session_unreadable' }.
local session, nothing = read_confirmed_session(KEYS[1])
if not session then return nothing end
return reply_with('found', session)
