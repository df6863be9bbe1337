//! How a player goes through a round: bet, steps, cash-out, and the habits of before and after.
//!
//! A player whom something goes wrong for does what a good client does: asks again where a repeat is safe, signs in again
//! where that was asked for, and looks where the round stands before going on. So the tool can run while things are broken.

use std::time::{Duration, Instant};

use crate::player::{Player, Ticket, Trouble};
use crate::scenario::Plan;

/// After so many troubles in one round the player gives up on it; what became of it is the audit's business.
const MOST_TROUBLES: u32 = 40;
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// A timer that wakes by so much late is this tool's coarse timer and not a stall; the latency then counts from the wake-up.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// When a player's actions begin.
pub enum Pace {
    /// As soon as the answer before is there, after a pause.
    AfterAnswer { pause: Duration },
    /// At fixed instants, however late the answers are.
    Scheduled { next: Instant, every: Duration },
}

impl Pace {
    /// Waits for the next action and gives the instant from which its latency counts.
    pub async fn begin(&mut self, player: &Player) -> Instant {
        match self {
            Self::AfterAnswer { pause } => {
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
                Instant::now()
            }
            Self::Scheduled { next, every } => {
                let due = *next;
                *next += *every;
                let was_waiting = Instant::now() < due;
                tokio::time::sleep_until(due.into()).await;
                let late = due.elapsed();
                if was_waiting {
                    player.world.recorder().note_timer(late);
                    if late < TIMER_GRAIN {
                        return Instant::now();
                    }
                }
                due
            }
        }
    }
}

impl Player {
    /// Plays one round to its end, with what the player's habits add to it.
    pub async fn play_round(&mut self, pace: &mut Pace) {
        let world = std::sync::Arc::clone(&self.world);
        let plan = world.scenario.play.plan(&mut self.draws);
        let mut troubles = Troubles::default();
        if self.open(&plan, pace, &mut troubles).await.is_none() {
            return;
        }
        let reconnects = self.draws.percent(world.scenario.habits.reconnect_in_round);
        if reconnects {
            self.heed_reconnection(&mut troubles).await;
        }
        while self.has_open_round() {
            let begun = pace.begin(self).await;
            let moved = if self.lanes_crossed() < plan.lanes {
                self.step(begun).await
            } else {
                self.cash_out(begun).await
            };
            if let Err(trouble) = moved
                && self.recover(&trouble, &mut troubles).await.is_none()
            {
                return;
            }
        }
        self.follow_habits().await;
    }

    /// Bets until a round is open. Every attempt is the same bet to the server.
    async fn open(&mut self, plan: &Plan, pace: &mut Pace, troubles: &mut Troubles) -> Option<()> {
        let mut ticket = Ticket::new(&mut self.draws);
        let mut begun = pace.begin(self).await;
        while let Err(trouble) = self.bet(plan, &ticket, begun).await {
            ticket.is_repeat = true;
            self.recover(&trouble, troubles).await?;
            if self.has_open_round() {
                break;
            }
            begun = Instant::now();
        }
        Some(())
    }

    async fn heed_reconnection(&mut self, troubles: &mut Troubles) {
        if let Err(trouble) = self.reconnect().await {
            // A player whose round cannot be found right now just plays on.
            let _ = self.recover(&trouble, troubles).await;
        }
    }

    fn lanes_crossed(&self) -> i16 {
        self.round.as_ref().map_or(0, |round| round.line_number + 1)
    }

    /// Does what a refusal asks for. `None`: give up on this round.
    pub async fn recover(&mut self, trouble: &Trouble, troubles: &mut Troubles) -> Option<()> {
        if !troubles.are_bearable() {
            return self.abandon();
        }
        match trouble.code.as_str() {
            "unauthenticated" | "token_expired" => {
                let _ = self.launch().await;
            }
            "stale_hazard_epoch" => self.look_at_road().await,
            "active_session_exists" | "round_mismatch" | "invalid_step_sequence" | "too_early_to_cash_out" => {
                self.look_where_the_round_stands().await
            }
            "no_active_session" | "no_open_round" => {
                self.round = None;
                return self.abandon();
            }
            "insufficient_funds" | "account_suspended" | "game_disabled" => {
                // Nothing that the player could do changes it; a pause keeps the refusals from becoming the load.
                tokio::time::sleep(Duration::from_secs(1)).await;
                return None;
            }
            // The stake, if it was taken, is being returned.
            "bet_unconfirmed" | "agent_rejected" => return None,
            _ => {
                let advised = trouble
                    .retry_after_s
                    .map_or(SHORT_PAUSE, |seconds| Duration::from_secs(seconds.min(5)));
                tokio::time::sleep(advised).await;
            }
        }
        Some(())
    }

    async fn look_where_the_round_stands(&mut self) {
        match self.find_round().await {
            Ok(found) => self.resume(found),
            Err(trouble) if trouble.code == "no_active_session" => self.round = None,
            Err(_) => tokio::time::sleep(SHORT_PAUSE).await,
        }
    }

    fn abandon(&mut self) -> Option<()> {
        self.world.recorder().abandoned += 1;
        self.round = None;
        None
    }

    /// What the player does after a round. Trouble here is noted where it happened and ends nothing.
    async fn follow_habits(&mut self) {
        let habits = self.world.scenario.habits.clone();
        if self.draws.percent(habits.repeat_the_end) {
            let _ = self.repeat_the_end().await;
        }
        if self.draws.percent(habits.look_at_balance) {
            let _ = self.look_at_balance().await;
        }
        if self.draws.percent(habits.check_proof) {
            let _ = self.check_proof().await;
        }
        if self.draws.percent(habits.look_at_history) {
            let _ = self.look_at_history().await;
        }
        if self.draws.percent(habits.change_seed) {
            let _ = self.change_seed().await;
        }
        if self.draws.percent(habits.launch_again) {
            let _ = self.launch().await;
        }
    }
}

/// How much went wrong in one round.
#[derive(Default)]
pub struct Troubles(u32);

impl Troubles {
    fn are_bearable(&mut self) -> bool {
        self.0 += 1;
        self.0 <= MOST_TROUBLES
    }
}
