#!lua flags=allow-oom
-- In front of all others, because Redis reads it from the first line: the script runs also when Redis is full. An open round must be
-- stepped, cashed out and ended then too, or nothing would ever make room. What begins a round has no flag and is refused.
