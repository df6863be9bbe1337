//! The one wrapper around every job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use tracing::Instrument as _;

use super::{Job, Unfinished};
use crate::play::Context;

/// Whether a job is running in this process. One for each job that is scheduled.
#[derive(Default)]
pub struct NoOverlap {
    running: AtomicBool,
}

/// What became of one ring of the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It has done what one run may take, and there is more.
    Unfinished,
    Failed,
    TimedOut,
    /// The last run of this process is not over.
    StillRunning,
    /// Another server has the lock, or Redis is down and the job does not run without it.
    NotOurs,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::StillRunning => "still_running",
            Self::NotOurs => "not_ours",
        }
    }
}

/// Runs a job once, if it is this server's turn. The lock is given back by its token; a holder that outlives its lock gives
/// back nothing that is not its own.
pub async fn run_once(context: &Arc<Context>, job: &'static Job, guard: &NoOverlap) -> Outcome {
    if guard.running.swap(true, Ordering::AcqRel) {
        return count(job, Outcome::StillRunning);
    }
    let _running = Running(guard);
    let outcome = run_locked(context, job)
        .instrument(tracing::info_span!("job", name = job.name))
        .await;
    count(job, outcome)
}

/// Ends with its run, however that ends: a job that never ran again would say nothing.
struct Running<'a>(&'a NoOverlap);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

async fn run_locked(context: &Arc<Context>, job: &'static Job) -> Outcome {
    let Some((lock, ttl_s)) = job.lock else {
        return run(context, job).await;
    };
    let token = context.chance.token();
    match context.live.acquire(lock, &token, ttl_s).await {
        Ok(true) => {
            let outcome = run(context, job).await;
            let _ = context.live.release(lock, &token).await;
            outcome
        }
        Ok(false) => Outcome::NotOurs,
        Err(_) if job.runs_without_redis => run(context, job).await,
        Err(_) => Outcome::NotOurs,
    }
}

async fn run(context: &Arc<Context>, job: &'static Job) -> Outcome {
    // A job that panics has failed like any other: the next run is due all the same.
    let run = AssertUnwindSafe((job.run)(Arc::clone(context))).catch_unwind();
    let ended = tokio::time::timeout(job.time_limit, run).await;
    match ended.map(|ended| ended.unwrap_or_else(|_| Err("it panicked".into()))) {
        Ok(Ok(report)) => {
            tracing::trace!(report, "done");
            Outcome::Done
        }
        Ok(Err(error)) if error.is::<Unfinished>() => {
            tracing::debug!(%error, "a job has more to do");
            Outcome::Unfinished
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "a job failed and runs again at its time");
            Outcome::Failed
        }
        Err(_) => {
            tracing::warn!(limit_s = job.time_limit.as_secs(), "a job took too long and was given up");
            Outcome::TimedOut
        }
    }
}

fn count(job: &Job, outcome: Outcome) -> Outcome {
    metrics::counter!("faircross_job_runs_total", "job" => job.name, "outcome" => outcome.as_str()).increment(1);
    outcome
}
