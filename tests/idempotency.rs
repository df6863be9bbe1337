//! "Repeats are safe": what a client that was not answered may send again, and what it is told then.

use serde_json::{Value, json};

use crate::world::{Answer, Player, Server, World, WorldOptions, wait_for};

async fn bet(player: &Player, body: &Value, key: &str) -> Answer {
    player.try_bet_with_key(body, key).await.expect("answered")
}

/// A bet's answer without what only the first one has or what goes on by itself.
fn round(answer: Answer) -> Value {
    let mut round = answer.ok();
    let object = round.as_object_mut().expect("an object");
    object.remove("balance");
    object.remove("settlement");
    round
}

async fn world_with_player() -> (World, Server, Player) {
    world_with_player_and(WorldOptions::default()).await
}

async fn world_with_player_and(options: WorldOptions) -> (World, Server, Player) {
    let (world, server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    (world, server, player)
}

/// The same bet on the road of this moment. An earlier one is out of force after ten seconds at most.
async fn renewed(player: &Player, body: &Value) -> Value {
    let mut renewed = body.clone();
    renewed["hazardEpoch"] = json!(player.epoch("EASY").await);
    renewed
}

async fn count(world: &World, what: &str) -> String {
    world.ask_database(&format!("select count(*) from {what}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_bet_is_its_round_wherever_that_stands() {
    let (world, _server, player) = world_with_player().await;
    let body = player.bet_body("10.00", "EASY").await;
    let first = round(bet(&player, &body, "k").await);
    assert_eq!(round(bet(&player, &body, "k").await), first, "before the first step");

    // The road, the seeds and the spelling of the amount may differ; what is staked on what may not.
    let mut later = player.bet_body("10", "EASY").await;
    later["hazardEpoch"] = json!(1);
    assert_eq!(round(bet(&player, &later, "k").await), first, "long after the epoch");
    later["hashedServerSeed"] = json!("0".repeat(64));
    assert_eq!(
        round(bet(&player, &later, "k").await),
        first,
        "with a commitment that is not in force"
    );

    let step = player.step(0).await;
    if step.body["isFinished"] == false {
        assert_eq!(round(bet(&player, &body, "k").await), step.body, "on a lane");
        player.cash_out().await.ok();
    }
    let end = round(player.cash_out().await);
    assert_eq!(round(bet(&player, &body, "k").await), end, "after the end");
    world.wait_until_settled().await;
    assert_eq!(bet(&player, &body, "k").await.ok()["settlement"], "settled");

    let other = round(bet(&player, &renewed(&player, &body).await, "another").await);
    assert_ne!(other["roundId"], first["roundId"], "another key is another bet");
    assert_eq!(round(bet(&player, &body, "k").await), end, "also while another round is open");
    assert_eq!(count(&world, "bets").await, "2");
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_other_contents_is_refused() {
    let (world, server, player) = world_with_player().await;
    let body = player.bet_body("10.00", "EASY").await;
    bet(&player, &body, "k").await.ok();
    let others = [
        ("betAmount", "10.01"),
        ("betAmount", "1000"),
        ("betAmount", "1e1"),
        ("difficulty", "HARD"),
        ("difficulty", "NONE"),
        ("currency", "USD"),
    ];
    for _ in ["while the round is open", "after its end"] {
        for (field, value) in others {
            let mut other = body.clone();
            other[field] = json!(value);
            bet(&player, &other, "k").await.refused(422, "idempotency_key_reused");
        }
        player.walk_and_cash_out(0).await;
    }
    let neighbour = world.player(&server).await;
    let theirs = neighbour.bet_body("20.00", "HARD").await;
    bet(&neighbour, &theirs, "k").await.ok();
    neighbour.walk_and_cash_out(0).await;
    assert_eq!(count(&world, "bets").await, "2", "a key is one player's own");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_that_is_being_debited_is_in_progress() {
    let (world, server, player) = world_with_player().await;
    let held = json!({ "bet": { "kind": "delay", "held": true, "count": 1 } });
    world.operator.order(held).await;
    let body = player.bet_body("10.00", "EASY").await;
    let (first, ()) = tokio::join!(bet(&player, &body, "k"), async {
        wait_for("the intent is written", async || {
            match count(&world, "bets where state = 'PENDING'").await {
                pending if pending == "1" => Ok(()),
                pending => Err(pending),
            }
        })
        .await;
        for client in [&player, &player.at(&server)] {
            let repeat = bet(client, &body, "k").await;
            repeat.refused(409, "bet_in_progress");
            assert_eq!(repeat.retry_after.as_deref(), Some("1"));
        }
        let other = bet(&player, &body, "another").await;
        assert!(["bet_in_progress", "active_session_exists"].contains(&other.code()), "{other:?}");
        world.operator.clear_faults().await;
    });
    assert_eq!(round(bet(&player, &body, "k").await), round(first));
    player.walk_and_cash_out(0).await;
    assert_eq!(world.operator.calls("bet").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_bet_stays_refused() {
    let (world, _server, player) = world_with_player().await;
    let mut body = player.bet_body("10.00", "EASY").await;
    let refusals = [
        ("1018", 402, "insufficient_funds"),
        ("1002", 502, "agent_rejected"),
        ("1004", 502, "agent_rejected"),
        ("1013", 502, "agent_rejected"),
        ("1026", 502, "agent_rejected"),
        ("1036", 502, "agent_rejected"),
    ];
    for (status, http_status, code) in refusals {
        let order = json!({ "bet": { "kind": "refuse", "status": status, "count": 1 } });
        world.operator.order(order).await;
        body = renewed(&player, &body).await;
        let calls = world.operator.calls("bet").await.len();
        for attempt in ["first", "second", "third"] {
            let answer = bet(&player, &body, status).await;
            answer.refused(http_status, code);
            if code == "agent_rejected" {
                assert!(
                    answer.body["detail"].as_str().is_some_and(|text| text.contains(status)),
                    "{attempt}: {}",
                    answer.body
                );
            }
        }
        assert_eq!(world.operator.calls("bet").await.len(), calls + 1, "the operator is asked once");
    }
    bet(&player, &renewed(&player, &body).await, "a-new-key").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_without_an_answer_stays_unconfirmed() {
    let (world, _server, player) = world_with_player_and(WorldOptions::hasty()).await;
    let faults = [
        ("dropped", json!({ "kind": "drop_before" })),
        ("dropped-after", json!({ "kind": "drop_after" })),
        ("garbage", json!({ "kind": "garbage" })),
        ("http-500", json!({ "kind": "http_500" })),
        ("unlisted", json!({ "kind": "answer", "status": "9999" })),
        ("too-late", json!({ "kind": "delay", "held": true })),
    ];
    for (key, mut fault) in faults {
        fault["count"] = json!(1);
        let body = player.bet_body("10.00", "EASY").await;
        world.operator.order(json!({ "bet": fault })).await;
        bet(&player, &body, key).await.refused(504, "bet_unconfirmed");
        bet(&player, &body, key).await.refused(504, "bet_unconfirmed");
        world.operator.clear_faults().await;
        world.wait_until_settled().await;
        bet(&player, &body, key).await.refused(504, "bet_unconfirmed");
    }
    assert_eq!(count(&world, "bets where state <> 'CANCELLED'").await, "0");
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_bet_is_answered_even_if_its_session_cannot_be_opened() {
    let away = WorldOptions::default().with("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", 2_000);
    let (mut world, server, player) = world_with_player_and(away).await;
    let held = json!({ "bet": { "kind": "delay", "held": true, "count": 1 } });
    world.operator.order(held).await;
    let body = player.bet_body("10.00", "EASY").await;
    let betting = {
        let (player, body) = (player.clone(), body.clone());
        tokio::spawn(async move { bet(&player, &body, "k").await })
    };
    wait_for("the intent is written", async || {
        match count(&world, "bets where state = 'PENDING'").await {
            pending if pending == "1" => Ok(()),
            pending => Err(pending),
        }
    })
    .await;
    world.redis.kill().expect("killed");
    world.operator.clear_faults().await;
    let first = round(betting.await.expect("not cancelled"));
    assert_eq!(
        round(bet(&player, &body, "k").await),
        first,
        "and so is its repeat while Redis is away"
    );
    world.redis.restart().expect("restarted");
    wait_for("the road is public again", async || {
        match player.get("/api/hazards/EASY").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    assert_eq!(player.at(&server).step(0).await.ok()["roundId"], first["roundId"]);
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_cash_outs_may_be_repeated() {
    let (world, _server, player) = world_with_player().await;
    let standing = player.stand_on("10.00", "EASY", 1).await;
    assert_eq!(player.step(1).await.ok(), standing, "the lane where the player stands");
    assert_eq!(player.get("/api/game/session").await.ok(), standing);
    let end = round(player.cash_out().await);
    assert_eq!((&end["endReason"], &end["lineNumber"]), (&json!("cashout"), &json!(1)));
    assert_eq!(round(player.cash_out().await), end);
    assert_eq!(round(player.step(1).await), end, "a late repeat of the step");
    assert_eq!(round(player.step(2).await), end, "a step that came too late");
    player.get("/api/game/session").await.refused(404, "no_active_session");
    // The record answers where Redis has forgotten the round.
    world.ask_redis(&["DEL", &format!("gameSession:{}-demo", player.user_id)]).await;
    assert_eq!(round(player.cash_out().await), end);
    assert_eq!(round(player.step(1).await), end);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_round_is_the_one_that_is_meant() {
    let (world, _server, player) = world_with_player().await;
    player.stand_on("10.00", "EASY", 0).await;
    let past = round(player.cash_out().await);
    let nowhere = "00000000-0000-0000-0000-000000000000";
    let named = |lane: i64, round_id: &Value| (json!({ "lineNumber": lane, "roundId": round_id }), json!({ "roundId": round_id }));

    let (step, cash_out) = named(0, &past["roundId"]);
    assert_eq!(round(player.post("/api/game/step", step.clone()).await), past, "no round is open");
    assert_eq!(round(player.post("/api/game/cashout", cash_out.clone()).await), past);

    let open = player.stand_on("20.00", "EASY", 0).await;
    assert_eq!(round(player.post("/api/game/step", step).await), past, "another round is open");
    assert_eq!(round(player.post("/api/game/cashout", cash_out).await), past);
    let (step, cash_out) = named(1, &json!(nowhere));
    player.post("/api/game/step", step).await.refused(409, "round_mismatch");
    player.post("/api/game/cashout", cash_out).await.refused(409, "round_mismatch");
    assert_eq!(player.get("/api/game/session").await.ok(), open, "nothing of this moved it");
    let (_, cash_out) = named(0, &open["roundId"]);
    assert_eq!(player.post("/api/game/cashout", cash_out).await.ok()["roundId"], open["roundId"]);
    world.close().await;
}
