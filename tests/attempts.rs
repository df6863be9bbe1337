//! What the answer to an attempt proves: whether the operator may have had the message before, what ends a cancel, and that what
//! is said of a bet is what its debit said.

use std::collections::HashSet;

use faircross::jobs::{NoOverlap, Outcome, job, run_once};
use faircross::ledger::outbox::{self, Queue};
use serde_json::json;
use sqlx::Connection as _;

use crate::jobs::context;
use crate::world::{Player, Server, World, WorldOptions, resting_jobs, wait_for};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9/callback";

/// A world in which only the test makes attempts after the first one of each call.
async fn at_rest() -> (World, Server) {
    World::with_server_and(resting_jobs().with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,0,0,0,0,0,0,0,1")).await
}

/// Makes every call that is due, with the agents as they are now, and waits until nobody is at the latest row.
async fn attempt(world: &World, attempts: usize) -> String {
    let drain = job("quick-retries").expect("in the schedule");
    assert_eq!(run_once(&context(world).await, drain, &NoOverlap::default()).await, Outcome::Done);
    latest_row(world, attempts).await
}

/// What the latest row of the outbox has come to, once its attempt is over: its state and what was answered last.
async fn latest_row(world: &World, attempts: usize) -> String {
    let latest = "from outbox order by outbox_id desc limit 1";
    wait_for("an attempt is over", async || {
        let over = world
            .ask_database(&format!(
                "select attempts || ' ' || not exists (select from outbox where lease_token is not null) {latest}"
            ))
            .await;
        // Whoever was at it gives the lock back last, and until then the next attempt is spared.
        let held = world.ask_redis(&["KEYS", "retry-job-lock:*"]).await;
        if over == format!("{attempts} true") && held == redis::Value::Array(Vec::new()) {
            Ok(())
        } else {
            Err(over)
        }
    })
    .await;
    world
        .ask_database(&format!("select state || ' ' || coalesce(last_status, '') {latest}"))
        .await
}

async fn all_done(world: &World) {
    wait_for("all calls are done", async || {
        let open = world.ask_database("select count(*) from outbox where state <> 'done'").await;
        if open == "0" { Ok(()) } else { Err(open) }
    })
    .await;
}

/// The statuses of the settles of the latest bet, as they were audited.
async fn audited_settles(world: &World) -> String {
    world
        .ask_database(
            "select string_agg(status, ' ' order by audit_id) from wallet_audit
             where action = 'settle' and sequence = (select max(sequence) from bets)",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_never_left_is_not_believed() {
    let (world, mut server) = at_rest().await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    all_done(&world).await;
    server.kill().await;
    world.add_agent("demo", "demo-cert", NOBODY, &[]).await;
    let server = world.start_server().await;
    player.at(&server).cash_out().await.ok();
    assert_eq!(latest_row(&world, 1).await, "open not_sent");
    for attempts in 2..=4 {
        assert_eq!(attempt(&world, attempts).await, "open not_sent");
    }
    assert_eq!(
        audited_settles(&world).await,
        "",
        "a call that was not made leaves no trace in the audit"
    );

    world.add_agent("demo", "demo-cert", &world.operator.url(), &[]).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "1038" } }))
        .await;
    for attempts in 5..=6 {
        assert_eq!(
            attempt(&world, attempts).await,
            "open 1038",
            "nothing was sent before, so nothing was applied"
        );
    }
    assert_eq!(
        world.ask_database("select state from bets order by sequence desc limit 1").await,
        "PENDING_SETTLEMENT"
    );
    world.operator.clear_faults().await;
    assert_eq!(attempt(&world, 7).await, "done 0000");
    assert_eq!(audited_settles(&world).await, "1038 1038 0000", "the operator's own words");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_claims_three_times_what_cannot_be_is_asked_by_people() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "1016" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    assert_eq!(latest_row(&world, 3).await, "needs_human 1016");

    let id = world.ask_database("select outbox_id from outbox").await;
    let (_, shown) = world.command(&["queue", "show", &id]).await;
    assert_eq!(shown.matches("settle     unknown   1016").count(), 3, "its attempts: {shown}");
    assert!(shown.contains("bet        applied   0000"), "its debit: {shown}");

    let (status, text) = world.command(&["queue", "retry"]).await;
    assert_ne!(status, 0, "which ones? {text}");
    for nothing in [["--agent", "other"], ["--action", "voidBet"]] {
        let (status, text) = world.command(&[&["queue", "retry"][..], &nothing[..]].concat()).await;
        assert!(status == 1 && text.contains("no such row"), "{text}");
    }
    world.operator.clear_faults().await;
    let (status, text) = world.command(&["queue", "retry", "--agent", "demo", "--action", "settle"]).await;
    assert!(status == 0 && text.contains("1 rows are due now"), "{text}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_resolve_many_rows_at_once() {
    let (world, server) = World::with_server().await;
    // Done, and denied: a person will find them in the operator's books.
    world
        .operator
        .order(json!({ "settle": { "kind": "answer", "status": "1044" } }))
        .await;
    let players = [
        world.player(&server).await,
        world.player(&server).await,
        world.player(&server).await,
    ];
    for player in &players {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    wait_for("all wait for people", async || {
        let waiting = world.ask_database("select count(*) from outbox where state = 'needs_human'").await;
        if waiting == "3" { Ok(()) } else { Err(waiting) }
    })
    .await;
    let names = [
        "--decided-by",
        "Asha",
        "--confirmed-by",
        "Ben",
        "--reason",
        "settled in the operator's ledger",
    ];
    let resolve = async |rows: &[&str]| world.command(&[&["queue", "resolve"][..], rows, &names[..]].concat()).await;
    let (status, text) = resolve(&["--agent", "other"]).await;
    assert!(status == 1 && text.contains("no such row"), "{text}");
    let (status, text) = resolve(&["--all", "--agent", "demo"]).await;
    assert!(status == 0 && text.contains("3 rows are resolved"), "{text}");
    assert_eq!(
        world.ask_database("select count(distinct outbox_id) from queue_resolutions").await,
        "3"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_a_person_is_a_fresh_course_of_attempts() {
    let (world, server) = at_rest().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    assert_eq!(latest_row(&world, 1).await, "open 9998");
    let three_days_ago = "update outbox set created_at = now() - interval '73 hours', course_began_at = now() - interval '73 hours'";
    world.change_database(three_days_ago).await;
    assert_eq!(attempt(&world, 2).await, "needs_human 9998");

    let (status, text) = world.command(&["queue", "retry", "--all"]).await;
    assert_eq!(status, 0, "{text}");
    for attempts in 1..=3 {
        assert_eq!(attempt(&world, attempts).await, "open 9998", "its age counts from the retry");
    }
    world.operator.clear_faults().await;
    assert_eq!(attempt(&world, 4).await, "done 0000");
    world.close().await;
}

/// The process dies between the commit of an end and its settle. Nobody can know whether the message left, so "already applied" is
/// taken for what it says.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_may_have_sent_may_have_been_applied() {
    let world = World::new(WorldOptions::hasty()).await;
    let mut server = world.start_server_killed_at("K11").await;
    let player = world.player(&server).await;
    player.bet("10.00", "EASY").await.ok();
    let mut dies = false;
    for (path, body) in [("/api/game/step", json!({ "lineNumber": 0 })), ("/api/game/cashout", json!({}))] {
        let request = player.request(reqwest::Method::POST, path).json(&body);
        dies |= player.try_send(request).await.is_err();
    }
    assert!(server.wait_until_ended().await && server.reached("K11"), "{dies}: {}", server.log());
    world
        .operator
        .order(json!({ "settle": { "kind": "answer", "status": "1038" } }))
        .await;
    let _survivor = world.start_server().await;
    assert_eq!(latest_row(&world, 2).await, "done 1038");
    assert_eq!(audited_settles(&world).await, "1038");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn already_cancelled_ends_a_cancel() {
    let (world, server) = World::with_server_and(WorldOptions::hasty()).await;
    let player = world.player(&server).await;
    let faults = json!({ "bet": { "kind": "drop_after" }, "cancelBet": { "kind": "answer", "status": "1043" } });
    world.operator.order(faults).await;
    player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
    all_done(&world).await;
    let rows = "select string_agg(attempts || ' ' || last_status, ', ') from outbox";
    assert_eq!(world.ask_database(rows).await, "1 1043, 1 1043");
    world.close().await;
}

/// An operator that remembers no cancels denies the bet each time. As long as the debit may still come that proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_no_such_bet_ends_its_cancels_once_the_debit_can_no_longer_come() {
    for status in ["1017", "1039", "1044"] {
        let (world, server) = World::with_server_and(WorldOptions::hasty()).await;
        let player = world.player(&server).await;
        let faults = json!({ "bet": { "kind": "drop_before" }, "cancelBet": { "kind": "refuse", "status": status } });
        world.operator.order(faults).await;
        player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
        all_done(&world).await;
        let rows = "select string_agg(attempts || ' ' || last_status || ' ' || (done_at >= debit_is_over_at), ', ' order by outbox_id) from outbox";
        assert_eq!(world.ask_database(rows).await, format!("2 {status} true, 1 {status} true"));
        let bet = "select state || ' ' || (settled_at >= (select max(debit_is_over_at) from outbox)) from bets";
        assert_eq!(world.ask_database(bet).await, "CANCELLED true");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_no_such_bet_ends_nothing_where_the_debit_was_confirmed() {
    // What is put off is not due again, so that each attempt is about one row.
    let (world, server) = World::with_server_and(resting_jobs().with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "3600")).await;
    let player = world.player(&server).await;
    let faults = json!({ "bet": { "kind": "drop_after" }, "cancelBet": { "kind": "refuse", "status": "9998" } });
    world.operator.order(faults).await;
    player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
    wait_for("the first cancel is over", async || {
        let attempts = world
            .ask_database("select attempts || ' ' || (lease_token is null) from outbox order by outbox_id limit 1")
            .await;
        if attempts == "1 true" { Ok(()) } else { Err(attempts) }
    })
    .await;
    // As it is written when the answer to a debit comes after its cancel.
    world
        .change_database(
            "insert into wallet_audit (sequence, agent_id, action, message, outcome, status, duration_ms)
             select sequence, agent_id, 'bet', message, 'applied', '0000', 1 from bets",
        )
        .await;
    world
        .operator
        .order(json!({ "cancelBet": { "kind": "refuse", "status": "1017" } }))
        .await;
    let ids = world
        .ask_database("select string_agg(outbox_id::text, ' ' order by outbox_id) from outbox")
        .await;
    let (first, second) = ids.split_once(' ').expect("two cancels");
    world.command(&["queue", "retry", second]).await;
    assert_eq!(attempt(&world, 1).await, "needs_human 1017");
    assert_eq!(world.ask_database("select state from bets").await, "PENDING_CANCEL");
    world.operator.clear_faults().await;
    for id in [second, first] {
        world.command(&["queue", "retry", id]).await;
        assert_eq!(attempt(&world, 1).await, "done 0000");
    }
    world.close().await;
}

/// The second cancel has the bytes of the first: an operator that took the first may call the second one applied.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_cancel_is_a_repeat_of_the_first() {
    let (world, server) = at_rest().await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "bet": { "kind": "drop_after" } })).await;
    player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
    wait_for("the first cancel is done", async || {
        let state = world.ask_database("select state from outbox order by outbox_id limit 1").await;
        if state == "done" { Ok(()) } else { Err(state) }
    })
    .await;
    world
        .operator
        .order(json!({ "cancelBet": { "kind": "answer", "status": "1038" } }))
        .await;
    world.command(&["queue", "retry", "--action", "cancelBet"]).await;
    assert_eq!(attempt(&world, 1).await, "done 1038");
    world.close().await;
}

/// A server that calls the game otherwise, for an agent that has moved to another offset.
async fn with_other_names(world: &World) -> Server {
    world
        .add_agent("demo", "demo-cert", &world.operator.url(), &["--utc-offset-minutes", "330"])
        .await;
    world
        .start_server_with(&[
            ("FAIRCROSS__GAME__PLATFORM", "Elsewhere"),
            ("FAIRCROSS__GAME__GAME_TYPE", "STEP"),
            ("FAIRCROSS__GAME__GAME_CODE", "another-road"),
            ("FAIRCROSS__GAME__GAME_NAME", "another-road-9"),
        ])
        .await
}

/// Every call of this action says what the debits said, and there is one.
async fn says_what_the_debit_said(world: &World, action: &str) {
    let calls = world.operator.calls(action).await;
    assert!(!calls.is_empty(), "no {action}");
    for call in calls {
        let message = call["message"].as_str().expect("a text");
        for name in ["\"In-out\"", "\"CRASH\"", "\"chicken-road-two\""] {
            assert!(message.contains(name), "{name}: {message}");
        }
        assert!(!message.contains("+05:30"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_says_what_its_debit_said_whatever_the_settings_have_become() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    all_done(&world).await;
    server.kill().await;
    let renamed = with_other_names(&world).await;
    player.at(&renamed).cash_out().await.ok();
    world.wait_until_settled().await;
    says_what_the_debit_said(&world, "settle").await;
    // The next bet has the new names, and so has its settle: the operator compares them.
    player.at(&renamed).win_on_lane("10.00", "EASY", 0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_says_what_its_debit_said_whatever_the_settings_have_become() {
    let options = WorldOptions::default().with("FAIRCROSS__GAME__SESSION_TTL_S", 2);
    let world = World::new(options).await;
    let mut server = world.start_server_with(&[("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", "3600000")]).await;
    let player: Player = world.player(&server).await;
    player.bet("10.00", "EASY").await.ok();
    server.kill().await;
    let _renamed = with_other_names(&world).await;
    world.wait_until_settled().await;
    says_what_the_debit_said(&world, "voidBet").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_says_what_its_debit_said_whatever_the_settings_have_become() {
    let world = World::new(WorldOptions::hasty()).await;
    let mut server = world.start_server_killed_at("K4").await;
    let player = world.player(&server).await;
    let body = player.bet_body("10.00", "EASY").await;
    let request = player.request(reqwest::Method::POST, "/api/game/bet").json(&body);
    assert!(player.try_send(request).await.is_err(), "the server died");
    assert!(server.wait_until_ended().await, "{}", server.log());
    let _renamed = with_other_names(&world).await;
    world.wait_until_settled().await;
    says_what_the_debit_said(&world, "cancelBet").await;
    world.close().await;
}

/// Rows of another operator are not read, however many are due, nor settles for the sake of cancels: PostgreSQL counts what a
/// transaction reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_no_other_queues_backlog() {
    const BACKLOG: i64 = 100_000;
    const CLAIMED: i64 = 64;
    let world = World::new(WorldOptions::default()).await;
    let backlog = format!(
        "insert into outbox (sequence, agent_id, action, message, due_at)
         select n, 'other', 'settle', repeat('x', 400), now() - interval '1 hour' from generate_series(1, {BACKLOG}) as n;
         insert into outbox (sequence, agent_id, action, message, due_at)
         select -n, 'demo', 'settle', 'owed', now() - interval '1 hour' from generate_series(1, {BACKLOG}) as n;
         insert into outbox (sequence, agent_id, action, message)
         select -n, 'demo', 'cancelBet', 'owed' from generate_series(1, 1000) as n"
    );
    world.change_database(&backlog).await;
    let mut connection = world.connection().await;
    let read = "select coalesce(sum(seq_scan), 0)::bigint, coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint
                from pg_stat_xact_user_tables where relname = 'outbox'";
    // Before and after PostgreSQL knows how large the table is; a prepared statement may be planned anew until its sixth run.
    for round in 0..10 {
        if round == 8 {
            world.change_database("analyze outbox").await;
        }
        let mut transaction = connection.begin().await.expect("a transaction");
        let queues = outbox::queues_due(&mut transaction).await.expect("an answer");
        let owed = [("demo", true), ("demo", false), ("other", false)].map(|(agent_id, of_cancels)| Queue {
            agent_id: agent_id.to_owned(),
            of_cancels,
        });
        assert_eq!(queues.iter().collect::<HashSet<_>>(), owed.iter().collect());
        for queue in &owed[..2] {
            let claimed = outbox::claim_due(&mut transaction, queue, "token", 60, CLAIMED)
                .await
                .expect("a claim");
            assert_eq!(claimed.len(), usize::try_from(CLAIMED).expect("a size"), "{queue:?}");
        }
        let (scans, rows): (i64, i64) = sqlx::query_as(read).fetch_one(&mut *transaction).await.expect("counted");
        assert_eq!(scans, 0, "round {round}: the table was read as a whole");
        // What earlier rounds took back is still there, and read.
        assert!(rows <= BACKLOG / 20, "round {round}: {rows} rows were read");
        transaction.rollback().await.expect("rolled back");
    }
}
