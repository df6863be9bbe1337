//! What is said of claims about rounds, over HTTP and on the command line: only what was checked and is right is valid.

use serde_json::{Value, json};

use crate::world::{Answer, Player, World};

const VERIFY: &str = "/api/fairness/verify";
/// A server seed, a hazard seed and what follows from them, made up by a stranger.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_OF_ZEROS: &str = "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55";

/// The claim that follows from a bet of the history: its fairness object, and the fields beside it that a claim has.
pub fn claim_of(bet: &Value) -> Value {
    let mut claim = bet["fairness"].clone();
    let beside = [
        "difficulty",
        "configVersion",
        "configHash",
        "betAmount",
        "currency",
        "lastLane",
        "endReason",
        "winAmount",
        "coeff",
    ];
    for field in beside {
        claim[field] = bet[field].clone();
    }
    claim
}

/// A claim with some of its fields changed; null takes a field away.
fn changed(claim: &Value, changes: &Value) -> Value {
    let mut claim = claim.clone();
    for (name, value) in changes.as_object().expect("an object") {
        claim[name] = value.clone();
    }
    claim
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().expect("a list");
    items.iter().map(|item| item["name"].as_str().expect("a name")).collect()
}

fn first_mismatch(proof: &Value) -> Option<&str> {
    let checks = proof["checks"].as_array().expect("checks");
    checks
        .iter()
        .find(|check| check["ok"] == false)
        .and_then(|check| check["name"].as_str())
}

async fn ended_bet(world: &World, server: &crate::world::Server) -> (Player, Value) {
    let player = world.player(server).await;
    let end = player.win_on_lane("10.00", "EASY", 1).await;
    let bet = player.history(end["betId"].as_str().expect("an id")).await;
    (player, bet)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_checked_and_is_right_is_valid() {
    let (world, server) = World::with_server().await;
    let (player, bet) = ended_bet(&world, &server).await;
    let claim = claim_of(&bet);
    let ask = async |changes: Value| player.post(VERIFY, changed(&claim, &changes)).await.ok();
    let sound = ask(json!({})).await;
    assert_eq!(
        (&sound["verdict"], &sound["valid"], &sound["unchecked"]),
        (&json!("valid"), &json!(true), &json!([])),
        "{sound}"
    );
    assert_eq!(
        ask(json!({ "nonce": claim["nonce"].to_string() })).await["verdict"],
        "valid",
        "a nonce as its text"
    );

    let invented = json!({ "serverSeed": ZEROS, "hazardSeed": ZEROS, "hazardEpoch": 0, "anchor": HASH_OF_ZEROS,
        "hashedServerSeed": HASH_OF_ZEROS, "userSeedFresh": null, "collisionColumns": null, "endReason": null });
    let next_epoch = claim["hazardEpoch"].as_u64().expect("an epoch") + 1;
    for (what, name, changes) in [
        ("other columns", "collision_columns_match", json!({ "collisionColumns": [0, 1] })),
        (
            "columns in another order",
            "collision_columns_match",
            json!({ "collisionColumns": [29, 0] }),
        ),
        ("no columns at all", "collision_columns_match", json!({ "collisionColumns": [] })),
        (
            "another configuration",
            "configuration_matches_hash",
            json!({ "configHash": ZEROS }),
        ),
        ("another user seed", "collision_columns_match", json!({ "userSeed": "another" })),
        ("another nonce", "collision_columns_match", json!({ "nonce": 4_711 })),
        (
            "another commitment",
            "server_seed_matches_commitment",
            json!({ "hashedServerSeed": ZEROS }),
        ),
        (
            "another epoch",
            "hazard_seed_belongs_to_anchor",
            json!({ "hazardEpoch": next_epoch }),
        ),
        ("an invented chain", "anchor_is_the_published_one", invented.clone()),
        (
            "another freshness",
            "user_seed_fresh_as_recorded",
            json!({ "userSeedFresh": false }),
        ),
        ("a larger stake", "payout_matches", json!({ "betAmount": "11.00" })),
        ("a stake that is not allowed", "stake_is_allowed", json!({ "betAmount": "0.01" })),
        ("another currency", "stake_is_allowed", json!({ "currency": "XXX" })),
        ("a lane more", "coefficient_matches", json!({ "lastLane": 0 })),
        ("another end", "end_follows_from_road", json!({ "endReason": "hazard" })),
        ("another coefficient", "coefficient_matches", json!({ "coeff": "1.04" })),
        ("a minor unit more", "payout_matches", json!({ "winAmount": "10.31" })),
    ] {
        let proof = ask(changes).await;
        assert_eq!(
            (&proof["verdict"], &proof["valid"]),
            (&json!("invalid"), &json!(false)),
            "{what}: {proof}"
        );
        assert_eq!(first_mismatch(&proof), Some(name), "{what}: {proof}");
    }
    for (what, missing, changes) in [
        (
            "no commitment",
            "server_seed_matches_commitment",
            json!({ "hashedServerSeed": null }),
        ),
        (
            "an anchor without an epoch",
            "anchor_is_the_published_one",
            json!({ "hazardEpoch": null }),
        ),
        ("no columns", "collision_columns_match", json!({ "collisionColumns": null })),
        ("no hash", "configuration_matches_hash", json!({ "configHash": null })),
        ("no payment", "payout_matches", json!({ "winAmount": null })),
        ("no stake", "stake_is_allowed", json!({ "betAmount": null })),
        (
            "an invented chain without its epoch",
            "anchor_is_the_published_one",
            // Nothing is said of where the round ended: by chance the invented road may have its hazard there.
            changed(
                &invented,
                &json!({ "hazardEpoch": null, "lastLane": null, "winAmount": null, "coeff": null }),
            ),
        ),
    ] {
        let proof = ask(changes).await;
        assert_eq!(
            (&proof["verdict"], &proof["valid"]),
            (&json!("incomplete"), &json!(false)),
            "{what}: {proof}"
        );
        assert!(names(&proof["unchecked"]).contains(&missing), "{what}: {proof}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_contains_is_never_ignored() {
    let (world, server) = World::with_server().await;
    let (player, bet) = ended_bet(&world, &server).await;
    let claim = claim_of(&bet);
    for (field, value) in [
        ("roundKey", json!(ZEROS)),
        ("id", bet["id"].clone()),
        ("status", json!("WON")),
        ("userseed", json!("mine")),
        ("serverSeed", json!(5)),
        ("anchor", json!([])),
        ("lastLane", json!(1.5)),
        ("lastLane", json!("1")),
        ("collisionColumns", json!("5,12")),
        ("collisionColumns", json!([5.5])),
        ("configVersion", json!("1")),
        ("betAmount", json!(10)),
        ("betAmount", json!("NaN")),
        ("winAmount", json!("1e3")),
        ("coeff", json!("Infinity")),
        ("endReason", json!("WIN")),
        ("userSeedFresh", json!("true")),
    ] {
        let answer = player.post(VERIFY, changed(&claim, &json!({ field: value }))).await;
        assert_eq!(answer.status, 400, "{field}: {value}: {}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(field), "{field}: {value}: {detail}");
    }
    // Written out, because what matters is how a number is spelled and how often a name stands.
    for (field, written) in [
        ("userSeed", "1e2"),
        ("nonce", "1e2"),
        ("nonce", "100.0"),
        ("nonce", "-0"),
        ("nonce", "\"1e2\""),
        ("nonce", "\"NaN\""),
        ("nonce", "NaN"),
        ("nonce", "9007199254740992"),
        ("hazardEpoch", "1e9"),
        ("nonce", "0,\"nonce\":0"),
    ] {
        let mut rest = claim.clone();
        rest.as_object_mut().expect("an object").remove(field);
        let rest = rest.to_string();
        let body = format!("{{\"{field}\":{written},{}", rest.trim_start_matches('{'));
        let request = world
            .http
            .post(server.url(VERIFY))
            .header("Content-Type", "application/json")
            .body(body);
        let answer: Answer = player.send(request).await;
        assert_eq!(answer.status, 400, "{field}: {written}: {}", answer.body);
        // What is no JSON at all has no field to name.
        let is_named = answer.body["detail"].as_str().unwrap_or_default().contains(field);
        assert!(is_named || written == "NaN", "{field}: {written}: {}", answer.body);
    }
    player
        .post(VERIFY, changed(&claim, &json!({ "configVersion": 999 })))
        .await
        .refused(404, "not_found");
    world.close().await;
}

/// Another paytable than the built-in one, as a file.
fn other_configuration() -> tempfile::NamedTempFile {
    let built_in = include_str!("../config/game.json");
    let other = built_in.replacen("\"1.03\"", "\"1.04\"", 1);
    assert_ne!(built_in, other);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), other).expect("written");
    file
}

/// A claim is held against the configuration that it names, by version or by hash, also when another is in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_round_is_not_wrong_under_another_configuration() {
    let (world, server) = World::with_server().await;
    let (_, bet) = ended_bet(&world, &server).await;
    let claim = claim_of(&bet);
    let file = other_configuration();
    let path = file.path().display().to_string();
    let later = world.start_server_with(&[("FAIRCROSS__GAME__CONFIGURATION_FILE", &path)]).await;
    let (player, later_bet) = ended_bet(&world, &later).await;
    let later_claim = claim_of(&later_bet);
    assert_ne!(claim["configHash"], later_claim["configHash"]);
    let ask = async |claim: &Value, changes: Value| player.post(VERIFY, changed(claim, &changes)).await.ok();
    for claim in [&claim, &later_claim] {
        let proof = ask(claim, json!({ "configVersion": null })).await;
        assert_eq!(proof["verdict"], "valid", "the version is found by the hash: {proof}");
    }
    let contradiction = ask(&claim, json!({ "configVersion": later_claim["configVersion"] })).await;
    assert_eq!(
        first_mismatch(&contradiction),
        Some("configuration_matches_hash"),
        "{contradiction}"
    );
    let unnamed = json!({ "configVersion": null, "configHash": null });
    let proof = ask(&later_claim, unnamed.clone()).await;
    assert_eq!(proof["verdict"], "incomplete", "{proof}");
    assert_eq!(names(&proof["unchecked"]), ["configuration_matches_hash"], "{proof}");
    let proof = ask(&claim, unnamed).await;
    assert_eq!(
        proof["verdict"], "invalid",
        "a claim that names no configuration is held against the one in force: {proof}"
    );
    let proof = ask(&claim, json!({ "configVersion": null, "configHash": ZEROS })).await;
    assert_eq!(
        first_mismatch(&proof),
        Some("configuration_matches_hash"),
        "no configuration ever had this hash: {proof}"
    );

    let trusted = changed(&later_claim, &json!({ "publishedAnchor": later_claim["anchor"] }));
    for (what, code, said, claim) in [
        (
            "the file is given",
            0,
            "valid",
            changed(&trusted, &json!({ "configuration": path })),
        ),
        ("no file is given", 2, "give --configuration", trusted.clone()),
        (
            "no hash is given",
            1,
            "coefficient",
            changed(&trusted, &json!({ "configHash": null })),
        ),
    ] {
        let options = options(&claim);
        let (status, text) = world.command(&options.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(status, code, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    world.close().await;
}

/// The options of `faircross verify` for a claim.
fn options(claim: &Value) -> Vec<String> {
    let mut options = vec!["verify".to_owned()];
    for (name, value) in claim.as_object().expect("an object") {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(lanes) if lanes.is_empty() => "none".to_owned(),
            Value::Array(lanes) => lanes.iter().map(Value::to_string).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        if !["userSeedFresh", "configVersion"].contains(&name.as_str()) {
            let mut option = String::from("--");
            for letter in name.chars() {
                if letter.is_ascii_uppercase() {
                    option.push('-');
                }
                option.push(letter.to_ascii_lowercase());
            }
            options.push(format!("{option}={value}"));
        }
    }
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_comes_to_the_same_verdicts() {
    let (world, server) = World::with_server().await;
    let (_, bet) = ended_bet(&world, &server).await;
    let claim = claim_of(&bet);
    let trusted = changed(&claim, &json!({ "publishedAnchor": claim["anchor"] }));
    let verify = async |claim: &Value| {
        let options = options(claim);
        world.command(&options.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    for (what, code, said, claim) in [
        ("a round whose anchor is trusted", 0, "valid", trusted.clone()),
        (
            "an anchor that nobody vouches for",
            2,
            "unchecked anchor_is_the_published_one",
            claim.clone(),
        ),
        (
            "no commitment",
            2,
            "unchecked server_seed_matches_commitment",
            changed(&trusted, &json!({ "hashedServerSeed": null })),
        ),
        (
            "other columns",
            1,
            "collision_columns_match",
            changed(&trusted, &json!({ "collisionColumns": [0] })),
        ),
        (
            "another trusted anchor",
            1,
            "anchor_is_the_published_one",
            changed(&trusted, &json!({ "publishedAnchor": ZEROS })),
        ),
        (
            "another payment",
            1,
            "payout_matches",
            changed(&claim, &json!({ "winAmount": "10.31" })),
        ),
        (
            "a nonce in another spelling",
            1,
            "nonce",
            changed(&claim, &json!({ "nonce": "1e2" })),
        ),
        // The command line itself cannot be read: that is no verdict.
        (
            "an option that is none",
            64,
            "round-key",
            changed(&claim, &json!({ "roundKey": ZEROS })),
        ),
    ] {
        let (status, text) = verify(&claim).await;
        assert_eq!(status, code, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    world.close().await;
}
