//! The clean-ups go on until nothing is due, whoever does it, read no table whole, and leave nothing of a person behind whose
//! time is over.

use std::sync::Arc;

use faircross::clock::Clock;
use faircross::jobs::{Job, NoOverlap, Outcome, instants, job, keep_alarm, run_once};
use faircross::ledger::{archive, misdated};
use faircross::play::Context;
use serde_json::json;
use tokio::sync::Notify;

use crate::jobs::{context, context_with};
use crate::world::{PATIENCE, Player, World, WorldOptions, wait_for};

const CLEAN_UPS: [&str; 2] = ["bet-cleanup", "wallet-audit-cleanup"];

fn named(name: &str) -> &'static Job {
    job(name).expect("in the schedule")
}

/// Runs both clean-ups as on another day.
async fn clean_up(world: &World, context: &Arc<Context>) {
    for name in CLEAN_UPS {
        world.ask_redis(&["DEL", &format!("{name}-last-run")]).await;
        assert_eq!(run_once(context, named(name), &NoOverlap::default()).await, Outcome::Done);
    }
}

async fn play(player: &Player, rounds: usize) {
    for _ in 0..rounds {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_goes_on_beyond_its_slice_until_nothing_is_due() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__JOBS__CLEANUP_BATCH", 2)
        .with("FAIRCROSS__JOBS__CLEANUP_SLICE_MS", 1);
    let (world, server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    play(&player, 7).await;
    world.wait_until_settled().await;
    drop(server);
    world
        .change_database(
            "set session_replication_role = replica;
             update bets set ended_at = now() - interval '500 days' - nonce * interval '20 days'",
        )
        .await;
    let context = context(&world).await;
    let left = "select count(*) from bets";
    let last_run = || world.ask_redis(&["EXISTS", "bet-cleanup-last-run"]);
    assert_eq!(
        run_once(&context, named("bet-cleanup"), &NoOverlap::default()).await,
        Outcome::Unfinished
    );
    assert_eq!(world.ask_database(left).await, "5", "a slice is as short as a batch here");
    assert_eq!(last_run().await, redis::Value::Int(0), "today's work is not done");
    assert_eq!(
        world.ask_redis(&["EXISTS", "bet-cleanup-lock"]).await,
        redis::Value::Int(0),
        "another server may go on"
    );

    // The alarm rings once; its expression names no other instant of this year's tests.
    let once_a_year = instants("0 0 0 1 1 *").expect("readable");
    let alarm = Notify::new();
    alarm.notify_one();
    let keeps = keep_alarm(&context, named("bet-cleanup"), &once_a_year, &alarm);
    let done = wait_for("all are archived", async || match world.ask_database(left).await {
        left if left == "0" && last_run().await == redis::Value::Int(1) => Ok(()),
        left => Err(left),
    });
    tokio::select! {
        () = keeps => panic!("a server that does not drain keeps its alarms"),
        () = done => {}
    }
    let months = "select count(*) from pg_inherits where inhparent = 'bets_archive'::regclass";
    assert!(
        world.ask_database(months).await.parse::<i32>().expect("a number") >= 4,
        "a partition for each month"
    );
    let archived = "select (select count(*) from bets_archive) || ' ' || (select count(*) from outbox)";
    assert_eq!(world.ask_database(archived).await, "7 0", "what was owed for a bet went with it");
    let (status, report) = world.command(&["audit", "--operator-ledger", &world.operator.ledger_url()]).await;
    // The sessions of the latest bets in Redis are gone long before their bets come to the archive.
    let bad: Vec<_> = report.lines().filter(|line| line.starts_with("BAD")).collect();
    assert!(
        bad.iter().all(|line| line.contains("sessions_agree")) && (status == 0 || !bad.is_empty()),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_whose_operator_has_not_answered_stays_however_old_it_is() {
    let world = World::new(crate::world::resting_jobs()).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    play(&player, 1).await;
    world
        .change_database("set session_replication_role = replica; update bets set ended_at = ended_at - interval '2200 days'")
        .await;
    clean_up(&world, &context(&world).await).await;
    let kept = "select (select string_agg(state, ' ') from bets) || ' ' || (select count(*) from outbox)";
    assert_eq!(world.ask_database(kept).await, "PENDING_SETTLEMENT 1");
}

/// Every table, with how many of its rows name this player anywhere.
async fn rows_about(world: &World, user_id: &str) -> Vec<String> {
    let tables = "select string_agg(table_name, ' ') from information_schema.tables
        where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> '_sqlx_migrations'";
    let tables = world.ask_database(tables).await;
    let with_user_id = "select string_agg(table_name, ' ') from information_schema.columns
        where table_schema = 'public' and column_name = 'user_id'";
    let with_user_id = world.ask_database(with_user_id).await;
    for table in [
        "players",
        "bets",
        "bets_archive",
        "used_user_seeds",
        "launch_tokens",
        "player_seeds",
        "restored_bets",
        "skipped_nonces",
    ] {
        assert!(with_user_id.split(' ').any(|name| name == table), "{table} is looked at");
    }
    let mut found = Vec::new();
    for table in tables.split(' ') {
        // As text: messages name their player as well.
        let rows = format!("select count(*) from {table} where {table}::text like '%{user_id}%'");
        let rows = world.ask_database(&rows).await;
        if rows != "0" {
            found.push(format!("{table}: {rows}"));
        }
    }
    found
}

const LONG_AGO: &str = "set session_replication_role = replica;
    update bets set ended_at = ended_at - interval '2200 days' where user_id = 'USER';
    update bets_archive set ended_at = ended_at - interval '2200 days' where user_id = 'USER';
    update wallet_audit set at = at - interval '2200 days' where message like '%USER%';
    update used_user_seeds set used_at = used_at - interval '2200 days' where user_id = 'USER';
    update players set seen_at = seen_at - interval '2200 days', created_at = created_at - interval '2200 days' where user_id = 'USER';
    update launch_tokens set expires_at = expires_at - interval '2200 days' where user_id = 'USER'";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_player_of_six_years_ago_nothing_remains_and_no_nonce_comes_again() {
    let (world, server) = World::with_server().await;
    let (gone, stays) = (
        world.player_named(&server, "demo", "demo-cert", "gonelongago").await,
        world.player_named(&server, "demo", "demo-cert", "isstillhere").await,
    );
    for player in [&gone, &stays] {
        play(player, 3).await;
    }
    world.wait_until_settled().await;
    // A restore and two people had to do with the player as well.
    world
        .change_database(
            "set session_replication_role = replica;
             insert into restores (finished_at, bill) values (now() - interval '2200 days', '{\"players\": [\"gonelongago\"]}');
             insert into restored_bets (sequence, restore_id, agent_id, platform_tx_id, user_id, has_bet, decision, at)
                 select 1000001, restore_id, 'demo', 'x', 'gonelongago', false, 'cancelled', finished_at from restores;
             insert into skipped_nonces select 'demo', 'gonelongago', 1, 2, restore_id from restores;
             insert into outbox (sequence, agent_id, action, message, state, created_at)
                 values (1000001, 'demo', 'cancelBet', 'gonelongago', 'done', now() - interval '2200 days'),
                        (1000002, 'demo', 'settle', 'gonelongago', 'resolved', now() - interval '2200 days');
             insert into queue_resolutions (outbox_id, sequence, decided_by, confirmed_by, reason, at)
                 select outbox_id, sequence, 'one', 'two', 'gonelongago was paid', created_at from outbox where state = 'resolved'",
        )
        .await;
    world.change_database(&LONG_AGO.replace("USER", "gonelongago")).await;
    let before = rows_about(&world, "isstillhere").await;
    assert!(rows_about(&world, "gonelongago").await.len() >= 6, "the test sees what there is");
    clean_up(&world, &context(&world).await).await;
    // The bets came to the archive in this very run; their months and the player go with it.
    assert_eq!(rows_about(&world, "gonelongago").await, Vec::<String>::new());
    assert_eq!(rows_about(&world, "isstillhere").await, before, "of others everything");
    let kept = "select count(*) || ' ' || max(next_nonce) from forgotten_players";
    assert_eq!(world.ask_database(kept).await, "1 3");

    // The player comes back: the nonces go on.
    let back = world.player_named(&server, "demo", "demo-cert", "gonelongago").await;
    let in_force = "select nonce from player_seeds where user_id = 'gonelongago'";
    assert_eq!(world.ask_database(in_force).await, "3");
    play(&back, 1).await;
    world.wait_until_settled().await;
    let nonces = "select string_agg(nonce::text, ' ' order by nonce) from bets where user_id = 'gonelongago'";
    assert_eq!(world.ask_database(nonces).await, "3");
    // The operator still has the bets that are gone here; of all else the audit has nothing to say.
    let (_, report) = world.command(&["audit", "--operator-ledger", &world.operator.ledger_url()]).await;
    let bad: Vec<_> = report.lines().filter(|line| line.starts_with("BAD")).collect();
    let of_the_gone = |line: &&str| {
        ["debits_closed", "sums_agree", "sessions_agree"]
            .iter()
            .any(|name| line.contains(name))
    };
    assert!(bad.iter().all(of_the_gone) && report.contains("nonces_without_gap"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_seed_is_remembered_for_as_long_as_its_bets() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let context = context(&world).await;
    let bet = async |seed: &str| {
        let mut body = player.bet_body("10.00", "EASY").await;
        body["userSeed"] = json!(seed);
        player.place(body).await.ok();
        player.walk_and_cash_out(0).await;
        world.wait_until_settled().await;
        world
            .ask_database("select user_seed_fresh::text from bets order by sequence desc limit 1")
            .await
    };
    let years_pass = "set session_replication_role = replica; update used_user_seeds set used_at = now() - interval '2200 days'";
    assert_eq!(bet("lucky").await, "true");
    world.change_database(years_pass).await;
    assert_eq!(bet("lucky").await, "false", "used again after years");
    clean_up(&world, &context).await;
    assert_eq!(bet("lucky").await, "false", "the later use counts");
    world.change_database(years_pass).await;
    clean_up(&world, &context).await;
    assert_eq!(bet("lucky").await, "true", "nothing is known of it any more");
    world.close().await;
}

/// Bets, their calls and what was owed for them, all finished long ago, and as many launch tokens; much as a day leaves them.
const MANY: &str = "set session_replication_role = replica;
    insert into players (agent_id, user_id, currency) select 'demo', 'h' || number, 'INR' from generate_series(0, 999) number;
    insert into bets (bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane,
                      state, is_open, user_seed, user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed,
                      message, placed_at, last_lane, end_reason, created_at, deadline_at, ended_at, settled_at, history_states, history_times)
        select gen_random_uuid(), 'demo', 'h' || number % 1000, 'game', 'INR', 2, 'EASY', 1000, 1, 17, 'LOST', false, 's' || number, true,
               number / 1000, 'c' || number, '', '', 1, '', repeat('m', 400), at, 3, 'hazard', at, at, at, at, '{}', '{}'
        from (select number, now() - interval '401 days' - number * interval '1 second' as at from generate_series(0, 29999) number) as made;
    insert into outbox (sequence, agent_id, action, message, state, attempts)
        select sequence, agent_id, 'settle', repeat('m', 400), 'done', 1 from bets;
    insert into wallet_audit (sequence, agent_id, action, message, outcome, duration_ms, at)
        select sequence, agent_id, 'settle', repeat('m', 400), 'applied', 1, ended_at from bets order by ended_at;
    insert into used_user_seeds (agent_id, user_id, user_seed, used_at) select agent_id, user_id, user_seed, now() - interval '1900 days' from bets";

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_reads_a_whole_table() {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__JOBS__CLEANUP_BATCH", 500)).await;
    world.change_database(MANY).await;
    world.change_database("analyze").await;
    let context = context(&world).await;
    let scans = "select string_agg(relname || ' ' || seq_scan, ', ' order by relname) from pg_stat_user_tables
        where relname in ('bets', 'outbox', 'used_user_seeds', 'wallet_audit')";
    // Sessions tell the statistics what they did when they end, or rest.
    let told = async |what: &str| {
        let of_all = format!(
            "select count(*) from pg_stat_user_tables where relname in ('bets', 'outbox', 'used_user_seeds', 'wallet_audit') and {what}"
        );
        wait_for("the statistics are told", async || match world.ask_database(&of_all).await {
            told if told == "4" => Ok(()),
            told => Err(told),
        })
        .await;
    };
    told("n_tup_ins >= 30000 and analyze_count > 0").await;
    let before = world.ask_database(scans).await;
    clean_up(&world, &context).await;
    let rest = "select (select count(*) from bets_archive) || ' ' || (select count(*) from wallet_audit_archive)";
    assert_eq!(world.ask_database(rest).await, "30000 30000");
    told("n_tup_del >= 30000").await;
    assert_eq!(world.ask_database(scans).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clock_that_went_back_has_put_off_is_due_again() {
    let world = World::new(WorldOptions::default()).await;
    let row = |number: i32, attempts: i32, created: &str, due: &str, leased: &str| {
        format!(
            "insert into outbox (sequence, agent_id, action, message, attempts, created_at, due_at, lease_token, leased_until)
             values ({number}, 'demo', 'settle', '', {attempts}, now() + interval '{created}', now() + interval '{due}', 't', now() + interval '{leased}');"
        )
    };
    let hour = "1 hour";
    world
        .change_database(
            &[
                // Written before the clock went back by an hour: born claimed; put off for a minute; claimed again.
                row(1, 1, hour, hour, "1 hour 15 s"),
                row(2, 4, "-1 hour", "1 hour 1 minute", "0 s"),
                row(3, 3, "-1 hour", "0 s", "1 hour 15 s"),
                row(4, 0, hour, hour, "0 s"),
                // As they may be: on its last step, held at this moment, and a second cancel that is planned for later.
                row(5, 9, "-5 hours", "2 hours", "0 s"),
                row(6, 1, "0 s", "0 s", "15 s"),
                row(7, 0, "0 s", "2 minutes", "0 s"),
                row(8, 1, "0 s", "2 minutes", "0 s"),
                // A second cancel that was planned before the clock went back, before and after its first attempt.
                row(9, 0, hour, "1 hour 2 minutes", "0 s"),
                row(10, 1, hour, "1 hour 2 minutes", "0 s"),
                "update outbox set debit_is_over_at = due_at where sequence in (7, 8, 9, 10)".to_owned(),
            ]
            .concat(),
        )
        .await;
    let recalled = misdated::recall(&mut world.connection().await, 15, &[0, 1, 2, 60, 7_200], 125).await;
    assert_eq!(recalled.expect("an answer"), 6);
    let due = "select string_agg(sequence::text, ' ' order by sequence) from outbox where due_at <= now() and leased_until <= now()";
    assert_eq!(world.ask_database(due).await, "1 2 3 4");
    let planned = "select string_agg(sequence::text, ' ' order by sequence) from outbox
        where due_at = debit_is_over_at and due_at between now() + interval '1 minute' and now() + interval '125 s'";
    assert_eq!(world.ask_database(planned).await, "7 8 9 10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_though_the_clock_went_back() {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__JOBS__WALLET_RETRY", "*/2 * * * * *")).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    wait_for("it is put off", async || {
        // As if it had been put off a moment before PostgreSQL's clock was set back by an hour.
        let put_off = "update outbox set due_at = now() + interval '1 hour 1 s', created_at = now() + interval '59 minutes'
            where state = 'open' and lease_token is null";
        world.change_database(put_off).await;
        let moved = world
            .ask_database("select count(*) from outbox where due_at > now() + interval '50 minutes'")
            .await;
        if moved == "1" { Ok(()) } else { Err(moved) }
    })
    .await;
    world.operator.clear_faults().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_is_given_up_though_the_clock_went_back() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__JOBS__WALLET_RETRY", "*/2 * * * * *")
        .with("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", 2_000);
    let (world, mut server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    server.kill().await;
    let server = world.start_server_killed_at("K4").await;
    let at = player.at(&server);
    let body = json!({ "betAmount": "10.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": at.epoch("EASY").await });
    assert!(at.try_bet_with_key(&body, "one").await.is_err(), "the server dies");
    // As if PostgreSQL's clock had been set back by an hour since.
    world
        .change_database("set session_replication_role = replica; update bets set created_at = created_at + interval '1 hour'")
        .await;
    let _server = world.start_server().await;
    wait_for("the stake is on its way back", async || {
        let state = world.ask_database("select state from bets").await;
        if state == "CANCELLED" { Ok(()) } else { Err(state) }
    })
    .await;
    world.close().await;
}

async fn metric(world: &World, server: &crate::world::Server, line: &str) -> Option<f64> {
    let shown = world.http.get(server.url("/metrics")).send().await.expect("answered");
    let shown = shown.text().await.expect("text");
    let found = shown.lines().find_map(|shown| shown.strip_prefix(line));
    found.and_then(|value| value.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_tells_how_much_is_owed() {
    let world = World::new(crate::world::resting_jobs()).await;
    let servers = [world.start_server().await, world.start_server().await];
    let player = world.player(&servers[0]).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    for server in &servers {
        wait_for("the call that is owed is counted", async || {
            match metric(&world, server, "faircross_outbox_open ").await {
                Some(1.0) => Ok(()),
                counted => Err(format!("{counted:?}")),
            }
        })
        .await;
    }
}

/// A call that was dated by a clock that ran ahead stays, and what comes after it does not wait for the next day.
#[tokio::test(flavor = "multi_thread")]
async fn one_misdated_call_does_not_end_the_clean_up() {
    let world = World::new(WorldOptions::default()).await;
    let calls = "insert into wallet_audit (agent_id, action, message, outcome, duration_ms, at)
        select 'demo', 'settle', '', 'applied', 1, now() - case n when 2 then interval '0 days' else interval '500 days' end
        from generate_series(1, 6) as n";
    world.change_database(calls).await;
    let mut connection = world.connection().await;
    let mut after = None;
    for (rows, looked_at) in [(2, 3), (3, 3), (0, 0)] {
        let moved = archive::archive_calls(&mut connection, 400, 3, after).await.expect("moved");
        assert_eq!((moved.rows, moved.looked_at), (rows, looked_at));
        after = moved.next;
    }
    assert_eq!(world.ask_database("select count(*) from wallet_audit").await, "1");
}

/// Statements that each answer in time are no evidence against PostgreSQL, however long all of them take.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_of_the_clean_up_is_no_outage() {
    let world = World::new(WorldOptions::default()).await;
    let context = context_with(&world, &[("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", "2000")]).await;
    let many = async |connection: &mut sqlx::PgConnection| {
        for _ in 0..5 {
            sqlx::query("select pg_sleep(0.8)").execute(&mut *connection).await?;
        }
        Ok(())
    };
    context.ledger.run_long(many).await.expect("each of them answered in time");
    assert!(context.ledger.is_healthy());
    assert!(context.ledger.run(many).await.is_err(), "a player does not wait for so long");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_keeps_no_job_waiting() {
    let library = std::fs::read_dir("/usr/lib")
        .expect("a directory")
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime (scripts/install-stores --for-tests)");
    let world = World::new(WorldOptions::default().with("FAIRCROSS__JOBS__WALLET_RETRY", "*/2 * * * * *")).await;
    let clock = world.directory.path().join("clock");
    std::fs::write(&clock, "+0\n").expect("written");
    let server = world
        .start_server_with(&[
            ("LD_PRELOAD", library.to_str().expect("a path")),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a path")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ])
        .await;
    let runs = async || {
        let done = r#"faircross_job_runs_total{job="wallet-retry",outcome="done"} "#;
        metric(&world, &server, done).await.unwrap_or_default()
    };
    wait_for("it runs", async || if runs().await >= 1.0 { Ok(()) } else { Err(String::new()) }).await;
    for offset in ["-3600\n", "+3600\n"] {
        std::fs::write(&clock, offset).expect("written");
        let (before, started) = (runs().await, Clock::default().monotonic());
        // One run may have been on its way, and one alarm.
        wait_for("it goes on", async || match runs().await - before {
            more if more >= 4.0 => Ok(()),
            more => Err(more.to_string()),
        })
        .await;
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_within_its_period_though_its_alarm_never_rings() {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    static JOB: Job = Job {
        name: "test",
        pace: faircross::jobs::Pace::Cron(|_| "* * * * * *"),
        lock: None,
        runs_without_redis: true,
        time_limit: std::time::Duration::from_secs(5),
        run: |_| {
            Box::pin(async {
                RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(String::new())
            })
        },
    };
    let world = World::new(WorldOptions::default()).await;
    // The wall clock of this server is of no use at all.
    let context = context_with(&world, &[("FAIRCROSS__CLOCK__OFFSET_MS", "-3600000")]).await;
    let (every_second, silent) = (instants("* * * * * *").expect("readable"), Notify::new());
    let keeps = keep_alarm(&context, &JOB, &every_second, &silent);
    let runs = wait_for("it runs", async || match RUNS.load(std::sync::atomic::Ordering::Relaxed) {
        runs if runs >= 2 => Ok(()),
        runs => Err(runs.to_string()),
    });
    tokio::select! {
        () = keeps => panic!("a server that does not drain keeps its alarms"),
        () = runs => {}
    }
}
