//! The tables for the terminal.

use std::fmt::Write;

use super::{Report, StageReport};
use crate::resources::Usage;

pub fn text(report: &Report) -> String {
    let mut text = format!(
        "{} ({} server(s), {} cores for everything)\n",
        report.title, report.servers, report.cores
    );
    for stage in &report.stages {
        stage_table(&mut text, stage);
    }
    if let Some(starts) = &report.starts {
        line(
            &mut text,
            &format!(
                "\nStart to ready: {:.0} ms with a new database, {:.0} ms with a warm one",
                starts.with_new_database_ms, starts.with_warm_database_ms
            ),
        );
    }
    line(&mut text, &format!("\nBroken rules: {}", report.violations));
    for violation in &report.first_violations {
        line(&mut text, &format!("    {violation}"));
    }
    if let Some(audit) = &report.audit {
        line(&mut text, &format!("\n{}", audit.said));
    }
    text
}

fn stage_table(text: &mut String, stage: &StageReport) {
    line(
        text,
        &format!(
            "\n{}: {} rounds in {:.1} s, {:.1} rounds/s",
            stage.name, stage.rounds, stage.lasted_s, stage.rounds_per_s
        ),
    );
    for (number, what) in [
        (stage.never_started, "rounds never began"),
        (stage.abandoned, "rounds were given up"),
    ] {
        if number > 0 {
            line(text, &format!("  {number} {what}"));
        }
    }
    line(
        text,
        &format!(
            "  {:<14}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}  errors",
            "action", "count", "per s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        ),
    );
    for action in &stage.actions {
        let errors: Vec<String> = action.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        line(
            text,
            &format!(
                "  {:<14}{:>9}{:>9.1}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>10.2}  {}",
                action.action,
                action.count,
                action.per_s,
                action.p50_ms,
                action.p90_ms,
                action.p99_ms,
                action.p999_ms,
                action.max_ms,
                errors.join(", ")
            ),
        );
    }
    usage_table(text, &stage.usage);
}

fn usage_table(text: &mut String, usage: &Usage) {
    for process in &usage.processes {
        line(
            text,
            &format!(
                "  {:<14}{:>9.2} s CPU ({:.0}% of a core), {} s per 1,000 rounds, {:.1} MB",
                process.name,
                process.cpu_s,
                process.cpu_percent,
                optional(process.cpu_s_per_1000_rounds, 2),
                megabytes(process.memory_bytes),
            ),
        );
    }
    if let Some(redis) = &usage.redis {
        line(
            text,
            &format!(
                "  Redis: {} commands and {} scripts per round, {:.1} MB, {} keys, a session {} bytes (most {})",
                optional(redis.commands_per_round, 1),
                optional(redis.scripts_per_round, 2),
                megabytes(redis.memory_bytes),
                redis.keys,
                whole(redis.session_bytes_mean),
                whole(redis.session_bytes_most),
            ),
        );
    }
    if let Some(transactions) = usage.postgres_transactions_per_round {
        line(text, &format!("  PostgreSQL: {transactions:.2} transactions per round"));
    }
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

pub fn optional(number: Option<f64>, places: usize) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.places$}"))
}

pub fn whole(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a text takes every line");
}
