//! A round over HTTP, from the bet to the operator's ledger.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection as _;

use crate::claims::claim_of;
use crate::world::{World, WorldOptions, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_played_and_settled() {
    // No sweep is quicker than the request that ends the round.
    let options = WorldOptions::default().with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000);
    let (world, server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    let seeds = player.get("/api/game/seeds").await.ok();
    assert_eq!(seeds["nonce"], 0);

    let bet = player.bet("10.00", "EASY").await.ok();
    assert_eq!(bet["lineNumber"], -1);
    assert_eq!(
        bet["balance"].as_str().map(|text| text.trim_end_matches('0').trim_end_matches('.')),
        Some("990")
    );
    assert_eq!(
        bet["hashedServerSeed"], seeds["hashedServerSeed"],
        "the commitment was shown before the bet"
    );
    assert_eq!(bet["nextHashedServerSeed"], seeds["nextHashedServerSeed"]);
    assert!(bet.get("collisionPositions").is_none() && bet["isFinished"] == false, "{bet}");
    let open = player.history(bet["betId"].as_str().expect("an id")).await;
    assert!(
        open["fairness"]["serverSeed"].is_null() && open["fairness"]["collisionColumns"].is_null(),
        "{open}"
    );

    let end = player.walk_and_cash_out(1).await;
    assert_eq!(end["isFinished"], true);
    assert_eq!(end["settlement"], "pending");
    let past = player.history(bet["betId"].as_str().expect("an id")).await;
    let fairness = &past["fairness"];
    assert_eq!(past["winAmount"], end["winAmount"]);
    assert_eq!(fairness["userSeedFresh"], true);
    let verified = player.post("/api/fairness/verify", claim_of(&past)).await.ok();
    assert_eq!(verified["valid"], true, "{verified}");
    assert_eq!(verified["collisionColumns"], fairness["collisionColumns"]);

    let next = player.get("/api/game/seeds").await.ok();
    assert_eq!(
        (&next["nonce"], &next["hashedServerSeed"]),
        (&json!(1), &seeds["nextHashedServerSeed"])
    );
    world.close().await;
}

/// The bet's row is held by somebody else, so that no end of it can be committed: meanwhile nobody is told of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_hazard_is_told_only_after_its_commit() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let session = format!("gameSession:{}-demo", player.user_id);
    loop {
        player.bet("10.00", "DAREDEVIL").await.ok();
        let first_collision = world.ask_redis(&["HGET", &session, "firstCollision"]).await;
        if first_collision == redis::Value::BulkString(b"0".to_vec()) {
            break;
        }
        player.walk_and_cash_out(0).await;
    }
    let mut holder = world.connection().await;
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("select from bets where state = 'PLACED' for update")
        .execute(&mut *held)
        .await
        .expect("the row is held");

    let mut stepping = tokio::spawn(async move { player.step(0).await });
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    wait_for("a commit waits for the row", async || match world.ask_database(waiting).await {
        none if none == "0" => Err(none),
        _ => Ok(()),
    })
    .await;
    let early = tokio::time::timeout(Duration::from_millis(500), &mut stepping).await;
    assert!(early.is_err(), "{early:?} was told before the end was durable");
    held.rollback().await.expect("the row is given back");
    assert_eq!(stepping.await.expect("not cancelled").ok()["endReason"], "hazard");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_seed_that_we_made_is_not_fresh() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let ours = player.get("/api/game/seeds").await.ok()["userSeed"].clone();
    for (user_seed, is_fresh) in [
        (Some(ours), false),
        (None, false),
        (Some(json!("of-my-own")), true),
        (Some(json!("of-my-own")), false),
        (Some(json!("told-before")), false),
        (None, false),
    ] {
        // What a player tells us before the bet is known before the bet.
        if user_seed == Some(json!("told-before")) {
            let change = player
                .request(reqwest::Method::PUT, "/api/game/seeds")
                .json(&json!({ "userSeed": "told-before" }));
            player.send(change).await.ok();
        }
        let mut body = player.bet_body("10.00", "EASY").await;
        let body_fields = body.as_object_mut().expect("an object");
        match &user_seed {
            Some(user_seed) => body_fields.insert("userSeed".to_owned(), user_seed.clone()),
            None => body_fields.remove("userSeed"),
        };
        player.place(body).await.ok();
        let end = player.walk_and_cash_out(0).await;
        let fairness = player.history(end["betId"].as_str().expect("an id")).await["fairness"].clone();
        assert_eq!(fairness["userSeedFresh"], is_fresh, "{user_seed:?}: {fairness}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_under_another_configuration_is_refused_before_anything_happens() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let version = player.get("/api/game/config").await.ok()["configVersion"]
        .as_i64()
        .expect("a version");
    let mut body = player.bet_body("10.00", "EASY").await;
    body["configVersion"] = json!(version + 1);
    let refused = player.place(body.clone()).await;
    refused.refused(409, "stale_config");
    assert_eq!(refused.body["configVersion"], version, "the one in force is told: {}", refused.body);
    body["configVersion"] = json!("1");
    player.place(body.clone()).await.refused(400, "validation_failed");
    assert_eq!(world.bets().await.len(), 0, "no intent");
    body["configVersion"] = json!(version);
    assert_eq!(player.place(body).await.ok()["nonce"], 0);
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_that_was_refused_is_no_round() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let refusal = json!({ "bet": { "kind": "refuse", "status": "1018", "count": 1 } });
    world.operator.order(refusal).await;
    player.bet("10.00", "EASY").await.refused(402, "insufficient_funds");
    let bet = player.get("/api/game/bets").await.ok()["bets"][0].clone();
    assert_eq!(bet["endReason"], "refused", "{bet}");
    for body in [json!({ "lineNumber": 0 }), json!({ "lineNumber": 0, "roundId": bet["id"] })] {
        player.post("/api/game/step", body.clone()).await.refused(404, "no_active_session");
        player.post("/api/game/cashout", body).await.refused(404, "no_active_session");
    }
    player.bet("10.00", "EASY").await.ok();
    let named = json!({ "lineNumber": 0, "roundId": bet["id"] });
    player.post("/api/game/step", named).await.refused(409, "round_mismatch");
    player.walk_and_cash_out(0).await;
    world.close().await;
}
