-- Compare and delete: whoever outlived the lock leaves the next holder's alone.
-- KEYS  1 the lock
-- ARGV  1 token
-- Returns { 'released' } | { 'not_held' }.
return { release_lock(KEYS[1], ARGV[1]) == 1 and 'released' or 'not_held' }
