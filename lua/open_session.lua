-- Opens the session of a placed bet, or rebuilds one that was lost, and gives the bet lock back.
-- KEYS  1 gameSession:  2 bet-lock:
-- ARGV  1 sequence  2 roundId  3 round  4 firstCollision (-1 none)  5 maxLane  6 currentStep  7 restored ('0'|'1')  8 ttl_s  9 lock token ('' none)
-- Returns { 'opened' }: the session of this sequence stands in Redis. One that was there already is left where it is, so a repeat moves nobody back;
--         one that an earlier run of Redis left is confirmed, on the later of both lanes and, unless it has ended, as restored.
--         { 'superseded' }: a later bet's session is there and stays.
-- A value that cannot be read is overwritten: the bet row from which the caller builds is the truth.
if ARGV[9] ~= '' then release_lock(KEYS[2], ARGV[9]) end

-- What the round pins is of no interest here, only that it is there.
local session = read_session(KEYS[1], true)
local offered = tonumber(ARGV[1])
local standing = session and tonumber(session.sequence)
if standing and standing >= offered and redis.call('HGET', KEYS[1], 'round') then
  if standing > offered then return { 'superseded' } end
  if session.run ~= this_run then
    redis.call('HSET', KEYS[1], 'run', this_run, 'restored', session.isActive)
    if session.isActive == '1' and tonumber(ARGV[6]) > tonumber(session.currentStep) then
      redis.call('HSET', KEYS[1], 'currentStep', ARGV[6])
    end
    redis.call('EXPIRE', KEYS[1], ARGV[8])
  end
  return { 'opened' }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'sequence', ARGV[1], 'roundId', ARGV[2], 'round', ARGV[3], 'firstCollision', ARGV[4], 'maxLane', ARGV[5],
  'currentStep', ARGV[6], 'restored', ARGV[7], 'isActive', '1', 'isWin', '0', 'run', this_run)
redis.call('EXPIRE', KEYS[1], ARGV[8])
return { 'opened' }
