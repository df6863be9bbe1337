//! What is measured: latencies per action, errors by code, and what happened in which second.
//!
//! A latency counts from the instant at which the action was meant to begin. Every answer is in the histogram, also an error's,
//! and so is the wait for an answer that never came: a stall hides nowhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What a player or the tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Bet,
    SafeStep,
    EndingStep,
    CashOut,
    RepeatedEnd,
    Session,
    History,
    Proof,
    Balance,
    ChangeSeed,
    Hazards,
    CreateMember,
    Launch,
    SignIn,
    TransactionStatus,
}

impl Action {
    pub const ALL: [Self; 15] = [
        Self::Bet,
        Self::SafeStep,
        Self::EndingStep,
        Self::CashOut,
        Self::RepeatedEnd,
        Self::Session,
        Self::History,
        Self::Proof,
        Self::Balance,
        Self::ChangeSeed,
        Self::Hazards,
        Self::CreateMember,
        Self::Launch,
        Self::SignIn,
        Self::TransactionStatus,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bet => "bet",
            Self::SafeStep => "step (safe)",
            Self::EndingStep => "step (ends)",
            Self::CashOut => "cash-out",
            Self::RepeatedEnd => "repeated end",
            Self::Session => "session",
            Self::History => "history",
            Self::Proof => "proof",
            Self::Balance => "balance",
            Self::ChangeSeed => "change seed",
            Self::Hazards => "hazards",
            Self::CreateMember => "createMember",
            Self::Launch => "launch",
            Self::SignIn => "sign-in",
            Self::TransactionStatus => "getTransactionStatus",
        }
    }
}

/// From a microsecond to two minutes with three digits.
const HIGHEST_US: u64 = 120_000_000;

/// One action's figures.
#[derive(Clone)]
pub struct Measured {
    pub latencies_us: Histogram<u64>,
    pub errors: BTreeMap<String, u64>,
}

impl Measured {
    pub fn new() -> Self {
        Self {
            latencies_us: Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("the bounds are right"),
            errors: BTreeMap::new(),
        }
    }

    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// One second of a stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub answers: u64,
    pub rounds: u64,
    pub errors: u64,
}

/// A stage's figures, from its start on.
#[derive(Clone)]
pub struct Recorder {
    started: Instant,
    pub actions: BTreeMap<Action, Measured>,
    pub seconds: Vec<Second>,
    pub rounds: u64,
    /// Rounds that were due and never began, because all players were busy until the stage was over.
    pub never_started: u64,
    /// Rounds whose end the player could not learn.
    pub abandoned: u64,
    /// How late this tool's own timer woke for actions that were due.
    pub timer_late_us: Histogram<u64>,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            actions: BTreeMap::new(),
            seconds: Vec::new(),
            rounds: 0,
            never_started: 0,
            abandoned: 0,
            timer_late_us: Measured::new().latencies_us,
        }
    }

    /// Notes an answer now. `error` is its code, if it was one.
    pub fn note(&mut self, action: Action, begun: Instant, error: Option<&str>) {
        let measured = self.actions.entry(action).or_insert_with(Measured::new);
        measured.latencies_us.saturating_record(micros(begun.elapsed()));
        if let Some(code) = error {
            *measured.errors.entry(code.to_owned()).or_default() += 1;
        }
        let second = self.second();
        second.answers += 1;
        second.errors += u64::from(error.is_some());
    }

    pub fn note_round(&mut self) {
        self.rounds += 1;
        self.second().rounds += 1;
    }

    pub fn note_timer(&mut self, late: Duration) {
        self.timer_late_us.saturating_record(micros(late));
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn errors(&self) -> u64 {
        self.actions.values().map(Measured::errors).sum()
    }

    /// A percentile of an action's latencies in milliseconds, if there were any.
    pub fn percentile_ms(&self, action: Action, percentile: f64) -> Option<f64> {
        let measured = self.actions.get(&action).filter(|measured| !measured.latencies_us.is_empty())?;
        Some(milliseconds(measured.latencies_us.value_at_percentile(percentile)))
    }

    fn second(&mut self) -> &mut Second {
        let index = usize::try_from(self.started.elapsed().as_secs()).unwrap_or(usize::MAX);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}
