//! The two servers side by side: the product with its own set, and the bare server on the same Redis and the same PostgreSQL, each
//! with an operator of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use sqlx::{Connection as _, PgConnection};

use super::generator::{self, Act, Seat, Segment};
use crate::Failure;
use crate::connection::{Connection, Question};
use crate::draws::Draws;
use crate::own_process::OwnProcess;
use crate::own_set::{DATABASE, OwnSet, free_address, start_operator};
use crate::player::Player;
use crate::recorder::milliseconds;
use crate::resources::{Meter, Sources};
use crate::world::World;

const BARE_DATABASE: &str = "faircross_bare";
/// What is still under way after a segment may take so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Bare,
}

/// One segment in figures.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    pub count: u64,
    pub per_s: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    /// CPU time of the server's process per action, what follows the answer included.
    pub server_cpu_us: f64,
    /// The same of Redis and of PostgreSQL.
    pub redis_cpu_us: f64,
    pub postgres_cpu_us: f64,
    /// CPU time of all processes of that side per action, the generator included.
    pub all_cpu_us: f64,
    pub errors: u64,
}

/// Both servers and their seats.
pub struct Sides {
    pub world: Arc<World>,
    pub ours: Vec<Seat>,
    pub bare: Vec<Seat>,
    pub redis: MultiplexedConnection,
    postgres: PgConnection,
    our_address: SocketAddr,
    bare_address: SocketAddr,
    meter: Meter,
    connections: usize,
    // They end in this order.
    _bare_server: OwnProcess,
    _bare_operator: OwnProcess,
}

impl Sides {
    /// Starts the bare server. The first of the players places a bet, whose answer and session say how long the bare ones are.
    ///
    /// # Errors
    /// When something does not start; with the end of its log.
    pub async fn start(set: &OwnSet, world: &Arc<World>, players: &[Player], connections: usize) -> Result<Self, Failure> {
        let mut redis = redis::Client::open(set.redis().url())?.get_multiplexed_async_connection().await?;
        let postgres = PgConnection::connect(&set.postgres().url(DATABASE)).await?;
        let mut ours: Vec<Seat> = players.iter().enumerate().map(|(index, player)| seat(player, index)).collect();
        let answer = sample_answer(world, &mut ours, set.addresses[0]).await?;
        let key = session_key(world, &ours[0].user_id);
        let round: String = redis::cmd("HGET").arg(key).arg("round").query_async(&mut redis).await?;
        let file = set.directory().join("answer.json");
        std::fs::write(&file, answer)?;

        let operator_address = free_address()?;
        let bare_operator = start_operator("bare-operator", set.program(), set.directory(), operator_address).await?;
        let bare_address = free_address()?;
        let operator = set.operator();
        let arguments = [
            format!("--port={}", bare_address.port()),
            format!("--redis-url={}?db=1", set.redis().url()),
            format!("--database-url={}", set.postgres().create_database(BARE_DATABASE, None)?),
            format!("--operator-url=http://{operator_address}/"),
            format!("--certificate={}", operator.certificate),
            format!("--currency={}", operator.currency),
            format!("--answer={}", file.display()),
            format!("--round-bytes={}", round.len()),
        ];
        let program = std::env::current_exe()?.with_file_name("faircross-bare");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let bare_server = OwnProcess::start("bare-server", &program, set.directory(), &arguments, &[])?;
        bare_server.wait_until_ready(bare_address, "/health").await?;

        let Sources { mut processes, .. } = set.sources();
        processes.push(("bare server".to_owned(), bare_server.pid));
        processes.push(("bare operator".to_owned(), bare_operator.pid));
        processes.push(("load tool".to_owned(), std::process::id()));
        let meter = Meter::new(Sources {
            processes,
            ..Sources::default()
        })
        .await?;
        let bare = players
            .iter()
            .enumerate()
            .map(|(index, player)| Seat {
                token: player.user_id.clone(),
                ..seat(player, index)
            })
            .collect();
        Ok(Self {
            world: Arc::clone(world),
            ours,
            bare,
            redis,
            postgres,
            our_address: set.addresses[0],
            bare_address,
            meter,
            connections,
            _bare_server: bare_server,
            _bare_operator: bare_operator,
        })
    }

    /// Runs a segment at one server over the first `seats` of its seats and waits until nothing of it is under way.
    ///
    /// # Errors
    /// When a store cannot be asked, or something is still under way after a minute.
    pub async fn segment(&mut self, side: Side, act: Act, seats: usize, lasts: Duration) -> Result<Measure, Failure> {
        let (address, all) = match side {
            Side::Ours => (self.our_address, &mut self.ours),
            Side::Bare => (self.bare_address, &mut self.bare),
        };
        let mut taking_part: Vec<Seat> = all.drain(..seats.min(all.len())).collect();
        self.world.look_at_road(&mut Connection::new(self.our_address)).await;
        let before = self.meter.sample().await?;
        let begun = Instant::now();
        let segment = generator::run(&self.world, address, &mut taking_part, act, self.connections, lasts).await?;
        self.wait_until_settled(side).await?;
        let until_settled = begun.elapsed();
        let after = self.meter.sample().await?;
        let usage = self
            .meter
            .usage(&before, &after, segment.count.max(1), until_settled, "", &[])
            .await?;
        let server = match side {
            Side::Ours => "server",
            Side::Bare => "bare server",
        };
        let per_action_us = |name: &str| {
            let named = usage.processes.iter().filter(|process| name.is_empty() || process.name == name);
            named.map(|process| process.cpu_s).sum::<f64>() * 1e6 / segment.count.max(1) as f64
        };
        match side {
            Side::Ours => self.ours.splice(0..0, taking_part).for_each(drop),
            Side::Bare => self.bare.splice(0..0, taking_part).for_each(drop),
        }
        if side == Side::Ours {
            write_down(&self.world, &segment);
        }
        // What a round leaves behind belongs to it; a step or a bet is over when it is answered.
        let lasted = if act == Act::WholeRounds { until_settled } else { segment.lasted };
        Ok(Measure {
            server_cpu_us: per_action_us(server),
            redis_cpu_us: per_action_us("Redis"),
            postgres_cpu_us: per_action_us("PostgreSQL"),
            all_cpu_us: per_action_us(""),
            ..measure(&segment, lasted)
        })
    }

    /// Waits until every end has been told to the operator.
    async fn wait_until_settled(&mut self, side: Side) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut bare = Connection::new(self.bare_address);
        while begun.elapsed() < SETTLED_WITHIN {
            let under_way = match side {
                Side::Ours => {
                    let sql = "select exists (select from outbox where state = 'open')";
                    sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut self.postgres).await?
                }
                Side::Bare => &bare.ask(Question::get("/unfinished", None)).await?.body[..] != b"0",
            };
            if !under_way {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err("settles are still under way after a minute".into())
    }

    /// Looks up how far each open round of ours is safe, and lets the bare rounds be as long.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn look_up_safe_lanes(&mut self) -> Result<(), Failure> {
        let mut pipeline = redis::pipe();
        for seat in &self.ours {
            let key = session_key(&self.world, &seat.user_id);
            pipeline.cmd("HMGET").arg(key).arg("firstCollision").arg("maxLane");
        }
        let ends: Vec<(Option<i16>, Option<i16>)> = pipeline.query_async(&mut self.redis).await?;
        for (index, (seat, (collision, last))) in self.ours.iter_mut().zip(ends).enumerate() {
            let collision = collision.filter(|lane| *lane >= 0).unwrap_or(i16::MAX);
            seat.safe_lanes = if seat.is_open() { collision.min(last.unwrap_or(0)) } else { 0 };
            if let Some(bare) = self.bare.get_mut(index) {
                bare.safe_lanes = seat.safe_lanes;
            }
        }
        Ok(())
    }

    /// Resident memory of the product's server.
    ///
    /// # Errors
    /// Never in practice: only /proc is read.
    pub async fn server_memory_bytes(&mut self) -> Result<u64, Failure> {
        let sample = self.meter.sample().await?;
        let usage = self.meter.usage(&sample, &sample, 0, Duration::from_secs(1), "", &[]).await?;
        let server = usage.processes.iter().find(|process| process.name == "server");
        Ok(server.map_or(0, |server| server.memory_bytes))
    }

    /// Removes what the bare server keeps in Redis.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn clear_bare_redis(&mut self) -> Result<(), Failure> {
        let mut both = redis::pipe();
        both.cmd("SELECT").arg(1).cmd("FLUSHDB").cmd("SELECT").arg(0);
        let _: (String, String, String) = both.query_async(&mut self.redis).await?;
        Ok(())
    }
}

/// The key of a player's session.
pub fn session_key(world: &World, user_id: &str) -> String {
    format!("gameSession:{user_id}-{}", world.operator.agent_id)
}

fn seat(player: &Player, index: usize) -> Seat {
    Seat {
        user_id: player.user_id.clone(),
        token: player.token.clone(),
        draws: Draws::new(player.world.seed.wrapping_add(1), index as u64),
        round: None,
        safe_lanes: 0,
    }
}

/// Places a bet with the first seat and gives the answer as it came.
async fn sample_answer(world: &Arc<World>, seats: &mut [Seat], address: SocketAddr) -> Result<bytes::Bytes, Failure> {
    let seat = seats.first_mut().ok_or("the bench needs players")?;
    let mut connection = Connection::new(address);
    world.look_at_road(&mut connection).await;
    let body = serde_json::json!({
        "betAmount": "10.00", "difficulty": "EASY", "currency": world.operator.currency, "hazardEpoch": world.epoch(),
    });
    let question = Question::send(hyper::Method::POST, "/api/game/bet", Some(&seat.token), &body);
    let answer = connection.ask(question).await?;
    if answer.status != 200 {
        return Err(format!(
            "the first bet was answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        )
        .into());
    }
    let round = serde_json::from_slice(&answer.body)?;
    world.transcript.add("bet", &world.operator.agent_id, &seat.user_id, &round);
    seat.round = Some(round);
    Ok(answer.body)
}

/// What players were told is kept for the audit.
fn write_down(world: &World, segment: &Segment) {
    for told in &segment.told {
        world
            .transcript
            .add(told.what, &world.operator.agent_id, &told.user_id, &told.round);
    }
}

/// All but the CPU times.
fn measure(segment: &Segment, lasted: Duration) -> Measure {
    let percentile = |percentile| milliseconds(segment.latencies_us.value_at_percentile(percentile));
    for (code, count) in &segment.errors {
        eprintln!("    {count} answers were {code}");
    }
    Measure {
        count: segment.count,
        per_s: segment.count as f64 / lasted.as_secs_f64(),
        p50_ms: percentile(50.0),
        p90_ms: percentile(90.0),
        p99_ms: percentile(99.0),
        errors: segment.errors.values().sum(),
        ..Measure::default()
    }
}
