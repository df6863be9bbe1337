//! `faircross serve`: the server. SIGTERM or Ctrl-C drains it:
//!
//! 1. readiness says "draining" and each answer closes its connection, while everything is still served (`server.drain_delay_s`);
//! 2. nobody is let in any more, jobs claim nothing more, idle connections are closed; requests and the calls to operators that they
//!    began are finished (`server.shutdown_timeout_s`);
//! 3. the leases of what was not finished are given back, and PostgreSQL's connections are closed.
//!
//! A second signal ends it at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Failure, SettingsOptions};
use crate::http::server::{Door, Serving};
use crate::play::{Context, deliver, health};
use crate::settings::{LogFormat, LogSettings};
use crate::{http, jobs};

/// How long PostgreSQL has for what is said to it last.
const LAST_STATEMENTS: Duration = Duration::from_secs(2);
/// Where the acceptor reports errors.
const ACCEPTOR: &str = "actix_server::accept";
/// Set before the listener is shut down: that it cannot be used any more is no error then.
static LISTENER_IS_DONE: AtomicBool = AtomicBool::new(false);

/// Serves players and operators.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
}

/// Serves until it is told to stop.
///
/// # Errors
/// When a setting is wrong, PostgreSQL cannot be reached or is not migrated, or the address is taken.
pub async fn run(options: ServeOptions) -> Result<(), Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    start_logging(&settings.log);
    crate::failpoint::arm();
    http::metrics::install();
    for warning in settings.warnings() {
        tracing::warn!("{} {}", warning.setting, warning.explanation);
    }
    let address = SocketAddr::new(settings.server.bind, settings.server.port);
    let listener = http::server::listen(address).map_err(|error| format!("server.port: {address} cannot be used: {error}"))?;
    let address = listener.local_addr()?;
    let context = Context::start(settings, secrets).await?;
    health::check_redis_at_start(&context).await?;
    warn_of_lost_currencies(&context);
    jobs::start(&context).await?;
    let Serving { server, door } = http::server::serve(Arc::clone(&context), listener)?;
    println!("listening on http://{address}");
    tracing::info!(%address, configuration = context.configuration.version, "serving");
    let mut signals = Signals::listen()?;
    let mut server = std::pin::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = signals.next() => {}
    }
    tokio::select! {
        (ended, ()) = async { tokio::join!(server, drain(&context, &door)) } => Ok(ended?),
        () = signals.next() => Err("ended at once by a second signal: what was under way is left to other servers".into()),
    }
}

/// What tells the server to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}

/// The steps that are described above.
async fn drain(context: &Context, door: &Door) {
    let settings = &context.settings.server;
    tracing::info!(delay_s = settings.drain_delay_s, "draining: everything is still served");
    context.draining.cancel();
    tokio::time::sleep(Duration::from_secs(settings.drain_delay_s)).await;
    tracing::info!("draining: requests in flight and their calls finish");
    context.shutdown.cancel();
    context.tasks.close();
    let patience = Duration::from_secs(settings.shutdown_timeout_s);
    LISTENER_IS_DONE.store(true, Ordering::Relaxed);
    let finished = async {
        door.close().await;
        // Only now: the last request may have begun a call.
        context.tasks.finished().await;
    };
    if tokio::time::timeout(patience, finished).await.is_err() {
        let _ = tokio::time::timeout(LAST_STATEMENTS, deliver::give_leases_back(context)).await;
    }
    let _ = tokio::time::timeout(LAST_STATEMENTS, context.ledger.close()).await;
    tracing::info!("stopped");
}

/// An operator may have a currency that the configuration lost: its players in it cannot play.
fn warn_of_lost_currencies(context: &Context) {
    for agent in context.known_agents() {
        let game = &context.configuration.game;
        for currency in agent.currencies.iter().filter(|code| game.currency(code).is_none()) {
            tracing::warn!(agent_id = %agent.agent_id, currency, "the game's configuration does not have a currency of this operator");
        }
    }
}

fn start_logging(settings: &LogSettings) {
    // By target and level alone: a filter that could ask for spans would look at each of them again whenever its request goes on.
    let filter = settings.filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let lines = fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    // Asked once for each place in the source, when it is first come to.
    let sensible = filter_fn(|place| place.target() != ACCEPTOR || !LISTENER_IS_DONE.load(Ordering::Relaxed));
    let subscriber = tracing_subscriber::registry().with(filter).with(sensible);
    match settings.format {
        LogFormat::Json => subscriber.with(lines.json()).init(),
        LogFormat::Text => subscriber.with(lines).init(),
    }
}
