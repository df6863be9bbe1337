//! The one binary: reads the command line and hands over to a command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use faircross::commands::{self, Failure};
use faircross::operator::{self, OperatorOptions};

/// Without transparent huge pages (`no_thp`): of each two megabytes that one brings, a server uses a few kilobytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A provably-fair step crash game backend.
#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The server.
    Serve(commands::serve::ServeOptions),
    /// Everything on one machine for a newcomer: stores, operator, server and a page to play on.
    Dev(commands::dev::DevOptions),
    /// A simulated casino wallet, for development and tests.
    Operator(OperatorOptions),
    /// Brings PostgreSQL's schema up to what this binary needs.
    Migrate(commands::migrate::MigrateOptions),
    /// The casino platforms.
    #[command(subcommand)]
    Agent(commands::agent::AgentCommand),
    /// Calls to operators that are owed, and those that need a person.
    #[command(subcommand)]
    Queue(commands::queue::QueueCommand),
    /// Puts a PostgreSQL right that was restored from an older copy, before servers start on it again.
    Restore(commands::restore::RestoreOptions),
    /// Whether nothing was lost: the record, Redis and an operator's ledger against each other.
    Audit(commands::audit::AuditOptions),
    /// Checks a round offline.
    Verify(Box<commands::verify::VerifyOptions>),
    /// Whether the set-up is right, and what to do where it is not.
    Doctor(commands::doctor::DoctorOptions),
}

/// The exit code where the command line cannot be read, as in sysexits.h.
const EXIT_USAGE: u8 = 64;

/// The main runtime. The HTTP server's workers have runtimes of their own, which end with them; what outlives a request, the jobs and
/// PostgreSQL's sockets are here, on several threads, so that none of them waits for another.
fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(told) => {
            let _ = told.print();
            // clap's own 2 would be a verdict of `verify`.
            return if told.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(run(command)).unwrap_or_else(|error| failed(error.as_ref()));
    // Whoever is told to end does not wait for what nobody will hear of.
    runtime.shutdown_background();
    code
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("faircross: {error}{}", causes(error));
    ExitCode::FAILURE
}

/// What lies beneath an error, where its own text does not say it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut causes = String::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !said.contains(&text) {
            causes.push_str(": ");
            causes.push_str(&text);
            said.push_str(&text);
        }
        cause = inner.source();
    }
    causes
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(options) => commands::serve::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Dev(options) => commands::dev::run(options).await,
        Command::Operator(options) => Ok(operator::run(options).await.map(|()| ExitCode::SUCCESS)?),
        Command::Migrate(options) => commands::migrate::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Agent(command) => commands::agent::run(command).await,
        Command::Queue(command) => commands::queue::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Restore(options) => commands::restore::run(options).await,
        Command::Audit(options) => commands::audit::run(options).await,
        Command::Verify(options) => commands::verify::run(*options),
        Command::Doctor(options) => commands::doctor::run(options).await,
    }
}
