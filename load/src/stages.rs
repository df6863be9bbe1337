//! The stages of a run: closed loop, open loop, burst. Each ends by itself, with every round that it began at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Failure;
use crate::player::{Player, Ticket};
use crate::round::{Pace, Troubles};
use crate::scenario::Stage;
use crate::world::World;

/// So many players are created and launched at a time.
const JOINING_AT_ONCE: usize = 8;
/// So long after its end an open loop still begins what was due.
const GRACE: Duration = Duration::from_secs(5);

/// The players of a run; stages take as many as they need.
pub struct Players(pub Vec<Player>);

impl Players {
    /// Creates, launches and signs in so many players.
    pub async fn join(world: &Arc<World>, number: usize) -> Result<Self, Failure> {
        let joining = stream::iter(0..number).map(|index| Player::join(Arc::clone(world), index));
        let mut joined: Vec<Player> = Vec::with_capacity(number);
        let mut results = joining.buffer_unordered(JOINING_AT_ONCE);
        while let Some(result) = results.next().await {
            joined.push(result.map_err(|trouble| format!("a player cannot be launched: {trouble}"))?);
        }
        if let Some(first) = joined.first_mut() {
            first
                .read_rules()
                .await
                .map_err(|trouble| format!("the rules cannot be read: {trouble}"))?;
        }
        Ok(Self(joined))
    }

    /// Runs a stage.
    pub async fn play(&mut self, stage: &Stage) -> Result<(), Failure> {
        let others = self.0.split_off(stage.players().min(self.0.len()));
        let players = std::mem::replace(&mut self.0, others);
        let back = match stage {
            Stage::Closed {
                seconds, pause_ms, ramp, ..
            } => closed(players, Duration::from_secs(*seconds), Duration::from_millis(*pause_ms), *ramp).await?,
            Stage::Open {
                rounds_per_s,
                ramp_to,
                pace_ms,
                seconds,
                ..
            } => {
                let arrivals = Arrivals {
                    from_per_s: *rounds_per_s,
                    to_per_s: ramp_to.unwrap_or(*rounds_per_s),
                    seconds: *seconds as f64,
                };
                open(players, &arrivals, Duration::from_millis(*pace_ms)).await?
            }
            Stage::Burst { times, .. } => bursts(players, *times).await,
        };
        self.0.extend(back);
        Ok(())
    }

    /// All players bet, a few at a time, and stay where they are.
    pub async fn open_rounds(&mut self) {
        stream::iter(self.0.iter_mut())
            .for_each_concurrent(JOINING_AT_ONCE, |player| bet_in_burst(player, Instant::now()))
            .await;
    }

    /// All players end the rounds that are open.
    pub async fn end_rounds(&mut self) {
        stream::iter(self.0.iter_mut()).for_each_concurrent(JOINING_AT_ONCE, finish).await;
    }

    /// The names of players who have played.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|player| player.round.is_some())
            .map(|player| player.user_id.as_str())
    }
}

async fn closed(players: Vec<Player>, lasts: Duration, pause: Duration, ramp: bool) -> Result<Vec<Player>, Failure> {
    let start = Instant::now();
    let end = start + lasts;
    let number = u32::try_from(players.len().max(1))?;
    let mut tasks = JoinSet::new();
    for (index, mut player) in (0_u32..).zip(players) {
        // Players who pause do not act in step: they begin one by one within their first pause.
        let joins = start + if ramp { lasts } else { pause } * index / number;
        tasks.spawn(async move {
            tokio::time::sleep_until(joins.into()).await;
            let mut pace = Pace::AfterAnswer { pause };
            while Instant::now() < end {
                player.play_round(&mut pace).await;
            }
            player
        });
    }
    all(tasks).await
}

/// When rounds are due: at a rate that grows evenly from one to another.
struct Arrivals {
    from_per_s: f64,
    to_per_s: f64,
    seconds: f64,
}

impl Arrivals {
    /// How many there are.
    fn number(&self) -> u64 {
        ((self.from_per_s + self.to_per_s) / 2.0 * self.seconds) as u64
    }

    /// When the arrival with this number is due, after the start: the time at which the rate has summed up to it.
    fn due(&self, number: u64) -> Duration {
        let growth = (self.to_per_s - self.from_per_s) / self.seconds;
        let number = number as f64;
        let seconds = if growth.abs() < 1e-9 {
            number / self.from_per_s
        } else {
            ((self.from_per_s * self.from_per_s + 2.0 * growth * number).max(0.0).sqrt() - self.from_per_s) / growth
        };
        Duration::from_secs_f64(seconds.clamp(0.0, self.seconds))
    }
}

async fn open(players: Vec<Player>, arrivals: &Arrivals, every: Duration) -> Result<Vec<Player>, Failure> {
    let (release, mut free) = mpsc::unbounded_channel();
    let world = players
        .first()
        .map(|player| Arc::clone(&player.world))
        .ok_or("a stage needs a player")?;
    let number = players.len();
    for player in players {
        let _ = release.send(player);
    }
    let start = Instant::now();
    let last_begin = start + Duration::from_secs_f64(arrivals.seconds) + GRACE;
    for index in 0..arrivals.number() {
        let due = start + arrivals.due(index);
        tokio::time::sleep_until((due - Duration::from_millis(1).min(due - start)).into()).await;
        // While all players are busy the schedule stands: the next round's latency counts from when it was due.
        let Ok(Some(mut player)) = tokio::time::timeout_at(last_begin.into(), free.recv()).await else {
            world.recorder().never_started += arrivals.number() - index;
            break;
        };
        let release = release.clone();
        tokio::spawn(async move {
            let mut pace = Pace::Scheduled { next: due, every };
            player.play_round(&mut pace).await;
            let _ = release.send(player);
        });
    }
    drop(release);
    let mut back = Vec::with_capacity(number);
    while let Some(player) = free.recv().await {
        back.push(player);
    }
    Ok(back)
}

/// All players bet at one instant, all step at one instant, all cash out at one instant.
async fn bursts(mut players: Vec<Player>, times: u32) -> Vec<Player> {
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let instant = Instant::now();
        futures::future::join_all(players.iter_mut().map(|player| bet_in_burst(player, instant))).await;
        let instant = Instant::now();
        futures::future::join_all(players.iter_mut().map(|player| step_in_burst(player, instant))).await;
        let instant = Instant::now();
        futures::future::join_all(players.iter_mut().map(|player| cash_out_in_burst(player, instant))).await;
        for player in &mut players {
            finish(player).await;
        }
    }
    players
}

async fn bet_in_burst(player: &mut Player, instant: Instant) {
    let plan = player.world.clone().scenario.play.plan(&mut player.draws);
    let ticket = Ticket::new(&mut player.draws);
    // An epoch may have ended at this very instant, and with it what all had seen; `finish` plays on where this failed.
    let _ = player.bet(&plan, &ticket, instant).await;
}

async fn step_in_burst(player: &mut Player, instant: Instant) {
    if player.has_open_round() {
        let _ = player.step(instant).await;
    }
}

async fn cash_out_in_burst(player: &mut Player, instant: Instant) {
    if player.has_open_round() {
        let _ = player.cash_out(instant).await;
    }
}

/// Ends a round that something went wrong in.
async fn finish(player: &mut Player) {
    let mut troubles = Troubles::default();
    while player.has_open_round() {
        let crossed = player.round.as_ref().is_some_and(|round| round.line_number >= 0);
        let moved = if crossed {
            player.cash_out(Instant::now()).await
        } else {
            player.step(Instant::now()).await
        };
        if let Err(trouble) = moved
            && player.recover(&trouble, &mut troubles).await.is_none()
        {
            return;
        }
    }
}

async fn all(mut tasks: JoinSet<Player>) -> Result<Vec<Player>, Failure> {
    let mut players = Vec::with_capacity(tasks.len());
    while let Some(player) = tasks.join_next().await {
        players.push(player?);
    }
    Ok(players)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_their_rate() {
        let steady = Arrivals {
            from_per_s: 50.0,
            to_per_s: 50.0,
            seconds: 10.0,
        };
        assert_eq!(steady.number(), 500);
        assert_eq!(steady.due(0), Duration::ZERO);
        assert_eq!(steady.due(250), Duration::from_secs(5));
        let growing = Arrivals {
            from_per_s: 0.5,
            to_per_s: 99.5,
            seconds: 10.0,
        };
        assert_eq!(growing.number(), 500);
        assert!(growing.due(125) > Duration::from_millis(4_900) && growing.due(125) < Duration::from_millis(5_100));
        assert!((1..500).all(|number| growing.due(number) > growing.due(number - 1)));
    }
}
