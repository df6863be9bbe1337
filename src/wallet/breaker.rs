//! When an operator is left alone, and how many retries it bears. Both follow from the latest calls that were made to it: after
//! most of them got no readable answer none is made for a moment, then a few on trial decide; while half of them were not
//! carried out, retries come on top of first sends only within a budget, so that a crowd of them does not keep it down.
//!
//! Only what the operator did counts. A call that waited for its turn, or that we withheld, says nothing about it; nor does a
//! readable answer that came late but in time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// What a first send adds to the budget of retries, and what a retry takes from it: at most one retry for ten first sends.
const FIRST_SEND_ADDS: u32 = 1;
const RETRY_TAKES: u32 = 10;
/// The budget with which everybody begins, and the most that is saved up: a burst after a good time.
const SAVED_RETRIES: u32 = 20;
/// Without first sends retries go on at this pace, so that a recovery is noticed within seconds.
const TRICKLE_EVERY: Duration = Duration::from_millis(500);

/// What one call says about the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did what was asked, or said that it will not.
    Done,
    /// It answered readably, and nothing is proven.
    Unproven,
    /// It was not reached, or did not answer readably.
    Failed,
}

/// When it opens and closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many of the latest calls are looked at.
    pub calls: usize,
    /// It opens when at least this share of them failed, in percent.
    pub failures_percent: usize,
    pub open_for: Duration,
    /// So many calls are made on trial; most of them decide.
    pub trial_calls: usize,
}

/// One operator's breaker; clones are the same one.
#[derive(Clone)]
pub(super) struct Breaker {
    limits: Limits,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    phase: Phase,
    /// Changes with the phase: the result of a call that began in an earlier one says nothing about this one.
    era: u64,
    latest: VecDeque<Verdict>,
    /// Whether it closed after a trial and a whole row has not come yet: a few answers are no recovery.
    is_recovering: bool,
    /// In parts of a retry, see [`RETRY_TAKES`].
    budget: u32,
    trickled: Instant,
}

enum Phase {
    Closed,
    Open { until: Instant },
    Trial { under_way: usize, answered: usize, failed: usize },
}

/// The right to make calls that were made before. What is left of it goes back when it is dropped: calls that were not made after
/// all, or that the operator took, cost it nothing.
pub struct Retries {
    breaker: Breaker,
    count: usize,
    is_budgeted: bool,
}

/// The right to make one call. Given back without a verdict when it is dropped: the call was not made.
pub(super) struct Pass {
    breaker: Breaker,
    era: u64,
    reported: bool,
}

impl Breaker {
    pub fn new(limits: Limits, clock: Clock) -> Self {
        let state = State {
            phase: Phase::Closed,
            era: 0,
            latest: VecDeque::with_capacity(limits.calls),
            is_recovering: false,
            budget: SAVED_RETRIES * RETRY_TAKES,
            trickled: clock.monotonic(),
        };
        Self {
            limits,
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets one call through.
    ///
    /// # Errors
    /// For how long none is let through.
    pub fn enter(&self) -> Result<Pass, Duration> {
        let mut state = self.locked();
        self.leave_alone_or_try(&mut state)?;
        if let Phase::Trial { under_way, .. } = &mut state.phase {
            *under_way += 1;
        }
        Ok(Pass {
            breaker: self.clone(),
            era: state.era,
            reported: false,
        })
    }

    /// Whether a call could be made now.
    ///
    /// # Errors
    /// For how long none is let through.
    fn leave_alone_or_try(&self, state: &mut State) -> Result<(), Duration> {
        if let Phase::Open { until } = state.phase {
            let left = until.saturating_duration_since(self.clock.monotonic());
            if !left.is_zero() {
                return Err(left);
            }
            state.begin(Phase::Trial {
                under_way: 0,
                answered: 0,
                failed: 0,
            });
        }
        match state.phase {
            Phase::Trial { .. } if self.free_trials(state) == 0 => Err(self.limits.open_for.min(Duration::from_secs(1))),
            Phase::Trial { .. } | Phase::Closed | Phase::Open { .. } => Ok(()),
        }
    }

    fn free_trials(&self, state: &State) -> usize {
        match state.phase {
            Phase::Trial {
                under_way,
                answered,
                failed,
            } => self.limits.trial_calls.saturating_sub(under_way + answered + failed),
            Phase::Closed | Phase::Open { .. } => self.limits.trial_calls,
        }
    }

    /// Takes up to `wanted` retries out of the budget. Those that are not made go back by themselves.
    pub fn take_retries(&self, wanted: usize) -> Retries {
        let mut state = self.locked();
        let free = |count| Retries {
            breaker: self.clone(),
            count,
            is_budgeted: false,
        };
        if self.leave_alone_or_try(&mut state).is_err() {
            return free(0);
        }
        if matches!(state.phase, Phase::Trial { .. }) {
            return free(wanted.min(self.free_trials(&state)));
        }
        if !self.is_failing(&state) {
            return free(wanted);
        }
        if state.budget < RETRY_TAKES && self.clock.elapsed_since(state.trickled) >= TRICKLE_EVERY {
            state.trickled = self.clock.monotonic();
            state.budget = RETRY_TAKES;
        }
        let taken = wanted.min((state.budget / RETRY_TAKES) as usize);
        state.budget -= u32::try_from(taken).unwrap_or(0) * RETRY_TAKES;
        Retries {
            breaker: self.clone(),
            count: taken,
            is_budgeted: true,
        }
    }

    /// A message is sent for the first time.
    pub fn note_first_send(&self) {
        self.locked().add(FIRST_SEND_ADDS);
    }

    /// Half of the latest calls were not carried out, or too few are known since it was left alone.
    fn is_failing(&self, state: &State) -> bool {
        if state.is_recovering {
            return true;
        }
        let bad = state.latest.iter().filter(|verdict| **verdict != Verdict::Done).count();
        state.latest.len() >= self.limits.calls && bad * 2 >= self.limits.calls
    }

    fn judge(&self, era: u64, verdict: Verdict) {
        let mut state = self.locked();
        if state.era != era {
            return;
        }
        let open = Phase::Open {
            until: self.clock.monotonic() + self.limits.open_for,
        };
        match &mut state.phase {
            Phase::Open { .. } => {}
            Phase::Trial {
                under_way,
                answered,
                failed,
            } => {
                *under_way = under_way.saturating_sub(1);
                let is_last = *answered + *failed + 1 >= self.limits.trial_calls;
                let counted = if verdict == Verdict::Failed { failed } else { answered };
                *counted += 1;
                let most = *counted * 2 > self.limits.trial_calls;
                match (most, verdict) {
                    (true, Verdict::Failed) => state.begin(open),
                    (true, _) => {
                        state.begin(Phase::Closed);
                        state.is_recovering = true;
                    }
                    // As many failed as were answered: nothing more is tried, and nothing is proven.
                    (false, _) if is_last => state.begin(open),
                    (false, _) => {}
                }
            }
            Phase::Closed => {
                if state.latest.len() >= self.limits.calls {
                    state.latest.pop_front();
                }
                state.latest.push_back(verdict);
                state.is_recovering &= state.latest.len() < self.limits.calls;
                let failed = state.latest.iter().filter(|verdict| **verdict == Verdict::Failed).count();
                if state.latest.len() >= self.limits.calls && failed * 100 >= self.limits.failures_percent * self.limits.calls {
                    state.begin(open);
                }
            }
        }
    }

    /// A call that had the right to be made was not.
    fn release(&self, era: u64) {
        let mut state = self.locked();
        if state.era == era
            && let Phase::Trial { under_way, .. } = &mut state.phase
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
        self.latest.clear();
        self.is_recovering = false;
    }

    fn add(&mut self, parts: u32) {
        self.budget = self.budget.saturating_add(parts).min(SAVED_RETRIES * RETRY_TAKES);
    }
}

impl Retries {
    /// How many may be made.
    pub fn count(&self) -> usize {
        self.count
    }

    /// One of them, for one call.
    pub fn one(&mut self) -> Self {
        let count = self.count.min(1);
        self.count -= count;
        Self {
            breaker: self.breaker.clone(),
            count,
            is_budgeted: self.is_budgeted,
        }
    }

    /// They were made, and the operator did not carry them out: that is what they cost.
    pub fn spend(mut self) {
        self.count = 0;
    }
}

impl Drop for Retries {
    fn drop(&mut self) {
        if self.is_budgeted {
            let parts = u32::try_from(self.count).unwrap_or(SAVED_RETRIES).min(SAVED_RETRIES) * RETRY_TAKES;
            self.breaker.locked().add(parts);
        }
    }
}

impl Pass {
    /// What the call says about the operator.
    pub fn report(mut self, verdict: Verdict) {
        self.reported = true;
        self.breaker.judge(self.era, verdict);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.reported {
            self.breaker.release(self.era);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a test takes.
    const LONG: Duration = Duration::from_secs(3_600);

    fn breaker(open_for: Duration) -> Breaker {
        let limits = Limits {
            calls: 10,
            failures_percent: 60,
            open_for,
            trial_calls: 3,
        };
        Breaker::new(limits, Clock::default())
    }

    fn call(breaker: &Breaker, verdict: Verdict) {
        breaker.enter().expect("let through").report(verdict);
    }

    #[test]
    fn it_opens_only_when_most_of_a_whole_row_failed() {
        let breaker = breaker(LONG);
        for _ in 0..9 {
            call(&breaker, Verdict::Failed);
        }
        drop(breaker.enter().expect("nine of ten are no row"));
        call(&breaker, Verdict::Failed);
        assert!(breaker.enter().is_err_and(|left| left > LONG / 2));

        let breaker = self::breaker(LONG);
        for _ in 0..40 {
            call(&breaker, Verdict::Failed);
            call(&breaker, Verdict::Done);
            call(&breaker, Verdict::Unproven);
        }
        assert!(breaker.enter().is_ok(), "a third is not most");
    }

    #[test]
    fn a_few_calls_on_trial_decide_and_no_more_are_made_meanwhile() {
        for (verdict, closes) in [(Verdict::Done, true), (Verdict::Unproven, true), (Verdict::Failed, false)] {
            let breaker = breaker(Duration::ZERO);
            for _ in 0..10 {
                call(&breaker, Verdict::Failed);
            }
            let mut trials: Vec<Pass> = (0..3).map(|_| breaker.enter().expect("a trial")).collect();
            assert!(breaker.enter().is_err(), "three are under way");
            // One was not made after all; its place is free again.
            drop(trials.pop());
            trials.push(breaker.enter().expect("a trial"));
            let last = trials.pop();
            trials.into_iter().for_each(|trial| trial.report(verdict));
            assert_eq!(matches!(breaker.locked().phase, Phase::Closed), closes, "{verdict:?}");
            // What began on trial and ends afterwards says nothing about the time after it.
            let era = breaker.locked().era;
            last.expect("the third").report(Verdict::Failed);
            let state = breaker.locked();
            assert_eq!((state.era, state.latest.len()), (era, 0));
        }
    }

    #[test]
    fn retries_take_a_tenth_of_first_sends_while_half_is_not_carried_out() {
        let breaker = breaker(LONG);
        assert_eq!(breaker.take_retries(1_000).count(), 1_000, "nothing is known against it");
        for _ in 0..10 {
            call(&breaker, Verdict::Unproven);
        }
        let saved = breaker.take_retries(1_000);
        assert_eq!(saved.count(), SAVED_RETRIES as usize);
        saved.spend();
        breaker.locked().trickled = Clock::default().monotonic() + LONG;
        assert_eq!(breaker.take_retries(1_000).count(), 0, "all is used up");
        for _ in 0..100 {
            breaker.note_first_send();
        }
        let mut taken = breaker.take_retries(1_000);
        assert_eq!(taken.count(), 10);
        for _ in 0..6 {
            taken.one().spend();
        }
        drop(taken);
        let rest = breaker.take_retries(1_000);
        assert_eq!(rest.count(), 4, "what was not made");
        rest.spend();
        breaker.locked().trickled = Clock::default().monotonic() - TRICKLE_EVERY;
        let trickled = breaker.take_retries(1_000);
        assert_eq!(trickled.count(), 1, "without first sends they trickle");
        trickled.spend();
        for _ in 0..6 {
            call(&breaker, Verdict::Done);
        }
        assert_eq!(breaker.take_retries(1_000).count(), 1_000, "it has recovered");
    }

    #[test]
    fn no_retry_is_claimed_for_an_operator_that_is_left_alone() {
        let breaker = breaker(LONG);
        for _ in 0..10 {
            call(&breaker, Verdict::Failed);
        }
        assert_eq!(breaker.take_retries(64).count(), 0);
        breaker.locked().phase = Phase::Open {
            until: Clock::default().monotonic(),
        };
        assert_eq!(breaker.take_retries(64).count(), 3, "as many as are tried");
    }

    #[test]
    fn two_answers_are_no_recovery() {
        let breaker = breaker(Duration::ZERO);
        for _ in 0..10 {
            call(&breaker, Verdict::Failed);
        }
        for _ in 0..2 {
            call(&breaker, Verdict::Done);
        }
        assert!(matches!(breaker.locked().phase, Phase::Closed));
        assert_eq!(
            breaker.take_retries(1_000).count(),
            SAVED_RETRIES as usize,
            "a crowd would bring it down again"
        );
        for _ in 0..10 {
            call(&breaker, Verdict::Done);
        }
        assert_eq!(breaker.take_retries(1_000).count(), 1_000);
    }

    #[test]
    fn a_trial_that_comes_out_even_leaves_the_operator_alone_for_once_more() {
        let limits = Limits {
            trial_calls: 2,
            ..breaker(LONG).limits
        };
        let breaker = Breaker::new(limits, Clock::default());
        breaker.locked().phase = Phase::Open {
            until: Clock::default().monotonic(),
        };
        call(&breaker, Verdict::Done);
        call(&breaker, Verdict::Failed);
        assert!(matches!(breaker.locked().phase, Phase::Open { .. }));
    }
}
