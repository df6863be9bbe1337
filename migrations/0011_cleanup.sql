-- What the clean-up needs to keep up with ten million bets a day, and to leave nothing of a person behind.

-- The archives stand in partitions, one for each month (UTC) in which a bet ended or a call was made, so that what is older than its
-- retention is dropped instead of deleted. The clean-up makes a month's partition before it moves the first row there.
create function make_archive_partition(archive text, at timestamptz) returns void language plpgsql as $$
declare
    begins    timestamp := date_trunc('month', at at time zone 'UTC');
    partition text      := format('%s_%s', archive, to_char(begins, 'YYYY_MM'));
begin
    if to_regclass(partition) is not null then
        return;
    end if;
    -- Two servers may come to the first row of a month together.
    perform pg_advisory_xact_lock(hashtextextended('archive partitions', 0));
    if to_regclass(partition) is null then
        execute format('create table %I (like %I including all)', partition, archive);
        -- Unlike `create table … partition of`, this waits for nobody who reads the archive and lets nobody wait.
        execute format('alter table %I attach partition %I for values from (%L) to (%L)', archive, partition,
                       begins at time zone 'UTC', (begins + interval '1 month') at time zone 'UTC');
    end if;
end $$;

-- Drops the oldest partition that ended before `cutoff`, and returns its name; null when there is none. Whoever reads the archive
-- holds it up for a second at most, and is not held up for longer: the next run tries again.
create function drop_expired_partition(archive text, cutoff timestamptz) returns text language plpgsql set lock_timeout = '1s' as $$
declare
    partition text;
begin
    select relname into partition from pg_inherits join pg_class on pg_class.oid = inhrelid
        where inhparent = archive::regclass
          and to_timestamp(right(relname, 7), 'YYYY_MM')::timestamp + interval '1 month' <= cutoff at time zone 'UTC'
        order by relname limit 1;
    if partition is not null then
        execute format('drop table %I', partition);
    end if;
    return partition;
end $$;

alter table bets_archive rename to bets_archive_in_one;
create table bets_archive (like bets_archive_in_one including defaults) partition by range (ended_at);
select make_archive_partition('bets_archive', month)
    from (select distinct date_trunc('month', ended_at at time zone 'UTC') at time zone 'UTC' as month from bets_archive_in_one) as months;
insert into bets_archive select * from bets_archive_in_one;
drop table bets_archive_in_one;
alter table bets_archive add primary key (bet_id, ended_at);
create index bets_archive_history on bets_archive (agent_id, user_id, nonce);

alter table wallet_audit_archive rename to wallet_audit_archive_in_one;
create table wallet_audit_archive (like wallet_audit_archive_in_one including defaults) partition by range (at);
select make_archive_partition('wallet_audit_archive', month)
    from (select distinct date_trunc('month', at at time zone 'UTC') at time zone 'UTC' as month from wallet_audit_archive_in_one) as months;
insert into wallet_audit_archive select * from wallet_audit_archive_in_one;
drop table wallet_audit_archive_in_one;
alter table wallet_audit_archive add primary key (audit_id, at);
create index wallet_audit_archive_bet on wallet_audit_archive (sequence) where sequence is not null;

create or replace function guard_bet_delete() returns trigger language plpgsql as $$
begin
    if old.state not in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED') then
        raise exception 'a bet that has not come to its end is never deleted' using errcode = 'check_violation', constraint = 'bets_delete_only_finished';
    end if;
    -- The time of its end names the one partition to look at.
    if not exists (select from bets_archive where bet_id = old.bet_id and ended_at = old.ended_at) then
        raise exception 'a bet is archived before it is deleted' using errcode = 'check_violation', constraint = 'bets_delete_only_archived';
    end if;
    return old;
end $$;

-- What is done for a bet goes with it, as every call stands in `wallet_audit`. A call that people decided about stays with their
-- decision, for as long as regulators ask for it; no setting makes that shorter. So does what a restore has closed.
create function guard_outbox_delete() returns trigger language plpgsql as $$
begin
    if (old.state = 'done' or (old.state = 'resolved' and old.created_at < now() - interval '1827 days')) is not true then
        raise exception 'a call that is owed, or was decided about, is kept' using errcode = 'check_violation', constraint = 'outbox_delete_only_done';
    end if;
    return old;
end $$;
create trigger outbox_delete before delete on outbox for each row execute function guard_outbox_delete();
-- A foreign key would be asked about each row that goes.
alter table queue_resolutions drop constraint queue_resolutions_outbox_id_fkey;

create function guard_decision_delete() returns trigger language plpgsql as $$
begin
    if old.at > now() - interval '1827 days' then
        raise exception 'a decision is kept for five years' using errcode = 'check_violation', constraint = tg_table_name || '_kept';
    end if;
    return old;
end $$;
drop trigger queue_resolutions_immutable on queue_resolutions;
create trigger queue_resolutions_immutable before update on queue_resolutions for each row execute function refuse_change();
create trigger queue_resolutions_kept before delete on queue_resolutions for each row execute function guard_decision_delete();
drop trigger restored_bets_immutable on restored_bets;
create trigger restored_bets_immutable before update on restored_bets for each row execute function refuse_change();
create trigger restored_bets_kept before delete on restored_bets for each row execute function guard_decision_delete();

create function guard_skipped_nonces_delete() returns trigger language plpgsql as $$
begin
    if exists (select from players where agent_id = old.agent_id and user_id = old.user_id) then
        raise exception 'what explains the gap in a player''s nonces is kept' using errcode = 'check_violation', constraint = 'skipped_nonces_kept';
    end if;
    return old;
end $$;
drop trigger skipped_nonces_immutable on skipped_nonces;
create trigger skipped_nonces_immutable before update on skipped_nonces for each row execute function refuse_change();
create trigger skipped_nonces_kept before delete on skipped_nonces for each row execute function guard_skipped_nonces_delete();

-- When a player last bet with a user seed, to the day.
alter table used_user_seeds add column used_at timestamptz not null default now();
update used_user_seeds set used_at = last_use.at
    from (select agent_id, user_id, user_seed, max(created_at) as at
          from (select agent_id, user_id, user_seed, created_at from bets
                union all select agent_id, user_id, user_seed, created_at from bets_archive) as bet
          group by agent_id, user_id, user_seed) as last_use
    where (used_user_seeds.agent_id, used_user_seeds.user_id, used_user_seeds.user_seed) = (last_use.agent_id, last_use.user_id, last_use.user_seed);
create index used_user_seeds_age on used_user_seeds (used_at);

-- When a player was last given a launch url, to the day; and the first nonce of this row, which is not 0 when the player had been
-- forgotten and came back.
alter table players
    add column seen_at     timestamptz not null default now(),
    add column first_nonce bigint      not null default 0;
create index players_seen on players (seen_at);

-- Of a player who was forgotten: where their nonces go on if they come back, under a keyed hash of agent and user (the key is not in
-- this database). Whoever does not know both the key and the player's name learns nothing from a row.
create table forgotten_players (
    pseudonym  bytea  primary key,
    next_nonce bigint not null
);

create or replace function guard_player_delete() returns trigger language plpgsql as $$
begin
    if exists (select from bets where agent_id = old.agent_id and user_id = old.user_id)
       or exists (select from bets_archive where agent_id = old.agent_id and user_id = old.user_id) then
        raise exception 'a player who has bet is kept' using errcode = 'foreign_key_violation', constraint = 'players_with_bets_stay';
    end if;
    return old;
end $$;

-- The first row of a player has their first nonce. (The rest is as in 0010.)
create or replace function guard_player_seeds_insert() returns trigger language plpgsql as $$
begin
    if (new.nonce between 1 and 9007199254740991 and new.commitment <> new.next_commitment
        and exists (select from bets where agent_id = new.agent_id and user_id = new.user_id and nonce = new.nonce - 1 and not is_open)
        and not exists (select from revealed_commitments where commitment in (new.commitment, new.next_commitment))) is not true then
        if new.nonce not between 0 and 9007199254740991 then
            raise exception 'there is no nonce %', new.nonce using errcode = 'check_violation', constraint = 'player_seeds_nonce_range';
        end if;
        if new.commitment = new.next_commitment then
            raise exception 'two seeds have one commitment' using errcode = 'check_violation', constraint = 'player_seeds_commitments_differ';
        end if;
        if exists (select from revealed_commitments where commitment in (new.commitment, new.next_commitment)) then
            raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'player_seeds_commitment_unrevealed';
        end if;
        if not exists (select from players where agent_id = new.agent_id and user_id = new.user_id) then
            raise exception 'there is no player %', new.user_id using errcode = 'foreign_key_violation', constraint = 'player_seeds_player_known';
        end if;
        if coalesce(current_setting('faircross.restoring', true), '') = 'on' then
            if not exists (select from skipped_nonces where agent_id = new.agent_id and user_id = new.user_id and next_nonce = new.nonce)
               or exists (select from player_seeds where agent_id = new.agent_id and user_id = new.user_id and nonce >= new.nonce)
               or exists (select from bets where agent_id = new.agent_id and user_id = new.user_id and (nonce >= new.nonce or is_open))
               or exists (select from bets_archive where agent_id = new.agent_id and user_id = new.user_id and nonce >= new.nonce) then
                raise exception 'a restore passes over free nonces, forward only, and says so'
                    using errcode = 'check_violation', constraint = 'player_seeds_restored_forward';
            end if;
        elsif not exists (select from bets where agent_id = new.agent_id and user_id = new.user_id and nonce = new.nonce - 1 and not is_open)
           and (new.nonce <> (select first_nonce from players where agent_id = new.agent_id and user_id = new.user_id)
                or exists (select from bets where agent_id = new.agent_id and user_id = new.user_id)
                or exists (select from bets_archive where agent_id = new.agent_id and user_id = new.user_id)) then
            raise exception 'the nonce of a player moves by one, with the end of a bet'
                using errcode = 'check_violation', constraint = 'player_seeds_nonce_by_one';
        end if;
    end if;
    return new;
end $$;
