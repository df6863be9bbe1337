//! Jobs with a cron expression. The scheduler is their alarm clock, but it keeps its next tick by the wall clock: when that is
//! set back by an hour it is silent for an hour. So the time from one run to the next instant of the expression is also
//! measured by the monotonic clock, and a job whose alarm does not ring runs all the same, a moment later.

use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use tokio::sync::Notify;

use super::guard::{NoOverlap, Outcome, run_once};
use super::{Job, Pace};
use crate::clock::Clock;
use crate::play::Context;

/// The alarm rings half a second late at times; so much after that a job runs without it.
const SLACK: Duration = Duration::from_secs(2);
/// How soon work that has to be done to its end is tried again where another server is at it, or it failed.
const AGAIN: Duration = Duration::from_secs(60);
/// For expressions that name no instant that still comes.
const A_YEAR: Duration = Duration::from_secs(366 * 86_400);

/// The instants of a cron expression, read as the scheduler reads it.
///
/// # Errors
/// When it cannot be read.
pub fn instants(expression: &str) -> Result<Cron, croner::errors::CronError> {
    CronParser::builder()
        .seconds(Seconds::Required)
        .dom_and_dow(true)
        .build()
        .parse(expression)
}

/// Runs a cron job whenever `alarm` rings or should have rung, until the server drains.
pub async fn keep(context: &Arc<Context>, job: &'static Job, instants: &Cron, alarm: &Notify) {
    let guard = NoOverlap::default();
    let mut pause = until_due(&context.clock, instants);
    loop {
        let ring = async {
            tokio::select! {
                () = alarm.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        };
        if context.shutdown.run_until_cancelled(ring).await.is_none() {
            return;
        }
        let (started, due) = (context.clock.monotonic(), until_due(&context.clock, instants));
        let outcome = run_once(context, job, &guard).await;
        let left = due.saturating_sub(context.clock.elapsed_since(started));
        pause = match (job.pace, outcome) {
            (_, Outcome::Unfinished) => Duration::ZERO,
            (_, Outcome::Done) | (Pace::Cron(_), _) => left,
            _ => left.min(AGAIN),
        };
    }
}

/// The time to the next instant, as the wall clock has it now, and a moment in which the alarm may ring.
fn until_due(clock: &Clock, instants: &Cron) -> Duration {
    let now = clock.now();
    let next = instants.find_next_occurrence(&now, false);
    next.map_or(A_YEAR, |next| (next - now).to_std().unwrap_or_default() + SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_due_within_its_period_whatever_the_clock_says() {
        for offset_ms in [0, -3_600_000, 3_600_000, -123_456_789] {
            let clock = Clock::with_offset_ms(offset_ms);
            for (expression, period_s) in [("* * * * * *", 1), ("0 * * * * *", 60), ("0 0 2 * * *", 86_400)] {
                let due = until_due(&clock, &instants(expression).expect("readable"));
                assert!(due > SLACK && due <= SLACK + Duration::from_secs(period_s), "{expression}: {due:?}");
            }
        }
    }
}
