//! Opening, moving, ending and retiring a session.

use faircross::game::player::PlayerStatus;
use faircross::game::round::EndReason;
use faircross::live::{GateRefusal, Move, NewSession, OpenSession, Progress, ReadSession};
use futures::future::join_all;

use super::{World, ended, known, named, player, standing};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn a_round_is_walked_and_cashed_out() {
    let world = World::new().await;
    assert_eq!(world.step(0).await, Move::Missing);
    world.open(world.round(7, Some(3), 29)).await;
    let before = world.live.round_trips();
    let session = standing(world.step(0).await);
    assert_eq!(world.live.round_trips() - before, 1);
    assert_eq!(
        (session.sequence, session.current_step, session.is_active, session.end),
        (7, 0, true, None)
    );
    assert_eq!(session.round_json.as_deref(), Some(world.round(7, None, 29).round_json));
    let before = world.live.round_trips();
    assert_eq!(standing(world.step(0).await).current_step, 0, "a repeat");
    assert_eq!(standing(world.step(1).await).current_step, 1);
    assert_eq!(world.live.round_trips() - before, 2);
    for lane in [0, 3, 29, 255] {
        assert!(matches!(world.step(lane).await, Move::OutOfSequence(session) if session.current_step == 1));
    }
    assert!(matches!(world.cash_out(Some(2)).await, Move::OutOfSequence(_)));
    assert!(matches!(world.cash_out(Some(0)).await, Move::OutOfSequence(_)));
    let session = ended(world.cash_out(Some(1)).await);
    assert_eq!(
        (session.current_step, session.is_win, session.end),
        (1, true, Some(EndReason::Cashout))
    );
    assert_eq!(ended(world.cash_out(None).await), session, "the end stays the end");
    assert_eq!(ended(world.step(2).await), session);
}

#[tokio::test]
async fn what_a_named_round_pins_is_left_out_when_it_is_known() {
    let world = World::new().await;
    world.open(world.round(1, Some(2), 29)).await;
    // The first step of a window begins its count, and so does not take the short way, on which the lane is all that is told.
    match world.live.step(world.caller(), 0, known("round-1")).await.expect("Redis runs") {
        Move::Standing(session) => assert_eq!((session.round_json.as_deref(), session.current_step), (None, 0)),
        other => assert_eq!(other, Move::Safe { lane: 0 }),
    }
    let read = standing(world.live.step(world.caller(), 0, named("round-1")).await.expect("Redis runs"));
    assert!(read.round_json.is_some() && read.current_step == 0, "{read:?}");
    let other = world.live.step(world.caller(), 1, known("round-0")).await.expect("Redis runs");
    assert!(
        matches!(&other, Move::RoundMismatch(session) if session.round_json.is_none()),
        "{other:?}"
    );
    let session = ended(
        world
            .live
            .cash_out(world.caller(), None, known("round-1"))
            .await
            .expect("Redis runs"),
    );
    assert_eq!(
        (session.round_json.as_deref(), session.current_step, session.is_win),
        (None, 0, true)
    );
}

#[tokio::test]
async fn a_hazard_and_the_last_lane_end_the_round() {
    let world = World::new().await;
    world.open(world.round(1, Some(1), 29)).await;
    standing(world.step(0).await);
    let session = ended(world.step(1).await);
    assert_eq!(
        (session.current_step, session.is_win, session.is_active, session.end),
        (1, false, false, Some(EndReason::Hazard))
    );
    assert_eq!(ended(world.step(1).await), session, "the same step again");
    assert_eq!(ended(world.cash_out(Some(0)).await), session);

    world.open(world.round(2, Some(2), 1)).await;
    standing(world.step(0).await);
    let session = ended(world.step(1).await);
    assert_eq!((session.current_step, session.is_win, session.end), (1, true, Some(EndReason::Win)));
}

#[tokio::test]
async fn cashing_out_before_the_first_lane_is_too_early() {
    let world = World::new().await;
    assert_eq!(world.cash_out(None).await, Move::Missing);
    world.open(world.round(1, None, 29)).await;
    for lane in [None, Some(0), Some(5)] {
        assert!(matches!(world.cash_out(lane).await, Move::TooEarly(session) if session.is_active && session.current_step == -1));
    }
    world
        .open(NewSession {
            restored: true,
            ..world.round(2, None, 29)
        })
        .await;
    assert!(matches!(world.cash_out(None).await, Move::TooEarly(session) if session.restored));
}

#[tokio::test]
async fn a_named_round_must_be_the_open_one() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    let other = world.live.step(world.caller(), 0, named("round-0")).await.expect("Redis runs");
    assert!(matches!(other, Move::RoundMismatch(session) if session.current_step == -1 && session.round_id == "round-1"));
    let other = world
        .live
        .cash_out(world.caller(), None, named("round-0"))
        .await
        .expect("Redis runs");
    assert!(matches!(other, Move::RoundMismatch(_)));
    standing(world.live.step(world.caller(), 0, named("round-1")).await.expect("Redis runs"));
    ended(
        world
            .live
            .cash_out(world.caller(), None, named("round-1"))
            .await
            .expect("Redis runs"),
    );
    let other = world.live.step(world.caller(), 1, named("round-0")).await.expect("Redis runs");
    assert!(
        matches!(other, Move::RoundMismatch(session) if !session.is_active),
        "also after the end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_at_once_have_one_effect() {
    let world = World::new().await;
    for sequence in 1..=20 {
        world.open(world.round(sequence, None, 29)).await;
        for outcome in join_all((0..8).map(|_| world.step(0))).await {
            assert_eq!(standing(outcome).current_step, 0);
        }
        // Half of them cash out and half step on: whoever comes first decides, and all hear of the same end or the same lane.
        let outcomes = join_all((0..8).map(|i| step_or_cash_out(&world, i))).await;
        let ends: Vec<_> = outcomes
            .into_iter()
            .filter_map(|outcome| if let Move::Ended(session) = outcome { Some(session) } else { None })
            .collect();
        assert!(ends.len() >= 4, "every cash-out is answered with the end");
        assert!(
            ends.iter()
                .all(|session| *session == ends[0] && session.end == Some(EndReason::Cashout))
        );
    }
}

async fn step_or_cash_out(world: &World, number: u8) -> Move {
    if number.is_multiple_of(2) {
        world.cash_out(None).await
    } else {
        world.step(1).await
    }
}

#[tokio::test]
async fn a_later_bet_is_never_replaced() {
    let world = World::new().await;
    world.open(world.round(10, None, 29)).await;
    standing(world.step(0).await);
    let again = NewSession {
        current_step: -1,
        restored: true,
        ..world.round(10, None, 29)
    };
    assert_eq!(world.live.open_session(again).await.expect("Redis runs"), OpenSession::Opened);
    assert_eq!(
        world.live.open_session(world.round(9, None, 29)).await.expect("Redis runs"),
        OpenSession::Superseded
    );
    let ReadSession::Found(session) = world.live.read_session(world.caller()).await.expect("Redis runs") else {
        panic!("a session")
    };
    assert_eq!(
        (session.sequence, session.current_step, session.restored),
        (10, 0, false),
        "left where it stood"
    );
    // An ended session is no weaker: only a later bet takes its place.
    ended(world.cash_out(None).await);
    world.open(world.round(10, None, 29)).await;
    assert_eq!(ended(world.step(1).await).end, Some(EndReason::Cashout));
    world.open(world.round(11, None, 29)).await;
    assert_eq!(standing(world.step(0).await).sequence, 11);
    // Compared as numbers, not as texts, and exactly for every identity value that will ever be given out.
    let high = (1 << 53) - 1;
    world.open(world.round(high, None, 29)).await;
    assert_eq!(
        world.live.open_session(world.round(high - 1, None, 29)).await.expect("Redis runs"),
        OpenSession::Superseded
    );
    assert_eq!(standing(world.step(0).await).sequence, high);
}

#[tokio::test]
async fn a_restored_session_walks_to_the_lane_that_is_named() {
    let world = World::new().await;
    let restored = |sequence, first_collision, current_step| NewSession {
        current_step,
        restored: true,
        ..world.round(sequence, first_collision, 20)
    };
    world.open(restored(1, Some(9), 2)).await;
    assert!(matches!(world.step(1).await, Move::OutOfSequence(_)));
    assert!(matches!(world.step(21).await, Move::OutOfSequence(_)));
    assert!(matches!(world.cash_out(Some(1)).await, Move::OutOfSequence(_)));
    assert!(matches!(world.cash_out(Some(21)).await, Move::OutOfSequence(_)));
    assert!(
        standing(world.step(2).await).restored,
        "a repeat walks nowhere: the player may have been shown more"
    );
    let session = standing(world.step(5).await);
    assert_eq!((session.current_step, session.restored), (5, false));
    assert!(matches!(world.step(7).await, Move::OutOfSequence(_)), "from here lane by lane");

    world.open(restored(2, Some(4), -1)).await;
    let session = ended(world.step(19).await);
    assert_eq!(
        (session.current_step, session.end, session.restored),
        (4, Some(EndReason::Hazard), false),
        "naming a higher lane gains nothing"
    );

    world.open(restored(3, Some(4), 1)).await;
    assert_eq!(ended(world.cash_out(Some(4)).await).end, Some(EndReason::Hazard));
    world.open(restored(4, Some(4), 1)).await;
    let session = ended(world.cash_out(Some(3)).await);
    assert_eq!((session.current_step, session.end), (3, Some(EndReason::Cashout)));
    world.open(restored(5, None, 1)).await;
    assert_eq!(ended(world.cash_out(Some(20)).await).end, Some(EndReason::Win));
    world.open(restored(6, None, 1)).await;
    assert_eq!(ended(world.step(20).await).end, Some(EndReason::Win));
    world.open(restored(7, None, 1)).await;
    assert_eq!(ended(world.cash_out(None).await).current_step, 1);
    // An end that was decided and lost with Redis: the last lane known is the last lane.
    world.open(restored(8, None, 20)).await;
    assert_eq!(ended(world.step(20).await).end, Some(EndReason::Win));
    // Should a wrong lane ever be restored, it is not paid.
    world.open(restored(9, Some(4), 6)).await;
    assert_eq!(ended(world.cash_out(None).await).end, Some(EndReason::Hazard));
}

#[tokio::test]
async fn the_deadline_pays_a_lane_and_voids_a_round_without_one() {
    let world = World::new().await;
    let at_deadline = async |sequence| world.live.end_at_deadline(&world.player, sequence).await.expect("Redis runs");
    assert_eq!(at_deadline(1).await, None);
    world.open(world.round(1, None, 29)).await;
    assert_eq!(at_deadline(2).await, None, "another bet's");
    let session = at_deadline(1).await.expect("an end");
    assert_eq!(
        (session.current_step, session.is_win, session.end),
        (-1, false, Some(EndReason::Void))
    );
    world.open(world.round(2, None, 29)).await;
    standing(world.step(0).await);
    let session = at_deadline(2).await.expect("an end");
    assert_eq!(
        (session.current_step, session.is_win, session.end),
        (0, true, Some(EndReason::Deadline))
    );
    assert_eq!(at_deadline(2).await, Some(session), "the same again");
    world.open(world.round(3, Some(0), 29)).await;
    ended(world.step(0).await);
    assert_eq!(
        at_deadline(3).await.and_then(|session| session.end),
        Some(EndReason::Hazard),
        "an earlier end stays"
    );
}

#[tokio::test]
async fn progress_is_read_in_one_round_trip() {
    let world = World::new().await;
    world.open(world.round(5, None, 29)).await;
    standing(world.step(0).await);
    world.redis.query::<()>(&["SET", "gameSession:garbled-agent456", "text"]);
    world.redis.query::<()>(&["HSET", "gameSession:half-agent456", "sequence", "7"]);
    let players = [player("nobody"), world.player.clone(), player("garbled"), player("half")];
    let before = world.live.round_trips();
    let progress = world.live.progress_of(&players).await.expect("Redis runs");
    assert_eq!(world.live.round_trips() - before, 1);
    assert_eq!(
        progress,
        [
            None,
            Some(Progress {
                sequence: 5,
                current_step: 0,
                is_active: true
            }),
            None,
            None
        ]
    );
    assert_eq!(world.live.progress_of(&[]).await.expect("nothing to ask"), []);
}

#[tokio::test]
async fn a_retired_session_lives_a_minute_longer() {
    let world = World::new().await;
    let key = "gameSession:user123-agent456";
    world.open(world.round(5, None, 29)).await;
    assert!((3_590..=3_600).contains(&world.redis.query::<i64>(&["TTL", key])));
    standing(world.step(0).await);
    ended(world.cash_out(None).await);
    world.live.retire_session(&world.player, 4).await.expect("Redis runs");
    assert!(world.redis.query::<i64>(&["TTL", key]) > 60, "another bet's session is left alone");
    world.live.retire_session(&world.player, 5).await.expect("Redis runs");
    assert!((1..=60).contains(&world.redis.query::<i64>(&["TTL", key])));
    assert_eq!(
        ended(world.step(1).await).end,
        Some(EndReason::Cashout),
        "late repeats are answered"
    );
    world.redis.query::<()>(&["EXPIRE", key, "20"]);
    world.live.retire_session(&world.player, 5).await.expect("Redis runs");
    assert!(
        world.redis.query::<i64>(&["TTL", key]) <= 20,
        "retiring twice does not make it live longer"
    );

    world.open(world.round(6, None, 29)).await;
    world.live.retire_session(&world.player, 6).await.expect("Redis runs");
    assert_eq!(
        world.step(0).await,
        Move::Missing,
        "a session that does not know of its end is removed"
    );
}

#[tokio::test]
async fn a_garbled_session_is_missing_and_can_be_opened_again() {
    let world = World::new().await;
    let key = "gameSession:user123-agent456";
    for garble in [
        vec!["SET", key, "text"],
        vec!["RPUSH", key, "a", "b"],
        vec!["HSET", key, "currentStep", "soon"],
        vec!["HSET", key, "isActive", "yes"],
        vec!["HSET", key, "isActive", "0"],
        vec!["HSET", key, "endReason", "win"],
        vec!["HDEL", key, "round"],
        vec!["HSET", key, "round", "{"],
        vec!["HSET", key, "maxLane", "300"],
        vec!["HSET", key, "sequence", "99999999999999999999999"],
        vec!["HSET", key, "roundId", "\u{fffd}", "round", "\"\\ud800"],
    ] {
        world.redis.query::<()>(&["DEL", key]);
        world.open(world.round(5, None, 29)).await;
        if garble[0] != "HSET" && garble[0] != "HDEL" {
            world.redis.query::<()>(&["DEL", key]);
        }
        world.redis.query::<()>(&garble);
        assert_eq!(
            world.live.read_session(world.caller()).await.expect("Redis runs"),
            ReadSession::Missing,
            "{garble:?}"
        );
        assert_eq!(world.step(0).await, Move::Missing, "{garble:?}");
        assert_eq!(world.cash_out(None).await, Move::Missing, "{garble:?}");
        assert_eq!(
            world.live.end_at_deadline(&world.player, 5).await.expect("Redis runs"),
            None,
            "{garble:?}"
        );
        world.open(world.round(5, None, 29)).await;
        assert_eq!(standing(world.step(0).await).current_step, 0, "{garble:?}");
    }
    world.live.discard_unreadable_session(&world.player, 4).await.expect("Redis runs");
    assert_eq!(standing(world.step(0).await).sequence, 5, "a later bet's session is not discarded");
    world.live.discard_unreadable_session(&world.player, 5).await.expect("Redis runs");
    assert_eq!(world.step(1).await, Move::Missing);
}

#[tokio::test]
async fn what_an_earlier_run_of_redis_kept_counts_only_when_it_is_confirmed() {
    let mut world = World::new_with(RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "no"])).await;
    world.open(world.round(1, Some(9), 20)).await;
    for lane in 0..=3 {
        assert_eq!(standing(world.step(lane).await).current_step, i16::from(lane));
    }
    world.redis.restart();
    assert_eq!(
        world.step(4).await,
        Move::Refused(GateRefusal::PlayerUnknown),
        "a sign-out may have been lost"
    );
    world.write_standing(1, 1, PlayerStatus::Active).await;
    assert_eq!(world.step(4).await, Move::Missing);
    assert_eq!(world.cash_out(Some(3)).await, Move::Missing);
    assert_eq!(world.live.end_at_deadline(&world.player, 1).await.expect("Redis runs"), None);

    // PostgreSQL knows an earlier lane; the player may have been shown a later one than either.
    let restored = |sequence, current_step| NewSession {
        current_step,
        restored: true,
        ..world.round(sequence, Some(9), 20)
    };
    world.open(restored(1, 1)).await;
    world.open(restored(1, 5)).await;
    let session = standing(world.step(3).await);
    assert_eq!(
        (session.current_step, session.restored),
        (3, true),
        "confirmed once, on the later lane"
    );
    assert_eq!(standing(world.step(6).await).current_step, 6);
    assert_eq!(ended(world.cash_out(Some(6)).await).current_step, 6);

    world.redis.restart();
    world.write_standing(1, 1, PlayerStatus::Active).await;
    world.open(world.round(1, Some(9), 20)).await;
    let session = ended(world.step(7).await);
    assert_eq!(
        (session.end, session.current_step),
        (Some(EndReason::Cashout), 6),
        "an end stays decided"
    );
}
