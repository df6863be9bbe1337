//! How much room open rounds take: really opened ones in the server and in Redis, and copies of their keys beyond that.

use redis::aio::MultiplexedConnection;

use super::generator::{Act, Seat};
use super::raw::{self, RawFigure};
use super::report::Row;
use super::sides::{Side, Sides, session_key};
use super::{Extent, say};
use crate::Failure;
use crate::own_set::OwnSet;
use crate::world::World;

const MEGABYTE: f64 = 1_048_576.0;
/// So many sessions are weighed.
const WEIGHED: usize = 200;
/// So many commands go to Redis at once.
const BATCH: usize = 1_000;

/// Opens rounds with all seats, measures, and ends them; Redis's own speed is measured while they are open.
///
/// # Errors
/// When a store cannot be asked or a round cannot be ended.
pub async fn measure(sides: &mut Sides, set: &OwnSet, extent: &Extent) -> Result<(Vec<Row>, Vec<RawFigure>), Failure> {
    say(&format!("{} open rounds", extent.open_rounds));
    sides.clear_bare_redis().await?;
    let mut opened = 0;
    // A bet that was refused because its epoch ended at that moment is placed by the second turn.
    for _ in 0..3 {
        sides.segment(Side::Ours, Act::Bet, usize::MAX, extent.segment).await?;
        opened = sides.ours.iter().filter(|seat| seat.is_open()).count();
    }
    sides.look_up_safe_lanes().await?;
    let server_mb = sides.server_memory_bytes().await? as f64 / MEGABYTE;
    let (world, mut redis) = (std::sync::Arc::clone(&sides.world), sides.redis.clone());
    let weights = weigh(&mut redis, &world, &sides.ours).await?;
    let redis_mb = used_memory(&mut redis).await? / MEGABYTE;

    let copies = copy_sessions(&mut redis, &world, &sides.ours, extent.sessions.saturating_sub(opened)).await?;
    let redis_full_mb = used_memory(&mut redis).await? / MEGABYTE;
    for batch in copies.chunks(BATCH) {
        let _: u64 = redis::cmd("DEL").arg(batch).query_async(&mut redis).await?;
    }
    let standing = sides
        .ours
        .iter()
        .find(|seat| seat.is_open() && seat.safe_lanes > 0)
        .ok_or("no round is safe")?;
    let raw = raw::redis_benchmark(&mut redis, set, &world, standing, extent).await?;

    say("the open rounds end");
    for act in [Act::LeaveTheStart, Act::CashOut] {
        sides.segment(Side::Ours, act, usize::MAX, extent.segment).await?;
    }
    let most = weights.iter().copied().max().unwrap_or(0) as f64;
    let mean = weights.iter().sum::<u64>() as f64 / weights.len().max(1) as f64;
    let rows = vec![
        Row::at_most(&format!("Memory of the server with {opened} open rounds"), server_mb, "MB", 64.0),
        Row::told("A session in Redis, mean", mean, "bytes"),
        Row::at_most("A session in Redis, largest", most, "bytes", 1_024.0),
        Row::told(&format!("Memory of Redis with {opened} open rounds"), redis_mb, "MB"),
        Row::at_most(
            &format!(
                "Memory of Redis with {} open rounds ({} of them copies)",
                opened + copies.len() / KEYS,
                copies.len() / KEYS
            ),
            redis_full_mb,
            "MB",
            100.0,
        ),
    ];
    Ok((rows, raw))
}

/// A player with an open round has so many keys of their own.
const KEYS: usize = 2;

fn keys(world: &World, user_id: &str) -> [String; KEYS] {
    let agent_id = &world.operator.agent_id;
    [session_key(world, user_id), format!("player:{user_id}-{agent_id}")]
}

/// All fields are weighed: of a sample of them the one long field may be in it or not.
async fn weigh(redis: &mut MultiplexedConnection, world: &World, seats: &[Seat]) -> Result<Vec<u64>, Failure> {
    let mut pipeline = redis::pipe();
    for seat in seats.iter().filter(|seat| seat.is_open()).take(WEIGHED) {
        pipeline
            .cmd("MEMORY")
            .arg("USAGE")
            .arg(session_key(world, &seat.user_id))
            .arg("SAMPLES")
            .arg(0);
    }
    Ok(pipeline.query_async(redis).await?)
}

/// Copies of sessions with their players' keys, under names as long as the players'. Gives the keys.
async fn copy_sessions(redis: &mut MultiplexedConnection, world: &World, seats: &[Seat], number: usize) -> Result<Vec<String>, Failure> {
    let open: Vec<&Seat> = seats.iter().filter(|seat| seat.is_open()).collect();
    let mut copies = Vec::with_capacity(number * KEYS);
    let numbers: Vec<usize> = (0..number).collect();
    for batch in numbers.chunks(BATCH) {
        let mut pipeline = redis::pipe();
        for index in batch {
            let seat = open.get(index % open.len().max(1)).ok_or("no round is open")?;
            for (from, to) in keys(world, &seat.user_id).into_iter().zip(keys(world, &copied_name(*index))) {
                pipeline.cmd("COPY").arg(from).arg(&to).ignore();
                copies.push(to);
            }
        }
        let () = pipeline.query_async(redis).await?;
    }
    Ok(copies)
}

/// A player's name of the usual length.
fn copied_name(index: usize) -> String {
    format!("copy{index:011}")
}

async fn used_memory(redis: &mut MultiplexedConnection) -> Result<f64, Failure> {
    let text: String = redis::cmd("INFO").arg("memory").query_async(redis).await?;
    let field = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(field.ok_or("INFO without used_memory")?.trim().parse()?)
}
