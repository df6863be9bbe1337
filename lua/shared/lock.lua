-- Locks: a token with an end. Shared by the scripts that take or give back one.

-- Deletes a lock if the token is still the holder's. Returns 1 if it did. A lock of another type was not set by us and is nobody's.
local function release_lock(lock, token)
  local held_by = redis.pcall('GET', lock)
  if held_by ~= token and type(held_by) ~= 'table' then return 0 end
  return redis.call('DEL', lock)
end

-- Takes a lock for ttl_s seconds: 0 when taken (or held by the same token, as when an answer was lost), else the milliseconds it is still held.
local function take_lock(lock, token, ttl_s)
  if redis.call('SET', lock, token, 'NX', 'EX', ttl_s) then return 0 end
  local held_by = redis.pcall('GET', lock)
  if held_by == token then return 0 end
  if type(held_by) == 'table' then
    redis.call('SET', lock, token, 'EX', ttl_s) -- not a string
    return 0
  end
  local remaining_ms = redis.call('PTTL', lock)
  if remaining_ms < 0 then
    -- Nobody of ours sets a lock without an end; left alone it would shut the player out for ever.
    redis.call('EXPIRE', lock, ttl_s)
    remaining_ms = tonumber(ttl_s) * 1000
  end
  return math.max(remaining_ms, 1)
end
