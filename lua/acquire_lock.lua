-- KEYS  1 the lock
-- ARGV  1 token  2 ttl_s
-- Returns { 'acquired' } (also for the token that holds it already) | { 'held', remaining_ms }.
local held_for_ms = take_lock(KEYS[1], ARGV[1], ARGV[2])
if held_for_ms > 0 then return { 'held', text(held_for_ms) } end
return { 'acquired' }
