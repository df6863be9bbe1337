-- The same guards at a lower price. PostgreSQL reads what it keeps as text anew in every statement that touches the table: each check
-- constraint, the expression of a generated column, the condition of a trigger. A foreign key is one more query for each row. So what
-- each bet pays for is said by functions, whose plans are kept, and what a statement of ours never does is watched by triggers that
-- stand on the columns it would have to name. No rule is given up, and each keeps its name.

-- Whether a bet is open now follows from its state in the trigger that sees every change of it.
alter table bets alter column is_open drop expression;

-- A bet's player is looked up together with the rest, and a player who has bet is not deleted.
alter table bets drop constraint bets_agent_id_user_id_fkey;

create or replace function guard_bet_insert() returns trigger language plpgsql as $$
declare
    found record;
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
    select exists (select from revealed_commitments where commitment = new.commitment) as seed_is_revealed,
           exists (select from game_configurations where version = new.configuration_version) as configuration_is_known,
           exists (select from players where agent_id = new.agent_id and user_id = new.user_id) as player_is_known
        into found;
    if found.seed_is_revealed then
        raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'bets_commitment_unrevealed';
    end if;
    if not found.configuration_is_known then
        raise exception 'there is no configuration %', new.configuration_version using errcode = 'foreign_key_violation', constraint = 'bets_configuration_known';
    end if;
    if not found.player_is_known then
        raise exception 'there is no player %', new.user_id using errcode = 'foreign_key_violation', constraint = 'bets_player_known';
    end if;
    new.is_open := true;
    insert into bet_transitions (sequence, from_state, to_state) values (new.sequence, null, new.state);
    return new;
end $$;

create or replace function guard_bet_update() returns trigger language plpgsql as $$
begin
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
    new.is_open := new.state in ('PENDING', 'PLACED');
    new.updated_at := now();
    return new;
end $$;

-- What a bet was made of. Triggers on columns look only at statements that name one of them, and none of ours does after the intent.
create function guard_bet_terms() returns trigger language plpgsql as $$
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
    return new;
end $$;
create trigger bets_terms before update of
    bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane, user_seed,
    user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, idempotency_key, message, placed_at,
    created_at, deadline_at, sequence
    on bets for each row execute function guard_bet_terms();

create function guard_player_delete() returns trigger language plpgsql as $$
begin
    if exists (select from bets where agent_id = old.agent_id and user_id = old.user_id) then
        raise exception 'a player who has bet is kept' using errcode = 'foreign_key_violation', constraint = 'players_with_bets_stay';
    end if;
    return old;
end $$;
create trigger players_with_bets_stay before delete on players for each row execute function guard_player_delete();

-- Players: their values, by the columns that a statement sets. A bet sets the nonce, an end sets the seeds.
alter table players
    drop constraint players_user_id_form,
    drop constraint players_status_known,
    drop constraint players_bet_limit_positive,
    drop constraint players_nonce_range,
    drop constraint players_seed_pair_whole,
    drop constraint players_commitments_differ;

create function guard_player_values() returns trigger language plpgsql as $$
begin
    if new.user_id !~ '^[0-9a-z]{1,21}$' then
        raise exception 'a user id is 1 to 21 of 0-9 and a-z' using errcode = 'check_violation', constraint = 'players_user_id_form';
    end if;
    if new.status not in ('active', 'suspended', 'locked') then
        raise exception 'there is no status %', new.status using errcode = 'check_violation', constraint = 'players_status_known';
    end if;
    if new.bet_limit_minor <= 0 then
        raise exception 'a bet limit is positive' using errcode = 'check_violation', constraint = 'players_bet_limit_positive';
    end if;
    if new.nonce not between 0 and 9007199254740991 then
        raise exception 'there is no nonce %', new.nonce using errcode = 'check_violation', constraint = 'players_nonce_range';
    end if;
    return new;
end $$;
create trigger players_values before insert or update of user_id, status, bet_limit_minor on players
    for each row execute function guard_player_values();

create or replace function guard_player_nonce() returns trigger language plpgsql as $$
begin
    if new.nonce <> old.nonce and new.nonce <> old.nonce + 1 then
        raise exception 'the nonce of a player moves by one' using errcode = 'check_violation', constraint = 'players_nonce_by_one';
    end if;
    if new.nonce > 9007199254740991 then
        raise exception 'there is no nonce %', new.nonce using errcode = 'check_violation', constraint = 'players_nonce_range';
    end if;
    return new;
end $$;

create or replace function guard_player_commitments() returns trigger language plpgsql as $$
begin
    if (new.server_seed_sealed is null) <> (new.commitment is null) or (new.server_seed_sealed is null) <> (new.next_server_seed_sealed is null)
       or (new.server_seed_sealed is null) <> (new.next_commitment is null) or (new.server_seed_sealed is null) <> (new.user_seed is null) then
        raise exception 'a player has all seeds or none' using errcode = 'check_violation', constraint = 'players_seed_pair_whole';
    end if;
    if new.commitment = new.next_commitment then
        raise exception 'two seeds have one commitment' using errcode = 'check_violation', constraint = 'players_commitments_differ';
    end if;
    if new.commitment is not null
       and exists (select from revealed_commitments where commitment in (new.commitment, new.next_commitment)) then
        raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'players_commitment_unrevealed';
    end if;
    return new;
end $$;
drop trigger players_commitment_unrevealed on players;
create trigger players_commitment_unrevealed before insert or update of
    server_seed_sealed, commitment, next_server_seed_sealed, next_commitment on players
    for each row execute function guard_player_commitments();

-- The outbox: a message is never touched after it was stored, and a state is one of four.
alter table outbox drop constraint outbox_action_known, drop constraint outbox_state_known;
drop trigger outbox_update on outbox;
drop function guard_outbox_update;

create function guard_outbox_message() returns trigger language plpgsql as $$
begin
    if (new.sequence, new.agent_id, new.action, new.message) is distinct from (old.sequence, old.agent_id, old.action, old.message) then
        raise exception 'a message is resent as it was stored' using errcode = 'check_violation', constraint = 'outbox_message_immutable';
    end if;
    return new;
end $$;
create trigger outbox_message before update of sequence, agent_id, action, message on outbox
    for each row execute function guard_outbox_message();

create function guard_outbox_state() returns trigger language plpgsql as $$
begin
    if new.action not in ('cancelBet', 'settle', 'voidBet') then
        raise exception 'there is no action %', new.action using errcode = 'check_violation', constraint = 'outbox_action_known';
    end if;
    if new.state not in ('open', 'done', 'needs_human', 'resolved') then
        raise exception 'there is no state %', new.state using errcode = 'check_violation', constraint = 'outbox_state_known';
    end if;
    if tg_op = 'UPDATE' and old.state in ('done', 'resolved') and new.state <> old.state then
        raise exception 'what is done stays done' using errcode = 'check_violation', constraint = 'outbox_done_is_final';
    end if;
    return new;
end $$;
create trigger outbox_state before insert or update of state on outbox for each row execute function guard_outbox_state();

-- What every call leaves behind: two rows for each round.
alter table wallet_audit drop constraint wallet_audit_outcome_known;
create function guard_call() returns trigger language plpgsql as $$
begin
    if new.outcome not in ('applied', 'declined', 'unknown') then
        raise exception 'there is no outcome %', new.outcome using errcode = 'check_violation', constraint = 'wallet_audit_outcome_known';
    end if;
    return new;
end $$;
create trigger wallet_audit_outcome_known before insert on wallet_audit for each row execute function guard_call();
