-- Who plays and where their money is. The agent (a casino platform) holds the balance; we hold only what the game needs.

create table agents (
    agent_id                text        primary key,
    -- The shared secret of both directions, sealed (associated data: 'agent-certificate:' and the id).
    certificate_sealed      bytea       not null,
    -- Optional key of the X-Signature header, sealed (associated data: 'agent-signature:' and the id).
    signature_secret_sealed bytea,
    callback_url            text        not null,
    encoding                text        not null default 'form',
    utc_offset_minutes      integer     not null default 480,
    -- CIDR blocks from which the agent may call us.
    allowed_addresses       text[]      not null,
    currencies              text[]      not null,
    -- Where a launch url points; null: the server's own frontend.
    frontend_url            text,
    active                  boolean     not null default true,
    created_at              timestamptz not null default now(),
    constraint agents_id_form check (agent_id ~ '^[A-Za-z0-9_]{1,50}$'),
    constraint agents_encoding_known check (encoding in ('form', 'json_string', 'json_object')),
    constraint agents_utc_offset_sane check (utc_offset_minutes between -840 and 840)
);

create table players (
    agent_id                text        not null references agents,
    user_id                 text        not null,
    currency                text        not null,
    language                text        not null default 'en',
    user_name               text,
    status                  text        not null default 'active',
    -- A sign-out raises it; session tokens of an older generation are worth nothing.
    generation              bigint      not null default 0,
    -- Raised by every change of status or generation, so that the copy in Redis never goes backwards.
    revision                bigint      not null default 1,
    bet_limit_minor         bigint,
    -- The seed pair. Null until the player first signs in; a bet never creates one. Seeds are sealed with the player's
    -- row id as associated data ('server-seed:' agent '/' user), so a sealed seed means nothing in another row.
    server_seed_sealed      bytea,
    commitment              text,
    next_server_seed_sealed bytea,
    next_commitment         text,
    user_seed               text,
    -- False for a seed that the server made at the first sign-in.
    user_seed_is_own        boolean     not null default false,
    -- Counts the player's bets at this agent for ever: the nonce of the next bet.
    nonce                   bigint      not null default 0,
    created_at              timestamptz not null default now(),
    primary key (agent_id, user_id),
    constraint players_user_id_form check (user_id ~ '^[0-9a-z]{1,21}$'),
    constraint players_status_known check (status in ('active', 'suspended', 'locked')),
    constraint players_bet_limit_positive check (bet_limit_minor > 0),
    constraint players_nonce_range check (nonce between 0 and 9007199254740991),
    constraint players_seed_pair_whole check (
        (server_seed_sealed is null) = (commitment is null)
        and (server_seed_sealed is null) = (next_server_seed_sealed is null)
        and (server_seed_sealed is null) = (next_commitment is null)
        and (server_seed_sealed is null) = (user_seed is null)),
    constraint players_commitments_differ check (commitment <> next_commitment)
) with (fillfactor = 70); -- Room on the page for the next version of a row: two of them for each bet.

-- The nonce is never reset, skipped or reused, whatever a statement asks for.
create function guard_player_nonce() returns trigger language plpgsql as $$
begin
    if new.nonce <> old.nonce and new.nonce <> old.nonce + 1 then
        raise exception 'the nonce of a player moves by one' using errcode = 'check_violation', constraint = 'players_nonce_by_one';
    end if;
    return new;
end $$;
create trigger players_nonce_by_one before update of nonce on players for each row execute function guard_player_nonce();

-- One-time tokens of launch urls. Only their SHA-256 is kept; a used one stays until the clean-up, so that a replay is seen.
create table launch_tokens (
    token_hash bytea       primary key,
    agent_id   text        not null,
    user_id    text        not null,
    expires_at timestamptz not null,
    used_at    timestamptz,
    foreign key (agent_id, user_id) references players
);
create index launch_tokens_expiry on launch_tokens (expires_at);
-- A sign-out uses up what a player has not used.
create index launch_tokens_unused on launch_tokens (agent_id, user_id) where used_at is null;
