//! What every flow is handed: the settings, the three stores it may speak to, the clock and chance, and the caches that spare
//! a query per bet. Nothing here is the only copy of anything.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::game::configuration::{ConfigurationError, GameConfiguration};
use crate::game::hazards::Chain;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::agents::Agent;
use crate::ledger::sealing::Sealing;
use crate::ledger::{Ledger, LedgerError, LedgerSettings, agents, configurations};
use crate::live::{Live, LiveError, LiveSettings, RateLimit};
use crate::play::deliver::Deliveries;
use crate::play::kept_answers::{ABSENT_FOR, KeptAnswers};
use crate::play::known_rounds::KnownRounds;
use crate::play::leases::Leases;
use crate::play::record_mark::{self, Watch};
use crate::play::under_way::Tasks;
use crate::settings::{Secrets, Settings};
use crate::wallet::message::GamePayload;
use crate::wallet::{AgentEndpoint, BodyEncoding, WalletClient, WalletClientError, WalletSettings};

/// Who is asking, as their session token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Player {
    pub id: PlayerId,
    pub currency: String,
    /// The sign-in that the token belongs to.
    pub generation: u64,
}

/// Everything a flow needs. Always shared.
pub struct Context {
    pub settings: Settings,
    pub secrets: Secrets,
    pub clock: Clock,
    pub chance: Chance,
    pub ledger: Ledger,
    pub live: Live,
    pub wallet: WalletClient,
    pub sealing: Sealing,
    pub payload: GamePayload,
    /// The configuration under which new rounds begin.
    pub configuration: Arc<Configuration>,
    /// Work that goes on when its request is gone; awaited when the server drains.
    pub tasks: Tasks,
    /// The server is about to end: balancers are told so, and everything is still served.
    pub draining: CancellationToken,
    /// Nothing new begins: jobs claim no more, idle connections are closed.
    pub shutdown: CancellationToken,
    /// What open rounds pin, as far as this server has met them.
    pub known_rounds: KnownRounds,
    /// Whether the record is the one that was in use.
    pub record_watch: Watch,
    /// What strangers ask for again and again, kept for a moment.
    pub kept: KeptAnswers,
    /// Bounds the calls from the outbox in flight.
    pub deliveries: Deliveries,
    /// The rows of the outbox that this server is sending.
    pub leases: Leases,
    configurations: RwLock<HashMap<i32, Arc<Configuration>>>,
    agents: RwLock<HashMap<AgentId, Arc<Agent>>>,
    chains: RwLock<HashMap<u64, Arc<Chain>>>,
    /// When each signed-in user was last heard of, until the next job writes it to Redis.
    activity: std::sync::Mutex<HashMap<AgentId, HashMap<UserId, u64>>>,
}

/// A configuration with the version under which the record knows it.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub version: i32,
    pub game: GameConfiguration,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the record: {0}")]
    Ledger(#[from] LedgerError),
    #[error("Redis: {0}")]
    Live(#[from] LiveError),
    #[error("the wallet client: {0}")]
    Wallet(#[from] WalletClientError),
    #[error("game.configuration_file: {0}")]
    ConfigurationFile(std::io::Error),
    #[error("the game configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    #[error("{0}")]
    Settings(#[from] crate::settings::SettingsError),
    #[error("the migrations {missing:?} are missing; run `faircross migrate`")]
    Migrations { missing: Vec<i64> },
    #[error("{0}")]
    RecordForbidsPlay(record_mark::Verdict),
}

impl Context {
    /// Connects to everything, and makes sure that the record knows the configuration under which this server plays. The runtime
    /// on which this is called is the main one.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or is not migrated, or a setting or the configuration is wrong. Redis may be down.
    pub async fn start(settings: Settings, secrets: Secrets) -> Result<Arc<Self>, StartError> {
        let ledger = Ledger::connect(&ledger_settings(&settings)?)?;
        ledger.check_sessions().await?;
        let missing = ledger.missing_migrations().await?;
        if !missing.is_empty() {
            return Err(StartError::Migrations { missing });
        }
        let game = read_configuration(&settings)?;
        let version = ledger
            .run(async |connection| configurations::ensure(connection, game.bytes(), game.hash()).await)
            .await?;
        let configuration = Arc::new(Configuration { version, game });
        let clock = Clock::with_offset_ms(settings.clock.offset_ms);
        let live = Live::connect(&LiveSettings {
            url: settings.redis.required_url()?.clone(),
            tls: settings.redis.tls_files(),
            command_timeout_ms: settings.redis.command_timeout_ms,
            locks_enabled: settings.redis.locks,
        })?;
        let payload = game_payload(&settings);
        let context = Arc::new(Self {
            wallet: WalletClient::new(wallet_settings(&settings), clock)?,
            sealing: Sealing::new(secrets.sealing_key.expose_secret(), Chance),
            secrets,
            clock,
            chance: Chance,
            ledger,
            live,
            payload,
            configurations: RwLock::new(HashMap::from([(version, Arc::clone(&configuration))])),
            configuration,
            tasks: Tasks::on_this_runtime(),
            draining: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            known_rounds: KnownRounds::default(),
            record_watch: Watch::default(),
            kept: KeptAnswers::new(clock),
            deliveries: Deliveries::default(),
            leases: Leases::default(),
            agents: RwLock::default(),
            chains: RwLock::default(),
            activity: std::sync::Mutex::default(),
            settings,
        });
        context.refuse_older_copy().await?;
        context.refresh_agents().await?;
        // Calls are made on this runtime.
        context.wallet.prepare_here();
        Ok(context)
    }

    /// A record that lacks what was in it before is not played on. Without Redis there is nothing to compare it with.
    async fn refuse_older_copy(&self) -> Result<(), StartError> {
        let marked = match self.live.record_mark().await {
            Ok(marked) => marked,
            Err(error) => {
                tracing::warn!(%error, "Redis cannot be asked how far PostgreSQL had come; if PostgreSQL was restored, run `faircross restore`");
                None
            }
        };
        let (verdict, standing) = match record_mark::judge(&self.ledger, &self.live, marked.as_ref()).await {
            Ok(judged) => judged,
            Err(record_mark::WatchError::Ledger(error)) => return Err(error.into()),
            Err(record_mark::WatchError::Live(error)) => {
                tracing::warn!(%error, "Redis cannot be asked whether PostgreSQL lost bets; the first sweep asks again");
                return Ok(());
            }
        };
        match verdict {
            record_mark::Verdict::Fits => {}
            // Before the first bet there is nothing to mark.
            record_mark::Verdict::NoMark if standing.sequence == 0 => {}
            record_mark::Verdict::NoMark | record_mark::Verdict::OtherSystem { .. } | record_mark::Verdict::OtherTimeline { .. } => {
                tracing::warn!("{verdict}");
            }
            record_mark::Verdict::Behind { .. } | record_mark::Verdict::RestoreUnfinished => {
                return Err(StartError::RecordForbidsPlay(verdict));
            }
        }
        Ok(())
    }

    /// Starts work that goes on when its request is gone, see [`Tasks::spawn`].
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// How often one player may ask.
    pub fn rate_limit(&self) -> RateLimit {
        RateLimit {
            requests: self.settings.rate_limit.requests,
            window_ms: self.settings.rate_limit.window_ms,
        }
    }

    /// A configuration by its version, read once and kept.
    ///
    /// # Errors
    /// When the record does not have it or cannot be asked.
    pub async fn configuration(&self, version: i32) -> Result<Option<Arc<Configuration>>, LedgerError> {
        if let Some(known) = self.known_configuration(version) {
            return Ok(Some(known));
        }
        let content = self
            .ledger
            .run(async |connection| configurations::content(connection, version).await)
            .await?;
        let Some(content) = content else { return Ok(None) };
        let game = GameConfiguration::parse(&content).map_err(|_| LedgerError::Unreadable {
            what: "game_configurations.content",
        })?;
        let configuration = Arc::new(Configuration { version, game });
        self.configurations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(version, Arc::clone(&configuration));
        Ok(Some(configuration))
    }

    /// A configuration that was read before.
    pub fn known_configuration(&self, version: i32) -> Option<Arc<Configuration>> {
        let known = self.configurations.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&version).map(Arc::clone)
    }

    /// A configuration that was read before, by the SHA-256 of its bytes.
    pub fn known_configuration_of(&self, hash: &str) -> Option<Arc<Configuration>> {
        let known = self.configurations.read().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .find(|configuration| configuration.game.hash() == hash)
            .map(Arc::clone)
    }

    /// An agent, from the cache or the record. Names that are not known are asked for a few times a second and no more, whoever
    /// asks: an agent that was just added is in the cache within five seconds at the latest.
    ///
    /// # Errors
    /// When the record cannot be asked.
    pub async fn agent(&self, agent_id: &AgentId) -> Result<Option<Arc<Agent>>, LedgerError> {
        if let Some(known) = self.agents.read().unwrap_or_else(PoisonError::into_inner).get(agent_id) {
            return Ok(Some(Arc::clone(known)));
        }
        if self.kept.unknown_agents.get(agent_id).is_some() || !self.kept.may_ask_for_unknown() {
            return Ok(None);
        }
        let found = self
            .ledger
            .run(async |connection| agents::find(connection, &self.sealing, agent_id.as_str()).await)
            .await?;
        let found = found.map(Arc::new);
        if let Some(agent) = &found {
            self.agents
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(agent_id.clone(), Arc::clone(agent));
        } else {
            self.kept.unknown_agents.put(agent_id.clone(), (), ABSENT_FOR);
        }
        Ok(found)
    }

    /// Reads all agents again, so that a changed certificate or address is used within seconds. A job calls this.
    ///
    /// # Errors
    /// When the record cannot be asked.
    pub async fn refresh_agents(&self) -> Result<(), LedgerError> {
        let all = self
            .ledger
            .run(async |connection| agents::all(connection, &self.sealing).await)
            .await?;
        let fresh = all.into_iter().map(|agent| (agent.agent_id.clone(), Arc::new(agent))).collect();
        *self.agents.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The agents known at this moment.
    pub fn known_agents(&self) -> Vec<Arc<Agent>> {
        self.agents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Arc::clone)
            .collect()
    }

    /// The ids of the agents known at this moment.
    pub fn agent_ids(&self) -> Vec<AgentId> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A hazard chain that was read before.
    pub fn known_chain(&self, day: u64) -> Option<Arc<Chain>> {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).get(&day).map(Arc::clone)
    }

    /// Keeps a hazard chain; those of days long past are forgotten.
    pub fn keep_chain(&self, day: u64, chain: Chain) -> Arc<Chain> {
        let chain = Arc::new(chain);
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        chains.retain(|kept, _| kept + 3 > day);
        chains.insert(day, Arc::clone(&chain));
        chain
    }

    /// Notes that a player was heard of; a job tells Redis, so that no request pays for it.
    pub fn note_activity(&self, player: &PlayerId) {
        let now_unix_ms = self.clock.now_unix_ms();
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = activity.get_mut(&player.agent_id).and_then(|users| users.get_mut(&player.user_id));
        if let Some(last) = noted {
            *last = now_unix_ms;
            return;
        }
        activity
            .entry(player.agent_id.clone())
            .or_default()
            .insert(player.user_id.clone(), now_unix_ms);
    }

    /// Takes what was noted since the last call.
    pub fn take_activity(&self) -> HashMap<AgentId, HashMap<UserId, u64>> {
        std::mem::take(&mut *self.activity.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How an agent's wallet is called.
pub fn endpoint(agent: &Agent) -> Option<AgentEndpoint> {
    Some(AgentEndpoint {
        agent_id: agent.agent_id.as_str().to_owned(),
        callback_url: agent.callback_url.parse().ok()?,
        certificate: agent.certificate.clone(),
        encoding: BodyEncoding::parse(&agent.encoding)?,
        signature_secret: agent.signature_secret.clone(),
        utc_offset_minutes: agent.utc_offset_minutes,
    })
}

/// How the record is reached under these settings.
///
/// # Errors
/// When no url is set.
pub fn ledger_settings(settings: &Settings) -> Result<LedgerSettings, crate::settings::SettingsError> {
    Ok(LedgerSettings {
        url: settings.database.required_url()?.clone(),
        max_connections: settings.database.max_connections,
        acquire_timeout_ms: settings.database.acquire_timeout_ms,
        statement_timeout_ms: settings.database.statement_timeout_ms,
        lock_timeout_ms: settings.database.lock_timeout_ms,
        probe_timeout_ms: settings.database.probe_timeout_ms,
    })
}

/// How the game names itself to operators under these settings.
pub fn game_payload(settings: &Settings) -> GamePayload {
    GamePayload {
        platform: settings.game.platform.clone(),
        game_type: settings.game.game_type.clone(),
        game_code: settings.game.game_code.clone(),
        game_name: settings.game.game_name.clone(),
        settle_type: settings.game.settle_type.clone(),
    }
}

/// How operators are called under these settings.
pub fn wallet_settings(settings: &Settings) -> WalletSettings {
    WalletSettings {
        concurrent_calls_per_agent: settings.wallet.concurrency_per_agent,
        breaker_calls: settings.wallet.breaker_calls,
        breaker_open_ms: settings.wallet.breaker_open_ms,
        idle_connection_ms: settings.wallet.connection_rest_ms,
        unacknowledged_ms: settings.wallet.bet_timeout_ms,
        allow_private_callbacks: settings.wallet.allow_private_callbacks,
        ..WalletSettings::default()
    }
}

/// The game's configuration under these settings: the built-in one, or that of a file.
///
/// # Errors
/// When the file cannot be read, or breaks a rule of the game, by name.
pub fn read_configuration(settings: &Settings) -> Result<GameConfiguration, StartError> {
    if settings.game.configuration_file.is_empty() {
        return Ok(GameConfiguration::embedded_default());
    }
    let bytes = std::fs::read(&settings.game.configuration_file).map_err(StartError::ConfigurationFile)?;
    Ok(GameConfiguration::parse(&bytes)?)
}

/// The deadline for one kind of call, from the settings.
pub fn call_timeout(settings: &Settings) -> Duration {
    Duration::from_millis(settings.wallet.call_timeout_ms)
}
