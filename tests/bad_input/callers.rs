//! Players who reach for what is not theirs, or may not play, and launch links that do not work.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{bet, quiet_world};
use crate::world::{Server, Witness, World};

#[tokio::test(flavor = "multi_thread")]
async fn players_see_nothing_of_each_other() {
    let (world, server, player) = quiet_world().await;
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let namesake = world.player_named(&server, "other", "other-cert", &player.user_id).await;
    let neighbour = world.player(&server).await;
    let round = player.stand_on("10.00", "EASY", 0).await;
    let (bet_id, round_id) = (round["betId"].as_str().expect("an id"), &round["roundId"]);
    let witness = Witness::of(&world).await;
    for (who, stranger) in [("another agent's player", &namesake), ("another player", &neighbour)] {
        let post = |path: &str, body: Value| stranger.request(Method::POST, path).json(&body);
        let bet = stranger.request(Method::GET, &format!("/api/game/bets/{bet_id}"));
        witness.refused(&format!("{who}: the bet"), bet, 404, "not_found").await;
        for body in [json!({ "lineNumber": 1 }), json!({ "lineNumber": 1, "roundId": round_id })] {
            witness
                .refused(
                    &format!("{who}: a step {body}"),
                    post("/api/game/step", body),
                    404,
                    "no_active_session",
                )
                .await;
        }
        for body in [json!({}), json!({ "roundId": round_id })] {
            witness
                .refused(
                    &format!("{who}: a cash-out {body}"),
                    post("/api/game/cashout", body),
                    404,
                    "no_active_session",
                )
                .await;
        }
        let session = stranger.request(Method::GET, "/api/game/session");
        witness
            .refused(&format!("{who}: the session"), session, 404, "no_active_session")
            .await;
        assert_eq!(stranger.get("/api/game/bets").await.ok()["bets"], json!([]));
    }
    for id in ["00000000-0000-0000-0000-000000000000", "1", "'%20or%201=1--", "..%2f..%2fetc"] {
        let request = player.request(Method::GET, &format!("/api/game/bets/{id}"));
        witness.refused(&format!("the bet {id}"), request, 404, "not_found").await;
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        "before=rubbish",
        "before=-1",
        "before=%00",
    ] {
        let request = player.request(Method::GET, &format!("/api/game/bets?{query}"));
        witness.refused(query, request, 400, "validation_failed").await;
    }
    // With a round of their own open, the named round is another one.
    neighbour.bet("1.00", "EASY").await.ok();
    let witness = Witness::of(&world).await;
    let request = neighbour
        .request(Method::POST, "/api/game/cashout")
        .json(&json!({ "roundId": round_id }));
    witness.refused("another player's round", request, 409, "round_mismatch").await;
    player.cash_out().await.ok();
    neighbour.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_locked_player_finishes_and_does_not_begin() {
    let (world, server, player) = quiet_world().await;
    for status in ["suspend", "lock"] {
        player.stand_on("10.00", "EASY", 0).await;
        world
            .wallet_ok(&server, "updatePlayerStatus", &[("userId", &player.user_id), ("status", status)])
            .await;
        let step = player.step(1).await.ok();
        let end = if step["isFinished"] == true {
            step
        } else {
            player.cash_out().await.ok()
        };
        assert_eq!(end["isFinished"], true);
        let (body, witness) = (player.bet_body("10.00", "EASY").await, Witness::of(&world).await);
        witness.refused(status, bet(&player, &body), 403, "account_suspended").await;
        world
            .wallet_ok(&server, "updatePlayerStatus", &[("userId", &player.user_id), ("status", "active")])
            .await;
    }
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_token_works_once_for_its_agent_in_its_time() {
    let (world, server, player) = quiet_world().await;
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let exchange = |token: &str, operator: &str, currency: &str| auth(&world, &server, token, operator, currency);
    let token = world.launch_token(&server, &player.user_id).await;
    let late = world.launch_token(&server, &player.user_id).await;
    world
        .change_database(&format!(
            "update launch_tokens set expires_at = now() where token_hash = sha256('{late}')"
        ))
        .await;
    let witness = Witness::of(&world).await;
    for (what, operator) in [
        ("another agent", "other"),
        ("no agent", "nobody"),
        ("not an agent's id", "a-b"),
        ("an empty id", ""),
    ] {
        witness
            .refused(
                &format!("the token of {what}"),
                exchange(&token, operator, "INR"),
                401,
                "unauthenticated",
            )
            .await;
    }
    witness
        .refused("an expired launch token", exchange(&late, "demo", "INR"), 401, "unauthenticated")
        .await;
    for unknown in ["", "x", &"0".repeat(64), &"x".repeat(10_000)] {
        witness
            .refused("an unknown launch token", exchange(unknown, "demo", "INR"), 401, "unauthenticated")
            .await;
    }
    let whole = json!({ "auth_token": token, "operator": "demo", "currency": "INR", "game_mode": "chicken-road-two" });
    for field in ["auth_token", "operator", "currency"] {
        for value in [Value::Null, json!(1), json!({})] {
            let request = world.http.post(server.url("/api/auth")).json(&super::with(&whole, field, &value));
            witness
                .refused(&format!("{field} {value}"), request, 400, "validation_failed")
                .await;
        }
    }
    // Nothing of this used the token up.
    assert_eq!(exchange(&token, "demo", "INR").send().await.expect("answered").status(), 200);
    let witness = Witness::of(&world).await;
    witness
        .refused("a used launch token", exchange(&token, "demo", "INR"), 401, "unauthenticated")
        .await;
    world.close().await;
}

fn auth(world: &World, server: &Server, token: &str, operator: &str, currency: &str) -> RequestBuilder {
    let body = json!({ "auth_token": token, "operator": operator, "currency": currency, "game_mode": "chicken-road-two" });
    world.http.post(server.url("/api/auth")).json(&body)
}
