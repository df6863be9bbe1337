-- The public road of a difficulty, with the time by which to judge it.
-- KEYS  1 hazards-{DIFFICULTY}
-- Returns { unix_ms, record or '' when there is none, '0'|'1' record unreadable }.
local kind = redis.call('TYPE', KEYS[1]).ok
local record = kind == 'string' and redis.call('GET', KEYS[1]) or ''
return { text(now_unix_ms()), record, (kind == 'string' or kind == 'none') and '0' or '1' }
