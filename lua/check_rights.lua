#!lua
-- Whether a bet could be placed as far as Redis is concerned. Without any flag, Redis refuses this script when it is full, has stopped
-- writes or is a replica.
-- ARGV  command, beginning of a key ('' none), command, ...; the run of Redis
-- Returns { 'may', what this user may not do ... }. acl_check_cmd only asks; nothing is run.
local arguments = { -- as many as the command wants at least; only the key matters
  DEL = {}, EXPIRE = { '1' }, GET = {}, HGET = { 'f' }, HINCRBY = { 'f', '1' }, HMGET = { 'f' }, HSET = { 'f', 'v' }, PTTL = {}, SET = { 'v' },
  SETEX = { '1', 'v' }, TTL = {}, TYPE = {}, ZADD = { '1', 'm' }, ZCOUNT = { '0', '1' }, ZREM = { 'm' }, ZREMRANGEBYSCORE = { '0', '1' },
}
local reply = { 'may' }
for i = 1, #ARGV - 1, 2 do
  local command, key = ARGV[i], ARGV[i + 1]
  local allowed
  if key ~= '' then
    allowed = redis.acl_check_cmd(command, key .. (string.find(key, '[:-]$') and 'permission' or ''), unpack(arguments[command]))
  elseif command == 'EVALSHA' then
    allowed = redis.acl_check_cmd(command, 'hash', '0')
  elseif command == 'SCRIPT|LOAD' then
    allowed = redis.acl_check_cmd('SCRIPT', 'LOAD', '')
  else
    allowed = redis.acl_check_cmd(command)
  end
  if not allowed then table.insert(reply, command .. (key ~= '' and ' on ' .. key .. '*' or '')) end
end
return reply
