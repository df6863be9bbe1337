//! `faircross queue list | show | retry | resolve`: calls to operators that are still owed, and those that no retry could
//! bring to an end. A decision takes two people and a reason, and is kept.

use chrono::SecondsFormat;

use super::{Failure, SettingsOptions};
use crate::ledger::Ledger;
use crate::ledger::outbox::{self, Entry, PastCall, Resolution, Selection};
use crate::play::context::ledger_settings;

/// Calls about a bet that `queue show` shows, the latest ones.
const SHOWN_CALLS: i64 = 200;

/// One row, or all that some words describe.
#[derive(Clone, Debug, clap::Args)]
pub struct Rows {
    /// The row's id, as `queue list` shows it.
    #[arg(required_unless_present_any = ["agent", "action", "all"], conflicts_with_all = ["agent", "action", "all"])]
    id: Option<i64>,
    /// All rows of this operator.
    #[arg(long)]
    agent: Option<String>,
    /// All rows with this action.
    #[arg(long, value_parser = ["settle", "voidBet", "cancelBet"])]
    action: Option<String>,
    /// All rows, or all of the operator and the action that are named.
    #[arg(long)]
    all: bool,
}

impl From<Rows> for Selection {
    fn from(rows: Rows) -> Self {
        Self {
            outbox_id: rows.id,
            agent_id: rows.agent,
            action: rows.action,
        }
    }
}

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
    /// Shows one row with its message and the calls that were made about its bet.
    Show {
        #[command(flatten)]
        settings: SettingsOptions,
        /// The row's id, as `queue list` shows it.
        id: i64,
    },
    /// Gives rows back to the retries, due now. What waited for people gets a fresh course of attempts.
    Retry {
        #[command(flatten)]
        settings: SettingsOptions,
        #[command(flatten)]
        rows: Rows,
    },
    /// Declares rows that wait for people settled by other means, which brings their bets to their end.
    Resolve {
        #[command(flatten)]
        settings: SettingsOptions,
        #[command(flatten)]
        rows: Rows,
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
        QueueCommand::Show { settings, id } => show(&ledger(&settings)?, id).await?,
        QueueCommand::Retry { settings, rows } => {
            let selection = rows.into();
            let done = ledger(&settings)?
                .run(async |connection| outbox::retry_now(connection, &selection).await)
                .await?;
            say(&selection, done, "due now", "there is no such row, or it is done")?;
        }
        QueueCommand::Resolve {
            settings,
            rows,
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
            let selection = rows.into();
            let done = ledger(&settings)?
                .run(async |connection| outbox::resolve(connection, &selection, &resolution).await)
                .await;
            let done = done.map_err(|error| match error.constraint() {
                Some("queue_resolutions_two_people") => "--confirmed-by: two different people decide".into(),
                Some("queue_resolutions_reason_given") => "--reason: at least ten characters".into(),
                _ => Failure::from(error),
            })?;
            say(
                &selection,
                done.unsigned_abs(),
                "resolved",
                "there is no such row that waits for people",
            )?;
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

async fn show(ledger: &Ledger, id: i64) -> Result<(), Failure> {
    let entry = ledger.run(async |connection| outbox::entry(connection, id).await).await?;
    let entry = entry.ok_or("there is no such row")?;
    let calls = ledger
        .run(async |connection| outbox::calls_made(connection, entry.sequence, SHOWN_CALLS).await)
        .await?;
    print_line(&entry);
    println!(
        "made {}\n{}\nthe calls about its bet:",
        entry.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        entry.message
    );
    calls.iter().for_each(print_call);
    Ok(())
}

/// One call on one line, whatever an operator answered.
fn print_call(call: &PastCall) {
    let http_status = call.http_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    println!(
        "{}  {:<9}  {:<8}  {:<12}  HTTP {http_status:<3}  {:>6} ms  {}",
        call.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        call.action,
        call.outcome,
        call.status.as_deref().unwrap_or("-"),
        call.duration_ms,
        call.answer.as_deref().unwrap_or("-").escape_debug(),
    );
}

fn say(selection: &Selection, rows: u64, done: &str, failure: &'static str) -> Result<(), Failure> {
    match (rows, selection.outbox_id) {
        (0, _) => return Err(failure.into()),
        (_, Some(_)) => println!("it is {done}"),
        (rows, None) => println!("{rows} rows are {done}"),
    }
    Ok(())
}
