//! The same thing asked for several times at once: one outcome, and everybody is told the same. On one server and on two over
//! the same stores, with Redis's locks and without: nothing rests on them.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Player, Server, World, WorldOptions};

/// How many ask at once.
const AT_ONCE: usize = 8;

/// Tries a scenario in all four set-ups, the later ones in the world that the earlier ones left.
async fn everywhere(scenario: impl AsyncFn(&World, &[Server])) {
    for locks in [true, false] {
        let world = World::new(WorldOptions::default().with("FAIRCROSS__REDIS__LOCKS", locks)).await;
        let servers = [world.start_server().await, world.start_server().await];
        scenario(&world, &servers[..1]).await;
        scenario(&world, &servers).await;
        world.close().await;
    }
}

/// The answers to requests that are all under way at once, each at the next server.
async fn at_once(player: &Player, servers: &[Server], ask: impl AsyncFn(usize, Player) -> Answer) -> Vec<Answer> {
    let clients = (0..AT_ONCE).map(|number| player.at(&servers[number % servers.len()]));
    join_all(clients.enumerate().map(|(number, client)| ask(number, client))).await
}

/// What a round's answer says, without the settlement, which goes on, and the balance, which only the first answer has.
fn told(answer: &Answer) -> Value {
    let mut round = answer.clone().ok();
    let object = round.as_object_mut().expect("an object");
    object.remove("settlement");
    object.remove("balance");
    round
}

/// What everybody was told, which must be the same.
fn the_same(answers: &[Answer]) -> Value {
    let rounds: Vec<Value> = answers.iter().map(told).collect();
    let first = rounds.first().expect("an answer").clone();
    assert!(rounds.iter().all(|round| *round == first), "{rounds:#?}");
    first
}

/// How often the operator was asked to debit or settle these rounds.
async fn calls(world: &World, action: &str, player: &Player) -> usize {
    let name = format!("\"userId\":\"{}\"", player.user_id);
    let calls = world.operator.calls(action).await;
    calls
        .iter()
        .filter(|call| call["message"].as_str().is_some_and(|message| message.contains(&name)))
        .count()
}

async fn finish(player: &Player) {
    let round = player.step(0).await.ok();
    if round["isFinished"] == false {
        player.cash_out().await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_bets_one_is_placed() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let body = player.bet_body("10.00", "EASY").await;
        let answers = at_once(&player, servers, async |_, client| client.post("/api/game/bet", body.clone()).await).await;
        let (placed, refused): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(placed.len(), 1, "{refused:#?}");
        for answer in refused {
            assert!(["bet_in_progress", "active_session_exists"].contains(&answer.code()), "{answer:?}");
        }
        assert_eq!(calls(world, "bet", &player).await, 1, "one debit");
        finish(&player).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_bets_under_different_keys_one_is_placed() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let body = player.bet_body("10.00", "EASY").await;
        let bet = async |number: usize, client: Player| client.try_bet_with_key(&body, &format!("key-{number}")).await.expect("answered");
        let answers = at_once(&player, servers, bet).await;
        let placed: Vec<usize> = (0..AT_ONCE).filter(|number| answers[*number].status == 200).collect();
        let [placed] = placed[..] else { panic!("{answers:#?}") };
        for (number, answer) in answers.iter().enumerate().filter(|(number, _)| *number != placed) {
            assert!(
                ["bet_in_progress", "active_session_exists"].contains(&answer.code()),
                "{number}: {answer:?}"
            );
        }
        // Repeated, the one is answered with its round and the others are refused.
        let again = at_once(&player, servers, bet).await;
        for (number, answer) in again.iter().enumerate() {
            match number == placed {
                true => assert_eq!(told(answer), told(&answers[placed])),
                false => assert!(
                    ["bet_in_progress", "active_session_exists"].contains(&answer.code()),
                    "{number}: {answer:?}"
                ),
            }
        }
        assert_eq!(calls(world, "bet", &player).await, 1, "one debit");
        finish(&player).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_bets_under_one_key_everybody_gets_the_round() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let body = player.bet_body("10.00", "EASY").await;
        // Whoever comes while the debit is being made is asked to come back.
        let answers = at_once(&player, servers, async |_, client| {
            loop {
                let answer = client.try_bet_with_key(&body, "the-one-key").await.expect("answered");
                if answer.status != 409 {
                    break answer;
                }
                assert_eq!(answer.code(), "bet_in_progress", "{answer:?}");
                assert!(answer.retry_after.is_some(), "{answer:?}");
            }
        })
        .await;
        the_same(&answers);
        assert_eq!(calls(world, "bet", &player).await, 1, "one debit");
        finish(&player).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_steps_on_one_lane_are_one_step() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        for _ in 0..3 {
            let round = player.bet("10.00", "EASY").await.ok();
            let body = json!({ "lineNumber": 0, "roundId": round["roundId"] });
            let answers = at_once(&player, servers, async |_, client| {
                client.post("/api/game/step", body.clone()).await
            })
            .await;
            let round = the_same(&answers);
            assert_eq!(round["lineNumber"], 0);
            if round["isFinished"] == false {
                player.cash_out().await.ok();
            }
        }
        assert_eq!(bets_and_settles(world, &player).await, (3, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hazard_that_is_stepped_on_several_times_is_one_end() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let mut rounds = 0;
        loop {
            rounds += 1;
            player.bet("10.00", "DAREDEVIL").await.ok();
            let answers = at_once(&player, servers, async |_, client| client.step(0).await).await;
            let round = the_same(&answers);
            if round["endReason"] == "hazard" {
                assert_eq!((&round["collisionPositions"], &round["winAmount"]), (&json!([0]), &json!("0.00")));
                break;
            }
            player.cash_out().await.ok();
        }
        assert_eq!(bets_and_settles(world, &player).await, (rounds, rounds));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_cash_outs_pay_once() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let standing = player.stand_on("10.00", "EASY", 0).await;
        let answers = at_once(&player, servers, async |_, client| client.cash_out().await).await;
        let end = the_same(&answers);
        assert_eq!((&end["roundId"], &end["winAmount"]), (&standing["roundId"], &json!("10.10")));
        let (bets, settles) = bets_and_settles(world, &player).await;
        assert_eq!(bets, settles);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_cash_outs_that_race_come_to_one_end() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        for _ in 0..3 {
            let standing = player.stand_on("10.00", "MEDIUM", 0).await;
            let answers = at_once(&player, servers, async |number, client| match number % 2 {
                0 => client.step(1).await,
                _ => client.cash_out().await,
            })
            .await;
            let (ended, walking): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| told(answer)["isFinished"] == true);
            let end = the_same(&ended);
            assert_eq!(end["roundId"], standing["roundId"]);
            // Who was told of a safe lane 1 was told so before the end, which then lies on it.
            assert!(
                walking.is_empty() || (the_same(&walking)["lineNumber"] == 1 && end["lineNumber"] == 1),
                "{walking:#?} {end}"
            );
            let ends = [("cashout", 0, "10.80"), ("cashout", 1, "12.10"), ("hazard", 1, "0.00")]
                .map(|(reason, lane, win)| (json!(reason), json!(lane), json!(win)));
            let end_of_round = (end["endReason"].clone(), end["lineNumber"].clone(), end["winAmount"].clone());
            assert!(ends.contains(&end_of_round), "{end}");
            let past = player.history(end["betId"].as_str().expect("an id")).await;
            assert_eq!((&past["winAmount"], &past["lastLane"]), (&end["winAmount"], &end["lineNumber"]));
        }
        let (bets, settles) = bets_and_settles(world, &player).await;
        assert_eq!(bets, settles);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_token_lets_one_in() {
    everywhere(async |world, servers| {
        let player = world.player(&servers[0]).await;
        let token = world.launch_token(&servers[0], &player.user_id).await;
        let body = json!({ "auth_token": token, "operator": "demo", "currency": "INR", "game_mode": "chicken-road-two" });
        let answers = at_once(&player, servers, async |_, client| {
            client.send(client.request(Method::POST, "/api/auth").json(&body)).await
        })
        .await;
        let (admitted, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(admitted.len(), 1, "{answers:#?}");
        refused.iter().for_each(|answer| answer.refused(401, "unauthenticated"));
        let token = admitted[0].body["result"].as_str().expect("a token");
        assert_eq!(player.with_token(token).get("/api/game/seeds").await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_who_signs_in_several_times_at_once_has_one_pair_of_seeds() {
    everywhere(async |world, servers| {
        let user_id = format!("newcomer{}", servers.len());
        world
            .wallet_ok(&servers[0], "createMember", &[("userId", &user_id), ("currency", "INR")])
            .await;
        let sign_in = |number: usize| world.player_named(&servers[number % servers.len()], "demo", "demo-cert", &user_id);
        let players = join_all((0..AT_ONCE).map(sign_in)).await;
        let seeds: BTreeSet<String> = join_all(
            players
                .iter()
                .map(async |player| player.get("/api/game/seeds").await.ok().to_string()),
        )
        .await
        .into_iter()
        .collect();
        assert_eq!(seeds.len(), 1, "{seeds:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_created_once() {
    everywhere(async |world, servers| {
        let user_id = format!("member{}", servers.len());
        let fields = [("userId", user_id.as_str()), ("currency", "INR"), ("betLimit", "20")];
        let create = |number: usize| world.wallet(&servers[number % servers.len()], "createMember", &fields);
        let answers = join_all((0..5).map(create)).await;
        let mut statuses: Vec<&str> = answers.iter().filter_map(|answer| answer["status"].as_str()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, ["0000", "1001", "1001", "1001", "1001"]);
    })
    .await;
}

/// How many bets of a player the operator took and how many it settled, once nothing is under way.
async fn bets_and_settles(world: &World, player: &Player) -> (usize, usize) {
    world.wait_until_settled().await;
    (calls(world, "bet", player).await, calls(world, "settle", player).await)
}
