-- A player's seeds and nonce stand in rows that are only added: one row for each nonce, and the one with the highest nonce is in force.
--
-- They were columns of the player's row, which each bet and each end wrote anew. While somebody holds a transaction open PostgreSQL may
-- not remove old versions of a row, and every statement then walked past all of the player's. Now a bet writes nothing here; its end adds
-- the row of the next nonce and deletes its own, which later searches, from the highest nonce down, never meet.

create table player_seeds (
    agent_id                text   not null,
    user_id                 text   not null,
    -- Of the bet that takes this row: it counts the player's bets at this agent for ever.
    nonce                   bigint not null,
    -- Seeds are sealed with the player's row id as associated data ('server-seed:' agent '/' user).
    server_seed_sealed      bytea  not null,
    commitment              text   not null,
    next_server_seed_sealed bytea  not null,
    next_commitment         text   not null,
    -- What a bet uses that names no user seed of its own.
    user_seed               text   not null,
    primary key (agent_id, user_id, nonce)
);

-- The pair of an open bet stays in force until its end.
insert into player_seeds
    select agent_id, user_id,
           nonce - (select count(*) from bets where bets.agent_id = players.agent_id and bets.user_id = players.user_id and is_open),
           server_seed_sealed, commitment, next_server_seed_sealed, next_commitment, user_seed
    from players where commitment is not null;

drop trigger players_nonce_by_one on players;
drop trigger players_commitment_unrevealed on players;
drop function guard_player_nonce;
drop function guard_player_commitments;
alter table players
    drop column server_seed_sealed, drop column commitment, drop column next_server_seed_sealed, drop column next_commitment,
    drop column user_seed, drop column user_seed_is_own, drop column nonce;

create or replace function guard_player_values() returns trigger language plpgsql as $$
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
    return new;
end $$;

-- The row of the next nonce may be added when the bet that took the one before has ended, and by nothing else: so a nonce is never
-- reset, skipped or reused, and a player with seeds that are in use gets no others. (A trigger sees what its own statement has done.)
create function guard_player_seeds_insert() returns trigger language plpgsql as $$
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
        if new.nonce > 0 and not exists (select from bets where agent_id = new.agent_id and user_id = new.user_id
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
create trigger player_seeds_insert before insert on player_seeds for each row execute function guard_player_seeds_insert();

-- Of a row that is in force only the player's own part changes.
create trigger player_seeds_immutable before update of
    agent_id, user_id, nonce, server_seed_sealed, commitment, next_server_seed_sealed, next_commitment
    on player_seeds for each row execute function refuse_change();
