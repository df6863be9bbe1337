-- One open round for each player of an operator, without an index of open bets that is unique.
--
-- A unique index looks at every entry of its key before it takes another, also at those of bets that ended. While somebody holds a
-- transaction open PostgreSQL may not remove those, so that each bet walked past all of its player's bets since: 1.3 ms of CPU a round
-- became 12 ms in two minutes. The player's last bet is found by its nonce, however many came before it.
--
-- Two bets at one moment pass here together where neither sees the other. Both take the nonce that is in force, which
-- bets_nonce_unique gives to one; the row of the next nonce comes with the end of the bet (player_seeds_insert).
create function guard_one_open_bet() returns trigger language plpgsql as $$
begin
    if (select is_open from bets where agent_id = new.agent_id and user_id = new.user_id order by nonce desc limit 1) then
        raise exception 'a bet of player % is open', new.user_id using errcode = 'unique_violation', constraint = 'bets_one_open';
    end if;
    return new;
end $$;
-- Triggers fire in the order of their names: after bets_insert, which looks at the bet's own values.
create trigger bets_one_open before insert on bets for each row execute function guard_one_open_bet();

-- The sweep walks open bets by it, and by nothing else.
create index bets_open on bets (agent_id, user_id, game_code) where is_open;
drop index bets_one_open;
