//! The round trips that a request costs, counted from outside: a bet two to Redis, two SQL statements and one callback; a safe
//! step one to Redis and nothing else; the end of a round one to Redis and one SQL statement before its answer. And the memory: a
//! session takes a kilobyte at most.

use crate::world::{Meter, World, resting_jobs};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_keeps_to_its_budget() {
    let world = World::new(resting_jobs()).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    // The first round loads the scripts and opens the connections.
    player.win_on_lane("10.00", "EASY", 0).await;
    world.wait_until_quiet().await;

    let mut meter = Meter::start(&world).await;
    let mut cashed_out = 0;
    while cashed_out < 3 {
        let body = player.bet_body("10.00", "EASY").await;
        meter.read().await; // The look at the road is no part of the bet.
        player.post("/api/game/bet", body).await.ok();
        meter.expect("a bet", 2, 2, &["bet"]).await;
        let is_over = player.step(0).await.ok()["isFinished"] == true;
        if !is_over {
            meter.expect("a safe step", 1, 0, &[]).await;
            player.step(0).await.ok();
            meter.expect("a repeated step", 1, 0, &[]).await;
            player.cash_out().await.ok();
            cashed_out += 1;
        }
        // With what follows the answer: the settle and its outcome, and the session that is retired. A hazard costs the same, its
        // script was the step.
        meter.expect("an end and what follows it", 2, 2, &["settle"]).await;
        meter.expect("nothing more", 0, 0, &[]).await;
    }
    world.close().await;
}

/// What comes before the answer is seen by stopping the whole server at the point between the commit of an end and its
/// answer: what was asked until then came before, what is asked afterwards did not.
#[tokio::test(flavor = "multi_thread")]
async fn before_an_end_is_told_it_costs_one_script_and_one_statement() {
    let world = World::new(resting_jobs()).await;
    let server = world.start_server().await;
    let (player, neighbour) = (world.player(&server).await, world.player(&server).await);
    // It passes the point once, with the round that opens its connections, and stops there the next time.
    let stopping = world.start_server_with(&[("FAILPOINTS", "K10=1*off->1*return(stop)")]).await;
    neighbour.stand_on("10.00", "EASY", 0).await;
    player.stand_on("10.00", "EASY", 0).await;
    neighbour.at(&stopping).cash_out().await.ok();
    world.wait_until_quiet().await;

    let mut meter = Meter::start(&world).await;
    let client = player.at(&stopping);
    let cashing_out = tokio::spawn(async move { client.cash_out().await });
    // The end is committed.
    stopping.wait_until_stopped_at("K10").await;
    assert!(!cashing_out.is_finished(), "nobody was told");
    meter.expect("an end before its answer", 1, 1, &[]).await;

    stopping.signal("CONT");
    assert_eq!(cashing_out.await.expect("not cancelled").ok()["endReason"], "cashout");
    meter.expect("what follows the answer", 1, 1, &["settle"]).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_a_kilobyte_at_most() {
    let world = World::new(resting_jobs()).await;
    let server = world.start_server().await;
    for difficulty in ["EASY", "MEDIUM", "HARD", "DAREDEVIL"] {
        let user_id = format!("{}{}", difficulty.to_lowercase(), "0".repeat(21 - difficulty.len()));
        let player = world.player_named(&server, "demo", "demo-cert", &user_id).await;
        player.bet("150.00", difficulty).await.ok();
        let key = format!("gameSession:{user_id}-demo");
        let answer = world.ask_redis(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
        let redis::Value::Int(bytes) = answer else {
            panic!("{key}: {answer:?}")
        };
        assert!(bytes <= 1_024, "{key}: {bytes} bytes");
        if player.step(0).await.ok()["isFinished"] == false {
            player.cash_out().await.ok();
        }
    }
    world.close().await;
}
