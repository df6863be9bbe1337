//! Redis flushed, killed, frozen and back again.

use std::net::TcpListener;
use std::time::Duration;

use faircross::game::difficulty::Difficulty;
use faircross::live::{Live, LiveError, Move, NamedRound};

use super::{World, connect, connect_within, standing};
use crate::redis_server::RedisServer;
use crate::world::wait_for;

/// A player is told within half a second.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// A client with the deadline that it has in earnest, besides the world's own, which is a patient one.
fn with_real_deadline(world: &World) -> Live {
    connect_within(&world.redis.url(), true, 400)
}

/// Asserts that a step is refused within half a second, by the timers of this test's one thread: when the machine stands still
/// for a while, the client's deadline and this one are over together, and the earlier one comes first.
async fn refused_in_time(live: &Live, world: &World, lane: u8) {
    let asked = tokio::time::timeout(HALF_A_SECOND, live.step(world.caller(), lane, NamedRound::default()));
    let refused = asked.await.expect("within half a second").expect_err("Redis does not answer");
    assert!(matches!(refused, LiveError::Unreachable(_)), "{refused:?}");
}

/// Waits until Redis is in use again. How soon that is on a machine that does nothing else, the campaign measures.
async fn back(live: &Live) {
    wait_for("Redis is in use again", async || {
        live.ping().await.map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_flushed_script_is_loaded_again() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    standing(world.step(0).await);
    world.redis.query::<()>(&["SCRIPT", "FLUSH"]);
    let before = world.live.round_trips();
    assert_eq!(standing(world.step(1).await).current_step, 1);
    assert_eq!(world.live.round_trips() - before, 3);
}

#[tokio::test]
async fn commands_fail_fast_while_redis_is_down_and_work_again_when_it_is_back() {
    let mut world = World::new().await;
    let live = with_real_deadline(&world);
    world.open(world.round(1, None, 29)).await;
    back(&live).await;
    world.redis.kill();
    for _ in 0..20 {
        refused_in_time(&live, &world, 0).await;
    }
    world.redis.restart();
    back(&live).await;
    back(&world.live).await;
    // The server forgot everything, its scripts too; what it is asked now is answered without a flaw.
    world.write_standing(1, 1, faircross::game::player::PlayerStatus::Active).await;
    assert_eq!(world.step(0).await, Move::Missing);
}

#[tokio::test]
async fn a_short_restart_goes_unnoticed() {
    let mut world = World::new().await;
    world.redis.restart();
    world
        .live
        .ping()
        .await
        .expect("the first command already is served by the new connection");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_taken_up_again() {
    let world = World::new().await;
    let live = with_real_deadline(&world);
    world.open(world.round(1, None, 29)).await;
    standing(world.step(0).await);
    back(&live).await;
    world.redis.freeze();
    for _ in 0..3 {
        refused_in_time(&live, &world, 1).await;
    }
    world.redis.thaw();
    back(&live).await;
    // The step that got no answer may have run; the same step again is answered the same, either way.
    assert_eq!(standing(world.step(1).await).current_step, 1);
}

#[tokio::test]
async fn redis_may_come_up_after_the_server() {
    // At this address of the machine nobody else takes the port that was free a moment ago.
    const NOBODY_ELSE_S: &str = "127.0.7.79";
    let free = TcpListener::bind((NOBODY_ELSE_S, 0)).expect("a free port");
    let port = free.local_addr().expect("a bound socket").port().to_string();
    drop(free);
    let live = connect_within(&format!("redis://{NOBODY_ELSE_S}:{port}"), true, 400);
    assert!(matches!(live.ping().await, Err(LiveError::Unreachable(_))));
    let _redis = RedisServer::start_with(&["--port", &port, "--bind", NOBODY_ELSE_S]);
    back(&live).await;
}

#[tokio::test]
async fn both_spellings_of_a_socket_address_work() {
    let redis = RedisServer::start();
    connect(&redis.url(), true).ping().await.expect("unix://");
    connect(&format!("redis+{}", redis.url()), true)
        .ping()
        .await
        .expect("redis+unix://");
}

#[tokio::test]
async fn a_full_server_refuses_to_begin_and_lets_everything_else_end() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    world.live.fitness().await.expect("all is well");
    world.redis.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let begun = world.live.begin_bet(world.caller(), Difficulty::Easy, "token").await;
    assert_eq!(begun, Err(LiveError::Full));
    assert_eq!(world.live.fitness().await, Err(LiveError::Full));
    assert_eq!(world.redis.query::<i64>(&["EXISTS", "bet-lock:user123-agent456"]), 0);

    standing(world.step(0).await);
    world.live.discard_unreadable_session(&world.player, 1).await.expect("runs");
    assert_eq!(world.step(0).await, Move::Missing);
    world.open(world.round(2, None, 29)).await;
    standing(world.step(0).await);
    assert!(world.live.session_of(&world.player).await.expect("runs").is_some());
    assert!(world.live.end_at_deadline(&world.player, 2).await.expect("runs").is_some());
    world.live.retire_session(&world.player, 2).await.expect("runs");
    world.write_standing(2, 1, faircross::game::player::PlayerStatus::Active).await;
    assert_eq!(world.live.check_caller(world.caller(), true).await, Ok(None));
    assert!(world.live.acquire("bet-cleanup-lock", "token", 5).await.expect("runs"));
    assert!(world.live.release("bet-cleanup-lock", "token").await.expect("runs"));
    world.redis.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(world.live.begin_bet(world.caller(), Difficulty::Easy, "token").await.is_ok());
}

/// The process is the same and so is the key; only the history that Redis writes tells that another server may have ruled meanwhile.
#[tokio::test]
async fn a_server_that_lost_its_role_and_has_it_again_is_another_reign() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    standing(world.step(0).await);
    let run = world.redis.query::<String>(&["HGET", "gameSession:user123-agent456", "run"]);
    world.redis.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(world.live.step(world.caller(), 1, NamedRound::default()).await.is_err());
    world.redis.query::<()>(&["REPLICAOF", "NO", "ONE"]);
    back(&world.live).await;
    wait_for("the new reign is noticed", async || {
        let moved = world.live.session_of(&world.player).await.map_err(|error| error.to_string())?;
        moved.map_or(Ok(()), |session| Err(format!("{session:?}")))
    })
    .await;
    world.write_standing(1, 1, faircross::game::player::PlayerStatus::Active).await;
    assert_eq!(world.step(1).await, Move::Missing, "until the record has confirmed it");
    world.open(world.round(1, None, 29)).await;
    assert_ne!(world.redis.query::<String>(&["HGET", "gameSession:user123-agent456", "run"]), run);
    assert_eq!(standing(world.step(1).await).current_step, 1);
}

#[tokio::test]
async fn an_address_that_makes_no_sense_is_refused_without_repeating_it() {
    let settings = faircross::live::LiveSettings {
        url: "http://:secret@nowhere".into(),
        tls: Default::default(),
        command_timeout_ms: 400,
        locks_enabled: true,
    };
    let refused = faircross::live::Live::connect(&settings).err().expect("no Redis url");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[tokio::test]
async fn a_job_on_another_thread_shares_the_connection() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    let (live, player) = (world.live.clone(), world.player.clone());
    let job = tokio::spawn(async move {
        let progress = live.progress_of(std::slice::from_ref(&player)).await.expect("Redis runs");
        let ended = live.end_at_deadline(&player, 1).await.expect("Redis runs");
        (
            progress.len(),
            ended.is_some(),
            live.last_run("bet-cleanup-last-run").await.expect("Redis runs"),
        )
    });
    assert_eq!(job.await.expect("the job ends"), (1, true, None));
    assert_eq!(
        world
            .redis
            .query::<String>(&["INFO", "clients"])
            .lines()
            .find(|line| line.starts_with("connected_clients")),
        Some("connected_clients:2")
    );
}
