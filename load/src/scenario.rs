//! Scenarios: what players do and in which stages, as TOML files that read like a plan (see `load/scenarios`).
//!
//! Everything in them is bounded, so that no run goes on for ever or asks for more than one machine gives.

use std::collections::BTreeMap;
use std::path::Path;

use faircross::game::difficulty::Difficulty;
use serde::Deserialize;

use crate::Failure;
use crate::draws::Draws;

/// The scenarios that come with the tool.
const BUILT_IN: [(&str, &str); 5] = [
    ("standard", include_str!("../scenarios/standard.toml")),
    ("smoke", include_str!("../scenarios/smoke.toml")),
    ("round", include_str!("../scenarios/round.toml")),
    ("ramp", include_str!("../scenarios/ramp.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
];
const LONGEST_STAGE_S: u64 = 3_600;
const MOST_PLAYERS: usize = 10_000;
const MOST_ROUNDS_PER_S: f64 = 10_000.0;
const MOST_BURSTS: u32 = 100;

/// A plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub title: String,
    pub play: Play,
    pub habits: Habits,
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

/// What players play.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PlayText")]
pub struct Play {
    /// Drawn with equal chance; repeat one to make it likelier.
    stakes: Vec<String>,
    /// With weights.
    difficulties: Vec<(Difficulty, u32)>,
    /// How many lanes a player means to cross, with weights.
    lanes: Vec<(i16, u32)>,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayText {
    stakes: Vec<String>,
    difficulties: BTreeMap<String, u32>,
    lanes: BTreeMap<String, u32>,
}

/// What players do besides, in percent of their rounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habits {
    pub look_at_balance: u32,
    pub look_at_history: u32,
    /// Asks for the bet and recomputes the whole round.
    pub check_proof: u32,
    /// Cashes out once more after the end, which must change nothing.
    pub repeat_the_end: u32,
    pub change_seed: u32,
    /// Drops the connection while the round is open and finds the round again.
    pub reconnect_in_round: u32,
    /// Comes back through a new launch link.
    pub launch_again: u32,
}

/// One part of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Stage {
    /// So many players, each of whom acts as soon as the answer before is there.
    Closed {
        name: String,
        players: usize,
        seconds: u64,
        /// A pause before each action, in milliseconds.
        #[serde(default)]
        pause_ms: u64,
        /// Players join one by one over the whole stage.
        #[serde(default)]
        ramp: bool,
    },
    /// Rounds begin at fixed instants, however slow the answers are. Latencies count from the intended instants.
    Open {
        name: String,
        /// How many players take turns; one with an open round cannot begin another.
        players: usize,
        rounds_per_s: f64,
        /// The rate grows to this over the stage.
        ramp_to: Option<f64>,
        /// A round's actions are due so long after each other.
        pace_ms: u64,
        seconds: u64,
    },
    /// All players bet at one instant, then all step at one instant, then all cash out at one instant.
    Burst { name: String, players: usize, times: u32 },
}

impl Stage {
    pub fn name(&self) -> &str {
        match self {
            Self::Closed { name, .. } | Self::Open { name, .. } | Self::Burst { name, .. } => name,
        }
    }

    pub fn players(&self) -> usize {
        match self {
            Self::Closed { players, .. } | Self::Open { players, .. } | Self::Burst { players, .. } => *players,
        }
    }

    /// How long it is meant to last; a burst takes what it takes.
    pub fn seconds(&self) -> Option<u64> {
        match self {
            Self::Closed { seconds, .. } | Self::Open { seconds, .. } => Some(*seconds),
            Self::Burst { .. } => None,
        }
    }

    fn is_bounded(&self) -> bool {
        let rates_are_bounded = match self {
            Self::Open { rounds_per_s, ramp_to, .. } => [*rounds_per_s, ramp_to.unwrap_or(*rounds_per_s)]
                .iter()
                .all(|rate| *rate > 0.0 && *rate <= MOST_ROUNDS_PER_S),
            Self::Burst { times, .. } => (1..=MOST_BURSTS).contains(times),
            Self::Closed { .. } => true,
        };
        rates_are_bounded
            && (1..=MOST_PLAYERS).contains(&self.players())
            && self.seconds().is_none_or(|seconds| (1..=LONGEST_STAGE_S).contains(&seconds))
    }
}

/// What a player means to do in one round.
#[derive(Clone, Debug)]
pub struct Plan {
    pub stake: String,
    pub difficulty: Difficulty,
    /// After so many safe lanes the player cashes out.
    pub lanes: i16,
}

impl Scenario {
    /// Takes a built-in scenario by name, or reads a file.
    ///
    /// # Errors
    /// When there is no such scenario, or it breaks a rule; the message says which.
    pub fn load(name_or_file: &str) -> Result<Self, Failure> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == name_or_file);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(Path::new(name_or_file)).map_err(|error| {
                let names = BUILT_IN.map(|(name, _)| name).join(", ");
                format!("the scenario {name_or_file} is neither built in ({names}) nor a file that can be read: {error}")
            })?,
        };
        let scenario: Self = toml::from_str(&text).map_err(|error| format!("the scenario {name_or_file}: {error}"))?;
        scenario.check().map_err(|error| format!("the scenario {name_or_file}: {error}"))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        if self.stages.is_empty() {
            return Err("it has no stage".to_owned());
        }
        if let Some(stage) = self.stages.iter().find(|stage| !stage.is_bounded()) {
            return Err(format!(
                "{}: at most {LONGEST_STAGE_S} s, {MOST_PLAYERS} players, {MOST_ROUNDS_PER_S} rounds/s and {MOST_BURSTS} bursts, and none of them 0",
                stage.name()
            ));
        }
        Ok(())
    }

    pub fn most_players(&self) -> usize {
        self.stages.iter().map(Stage::players).max().unwrap_or(1)
    }
}

impl Play {
    /// What the next round is to be.
    pub fn plan(&self, draws: &mut Draws) -> Plan {
        Plan {
            stake: self.stakes[draws.below(self.stakes.len())].clone(),
            difficulty: *draws.weighted(&self.difficulties),
            lanes: *draws.weighted(&self.lanes),
        }
    }
}

impl TryFrom<PlayText> for Play {
    type Error = String;

    fn try_from(text: PlayText) -> Result<Self, String> {
        let lanes: Vec<(i16, u32)> = weights("lanes", &text.lanes)?;
        if lanes.iter().any(|(lane, _)| *lane < 1) {
            return Err("lanes: a player crosses at least one before cashing out".to_owned());
        }
        if text.stakes.is_empty() {
            return Err("stakes: there is none".to_owned());
        }
        Ok(Self {
            difficulties: weights("difficulties", &text.difficulties)?,
            stakes: text.stakes,
            lanes,
        })
    }
}

fn weights<T: std::str::FromStr>(field: &str, texts: &BTreeMap<String, u32>) -> Result<Vec<(T, u32)>, String> {
    let read = |(text, weight): (&String, &u32)| text.parse().map(|value| (value, *weight)).map_err(|_| format!("{field}: {text}"));
    let weights: Vec<(T, u32)> = texts.iter().map(read).collect::<Result<_, _>>()?;
    if weights.iter().all(|(_, weight)| *weight == 0) {
        return Err(format!("{field}: all weights are 0"));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_can_be_read() {
        for (name, _) in BUILT_IN {
            let scenario = Scenario::load(name).expect(name);
            let plan = scenario.play.plan(&mut Draws::new(1, 1));
            assert!(plan.lanes >= 1);
        }
    }

    #[test]
    fn an_unbounded_stage_is_refused_by_name() {
        let endless = BUILT_IN[1].1.replacen("seconds = 3", "seconds = 86400", 1);
        let scenario: Scenario = toml::from_str(&endless).expect("it can be read");
        assert!(scenario.check().expect_err("refused").contains("8 players"));
    }
}
