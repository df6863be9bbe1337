//! Silence, read-only sessions and failovers: ten seconds of refusals at most, and no restart.

use std::time::Duration;

use faircross::stores::{Durability, PostgresCluster};
use futures::future::join_all;
use serde_json::json;

use super::line::Line;
use super::{finish, real_deadlines, until_a_bet_is_placed, until_not_ready};
use crate::world::{World, cluster_directory, wait_for};

/// What the design allows.
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_vanishes_costs_ten_seconds_of_refusals() {
    let world = World::new(real_deadlines()).await;
    let line = Line::start(cluster_directory()).await;
    let server = world.start_server_with(&[("DATABASE_URL", &line.url(&world.database))]).await;
    let players: Vec<_> = join_all((0..12).map(|_| world.player(&server))).await;
    let standing = &players[0];
    standing.stand_on("10.00", "EASY", 0).await;
    join_all(players[1..].iter().map(|player| player.bet("10.00", "EASY"))).await;

    line.fall_silent(true);
    // Requests that are under way meanwhile are answered in time, whatever with.
    let bettor = players[1].clone();
    let asking = tokio::spawn(async move { bettor.get("/api/game/bets").await });
    until_not_ready(&world, &server).await;
    standing
        .post("/api/game/step", json!({ "lineNumber": 1 }))
        .await
        .refused(503, "unavailable");
    standing.post("/api/game/cashout", json!({})).await.refused(503, "unavailable");
    let answered = tokio::time::timeout(TEN_SECONDS, asking)
        .await
        .expect("answered in time")
        .expect("not cancelled");
    assert_eq!(answered.status, 503, "{}", answered.body);

    let before = line.accepted();
    line.carry_new_ones();
    let start = faircross::clock::Clock::default().monotonic();
    wait_for("the server is ready again", async || server.readiness(&world.http).await).await;
    assert_eq!(
        standing.cash_out().await.ok()["endReason"],
        "cashout",
        "nothing was decided meanwhile"
    );
    let placed = until_a_bet_is_placed(standing).await;
    assert!(start.elapsed() < TEN_SECONDS, "{:?}, the bet {placed:?}", start.elapsed());
    // Everybody can play again, on connections that are all new.
    for answer in join_all(players[1..].iter().map(|player| player.step(0))).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert!(line.accepted() > before);
    finish(world, &players).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_replaced_where_new_ones_are_well() {
    let world = World::new(real_deadlines()).await;
    let line = Line::start(cluster_directory()).await;
    let server = world.start_server_with(&[("DATABASE_URL", &line.url(&world.database))]).await;
    let players: Vec<_> = join_all((0..12).map(|_| world.player(&server))).await;
    join_all(players[1..].iter().map(|player| player.bet("10.00", "EASY"))).await;
    let before = line.accepted();
    line.fall_silent(false);
    let placed = until_a_bet_is_placed(&players[0]).await;
    assert!(placed < TEN_SECONDS, "{placed:?}");
    assert!(line.accepted() > before);
    finish(world, &players).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_take_no_writes_are_replaced_within_five_seconds() {
    let world = World::new(real_deadlines()).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    let read_only = |state: &str| format!("alter database {} set default_transaction_read_only = {state}", world.database);
    world.administer(&read_only("on")).await;
    let cut = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and application_name = 'faircross'",
        world.database
    );
    world.administer(&cut).await;
    until_not_ready(&world, &server).await;
    // The sessions of that time stay as they are.
    world.administer(&read_only("off")).await;
    let start = faircross::clock::Clock::default().monotonic();
    until_a_bet_is_placed(&player).await;
    wait_for("the server is ready again", async || server.readiness(&world.http).await).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    finish(world, &[player]).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Primary {
    Killed,
    Frozen,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_killed_primary() {
    a_standby_takes_over(Primary::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_frozen_primary() {
    a_standby_takes_over(Primary::Frozen).await;
}

async fn a_standby_takes_over(fate: Primary) {
    // Every commit waits for the standby, so that nothing is lost with the primary.
    let start = || -> Result<_, faircross::stores::StoreError> {
        let primary = PostgresCluster::temporary(Durability::Volatile, &[("max_connections", "100"), ("synchronous_commit", "on")])?;
        let url = primary.create_database("house", None)?;
        let standby = primary.standby()?;
        primary.execute("postgres", "alter system set synchronous_standby_names = '*'")?;
        primary.execute("postgres", "select pg_reload_conf()")?;
        Ok((primary, standby, url))
    };
    let (mut primary, standby, url) = tokio::task::spawn_blocking(start)
        .await
        .expect("not cancelled")
        .expect("two clusters");
    let migrated = tokio::process::Command::new(crate::world::FAIRCROSS)
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", &url)
        .status()
        .await;
    assert!(migrated.expect("the binary runs").success());
    let mut world = World::over("house".to_owned(), url, real_deadlines()).await;
    let hosts = [&primary, &standby]
        .map(|cluster| cluster.directory().display().to_string())
        .join(",");
    let both = format!("postgres://faircross@/house?host={hosts}&target_session_attrs=read-write");
    let server = world.start_server_with(&[("DATABASE_URL", &both)]).await;
    let player = world.player(&server).await;
    until_a_bet_is_placed(&player).await;
    player.insist("/api/game/step", json!({ "lineNumber": 0 })).await.ok();

    match fate {
        Primary::Killed => primary.kill().expect("killed"),
        Primary::Frozen => primary.signal_all("STOP").expect("stopped"),
    }
    until_not_ready(&world, &server).await;
    player
        .post("/api/game/step", json!({ "lineNumber": 1 }))
        .await
        .refused(503, "unavailable");
    standby.execute("postgres", "select pg_promote()").expect("promoted");
    world.database_url = standby.url("house");
    let start = faircross::clock::Clock::default().monotonic();
    wait_for("the server is ready again", async || server.readiness(&world.http).await).await;
    assert!(start.elapsed() < TEN_SECONDS, "{:?}", start.elapsed());
    let neighbour = world.player(&server).await;
    until_a_bet_is_placed(&neighbour).await;
    assert!(start.elapsed() < TEN_SECONDS, "{:?}", start.elapsed());
    finish(world, &[player, neighbour]).await;
    if fate == Primary::Frozen {
        primary.signal_all("CONT").expect("goes on");
    }
}
