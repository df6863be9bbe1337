//! Job locks, the notes of clean-ups, presence and the server's own state.

use faircross::game::player::{AgentId, UserId};
use faircross::live::{LiveError, keys};

use super::{World, connect};

#[tokio::test]
async fn a_lock_is_released_by_its_holder_only() {
    let world = World::new().await;
    let live = &world.live;
    let lock = keys::retry_job_lock("tx-1", "settle");
    assert_eq!(lock, "retry-job-lock:tx-1:settle");
    assert!(live.acquire(&lock, "one", 300).await.expect("Redis runs"));
    assert!(
        live.acquire(&lock, "one", 300).await.expect("Redis runs"),
        "asked again after a lost answer"
    );
    assert!(!live.acquire(&lock, "two", 300).await.expect("Redis runs"));
    assert!((290..=300).contains(&world.redis.query::<i64>(&["TTL", &lock])));
    assert!(!live.release(&lock, "two").await.expect("Redis runs"));
    assert!(live.release(&lock, "one").await.expect("Redis runs"));
    assert!(!live.release(&lock, "one").await.expect("Redis runs"), "it is gone");
    assert!(live.acquire(&lock, "two", 300).await.expect("Redis runs"));
    assert!(
        !live.release(&lock, "one").await.expect("Redis runs"),
        "who outlived the lock leaves the next holder's alone"
    );
    let unlocked = connect(&world.redis.url(), false);
    assert!(
        unlocked.acquire(&lock, "three", 300).await.expect("no Redis needed"),
        "a switch for tests"
    );
    assert!(unlocked.release(&lock, "three").await.expect("no Redis needed"));
    assert!(
        !live.acquire(&lock, "three", 300).await.expect("Redis runs"),
        "nothing was really taken or released"
    );
}

#[tokio::test]
async fn a_clean_up_notes_its_day() {
    let world = World::new().await;
    let name = keys::BET_CLEANUP_LAST_RUN;
    let day = "2026-11-20".parse().expect("a date");
    assert_eq!(world.live.last_run(name).await.expect("Redis runs"), None);
    world.live.set_last_run(name, day).await.expect("Redis runs");
    assert_eq!(world.live.last_run(name).await.expect("Redis runs"), Some(day));
    assert_eq!(world.redis.query::<String>(&["GET", name]), "2026-11-20");
    for garbage in [["SET", name, "yesterday"], ["RPUSH", name, "x"]] {
        world.redis.query::<()>(&["DEL", name]);
        world.redis.query::<()>(&garbage);
        assert_eq!(world.live.last_run(name).await.expect("Redis runs"), None);
        world.live.set_last_run(name, day).await.expect("Redis runs");
    }
}

#[tokio::test]
async fn users_are_counted_by_their_last_activity() {
    let world = World::new().await;
    let live = &world.live;
    let agent = AgentId::parse("agent456").expect("an agent id");
    let user = |name| UserId::parse(name).expect("a user id");
    live.touch_users(&agent, &[]).await.expect("nothing to do");
    live.touch_users(&agent, &[(user("a"), 100), (user("b"), 200), (user("c"), 300)])
        .await
        .expect("Redis runs");
    live.touch_users(&agent, &[(user("c"), 50), (user("a"), 400)])
        .await
        .expect("Redis runs");
    assert_eq!(
        live.count_users(&agent, 201).await.expect("Redis runs"),
        2,
        "activity never moves back"
    );
    assert_eq!(live.forget_idle_users(&agent, 300).await.expect("Redis runs"), 1);
    assert_eq!(live.count_users(&agent, 0).await.expect("Redis runs"), 2);
    live.remove_users(&agent, &[user("a"), user("nobody")]).await.expect("Redis runs");
    assert_eq!(live.count_users(&agent, 0).await.expect("Redis runs"), 1);
    world.redis.query::<()>(&["SET", "user-sessions:agent456", "text"]);
    let refused = live.count_users(&agent, 0).await.expect_err("not a sorted set");
    assert!(
        matches!(&refused, LiveError::Unreadable { key } if key == "user-sessions:agent456"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_server_tells_how_it_is_set_up() {
    let world = World::new().await;
    world.live.ping().await.expect("Redis runs");
    let info = world.live.server_info().await.expect("Redis runs");
    assert!(info.version.starts_with(|digit: char| digit.is_ascii_digit()), "{info:?}");
    assert_eq!(
        (info.maxmemory_policy.as_str(), info.maxmemory_bytes, info.append_only),
        ("noeviction", Some(0), Some(false))
    );
    assert!(info.used_memory_bytes.is_some_and(|bytes| bytes > 0) && info.now_unix_ms > 1_600_000_000_000);
}
