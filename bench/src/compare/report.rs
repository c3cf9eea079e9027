//! The comparison as a table for the terminal and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::goals::{GOALS, Rows};
use super::plan;
use super::result::RowResult;
use crate::machine::Provenance;

/// Figures worth a column in the overview of a row.
pub(super) const FIGURES: [(&str, &str); 10] = [
    ("megabytes_per_s", "MB/s"),
    ("cpu_s_per_gb", "CPU-s/GB"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p9999_ms", "p99.99 ms"),
    ("peak_resident_bytes", "peak RSS"),
    ("resident_bytes", "RSS"),
    ("core_percent", "% of a core"),
    ("first_answer_s", "first answer s"),
    ("all_partitions_s", "all partitions s"),
];

/// The goals and the medians behind them, for a terminal.
pub fn table(rows: &Rows) -> String {
    let mut text = String::new();
    for row in rows.values() {
        let _ = writeln!(text, "\n{}: {} ({:.0} s)", row.id, row.title, row.seconds);
        for (broker, case) in cases(row) {
            let mut line = format!("  {broker:<12} {case:<24}");
            for (figure, unit) in FIGURES {
                if let Some(spread) = row.spread(&broker, &case, figure) {
                    let short = |value: f64| match figure.ends_with("_bytes") {
                        true => format!("{:.1} MB", value / 1e6),
                        false => format!("{value:.2}"),
                    };
                    let _ = write!(line, "  {} {unit}", short(spread.median));
                    if spread.min < spread.max {
                        let _ = write!(line, " ({}–{})", short(spread.min), short(spread.max));
                    }
                }
            }
            let runs = row.select(&broker, &case).count();
            let valid = row.select(&broker, &case).filter(|run| run.valid).count();
            if valid < runs {
                let _ = write!(line, "  ({} of {runs} runs are invalid)", runs - valid);
            }
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(
        text,
        "\n{:<18} {:>12} {:>12}  holds",
        "goal", "value", "wanted"
    );
    for goal in GOALS {
        let wanted = format!("{} {:.4}", symbol(goal.side), goal.goal);
        let (value, holds) = match goal.value(rows) {
            Some(value) if goal.holds(value) => (format!("{value:.4}"), "yes"),
            Some(value) => (format!("{value:.4}"), "NO"),
            None if goal.is_not_run(rows) => ("-".to_owned(), "not_run"),
            None => ("-".to_owned(), "not measured"),
        };
        let _ = writeln!(text, "{:<18} {value:>12} {wanted:>12}  {holds}", goal.id);
        if holds == "not measured" {
            let _ = writeln!(text, "{:<18} {}", "", goal.why_not(rows));
        }
    }
    text
}

pub(super) fn symbol(side: super::goals::Side) -> &'static str {
    match side {
        super::goals::Side::AtLeast => "≥",
        super::goals::Side::AtMost => "≤",
        super::goals::Side::Below => "<",
    }
}

/// The brokers and cases of a row, each once, in the order in which they were measured.
pub(super) fn cases(row: &RowResult) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for run in &row.runs {
        let case = (run.broker.clone(), run.case.clone());
        if !found.contains(&case) {
            found.push(case);
        }
    }
    found
}

/// The report for programs: `goals` has exactly the goals, each with its raw runs; `rows` everything measured.
pub fn json(
    rows: &Rows,
    failed: &BTreeMap<&str, String>,
    provenance: &Provenance,
    quick: bool,
) -> Value {
    let not_run: Vec<&str> = plan::rows()
        .iter()
        .map(|row| row.id)
        .filter(|id| !rows.contains_key(*id))
        .collect();
    json!({
        "goals": GOALS.iter().map(|goal| goal.to_json(rows)).collect::<Vec<_>>(),
        "rows": rows.values().collect::<Vec<_>>(),
        "rows_not_run": not_run,
        "rows_failed": failed,
        "quick": quick,
        "provenance": provenance,
        "notes": [
            "Broker on one core, generator on another, same file system; the broker not measured is stopped (SIGSTOP).",
            "tidelog flushes before it acknowledges; kafka acknowledges from the page cache, its default; kafka_flush has \
             flush.messages=1. Records are 1 KiB unless a row says otherwise; gigabytes are 10^9 bytes of record values.",
            "CPU is user and system time of the broker's process with all its threads, those of io_uring too; what the \
             kernel writes back from the page cache later is in nobody's account. Peak RSS is that of the run.",
            "restart: after kill -9 a single Kafka node keeps its successor out until its session has ended (9 s, its \
             default); its first answer comes after that and after its recovery.",
            "Values are computed from medians of valid runs alone; a goal without them is not measured.",
        ],
    })
}
