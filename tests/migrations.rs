//! A record that an earlier version has filled comes over whole.

use std::process::{Command, Stdio};

use faircross::ledger::MIGRATIONS;
use sqlx::{Connection as _, PgConnection};

use crate::stores::CLUSTER;
use crate::world::{FAIRCROSS, wait_for};

/// Bets as version 5 of the schema kept them, in every state that comes before or after an archive; one of them archived.
const FILLED: &str = r"
insert into agents (agent_id, certificate_sealed, callback_url, allowed_addresses, currencies) values ('demo', '', 'http://127.0.0.1', '{}', '{INR}');
insert into game_configurations (content, hash) values ('{}', encode(sha256('{}'), 'hex'));
insert into players (agent_id, user_id, currency) select 'demo', 'player' || number, 'INR' from generate_series(1, 5) number;
insert into bets (bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane,
                  user_seed, user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, message, placed_at, deadline_at)
    select gen_random_uuid(), 'demo', 'player' || number, 'game', 'INR', 2, 'EASY', 1000, 1, 17, 'seed', true, 0, 'c' || number, 'n' || number, '', 1, '', '{}',
           now(), now()
    from generate_series(1, 5) number;
update bets set state = 'PLACED' where user_id <> 'player1';
update bets set state = 'PENDING_SETTLEMENT', end_reason = 'hazard', last_lane = 0, ended_at = now() where user_id in ('player3', 'player4', 'player5');
update bets set state = 'LOST', settled_at = now() where user_id in ('player4', 'player5');
update players set server_seed_sealed = 's', commitment = 'p' || user_id, next_server_seed_sealed = 't', next_commitment = 'q' || user_id,
                   user_seed = 'u', nonce = 1 where user_id <> 'player2';
insert into bets_archive select bets.*, '2026-01-02 03:04:05+00' from bets where user_id = 'player5';
delete from bets where user_id = 'player5';
create table expected as
    select bet_id, sequence, array_agg(to_state order by at) as states, array_agg(at order by at) as times
    from bet_transitions join (select bet_id, sequence from bets union all select bet_id, sequence from bets_archive) as bet using (sequence)
    group by bet_id, sequence;
";

#[tokio::test(flavor = "multi_thread")]
async fn the_histories_of_an_earlier_version_come_over() {
    let create = || CLUSTER.create_database("migrations_5", None).expect("a database");
    let url = tokio::task::spawn_blocking(create).await.expect("a database");
    let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    MIGRATIONS.run_to(5, &mut connection).await.expect("version 5");
    sqlx::raw_sql(FILLED).execute(&mut connection).await.expect("bets");

    // A table that somebody holds for longer than a request's statement may take: a migration waits.
    let mut holder = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::raw_sql("lock table bets in access share mode")
        .execute(&mut *held)
        .await
        .expect("held");
    let migrating = Command::new(FAIRCROSS)
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", &url)
        .env("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", "100")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
        and clock_timestamp() - query_start > interval '300 ms')";
    wait_for(
        "the migration has waited for longer than a request's statement may take",
        async || {
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
            let waits: bool = sqlx::query_scalar(waits).fetch_one(&mut connection).await.expect("an answer");
            waits.then_some(()).ok_or_else(|| "it does not wait".to_owned())
        },
    )
    .await;
    held.rollback().await.expect("let go");
    let migrated = migrating.wait_with_output().expect("it ends");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));

    let whole = "select count(*) from expected join (
        select bet_id, state, history_states, history_times from bets union all select bet_id, state, history_states, history_times from bets_archive) as bet
        using (bet_id) where states = history_states and times = history_times and history_states[cardinality(history_states)] = state";
    let whole: i64 = sqlx::query_scalar(whole).fetch_one(&mut connection).await.expect("an answer");
    assert_eq!(whole, 5, "every history is in its bet");
    let archived = "select array_to_string(history_states, ' ') || ' ' || (archived_at at time zone 'utc') from bets_archive";
    let archived: String = sqlx::query_scalar(archived).fetch_one(&mut connection).await.expect("an answer");
    assert_eq!(archived, "PENDING PLACED PENDING_SETTLEMENT LOST 2026-01-02 03:04:05");

    // The pair of an open bet is that bet's, with its nonce; who never signed in has none.
    let seeds = "select string_agg(concat_ws(' ', user_id, nonce, commitment, next_commitment, user_seed), ', ' order by user_id) from player_seeds";
    let seeds: String = sqlx::query_scalar(seeds).fetch_one(&mut connection).await.expect("an answer");
    let expected = [("player1", 0), ("player3", 1), ("player4", 1), ("player5", 1)];
    let expected = expected.map(|(user, nonce)| format!("{user} {nonce} p{user} q{user} u"));
    assert_eq!(seeds, expected.join(", "));

    // The bets go on where they stood.
    sqlx::raw_sql("update bets set state = 'WON' where state = 'PENDING_SETTLEMENT'")
        .execute(&mut connection)
        .await
        .expect_err("it pays nothing");
    sqlx::raw_sql("update bets set state = 'LOST' where state = 'PENDING_SETTLEMENT'")
        .execute(&mut connection)
        .await
        .expect("settled");
    let settled = "select array_to_string(history_states, ' ') from bets where user_id = 'player3'";
    let settled: String = sqlx::query_scalar(settled).fetch_one(&mut connection).await.expect("an answer");
    assert_eq!(settled, "PENDING PLACED PENDING_SETTLEMENT LOST");
}
