//! What all players share: where the servers are, the operator's name and certificate, the epoch that everybody sees, the
//! configurations, the scenario, and where things are written down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use faircross::game::configuration::GameConfiguration;

use crate::Failure;
use crate::answers::{Fairness, Hazards};
use crate::checks::Violation;
use crate::connection::{Connection, Question};
use crate::recorder::{Action, Recorder};
use crate::scenario::Scenario;
use crate::transcript::Transcript;

/// So often the public road is looked at, as a client's page does.
const LOOK_AT_ROAD_EVERY: Duration = Duration::from_millis(500);
/// So many broken rules are kept word for word.
const KEPT_VIOLATIONS: usize = 20;

/// The operator whose players play.
#[derive(Clone, Debug)]
pub struct Operator {
    pub agent_id: String,
    pub certificate: String,
    pub currency: String,
}

/// Shared by everybody.
pub struct World {
    pub servers: Vec<SocketAddr>,
    pub operator: Operator,
    pub scenario: Scenario,
    pub seed: u64,
    /// Stands in every player's name, so that runs against one server do not meet.
    pub run: String,
    pub transcript: Transcript,
    epoch: AtomicU64,
    configurations: Mutex<BTreeMap<i32, Arc<GameConfiguration>>>,
    /// Epochs with their links and anchors that were found to belong together.
    links: Mutex<BTreeSet<(u64, String, String)>>,
    recorder: Mutex<Recorder>,
    violations: Mutex<(u64, Vec<String>)>,
}

impl World {
    pub fn new(servers: Vec<SocketAddr>, operator: Operator, scenario: Scenario, seed: u64, run: String, transcript: Transcript) -> Self {
        Self {
            servers,
            operator,
            scenario,
            seed,
            run,
            transcript,
            epoch: AtomicU64::new(0),
            configurations: Mutex::default(),
            links: Mutex::default(),
            recorder: Mutex::new(Recorder::new()),
            violations: Mutex::default(),
        }
    }

    /// The figures of the stage that runs.
    pub fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().expect("nobody panicked while noting")
    }

    /// Begins new figures and gives those so far.
    pub fn next_recorder(&self) -> Recorder {
        std::mem::replace(&mut *self.recorder(), Recorder::new())
    }

    /// Notes a broken rule.
    pub fn note(&self, checked: Result<(), Violation>, user_id: &str) {
        if let Err(Violation(text)) = checked {
            let mut violations = self.violations.lock().expect("nobody panicked while noting");
            violations.0 += 1;
            if violations.1.len() < KEPT_VIOLATIONS {
                violations.1.push(format!("{user_id}: {text}"));
            }
        }
    }

    /// How many rules were broken, and the first of them.
    pub fn violations(&self) -> (u64, Vec<String>) {
        self.violations.lock().expect("nobody panicked while noting").clone()
    }

    /// Whether this link of the day's chain was already followed up to this anchor.
    pub fn knows_link(&self, fairness: &Fairness) -> bool {
        self.links.lock().expect("nobody panicked while noting").contains(&link(fairness))
    }

    pub fn remember_link(&self, fairness: &Fairness) {
        self.links.lock().expect("nobody panicked while noting").insert(link(fairness));
    }

    /// The epoch that everybody sees.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Looks at the public road now.
    pub async fn look_at_road(&self, connection: &mut Connection) {
        let begun = Instant::now();
        let answer = connection.ask(Question::get("/api/hazards/EASY", None)).await;
        let seen = answer.ok().and_then(|answer| serde_json::from_slice::<Hazards>(&answer.body).ok());
        let error = seen.is_none().then_some("unreadable");
        self.recorder().note(Action::Hazards, begun, error);
        if let Some(hazards) = seen {
            self.epoch.fetch_max(hazards.epoch, Ordering::Relaxed);
        }
    }

    /// Looks at the public road for as long as it is polled, at one server after another.
    pub async fn watch_road(&self) {
        let mut connections: Vec<Connection> = self.servers.iter().map(|server| Connection::new(*server)).collect();
        let mut ticks = tokio::time::interval(LOOK_AT_ROAD_EVERY);
        loop {
            for connection in &mut connections {
                ticks.tick().await;
                self.look_at_road(connection).await;
            }
        }
    }

    /// A version of the rules, read from the server at its first use.
    pub async fn configuration(&self, version: i32) -> Result<Arc<GameConfiguration>, Failure> {
        if let Some(known) = self.known_configuration(version) {
            return Ok(known);
        }
        let server = *self.servers.first().ok_or("there is no server")?;
        let path = format!("/api/fairness/config/{version}");
        let answer = Connection::new(server).ask(Question::get(&path, None)).await?;
        let configuration = Arc::new(GameConfiguration::parse(&answer.body)?);
        self.configurations
            .lock()
            .expect("nobody panicked while noting")
            .insert(version, Arc::clone(&configuration));
        Ok(configuration)
    }

    fn known_configuration(&self, version: i32) -> Option<Arc<GameConfiguration>> {
        self.configurations
            .lock()
            .expect("nobody panicked while noting")
            .get(&version)
            .cloned()
    }
}

fn link(fairness: &Fairness) -> (u64, String, String) {
    (fairness.hazard_epoch, fairness.hazard_seed.clone(), fairness.anchor.clone())
}
