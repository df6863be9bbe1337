//! PostgreSQL that vanishes, turns read-only or fails over, and load that must not be taken for any of it.

mod failover;
mod line;
mod load;

use std::time::Duration;

use faircross::clock::Clock;

use crate::world::{PATIENCE, Player, Server, World, WorldOptions};

/// What a house really runs with; the other tests are as patient as a busy machine needs.
pub fn real_deadlines() -> WorldOptions {
    WorldOptions::default()
        .with("FAIRCROSS__DATABASE__ACQUIRE_TIMEOUT_MS", 2_000)
        .with("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", 5_000)
        .with("FAIRCROSS__DATABASE__LOCK_TIMEOUT_MS", 1_000)
        .with("FAIRCROSS__DATABASE__PROBE_TIMEOUT_MS", 2_000)
}

/// The same with a probe that waits for a busy machine: for tests in which nothing is away.
pub fn real_deadlines_under_load() -> WorldOptions {
    real_deadlines().with("FAIRCROSS__DATABASE__PROBE_TIMEOUT_MS", 30_000)
}

/// Bets until one is placed, and says how long that took.
pub async fn until_a_bet_is_placed(player: &Player) -> Duration {
    let start = Clock::default().monotonic();
    loop {
        let body = player.bet_body("10.00", "EASY").await;
        let answer = player.post("/api/game/bet", body).await;
        if answer.status == 200 {
            return start.elapsed();
        }
        assert!(start.elapsed() < PATIENCE, "no bet is placed: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the server says that it is not ready.
pub async fn until_not_ready(world: &World, server: &Server) {
    crate::world::wait_for("the server says that PostgreSQL is away", async || {
        match server.readiness(&world.http).await {
            Ok(()) => Err("ready".to_owned()),
            Err(why) if why.contains(r#""postgres":"unreachable""#) => Ok(()),
            Err(why) => Err(why),
        }
    })
    .await;
}

/// Ends whatever the players have open, and holds the books against the operator's.
pub async fn finish(world: World, players: &[Player]) {
    for player in players {
        player.step(0).await;
        player.cash_out().await;
    }
    world.close().await;
}

/// Asserts that the record was never taken to be away.
pub fn assert_was_never_away(server: &Server) {
    let log = server.log();
    assert!(!log.contains("PostgreSQL is not usable"), "{log}");
}
