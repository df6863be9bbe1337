//! The vector file, which another implementation computed.

use faircross::game::claim::RawClaim;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{HazardSeed, collision_columns, round_key};
use faircross::game::hazards::{Anchor, Epoch, anchor_of, index_under, visible_hazards};
use faircross::game::proof::verify;
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::from_value(value.clone()).unwrap()
}

fn difficulty(value: &Value) -> Difficulty {
    text(value, "difficulty").parse().unwrap()
}

#[test]
fn thresholds() {
    let (vectors, configuration) = (vectors(), GameConfiguration::embedded_default());
    assert_eq!(text(&vectors, "rtp"), configuration.rtp_text());
    for difficulty in Difficulty::ALL {
        let computed: Vec<String> = configuration.paytable(difficulty).thresholds().iter().map(u64::to_string).collect();
        assert_eq!(json!(computed), vectors["thresholds"][difficulty.as_str()], "{difficulty}");
    }
}

#[test]
fn rounds() {
    let (vectors, configuration) = (vectors(), GameConfiguration::embedded_default());
    let rounds = vectors["rounds"].as_array().unwrap();
    assert!(rounds.len() >= 60);
    for round in rounds {
        let mut stated = round.clone();
        stated.as_object_mut().unwrap().remove("roundKey");
        let raw: RawClaim = serde_json::from_value(stated).unwrap();
        let claim = raw.parse().unwrap();
        let key = round_key(&claim.server_seed, &claim.user_seed, claim.nonce, &claim.hazard_seed);
        assert_eq!(hex::encode(key), text(round, "roundKey"));
        let thresholds = configuration.paytable(claim.difficulty).thresholds();
        assert_eq!(collision_columns(&key, thresholds), bytes(&round["collisionColumns"]));
        let proof = verify(&claim, &configuration);
        assert_eq!(proof.first_mismatch(), None);
        assert_eq!(proof.hashed_server_seed, text(round, "hashedServerSeed"));
        assert_eq!(proof.round_key, text(round, "roundKey"));
        assert_eq!(json!(proof.collision_columns), round["collisionColumns"]);
    }
}

#[test]
fn visible_roads() {
    let (vectors, configuration) = (vectors(), GameConfiguration::embedded_default());
    for road in vectors["hazards"].as_array().unwrap() {
        let paytable = configuration.paytable(difficulty(road));
        let seed = HazardSeed::parse(text(road, "hazardSeed")).unwrap();
        let computed = visible_hazards(&seed, difficulty(road), paytable.lanes(), paytable.hazards());
        assert_eq!(computed, bytes(&road["hazards"]));
    }
}

#[test]
fn links() {
    for link in vectors()["chain"].as_array().unwrap() {
        let seed = HazardSeed::parse(text(link, "hazardSeed")).unwrap();
        let anchor = Anchor::parse(text(link, "anchor")).unwrap();
        let index = link["index"].as_u64().unwrap();
        assert_eq!(anchor_of(&seed, Epoch::new(index).unwrap()), anchor);
        assert_eq!(index_under(&seed, &anchor).map(u64::from), Some(index));
    }
}
