//! The mark of how far PostgreSQL had come: it goes forward, and another PostgreSQL begins one of its own.

use faircross::live::{RecordMark, keys};

use super::World;

fn mark(system: &str, timeline: &str, sequence: i64) -> RecordMark {
    RecordMark {
        system: system.to_owned(),
        timeline: timeline.to_owned(),
        sequence,
        bet_id: format!("bet {sequence}"),
    }
}

#[tokio::test]
async fn a_mark_never_goes_back_within_one_postgresql() {
    let world = World::new().await;
    let live = &world.live;
    assert_eq!(live.record_mark().await.expect("Redis runs"), None);
    for (new, is_kept) in [
        (mark("7", "1", 10), true),
        (mark("7", "1", 10), true),
        (mark("7", "2", 9), false),
        (mark("7", "2", 9_007_199_254_740_991), true),
        (mark("7", "2", 11), false),
        (mark("8", "1", 3), true),
        (mark("8", "1", 0), false),
    ] {
        let before = live.record_mark().await.expect("Redis runs");
        assert_eq!(
            live.keep_record_mark(&new).await.expect("Redis runs"),
            is_kept,
            "{new:?} after {before:?}"
        );
        let kept = if is_kept { Some(new) } else { before };
        assert_eq!(live.record_mark().await.expect("Redis runs"), kept);
    }
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_none_and_written_anew() {
    let world = World::new().await;
    let live = &world.live;
    for spoilt in [
        ["SET", keys::RECORD_MARK, "text", "KEEPTTL"].as_slice(),
        &["HSET", keys::RECORD_MARK, "system", "7"],
        &[
            "HSET",
            keys::RECORD_MARK,
            "system",
            "7",
            "timeline",
            "1",
            "sequence",
            "many",
            "betId",
            "",
        ],
    ] {
        world.redis.query::<redis::Value>(spoilt);
        assert_eq!(live.record_mark().await.expect("Redis runs"), None);
        assert!(live.keep_record_mark(&mark("7", "1", 1)).await.expect("Redis runs"));
        assert_eq!(live.record_mark().await.expect("Redis runs"), Some(mark("7", "1", 1)));
        world.redis.query::<redis::Value>(&["DEL", keys::RECORD_MARK]);
    }
}
