//! Bets that are none.

use reqwest::Method;
use serde_json::{Value, json};

use super::{bet, quiet_world, with};
use crate::world::{Witness, World, WorldOptions};

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_has_one_spelling_and_lies_within_the_limits() {
    let (world, _server, player) = quiet_world().await;
    let (body, witness) = (player.bet_body("10.00", "EASY").await, Witness::of(&world).await);
    let texts = [
        "0",
        "0.00",
        "-0",
        "-1.00",
        "+1.00",
        "0.99",
        "150.01",
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "1e309",
        "1e3",
        "1E1",
        "0x10",
        "1_000",
        "1,000",
        "10,00",
        "10.001",
        "10.000",
        "1.0000000000000000000001",
        "10.",
        ".5",
        "1.2.3",
        "",
        " ",
        " 10.00",
        "10.00 ",
        "10.00\n",
        "10.00\u{0}",
        // Digits of other scripts: full width, Arabic-Indic, superscript.
        "\u{ff11}\u{ff10}.\u{ff10}\u{ff10}",
        "\u{661}\u{660}",
        "10\u{b2}",
        "9007199254740992",
        "18446744073709551616",
        "99999999999999999999999999999999",
    ];
    for text in texts {
        let request = bet(&player, &with(&body, "betAmount", &json!(text)));
        let problem = witness.refused(text, request, 400, "invalid_bet_amount").await;
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.starts_with("betAmount: ")),
            "{problem}"
        );
    }
    for value in [
        json!(10),
        json!(10.0),
        json!(-1),
        json!(true),
        json!(["10.00"]),
        json!({"amount": "10.00"}),
        Value::Null,
    ] {
        let what = format!("the amount {value}");
        let problem = witness
            .refused(&what, bet(&player, &with(&body, "betAmount", &value)), 400, "validation_failed")
            .await;
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains("betAmount")),
            "{problem}"
        );
    }
    for literal in ["NaN", "Infinity", "1e309", "-", "1e", "0x10", "010"] {
        let text = body.to_string().replace("\"10.00\"", literal);
        let request = player
            .request(Method::POST, "/api/game/bet")
            .header("Content-Type", "application/json")
            .body(text);
        witness
            .refused(&format!("the literal {literal}"), request, 400, "validation_failed")
            .await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_field_of_a_bet_is_checked() {
    let (world, _server, player) = quiet_world().await;
    let seeds = player.get("/api/game/seeds").await.ok();
    let witness = Witness::of(&world).await;
    let long = "x".repeat(65);
    let cases = [
        (
            "difficulty",
            "invalid_difficulty",
            400,
            vec![json!(""), json!("easy"), json!("EASY "), json!("EXTREME"), json!("EASY\u{0}")],
        ),
        (
            "difficulty",
            "validation_failed",
            400,
            vec![json!(0), json!({"EASY": null}), json!(["EASY"]), Value::Null],
        ),
        (
            "currency",
            "invalid_currency",
            400,
            vec![json!("USD"), json!("inr"), json!(""), json!("INR "), json!("I".repeat(15_000))],
        ),
        ("currency", "validation_failed", 400, vec![json!(1), json!(false), Value::Null]),
        (
            "hazardEpoch",
            "validation_failed",
            400,
            vec![json!(-1), json!(1.5), json!("1"), json!(1e300), json!([]), Value::Null],
        ),
        (
            "userSeed",
            "invalid_user_seed",
            400,
            vec![
                json!(""),
                json!(long),
                json!("a b"),
                json!("a:b"),
                json!("a/b"),
                json!("\u{e9}"),
                json!("a\n"),
            ],
        ),
        ("userSeed", "validation_failed", 400, vec![json!(1), json!(["a"])]),
        (
            "hashedServerSeed",
            "validation_failed",
            400,
            vec![json!(""), json!("abc"), json!("G".repeat(64)), json!("A".repeat(64)), json!(1)],
        ),
        (
            "hashedServerSeed",
            "stale_commitment",
            409,
            vec![json!("0".repeat(64)), seeds["nextHashedServerSeed"].clone()],
        ),
    ];
    for (field, code, status, values) in &cases {
        for value in values {
            // On the road of this moment: an earlier one is out of force after ten seconds at most.
            let body = with(&player.bet_body("10.00", "EASY").await, field, value);
            witness
                .refused(&format!("{field} {value}"), bet(&player, &body), *status, code)
                .await;
        }
    }
    let body = player.bet_body("10.00", "EASY").await;
    for key in ["", " ", "a b", &"k".repeat(65)] {
        let request = bet(&player, &body).header("Idempotency-Key", key);
        witness
            .refused(&format!("the idempotency key {key:?}"), request, 400, "validation_failed")
            .await;
    }
    let two_keys = bet(&player, &body).header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    witness.refused("two idempotency keys", two_keys, 400, "validation_failed").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_current_and_the_previous_road_are_in_force() {
    let (world, _server, player) = quiet_world().await;
    let (body, witness) = (player.bet_body("10.00", "HARD").await, Witness::of(&world).await);
    let epoch = player.epoch("HARD").await;
    // An epoch may begin in between: what is refused lies further off than that.
    for stale in [0, epoch - 20_000, epoch - 2, epoch + 20, epoch + 1_000_000, u64::MAX] {
        let request = bet(&player, &with(&body, "hazardEpoch", &json!(stale)));
        let problem = witness.refused(&format!("epoch {stale}"), request, 409, "stale_hazard_epoch").await;
        assert!(problem["epoch"].as_u64().is_some_and(|current| current >= epoch), "{problem}");
        assert_eq!(problem["hazardSeed"].as_str().map(str::len), Some(64), "{problem}");
    }
    loop {
        let current = player.get("/api/hazards/HARD").await.ok();
        let answer = player
            .post("/api/game/bet", with(&body, "hazardEpoch", &current["previousEpoch"]))
            .await;
        if answer.status == 200 {
            break;
        }
        // An epoch began in between, and what was the previous one is that no more.
        answer.refused(409, "stale_hazard_epoch");
        assert!(answer.body["epoch"].as_u64() > current["epoch"].as_u64(), "{}", answer.body);
    }
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stakes_keep_to_the_step_and_to_the_players_limit() {
    let mut game: Value = serde_json::from_str(include_str!("../../config/game.json")).expect("JSON");
    game["currencies"][0]["betStep"] = json!("0.50");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), game.to_string()).expect("written");
    let options = WorldOptions::default().with("FAIRCROSS__GAME__CONFIGURATION_FILE", file.path().display());
    let world = World::new(options.with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 60_000)).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;

    let refuse = async |limit: &str, amounts: &[&str]| {
        world
            .wallet_ok(&server, "updateBetLimit", &[("userId", &player.user_id), ("betLimit", limit)])
            .await;
        let witness = Witness::of(&world).await;
        for amount in amounts {
            let request = bet(&player, &player.bet_body(amount, "EASY").await);
            witness
                .refused(&format!("{amount} with the limit {limit}"), request, 400, "invalid_bet_amount")
                .await;
        }
    };
    refuse("1000", &["150.50", "1000.00", "10.25", "10.01", "0.50"]).await;
    refuse("20", &["20.50", "20.01", "150.00"]).await;
    refuse(r#"{"In-out":{"CRASH":{"minbet":1,"maxbet":12.5}}}"#, &["13.00", "20.00"]).await;
    player.bet("12.50", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}
