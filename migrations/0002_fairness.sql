-- What fairness rests on: immutable configurations, published hazard chains, and the list of seeds that are spent.

create table game_configurations (
    version    integer     primary key generated always as identity,
    -- The exact bytes: their SHA-256 is in every proof.
    content    bytea       not null,
    hash       text        not null,
    created_at timestamptz not null default now(),
    constraint game_configurations_hash_unique unique (hash),
    constraint game_configurations_hash_true check (hash = encode(sha256(content), 'hex'))
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is written once and never changed', tg_table_name using errcode = 'check_violation', constraint = tg_table_name || '_immutable';
end $$;
create trigger game_configurations_immutable before update or delete on game_configurations for each row execute function refuse_change();

-- One chain of 17,280 links a UTC day, inserted once by whoever comes first. The last link is sealed with the day as
-- associated data; all others follow from it by hashing.
create table hazard_chains (
    day              date        primary key,
    anchor           text        not null unique,
    last_link_sealed bytea       not null,
    published_at     timestamptz not null default now(),
    constraint hazard_chains_anchor_form check (anchor ~ '^[0-9a-f]{64}$')
);
create trigger hazard_chains_immutable before update or delete on hazard_chains for each row execute function refuse_change();

-- Every commitment whose seed has been shown. Rows are added by the trigger on bets and never removed: a seed that was
-- shown once can never decide another round, even after its bet was archived.
create table revealed_commitments (
    commitment  text        primary key,
    revealed_at timestamptz not null default now()
);
create trigger revealed_commitments_immutable before update or delete on revealed_commitments for each row execute function refuse_change();

create function guard_player_commitments() returns trigger language plpgsql as $$
begin
    if exists (select from revealed_commitments where commitment in (new.commitment, new.next_commitment)) then
        raise exception 'this server seed has been revealed' using errcode = 'check_violation', constraint = 'players_commitment_unrevealed';
    end if;
    return new;
end $$;
create trigger players_commitment_unrevealed before insert or update of commitment, next_commitment on players
    for each row when (new.commitment is not null) execute function guard_player_commitments();
