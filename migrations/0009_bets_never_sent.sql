-- A bet whose debit certainly never left owes the operator nothing: it is REJECTED without a call, and its idempotency key is free again,
-- so that a repeat under it is a new attempt. The key stays in the row as it was; the index looks past it.

alter table bets add column never_sent boolean not null default false;
drop index bets_idempotency_key;
create unique index bets_idempotency_key on bets (agent_id, user_id, idempotency_key) where idempotency_key is not null and not never_sent;

-- The archive has the columns of the bet in the same order, and the time of archiving last.
alter table bets_archive rename column archived_at to archived_before_this_migration;
alter table bets_archive
    add column never_sent  boolean     not null default false,
    add column archived_at timestamptz not null default now();
update bets_archive set archived_at = archived_before_this_migration;
alter table bets_archive drop column archived_before_this_migration;

-- It is said once, in the statement that rejects the bet, and of no bet that the operator has answered.
create function guard_bet_never_sent() returns trigger language plpgsql as $$
begin
    if new.never_sent is distinct from old.never_sent
       and (old.state = 'PENDING' and new.state = 'REJECTED' and new.never_sent and new.refused_status is null) is not true then
        raise exception 'only a bet that is rejected without an answer was never sent'
            using errcode = 'check_violation', constraint = 'bets_never_sent_once';
    end if;
    return new;
end $$;
create trigger bets_never_sent before update of never_sent on bets for each row execute function guard_bet_never_sent();
