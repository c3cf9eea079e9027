//! The goals: which figures each is computed from, and whether it holds.
//!
//! Every value is a function of medians of the raw runs of named rows, so that a reader can compute it again.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::result::RowResult;

/// On which side of the goal the value must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Side {
    /// As large, or larger.
    #[serde(rename = ">=")]
    AtLeast,
    /// As small, or smaller.
    #[serde(rename = "<=")]
    AtMost,
    /// Smaller.
    #[serde(rename = "<")]
    Below,
}

/// All measured rows by name.
pub type Rows = BTreeMap<String, RowResult>;

/// The median of one figure: row, broker, case, name.
#[derive(Debug, Clone, Copy)]
struct Median(&'static str, &'static str, &'static str, &'static str);

/// What a value is computed from.
#[derive(Debug, Clone, Copy)]
enum Formula {
    /// The median itself.
    Of(Median),
    /// The first ÷ the second.
    Ratio(Median, Median),
    /// CPU seconds that five tailing consumers cost per gigabyte they read (with them minus without them), the first
    /// broker's ÷ the second's.
    TailCost(&'static str, &'static str),
}

/// One goal.
pub struct Goal {
    /// As in the table of goals.
    pub id: &'static str,
    /// Its side.
    pub side: Side,
    /// The goal.
    pub goal: f64,
    formula: Formula,
}

const TAIL: &str = "tail";
const RATE: &str = "megabytes_per_s";
const CPU: &str = "cpu_s_per_gb";
const OWN_LOAD: &str = "30 % of tidelog";
const KAFKA_LOAD: &str = "30 % of kafka";

/// A figure of Tidelog ÷ the same of another broker.
const fn beside(row: &'static str, other: &'static str, figure: &'static str) -> Formula {
    Formula::Ratio(
        Median(row, "tidelog", "", figure),
        Median(row, other, "", figure),
    )
}

/// The same figure of Tidelog in two cases.
const fn cases(
    row: &'static str,
    over: &'static str,
    under: &'static str,
    figure: &'static str,
) -> Formula {
    Formula::Ratio(
        Median(row, "tidelog", over, figure),
        Median(row, "tidelog", under, figure),
    )
}

/// A figure of Tidelog in a case ÷ one of another broker in a case: `(broker, case, figure)` each.
const fn held_against(
    row: &'static str,
    case: &'static str,
    figure: &'static str,
    other: (&'static str, &'static str, &'static str),
) -> Formula {
    Formula::Ratio(
        Median(row, "tidelog", case, figure),
        Median(row, other.0, other.1, other.2),
    )
}

const fn ours(row: &'static str, case: &'static str, figure: &'static str) -> Formula {
    Formula::Of(Median(row, "tidelog", case, figure))
}

const FLOOR: Formula = Formula::Ratio(
    Median("produce_512k", "tidelog", "", CPU),
    Median("references", "reference", "", "floor_cpu_s_per_gb"),
);

const fn goal(id: &'static str, side: Side, goal: f64, formula: Formula) -> Goal {
    Goal {
        id,
        side,
        goal,
        formula,
    }
}

use Side::{AtLeast, AtMost, Below};

/// The table of goals, in its order.
#[rustfmt::skip]
pub const GOALS: [Goal; 20] = [
    goal("produce_512k",     AtLeast, 4.0,          beside("produce_512k", "kafka", RATE)),
    goal("produce_16k",      AtLeast, 8.0,          beside("produce_16k", "kafka", RATE)),
    goal("produce_1k_1000p", AtLeast, 12.0,         beside("produce_1k_1000p", "kafka", RATE)),
    goal("durable_512k",     AtLeast, 5.0,          beside("produce_512k", "kafka_flush", RATE)),
    goal("durable_16k",      AtLeast, 40.0,         beside("produce_16k", "kafka_flush", RATE)),
    goal("cpu_floor",        AtMost,  2.0,          FLOOR),
    goal("cpu_512k",         AtMost,  1.0 / 6.0,    beside("produce_512k", "kafka", CPU)),
    goal("cpu_16k",          AtMost,  0.1,          beside("produce_16k", "kafka", CPU)),
    goal("cpu_consume",      AtMost,  0.75,         Formula::TailCost("tidelog", "kafka")),
    goal("ack_p99",          AtMost,  2.0,          held_against("acks", OWN_LOAD, "p99_ms", ("reference", "", "p99_ms"))),
    goal("ack_p9999",        AtMost,  4.0,          held_against("acks", OWN_LOAD, "p9999_ms", ("reference", "", "p9999_ms"))),
    goal("ack_kafka",        AtMost,  0.5,          held_against("acks", KAFKA_LOAD, "p99_ms", ("kafka", KAFKA_LOAD, "p99_ms"))),
    goal("tail_extra",       AtMost,  0.3,          ours("end_to_end", "", "extra_p99_ms")),
    goal("partitions_10k",   AtLeast, 0.6,          cases("partitions_10k", "10000", "1", RATE)),
    goal("catch_up",         AtLeast, 0.7,          held_against("catch_up", "alone", RATE, ("reference", "", RATE))),
    goal("catch_up_cost",    AtMost,  1.5,          cases("catch_up", "produce with catch-up", "produce without", "p99_ms")),
    goal("partition_bytes",  AtMost,  8192.0,       ours("idle", "10000 more", "bytes_per_partition")),
    goal("idle_rss",         Below,   52_428_800.0, ours("idle", "1000", "resident_bytes")),
    goal("idle_cpu",         Below,   0.5,          ours("idle", "1000", "core_percent")),
    goal("restart",          AtMost,  0.05,         held_against("restart", "", "all_partitions_s", ("kafka", "", "first_answer_s"))),
];

impl Median {
    fn value(self, rows: &Rows) -> Option<f64> {
        rows.get(self.0)?.median(self.1, self.2, self.3)
    }
}

impl fmt::Display for Median {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Median(row, broker, case, figure) = self;
        write!(f, "{figure} of {broker} in row {row}")?;
        match case.is_empty() {
            true => Ok(()),
            false => write!(f, ", case {case}"),
        }
    }
}

impl Formula {
    fn value(self, rows: &Rows) -> Option<f64> {
        match self {
            Formula::Of(median) => median.value(rows),
            Formula::Ratio(over, under) => Some(over.value(rows)? / under.value(rows)?),
            Formula::TailCost(over, under) => {
                let cost = |broker| {
                    let [with, without, read] =
                        tail_medians(broker).map(|median| median.value(rows));
                    Some((with? - without?) / read?)
                };
                Some(cost(over)? / cost(under)?)
            }
        }
    }

    fn medians(self) -> Vec<Median> {
        match self {
            Formula::Of(median) => vec![median],
            Formula::Ratio(over, under) => vec![over, under],
            Formula::TailCost(over, under) => {
                [over, under].into_iter().flat_map(tail_medians).collect()
            }
        }
    }
}

/// CPU seconds with five consumers and with none, and the gigabytes that the five read.
fn tail_medians(broker: &'static str) -> [Median; 3] {
    [
        Median(TAIL, broker, "5", "cpu_seconds"),
        Median(TAIL, broker, "0", "cpu_seconds"),
        Median(TAIL, broker, "5", "gigabytes_read"),
    ]
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Formula::Of(median) => write!(f, "{median}"),
            Formula::Ratio(over, under) => write!(f, "{over} ÷ {under}"),
            Formula::TailCost(over, under) => write!(
                f,
                "row tail: (cpu_seconds of case 5 − of case 0) ÷ gigabytes_read of case 5, {over} ÷ {under}"
            ),
        }
    }
}

impl Goal {
    /// The value, if everything it needs was measured in runs that count.
    pub fn value(&self, rows: &Rows) -> Option<f64> {
        self.formula.value(rows).filter(|value| value.is_finite())
    }

    /// What the value is, in words that name rows and figures; each is the median of the runs that count.
    pub fn formula(&self) -> String {
        self.formula.to_string()
    }

    /// Rows that it is computed from.
    pub fn rows(&self) -> Vec<&'static str> {
        let mut rows: Vec<&str> = self
            .formula
            .medians()
            .iter()
            .map(|median| median.0)
            .collect();
        rows.dedup();
        rows
    }

    /// Whether a row that it needs was not run.
    pub fn is_not_run(&self, rows: &Rows) -> bool {
        self.rows().iter().any(|row| !rows.contains_key(*row))
    }

    /// Why there is no value.
    pub fn why_not(&self, rows: &Rows) -> String {
        for median in self.formula.medians() {
            let Median(row, broker, case, _) = median;
            let Some(measured) = rows.get(row) else {
                return format!("row {row} was not run");
            };
            if median.value(rows).is_some() {
                continue;
            }
            let mut reasons: Vec<&str> = measured
                .select(broker, case)
                .filter(|run| !run.valid)
                .flat_map(|run| run.invalid_because.iter().map(String::as_str))
                .collect();
            reasons.dedup();
            return match measured.select(broker, case).any(|run| !run.valid) {
                true => format!("no valid run for {median}: {}", reasons.join("; ")),
                false => format!("there is no {median}"),
            };
        }
        "the value is not a number".to_owned()
    }

    /// Whether a value meets the goal.
    pub fn holds(&self, value: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= self.goal,
            Side::AtMost => value <= self.goal,
            Side::Below => value < self.goal,
        }
    }

    /// The goal as a row of the report's JSON. What was not measured has no value and says so.
    pub fn to_json(&self, rows: &Rows) -> Value {
        let value = self.value(rows);
        let runs: Vec<Value> = self
            .rows()
            .into_iter()
            .filter_map(|id| rows.get(id).map(|row| (id, row)))
            .flat_map(|(id, row)| row.runs.iter().map(move |run| (id, run)))
            .map(|(id, run)| {
                let mut run = serde_json::to_value(run).expect("plain data");
                run["row"] = json!(id);
                run
            })
            .collect();
        let mut goal = json!({
            "id": self.id,
            "value": value,
            "goal": self.goal,
            "holds": value.map(|value| self.holds(value)),
            "side": self.side,
            "formula": self.formula(),
            "runs": runs,
        });
        if value.is_none() {
            goal["not_measured"] = json!(self.why_not(rows));
            if self.is_not_run(rows) {
                goal["not_run"] = json!(true);
            }
        }
        goal
    }
}

#[cfg(test)]
mod tests {
    use super::super::result::Run;
    use super::*;

    #[test]
    fn a_goal_follows_from_the_medians_and_one_without_runs_is_marked() {
        let run = |broker: &str, round, rate| Run::new(broker, "", round).with(RATE, rate);
        let row = RowResult {
            id: "produce_512k".to_owned(),
            title: String::new(),
            commit: String::new(),
            quick: false,
            seconds: 1.0,
            runs: vec![
                run("tidelog", 0, 900.0),
                run("kafka", 0, 200.0),
                run("tidelog", 1, 1000.0),
                run("kafka", 1, 300.0),
                run("tidelog", 2, 100.0),
                run("kafka", 2, 100.0),
            ],
        };
        let mut rows = Rows::from([(row.id.clone(), row)]);
        let all = GOALS;
        let produce = all[0].to_json(&rows);
        assert_eq!(produce["value"], json!(4.5));
        assert_eq!(produce["holds"], json!(true));
        assert_eq!(produce["runs"].as_array().map(Vec::len), Some(6));
        let other = all[1].to_json(&rows);
        assert_eq!(other["value"], Value::Null);
        assert_eq!(other["not_run"], json!(true));
        let runs = &mut rows.get_mut("produce_512k").expect("it is there").runs;
        for run in runs.iter_mut().filter(|run| run.broker == "kafka") {
            *run = std::mem::replace(run, Run::new("", "", 0)).invalid("records failed");
        }
        let invalid = all[0].to_json(&rows);
        assert_eq!(invalid["value"], Value::Null);
        assert_eq!(invalid["holds"], Value::Null);
        assert_eq!(invalid["not_run"], Value::Null, "it was run");
        let reason = invalid["not_measured"].as_str().expect("a reason");
        assert!(
            reason.contains("of kafka") && reason.contains("records failed"),
            "{reason}"
        );
    }

    #[test]
    fn every_row_that_a_goal_names_is_in_the_plan() {
        let rows = super::super::plan::rows();
        for goal in GOALS {
            for row in goal.rows() {
                assert!(rows.iter().any(|planned| planned.id == row), "{row}");
            }
        }
    }
}
