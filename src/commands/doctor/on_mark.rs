//! PostgreSQL against the mark in Redis: is it the one that was in use, or an older copy of it?

use tokio::time::timeout;

use super::{Failure, PATIENCE, Report};
use crate::ledger::Ledger;
use crate::live::{Live, LiveSettings, RecordMark};
use crate::play::context::ledger_settings;
use crate::play::record_mark::{Verdict, judge as judge_record};
use crate::settings::Settings;

/// Left out where one of the two does not answer or the schema is not there, which other checks report.
pub(super) async fn check(report: &mut Report, settings: &Settings) {
    if let Ok(Ok((verdict, standing))) = timeout(PATIENCE, ask(settings)).await {
        judge(report, &verdict, &standing);
    }
}

async fn ask(settings: &Settings) -> Result<(Verdict, RecordMark), Failure> {
    let live = Live::connect(&LiveSettings {
        url: settings.redis.required_url()?.clone(),
        tls: settings.redis.tls_files(),
        command_timeout_ms: settings.redis.command_timeout_ms,
        locks_enabled: false,
    })?;
    let marked = live.record_mark().await?;
    let ledger = Ledger::connect(&ledger_settings(settings)?)?;
    let judged = judge_record(&ledger, &live, marked.as_ref()).await;
    ledger.close().await;
    Ok(judged?)
}

fn judge(report: &mut Report, verdict: &Verdict, standing: &RecordMark) {
    let name = "record mark";
    let remedy = "stop all servers and run `faircross restore --operator-ledger URL|FILE`";
    match verdict {
        Verdict::NoMark if standing.sequence == 0 => report.ok(name, "no bet to mark yet"),
        Verdict::Fits => report.ok(
            name,
            format!(
                "{verdict} (its latest has sequence {}, on timeline {})",
                standing.sequence, standing.timeline
            ),
        ),
        Verdict::NoMark | Verdict::OtherSystem { .. } => report.warn(
            name,
            verdict.to_string(),
            "nothing, if Redis is new; a server's first sweep sets the mark",
        ),
        Verdict::OtherTimeline { .. } => report.warn(
            name,
            verdict.to_string(),
            "nothing, if the standby that was promoted was a synchronous one; a server's first sweep sets the mark",
        ),
        Verdict::Behind { .. } | Verdict::RestoreUnfinished => report.fail(name, verdict.to_string(), remedy),
    }
}
