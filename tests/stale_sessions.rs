//! What Redis says of a round may be old: the session of the round before, or one that an earlier run of Redis kept. The
//! record knows better, and the player reaches the open round all the same. Also a bet at the very moment at which the round
//! before it ends.

use serde_json::{Value, json};

use crate::world::{Player, World};

fn session_of(player: &Player) -> String {
    format!("gameSession:{}-{}", player.user_id, player.agent_id)
}

async fn copy(world: &World, from: &str, to: &str) {
    world.ask_redis(&["COPY", from, to, "REPLACE"]).await;
}

/// A player whose open round has no session, because that of the round before stands in its place.
async fn behind_an_earlier_session(world: &World, player: &Player) -> Value {
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    let (session, saved) = (session_of(player), format!("saved:{}", player.user_id));
    copy(world, &session, &saved).await;
    let open = player.bet("10.00", "EASY").await.ok();
    copy(world, &saved, &session).await;
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_round_is_found_behind_the_session_of_the_round_before() {
    let (world, server) = World::with_server().await;

    let looks = world.player(&server).await;
    let open = behind_an_earlier_session(&world, &looks).await;
    let found = looks.get("/api/game/session").await.ok();
    assert_eq!(
        (&found["roundId"], &found["isFinished"]),
        (&open["roundId"], &json!(false)),
        "{found}"
    );

    let steps = world.player(&server).await;
    let open = behind_an_earlier_session(&world, &steps).await;
    assert_eq!(steps.step(0).await.ok()["roundId"], open["roundId"]);

    let names = world.player(&server).await;
    let open = behind_an_earlier_session(&world, &names).await;
    let step = json!({ "lineNumber": 0, "roundId": open["roundId"] });
    assert_eq!(names.post("/api/game/step", step).await.ok()["roundId"], open["roundId"]);

    for player in [&looks, &steps, &names] {
        player.walk_and_cash_out(0).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_paid_when_redis_comes_back_behind() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let (session, saved) = (session_of(&player), format!("saved:{}", player.user_id));
    loop {
        player.bet("10.00", "EASY").await.ok();
        if player.step(0).await.ok()["isFinished"] == true {
            continue;
        }
        copy(&world, &session, &saved).await;
        let shown = player.step(1).await.ok();
        if shown["isFinished"] == true {
            continue;
        }
        copy(&world, &saved, &session).await;
        for key in [&session, &format!("player:{}-{}", player.user_id, player.agent_id)] {
            world.ask_redis(&["HSET", key, "run", "00000000"]).await;
        }
        let end = player.post("/api/game/cashout", json!({ "lineNumber": 1 })).await.ok();
        assert_eq!(
            (&end["endReason"], &end["winAmount"]),
            (&json!("cashout"), &shown["winAmount"]),
            "{end}"
        );
        break;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_at_the_moment_of_an_end_waits_for_it_or_is_told_of_the_open_round() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let mut open = player.bet("1.00", "EASY").await.ok();
    assert_eq!(player.bet("1.00", "EASY").await.code(), "active_session_exists");
    for _ in 0..8 {
        let body = player.bet_body("1.00", "EASY").await;
        let stepped = player.step(0).await;
        assert_eq!(stepped.status, 200, "{}", stepped.body);
        assert_eq!(stepped.body["roundId"], open["roundId"], "{}", stepped.body);
        let cash_out = json!({ "roundId": open["roundId"] });
        let (end, bet) = tokio::join!(player.post("/api/game/cashout", cash_out), player.post("/api/game/bet", body));
        assert_eq!(end.status, 200, "{}", end.body);
        assert!(
            bet.status == 200 || bet.code() == "active_session_exists",
            "{}: {}",
            bet.status,
            bet.body
        );
        open = if bet.status == 200 {
            bet.body
        } else {
            player.bet("1.00", "EASY").await.ok()
        };
    }
    player.walk_and_cash_out(0).await;
    world.close().await;
}
