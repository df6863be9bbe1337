-- The display copy of a player's seeds, after the commit that changed them.
-- KEYS  1 fairness:
-- ARGV  1 nonce  2 userSeed  3 hashedServerSeed  4 nextHashedServerSeed  5 ttl_s
-- Returns { 'written' } | { 'kept' } (a later nonce is there).
return write_fairness(KEYS[1], ARGV)
