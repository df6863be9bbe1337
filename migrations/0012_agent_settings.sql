-- What an operator decides about its players' sessions, and how old balance enquiries are found.

-- True: a sign-in ends the earlier sessions of the same player.
alter table agents add column one_device boolean not null default false;

-- Balance enquiries belong to no bet and are kept for days, not years.
create index wallet_audit_balance_enquiries on wallet_audit (at) where action = 'getBalance';
