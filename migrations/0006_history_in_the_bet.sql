-- The history of a bet stands in the bet: four rows of a table of its own cost a round as much as the bet itself, and stayed behind
-- when the bet went to the archive. The triggers append to it, in every place where the state changes.
--
-- And the guards ask less. PL/pgSQL prepares every condition that it comes to anew in each transaction, so that the usual change passes
-- one condition, which nothing can meet that breaks a rule; only what does not meet it is held against the rules one by one, by name.

alter table bets
    -- Every state that the bet has been in, the present one last, and when each began.
    add column history_states text[],
    add column history_times  timestamptz[],
    -- The time of the last change is the last of them.
    drop column updated_at;
alter table bets_archive rename column archived_at to archived_before_this_migration;
alter table bets_archive
    add column history_states text[],
    add column history_times  timestamptz[],
    drop column updated_at,
    add column archived_at    timestamptz not null default now();

alter table bets disable trigger user;
create temporary table histories on commit drop as
    select sequence, array_agg(to_state order by at) as states, array_agg(at order by at) as times from bet_transitions group by sequence;
update bets set history_states = states, history_times = times from histories where histories.sequence = bets.sequence;
update bets_archive set history_states = states, history_times = times, archived_at = archived_before_this_migration
    from histories where histories.sequence = bets_archive.sequence;
alter table bets enable trigger user;
alter table bets_archive drop column archived_before_this_migration;
alter table bets alter column history_states set not null, alter column history_times set not null;
alter table bets_archive alter column history_states set not null, alter column history_times set not null;
drop table bet_transitions;

create or replace function guard_bet_insert() returns trigger language plpgsql as $$
begin
    if (new.state = 'PENDING' and new.difficulty in ('EASY', 'MEDIUM', 'HARD', 'DAREDEVIL') and new.stake_minor > 0
        and new.last_lane = -1 and new.coefficient_hundredths = 0 and new.payout_minor = 0 and new.end_reason is null
        and new.ended_at is null) is not true then
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
    end if;
    if not (select not exists (select from revealed_commitments where commitment = new.commitment)
               and exists (select from game_configurations where version = new.configuration_version)
               and exists (select from players where agent_id = new.agent_id and user_id = new.user_id)) then
        if exists (select from revealed_commitments where commitment = new.commitment) then
            raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'bets_commitment_unrevealed';
        end if;
        if not exists (select from game_configurations where version = new.configuration_version) then
            raise exception 'there is no configuration %', new.configuration_version using errcode = 'foreign_key_violation', constraint = 'bets_configuration_known';
        end if;
        raise exception 'there is no player %', new.user_id using errcode = 'foreign_key_violation', constraint = 'bets_player_known';
    end if;
    new.is_open := true;
    new.history_states := array[new.state];
    new.history_times := array[clock_timestamp()];
    return new;
end $$;

create or replace function guard_bet_update() returns trigger language plpgsql as $$
begin
    if new.state <> old.state then
        -- A moment of its own for each change, as two of one bet may be one transaction's.
        new.history_states := old.history_states || new.state;
        new.history_times := old.history_times || clock_timestamp();
        -- The stake was taken. Nothing of an end is told, so no rule of an end is broken.
        if old.state = 'PENDING' and new.state = 'PLACED' and new.last_lane = -1 and new.end_reason is null and new.ended_at is null
           and new.coefficient_hundredths = 0 and new.payout_minor = 0 then
            return new;
        end if;
        if new.state <> all (case old.state
            when 'PENDING' then array['PLACED', 'REJECTED', 'PENDING_CANCEL']
            when 'PLACED' then array['PENDING_SETTLEMENT', 'PENDING_VOID']
            when 'PENDING_SETTLEMENT' then array['WON', 'LOST']
            when 'PENDING_VOID' then array['VOIDED']
            when 'PENDING_CANCEL' then array['CANCELLED']
            else '{}' end) then
            raise exception 'a bet does not go from % to %', old.state, new.state using errcode = 'check_violation', constraint = 'bets_legal_transition';
        end if;
    end if;
    -- After the end only the state moves. What the end says has been held against its rules, and stays.
    if not old.is_open then
        if (new.end_reason, new.last_lane, new.coefficient_hundredths, new.payout_minor, new.ended_at)
           is distinct from (old.end_reason, old.last_lane, old.coefficient_hundredths, old.payout_minor, old.ended_at) then
            raise exception 'an end is decided once' using errcode = 'check_violation', constraint = 'bets_end_immutable';
        end if;
        if (new.state = 'WON' and new.payout_minor = 0) or (new.state = 'LOST' and new.payout_minor > 0) then
            raise exception 'WON pays and LOST does not' using errcode = 'check_violation', constraint = 'bets_won_pays';
        end if;
        return new;
    end if;
    if new.state = old.state and new.last_lane < old.last_lane then
        raise exception 'a lane once reached is not taken back' using errcode = 'check_violation', constraint = 'bets_lane_forward';
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
    if new.state not in ('PENDING', 'PLACED') then
        new.is_open := false;
        insert into revealed_commitments (commitment) values (new.commitment);
    end if;
    return new;
end $$;

-- Whether a bet is open and what it has been are written by the triggers alone. (Triggers fire in the order of their names: this one
-- sees what the statement says, before `bets_update` writes.)
drop trigger bets_terms on bets;
create or replace function guard_bet_terms() returns trigger language plpgsql as $$
begin
    if (new.bet_id, new.sequence, new.agent_id, new.user_id, new.game_code, new.currency, new.decimal_places, new.difficulty, new.stake_minor,
        new.configuration_version, new.max_lane, new.user_seed, new.user_seed_fresh, new.nonce, new.commitment, new.next_commitment,
        new.server_seed_sealed, new.hazard_epoch, new.hazard_seed, new.message, new.placed_at, new.created_at, new.deadline_at,
        new.idempotency_key, new.is_open, new.history_states, new.history_times)
       is distinct from
       (old.bet_id, old.sequence, old.agent_id, old.user_id, old.game_code, old.currency, old.decimal_places, old.difficulty, old.stake_minor,
        old.configuration_version, old.max_lane, old.user_seed, old.user_seed_fresh, old.nonce, old.commitment, old.next_commitment,
        old.server_seed_sealed, old.hazard_epoch, old.hazard_seed, old.message, old.placed_at, old.created_at, old.deadline_at,
        old.idempotency_key, old.is_open, old.history_states, old.history_times) then
        raise exception 'what a bet was made of never changes' using errcode = 'check_violation', constraint = 'bets_terms_immutable';
    end if;
    return new;
end $$;
create trigger bets_terms before update of
    bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane, user_seed,
    user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, idempotency_key, message, placed_at,
    created_at, deadline_at, sequence, is_open, history_states, history_times
    on bets for each row execute function guard_bet_terms();

create or replace function guard_player_nonce() returns trigger language plpgsql as $$
begin
    if (new.nonce = old.nonce + 1 and new.nonce <= 9007199254740991) is not true then
        if new.nonce <> old.nonce and new.nonce <> old.nonce + 1 then
            raise exception 'the nonce of a player moves by one' using errcode = 'check_violation', constraint = 'players_nonce_by_one';
        end if;
        if new.nonce > 9007199254740991 then
            raise exception 'there is no nonce %', new.nonce using errcode = 'check_violation', constraint = 'players_nonce_range';
        end if;
    end if;
    return new;
end $$;

create or replace function guard_player_commitments() returns trigger language plpgsql as $$
begin
    if num_nulls(new.server_seed_sealed, new.commitment, new.next_server_seed_sealed, new.next_commitment, new.user_seed) not in (0, 5) then
        raise exception 'a player has all seeds or none' using errcode = 'check_violation', constraint = 'players_seed_pair_whole';
    end if;
    if new.commitment = new.next_commitment then
        raise exception 'two seeds have one commitment' using errcode = 'check_violation', constraint = 'players_commitments_differ';
    end if;
    if exists (select from revealed_commitments where commitment in (new.commitment, new.next_commitment)) then
        raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'players_commitment_unrevealed';
    end if;
    return new;
end $$;

create or replace function guard_outbox_state() returns trigger language plpgsql as $$
begin
    if (new.action in ('cancelBet', 'settle', 'voidBet') and new.state in ('open', 'done', 'needs_human', 'resolved')
        and (tg_op = 'INSERT' or old.state not in ('done', 'resolved'))) is not true then
        if new.action not in ('cancelBet', 'settle', 'voidBet') then
            raise exception 'there is no action %', new.action using errcode = 'check_violation', constraint = 'outbox_action_known';
        end if;
        if new.state not in ('open', 'done', 'needs_human', 'resolved') then
            raise exception 'there is no state %', new.state using errcode = 'check_violation', constraint = 'outbox_state_known';
        end if;
        if tg_op = 'UPDATE' and old.state in ('done', 'resolved') and new.state <> old.state then
            raise exception 'what is done stays done' using errcode = 'check_violation', constraint = 'outbox_done_is_final';
        end if;
    end if;
    return new;
end $$;

-- The oldest calls are those with the lowest ids: the clean-up needs no index of their age.
drop index wallet_audit_age;
