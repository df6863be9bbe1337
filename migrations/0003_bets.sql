-- The bet: the one record of what a player staked and what came of it. Each state change is one conditional UPDATE that
-- names the state it leaves; the triggers below refuse every other, keep the history, and mark the seed as spent.
--
--   PENDING -- 0000 --> PLACED -- cash-out | last lane | hazard | deadline --> PENDING_SETTLEMENT --> WON | LOST
--      |                   `-- void: deadline on lane -1, or a person ------> PENDING_VOID --------> VOIDED
--      |-- definite refusal --> REJECTED
--      `-- anything else -----> PENDING_CANCEL --> CANCELLED

create table bets (
    -- The identifier of the bet and its round, and the operator's platformTxId: a round is one bet, so one name does.
    bet_id                uuid        primary key,
    -- The fencing token: later bets have higher ones, and no script lets a lower one replace a higher one.
    sequence              bigint      generated always as identity unique,
    agent_id              text        not null,
    user_id               text        not null,
    game_code             text        not null,
    currency              text        not null,
    decimal_places        smallint    not null,
    difficulty            text        not null,
    stake_minor           bigint      not null,
    -- Its existence is checked by the trigger: configurations are never changed or deleted, and a foreign key would lock the one
    -- row that all bets share at every bet.
    configuration_version integer     not null,
    max_lane              smallint    not null,
    state                 text        not null default 'PENDING',
    -- What the indexes of open bets ask. Unlike the state it changes once in the life of a bet, so that the other changes of
    -- state leave every index alone (heap-only updates).
    is_open               boolean     not null generated always as (state in ('PENDING', 'PLACED')) stored,
    -- What the outcome is made of, taken from the player's row by the intent statement.
    user_seed             text        not null,
    user_seed_fresh       boolean     not null,
    nonce                 bigint      not null,
    commitment            text        not null,
    next_commitment       text        not null,
    server_seed_sealed    bytea       not null,
    hazard_epoch          bigint      not null,
    hazard_seed           text        not null,
    idempotency_key       text,
    -- The exact message text of the debit, and the time it names.
    message               text        not null,
    placed_at             timestamptz not null,
    -- The operator's status, where it refused.
    refused_status        text,
    -- While the bet is PLACED: the last lane that the sweep has seen. After the end: the last safe lane, or the lane hit.
    last_lane             smallint    not null default -1,
    end_reason            text,
    coefficient_hundredths bigint     not null default 0,
    payout_minor          bigint      not null default 0,
    created_at            timestamptz not null default now(),
    deadline_at           timestamptz not null,
    ended_at              timestamptz,
    settled_at            timestamptz,
    updated_at            timestamptz not null default now(),
    foreign key (agent_id, user_id) references players
    -- What values are right the triggers say: a check constraint is parsed anew in every statement that touches the table.
) with (fillfactor = 70); -- Room on the page for the next version of a row.

-- One open round per player, agent and game. Everything holds by this index, with every Redis lock switched off.
-- Indexes are checked in the order in which they were made, and a second bet during a round breaks this one and that of the
-- commitment alike: the one that says what is the matter comes first.
-- The sweep walks open bets by it, and by nothing else: a second index of the few open bets would be taken for any question
-- about one bet, and read as a whole.
create unique index bets_one_open on bets (agent_id, user_id, game_code) where is_open;
create unique index bets_idempotency_key on bets (agent_id, user_id, idempotency_key) where idempotency_key is not null;
-- One server seed, one bet; one nonce, one bet. The second also serves the history.
alter table bets add constraint bets_commitment_unique unique (commitment);
alter table bets add constraint bets_nonce_unique unique (agent_id, user_id, nonce);
-- The clean-up walks ended bets by age.
create index bets_ended on bets (ended_at) where ended_at is not null;

-- Every user seed under which a player has bet, so that a bet can say whether its seed was fresh. Rows are never removed.
create table used_user_seeds (
    agent_id  text not null,
    user_id   text not null,
    user_seed text not null,
    primary key (agent_id, user_id, user_seed)
);

create table bet_transitions (
    sequence   bigint      not null,
    from_state text,
    to_state   text        not null,
    at         timestamptz not null default clock_timestamp()
);
create index bet_transitions_bet on bet_transitions (sequence);
create trigger bet_transitions_immutable before update on bet_transitions for each row execute function refuse_change();

create function guard_bet_insert() returns trigger language plpgsql as $$
begin
    if new.state <> 'PENDING' then
        raise exception 'a bet begins as PENDING' using errcode = 'check_violation', constraint = 'bets_begin_pending';
    end if;
    if new.difficulty not in ('EASY', 'MEDIUM', 'HARD', 'DAREDEVIL') then
        raise exception 'there is no difficulty %', new.difficulty using errcode = 'check_violation', constraint = 'bets_difficulty_known';
    end if;
    if new.stake_minor <= 0 then
        raise exception 'a stake is positive' using errcode = 'check_violation', constraint = 'bets_stake_positive';
    end if;
    if (new.last_lane, new.coefficient_hundredths, new.payout_minor) is distinct from (-1, 0, 0) or new.end_reason is not null
       or new.ended_at is not null then
        raise exception 'a bet begins before the first lane' using errcode = 'check_violation', constraint = 'bets_begin_whole';
    end if;
    if exists (select from revealed_commitments where commitment = new.commitment) then
        raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'bets_commitment_unrevealed';
    end if;
    if not exists (select from game_configurations where version = new.configuration_version) then
        raise exception 'there is no configuration %', new.configuration_version using errcode = 'foreign_key_violation', constraint = 'bets_configuration_known';
    end if;
    insert into bet_transitions (sequence, from_state, to_state) values (new.sequence, null, new.state);
    return new;
end $$;
create trigger bets_insert before insert on bets for each row execute function guard_bet_insert();

create function guard_bet_update() returns trigger language plpgsql as $$
begin
    if (new.bet_id, new.sequence, new.agent_id, new.user_id, new.game_code, new.currency, new.decimal_places, new.difficulty, new.stake_minor,
        new.configuration_version, new.max_lane, new.user_seed, new.user_seed_fresh, new.nonce, new.commitment, new.next_commitment,
        new.server_seed_sealed, new.hazard_epoch, new.hazard_seed, new.message, new.placed_at, new.created_at, new.deadline_at)
       is distinct from
       (old.bet_id, old.sequence, old.agent_id, old.user_id, old.game_code, old.currency, old.decimal_places, old.difficulty, old.stake_minor,
        old.configuration_version, old.max_lane, old.user_seed, old.user_seed_fresh, old.nonce, old.commitment, old.next_commitment,
        old.server_seed_sealed, old.hazard_epoch, old.hazard_seed, old.message, old.placed_at, old.created_at, old.deadline_at)
       or new.idempotency_key is distinct from old.idempotency_key then
        raise exception 'what a bet was made of never changes' using errcode = 'check_violation', constraint = 'bets_terms_immutable';
    end if;
    if old.state not in ('PENDING', 'PLACED') and (new.end_reason, new.last_lane, new.coefficient_hundredths, new.payout_minor, new.ended_at)
       is distinct from (old.end_reason, old.last_lane, old.coefficient_hundredths, old.payout_minor, old.ended_at) then
        raise exception 'an end is decided once' using errcode = 'check_violation', constraint = 'bets_end_immutable';
    end if;
    if old.state in ('PENDING', 'PLACED') and new.state = old.state and new.last_lane < old.last_lane then
        raise exception 'a lane once reached is not taken back' using errcode = 'check_violation', constraint = 'bets_lane_forward';
    end if;
    if new.state <> old.state then
        if (old.state, new.state) not in (
            ('PENDING', 'PLACED'), ('PENDING', 'REJECTED'), ('PENDING', 'PENDING_CANCEL'), ('PENDING_CANCEL', 'CANCELLED'),
            ('PLACED', 'PENDING_SETTLEMENT'), ('PENDING_SETTLEMENT', 'WON'), ('PENDING_SETTLEMENT', 'LOST'),
            ('PLACED', 'PENDING_VOID'), ('PENDING_VOID', 'VOIDED')) then
            raise exception 'a bet does not go from % to %', old.state, new.state using errcode = 'check_violation', constraint = 'bets_legal_transition';
        end if;
        if (new.state = 'WON' and new.payout_minor = 0) or (new.state = 'LOST' and new.payout_minor > 0) then
            raise exception 'WON pays and LOST does not' using errcode = 'check_violation', constraint = 'bets_won_pays';
        end if;
        insert into bet_transitions (sequence, from_state, to_state) values (new.sequence, old.state, new.state);
        if old.state in ('PENDING', 'PLACED') and new.state not in ('PENDING', 'PLACED') then
            insert into revealed_commitments (commitment) values (new.commitment);
        end if;
    end if;
    if new.end_reason not in ('win', 'cashout', 'hazard', 'deadline', 'void', 'cancelled', 'refused') then
        raise exception 'there is no end by %', new.end_reason using errcode = 'check_violation', constraint = 'bets_end_reason_known';
    end if;
    if (new.state in ('PENDING', 'PLACED')) <> (new.end_reason is null) or (new.end_reason is null) <> (new.ended_at is null) then
        raise exception 'an end has a reason and a time' using errcode = 'check_violation', constraint = 'bets_end_whole';
    end if;
    if new.last_lane not between -1 and new.max_lane then
        raise exception 'there is no lane %', new.last_lane using errcode = 'check_violation', constraint = 'bets_lane_range';
    end if;
    if new.payout_minor <> 0 and coalesce(new.end_reason, '') not in ('win', 'cashout', 'deadline') then
        raise exception 'only a win pays' using errcode = 'check_violation', constraint = 'bets_only_wins_pay';
    end if;
    -- A payout is the stake times the coefficient of the lane, rounded down; nothing else is ever paid.
    if new.payout_minor <> div(new.stake_minor::numeric * new.coefficient_hundredths, 100) then
        raise exception 'a payout is the stake times the coefficient' using errcode = 'check_violation', constraint = 'bets_payout_exact';
    end if;
    new.updated_at := now();
    return new;
end $$;
create trigger bets_update before update on bets for each row execute function guard_bet_update();

create function guard_bet_delete() returns trigger language plpgsql as $$
begin
    if old.state not in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED') then
        raise exception 'a bet that has not come to its end is never deleted' using errcode = 'check_violation', constraint = 'bets_delete_only_finished';
    end if;
    if not exists (select from bets_archive where bet_id = old.bet_id) then
        raise exception 'a bet is archived before it is deleted' using errcode = 'check_violation', constraint = 'bets_delete_only_archived';
    end if;
    return old;
end $$;
create trigger bets_delete before delete on bets for each row execute function guard_bet_delete();

-- Finished bets that are too old for daily use, kept for as long as regulation asks.
create table bets_archive (like bets including constraints, archived_at timestamptz not null default now(), primary key (bet_id));
create index bets_archive_history on bets_archive (agent_id, user_id, nonce);
create index bets_archive_age on bets_archive (ended_at);
