-- What most scripts need, placed in front of them when they are loaded. A script cannot include another one, and what stands in front of
-- one is run again with each call: so it is little, and a script is given only the parts that it uses.

-- Redis's own time in whole milliseconds. What several servers must agree on is never taken from the clock of one of them.
local function now_unix_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Numbers leave a script as text: tostring() would print a large one as 1.7e+12.
local function text(number)
  return string.format('%.0f', number)
end

-- Which run of Redis this is, every script's last argument: another one after each restart, and on a replica that takes over. What an
-- earlier run wrote may be a second old, because the append-only file is synced once a second and replicas follow behind. So sessions and
-- players' copies carry the run that wrote them (the beginning of its id), and one of another run counts as missing until PostgreSQL has
-- been asked. A connection ends with the run that it was made to, so it knows; INFO would cost more than all the rest of a script.
local this_run = ARGV[#ARGV]
