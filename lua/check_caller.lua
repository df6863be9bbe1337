-- The gate alone, for requests that touch nothing else in Redis.
-- KEYS  1 player:
-- ARGV  1 generation  2 rate limit and window  3 must be active ('0'|'1')
-- Returns { 'passed' } | a refusal of the gate.
local refusal = refused_at_gate(KEYS[1], 'read', ARGV[3] == '1')
return refusal or { 'passed' }
