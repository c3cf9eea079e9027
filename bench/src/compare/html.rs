//! The comparison as one HTML page that needs nothing else: goals, medians with their range, and how cost grows.

use std::fmt::Write;

use super::goals::{GOALS, Rows};
use super::report::{FIGURES, cases, symbol};
use super::result::RowResult;
use crate::machine::Provenance;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2733;\
background:#fff}h1,h2,h3{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0 1.5rem;width:100%}\
td,th{padding:.25rem .6rem;border-bottom:1px solid #d5dde5;text-align:right;white-space:nowrap}\
td:first-child,th:first-child,td.text{text-align:left;white-space:normal}.yes{color:#0a7a3d}.no{color:#b3261e}\
.off{color:#6b7785}small,.range{color:#6b7785}svg{max-width:100%;height:auto;margin:.5rem 0}code{font-size:.9em}\
@media(prefers-color-scheme:dark){body{background:#12181f;color:#dbe3ea}td,th{border-color:#2c3844}\
.yes{color:#5bd08f}.no{color:#ff8a80}svg text{fill:#dbe3ea}}";

const GROWTH: [(&str, &str, bool); 5] = [
    ("growth_partitions", "Partitions", true),
    ("growth_connections", "Connections", true),
    ("growth_topics", "Other topics, ten partitions each", false),
    ("growth_history", "Gigabytes already in the log", false),
    ("growth_batch", "Bytes of a batch", true),
];

/// The page.
pub fn page(rows: &Rows, provenance: &Provenance) -> String {
    let mut html = String::new();
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Tidelog beside Apache Kafka</title><style>{STYLE}</style><h1>Tidelog beside Apache Kafka 4.3.1</h1>\
         <p>Broker on one core, generator on another, one file system; the broker that is not measured is stopped. \
         Tidelog flushes before it acknowledges; <b>kafka</b> acknowledges from the page cache (its default), \
         <b>kafka_flush</b> runs with <code>flush.messages=1</code>. Medians, range in grey. Nothing here says what more \
         cores would do.</p>"
    );
    provenance_table(&mut html, provenance);
    goal_table(&mut html, rows);
    for (id, title, logarithmic) in GROWTH {
        if let Some(row) = rows.get(id) {
            let _ = write!(html, "<h2>How cost grows: {}</h2>", escape(title));
            growth_chart(&mut html, row, logarithmic);
        }
    }
    for row in rows.values() {
        row_table(&mut html, row);
    }
    html.push_str("</html>\n");
    html
}

fn provenance_table(html: &mut String, provenance: &Provenance) {
    let memory = format!(
        "{:.1} GiB",
        provenance.memory_bytes as f64 / f64::from(1 << 30)
    );
    let cores = provenance.cores.to_string();
    html.push_str("<table>");
    for (name, value) in [
        ("Command", &provenance.command),
        ("Commit", &provenance.commit),
        ("CPU", &provenance.cpu),
        ("Cores", &cores),
        ("Memory", &memory),
        ("Kernel", &provenance.kernel),
        ("File system", &provenance.file_system),
        ("Java", &provenance.java),
        (
            "Load average at the start",
            &provenance.load_average_at_start,
        ),
    ] {
        let _ = write!(html, "<tr><td>{name}<td class=text>{}", escape(value));
    }
    html.push_str("</table>");
}

fn goal_table(html: &mut String, rows: &Rows) {
    html.push_str("<h2>Goals</h2><table><tr><th>Goal<th>Value<th>Wanted<th>Holds<th>Computed from");
    for goal in GOALS {
        let (class, value, holds) = match goal.value(rows) {
            Some(value) if goal.holds(value) => ("yes", number(value), "yes"),
            Some(value) => ("no", number(value), "no"),
            None if goal.is_not_run(rows) => ("off", "–".to_owned(), "not run"),
            None => ("off", "–".to_owned(), "not measured"),
        };
        let _ = write!(
            html,
            "<tr><td><code>{}</code><td>{value}<td>{} {}<td class={class}>{holds}<td class=text><small>{}</small>",
            goal.id,
            symbol(goal.side),
            number(goal.goal),
            escape(&goal.formula())
        );
        if holds == "not measured" {
            let _ = write!(html, "<br><small>{}</small>", escape(&goal.why_not(rows)));
        }
    }
    html.push_str("</table>");
}

fn row_table(html: &mut String, row: &RowResult) {
    let _ = write!(
        html,
        "<h3>{} <small>{}</small></h3>",
        escape(&row.title),
        row.id
    );
    let used: Vec<(&str, &str)> = FIGURES
        .into_iter()
        .filter(|(figure, _)| row.runs.iter().any(|run| run.figures.contains_key(*figure)))
        .collect();
    html.push_str("<table><tr><th>Broker<th>Case");
    for (_, unit) in &used {
        let _ = write!(html, "<th>{unit}");
    }
    for (broker, case) in cases(row) {
        let _ = write!(
            html,
            "<tr><td>{}<td class=text>{}",
            escape(&broker),
            escape(&case)
        );
        for (figure, _) in &used {
            let scale = if figure.ends_with("_bytes") { 1e6 } else { 1.0 };
            match row.spread(&broker, &case, figure) {
                None => html.push_str("<td>"),
                Some(spread) => {
                    let _ = write!(
                        html,
                        "<td>{} <span class=range>{}–{}</span>",
                        number(spread.median / scale),
                        number(spread.min / scale),
                        number(spread.max / scale)
                    );
                }
            }
        }
    }
    html.push_str("</table>");
    if row.runs.iter().any(|run| !run.valid) {
        html.push_str("<p class=no>Some runs are invalid by the generator's own judgement; medians leave them out.</p>");
    }
}

/// Throughput and CPU against the case's number.
fn growth_chart(html: &mut String, row: &RowResult, logarithmic: bool) {
    for (figure, unit) in [("megabytes_per_s", "MB/s"), ("cpu_s_per_gb", "CPU-s/GB")] {
        let points: Vec<(f64, f64)> = cases(row)
            .iter()
            .filter_map(|(broker, case)| {
                Some((case.parse().ok()?, row.median(broker, case, figure)?))
            })
            .collect();
        chart(html, &points, unit, logarithmic);
    }
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 46.0;

fn chart(html: &mut String, points: &[(f64, f64)], unit: &str, logarithmic: bool) {
    let place = |x: f64| if logarithmic { x.max(1e-9).log10() } else { x };
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    let (from, to) = (place(first.0), place(last.0));
    let top = points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.1;
    let x = |value: f64| {
        MARGIN + (place(value) - from) / (to - from).max(1e-9) * (WIDTH - 2.0 * MARGIN)
    };
    let y = |value: f64| HEIGHT - MARGIN - value / top.max(1e-9) * (HEIGHT - 2.0 * MARGIN);
    let _ = write!(
        html,
        "<svg viewBox='0 0 {WIDTH} {HEIGHT}' width={WIDTH} height={HEIGHT} role=img font-size=11 \
         font-family='system-ui,sans-serif'><text x={MARGIN} y=16>{unit}</text>\
         <path d='M{MARGIN} {} H{} M{MARGIN} {} H{}' stroke='#9aa7b4' fill=none />",
        y(0.0),
        WIDTH - MARGIN,
        y(top),
        WIDTH - MARGIN
    );
    let _ = write!(
        html,
        "<text x={} y={} text-anchor=end>{}</text><text x={} y={} text-anchor=end>0</text>",
        MARGIN - 6.0,
        y(top) + 4.0,
        number(top),
        MARGIN - 6.0,
        y(0.0) + 4.0
    );
    let mut line = String::new();
    for (index, point) in points.iter().enumerate() {
        let (px, py) = (x(point.0), y(point.1));
        let _ = write!(
            line,
            "{}{px:.1} {py:.1}",
            if index == 0 { 'M' } else { 'L' }
        );
        let _ = write!(
            html,
            "<circle cx={px:.1} cy={py:.1} r=3 fill='#2a6fdb'><title>{}: {} {unit}</title></circle>\
             <text x={px:.1} y={} text-anchor=middle>{}</text>",
            number(point.0),
            number(point.1),
            HEIGHT - MARGIN + 16.0,
            number(point.0)
        );
    }
    let _ = write!(
        html,
        "<path d='{line}' stroke='#2a6fdb' stroke-width=2 fill=none /></svg>"
    );
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.01 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
