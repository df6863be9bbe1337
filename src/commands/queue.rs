//! `faircross queue list | show | retry | resolve`: calls to operators that are still owed, and those that no retry could
//! bring to an end. A decision takes two people and a reason, and is kept.

use chrono::SecondsFormat;

use super::{Failure, SettingsOptions};
use crate::ledger::Ledger;
use crate::ledger::outbox::{self, Entry, Resolution};
use crate::play::context::ledger_settings;

/// Looks at and decides about owed calls.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum QueueCommand {
    /// Lists what is owed, what waits for people first.
    List {
        #[command(flatten)]
        settings: SettingsOptions,
        /// At most so many rows.
        #[arg(long, default_value_t = 100)]
        limit: i64,
    },
    /// Shows one row with its message.
    Show {
        #[command(flatten)]
        settings: SettingsOptions,
        /// The row's id, as `queue list` shows it.
        id: i64,
    },
    /// Gives a row back to the retries, due now.
    Retry {
        #[command(flatten)]
        settings: SettingsOptions,
        /// The row's id, as `queue list` shows it.
        id: i64,
    },
    /// Declares a row settled by other means, which brings its bet to its end.
    Resolve {
        #[command(flatten)]
        settings: SettingsOptions,
        /// The row's id, as `queue list` shows it.
        id: i64,
        /// Who decided.
        #[arg(long)]
        decided_by: String,
        /// Who confirmed it; somebody else.
        #[arg(long)]
        confirmed_by: String,
        /// Why, in at least ten characters.
        #[arg(long)]
        reason: String,
    },
}

/// Does it.
///
/// # Errors
/// When PostgreSQL cannot be used, there is no such row, or the decision is not whole.
pub async fn run(command: QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::List { settings, limit } => {
            let entries = ledger(&settings)?
                .run(async |connection| outbox::unfinished(connection, limit).await)
                .await?;
            println!(
                "{:>8}  {:<11}  {:<9}  {:<18}  {:>8}  {:<7}  {:<20}  agent",
                "id", "state", "action", "bet", "attempts", "status", "due"
            );
            for entry in entries {
                print_line(&entry);
            }
        }
        QueueCommand::Show { settings, id } => {
            let entry = ledger(&settings)?
                .run(async |connection| outbox::entry(connection, id).await)
                .await?;
            let entry = entry.ok_or("there is no such row")?;
            print_line(&entry);
            println!(
                "made {}\n{}",
                entry.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
                entry.message
            );
        }
        QueueCommand::Retry { settings, id } => {
            let done = ledger(&settings)?
                .run(async |connection| outbox::retry_now(connection, id).await)
                .await?;
            say(done, "it is due now", "there is no such row, or it is done")?;
        }
        QueueCommand::Resolve {
            settings,
            id,
            decided_by,
            confirmed_by,
            reason,
        } => {
            let (decided_by, confirmed_by, reason) = (decided_by.trim(), confirmed_by.trim(), reason.trim());
            if decided_by.is_empty() || confirmed_by.is_empty() {
                return Err("--decided-by and --confirmed-by: the names of two people".into());
            }
            let resolution = Resolution {
                decided_by,
                confirmed_by,
                reason,
            };
            let done = ledger(&settings)?
                .run(async |connection| outbox::resolve(connection, id, &resolution).await)
                .await;
            let done = done.map_err(|error| match error.constraint() {
                Some("queue_resolutions_two_people") => "--confirmed-by: two different people decide".into(),
                Some("queue_resolutions_reason_given") => "--reason: at least ten characters".into(),
                _ => Failure::from(error),
            })?;
            say(done, "it is resolved", "there is no such row that waits for people")?;
        }
    }
    Ok(())
}

fn ledger(options: &SettingsOptions) -> Result<Ledger, Failure> {
    Ok(Ledger::connect(&ledger_settings(&options.settings()?)?)?)
}

fn print_line(entry: &Entry) {
    println!(
        "{:>8}  {:<11}  {:<9}  {:<18}  {:>8}  {:<7}  {:<20}  {}",
        entry.outbox_id,
        entry.state,
        entry.action,
        entry.bet_state.as_deref().unwrap_or("archived"),
        entry.attempts,
        entry.last_status.as_deref().unwrap_or("-"),
        due(entry),
        entry.agent_id,
    );
}

/// When it is sent again; what waits for people is not.
fn due(entry: &Entry) -> String {
    match entry.state.as_str() {
        "open" => entry.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        _ => "-".to_owned(),
    }
}

fn say(done: bool, success: &str, failure: &'static str) -> Result<(), Failure> {
    if done {
        println!("{success}");
        Ok(())
    } else {
        Err(failure.into())
    }
}
