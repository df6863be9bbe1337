//! What a proof says about honest and dishonest claims.

use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use faircross::game::hazards::{Anchor, Chain, EPOCHS_PER_DAY, Epoch};
use faircross::game::proof::{Claim, Publication, verify};

/// A round that has ended, with everything that was shown of it.
fn honest_claim() -> (Claim, GameConfiguration) {
    let configuration = GameConfiguration::embedded_default();
    let chain = Chain::from_last_link([9; 32]);
    let epoch = Epoch::new(u64::from(EPOCHS_PER_DAY) * 20_000 + 41).unwrap();
    let server_seed = ServerSeed::from_bytes([3; 32]);
    let mut claim = Claim {
        hashed_server_seed: Some(server_seed.commitment()),
        server_seed,
        user_seed: UserSeed::parse("my-own.seed_1").unwrap(),
        nonce: Nonce::new(12).unwrap(),
        hazard_seed: chain.link(epoch.index()).unwrap().clone(),
        difficulty: Difficulty::Hard,
        hazard_epoch: Some(epoch),
        anchor: Some(chain.anchor().clone()),
        publication: Some(Publication {
            anchor: chain.anchor().clone(),
            at_unix_ms: epoch.starts_at_unix_ms() - 86_400_000,
        }),
        collision_columns: None,
        config_hash: Some(configuration.hash().to_owned()),
    };
    claim.collision_columns = Some(verify(&claim, &configuration).collision_columns);
    (claim, configuration)
}

fn first_mismatch(change: impl FnOnce(&mut Claim)) -> Option<&'static str> {
    let (mut claim, configuration) = honest_claim();
    change(&mut claim);
    let proof = verify(&claim, &configuration);
    assert_eq!(proof.valid, proof.first_mismatch().is_none());
    proof.first_mismatch().map(|check| check.name)
}

#[test]
fn the_first_thing_that_does_not_match_is_named() {
    assert_eq!(first_mismatch(|_| {}), None);
    let commitment = Some("server_seed_matches_commitment");
    assert_eq!(
        first_mismatch(|claim| claim.server_seed = ServerSeed::from_bytes([4; 32])),
        commitment
    );
    assert_eq!(
        first_mismatch(|claim| claim.hashed_server_seed = Commitment::parse(&"0".repeat(64)).ok()),
        commitment
    );
    let chain = Some("hazard_seed_belongs_to_anchor");
    assert_eq!(first_mismatch(|claim| claim.hazard_seed = HazardSeed::from_bytes([1; 32])), chain);
    assert_eq!(first_mismatch(|claim| claim.anchor = Anchor::parse(&"0".repeat(64)).ok()), chain);
    assert_eq!(
        first_mismatch(|claim| claim.hazard_epoch = claim.hazard_epoch.map(Epoch::next)),
        chain
    );
    let made_up = |claim: &mut Claim| {
        let chain = Chain::from_last_link([8; 32]);
        claim.hazard_seed = chain.link(claim.hazard_epoch.unwrap().index()).unwrap().clone();
        claim.anchor = Some(chain.anchor().clone());
    };
    assert_eq!(first_mismatch(made_up), Some("anchor_is_the_published_one"));
    assert_eq!(
        first_mismatch(|claim| claim.config_hash = Some("0".repeat(64))),
        Some("configuration_matches_hash")
    );
    let columns = Some("collision_columns_match");
    assert_eq!(first_mismatch(|claim| claim.nonce = Nonce::new(13).unwrap()), columns);
    assert_eq!(
        first_mismatch(|claim| claim.user_seed = UserSeed::parse("another").unwrap()),
        columns
    );
    assert_eq!(first_mismatch(|claim| claim.difficulty = Difficulty::Daredevil), columns);
    assert_eq!(first_mismatch(|claim| claim.collision_columns = Some(vec![0])), columns);
}

#[test]
fn a_late_anchor_is_reported_and_is_not_wrong() {
    let (mut claim, configuration) = honest_claim();
    let day_begins_at_unix_ms = claim.hazard_epoch.unwrap().day() * 86_400_000;
    for (published_at, expected) in [(0, false), (90_000, true)] {
        claim.publication.as_mut().unwrap().at_unix_ms = day_begins_at_unix_ms - 1 + published_at;
        let proof = verify(&claim, &configuration);
        let check = proof.checks.iter().find(|check| check.name == "anchor_published_in_time").unwrap();
        assert!(proof.valid && check.ok);
        assert_eq!(check.detail.starts_with("late"), expected, "{}", check.detail);
    }
}

#[test]
fn a_claim_that_states_less_has_fewer_checks() {
    let (mut claim, configuration) = honest_claim();
    assert_eq!(verify(&claim, &configuration).checks.len(), 7);
    claim.hazard_epoch = None;
    assert_eq!(verify(&claim, &configuration).checks.len(), 6);
    claim.anchor = None;
    assert_eq!(
        verify(&claim, &configuration).checks.len(),
        5,
        "the seed is held against the published anchor"
    );
    claim.publication = None;
    (claim.hashed_server_seed, claim.anchor, claim.collision_columns, claim.config_hash) = (None, None, None, None);
    let proof = verify(&claim, &configuration);
    assert_eq!((proof.checks.len(), proof.valid), (1, true));
    let rendered = serde_json::to_value(&proof).unwrap();
    let mut fields: Vec<&String> = rendered.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["checks", "collisionColumns", "hashedServerSeed", "roundKey", "valid"]);
}
