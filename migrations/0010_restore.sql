-- What `faircross restore` has done to a PostgreSQL that was put back to an older copy: every rule that it had to make an exception of
-- is explained by a row here, and so are the debits of which only the operator knows.

create table restores (
    restore_id  bigint      primary key generated always as identity,
    begun_at    timestamptz not null default now(),
    -- Null: it did not come to its end, and no server is to start before it has.
    finished_at timestamptz,
    -- What was done, as it was printed.
    bill        jsonb
);
create unique index restores_unfinished on restores ((true)) where finished_at is null;

-- Bets that a restore has closed, and bets that only the operator knew.
create table restored_bets (
    -- The bet's. One that only the operator knew gets a number of its own, which no bet has, for its row in the outbox.
    sequence       bigint      primary key,
    restore_id     bigint      not null references restores,
    agent_id       text        not null,
    platform_tx_id text        not null,
    user_id        text        not null,
    -- Whether there is a row in `bets`.
    has_bet        boolean     not null,
    -- What the operator's ledger said; null where it has no such bet, or where there was no ledger.
    operator_state text,
    currency       text,
    stake          numeric,
    win            numeric,
    decision       text        not null,
    at             timestamptz not null default now(),
    constraint restored_bets_once unique (agent_id, platform_tx_id)
);
create trigger restored_bets_immutable before update or delete on restored_bets for each row execute function refuse_change();

-- Nonces that no bet of this record has: from the first one up to the one before `next_nonce`. They may have been used after the copy
-- was made, so they are passed over.
create table skipped_nonces (
    agent_id    text   not null,
    user_id     text   not null,
    first_nonce bigint not null,
    next_nonce  bigint not null,
    restore_id  bigint not null references restores,
    primary key (agent_id, user_id, next_nonce)
);
create trigger skipped_nonces_immutable before update or delete on skipped_nonces for each row execute function refuse_change();

-- A restore passes over nonces, which no bet may do. It says so for the length of its transaction (`faircross.restoring`), explains each
-- player's gap by a row, and goes forward only. What a bet's end asks of the guard is what it asked before.
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
        if coalesce(current_setting('faircross.restoring', true), '') = 'on' then
            if not exists (select from skipped_nonces where agent_id = new.agent_id and user_id = new.user_id and next_nonce = new.nonce)
               or exists (select from player_seeds where agent_id = new.agent_id and user_id = new.user_id and nonce >= new.nonce)
               or exists (select from bets where agent_id = new.agent_id and user_id = new.user_id and (nonce >= new.nonce or is_open))
               or exists (select from bets_archive where agent_id = new.agent_id and user_id = new.user_id and nonce >= new.nonce) then
                raise exception 'a restore passes over free nonces, forward only, and says so'
                    using errcode = 'check_violation', constraint = 'player_seeds_restored_forward';
            end if;
        elsif new.nonce > 0 and not exists (select from bets where agent_id = new.agent_id and user_id = new.user_id
                                             and nonce = new.nonce - 1 and not is_open)
           or new.nonce = 0 and (exists (select from bets where agent_id = new.agent_id and user_id = new.user_id)
                                 or exists (select from bets_archive where agent_id = new.agent_id and user_id = new.user_id)) then
            raise exception 'the nonce of a player moves by one, with the end of a bet'
                using errcode = 'check_violation', constraint = 'player_seeds_nonce_by_one';
        end if;
        if not exists (select from players where agent_id = new.agent_id and user_id = new.user_id) then
            raise exception 'there is no player %', new.user_id using errcode = 'foreign_key_violation', constraint = 'player_seeds_player_known';
        end if;
    end if;
    return new;
end $$;
