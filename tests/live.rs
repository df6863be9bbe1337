//! Redis as the product uses it, against a real server: every answer of every script, and what happens when Redis is slow, gone or garbled.

mod connection;
mod copies;
mod gate;
mod locks;
mod mark;
mod model;
mod sessions;

use faircross::clock::Clock;
use faircross::game::player::{AgentId, PlayerId, PlayerStatus, UserId};
use faircross::live::{Caller, Live, LiveSettings, Move, NamedRound, NewSession, OpenSession, PlayerStanding, RateLimit, Session};

use crate::redis_server::RedisServer;

/// A server, a client of it and a signed-in player.
struct World {
    redis: RedisServer,
    live: Live,
    player: PlayerId,
}

impl World {
    async fn new() -> Self {
        Self::new_with(RedisServer::start()).await
    }

    async fn new_with(redis: RedisServer) -> Self {
        let live = connect(&redis.url(), true);
        Self::over(redis, live).await
    }

    async fn over(redis: RedisServer, live: Live) -> Self {
        let world = Self {
            redis,
            live,
            player: player("user123"),
        };
        world.write_standing(1, 1, PlayerStatus::Active).await;
        world
    }

    async fn write_standing(&self, revision: u64, generation: u64, status: PlayerStatus) {
        let standing = PlayerStanding {
            player: self.player.clone(),
            revision,
            generation,
            status,
        };
        self.live.write_player(&standing).await.expect("Redis runs");
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            player: &self.player,
            generation: 1,
            rate_limit: RateLimit {
                requests: 1_000_000,
                window_ms: 1_000,
            },
            now_unix_ms: Clock::default().now_unix_ms(),
        }
    }

    /// A round on a road of 31 lanes at most, whose first collision and last playable lane are given.
    fn round(&self, sequence: i64, first_collision: Option<u8>, max_lane: u8) -> NewSession<'_> {
        NewSession {
            player: &self.player,
            sequence,
            round_id: "round-1",
            round_json: r#"{"roundId":"round-1","coefficients":["1.01","1.03"],"collisionColumns":[]}"#,
            first_collision,
            max_lane,
            current_step: -1,
            restored: false,
            ttl_s: 3_600,
            lock_token: None,
        }
    }

    async fn open(&self, new: NewSession<'_>) {
        assert_eq!(self.live.open_session(new).await.expect("Redis runs"), OpenSession::Opened);
    }

    async fn step(&self, lane: u8) -> Move {
        self.live
            .step(self.caller(), lane, NamedRound::default())
            .await
            .expect("Redis runs")
    }

    async fn cash_out(&self, lane: Option<u8>) -> Move {
        self.live
            .cash_out(self.caller(), lane, NamedRound::default())
            .await
            .expect("Redis runs")
    }
}

/// A client that a busy machine does not make give up.
fn connect(url: &str, locks_enabled: bool) -> Live {
    connect_within(url, locks_enabled, 60_000)
}

fn connect_within(url: &str, locks_enabled: bool, command_timeout_ms: u64) -> Live {
    Live::connect(&LiveSettings {
        url: url.into(),
        tls: Default::default(),
        command_timeout_ms,
        locks_enabled,
    })
    .expect("the address is right")
}

fn player(user: &str) -> PlayerId {
    PlayerId {
        agent_id: AgentId::parse("agent456").expect("an agent id"),
        user_id: UserId::parse(user).expect("a user id"),
    }
}

fn named(round_id: &str) -> NamedRound<'_> {
    NamedRound {
        round_id: Some(round_id),
        is_known: false,
    }
}

fn known(round_id: &str) -> NamedRound<'_> {
    NamedRound {
        round_id: Some(round_id),
        is_known: true,
    }
}

fn standing(outcome: Move) -> Session {
    match outcome {
        Move::Standing(session) => session,
        other => panic!("not standing: {other:?}"),
    }
}

fn ended(outcome: Move) -> Session {
    match outcome {
        Move::Ended(session) => session,
        other => panic!("not ended: {other:?}"),
    }
}
