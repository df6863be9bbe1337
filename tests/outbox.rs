//! What we owe an operator: when a call is tried again, how a dead operator is left alone and does not hold up another one's,
//! and what waits for people.

use std::time::Duration;

use faircross::clock::Clock;
use faircross::jobs::{NoOverlap, Outcome, job, run_once};
use serde_json::{Value, json};

use crate::jobs::context;
use crate::raw_server::{Behaviour, RawServer, http};
use crate::world::{PATIENCE, Player, Server, World, WorldOptions, resting_jobs, wait_for};

/// The default schedule, in seconds.
const SCHEDULE_S: [i64; 12] = [0, 1, 2, 4, 8, 16, 32, 60, 300, 900, 1_800, 7_200];

async fn world_with(options: WorldOptions) -> (World, Server) {
    let world = World::new(options).await;
    let server = world.start_server().await;
    (world, server)
}

/// Waits until the only row of this action is in this state after so many attempts, with nobody at it.
async fn wait_for_row(world: &World, action: &str, state: &str, attempts: usize) {
    let sql = format!("select state || ' ' || attempts || ' ' || (lease_token is null) from outbox where action = '{action}'");
    wait_for("an attempt is over", async || {
        let row = world.ask_database(&sql).await;
        // Whoever was at it gives the lock back last.
        let held = world.ask_redis(&["KEYS", "retry-job-lock:*"]).await;
        if row == format!("{state} {attempts} true") && held == redis::Value::Array(Vec::new()) {
            Ok(())
        } else {
            Err(row)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_tried_again_on_schedule_and_never_in_step() {
    let schedule = SCHEDULE_S.map(|seconds| seconds.to_string()).join(",");
    // The server makes the first attempt and rests; every other one is made here, so that none comes before it is expected.
    let (world, server) = world_with(resting_jobs().with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", schedule)).await;
    let (drains, drain) = (context(&world).await, job("quick-retries").expect("in the schedule"));
    let player = world.player(&server).await;
    // Refused and not failed: the breaker has no part in this.
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    let delay =
        "select (extract(epoch from due_at - (select max(at) from wallet_audit where action = 'settle')) * 1000)::bigint from outbox";
    let id = world.ask_database("select outbox_id from outbox").await;
    let mut in_step = 0;
    for attempt in 1..=SCHEDULE_S.len() + 1 {
        wait_for_row(&world, "settle", "open", attempt).await;
        let delay_ms: i64 = world.ask_database(delay).await.parse().expect("milliseconds");
        let planned_ms = SCHEDULE_S[(attempt - 1).min(SCHEDULE_S.len() - 1)] * 1_000;
        assert!(
            (planned_ms * 9 / 10..=planned_ms * 11 / 10).contains(&delay_ms),
            "after attempt {attempt} {delay_ms} ms, not {planned_ms}"
        );
        in_step += usize::from(delay_ms == planned_ms && planned_ms > 0);
        // Nobody waits for two hours: a person makes it due.
        let (status, text) = world.command(&["queue", "retry", &id]).await;
        assert_eq!(status, 0, "{text}");
        assert_eq!(run_once(&drains, drain, &NoOverlap::default()).await, Outcome::Done);
    }
    wait_for_row(&world, "settle", "open", SCHEDULE_S.len() + 2).await;
    assert!(in_step < SCHEDULE_S.len() / 2, "{in_step} waits had no jitter");
    world.operator.clear_faults().await;
    world.command(&["queue", "retry", &id]).await;
    assert_eq!(run_once(&drains, drain, &NoOverlap::default()).await, Outcome::Done);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_leaves_a_failing_operator_alone_and_heals() {
    let options = WorldOptions::hasty()
        .with("FAIRCROSS__WALLET__BREAKER_CALLS", 4)
        .with("FAIRCROSS__WALLET__BREAKER_OPEN_MS", 1_500);
    let (world, server) = world_with(options).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "*": { "kind": "http_500" } })).await;
    wait_for("the breaker is open", async || {
        let answer = player.post("/api/game/bet", player.bet_body("10.00", "EASY").await).await;
        match answer.code() {
            "operator_unavailable" => Ok(()),
            code => Err(code.to_owned()),
        }
    })
    .await;
    world.operator.clear_faults().await;
    wait_for("a bet goes through again", async || {
        let answer = player.bet("10.00", "EASY").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body.to_string())
        }
    })
    .await;
    player.walk_and_cash_out(0).await;
    world.wait_until_settled().await;
    let made = world
        .ask_database(
            "select count(*) from wallet_audit where action <> 'getBalance' and status not in ('too_late', 'not_sent', 'busy', 'breaker_open')",
        )
        .await;
    let arrived = world.operator.calls("bet").await.len()
        + world.operator.calls("cancelBet").await.len()
        + world.operator.calls("settle").await.len();
    assert_eq!(arrived.to_string(), made, "the operator saw all calls that were made, and no other");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_called_no_more_often_at_once_than_allowed() {
    // Nothing is given up while the operator is still at it.
    let options = WorldOptions::hasty()
        .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", PATIENCE.as_millis())
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 15_000)
        .with("FAIRCROSS__WALLET__LEASE_S", 20)
        .with("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", PATIENCE.as_millis())
        .with("FAIRCROSS__WALLET__CONCURRENCY_PER_AGENT", 3)
        .with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "1,1,1");
    let (world, server) = world_with(options).await;
    let mut players = Vec::new();
    for _ in 0..12 {
        players.push(world.player(&server).await);
    }
    let busy = http("200 OK", "content-type: application/json\r\n", r#"{"status":"9998"}"#);
    let slow = RawServer::start(Behaviour::AnswerAfter(Duration::from_millis(150), busy)).await;
    world.add_agent("demo", "demo-cert", &slow.url, &[]).await;
    let server = restarted(&world, server).await;
    let bets = players.iter().map(|player| {
        let player = player.at(&server);
        async move { player.bet("10.00", "EASY").await }
    });
    for answer in futures::future::join_all(bets).await {
        answer.refused(504, "bet_unconfirmed");
    }
    wait_for("every bet was called about", async || {
        let calls = slow.requests().len();
        if calls >= 24 { Ok(()) } else { Err(calls.to_string()) }
    })
    .await;
    // Bets and cancels have three places each.
    let busiest = slow.busiest.load(std::sync::atomic::Ordering::SeqCst);
    assert!((3..=6).contains(&busiest), "{busiest} calls at once");
    world.add_agent("demo", "demo-cert", &world.operator.url(), &[]).await;
    let _survivor = restarted(&world, server).await;
    world.close().await;
}

/// A server that has read the agents anew.
async fn restarted(world: &World, mut server: Server) -> Server {
    server.kill().await;
    world.start_server().await
}

/// Bets, steps once and cashes out, again and again; how long the settles took, in milliseconds and in order.
async fn settle_times_ms(world: &World, player: &Player, rounds: usize) -> Vec<i64> {
    let newest = world.ask_database("select coalesce(max(sequence), 0) from bets").await;
    for _ in 0..rounds {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    let of_player = format!(
        "agent_id = '{}' and user_id = '{}' and sequence > {newest}",
        player.agent_id, player.user_id
    );
    wait_for("all are settled", async || {
        let left = world
            .ask_database(&format!("select count(*) from bets where {of_player} and settled_at is null"))
            .await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
    let times = format!(
        "select string_agg(time_ms::text, ' ' order by time_ms) from (
            select (extract(epoch from settled_at - ended_at) * 1000)::bigint as time_ms from bets where {of_player}) as times"
    );
    let times = world.ask_database(&times).await;
    times.split(' ').map(|time| time.parse().expect("milliseconds")).collect()
}

/// A drain claims as much as it may send at once. What is due beyond that follows as soon as an operator has taken some, for
/// a backlog of thousands must not wait a second for each few dozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_goes_out_in_one_drain() {
    const OWED: usize = 150;
    let (world, server) = world_with(resting_jobs().with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,3600")).await;
    let (drains, drain) = (context(&world).await, job("quick-retries").expect("in the schedule"));
    let refused = json!({ "settle": { "kind": "refuse", "status": "9998" } });
    world.operator.order(refused).await;
    let players = futures::future::join_all((0..3).map(|_| world.player(&server))).await;
    let rounds = players.iter().map(async |player| {
        for _ in 0..OWED / 3 {
            player.bet("10.00", "EASY").await.ok();
            player.walk_and_cash_out(0).await;
        }
    });
    futures::future::join_all(rounds).await;
    wait_for("all are due again", async || {
        let due = "select count(*) from outbox where state = 'open' and lease_token is null and due_at <= now()";
        match world.ask_database(due).await {
            due if due == OWED.to_string() => Ok(()),
            due => Err(due),
        }
    })
    .await;
    world.operator.clear_faults().await;
    assert_eq!(run_once(&drains, drain, &NoOverlap::default()).await, Outcome::Done);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_operator_does_not_hold_up_the_other_ones_settles() {
    // The deadline of a call and the lease as they are by default: a call that hangs takes long, and a bet takes two seconds.
    const CALL_MS: i64 = 10_000;
    const BET_MS: i64 = 2_000;
    let options = WorldOptions::hasty()
        .with("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", PATIENCE.as_millis())
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", CALL_MS)
        .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", BET_MS)
        .with("FAIRCROSS__WALLET__LEASE_S", 15)
        // It opens when 300 bets have been made: while it is open none is.
        .with("FAIRCROSS__WALLET__BREAKER_CALLS", 600);
    let world = World::new(options).await;
    let dead = RawServer::start(Behaviour::Stall(Vec::new())).await;
    world.add_agent("other", "other-cert", &dead.url, &[]).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    let mut unlucky = Vec::new();
    for number in 0..20 {
        unlucky.push(
            world
                .player_named(&server, "other", "other-cert", &format!("unlucky{number}"))
                .await,
        );
    }
    let before = settle_times_ms(&world, &player, 20).await;

    // The other operator takes connections and never answers: 300 bets wait for their cancel.
    let bets = unlucky.iter().map(async |player| {
        for _ in 0..15 {
            player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
        }
    });
    let backlog = futures::future::join_all(bets);
    let meanwhile = settle_times_ms(&world, &player, 20);
    let (_, meanwhile) = tokio::join!(backlog, meanwhile);
    // A settle that is tried again has to find its way between the rows of the other operator, also while the breaker lets
    // calls to it through on trial: that happens every five seconds.
    let once = json!({ "settle": { "kind": "refuse", "status": "9998", "count": 1 } });
    let (mut again, started) = (Vec::new(), Clock::default().monotonic());
    while started.elapsed() < Duration::from_secs(12) {
        world.operator.order(once.clone()).await;
        again.extend(settle_times_ms(&world, &player, 1).await);
    }
    again.sort_unstable();
    let owed = world
        .ask_database("select count(*) from outbox where agent_id = 'other' and state = 'open'")
        .await;
    println!("settles, in ms: before {before:?}, meanwhile {meanwhile:?}, tried again {again:?}, with {owed} calls owed to the other");
    assert!(owed.parse::<u64>().expect("a count") >= 300, "{owed} calls are owed");
    let median = |times: &[i64]| times[times.len() / 2];
    assert!(
        median(&meanwhile) <= median(&before) * 11 / 10 + BET_MS / 2,
        "settles took {before:?} ms before and {meanwhile:?} ms meanwhile"
    );
    assert!(
        again.last().is_some_and(|slowest| *slowest < CALL_MS),
        "tried again after {again:?} ms"
    );
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let _survivor = restarted(&world, server).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_people_is_never_sent_by_itself() {
    for status in ["1017", "1039", "1044"] {
        let (world, server) = World::with_server().await;
        let player = world.player(&server).await;
        world
            .operator
            .order(json!({ "settle": { "kind": "refuse", "status": status, "count": 1 } }))
            .await;
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
        wait_for_row(&world, "settle", "needs_human", 1).await;
        let id = world.ask_database("select outbox_id from outbox").await;
        // The operator would take it now, and other calls are retried and arrive.
        world
            .operator
            .order(json!({ "settle": { "kind": "refuse", "status": "9998", "count": 2 } }))
            .await;
        settle_times_ms(&world, &world.player(&server).await, 1).await;
        let untouched = format!("select state || ' ' || attempts from outbox where outbox_id = {id}");
        assert_eq!(world.ask_database(&untouched).await, "needs_human 1", "{status}");

        let (_, list) = world.command(&["queue", "list"]).await;
        let line = list.lines().nth(1).unwrap_or_default();
        for word in [&*id, "needs_human", "settle", "PENDING_SETTLEMENT", status, "demo"] {
            assert!(line.contains(word), "{word} is missing in {list}");
        }
        let (_, shown) = world.command(&["queue", "show", &id]).await;
        let message = world
            .ask_database(&format!("select message from outbox where outbox_id = {id}"))
            .await;
        assert!(shown.contains(&message) && !shown.contains("demo-cert"), "{shown}");
        let (code, text) = world.command(&["queue", "show", "4711"]).await;
        assert!(code == 1 && text.contains("no such row"), "{text}");
        let (code, text) = world.command(&["queue", "retry", &id]).await;
        assert_eq!(code, 0, "{text}");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_settles_in_time_waits_for_people() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__WALLET__HUMAN_AFTER_S", 6)
        .with("FAIRCROSS__JOBS__WALLET_RETRY", "* * * * * *");
    let (world, server) = world_with(options).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "settle": { "kind": "http_500" } })).await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    wait_for("it waits for people", async || {
        let state = world.ask_database("select state from outbox").await;
        if state == "needs_human" { Ok(()) } else { Err(state) }
    })
    .await;
    let age_s = world
        .ask_database("select extract(epoch from now() - created_at)::bigint >= 6 from outbox")
        .await;
    assert_eq!(age_s, "true", "not before its time");
    assert_eq!(
        world.ask_database("select state from bets").await,
        "PENDING_SETTLEMENT",
        "the state of the money stays"
    );
    let owed: Value = json!(world.ask_database("select attempts from outbox").await);
    assert_ne!(owed, json!("1"), "it had been tried again before");
    world.operator.clear_faults().await;
    let id = world.ask_database("select outbox_id from outbox").await;
    world.command(&["queue", "retry", &id]).await;
    world.close().await;
}

/// Settles that hang take nothing from cancels: a stake that may have been taken goes back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_does_not_wait_behind_settles_that_hang() {
    const PLACES: usize = 4;
    let options = WorldOptions::default()
        .with("FAIRCROSS__WALLET__CONCURRENCY_PER_AGENT", PLACES)
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 60_000)
        .with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,0,0,0,0,0,0,0,1")
        .with("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", 2_000);
    let (world, server) = world_with(options).await;
    let refused = json!({ "kind": "refuse", "status": "9998", "count": 2 * PLACES });
    let faults = json!({ "settle": [refused, { "kind": "delay", "held": true }], "bet": [] });
    world.operator.order(faults).await;
    let player = world.player(&server).await;
    for _ in 0..2 * PLACES {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    let answered = "select count(*) from wallet_audit where action = 'settle'";
    let hanging = "select count(*) from outbox where action = 'settle' and lease_token is not null";
    wait_for("the operator holds as many settles as it may have", async || {
        let mut counts = Vec::new();
        for (question, at_least) in [(answered, 2 * PLACES), (hanging, PLACES)] {
            let count: usize = world.ask_database(question).await.parse().expect("a count");
            counts.push((count, at_least));
        }
        if counts.iter().all(|(count, at_least)| count >= at_least) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
    let before = world.ask_database(answered).await;
    world.operator.order(json!({ "bet": { "kind": "drop_after", "count": 1 } })).await;
    world
        .player(&server)
        .await
        .bet("10.00", "EASY")
        .await
        .refused(504, "bet_unconfirmed");
    wait_for("the first cancel is done", async || {
        let done = world
            .ask_database("select count(*) from outbox where action = 'cancelBet' and state = 'done'")
            .await;
        if done == "0" { Err(done) } else { Ok(()) }
    })
    .await;
    assert_eq!(world.ask_database(answered).await, before, "the settles still hang");
    world.operator.clear_faults().await;
    world.close().await;
}

/// A call for which there is no place is no attempt: the next one is not put off for hours by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_found_no_place_is_no_attempt() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__WALLET__CONCURRENCY_PER_AGENT", 1)
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 6_000);
    let (world, server) = world_with(options).await;
    world.operator.order(json!({ "settle": { "kind": "delay", "held": true } })).await;
    let players = futures::future::join_all((0..2).map(|_| world.player(&server))).await;
    for player in &players {
        player.stand_on("10.00", "EASY", 0).await;
    }
    for player in &players {
        player.cash_out().await.ok();
    }
    wait_for("the second settle found no place", async || {
        let found = world
            .ask_database("select coalesce(string_agg(attempts || ' ' || last_status, ' '), '') from outbox where last_status is not null")
            .await;
        if found == "0 busy" { Ok(()) } else { Err(found) }
    })
    .await;
    world.operator.clear_faults().await;
    world.close().await;
}

/// An operator whose secrets this server cannot open keeps nobody else's calls waiting, and its own wait for a server that can.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_cannot_be_called_from_here_holds_up_no_other() {
    let world = World::new(resting_jobs().with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,3600")).await;
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let mut server = world.start_server().await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" } }))
        .await;
    for (agent_id, certificate) in [("demo", "demo-cert"), ("other", "other-cert")] {
        let player = world.player_named(&server, agent_id, certificate, "somebody").await;
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    let owed = "select string_agg(agent_id || ' ' || state || ' ' || attempts || ' ' || (lease_token is null), ', ' order by agent_id)
        from outbox where action = 'settle'";
    wait_for("both are put off", async || {
        let owed = world.ask_database(owed).await;
        if owed == "demo open 1 true, other open 1 true" {
            Ok(())
        } else {
            Err(owed)
        }
    })
    .await;
    server.kill().await;
    world.operator.clear_faults().await;
    let sealed = "(select certificate_sealed from agents where agent_id = 'other')";
    world
        .change_database(&format!(
            "create table kept as select certificate_sealed from agents where agent_id = 'demo';
             update agents set certificate_sealed = {sealed} where agent_id = 'demo'"
        ))
        .await;
    let drain = job("quick-retries").expect("in the schedule");
    assert_eq!(run_once(&context(&world).await, drain, &NoOverlap::default()).await, Outcome::Done);
    wait_for("the other operator is paid", async || {
        let owed = world.ask_database(owed).await;
        if owed == "demo open 1 true, other done 2 true" {
            Ok(())
        } else {
            Err(owed)
        }
    })
    .await;
    world
        .change_database(
            "update agents set certificate_sealed = (select certificate_sealed from kept) where agent_id = 'demo'; drop table kept",
        )
        .await;
    let _server = world.start_server().await;
    world.close().await;
}
