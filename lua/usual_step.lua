-- The usual step, placed in front of all other parts of step.lua: a player in good standing, whose window is the one that is counted, steps
-- on the next lane of an open session that nobody had to rebuild, or names the lane of the last step again, and no hazard and no last lane is
-- there. Nearly every step is one, and the functions of the rules, which Lua makes anew for each call, cost more than the step. So here only
-- what makes a step unusual is looked for, and whatever is found changes nothing: the rules behind this decide, as they would without it.
-- ARGV  as step.lua; whoever knows what the round pins needs no session in the reply
-- Returns 'safe', the tag alone: the player stands on the lane that was named.
if ARGV[5] == '1' then
  local caller = redis.pcall('HMGET', KEYS[1], 'run', 'status', 'generation', 'moveWindow')
  local session = redis.pcall('HMGET', KEYS[2], 'run', 'roundId', 'isActive', 'restored', 'currentStep', 'firstCollision', 'maxLane')
  if caller[1] == ARGV[6] and caller[2] == 'active' and caller[3] == ARGV[1] and caller[4] == ARGV[2]
    and session[1] == ARGV[6] and session[2] == ARGV[4] and session[3] == '1' and session[4] == '0' then
    local lane, current = tonumber(ARGV[3]), tonumber(session[5])
    local first_collision, max_lane = tonumber(session[6]), tonumber(session[7])
    if current and first_collision and max_lane and (lane == current or lane == current + 1) and lane < max_lane
      and (first_collision < 0 or lane < first_collision) then
      redis.set_repl(redis.REPL_NONE) -- as in the gate
      local left = redis.pcall('HINCRBY', KEYS[1], 'moveLeft', '-1')
      redis.set_repl(redis.REPL_ALL)
      if type(left) == 'number' and left >= 0 then
        if lane > current then redis.call('HSET', KEYS[2], 'currentStep', ARGV[3]) end
        return 'safe'
      end
    end
  end
end
