-- Publishes the road of an epoch, which must be the epoch of Redis's own clock: a server whose clock is wrong can reveal nothing early
-- and put nothing stale in its place.
-- KEYS  1.. hazards-{DIFFICULTY}, one for each record
-- ARGV  1 epoch  2 epoch length in ms  3 ttl_ms  4.. the records, in the order of KEYS
-- Returns { 'published' } | { 'already' } (every record of this epoch is there) | { 'wrong_epoch', unix_ms } (another epoch by Redis's clock, or a newer record is there).
local now, epoch = now_unix_ms(), tonumber(ARGV[1])
if math.floor(now / tonumber(ARGV[2])) ~= epoch then return { 'wrong_epoch', text(now) } end

local standing = 0
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then
    -- Parsed to compare, never written back. What cannot be parsed is replaced.
    local parsed, record = pcall(cjson.decode, redis.call('GET', key))
    local published = parsed and type(record) == 'table' and tonumber(record.epoch)
    -- Redis's clock may have been set back by less than a record lives. One without an end is not of ours and would stand for ever.
    if published and published > epoch and redis.call('PTTL', key) >= 0 then return { 'wrong_epoch', text(now) } end
    if published == epoch then standing = standing + 1 end
  end
end
if standing == #KEYS then return { 'already' } end
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[3 + i], 'PX', ARGV[3]) end
return { 'published' }
