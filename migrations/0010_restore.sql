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

-- A restore passes over nonces; it says so for the length of its transaction, and goes forward only.
