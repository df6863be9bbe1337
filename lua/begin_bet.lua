-- The first round trip of a bet: may this player bet, is no other bet of theirs under way, and which road is public now.
-- KEYS  1 player:  2 bet-lock:  3 hazards-{DIFFICULTY}
-- ARGV  1 generation  2 rate limit and window  3 lock token  4 lock ttl_s (0: take no lock)
-- Returns { 'begun', unix_ms, hazard record or '' when there is none, '0'|'1' record unreadable } | { 'lock_held', retry_after_ms } | a refusal of the gate.
-- Again with the same token: the same answer, for the lock is this caller's already.
local refusal = refused_at_gate(KEYS[1], 'bet', true)
if refusal then return refusal end

if ARGV[4] ~= '0' then
  local held_for_ms = take_lock(KEYS[2], ARGV[3], ARGV[4])
  if held_for_ms > 0 then return { 'lock_held', text(held_for_ms) } end
end

local record = redis.pcall('GET', KEYS[3]) or ''
local unreadable = type(record) == 'table' -- not a string
return { 'begun', text(now_unix_ms()), unreadable and '' or record, unreadable and '1' or '0' }
