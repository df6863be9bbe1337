//! The report as a page: the tables, and the ratios as bars.

use std::fmt::Write;

use super::report::{COMPARISON_HEADS, RAW_HEADS, ROW_HEADS, Report, Row};
use crate::report::chart::{LETTERING, NAMESPACE};
use crate::report::escaped;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:74em;padding:0 1em;color-scheme:light dark}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8884}\
td:first-child,th:first-child{text-align:left}.missed{color:#d1495b;font-weight:bold}pre{overflow:auto}svg{max-width:100%}";
const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const BAR: f64 = 22.0;
/// The ratio at the right edge.
const WIDEST: f64 = 1.5;

/// The bench's page.
pub fn page(report: &Report) -> String {
    let rows: Vec<[String; 4]> = report.rows.iter().map(Row::cells).collect();
    let quick = if report.quick {
        "<p><strong>A quick run: its figures mean nothing.</strong></p>"
    } else {
        ""
    };
    let body = format!(
        "<h1>The product beside bare handlers</h1><p>{}, {} connections.</p>{quick}<h2>Targets</h2>{}\
         <h2>Rate, ours through the bare handler's</h2>{}<h2>Side by side</h2>{}<h2>The stores alone</h2>{}<h2>Audit</h2><pre>{}</pre>",
        escaped(&report.machine),
        report.connections,
        table(&ROW_HEADS, &rows),
        bars(report),
        table(&COMPARISON_HEADS, &report.comparison_rows()),
        table(&RAW_HEADS, &report.raw_rows()),
        escaped(&report.audit.said),
    );
    document("faircross: bench", &body)
}

/// A whole page around a body.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// A table; a cell that says that a target was missed stands out.
pub fn table<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> String {
    let mut table = String::from("<table><tr>");
    for head in heads {
        add(&mut table, &format!("<th>{head}</th>"));
    }
    table.push_str("</tr>");
    for row in rows {
        table.push_str("<tr>");
        for cell in row {
            let class = if cell == "MISSED" { " class=\"missed\"" } else { "" };
            add(&mut table, &format!("<td{class}>{}</td>", escaped(cell)));
        }
        table.push_str("</tr>");
    }
    table.push_str("</table>");
    table
}

/// A bar for the median, a line from the lowest to the highest, and a mark where both would be as fast.
pub fn bars(report: &Report) -> String {
    let height = BAR * report.comparisons.len() as f64 + 8.0;
    let x = |ratio: f64| LEFT + (ratio / WIDEST).clamp(0.0, 1.0) * (WIDTH - LEFT - 60.0);
    let mut svg = format!("<svg {NAMESPACE} viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><g font-size=\"12\" {LETTERING}>");
    for (index, comparison) in report.comparisons.iter().enumerate() {
        let ratio = comparison.ratio(|measure| measure.per_s);
        let top = BAR * index as f64 + 4.0;
        let middle = top + BAR / 2.0 - 3.0;
        add(
            &mut svg,
            &format!(
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"#1b6ca8\"/>\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#e08e0b\" stroke-width=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{:.2}</text>",
                LEFT - 8.0,
                top + 13.0,
                escaped(&comparison.name),
                x(ratio.median) - LEFT,
                BAR - 6.0,
                x(ratio.lowest),
                x(ratio.highest),
                x(ratio.highest.max(ratio.median)) + 6.0,
                top + 13.0,
                ratio.median
            ),
        );
    }
    add(
        &mut svg,
        &format!(
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{height}\" stroke=\"#888\" stroke-dasharray=\"3\"/></g></svg>",
            x(1.0)
        ),
    );
    svg
}

fn add(page: &mut String, text: &str) {
    page.write_str(text).expect("a text takes everything");
}
