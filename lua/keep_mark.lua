-- How far PostgreSQL had come when it was last seen, so that an older copy of it is known by this. Within one system it never goes back.
-- KEYS  1 record-mark
-- ARGV  1 system  2 timeline  3 sequence  4 betId
-- Returns { 'written' } | { 'kept' } (a later one of this system is there).
local fields = redis.pcall('HMGET', KEYS[1], 'system', 'sequence')
if fields.err then
  redis.call('DEL', KEYS[1]) -- not a hash
else
  local standing = tonumber(fields[2] or '')
  if fields[1] == ARGV[1] and standing and standing > tonumber(ARGV[3]) then return { 'kept' } end
end
redis.call('HSET', KEYS[1], 'system', ARGV[1], 'timeline', ARGV[2], 'sequence', ARGV[3], 'betId', ARGV[4])
return { 'written' }
