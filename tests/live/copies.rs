//! Copies of what PostgreSQL owns (standing) and of what is public (the road): never backwards, and garbage is replaced.

use faircross::game::difficulty::Difficulty;
use faircross::game::hazards::EPOCH_MS;
use faircross::game::player::PlayerStatus;
use faircross::live::{BeginBet, GateRefusal, HazardRecord, Publish};

use super::World;

#[tokio::test]
async fn an_older_standing_never_replaces_a_newer_one() {
    let world = World::new().await;
    let check = async || world.live.check_caller(world.caller(), true).await.expect("Redis runs");
    world.write_standing(10, 1, PlayerStatus::Suspended).await;
    world.write_standing(9, 1, PlayerStatus::Active).await;
    assert_eq!(check().await, Some(GateRefusal::Suspended));
    world.write_standing(10, 1, PlayerStatus::Suspended).await;
    world.write_standing(11, 1, PlayerStatus::Active).await;
    assert_eq!(check().await, None);
    assert!((86_390..=86_400).contains(&world.redis.query::<i64>(&["TTL", "player:user123-agent456"])));
}

fn records(epoch: u64) -> Vec<(Difficulty, String)> {
    let record = |difficulty| HazardRecord {
        difficulty,
        hazards: vec![],
        epoch,
        hazard_seed: "c".repeat(64),
        previous_epoch: epoch - 1,
        previous_hazard_seed: "d".repeat(64),
        last_refresh: "2026-11-20T15:53:00Z".to_owned(),
        next_refresh: "2026-11-20T15:53:05Z".to_owned(),
    };
    Difficulty::ALL
        .into_iter()
        .map(|difficulty| (difficulty, serde_json::to_string(&record(difficulty)).expect("plain JSON")))
        .collect()
}

/// Publishes for the epoch of Redis's clock; when the epoch ends in between, for the next one.
async fn publish_current(world: &World) -> (u64, Publish) {
    loop {
        let epoch = world.live.now_unix_ms().await.expect("Redis runs") / EPOCH_MS;
        match world.live.publish_hazards(epoch, &records(epoch)).await.expect("Redis runs") {
            Publish::WrongEpoch { now_unix_ms } if now_unix_ms / EPOCH_MS != epoch => continue,
            published => return (epoch, published),
        }
    }
}

#[tokio::test]
async fn only_the_epoch_of_redis_is_published() {
    let world = World::new().await;
    assert_eq!(world.live.read_hazards(Difficulty::Easy).await.expect("Redis runs").0, None);
    let now = world.live.now_unix_ms().await.expect("Redis runs") / EPOCH_MS;
    for wrong in [now - 2, now + 1_000, now - 17_280, 1] {
        let refused = world.live.publish_hazards(wrong, &records(wrong)).await.expect("Redis runs");
        assert!(
            matches!(refused, Publish::WrongEpoch { now_unix_ms } if now_unix_ms / EPOCH_MS >= now),
            "{wrong}"
        );
    }
    assert_eq!(
        world.redis.query::<u64>(&["DBSIZE"]),
        1,
        "nothing was published; the player is all there is"
    );
    let (epoch, published) = publish_current(&world).await;
    assert_eq!(published, Publish::Published);
    for difficulty in Difficulty::ALL {
        let (record, now_unix_ms) = world.live.read_hazards(difficulty).await.expect("Redis runs");
        let record = record.expect("published");
        assert_eq!((record.difficulty, record.epoch), (difficulty, epoch));
        assert!(now_unix_ms / EPOCH_MS >= epoch);
        let text: String = world.redis.query(&["GET", &format!("hazards-{}", difficulty.as_str())]);
        assert!(text.contains(r#""hazards":[],"epoch""#), "kept as it was written: {text}");
        assert!((1..=7_500).contains(&world.redis.query::<i64>(&["PTTL", &format!("hazards-{}", difficulty.as_str())])));
    }
    let begun = world
        .live
        .begin_bet(world.caller(), Difficulty::Medium, "token")
        .await
        .expect("Redis runs");
    assert!(
        matches!(begun, BeginBet::Begun { hazards: Some(record), .. } if record.difficulty == Difficulty::Medium && record.epoch == epoch)
    );
}

#[tokio::test]
async fn a_road_is_published_once_and_garbage_is_replaced() {
    let world = World::new().await;
    let mut already = false;
    for _ in 0..3 {
        // Two in a row fall into one epoch unless one ends just between them, which cannot happen three times in a few milliseconds.
        let (first, _) = publish_current(&world).await;
        let (second, published) = publish_current(&world).await;
        already |= first == second && published == Publish::Already;
    }
    assert!(already);
    for garbage in [
        ["SET", "hazards-EASY", "{"],
        ["SET", "hazards-EASY", "[]"],
        ["RPUSH", "hazards-EASY", "x"],
    ] {
        world.redis.query::<()>(&["DEL", "hazards-EASY"]);
        world.redis.query::<()>(&garbage);
        assert_eq!(world.live.read_hazards(Difficulty::Easy).await.expect("Redis runs").0, None);
        let begun = world
            .live
            .begin_bet(world.caller(), Difficulty::Easy, "token")
            .await
            .expect("Redis runs");
        assert!(matches!(begun, BeginBet::Begun { hazards: None, .. }));
        assert_eq!(publish_current(&world).await.1, Publish::Published);
    }
    let newer = records(9_999_999_999_999).remove(0).1;
    world.redis.query::<()>(&["SET", "hazards-HARD", &newer, "PX", "60000"]);
    let epoch = world.live.now_unix_ms().await.expect("Redis runs") / EPOCH_MS;
    let refused = world.live.publish_hazards(epoch, &records(epoch)).await.expect("Redis runs");
    assert!(matches!(refused, Publish::WrongEpoch { .. }), "nothing goes back");
    world.redis.query::<()>(&["PERSIST", "hazards-HARD"]);
    assert_eq!(
        publish_current(&world).await.1,
        Publish::Published,
        "but nothing that is not ours stops the road either"
    );
}
