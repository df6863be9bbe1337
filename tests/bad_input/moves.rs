//! Steps and cash-outs that the round does not allow.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{bet, quiet_world};
use crate::world::{Player, Witness};

fn step(player: &Player, body: Value) -> RequestBuilder {
    player.request(Method::POST, "/api/game/step").json(&body)
}

fn cash_out(player: &Player, body: Value) -> RequestBuilder {
    player.request(Method::POST, "/api/game/cashout").json(&body)
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_do_without_a_round() {
    let (world, _server, player) = quiet_world().await;
    let witness = Witness::of(&world).await;
    let nowhere = "00000000-0000-0000-0000-000000000000";
    let requests = [
        step(&player, json!({ "lineNumber": 0 })),
        step(&player, json!({ "lineNumber": 0, "roundId": nowhere })),
        step(&player, json!({ "lineNumber": 63 })),
        cash_out(&player, json!({})),
        cash_out(&player, json!({ "lineNumber": 5 })),
        cash_out(&player, json!({ "roundId": nowhere })),
        cash_out(&player, json!({ "roundId": "not an id" })),
        player.request(Method::GET, "/api/game/session"),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        witness
            .refused(&format!("request {number} before any bet"), request, 404, "no_active_session")
            .await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_a_small_whole_number() {
    let (world, _server, player) = quiet_world().await;
    player.bet("10.00", "EASY").await.ok();
    let witness = Witness::of(&world).await;
    let values = [
        json!(-1),
        json!(-2),
        json!(0.5),
        json!(1.0),
        json!(64),
        json!(256),
        json!(1e300),
        json!("0"),
        json!([0]),
        json!(true),
    ];
    for value in values {
        for (name, request) in [
            ("a step on", step(&player, json!({ "lineNumber": value }))),
            ("a cash-out on", cash_out(&player, json!({ "lineNumber": value }))),
        ] {
            let problem = witness.refused(&format!("{name} {value}"), request, 400, "validation_failed").await;
            assert!(
                problem["detail"].as_str().is_some_and(|text| text.contains("lineNumber")),
                "{problem}"
            );
        }
    }
    for body in [
        json!({}),
        json!({ "lineNumber": null }),
        json!({ "lineNumber": 0, "roundId": 1 }),
        json!({ "lineNumber": 0, "roundId": "" }),
    ] {
        witness
            .refused(&format!("a step {body}"), step(&player, body), 400, "validation_failed")
            .await;
    }
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_crossed_one_by_one() {
    let (world, _server, player) = quiet_world().await;
    player.bet("10.00", "EASY").await.ok();
    let witness = Witness::of(&world).await;
    for lane in [1, 2, 29, 30, 63] {
        let request = step(&player, json!({ "lineNumber": lane }));
        witness
            .refused(&format!("lane {lane} first"), request, 409, "invalid_step_sequence")
            .await;
    }
    for body in [
        json!({}),
        json!({ "lineNumber": null }),
        json!({ "lineNumber": 0 }),
        json!({ "lineNumber": 29 }),
    ] {
        witness
            .refused(
                &format!("a cash-out {body} at the start"),
                cash_out(&player, body),
                409,
                "too_early_to_cash_out",
            )
            .await;
    }
    player.walk_and_cash_out(0).await;

    player.stand_on("10.00", "EASY", 1).await;
    let witness = Witness::of(&world).await;
    for lane in [0, 3, 29, 63] {
        let request = step(&player, json!({ "lineNumber": lane }));
        witness
            .refused(&format!("lane {lane} from lane 1"), request, 409, "invalid_step_sequence")
            .await;
    }
    for lane in [0, 2, 29, 63] {
        let request = cash_out(&player, json!({ "lineNumber": lane }));
        witness
            .refused(
                &format!("a cash-out on lane {lane} from lane 1"),
                request,
                409,
                "invalid_step_sequence",
            )
            .await;
    }
    player.cash_out().await.ok();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_round_stands_in_the_way_of_others() {
    let (world, _server, player) = quiet_world().await;
    player.stand_on("10.00", "EASY", 0).await;
    let (body, witness) = (player.bet_body("10.00", "HARD").await, Witness::of(&world).await);
    witness
        .refused("a second bet", bet(&player, &body), 409, "active_session_exists")
        .await;
    let keyed = bet(&player, &body).header("Idempotency-Key", "unused");
    witness
        .refused("a second bet under a key", keyed, 409, "active_session_exists")
        .await;
    let seed = |value: Value| player.request(Method::PUT, "/api/game/seeds").json(&json!({ "userSeed": value }));
    witness
        .refused("another user seed", seed(json!("mine")), 409, "active_session_exists")
        .await;
    for round_id in ["00000000-0000-0000-0000-000000000000", "not an id", &"x".repeat(1_000)] {
        let body = json!({ "lineNumber": 1, "roundId": round_id });
        witness
            .refused(&format!("a step in round {round_id:?}"), step(&player, body), 409, "round_mismatch")
            .await;
        let body = json!({ "roundId": round_id });
        witness
            .refused(
                &format!("a cash-out of round {round_id:?}"),
                cash_out(&player, body),
                409,
                "round_mismatch",
            )
            .await;
    }
    player.cash_out().await.ok();

    let witness = Witness::of(&world).await;
    for wrong in [json!(""), json!("x".repeat(65)), json!("a b"), json!("a:b"), json!("\u{ff41}")] {
        witness
            .refused(&format!("the user seed {wrong}"), seed(wrong), 400, "invalid_user_seed")
            .await;
    }
    for wrong in [json!(1), json!(null), json!(["a"])] {
        witness
            .refused(&format!("the user seed {wrong}"), seed(wrong), 400, "validation_failed")
            .await;
    }
    world.close().await;
}
