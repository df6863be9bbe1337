-- One step, decided once.
-- KEYS  1 player:  2 gameSession:
-- ARGV  1 generation  2 rate limit and window  3 lane that is stepped on  4 roundId ('' the open one)  5 whether what that round pins is known ('0'|'1')
-- Returns { tag, session fields } with tag 'standing' (safe, or a repeat) | 'ended' (now or before) | 'out_of_sequence' | 'round_mismatch',
--         or { 'missing' } | { 'session_unreadable' } | a refusal of the gate.
-- The lane where the player stands is a repeat; the next one is a step. On a restored session any lane up to the last is: it walks there.
local refusal = refused_at_gate(KEYS[1], 'move', false)
if refusal then return refusal end
local session, nothing = read_confirmed_session(KEYS[2], ARGV[5] == '1')
if not session then return nothing end
if ARGV[4] ~= '' and ARGV[4] ~= session.roundId then return reply_with('round_mismatch', session) end
if session.isActive == '0' then return reply_with('ended', session) end

local lane, current = tonumber(ARGV[3]), tonumber(session.currentStep)
local highest = session.restored == '1' and tonumber(session.maxLane) or current + 1
if lane < current or lane > highest then return reply_with('out_of_sequence', session) end
return reply_with(walk(KEYS[2], session, ARGV[3]) and 'ended' or 'standing', session)
