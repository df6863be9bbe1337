-- Writes the display copy of a player's seeds, which never goes back to an earlier nonce. The same nonce is written again: between two bets
-- the player may change the user seed. fields: { nonce, userSeed, hashedServerSeed, nextHashedServerSeed, ttl_s }.
local function write_fairness(key, fields)
  if redis.call('TYPE', key).ok ~= 'hash' then
    redis.call('DEL', key)
  else
    local standing = tonumber(redis.call('HGET', key, 'nonce') or '')
    if standing and standing > tonumber(fields[1]) then return { 'kept' } end
  end
  redis.call('HSET', key, 'nonce', fields[1], 'userSeed', fields[2], 'hashedServerSeed', fields[3], 'nextHashedServerSeed', fields[4])
  redis.call('EXPIRE', key, fields[5])
  return { 'written' }
end
