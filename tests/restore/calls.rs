//! What a restore says to operators, and what it makes of their answers: calls that may have left since the copy was made, cancels of
//! debits that never left, and messages that say what the debit said.

use serde_json::{Value, json};

use super::{cash_out_and_die_at, restore, state_at_operator, state_of};
use crate::world::{Player, Server, World, WorldOptions, wait_for};

/// A bet whose server died before the debit left: PENDING, and unknown to the operator.
async fn never_sent(world: &World, server: &mut Server, player: &Player) -> Value {
    server.kill().await;
    let mut killed = world.start_server_killed_at("K2").await;
    let body = player.at(&killed).bet_body("10.00", "EASY").await;
    let _ = player.at(&killed).try_bet_with_key(&body, "key").await;
    assert!(killed.wait_until_ended().await, "it is killed");
    let id = format!("select bet_id from bets where user_id = '{}' and state = 'PENDING'", player.user_id);
    json!(world.ask_database(&id).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_of_a_debit_that_never_left_comes_to_its_end() {
    let (world, mut server) = World::with_server_and(WorldOptions::hasty()).await;
    let player = world.player(&server).await;
    let bet = never_sent(&world, &mut server, &player).await;
    let (code, bill) = restore(&world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    assert!(bill.contains(" 1  open bets cancelled"), "{bill}");
    let planned =
        "select concat_ws(' ', count(*), count(debit_is_over_at), count(distinct debit_is_over_at), bool_and(debit_is_over_at >= due_at
        or due_at <= now())) from outbox where action = 'cancelBet'";
    assert_eq!(world.ask_database(planned).await, "2 2 1 t");
    // An operator that keeps nothing of a cancel whose bet it does not know.
    world
        .operator
        .order(json!({ "cancelBet": { "kind": "refuse", "status": "1039" } }))
        .await;
    let _server = world.start_server().await;
    wait_for("the bet is cancelled", async || match state_of(&world, &bet).await {
        state if state == "CANCELLED" => Ok(()),
        state => Err(state),
    })
    .await;
    assert_eq!(state_at_operator(&world, &bet).await, "none");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_left_after_the_copy_was_made_is_known_to_the_operator() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    let round = player.stand_on("10.00", "EASY", 0).await;
    server.kill().await;
    cash_out_and_die_at("K10", &world, &player).await;
    // The copy was made before the first attempt.
    let unsent =
        "update outbox set may_have_left = false, lapsed_claims = 0, attempts = 0, lease_token = null, leased_until = null, due_at = now()";
    world.change_database(unsent).await;
    let copy = world.copy_database().await;
    let mut server = world.start_server().await;
    world.wait_until_settled().await;
    server.kill().await;
    world.put_back(&copy).await;
    let (code, bill) = restore(&world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    let unsent = "select count(*) from outbox where state = 'open' and (not may_have_left or lapsed_claims = 0)";
    assert_eq!(world.ask_database(unsent).await, "0");
    // "Already settled."
    world
        .operator
        .order(json!({ "settle": { "kind": "refuse", "status": "1038" } }))
        .await;
    let _server = world.start_server().await;
    wait_for("the operator is believed", async || {
        match state_of(&world, &round["roundId"]).await {
            state if state == "WON" => Ok(()),
            state => Err(state),
        }
    })
    .await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_of_a_bet_what_its_debit_said() {
    let (world, mut server) = World::with_server_and(WorldOptions::hasty()).await;
    let placed = world.player(&server).await.stand_on("10.00", "EASY", 0).await;
    let player = world.player(&server).await;
    let pending = never_sent(&world, &mut server, &player).await;
    world
        .add_agent("demo", "demo-cert", &world.operator.url(), &["--utc-offset-minutes", "60"])
        .await;
    let renamed = [
        ("FAIRCROSS__GAME__GAME_CODE", "renamed-code"),
        ("FAIRCROSS__GAME__GAME_NAME", "renamed-name"),
    ];
    let (code, bill) = restore(&world, &renamed).await;
    assert_eq!(code, 0, "{bill}");
    for id in [&placed["roundId"], &pending] {
        let said = format!(
            "select min(bets.message) || min(outbox.message) from outbox join bets using (sequence) where bet_id = '{}'",
            id.as_str().expect("an id")
        );
        let said = world.ask_database(&said).await;
        let mut texts = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
        let mut next = || texts.next().expect("a text").expect("JSON")["txns"][0].clone();
        let (debit, owed) = (next(), next());
        assert_eq!(owed["gameCode"], debit["gameCode"], "{said}");
        if owed["updateTime"].is_string() {
            assert_eq!(owed["gameName"], debit["gameName"], "{said}");
            let offset = |time: &Value| time.as_str().expect("a time").split_at(23).1.to_owned();
            assert_eq!(offset(&owed["updateTime"]), offset(&debit["betTime"]), "{said}");
        }
    }
    let _server = world.start_server().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_whose_terms_cannot_be_had_is_left_to_people_once_it_has_ended() {
    let (world, mut server) = World::with_server().await;
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let player = world.player(&server).await;
        let round = player.stand_on("10.00", "EASY", 0).await;
        rounds.push((player, round["roundId"].clone()));
    }
    world.wait_until_quiet().await;
    server.kill().await;
    let [(won, at_operator), (ended, in_redis), (_, open)] = &*rounds else {
        unreachable!("three rounds")
    };
    let damaged =
        "alter table bets disable trigger user; update bets set server_seed_sealed = '\\x00'; alter table bets enable trigger user";
    world.change_database(damaged).await;
    let key = format!("gameSession:{}-{}", ended.user_id, ended.agent_id);
    world
        .ask_redis(&["HSET", &key, "isActive", "0", "isWin", "1", "endReason", "cashout"])
        .await;
    let file = world.directory.path().join("ledger.json");
    let entry = |id: &Value, user: &str, state: &str| {
        json!({ "agentId": "demo", "platformTxId": id, "userId": user, "roundId": id, "currency": "INR", "betAmount": "10.00",
                "state": state, "winAmount": "10.07", "history": [] })
    };
    let bets = [
        entry(at_operator, &won.user_id, "settled"),
        entry(in_redis, &ended.user_id, "bet"),
        entry(open, &rounds[2].0.user_id, "bet"),
    ];
    let ledger = json!({ "players": [], "violations": [], "bets": bets });
    std::fs::write(&file, ledger.to_string()).expect("written");
    let (code, bill) = world
        .command(&["restore", "--yes", "--operator-ledger", &file.display().to_string()])
        .await;
    assert_eq!(code, 0, "{bill}");
    for (id, call, remark) in [
        (
            at_operator,
            "needs_human",
            "the operator has settled it with 10.07, and its road cannot be computed",
        ),
        (
            in_redis,
            "needs_human",
            "its session in Redis has ended, and its road cannot be computed",
        ),
        (open, "open", "its road cannot be computed"),
    ] {
        let id = id.as_str().expect("an id");
        let owed = format!("select action || ' ' || outbox.state from outbox join bets using (sequence) where bet_id = '{id}'");
        assert_eq!(world.ask_database(&owed).await, format!("voidBet {call}"), "{bill}");
        assert!(bill.contains(&format!("bet {id}: {remark}")), "{remark}:\n{bill}");
    }
}
