//! What the server does by itself. The schedule is the table [`SCHEDULE`]: what rings, under which lock, what it does. One
//! wrapper runs every job: never over itself, on one server at a time where a lock says so, with a time limit, a span and a
//! metric. Every job is a function that can be called at any time, by any number of servers, and is safe when it stops half
//! way; the locks only spare work, and where money waits a job runs without its lock when Redis is down.

mod alarm;
mod cleanup;
mod guard;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job as CronJob, JobScheduler, JobSchedulerError};

pub use alarm::{instants, keep as keep_alarm};
pub use guard::{NoOverlap, Outcome, run_once};

use crate::ledger::sessions;
use crate::live::keys;
use crate::play::{Context, deliver, hazards, health, lobby, record_mark, recover};

/// What a job reports or fails with; both only go to the log.
pub type Report = Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// What a job fails with that has more to do than one run may take.
#[derive(Debug, thiserror::Error)]
#[error("goes on: {0}")]
pub struct Unfinished(pub String);

/// When a job runs.
#[derive(Clone, Copy)]
pub enum Pace {
    /// At each instant of a cron expression from the settings.
    Cron(fn(&Context) -> &str),
    /// The same, and again from then on until it is done.
    CronUntilDone(fn(&Context) -> &str),
    /// Again and again, so many milliseconds after the last run.
    EveryMs(fn(&Context) -> u64),
    /// Right after each hazard epoch of Redis's clock begins.
    EachEpoch,
}

/// One row of the schedule.
pub struct Job {
    /// The name in logs and metrics.
    pub name: &'static str,
    pub pace: Pace,
    /// The lock in Redis and its life in seconds; `None`: every server runs it.
    pub lock: Option<(&'static str, u64)>,
    /// Whether it runs without the lock while Redis is down.
    pub runs_without_redis: bool,
    /// After this it is given up, to run again at its time.
    pub time_limit: Duration,
    pub run: fn(Arc<Context>) -> BoxFuture<'static, Report>,
}

/// Everything the server does by itself.
pub static SCHEDULE: [Job; 12] = [
    Job {
        name: "hazards",
        pace: Pace::EachEpoch,
        lock: Some((keys::HAZARD_REFRESH_LOCK, 5)),
        runs_without_redis: false,
        time_limit: Duration::from_secs(4),
        run: |context| {
            Box::pin(async move {
                let now_unix_ms = hazards::refresh(&context).await?;
                hazards::publish_anchors(&context, now_unix_ms).await?;
                Ok("the road is published".to_owned())
            })
        },
    },
    Job {
        name: "sweep",
        pace: Pace::EveryMs(|context| context.settings.recovery.sweep_every_ms),
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(30),
        run: |context| {
            Box::pin(async move {
                record_mark::watch(&context).await;
                Ok(format!("{:?}", recover::sweep(&context).await?))
            })
        },
    },
    Job {
        name: "quick-retries",
        pace: Pace::EveryMs(|context| context.settings.recovery.drain_every_ms),
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(30),
        run: |context| Box::pin(async move { Ok(format!("{} calls claimed", deliver::drain(&context).await?)) }),
    },
    Job {
        name: "wallet-retry",
        pace: Pace::Cron(|context| &context.settings.jobs.wallet_retry),
        lock: Some((keys::WALLET_RETRY_SCHEDULER_LOCK, 60)),
        runs_without_redis: true,
        time_limit: Duration::from_secs(50),
        run: |context| {
            Box::pin(async move {
                let (claimed, handed_over) = (deliver::drain(&context).await?, deliver::review(&context).await?);
                Ok(format!("{claimed} calls claimed, {handed_over} handed to people"))
            })
        },
    },
    Job {
        name: "outbox-gauges",
        pace: Pace::EveryMs(|_| 10_000),
        // Each server answers for its own metrics.
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(5),
        run: |context| {
            Box::pin(async move {
                deliver::measure(&context).await?;
                Ok("measured".to_owned())
            })
        },
    },
    Job {
        name: "record-probe",
        pace: Pace::EveryMs(|context| context.settings.recovery.probe_every_ms),
        lock: None,
        runs_without_redis: true,
        // The probe has deadlines of its own, and to hang is an answer too.
        time_limit: Duration::from_secs(300),
        run: |context| Box::pin(async move { Ok(format!("writable: {}", context.ledger.probe().await)) }),
    },
    Job {
        name: "oldest-transaction",
        pace: Pace::EveryMs(|_| 10_000),
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(10),
        run: |context| {
            Box::pin(async move {
                let age_s = context
                    .ledger
                    .run(async |connection| sessions::oldest_transaction_age_s(connection).await)
                    .await?;
                metrics::gauge!("faircross_postgres_oldest_transaction_age_seconds").set(age_s as f64);
                Ok(format!("the oldest transaction is open for {age_s} s"))
            })
        },
    },
    Job {
        name: "redis-probe",
        pace: Pace::EveryMs(|context| context.settings.recovery.probe_every_ms.saturating_mul(10)),
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(5),
        run: |context| {
            Box::pin(async move {
                health::look_at_redis(&context).await?;
                Ok("looked at".to_owned())
            })
        },
    },
    Job {
        name: "agents",
        pace: Pace::EveryMs(|_| 5_000),
        lock: None,
        runs_without_redis: true,
        time_limit: Duration::from_secs(5),
        run: |context| {
            Box::pin(async move {
                context.refresh_agents().await?;
                Ok("read".to_owned())
            })
        },
    },
    Job {
        name: "presence",
        pace: Pace::EveryMs(|_| 2_000),
        lock: None,
        runs_without_redis: false,
        time_limit: Duration::from_secs(5),
        run: |context| {
            Box::pin(async move {
                lobby::write_activity(&context).await?;
                Ok("written".to_owned())
            })
        },
    },
    Job {
        name: "bet-cleanup",
        pace: Pace::CronUntilDone(|context| &context.settings.jobs.bet_cleanup),
        lock: Some((keys::BET_CLEANUP_LOCK, 300)),
        runs_without_redis: false,
        time_limit: Duration::from_secs(280),
        run: |context| Box::pin(cleanup::bets(context)),
    },
    Job {
        name: "wallet-audit-cleanup",
        pace: Pace::CronUntilDone(|context| &context.settings.jobs.wallet_audit_cleanup),
        lock: Some((keys::WALLET_AUDIT_CLEANUP_LOCK, 300)),
        runs_without_redis: false,
        time_limit: Duration::from_secs(280),
        run: |context| Box::pin(cleanup::calls(context)),
    },
];

/// The row of that name.
pub fn job(name: &str) -> Option<&'static Job> {
    SCHEDULE.iter().find(|job| job.name == name)
}

/// Starts the whole schedule. It ends with the context's shutdown signal.
///
/// # Errors
/// When a cron expression cannot be read or the scheduler does not start.
pub async fn start(context: &Arc<Context>) -> Result<(), JobSchedulerError> {
    let mut alarms = JobScheduler::new().await?;
    for job in &SCHEDULE {
        let shared = Arc::clone(context);
        match job.pace {
            Pace::Cron(expression) | Pace::CronUntilDone(expression) => {
                let instants = instants(expression(context)).map_err(|_| JobSchedulerError::ParseSchedule)?;
                let bell = Arc::new(Notify::new());
                // The alarm only rings, and every server hears it. The wrapper sees to the rest.
                let rung = Arc::clone(&bell);
                let alarm = CronJob::new(expression(context), move |_, _| rung.notify_one())?;
                alarms.add(alarm).await?;
                context.spawn(async move { alarm::keep(&shared, job, &instants, &bell).await });
            }
            Pace::EveryMs(_) | Pace::EachEpoch => {
                let guard = NoOverlap::default();
                context.spawn(async move { pace::keep(&shared, job, &guard).await });
            }
        }
    }
    alarms.start().await?;
    let shared = Arc::clone(context);
    context.spawn(async move {
        shared.shutdown.cancelled().await;
        let _ = alarms.shutdown().await;
    });
    Ok(())
}
