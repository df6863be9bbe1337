//! `faircross serve`: the server. SIGTERM or Ctrl-C drains it: no new bets, requests in flight finish, jobs let go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Failure, SettingsOptions};
use crate::play::{Context, health};
use crate::settings::{LogFormat, LogSettings};
use crate::{http, jobs};

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
    jobs::start(&context).await?;
    let server = http::server::serve(Arc::clone(&context), listener)?;
    let handle = server.handle();
    println!("listening on http://{address}");
    tracing::info!(%address, configuration = context.configuration.version, "serving");
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopping = Arc::clone(&context);
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        tracing::info!("draining: no new bets, requests in flight finish");
        stopping.shutdown.cancel();
        handle.stop(true).await;
    });
    server.await?;
    drain(&context).await;
    Ok(())
}

/// Lets the work that outlives its requests finish, as long as the settings allow. What is left is finished by another
/// server, or by this one when it is started again.
async fn drain(context: &Arc<Context>) {
    context.shutdown.cancel();
    context.tasks.close();
    let patience = Duration::from_secs(context.settings.server.shutdown_timeout_s);
    if tokio::time::timeout(patience, context.tasks.wait()).await.is_err() {
        tracing::warn!("some calls were still under way; the outbox sends them again");
    }
    let _ = tokio::time::timeout(Duration::from_secs(2), context.ledger.close()).await;
    tracing::info!("stopped");
}

fn start_logging(settings: &LogSettings) {
    // By target and level alone: a filter that could ask for spans would look at each of them again whenever its request goes on.
    let filter = settings.filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let lines = fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Json => subscriber.with(lines.json()).init(),
        LogFormat::Text => subscriber.with(lines).init(),
    }
}
