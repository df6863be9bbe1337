//! The line that tells how a run goes while it runs: rewritten in a terminal, a line every five seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::recorder::{Action, Recorder};
use crate::scenario::Stage;
use crate::world::World;

const SECONDS_BETWEEN_LINES: u64 = 5;

/// Shows how a stage goes for as long as it is polled.
pub async fn show(world: &Arc<World>, stage: &Stage) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    for second in 1_u64.. {
        ticks.tick().await;
        let line = line(stage, &world.recorder(), world.violations().0);
        if is_terminal {
            write(&format!("\r\x1b[2K{line}"));
        } else if second % SECONDS_BETWEEN_LINES == 0 {
            write(&format!("{line}\n"));
        }
    }
}

/// Makes place for something else than the line.
pub fn clear() {
    if std::io::stderr().is_terminal() {
        write("\r\x1b[2K");
    }
}

fn line(stage: &Stage, recorder: &Recorder, violations: u64) -> String {
    let elapsed_s = recorder.elapsed().as_secs();
    let planned = stage.seconds().map(|seconds| format!("/{seconds}")).unwrap_or_default();
    let rounds_per_s = recorder
        .seconds
        .iter()
        .rev()
        .skip(1)
        .take(3)
        .map(|second| second.rounds)
        .sum::<u64>()
        / 3;
    let p99 = |action| {
        recorder
            .percentile_ms(action, 99.0)
            .map_or("-".to_owned(), |ms| format!("{ms:.1} ms"))
    };
    format!(
        "{}: {elapsed_s}{planned} s, {} rounds, {rounds_per_s}/s, p99: bet {}, step {}, cash-out {}, {} errors, {violations} violations",
        stage.name(),
        recorder.rounds,
        p99(Action::Bet),
        p99(Action::SafeStep),
        p99(Action::CashOut),
        recorder.errors(),
    )
}

fn write(text: &str) {
    // A closed terminal is no reason to stop.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
