//! Bets whose debit certainly never left, and an operator that is slow, overloaded or away: nothing is owed for what was not sent,
//! what fits is placed, and what does not fit is refused before anything is written.

use std::time::Duration;

use faircross::clock::Clock;
use serde_json::{Value, json};

use crate::world::{Answer, Player, Server, World, WorldOptions, wait_for};

/// An address of this machine at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.7.81:0").await.expect("a port");
    format!("http://{}/callback", listener.local_addr().expect("an address"))
}

/// A bet that is sent once, whatever is answered.
async fn bet_once(player: &Player) -> Answer {
    player.post("/api/game/bet", player.bet_body("10.00", "EASY").await).await
}

async fn players(world: &World, server: &Server, count: usize) -> Vec<Player> {
    let mut players = Vec::new();
    for _ in 0..count.div_ceil(8) {
        players.extend(futures::future::join_all((0..8).map(|_| world.player(server))).await);
    }
    players.truncate(count);
    players
}

async fn count(world: &World, what: &str) -> u64 {
    let count = world.ask_database(&format!("select count(*) from {what}")).await;
    count.parse().expect("a count")
}

/// A server that has read the agents anew.
async fn restarted(world: &World, mut server: Server) -> Server {
    server.kill().await;
    world.start_server().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bets_at_a_dead_operator_owe_nothing() {
    const OPEN_MS: u64 = 1_500;
    let options = WorldOptions::default()
        .with("FAIRCROSS__WALLET__BREAKER_CALLS", 10)
        .with("FAIRCROSS__WALLET__BREAKER_OPEN_MS", OPEN_MS);
    let world = World::new(options).await;
    world.add_agent("demo", "demo-cert", &nobody().await, &[]).await;
    let server = world.start_server().await;
    let players = players(&world, &server, 8).await;
    let started = Clock::default().monotonic();
    let betting = players.iter().map(async |player| {
        let mut refused = 0_u64;
        while started.elapsed() < Duration::from_secs(6) {
            let answer = bet_once(player).await;
            answer.refused(503, "operator_unavailable");
            assert!(answer.retry_after.is_some(), "it says when to come back");
            refused += 1;
        }
        refused
    });
    let refused: u64 = futures::future::join_all(betting).await.into_iter().sum();
    let rows = count(&world, "bets").await;
    // The row that opens the breaker, who was under way at that moment, and three on trial each time.
    let periods = u64::try_from(started.elapsed().as_millis()).expect("short") / OPEN_MS + 1;
    assert!(rows <= 10 + 8 + 3 * periods, "{rows} bets were written in {periods} times of rest");
    assert!(
        rows >= 10 && rows < refused,
        "{rows} of {refused}: the others were refused before their intent"
    );
    assert_eq!(count(&world, "bets where state <> 'REJECTED' or not never_sent").await, 0);
    assert_eq!((count(&world, "outbox").await, count(&world, "wallet_audit").await), (0, 0));
    let shown = world.http.get(server.url("/metrics")).send().await.expect("answered");
    let shown = shown.text().await.expect("text");
    let is_of_refused = |line: &str| {
        ["action=\"bet\"", "outcome=\"breaker_open\""]
            .iter()
            .all(|label| line.contains(label))
    };
    assert!(shown.lines().any(is_of_refused), "whoever watches the operator sees it");
    let player = &players[0];
    let history = player.get("/api/game/bets").await.ok();
    let bets = history["bets"].as_array().expect("bets");
    for (bet, nonce) in bets.iter().rev().zip(0_u64..) {
        assert_eq!(bet["fairness"]["nonce"], nonce, "every intent takes its nonce");
        assert_eq!((&bet["status"], &bet["endReason"]), (&json!("REJECTED"), &json!("refused")));
        assert!(bet["fairness"]["serverSeed"].is_string(), "its seed is revealed");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_bet_that_never_left_is_free_again() {
    let world = World::new(WorldOptions::default()).await;
    world.add_agent("demo", "demo-cert", &nobody().await, &[]).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    let mut body = player.bet_body("10.00", "EASY").await;
    for _ in 0..2 {
        body["hazardEpoch"] = json!(player.epoch("EASY").await);
        let answer = player.try_bet_with_key(&body, "k").await.expect("answered");
        answer.refused(503, "operator_unavailable");
    }
    world.add_agent("demo", "demo-cert", &world.operator.url(), &[]).await;
    let server = restarted(&world, server).await;
    let player = player.at(&server);

    body["hazardEpoch"] = json!(player.epoch("EASY").await);
    let placed = player
        .until_available(async || player.try_bet_with_key(&body, "k").await.expect("answered"))
        .await
        .ok();
    let again = player.try_bet_with_key(&body, "k").await.expect("answered").ok();
    assert_eq!(placed["roundId"], again["roundId"], "a bet that was sent has its key for good");
    let id = placed["betId"].as_str().expect("an id").to_owned();
    player.walk_and_cash_out(0).await;
    assert_eq!(
        player.history(&id).await["fairness"]["userSeedFresh"],
        false,
        "the seed of an attempt that was refused has been told"
    );
    assert_eq!(count(&world, "bets where idempotency_key = 'k'").await, 3, "an attempt for each");
    assert_eq!(world.operator.calls("bet").await.len(), 1);
    let broken = "update bets set never_sent = true where state <> 'REJECTED'";
    let refused = sqlx::query(broken)
        .execute(&mut world.connection().await)
        .await
        .expect_err("refused");
    assert_eq!(
        refused.as_database_error().and_then(|error| error.constraint()),
        Some("bets_never_sent_once")
    );
    world.close().await;
}

/// Bets at a steady rate, each of a player of its own, whatever becomes of the earlier ones.
async fn open_loop(players: &[Player], per_second: f64) -> Vec<Answer> {
    let started = Clock::default().monotonic();
    let bets = players.iter().zip(0_u32..).map(async |(player, number)| {
        let body = player.bet_body("10.00", "EASY").await;
        let due = Duration::from_secs(2) + Duration::from_secs_f64(f64::from(number) / per_second);
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        // The road that it saw may be too old by now.
        let mut answer = player.post("/api/game/bet", body).await;
        if answer.code() == "stale_hazard_epoch" {
            answer = bet_once(player).await;
        }
        answer
    });
    futures::future::join_all(bets).await
}

/// An operator that answers correctly and late: what fits through its places is placed, the rest is refused and nothing taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_fits_through_a_slow_operator_is_placed() {
    const PLACES: f64 = 8.0;
    const DELAY_MS: u64 = 800;
    // As 30 and 60 bets a second at 64 places and three seconds.
    for load in [1.4, 2.8] {
        let options = WorldOptions::default().with("FAIRCROSS__WALLET__CONCURRENCY_PER_AGENT", PLACES);
        let (world, server) = World::with_server_and(options).await;
        let per_second = load * PLACES * 1_000.0 / DELAY_MS as f64;
        let lasting_s = 8.0;
        let players = players(&world, &server, (per_second * lasting_s) as usize).await;
        world
            .operator
            .order(json!({ "bet": { "kind": "delay_after", "delayMs": DELAY_MS } }))
            .await;
        let answers = open_loop(&players, per_second).await;
        let placed = answers.iter().filter(|answer| answer.status == 200).count();
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(503, "operator_unavailable");
            assert!(answer.retry_after.is_some());
        }
        // What a call took is the machine's; what fits follows from it.
        let took_ms = world
            .ask_database("select avg(duration_ms) from wallet_audit where action = 'bet'")
            .await;
        let took_s = took_ms.parse::<f64>().expect("milliseconds") / 1_000.0;
        let fits = PLACES * lasting_s / took_s;
        println!(
            "load {load}: {placed} of {} placed, {fits:.1} fit, {took_s:.3} s a call",
            answers.len()
        );
        assert!(placed as f64 >= 0.95 * fits, "{placed} placed, {fits} fit");
        assert_eq!(count(&world, "bets").await, placed as u64, "what was refused was not written");
        assert_eq!(count(&world, "outbox").await, 0, "nothing was cancelled");

        // Recovered: as soon as it is quick again, all are placed.
        world.operator.clear_faults().await;
        let waiting: Vec<&Player> = players
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.status != 200)
            .map(|(player, _)| player)
            .take(10)
            .collect();
        let started = Clock::default().monotonic();
        for player in &waiting {
            bet_once(player).await.ok();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let placed = players.iter().zip(&answers).filter(|(_, answer)| answer.status == 200);
        let standing = placed.map(|(player, _)| player).chain(waiting);
        futures::future::join_all(standing.map(async |player| player.walk_and_cash_out(0).await)).await;
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settles_that_take_long_leave_the_bets_alone() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__WALLET__CONCURRENCY_PER_AGENT", 3)
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 9_000);
    let (world, server) = World::with_server_and(options).await;
    let players = players(&world, &server, 6).await;
    world.operator.order(json!({ "settle": { "kind": "delay", "held": true } })).await;
    let rounds = players.iter().map(async |player| {
        for _ in 0..6 {
            // Only a full house of bets may make one wait: six players, three places.
            let answer = player.bet("10.00", "EASY").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            player.walk_and_cash_out(0).await;
        }
    });
    futures::future::join_all(rounds).await;
    assert_eq!(
        count(&world, "bets where state in ('PENDING_CANCEL', 'CANCELLED', 'REJECTED')").await,
        0
    );
    world.operator.clear_faults().await;
    world.close().await;
}

/// Retries at an operator that carries nothing out stay within their budget, and go on as soon as it does.
#[tokio::test(flavor = "multi_thread")]
async fn retries_have_a_budget_while_the_operator_is_failing() {
    const OWED: usize = 60;
    let (world, server) = World::with_server().await;
    let players = players(&world, &server, OWED).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "9998" }, "bet": { "kind": "delay", "delayMs": 1 } }))
        .await;
    futures::future::join_all(players.iter().map(async |player| {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }))
    .await;
    wait_for("all have been sent once", async || {
        let sent = count(&world, "outbox where attempts > 0 and lease_token is null").await;
        if sent == OWED as u64 { Ok(()) } else { Err(sent.to_string()) }
    })
    .await;
    let retries = "select coalesce(sum(attempts - 1), 0) from outbox where action = 'settle'";
    let retries = async || world.ask_database(retries).await.parse::<f64>().expect("a count");
    let before = retries().await;
    let started = Clock::default().monotonic();
    // Twenty that were saved up, and a tenth of the first sends; from then on two a second.
    let at_once = 20.0 + OWED as f64 / 10.0 + 2.0;
    wait_for("they trickle, so that a recovery is seen", async || {
        let made = retries().await - before;
        let allowed = 2.0f64.mul_add(started.elapsed().as_secs_f64(), at_once);
        assert!(made <= allowed, "{made} retries, {allowed} allowed");
        if made >= at_once + 6.0 { Ok(()) } else { Err(made.to_string()) }
    })
    .await;
    world.operator.clear_faults().await;
    world.close().await;
}

/// A debit that a network holds back and delivers after the second cancel takes no stake.
#[tokio::test(flavor = "multi_thread")]
async fn a_debit_that_arrives_after_its_cancels_takes_nothing() {
    let (world, server) = World::with_server_and(WorldOptions::hasty()).await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "bet": { "kind": "delay", "held": true, "count": 1 } }))
        .await;
    bet_once(&player).await.refused(504, "bet_unconfirmed");
    wait_for("both cancels are done", async || {
        match count(&world, "outbox where action = 'cancelBet' and state = 'done'").await {
            2 => Ok(()),
            done => Err(done.to_string()),
        }
    })
    .await;
    world.operator.clear_faults().await;
    let id = world.ask_database("select bet_id from bets").await;
    wait_for("the debit arrived", async || {
        let ledger = world.operator.ledger().await;
        let bets = ledger["bets"].as_array().cloned().unwrap_or_default();
        let bet = bets.into_iter().find(|bet| bet["platformTxId"] == *id).unwrap_or_default();
        let deliveries = bet["history"].as_array().map_or(0, Vec::len);
        if deliveries >= 3 { Ok(()) } else { Err(bet.to_string()) }
    })
    .await;
    let ledger: Value = world.operator.ledger().await;
    assert_eq!(ledger["players"][0]["balance"], "1000.00", "{ledger}");
    world.close().await;
}

/// The operator's own mistake is named, by its kind, in a command that asks, in `doctor`, and once in the log.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_answers_is_named() {
    // The second cancel of a bet comes a second after its debit could last have been sent.
    let options = WorldOptions::default().with("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", 2_000);
    let (world, server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    let check = async || world.command(&["agent", "check", "--agent-id", "demo"]).await;
    let (status, text) = check().await;
    assert!(
        status == 0 && text.contains("application/json") && text.contains("0000 with a balance"),
        "{text}"
    );
    for (fault, code, named) in [
        (json!({ "kind": "byte_order_mark" }), 0, "UTF-8 byte order mark"),
        (json!({ "kind": "gzip" }), 0, "gzipped"),
        (
            json!({ "kind": "garbage", "body": "{\"status\":\"0000\"}{}" }),
            1,
            "something after the JSON object",
        ),
        (
            json!({ "kind": "garbage", "body": "{\"status\":0,\"secret\":\"s3cr3t\"}" }),
            1,
            "four digits",
        ),
        (json!({ "kind": "refuse", "status": "1027" }), 1, "certificate not accepted"),
        (json!({ "kind": "refuse", "status": "1002" }), 0, "no such account"),
        (json!({ "kind": "http_500" }), 1, "not 2xx"),
    ] {
        world.operator.order(json!({ "*": fault })).await;
        let (status, text) = check().await;
        assert!(
            status == code && text.contains(named) && !text.contains("s3cr3t"),
            "{fault}: {text}"
        );
        let (_, report) = world.command(&["doctor"]).await;
        let line = report.lines().find(|line| line.contains("agent demo answers")).unwrap_or_default();
        assert!(
            line.starts_with("ok") == (code == 0 && fault["status"] == "1002"),
            "{fault}: {report}"
        );
        assert!(line.contains(named), "{fault}: {report}");
    }
    world
        .operator
        .order(json!({ "*": { "kind": "garbage", "applied": false, "body": "{\"status\":0,\"secret\":\"s3cr3t\"}", "count": 4 } }))
        .await;
    for _ in 0..2 {
        bet_once(&player).await.refused(504, "bet_unconfirmed");
    }
    world.operator.clear_faults().await;
    world.wait_until_settled().await;
    let log = server.log();
    assert_eq!(log.matches("an operator's answer proves nothing").count(), 1, "{log}");
    assert!(log.contains("four digits") && !log.contains("s3cr3t"), "{log}");
    let (status, text) = world.command(&["agent", "check", "--agent-id", "none"]).await;
    assert!(status == 1 && text.contains("no such agent"), "{text}");
    world.close().await;
}
