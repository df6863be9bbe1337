//! Jobs that keep their own pace, because a cron alarm may ring half a second late.

use std::sync::Arc;
use std::time::Duration;

use super::guard::{NoOverlap, run_once};
use super::{Job, Pace};
use crate::game::hazards::Epoch;
use crate::play::Context;

/// How soon a road that could not be published is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Runs a job at its pace until the server drains.
pub async fn keep(context: &Arc<Context>, job: &'static Job, guard: &NoOverlap) {
    loop {
        run_once(context, job, guard).await;
        let pause = pause(context, job).await;
        if context.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn pause(context: &Context, job: &Job) -> Duration {
    match job.pace {
        Pace::EveryMs(every) => Duration::from_millis(every(context)),
        Pace::EachEpoch => match context.live.now_unix_ms().await {
            Ok(now_unix_ms) => until_next_epoch(now_unix_ms),
            Err(_) => AGAIN,
        },
        Pace::Cron(_) | Pace::CronUntilDone(_) => unreachable!("a cron job has no pace of its own"),
    }
}

/// The time to the next epoch of Redis's clock, and a millisecond, so that the alarm does not ring before it.
fn until_next_epoch(now_unix_ms: u64) -> Duration {
    let next = Epoch::at_unix_ms(now_unix_ms).next().starts_at_unix_ms();
    Duration::from_millis(next.saturating_sub(now_unix_ms) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_is_never_missed_and_never_anticipated() {
        for now_unix_ms in [0, 1, 4_998, 4_999, 5_000, 1_795_189_268_123] {
            let wakes_at = now_unix_ms + u64::try_from(until_next_epoch(now_unix_ms).as_millis()).expect("a short time");
            assert_eq!(Epoch::at_unix_ms(wakes_at), Epoch::at_unix_ms(now_unix_ms).next());
            assert!(wakes_at - Epoch::at_unix_ms(wakes_at).starts_at_unix_ms() <= 1);
        }
    }
}
