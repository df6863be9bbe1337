//! Finished bets of other players, as many as wanted, in one transaction.
//!
//! Triggers are off while it fills (constraints are not), and indexes are built at the end, in their order. The rows are as many and
//! as spread as years would leave them, but narrower: the message, the sealed seed and the history, which no index holds, are short. Nobody can
//! open such a seed, so the rows are removed before the audit.

use crate::Failure;
use crate::own_set::{DATABASE, OwnSet};

/// The outbox, the audit of calls and the revealed seeds get at most so many rows.
const MOST_OTHER_ROWS: u64 = 1_000_000;
/// A player has about so many bets.
const BETS_PER_PLAYER: u64 = 200;

const FILL: &str = r"
set session_replication_role = replica;
truncate bets, revealed_commitments, outbox, queue_resolutions, wallet_audit;
insert into players (agent_id, user_id, currency) select 'load', 'h' || number, 'INR' from generate_series(0, PLAYERS - 1) number;
do $$
declare
    rebuild text[];
    statement text;
begin
    select array_agg(case when conname is null then pg_get_indexdef(indexrelid)
                     else format('alter table bets add constraint %I %s', conname, pg_get_constraintdef(pg_constraint.oid)) end
                     order by indexrelid)
    into rebuild
    from pg_index left join pg_constraint on conindid = indexrelid and conrelid = indrelid and contype in ('p', 'u')
    where indrelid = 'bets'::regclass;
    for statement in
        select case when conname is null then format('drop index %s', indexrelid::regclass)
                    else format('alter table bets drop constraint %I', conname) end
        from pg_index left join pg_constraint on conindid = indexrelid and conrelid = indrelid and contype in ('p', 'u')
        where indrelid = 'bets'::regclass
    loop execute statement; end loop;
    insert into bets (bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane,
                      state, is_open, user_seed, user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed,
                      message, placed_at, last_lane, end_reason, coefficient_hundredths, payout_minor, created_at, deadline_at, ended_at,
                      settled_at, history_states, history_times)
    select gen_random_uuid(), 'load', 'h' || number % PLAYERS, 'chicken-road-two', 'INR', 2,
           (array['EASY', 'EASY', 'MEDIUM', 'HARD', 'DAREDEVIL'])[1 + number % 5], 1000, 1, 17,
           case when fate < 42 then 'WON' when fate < 95 then 'LOST' when fate < 96 then 'VOIDED' when fate < 98 then 'CANCELLED' else 'REJECTED' end, false,
           md5(number::text), true, number / PLAYERS, encode(sha256(number::text::bytea), 'hex'), '', '', 1, '', '{}',
           at, case when fate < 95 then 3 else -1 end,
           case when fate < 42 then 'cashout' when fate < 95 then 'hazard' when fate < 96 then 'void' when fate < 98 then 'cancelled'
                else 'refused' end,
           case when fate < 42 then 110 else 0 end, case when fate < 42 then 1100 else 0 end, at, at + interval '1 hour',
           at + interval '20 s', at + interval '21 s', '{}', '{}'
    from (select number, number * 7919 % 100 as fate, now() - interval '1 day' - interval '300 days' * (1 - number::double precision / ROWS) as at
          from generate_series(0::bigint, ROWS - 1) number) as made;
    foreach statement in array rebuild loop execute statement; end loop;
end $$;
insert into revealed_commitments (commitment, revealed_at) select commitment, '2020-01-01' from bets where sequence <= OTHERS;
insert into outbox (sequence, agent_id, action, message, state, attempts, due_at, created_at, done_at)
    select sequence, agent_id, 'settle', '{}', 'done', 1, ended_at, ended_at, settled_at from bets
    where sequence <= OTHERS and state in ('WON', 'LOST');
insert into wallet_audit (sequence, agent_id, action, message, outcome, duration_ms, at)
    select sequence, agent_id, 'bet', '{}', 'applied', 1, placed_at from bets where sequence <= OTHERS;
";

const REMOVE: &str = r"
set session_replication_role = replica;
create temp table kept_bets as select * from bets where sequence > FILLED;
create temp table kept_revealed as select * from revealed_commitments where revealed_at > '2020-01-01';
create temp table kept_outbox as select * from outbox where sequence > FILLED;
create temp table kept_calls as select * from wallet_audit where sequence is null or sequence > FILLED;
truncate bets, revealed_commitments, outbox, queue_resolutions, wallet_audit;
insert into bets overriding system value select * from kept_bets;
insert into revealed_commitments select * from kept_revealed;
insert into outbox overriding system value select * from kept_outbox;
insert into wallet_audit overriding system value select * from kept_calls;
delete from player_seeds where user_id like 'h%';
delete from players where user_id like 'h%';
";

/// Fills, and says how large the table has become.
///
/// # Errors
/// With PostgreSQL's message.
pub fn fill(set: &OwnSet, rows: u64) -> Result<String, Failure> {
    let players = (rows / BETS_PER_PLAYER).clamp(50, 50_000);
    let sql = FILL
        .replace("OTHERS", &rows.min(MOST_OTHER_ROWS).to_string())
        .replace("PLAYERS", &players.to_string())
        .replace("ROWS", &rows.to_string());
    let postgres = set.postgres();
    postgres.execute(DATABASE, &sql)?;
    postgres.execute(DATABASE, "analyze")?;
    let size =
        "select 'the table has ' || pg_size_pretty(pg_table_size('bets')) || ', its indexes ' || pg_size_pretty(pg_indexes_size('bets'))";
    Ok(postgres.execute(DATABASE, size)?)
}

/// Removes what was filled in and keeps what was played.
///
/// # Errors
/// With PostgreSQL's message.
pub fn remove(set: &OwnSet) -> Result<(), Failure> {
    let filled = set
        .postgres()
        .execute(DATABASE, "select coalesce(max(sequence), 0) from bets where hazard_seed = ''")?;
    set.postgres().execute(DATABASE, &REMOVE.replace("FILLED", &filled))?;
    Ok(())
}
