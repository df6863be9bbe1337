//! What a proof says about honest and dishonest claims.

use faircross::game::claim::{Claim, ClaimedEnd, Published};
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use faircross::game::hazards::{Anchor, Chain, EPOCHS_PER_DAY, Epoch};
use faircross::game::money::{Amount, Coefficient, payout};
use faircross::game::proof::{Verdict, verify, verify_under};
use faircross::game::round::EndReason;

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
        published: Published::Anchor {
            anchor: chain.anchor().clone(),
            at_unix_ms: Some(epoch.starts_at_unix_ms() - 86_400_000),
        },
        collision_columns: None,
        config_hash: Some(configuration.hash().to_owned()),
        end: ClaimedEnd::default(),
        user_seed_fresh: Some(true),
        recorded_fresh: Some(true),
    };
    let columns = verify(&claim, &configuration).collision_columns.unwrap();
    let first = *columns.first().unwrap();
    assert!(first > 0, "there is a lane to cash out on");
    let coefficient = configuration.paytable(claim.difficulty).coefficient(0).unwrap();
    let paid = payout(Amount::parse("10.00", 2).unwrap(), coefficient).unwrap();
    claim.collision_columns = Some(columns);
    claim.end = ClaimedEnd {
        bet_amount: Some("10.00".to_owned()),
        currency: Some("INR".to_owned()),
        last_lane: Some(0),
        reason: Some(EndReason::Cashout),
        win_amount: Some(paid.format(2)),
        coefficient: Some(coefficient),
    };
    (claim, configuration)
}

fn first_mismatch(change: impl FnOnce(&mut Claim)) -> Option<&'static str> {
    let (mut claim, configuration) = honest_claim();
    change(&mut claim);
    let proof = verify(&claim, &configuration);
    let expected = if proof.first_mismatch().is_none() {
        Verdict::Valid
    } else {
        Verdict::Invalid
    };
    assert_eq!((proof.verdict, proof.valid), (expected, expected == Verdict::Valid));
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
    assert_eq!(
        first_mismatch(|claim| claim.published = Published::Never),
        Some("anchor_is_the_published_one"),
        "a chain that nobody published"
    );
    assert_eq!(
        first_mismatch(|claim| claim.recorded_fresh = Some(false)),
        Some("user_seed_fresh_as_recorded")
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
fn an_end_and_a_payment_are_recomputed() {
    for (what, name, change) in [
        (
            "a stake below the minimum",
            "stake_is_allowed",
            (|end| end.bet_amount = Some("0.50".to_owned())) as fn(&mut ClaimedEnd),
        ),
        ("a stake finer than the currency", "stake_is_allowed", |end| {
            end.bet_amount = Some("10.001".to_owned())
        }),
        ("another currency", "stake_is_allowed", |end| end.currency = Some("XXX".to_owned())),
        ("a lane behind a hazard", "end_follows_from_road", |end| end.last_lane = Some(20)),
        ("a lane that is none", "end_follows_from_road", |end| end.last_lane = Some(-1)),
        ("a hazard where there is none", "end_follows_from_road", |end| {
            end.reason = Some(EndReason::Hazard)
        }),
        ("a win before the last lane", "end_follows_from_road", |end| {
            end.reason = Some(EndReason::Win)
        }),
        ("another coefficient", "coefficient_matches", |end| {
            end.coefficient = Coefficient::parse("1.19").ok()
        }),
        ("a minor unit less", "payout_matches", |end| {
            end.win_amount = Some("11.79".to_owned())
        }),
        ("a payment finer than the currency", "payout_matches", |end| {
            end.win_amount = Some("11.8001".to_owned())
        }),
        ("a larger stake", "payout_matches", |end| end.bet_amount = Some("100.00".to_owned())),
    ] {
        assert_eq!(first_mismatch(|claim| change(&mut claim.end)), Some(name), "{what}");
    }
    // A lane that no stake allows is wrong also where the stake is not told.
    let untold = |claim: &mut Claim| {
        (claim.end.bet_amount, claim.end.last_lane) = (None, Some(20));
    };
    assert_eq!(first_mismatch(untold), Some("end_follows_from_road"));
    let void_on = |lane| {
        let (mut claim, configuration) = honest_claim();
        claim.difficulty = Difficulty::Easy;
        claim.server_seed = safe_seed(&claim, &configuration);
        claim.hashed_server_seed = Some(claim.server_seed.commitment());
        claim.collision_columns = Some(Vec::new());
        claim.end = ClaimedEnd {
            last_lane: Some(lane),
            reason: Some(EndReason::Void),
            ..ClaimedEnd::default()
        };
        verify(&claim, &configuration).verdict
    };
    let lanes = i16::from(GameConfiguration::embedded_default().paytable(Difficulty::Easy).lanes());
    for (lane, verdict) in [
        (-2, Verdict::Invalid),
        (-1, Verdict::Incomplete),
        (lanes - 1, Verdict::Incomplete),
        (lanes, Verdict::Invalid),
        (40, Verdict::Invalid),
    ] {
        assert_eq!(void_on(lane), verdict, "a void on lane {lane} of a road without a hazard");
    }
}

/// A server seed whose road has no hazard, so that only the number of lanes bounds it.
fn safe_seed(claim: &Claim, configuration: &GameConfiguration) -> ServerSeed {
    let mut claim = claim.clone();
    (0..=u16::MAX)
        .find_map(|number| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            claim.server_seed = ServerSeed::from_bytes(bytes);
            let columns = verify(&claim, configuration).collision_columns;
            columns.is_some_and(|columns| columns.is_empty()).then(|| claim.server_seed.clone())
        })
        .unwrap()
}

/// What rests on the configuration is checked under the round's own and under no other, so that no right round is called wrong.
#[test]
fn nothing_is_wrong_because_of_another_configuration() {
    let (mut claim, _) = honest_claim();
    let resting = [
        "configuration_matches_hash",
        "collision_columns_match",
        "stake_is_allowed",
        "end_follows_from_road",
        "coefficient_matches",
        "payout_matches",
    ];
    let wrong_if_known = |claim: &Claim| {
        let mut claim = claim.clone();
        (claim.collision_columns, claim.end.bet_amount) = (Some(vec![0]), Some("0.10".to_owned()));
        claim
    };
    for claim in [claim.clone(), wrong_if_known(&claim)] {
        let proof = verify_under(&claim, None);
        let unchecked: Vec<&str> = proof.unchecked.iter().map(|missing| missing.name).collect();
        assert_eq!(
            (proof.verdict, unchecked, proof.collision_columns),
            (Verdict::Incomplete, resting.to_vec(), None)
        );
    }
    claim.server_seed = ServerSeed::from_bytes([4; 32]);
    let proof = verify_under(&claim, None);
    let name = proof.first_mismatch().map(|check| check.name);
    assert_eq!(name, Some("server_seed_matches_commitment"), "the rest is checked");
}

#[test]
fn a_late_anchor_is_reported_and_is_not_wrong() {
    let (mut claim, configuration) = honest_claim();
    let day_begins_at_unix_ms = claim.hazard_epoch.unwrap().day() * 86_400_000;
    for (published_at, expected) in [(0, false), (90_000, true)] {
        claim.published = Published::Anchor {
            anchor: claim.anchor.clone().unwrap(),
            at_unix_ms: Some(day_begins_at_unix_ms - 1 + published_at),
        };
        let proof = verify(&claim, &configuration);
        let check = proof.checks.iter().find(|check| check.name == "anchor_published_in_time").unwrap();
        assert!(proof.valid && check.ok);
        assert_eq!(check.detail.starts_with("late"), expected, "{}", check.detail);
    }
}

/// Nothing is wrong with a claim that says less, but it is not valid, and what is missing is named.
#[test]
fn a_claim_that_says_less_is_incomplete() {
    let beacon = "anchor_is_the_published_one";
    for (what, missing, change) in [
        (
            "no commitment",
            &["server_seed_matches_commitment"][..],
            (|claim| claim.hashed_server_seed = None) as fn(&mut Claim),
        ),
        ("no configuration", &["configuration_matches_hash"], |claim| {
            claim.config_hash = None
        }),
        ("no columns", &["collision_columns_match"], |claim| claim.collision_columns = None),
        ("an anchor without an epoch", &[beacon], |claim| claim.hazard_epoch = None),
        ("a verifier that knows no anchor", &[beacon], |claim| {
            claim.published = Published::Unknown
        }),
        ("nothing of the beacon", &["hazard_seed_belongs_to_anchor", beacon], |claim| {
            (claim.anchor, claim.hazard_epoch, claim.published) = (None, None, Published::Unknown);
        }),
        (
            "no lane",
            &["end_follows_from_road", "coefficient_matches", "payout_matches"],
            |claim| claim.end.last_lane = None,
        ),
        ("no coefficient", &["coefficient_matches"], |claim| claim.end.coefficient = None),
        ("no payment", &["payout_matches"], |claim| claim.end.win_amount = None),
        (
            "no stake",
            &["stake_is_allowed", "end_follows_from_road", "coefficient_matches", "payout_matches"],
            |claim| claim.end.bet_amount = None,
        ),
        ("a freshness that no record knows", &["user_seed_fresh_as_recorded"], |claim| {
            claim.recorded_fresh = None
        }),
    ] {
        let (mut claim, configuration) = honest_claim();
        change(&mut claim);
        let proof = verify(&claim, &configuration);
        let unchecked: Vec<&str> = proof.unchecked.iter().map(|missing| missing.name).collect();
        assert_eq!((proof.verdict, proof.valid), (Verdict::Incomplete, false), "{what}");
        assert_eq!(unchecked, missing, "{what}");
    }
    let (mut claim, configuration) = honest_claim();
    claim.anchor = None;
    assert!(
        verify(&claim, &configuration).valid,
        "the seed is held against the published anchor"
    );
}

#[test]
fn a_proof_is_written_as_the_contract_says() {
    let (claim, configuration) = honest_claim();
    let rendered = serde_json::to_value(verify(&claim, &configuration)).unwrap();
    let mut fields: Vec<&String> = rendered.as_object().unwrap().keys().collect();
    fields.sort();
    let expected = [
        "checks",
        "collisionColumns",
        "hashedServerSeed",
        "roundKey",
        "unchecked",
        "valid",
        "verdict",
    ];
    assert_eq!(fields, expected);
    assert_eq!(
        (&rendered["verdict"], &rendered["unchecked"]),
        (&"valid".into(), &serde_json::json!([]))
    );
}
