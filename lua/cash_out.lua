-- A cash-out, decided once.
-- KEYS  1 player:  2 gameSession:
-- ARGV  1 generation  2 rate limit and window  3 lane on which the player stands ('' not named)  4 roundId ('' the open one)  5 whether what that round pins is known ('0'|'1')
-- Returns { tag, session fields } with tag 'ended' (now or before) | 'too_early' (no lane crossed yet) | 'out_of_sequence' | 'round_mismatch',
--         or { 'missing' } | { 'session_unreadable' } | a refusal of the gate.
-- On a restored session it first walks to the lane that is named, and a hazard on the way ends the round as lost.
local refusal = refused_at_gate(KEYS[1], 'move', false)
if refusal then return refusal end
local session, nothing = read_confirmed_session(KEYS[2], ARGV[5] == '1')
if not session then return nothing end
if ARGV[4] ~= '' and ARGV[4] ~= session.roundId then return reply_with('round_mismatch', session) end
if session.isActive == '0' then return reply_with('ended', session) end

local current = tonumber(session.currentStep)
local lane_text = ARGV[3] == '' and session.currentStep or ARGV[3]
local lane = tonumber(lane_text)
local highest = session.restored == '1' and tonumber(session.maxLane) or current
if current == -1 and (lane == -1 or session.restored == '0') then return reply_with('too_early', session) end
if lane < current or lane > highest then return reply_with('out_of_sequence', session) end
if not walk(KEYS[2], session, lane_text) then end_session(KEYS[2], session, session.currentStep, 'cashout', true) end
return reply_with('ended', session)
