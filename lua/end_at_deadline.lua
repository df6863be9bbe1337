-- Ends a round whose time is over: standing on a lane it is cashed out there, never stepped it is void. No player is asked, so no gate.
-- KEYS  1 gameSession:
-- ARGV  1 sequence of the bet
-- Returns { 'ended', session fields } (now or before) | { 'missing' } also when another bet's session is there | { 'session_unreadable' }.
local session, nothing = read_confirmed_session(KEYS[1])
if not session then return nothing end
if tonumber(session.sequence) ~= tonumber(ARGV[1]) then return { 'missing' } end
if session.isActive == '1' then
  local current = tonumber(session.currentStep)
  if current == -1 then
    end_session(KEYS[1], session, session.currentStep, 'void', false)
  elseif not walk(KEYS[1], session, session.currentStep) then
    end_session(KEYS[1], session, session.currentStep, 'deadline', true)
  end
end
return reply_with('ended', session)
