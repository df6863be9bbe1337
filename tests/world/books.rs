//! Our books against the operator's, bet by bet and to the minor unit. It shares no code with `faircross audit`, so that the
//! two can be wrong only separately; the audit runs as well.

use std::collections::HashMap;

use serde_json::Value;

use super::World;

pub async fn assert_they_agree(world: &World) {
    let (ledger, bets) = (world.operator.ledger().await, world.bets().await);
    assert_eq!(
        ledger["violations"],
        Value::Array(Vec::new()),
        "the operator saw nothing that it should not have"
    );
    let theirs: HashMap<&str, &Value> = list(&ledger, "bets")
        .iter()
        .map(|bet| (bet["platformTxId"].as_str().expect("an id"), bet))
        .collect();
    let ours: HashMap<&str, &Value> = bets.iter().map(|bet| (bet["bet_id"].as_str().expect("an id"), bet)).collect();
    let found = world.bets_found_by_restores().await;
    let mut moved: HashMap<&str, i64> = HashMap::new();
    for (id, bet) in theirs.iter().filter(|(id, _)| !ours.contains_key(*id)) {
        assert!(found.contains(*id), "the operator knows a bet {id} that we do not");
        let state = bet["state"].as_str().expect("a state");
        assert_ne!(state, "bet", "{id}, which a restore has found, is closed");
        if state == "settled" {
            let change = minor(&bet["winAmount"]) - minor(&bet["betAmount"]);
            *moved.entry(bet["userId"].as_str().expect("a user")).or_default() += change;
        }
    }
    for (id, bet) in &ours {
        let state = bet["state"].as_str().expect("a state");
        let their_state = theirs.get(id).map_or("none", |bet| bet["state"].as_str().expect("a state"));
        let agrees = match state {
            "WON" | "LOST" => their_state == "settled",
            "VOIDED" => their_state == "voided",
            "CANCELLED" => ["cancelled", "cancelled_before_bet", "refused", "none"].contains(&their_state),
            "REJECTED" => ["refused", "none", "cancelled_before_bet"].contains(&their_state),
            _ => false,
        };
        assert!(agrees, "{id} is {state} with us and {their_state} with the operator");
        if let ("WON" | "LOST", Some(their_bet)) = (state, theirs.get(id)) {
            assert_eq!(
                minor(&their_bet["betAmount"]),
                bet["stake_minor"].as_i64().expect("a stake"),
                "{id}"
            );
            assert_eq!(
                minor(&their_bet["winAmount"]),
                bet["payout_minor"].as_i64().expect("a payout"),
                "{id}"
            );
            let change = bet["payout_minor"].as_i64().expect("a payout") - bet["stake_minor"].as_i64().expect("a stake");
            *moved.entry(bet["user_id"].as_str().expect("a user")).or_default() += change;
        }
    }
    for player in list(&ledger, "players") {
        let change = minor(&player["balance"]) - minor(&player["startingBalance"]);
        let user_id = player["userId"].as_str().expect("a user");
        assert_eq!(
            change,
            moved.get(user_id).copied().unwrap_or_default(),
            "the balance of {user_id} moved by its rounds and nothing else"
        );
    }
    let nonces = "select string_agg(agent_id || '/' || user_id, ', ') from player_seeds where nonce <> (
        select count(*) from bets where bets.agent_id = player_seeds.agent_id and bets.user_id = player_seeds.user_id) + (
        select coalesce(sum(next_nonce - first_nonce), 0) from skipped_nonces as skipped
        where skipped.agent_id = player_seeds.agent_id and skipped.user_id = player_seeds.user_id)";
    assert_eq!(
        world.ask_database(nonces).await,
        "",
        "every nonce is a bet, or was passed over by a restore"
    );
    let seeds = "select count(*) from bets where not exists (select from revealed_commitments r where r.commitment = bets.commitment)";
    assert_eq!(world.ask_database(seeds).await, "0", "every seed of an ended bet is revealed");
}

fn list<'a>(ledger: &'a Value, name: &str) -> &'a [Value] {
    ledger[name]
        .as_array()
        .unwrap_or_else(|| panic!("no {name} in the operator's ledger"))
}

/// A decimal text in hundredths.
fn minor(amount: &Value) -> i64 {
    let text = amount.as_str().map_or_else(|| amount.to_string(), ToOwned::to_owned);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (hundredths, rest) = fraction.split_at(fraction.len().min(2));
    assert!(rest.bytes().all(|byte| byte == b'0'), "{text} has no part of a minor unit");
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i64 = whole.trim_start_matches('-').parse().expect("digits");
    sign * (whole * 100 + format!("{hundredths:0<2}").parse::<i64>().expect("digits"))
}
