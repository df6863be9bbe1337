-- Copies a player's standing from PostgreSQL, never an older revision over a newer one that this run of Redis was given. The rate counters
-- in the same hash stay.
-- KEYS  1 player:
-- ARGV  1 revision  2 generation  3 status  4 ttl_s
-- Returns { 'written' } | { 'kept' } (a later revision is there).
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
else
  local fields = redis.call('HMGET', KEYS[1], 'revision', 'run')
  local standing = tonumber(fields[1] or '')
  if standing and standing > tonumber(ARGV[1]) and fields[2] == this_run then return { 'kept' } end
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'generation', ARGV[2], 'status', ARGV[3], 'run', this_run)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return { 'written' }
