//! What players and operators see when a store, a server or a clock fails: what was shown is paid, nothing is paid twice,
//! and every bet comes to its end.

use std::collections::HashSet;
use std::time::Duration;

use faircross::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Player, Server, World, WorldOptions, wait_for, wallet};

/// A world in which Redis will be away: its commands have the deadline that they have in earnest.
fn with_real_deadline() -> WorldOptions {
    WorldOptions::default().with("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", 400)
}

/// Bets until the first `lanes` lanes are safe; the player then stands on lane `lanes - 1`. Returns the last answer.
async fn stand_on(player: &Player, lanes: i64) -> Value {
    loop {
        player.bet("10.00", "EASY").await.ok();
        let mut round = json!({});
        for lane in 0..lanes {
            round = player.step(lane).await.ok();
            if round["isFinished"] == true {
                break;
            }
        }
        if round["isFinished"] == false {
            return round;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_paid_when_redis_is_wiped() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let shown = stand_on(&player, 4).await;
    world.ask_redis(&["FLUSHALL"]).await;
    let end = player
        .insist("/api/game/cashout", json!({ "lineNumber": 3, "roundId": shown["roundId"] }))
        .await
        .ok();
    assert_eq!((&end["endReason"], &end["winAmount"]), (&json!("cashout"), &shown["winAmount"]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_a_higher_lane_after_a_wipe_gains_nothing() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    for _ in 0..5 {
        let bet = player.bet("10.00", "DAREDEVIL").await.ok();
        world.ask_redis(&["FLUSHALL"]).await;
        let end = player.insist("/api/game/cashout", json!({ "lineNumber": 9 })).await.ok();
        let past = player.history(bet["betId"].as_str().expect("an id")).await;
        let first = past["fairness"]["collisionColumns"][0].as_i64().unwrap_or(i64::MAX);
        if first <= 9 {
            assert_eq!((&end["endReason"], &end["lineNumber"]), (&json!("hazard"), &json!(first)), "{end}");
        } else {
            assert_eq!((&end["endReason"], &end["lineNumber"]), (&json!("cashout"), &json!(9)), "{end}");
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_kept_so_that_a_forgetful_client_is_paid_too() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let shown = stand_on(&player, 3).await;
    wait_for("the sweep has kept the lane", async || {
        let lane = world.ask_database("select max(last_lane) from bets where state = 'PLACED'").await;
        if lane == "2" { Ok(()) } else { Err(lane) }
    })
    .await;
    world.ask_redis(&["FLUSHALL"]).await;
    let session = player.get("/api/game/session").await.ok();
    assert_eq!((&session["lineNumber"], &session["winAmount"]), (&json!(2), &shown["winAmount"]));
    assert_eq!(player.cash_out().await.ok()["winAmount"], shown["winAmount"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_on_two_servers() {
    let (world, first) = World::with_server().await;
    let second = world.start_server().await;
    let here = world.player(&first).await;
    let there = here.at(&second);
    loop {
        let bet = here.bet("10.00", "EASY").await.ok();
        there.bet("10.00", "EASY").await.refused(409, "active_session_exists");
        let step = there.step(0).await.ok();
        if step["isFinished"] == false {
            assert_eq!(here.step(0).await.ok(), step, "a repeat at another server returns the same round");
            let end = here.cash_out().await.ok();
            let again = there.cash_out().await.ok();
            assert_eq!((&end["endReason"], &end["winAmount"]), (&again["endReason"], &again["winAmount"]));
            assert_eq!(bet["roundId"], again["roundId"]);
            break;
        }
    }
    world.close().await;
}

/// Asserts that it is refused, and within half a second. A busy machine adds to that now and then, and not every time: the
/// quickest of ten counts.
async fn refused_at_once(player: &Player, path: &str, body: Value) {
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let start = Clock::default().monotonic();
        let answer = player.post(path, body.clone()).await;
        quickest = quickest.min(start.elapsed());
        answer.refused(503, "unavailable");
        assert!(answer.retry_after.is_some(), "{path} says when to come back");
    }
    assert!(quickest < Duration::from_millis(500), "{path} took {quickest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_rounds_wait_and_everything_else_goes_on() {
    let (mut world, server) = World::with_server_and(with_real_deadline()).await;
    let player = world.player(&server).await;
    let past = player.win_on_lane("10.00", "EASY", 0).await;
    let shown = stand_on(&player, 1).await;
    let body = player.bet_body("10.00", "EASY").await;
    world.redis.kill().expect("killed");
    refused_at_once(&player, "/api/game/step", json!({ "lineNumber": 1 })).await;
    refused_at_once(&player, "/api/game/cashout", json!({})).await;
    refused_at_once(&player, "/api/game/bet", body).await;
    assert_eq!(
        player.history(past["betId"].as_str().expect("an id")).await["winAmount"],
        past["winAmount"]
    );
    player.get("/health/live").await.ok();
    // What was told of Redis is told again for half a second.
    wait_for("it says that Redis is away", async || {
        match player.get("/health/ready").await.status {
            503 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    world.redis.restart().expect("restarts");
    // Playable within four seconds, counted as a client counts them that tries again every fifty milliseconds.
    let mut refused = 0;
    let end = loop {
        let answer = player.post("/api/game/cashout", json!({ "lineNumber": 0 })).await;
        if answer.status != 503 {
            break answer.ok();
        }
        refused += 1;
        assert!(refused <= 80, "refused {refused} times after Redis is back: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(end["winAmount"], shown["winAmount"]);
    world.close().await;
}

/// A player waits for one command's deadline and not for two. A busy machine adds to that now and then: the quickest of five
/// counts, and each meets a Redis that has just begun to hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_told_of_within_half_a_second() {
    let (mut world, server) = World::with_server_and(with_real_deadline()).await;
    let player = world.player(&server).await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let body = player.bet_body("10.00", "EASY").await;
        world.redis.signal("STOP").expect("stopped");
        let start = Clock::default().monotonic();
        let answer = player.post("/api/game/bet", body).await;
        quickest = quickest.min(start.elapsed());
        world.redis.signal("CONT").expect("goes on");
        answer.refused(503, "unavailable");
        wait_for("Redis is in use again", async || match server.readiness(&world.http).await {
            Ok(()) => Ok(()),
            Err(still) => Err(still),
        })
        .await;
    }
    assert!(quickest < Duration::from_millis(600), "{quickest:?}");
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}

/// Somebody has written nonsense into a session: the others' rounds come to their ends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn one_session_that_makes_no_sense_does_not_keep_the_others_open() {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__GAME__SESSION_TTL_S", 2)).await;
    let server = world.start_server().await;
    let (spoilt, sound) = (world.player(&server).await, world.player(&server).await);
    spoilt.bet("10.00", "EASY").await.ok();
    let session = format!("gameSession:{}-demo", spoilt.user_id);
    world.ask_redis(&["HSET", &session, "currentStep", "200"]).await;
    let bet = sound.bet("10.00", "EASY").await.ok();
    wait_for("the deadline has ended the sound one", async || {
        match sound.history(bet["betId"].as_str().expect("an id")).await["endReason"].as_str() {
            Some(_) => Ok(()),
            None => Err("it is open".to_owned()),
        }
    })
    .await;
    world.ask_redis(&["DEL", &session]).await;
    world.close().await;
}

/// Somebody has written a longer road into a session than the round has: no lane of it is shown, and the round is rebuilt.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_the_round_does_not_have_is_never_shown() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let shown = stand_on(&player, 1).await;
    let session = format!("gameSession:{}-demo", player.user_id);
    world
        .ask_redis(&["HSET", &session, "currentStep", "50", "maxLane", "63", "firstCollision", "-1"])
        .await;
    let step = json!({ "lineNumber": 51, "roundId": shown["roundId"] });
    player.post("/api/game/step", step.clone()).await.refused(503, "unavailable");
    player.post("/api/game/step", step).await.refused(409, "invalid_step_sequence");
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settlement_goes_on_without_redis() {
    let (mut world, server) = World::with_server_and(with_real_deadline()).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "settle": { "kind": "http_500" } })).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    world.redis.kill().expect("killed");
    world.operator.clear_faults().await;
    world.wait_until_settled().await;
    world.redis.restart().expect("restarts");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_past_its_deadline_is_cashed_out_or_voided() {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__GAME__SESSION_TTL_S", 2)).await;
    let server = world.start_server().await;
    let (stands, never_stepped, wiped) = (
        world.player(&server).await,
        world.player(&server).await,
        world.player(&server).await,
    );
    let shown = stand_on(&stands, 1).await;
    let bet = never_stepped.bet("10.00", "EASY").await.ok();
    let lost = wiped.bet("10.00", "EASY").await.ok();
    world.ask_redis(&["DEL", &format!("gameSession:{}-demo", wiped.user_id)]).await;
    world.wait_until_settled().await;
    let end = stands.history(shown["betId"].as_str().expect("an id")).await;
    assert_eq!(
        (&end["endReason"], &end["winAmount"], &end["status"]),
        (&json!("deadline"), &shown["winAmount"], &json!("WON"))
    );
    for (player, bet) in [(&never_stepped, &bet), (&wiped, &lost)] {
        let end = player.history(bet["betId"].as_str().expect("an id")).await;
        assert_eq!(
            (&end["endReason"], &end["winAmount"], &end["status"]),
            (&json!("void"), &json!("0.00"), &json!("VOIDED"))
        );
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_debit_is_cancelled_twice_with_the_same_bytes() {
    for fault in ["drop_before", "drop_after", "http_500", "garbage", "wrong_id"] {
        let (world, server) = World::with_server_and(WorldOptions::hasty()).await;
        let player = world.player(&server).await;
        world.operator.order(json!({ "bet": { "kind": fault } })).await;
        player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
        world.operator.clear_faults().await;
        let next = player.bet("10.00", "EASY").await.ok();
        assert_eq!(next["nonce"], 1, "{fault}: the nonce was taken by the bet that is cancelled");
        player.walk_and_cash_out(0).await;
        world.wait_until_settled().await;
        let messages: Vec<Value> = world
            .operator
            .calls("cancelBet")
            .await
            .into_iter()
            .map(|call| call["message"].clone())
            .collect();
        assert!(
            messages.len() >= 2 && messages.iter().all(|message| *message == messages[0]),
            "{fault}: {messages:?}"
        );
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_is_not_confirmed_is_sent_again_with_the_same_bytes() {
    for fault in ["drop_before", "drop_after", "http_500", "garbage", "wrong_id", "duplicate"] {
        let (world, server) = World::with_server().await;
        let player = world.player(&server).await;
        world.operator.order(json!({ "settle": { "kind": fault, "count": 2 } })).await;
        player.win_on_lane("10.00", "EASY", 0).await;
        world.wait_until_settled().await;
        let calls = world.operator.calls("settle").await;
        let texts: HashSet<String> = calls.iter().map(|call| call["message"].to_string()).collect();
        let bets = world.bets().await.len();
        assert!(texts.len() <= bets, "{fault}: {bets} bets were settled with {} texts", texts.len());
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_of_a_bet_that_the_operator_denies_waits_for_two_people() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "1017" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    wait_for("the row waits for people", async || {
        let state = world.ask_database("select state from outbox").await;
        if state == "needs_human" { Ok(()) } else { Err(state) }
    })
    .await;
    assert_eq!(
        world.ask_database("select state from bets").await,
        "PENDING_SETTLEMENT",
        "the state stays"
    );
    let id = world.ask_database("select outbox_id from outbox").await;
    let resolve = |confirmed_by: &'static str| {
        let id = id.clone();
        let world = &world;
        async move {
            let names = [
                "--decided-by",
                "Asha",
                "--confirmed-by",
                confirmed_by,
                "--reason",
                "credited by hand, ticket 4711",
            ];
            world.command(&[&["queue", "resolve", &id][..], &names[..]].concat()).await
        }
    };
    let (status, text) = resolve("asha").await;
    assert!(status == 1 && text.contains("two different people"), "{text}");
    world.operator.clear_faults().await;
    let (status, text) = world.command(&["queue", "retry", &id]).await;
    assert_eq!(status, 0, "{text}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_end_what_no_retry_can() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    world
        .operator
        .order(json!({ "settle": { "kind": "answer", "status": "1039" } }))
        .await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    wait_for("the row waits for people", async || {
        let state = world.ask_database("select state from outbox").await;
        if state == "needs_human" { Ok(()) } else { Err(state) }
    })
    .await;
    let id = world.ask_database("select outbox_id from outbox").await;
    let names = [
        "--decided-by",
        "Asha",
        "--confirmed-by",
        "Ben",
        "--reason",
        "the operator's ledger shows it settled",
    ];
    let (status, text) = world.command(&[&["queue", "resolve", &id][..], &names[..]].concat()).await;
    assert_eq!(status, 0, "{text}");
    let kept = "select decided_by || ', ' || confirmed_by from queue_resolutions";
    assert_eq!(world.ask_database(kept).await, "Asha, Ben");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_in_the_middle_of_a_bet_does_no_harm_when_it_goes_on() {
    let world = World::new(WorldOptions::hasty()).await;
    let server = world
        .start_server_with(&[
            ("FAIRCROSS__WALLET__BET_TIMEOUT_MS", "60000"),
            ("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", "3600000"),
        ])
        .await;
    let player = world.player(&server).await;
    let body = player.bet_body("10.00", "EASY").await;
    // The operator answers after the server was stopped; another server cancels the bet meanwhile.
    world
        .operator
        .order(json!({ "bet": { "kind": "delay_after", "held": true, "count": 1 } }))
        .await;
    let waiting = tokio::spawn({
        let player = player.clone();
        async move { player.try_bet_with_key(&body, "stopped").await }
    });
    wait_for("the operator has the debit", async || {
        let ledger = world.operator.ledger().await;
        if ledger["bets"][0]["state"] == "bet" {
            Ok(())
        } else {
            Err(ledger.to_string())
        }
    })
    .await;
    server.signal("STOP");
    world.operator.clear_faults().await;
    let second = world.start_server().await;
    wait_for("the other server has cancelled", async || {
        let state = world.ask_database("select state from bets").await;
        if state == "CANCELLED" { Ok(()) } else { Err(state) }
    })
    .await;
    server.signal("CONT");
    let answer = waiting.await.expect("not cancelled").expect("answered");
    answer.refused(504, "bet_unconfirmed");
    assert_eq!(player.at(&second).bet("10.00", "EASY").await.ok()["nonce"], 1);
    player.walk_and_cash_out(0).await;
    world.close().await;
}

/// Nobody would cancel a debit that left now: both cancels have gone out. The operator of this test would refuse it, others would not.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_between_intent_and_debit_sends_none() {
    let world = World::new(WorldOptions::hasty()).await;
    let second = world.start_server().await;
    let stopping = world.start_server_with(&[("FAILPOINTS", "K2=1*return(stop)")]).await;
    let player = world.player(&second).await;
    let body = player.bet_body("10.00", "EASY").await;
    let waiting = tokio::spawn({
        let client = player.at(&stopping);
        async move { client.try_bet_with_key(&body, "stopped").await }
    });
    wait_for("both cancels have gone out", async || {
        let sent = world.ask_database("select count(*) from outbox where state = 'done'").await;
        if sent == "2" { Ok(()) } else { Err(sent) }
    })
    .await;
    stopping.signal("CONT");
    let answer = waiting.await.expect("not cancelled").expect("answered");
    answer.refused(504, "bet_unconfirmed");
    assert_eq!(world.operator.calls("bet").await.len(), 0, "no debit was sent");
    world.close().await;
}

/// The epoch that Redis shows, and whether its record is there.
async fn shown_epoch(player: &Player) -> u64 {
    player.epoch("HARD").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_road_goes_on_when_its_publisher_dies_and_a_wrong_clock_does_not_matter() {
    let world = World::new(WorldOptions::default()).await;
    let mut publisher = world.start_server().await;
    let wrong = world.start_server_with(&[("FAIRCROSS__CLOCK__OFFSET_MS", "3600000")]).await;
    let player = world.player(&publisher).await.at(&wrong);
    let first = shown_epoch(&player).await;
    publisher.kill().await;
    wait_for("two more epochs have been shown", async || {
        let epoch = shown_epoch(&player).await;
        if epoch >= first + 2 { Ok(()) } else { Err(epoch.to_string()) }
    })
    .await;
    let bet = player.bet("10.00", "EASY").await.ok();
    assert_eq!(bet["lineNumber"], -1, "a server whose clock is an hour off plays on");
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_speak_json_and_want_signatures() {
    let (world, server) = World::with_server().await;
    for encoding in ["json_string", "json_object", "form"] {
        let url = world.operator.url();
        world
            .add_agent("other", "other-cert", &url, &["--encoding", encoding, "--utc-offset-minutes", "0"])
            .await;
        let player = world
            .player_named(&server, "other", "other-cert", &format!("speaks{}", encoding.replace('_', "")))
            .await;
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_finishes_what_it_began() {
    let (world, mut server) = World::with_server_and(WorldOptions::default()).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "bet": { "kind": "delay", "held": true } })).await;
    let body = player.bet_body("10.00", "EASY").await;
    let betting = tokio::spawn({
        let player = player.clone();
        async move { player.try_bet_with_key(&body, "draining").await }
    });
    wait_for("the intent is committed", async || {
        let bets = world.ask_database("select count(*) from bets").await;
        if bets == "1" { Ok(()) } else { Err(bets) }
    })
    .await;
    server.signal("TERM");
    wait_for("the server drains", async || match server.readiness(&world.http).await {
        Ok(()) => Err("it is ready".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    world.operator.clear_faults().await;
    betting.await.expect("not cancelled").expect("answered").ok();
    assert!(!server.wait_until_ended().await, "it ends by itself");
    let next = world.start_server().await;
    player.at(&next).walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_goes_on_when_its_client_hangs_up() {
    let (world, server) = World::with_server_and(WorldOptions::default()).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "bet": { "kind": "delay", "held": true } })).await;
    let body = player.bet_body("10.00", "EASY").await;
    let request = player
        .request(Method::POST, "/api/game/bet")
        .header("Idempotency-Key", "hang-up")
        .json(&body);
    let betting = tokio::spawn(request.send());
    wait_for("the intent is committed", async || {
        let bets = world.ask_database("select count(*) from bets").await;
        if bets == "1" { Ok(()) } else { Err(bets) }
    })
    .await;
    betting.abort();
    assert!(betting.await.is_err_and(|error| error.is_cancelled()), "the client gave up");
    world.operator.clear_faults().await;
    wait_for("the bet is placed all the same", async || {
        let state = world.ask_database("select state from bets").await;
        if state == "PLACED" { Ok(()) } else { Err(state) }
    })
    .await;
    let again = player.try_bet_with_key(&body, "hang-up").await.expect("answered").ok();
    assert_eq!(again["lineNumber"], -1);
    player.walk_and_cash_out(0).await;
    world.close().await;
}

/// Stops PostgreSQL's answers for one world only: all its connections are ended and new ones refused.
async fn refuse_database(world: &World, refuse: bool) {
    world
        .administer(&format!("alter database {} allow_connections {}", world.database, !refuse))
        .await;
    if refuse {
        // Once nobody can come back. In one transaction with the refusal this would be before it counts.
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = ";
        world.administer(&format!("{end}'{}'", world.database)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_record_cannot_be_written_no_step_is_decided() {
    let options = WorldOptions::default().with("FAIRCROSS__DATABASE__ACQUIRE_TIMEOUT_MS", 2_000);
    let (world, server): (World, Server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    let shown = stand_on(&player, 2).await;
    refuse_database(&world, true).await;
    wait_for("the server knows", async || {
        let ready = player.get("/health/ready").await;
        if ready.body["checks"]["postgres"] == "unreachable" {
            Ok(())
        } else {
            Err(ready.body.to_string())
        }
    })
    .await;
    for _ in 0..3 {
        player
            .post("/api/game/step", json!({ "lineNumber": 2 }))
            .await
            .refused(503, "unavailable");
        player.post("/api/game/cashout", json!({})).await.refused(503, "unavailable");
    }
    let step = world
        .ask_redis(&["HGET", &format!("gameSession:{}-demo", player.user_id), "currentStep"])
        .await;
    assert_eq!(step, redis::Value::BulkString(b"1".to_vec()), "no script has run");
    refuse_database(&world, false).await;
    let end = player.insist("/api/game/cashout", json!({ "lineNumber": 1 })).await.ok();
    assert_eq!(end["winAmount"], shown["winAmount"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_out_player_is_out_at_once_and_the_round_is_not_lost() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let shown = stand_on(&player, 1).await;
    let out = wallet(&world.http, &server, "logout", "demo", "demo-cert", &[("userIds", &player.user_id)]).await;
    assert_eq!(out["status"], "0000", "{out}");
    player
        .post("/api/game/step", json!({ "lineNumber": 1 }))
        .await
        .refused(401, "unauthenticated");
    player.cash_out().await.refused(401, "unauthenticated");
    let back = world.player_named(&server, "demo", "demo-cert", &player.user_id).await;
    assert_eq!(back.cash_out().await.ok()["winAmount"], shown["winAmount"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_lost_again_at_once_signs_nobody_out() {
    let (world, server) = World::with_server().await;
    let stopping = world.start_server_with(&[("FAILPOINTS", "refilled=1*return(stop)")]).await;
    let player = world.player(&server).await;
    let body = player.bet_body("10.00", "EASY").await;
    let copy = format!("player:{}-{}", player.user_id, player.agent_id);
    world.ask_redis(&["DEL", &copy]).await;
    let betting = tokio::spawn({
        let player = player.at(&stopping);
        async move { player.post("/api/game/bet", body).await }
    });
    stopping.wait_until_stopped_at("refilled").await;
    world.ask_redis(&["DEL", &copy]).await;
    stopping.signal("CONT");
    let answer = betting.await.expect("not cancelled");
    answer.refused(503, "unavailable");
    player.at(&stopping).bet("10.00", "EASY").await.ok();
    player.at(&stopping).walk_and_cash_out(0).await;
    // A token of a sign-in that the record does not know is refused all the same.
    let unknown = world.session_tokens(0).issue(&faircross::play::context::Player {
        id: faircross::game::player::PlayerId {
            agent_id: faircross::game::player::AgentId::parse(&player.agent_id).expect("an agent id"),
            user_id: faircross::game::player::UserId::parse(&player.user_id).expect("a user id"),
        },
        currency: "INR".to_owned(),
        generation: 99,
    });
    let asked = world.http.get(stopping.url("/api/game/seeds")).bearer_auth(unknown).send();
    assert_eq!(asked.await.expect("answered").status(), 401);
    world.close().await;
}
