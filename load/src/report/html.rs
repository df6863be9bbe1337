//! The page: self-contained, readable in light and dark, with the pictures inline.

use std::fmt::Write;

use super::chart::{Chart, Series};
use super::table::{megabytes, optional, whole};
use super::{Report, StageReport};

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .8rem 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
svg { width: 100%; height: auto; }
pre { overflow-x: auto; padding: .8rem; background: #8881; } .bad { color: #c22; } h2 { margin-top: 2.2rem; }
";
/// An action that happened less often has no curve worth drawing.
const DRAWN_FROM: u64 = 20;
/// The curves of these are drawn.
const DRAWN: [&str; 8] = [
    "bet",
    "step (safe)",
    "step (ends)",
    "cash-out",
    "history",
    "balance",
    "launch",
    "sign-in",
];

pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>",
        escaped(&report.title)
    );
    let verdict = if report.is_good() { "nothing wrong" } else { "SOMETHING IS WRONG" };
    add(
        &mut page,
        &format!(
            "<p>{} server(s), {} cores for everything (load generator and operator included), seed {}: \
             <strong{}>{verdict}</strong>, {} broken rules.</p>",
            report.servers,
            report.cores,
            report.seed,
            if report.is_good() { "" } else { " class=\"bad\"" },
            report.violations
        ),
    );
    if let Some(starts) = &report.starts {
        add(
            &mut page,
            &format!(
                "<p>Start to ready: {:.0} ms with a new database, {:.0} ms with a warm one.</p>",
                starts.with_new_database_ms, starts.with_warm_database_ms
            ),
        );
    }
    for violation in &report.first_violations {
        add(&mut page, &format!("<pre class=\"bad\">{}</pre>", escaped(violation)));
    }
    add(&mut page, "<h2>Throughput over time</h2>");
    add(&mut page, &throughput(report).svg());
    for stage in &report.stages {
        stage_section(&mut page, stage);
    }
    if let Some(audit) = &report.audit {
        add(&mut page, &format!("<h2>Audit</h2><pre>{}</pre>", escaped(&audit.said)));
    }
    add(
        &mut page,
        "<p>Latencies count from the instant at which an action was meant to begin. Errors are in them.</p></body></html>\n",
    );
    page
}

fn stage_section(page: &mut String, stage: &StageReport) {
    add(
        page,
        &format!(
            "<h2>{}</h2><p>{} rounds in {:.1} s: <strong>{:.1} rounds/s</strong>. {} never began, {} given up. \
             This tool's timer was late by {:.2} ms at most in 99 of 100 cases.</p>",
            escaped(&stage.name),
            stage.rounds,
            stage.lasted_s,
            stage.rounds_per_s,
            stage.never_started,
            stage.abandoned,
            stage.timer_late_p99_ms
        ),
    );
    let latencies = latencies(stage);
    if !latencies.series.is_empty() {
        add(page, &latencies.svg());
    }
    add(
        page,
        "<table><tr><th>action</th><th>count</th><th>per s</th><th>p50 ms</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th>\
         <th class=\"text\">errors</th></tr>",
    );
    for action in &stage.actions {
        let errors: Vec<String> = action.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        add(
            page,
            &format!(
                "<tr><td>{}</td><td>{}</td><td>{:.1}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td>\
                 <td class=\"text\">{}</td></tr>",
                action.action,
                action.count,
                action.per_s,
                action.p50_ms,
                action.p90_ms,
                action.p99_ms,
                action.p999_ms,
                action.max_ms,
                escaped(&errors.join(", "))
            ),
        );
    }
    add(page, "</table>");
    resources(page, stage);
}

fn resources(page: &mut String, stage: &StageReport) {
    let usage = &stage.usage;
    if usage.processes.is_empty() {
        return;
    }
    add(
        page,
        "<table><tr><th>process</th><th>CPU s</th><th>% of a core</th><th>CPU s per 1,000 rounds</th><th>memory MB</th></tr>",
    );
    for process in &usage.processes {
        add(
            page,
            &format!(
                "<tr><td>{}</td><td>{:.2}</td><td>{:.0}</td><td>{}</td><td>{:.1}</td></tr>",
                escaped(&process.name),
                process.cpu_s,
                process.cpu_percent,
                optional(process.cpu_s_per_1000_rounds, 2),
                megabytes(process.memory_bytes)
            ),
        );
    }
    add(page, "</table>");
    if let Some(redis) = &usage.redis {
        add(
            page,
            &format!(
                "<p>Redis: {} commands (with those inside scripts) and {} scripts per round, {:.1} MB in {} keys; a session takes {} bytes, \
                 the largest {}. PostgreSQL: {} transactions per round.</p>",
                optional(redis.commands_per_round, 1),
                optional(redis.scripts_per_round, 2),
                megabytes(redis.memory_bytes),
                redis.keys,
                whole(redis.session_bytes_mean),
                whole(redis.session_bytes_most),
                optional(usage.postgres_transactions_per_round, 2)
            ),
        );
    }
}

/// Rounds and answers in each second of the run, one stage after another.
pub fn throughput(report: &Report) -> Chart<'static> {
    let seconds: Vec<_> = report.stages.iter().flat_map(|stage| &stage.seconds).collect();
    let place = |index: usize| index as f64 / seconds.len().saturating_sub(1).max(1) as f64;
    let series = |name: &str, value: fn(&super::SecondReport) -> u64| Series {
        name: name.to_owned(),
        points: seconds
            .iter()
            .enumerate()
            .map(|(index, second)| (place(index), value(second) as f64))
            .collect(),
    };
    let mut begun = 0;
    let marks = report.stages.iter().map(|stage| {
        let middle = begun + stage.seconds.len() / 2;
        begun += stage.seconds.len();
        (place(middle), stage.name.clone())
    });
    Chart {
        title: "Throughput over time",
        unit: "/s",
        marks: marks.collect(),
        series: vec![
            series("answers", |second| second.answers),
            series("rounds", |second| second.rounds),
            series("errors", |second| second.errors),
        ],
        logarithmic: false,
    }
}

/// Latency by percentile; each nine takes the same space across.
fn latencies(stage: &StageReport) -> Chart<'static> {
    let place = |percentile: f64| -(1.0 - percentile / 100.0).log10() / 4.0;
    let drawn = stage
        .actions
        .iter()
        .filter(|action| action.count >= DRAWN_FROM && DRAWN.contains(&action.action));
    Chart {
        title: "Latency by percentile",
        unit: "ms",
        series: drawn
            .map(|action| Series {
                name: action.action.to_owned(),
                points: action.curve.iter().map(|(percentile, ms)| (place(*percentile), *ms)).collect(),
            })
            .collect(),
        marks: [0.0, 50.0, 90.0, 99.0, 99.9, 99.99]
            .map(|percentile| (place(percentile), format!("p{percentile}")))
            .to_vec(),
        logarithmic: true,
    }
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn add(page: &mut String, text: &str) {
    page.write_str(text).expect("a text takes everything");
}
