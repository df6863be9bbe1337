-- The public road of a difficulty, with the time by which to judge it.
-- KEYS  1 hazards-{DIFFICULTY}
-- Returns { unix_ms, record or '' when there is none, '0'|'1' record unreadable }.
local record = redis.pcall('GET', KEYS[1]) or ''
local unreadable = type(record) == 'table' -- not a string
return { text(now_unix_ms()), unreadable and '' or record, unreadable and '1' or '0' }
