//! Who is let through, and the start of a bet.

use faircross::game::difficulty::Difficulty;
use faircross::game::player::PlayerStatus;
use faircross::live::{BeginBet, Caller, GateRefusal, Move, NamedRound, RateLimit, ReadSession};

use super::{World, connect, known, standing};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn the_gate_refuses_in_a_fixed_order() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    let no_rate = RateLimit {
        requests: 0,
        window_ms: 60_000,
    };
    let check = async |generation, rate_limit, must_be_active| {
        let caller = Caller {
            generation,
            rate_limit,
            ..world.caller()
        };
        world.live.check_caller(caller, must_be_active).await.expect("Redis runs")
    };
    let generous = world.caller().rate_limit;
    assert_eq!(check(1, generous, true).await, None);
    world.write_standing(2, 2, PlayerStatus::Suspended).await;
    assert_eq!(check(1, no_rate, true).await, Some(GateRefusal::SignedOut));
    assert_eq!(check(2, no_rate, true).await, Some(GateRefusal::Suspended));
    assert!(matches!(
        check(2, no_rate, false).await,
        Some(GateRefusal::RateLimited {
            retry_after_ms: 1..=60_000
        })
    ));
    assert_eq!(check(2, generous, false).await, None);
    assert_eq!(
        check(3, generous, false).await,
        Some(GateRefusal::PlayerUnknown),
        "the copy is older than the token"
    );
    world.redis.query::<()>(&["DEL", "player:user123-agent456"]);
    assert_eq!(check(2, no_rate, true).await, Some(GateRefusal::PlayerUnknown));
    for garble in [
        ["SET", "player:user123-agent456", "text", "EX", "9"],
        ["HSET", "player:user123-agent456", "generation", "x", "y"],
    ] {
        world.redis.query::<()>(&["DEL", "player:user123-agent456"]);
        world.redis.query::<()>(&garble[..if garble[0] == "SET" { 5 } else { 4 }]);
        assert_eq!(check(2, generous, true).await, Some(GateRefusal::PlayerUnknown));
        world.write_standing(3, 2, PlayerStatus::Locked).await;
        assert_eq!(check(2, generous, true).await, Some(GateRefusal::Suspended), "refilled");
    }
}

#[tokio::test]
async fn every_gated_script_has_the_gate_in_front() {
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    for status in [PlayerStatus::Suspended, PlayerStatus::Locked] {
        world.write_standing(2, 1, status).await;
        let begun = world
            .live
            .begin_bet(world.caller(), Difficulty::Easy, "token")
            .await
            .expect("Redis runs");
        assert_eq!(begun, BeginBet::Refused(GateRefusal::Suspended));
        standing(world.step(0).await);
    }
    assert_eq!(
        world.redis.query::<u64>(&["EXISTS", "bet-lock:user123-agent456"]),
        0,
        "nothing is taken by who is refused"
    );
    let gone = Caller {
        generation: 0,
        ..world.caller()
    };
    assert_eq!(
        world.live.step(gone, 1, NamedRound::default()).await.expect("Redis runs"),
        Move::Refused(GateRefusal::SignedOut)
    );
    assert_eq!(
        world.live.step(gone, 1, known("round-1")).await.expect("Redis runs"),
        Move::Refused(GateRefusal::SignedOut),
        "on the short way too"
    );
    assert_eq!(
        world.live.cash_out(gone, None, NamedRound::default()).await.expect("Redis runs"),
        Move::Refused(GateRefusal::SignedOut)
    );
    assert_eq!(
        world.live.read_session(gone).await.expect("Redis runs"),
        ReadSession::Refused(GateRefusal::SignedOut)
    );
    let begun = world.live.begin_bet(gone, Difficulty::Easy, "token").await.expect("Redis runs");
    assert_eq!(begun, BeginBet::Refused(GateRefusal::SignedOut));
    assert_eq!(standing(world.step(0).await).current_step, 0, "none of it moved the round");
}

#[tokio::test]
async fn counting_is_not_worth_the_disk() {
    let world = World::new_with(RedisServer::start_with(&["--appendonly", "yes"])).await;
    world.open(world.round(1, None, 29)).await;
    // Commands that were written before the one that asks are in the file, or in what is counted with it.
    let written = || {
        let about = world.redis.query::<String>(&["INFO", "persistence"]);
        let size = about.lines().find_map(|line| line.strip_prefix("aof_current_size:"));
        size.and_then(|size| size.parse::<u64>().ok()).expect("a file is kept")
    };
    let step = async |lane| world.live.step(world.caller(), lane, known("round-1")).await.expect("Redis runs");
    step(0).await;
    let before = written();
    for _ in 0..3 {
        world.live.read_session(world.caller()).await.expect("Redis runs");
        assert_eq!(world.live.check_caller(world.caller(), true).await.expect("Redis runs"), None);
        step(0).await;
    }
    assert_eq!(written(), before, "reads and repeats change nothing but counts");
    step(1).await;
    assert!(written() > before, "a step is written");
}

#[tokio::test]
async fn requests_are_counted_in_fixed_windows_by_kind() {
    /// Windows begin at multiples of their length: one of seven weeks hardly ends in this test.
    const LONG_MS: u32 = u32::MAX;
    let world = World::new().await;
    world.open(world.round(1, None, 29)).await;
    // A window that outlasts the test; should it just end here, the next one begins with the same allowance.
    let limited = Caller {
        rate_limit: RateLimit {
            requests: 2,
            window_ms: LONG_MS,
        },
        ..world.caller()
    };
    let mut let_through = 0;
    for round in [NamedRound::default(), known("round-1")].into_iter().cycle().take(6) {
        match world.live.step(limited, 0, round).await.expect("Redis runs") {
            Move::Standing(_) | Move::Safe { lane: 0 } => let_through += 1,
            Move::Refused(GateRefusal::RateLimited { retry_after_ms }) => assert!((1..=u64::from(LONG_MS)).contains(&retry_after_ms)),
            other => panic!("{other:?}"),
        }
    }
    assert!((2..=4).contains(&let_through), "{let_through}");
    assert_eq!(
        world.live.check_caller(limited, true).await.expect("Redis runs"),
        None,
        "reads are counted for themselves"
    );
    world.write_standing(2, 1, PlayerStatus::Active).await;
    let refused = world.live.cash_out(limited, None, NamedRound::default()).await.expect("Redis runs");
    assert!(
        matches!(refused, Move::Refused(GateRefusal::RateLimited { .. })),
        "a refill does not forget the count: {refused:?}"
    );
    // A short window opens again by itself.
    let brief = Caller {
        rate_limit: RateLimit {
            requests: 1,
            window_ms: 50,
        },
        ..world.caller()
    };
    let mut opened = 0;
    while opened < 3 {
        if world.live.check_caller(brief, true).await.expect("Redis runs").is_none() {
            opened += 1;
        }
    }
}

#[tokio::test]
async fn one_bet_at_a_time_holds_the_lock() {
    let world = World::new().await;
    let begin = async |token| {
        world
            .live
            .begin_bet(world.caller(), Difficulty::Hard, token)
            .await
            .expect("Redis runs")
    };
    let before = world.live.round_trips();
    let BeginBet::Begun {
        hazards: None,
        now_unix_ms,
    } = begin("mine").await
    else {
        panic!("begun")
    };
    assert!(now_unix_ms > 1_600_000_000_000);
    assert_eq!(
        world.live.round_trips() - before,
        3,
        "one, and two to load the script the first time"
    );
    assert!(
        matches!(begin("mine").await, BeginBet::Begun { .. }),
        "asked again after a lost answer"
    );
    assert!(matches!(
        begin("another").await,
        BeginBet::LockHeld {
            retry_after_ms: 1..=30_000
        }
    ));
    assert!(
        !world.live.release_bet_lock(&world.player, "another").await.expect("Redis runs"),
        "not the holder"
    );
    assert!(matches!(begin("another").await, BeginBet::LockHeld { .. }));
    assert!(world.live.release_bet_lock(&world.player, "mine").await.expect("Redis runs"));
    assert!(matches!(begin("another").await, BeginBet::Begun { .. }));
    let opened = faircross::live::NewSession {
        lock_token: Some("mine"),
        ..world.round(1, None, 29)
    };
    world.open(opened).await;
    assert!(
        matches!(begin("third").await, BeginBet::LockHeld { .. }),
        "opening gives only the own lock back"
    );
    world
        .open(faircross::live::NewSession {
            lock_token: Some("another"),
            ..opened
        })
        .await;
    assert!(matches!(begin("third").await, BeginBet::Begun { .. }));

    world.redis.query::<()>(&["SET", "bet-lock:user123-agent456", "for ever"]);
    assert!(matches!(begin("fourth").await, BeginBet::LockHeld { retry_after_ms: 30_000 }));
    assert!(
        (1..=30).contains(&world.redis.query::<i64>(&["TTL", "bet-lock:user123-agent456"])),
        "no lock without an end"
    );
    world.redis.query::<()>(&["DEL", "bet-lock:user123-agent456"]);
    world.redis.query::<()>(&["RPUSH", "bet-lock:user123-agent456", "garbage"]);
    assert!(matches!(begin("fifth").await, BeginBet::Begun { .. }), "garbage holds nothing");

    let unlocked = connect(&world.redis.url(), false);
    let begun = unlocked
        .begin_bet(world.caller(), Difficulty::Hard, "sixth")
        .await
        .expect("Redis runs");
    assert!(matches!(begun, BeginBet::Begun { .. }), "with locks off nobody waits");
}
