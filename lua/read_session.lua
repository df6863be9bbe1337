-- The session as it stands, changing nothing but the caller's rate counter.
-- KEYS  1 player:  2 gameSession:
-- ARGV  1 generation  2 rate limit and window
-- Returns { 'found', session fields } | { 'missing' } | { 'session_unreadable' } | a refusal of the gate.
local refusal = refused_at_gate(KEYS[1], 'read', false)
if refusal then return refusal end
local session, nothing = read_confirmed_session(KEYS[2])
if not session then return nothing end
return reply_with('found', session)
