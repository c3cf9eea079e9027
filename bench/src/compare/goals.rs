//! The goals: which figures each is computed from, and whether it holds.
//!
//! Every value is a function of medians of the raw runs of named rows, so that a reader can compute it again.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::result::{RowResult, Run};

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

/// One goal.
pub struct Goal {
    /// As in the table of goals.
    pub id: &'static str,
    /// What the value is, in words that name rows and figures.
    pub formula: &'static str,
    /// The goal.
    pub goal: f64,
    /// Its side.
    pub side: Side,
    /// Rows that it is computed from.
    pub rows: &'static [&'static str],
    value: fn(&Rows) -> Option<f64>,
}

impl Goal {
    /// The value, if everything it needs was measured.
    pub fn value(&self, rows: &Rows) -> Option<f64> {
        (self.value)(rows).filter(|value| value.is_finite())
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
        let runs: Vec<(&str, &Run)> = self
            .rows
            .iter()
            .filter_map(|id| rows.get(*id).map(|row| (*id, row)))
            .flat_map(|(id, row)| row.runs.iter().map(move |run| (id, run)))
            .collect();
        let runs: Vec<Value> = runs
            .into_iter()
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
            "formula": self.formula,
            "runs": runs,
        });
        if value.is_none() {
            goal["not_run"] = json!(true);
        }
        goal
    }
}

const RATE: &str = "megabytes_per_s";
const CPU: &str = "cpu_s_per_gb";

fn figure(rows: &Rows, row: &str, broker: &str, case: &str, name: &str) -> Option<f64> {
    rows.get(row)?.median(broker, case, name)
}

fn ratio(rows: &Rows, row: &str, brokers: (&str, &str), name: &str) -> Option<f64> {
    Some(figure(rows, row, brokers.0, "", name)? / figure(rows, row, brokers.1, "", name)?)
}

const PAGE_CACHE: (&str, &str) = ("tidelog", "kafka");
const DURABLE: (&str, &str) = ("tidelog", "kafka_flush");

/// CPU seconds that five tailing consumers cost per gigabyte they read: with them minus without them.
fn tail_cost(rows: &Rows, broker: &str) -> Option<f64> {
    let with = figure(rows, "tail", broker, "5", "cpu_seconds")?;
    let without = figure(rows, "tail", broker, "0", "cpu_seconds")?;
    Some((with - without) / figure(rows, "tail", broker, "5", "gigabytes_read")?)
}

/// The table of goals, in its order.
#[allow(clippy::too_many_lines, reason = "a table, one entry per goal")]
pub fn goals() -> Vec<Goal> {
    use Side::{AtLeast, AtMost, Below};
    vec![
        Goal {
            id: "produce_512k",
            formula: "megabytes_per_s of tidelog ÷ kafka in row produce_512k",
            goal: 4.0,
            side: AtLeast,
            rows: &["produce_512k"],
            value: |rows| ratio(rows, "produce_512k", PAGE_CACHE, RATE),
        },
        Goal {
            id: "produce_16k",
            formula: "megabytes_per_s of tidelog ÷ kafka in row produce_16k",
            goal: 8.0,
            side: AtLeast,
            rows: &["produce_16k"],
            value: |rows| ratio(rows, "produce_16k", PAGE_CACHE, RATE),
        },
        Goal {
            id: "produce_1k_1000p",
            formula: "megabytes_per_s of tidelog ÷ kafka in row produce_1k_1000p",
            goal: 12.0,
            side: AtLeast,
            rows: &["produce_1k_1000p"],
            value: |rows| ratio(rows, "produce_1k_1000p", PAGE_CACHE, RATE),
        },
        Goal {
            id: "durable_512k",
            formula: "megabytes_per_s of tidelog ÷ kafka_flush in row produce_512k",
            goal: 5.0,
            side: AtLeast,
            rows: &["produce_512k"],
            value: |rows| ratio(rows, "produce_512k", DURABLE, RATE),
        },
        Goal {
            id: "durable_16k",
            formula: "megabytes_per_s of tidelog ÷ kafka_flush in row produce_16k",
            goal: 40.0,
            side: AtLeast,
            rows: &["produce_16k"],
            value: |rows| ratio(rows, "produce_16k", DURABLE, RATE),
        },
        Goal {
            id: "cpu_floor",
            formula: "cpu_s_per_gb of tidelog in row produce_512k ÷ floor_cpu_s_per_gb of row references",
            goal: 2.0,
            side: AtMost,
            rows: &["produce_512k", "references"],
            value: |rows| {
                Some(
                    figure(rows, "produce_512k", "tidelog", "", CPU)?
                        / figure(rows, "references", "reference", "", "floor_cpu_s_per_gb")?,
                )
            },
        },
        Goal {
            id: "cpu_512k",
            formula: "cpu_s_per_gb of tidelog ÷ kafka in row produce_512k",
            goal: 1.0 / 6.0,
            side: AtMost,
            rows: &["produce_512k"],
            value: |rows| ratio(rows, "produce_512k", PAGE_CACHE, CPU),
        },
        Goal {
            id: "cpu_16k",
            formula: "cpu_s_per_gb of tidelog ÷ kafka in row produce_16k",
            goal: 0.1,
            side: AtMost,
            rows: &["produce_16k"],
            value: |rows| ratio(rows, "produce_16k", PAGE_CACHE, CPU),
        },
        Goal {
            id: "cpu_consume",
            formula: "row tail: (cpu_seconds of case 5 − of case 0) ÷ gigabytes_read of case 5, tidelog ÷ kafka",
            goal: 0.75,
            side: AtMost,
            rows: &["tail"],
            value: |rows| Some(tail_cost(rows, "tidelog")? / tail_cost(rows, "kafka")?),
        },
        Goal {
            id: "ack_p99",
            formula: "row acks: p99_ms of tidelog at 30 % of its own maximum ÷ of the reference",
            goal: 2.0,
            side: AtMost,
            rows: &["acks"],
            value: |rows| {
                Some(
                    figure(rows, "acks", "tidelog", "30 % of tidelog", "p99_ms")?
                        / figure(rows, "acks", "reference", "", "p99_ms")?,
                )
            },
        },
        Goal {
            id: "ack_p9999",
            formula: "row acks: p9999_ms of tidelog at 30 % of its own maximum ÷ of the reference",
            goal: 4.0,
            side: AtMost,
            rows: &["acks"],
            value: |rows| {
                Some(
                    figure(rows, "acks", "tidelog", "30 % of tidelog", "p9999_ms")?
                        / figure(rows, "acks", "reference", "", "p9999_ms")?,
                )
            },
        },
        Goal {
            id: "ack_kafka",
            formula: "row acks: p99_ms of tidelog ÷ kafka, both at 30 % of Kafka's maximum",
            goal: 0.5,
            side: AtMost,
            rows: &["acks"],
            value: |rows| {
                let p99 = |broker| figure(rows, "acks", broker, "30 % of kafka", "p99_ms");
                Some(p99("tidelog")? / p99("kafka")?)
            },
        },
        Goal {
            id: "tail_extra",
            formula: "row end_to_end: median over rounds of end_to_end_p99_ms − ack_p99_ms of tidelog",
            goal: 0.3,
            side: AtMost,
            rows: &["end_to_end"],
            value: |rows| figure(rows, "end_to_end", "tidelog", "", "extra_p99_ms"),
        },
        Goal {
            id: "partitions_10k",
            formula: "row partitions_10k: megabytes_per_s of case 10000 ÷ of case 1",
            goal: 0.6,
            side: AtLeast,
            rows: &["partitions_10k"],
            value: |rows| {
                let rate = |case| figure(rows, "partitions_10k", "tidelog", case, RATE);
                Some(rate("10000")? / rate("1")?)
            },
        },
        Goal {
            id: "catch_up",
            formula: "row catch_up: megabytes_per_s of tidelog in case alone ÷ of the reference",
            goal: 0.7,
            side: AtLeast,
            rows: &["catch_up"],
            value: |rows| {
                Some(
                    figure(rows, "catch_up", "tidelog", "alone", RATE)?
                        / figure(rows, "catch_up", "reference", "", RATE)?,
                )
            },
        },
        Goal {
            id: "catch_up_cost",
            formula: "row catch_up: p99_ms of case produce with catch-up ÷ of case produce without",
            goal: 1.5,
            side: AtMost,
            rows: &["catch_up"],
            value: |rows| {
                let p99 = |case| figure(rows, "catch_up", "tidelog", case, "p99_ms");
                Some(p99("produce with catch-up")? / p99("produce without")?)
            },
        },
        Goal {
            id: "partition_bytes",
            formula: "row idle: bytes_per_partition of tidelog (resident bytes with 10,000 more partitions)",
            goal: 8192.0,
            side: AtMost,
            rows: &["idle"],
            value: |rows| figure(rows, "idle", "tidelog", "10000 more", "bytes_per_partition"),
        },
        Goal {
            id: "idle_rss",
            formula: "row idle: resident_bytes of tidelog with 1,000 partitions",
            goal: 52_428_800.0,
            side: Below,
            rows: &["idle"],
            value: |rows| figure(rows, "idle", "tidelog", "1000", "resident_bytes"),
        },
        Goal {
            id: "idle_cpu",
            formula: "row idle: core_percent of tidelog with 1,000 partitions",
            goal: 0.5,
            side: Below,
            rows: &["idle"],
            value: |rows| figure(rows, "idle", "tidelog", "1000", "core_percent"),
        },
        Goal {
            id: "restart",
            formula: "row restart: all_partitions_s of tidelog ÷ first_answer_s of kafka",
            goal: 0.05,
            side: AtMost,
            rows: &["restart"],
            value: |rows| {
                Some(
                    figure(rows, "restart", "tidelog", "", "all_partitions_s")?
                        / figure(rows, "restart", "kafka", "", "first_answer_s")?,
                )
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_follows_from_the_medians_and_one_without_runs_is_marked() {
        let run = |broker: &str, round, rate| Run::new(broker, "", round).with(RATE, rate);
        let row = RowResult {
            id: "produce_512k".to_owned(),
            title: String::new(),
            commit: String::new(),
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
        let rows = Rows::from([(row.id.clone(), row)]);
        let all = goals();
        let produce = all[0].to_json(&rows);
        assert_eq!(produce["value"], json!(4.5));
        assert_eq!(produce["holds"], json!(true));
        assert_eq!(produce["runs"].as_array().map(Vec::len), Some(6));
        let other = all[1].to_json(&rows);
        assert_eq!(other["value"], Value::Null);
        assert_eq!(other["not_run"], json!(true));
        assert_eq!(all.len(), 20, "one per line of the table of goals");
    }

    #[test]
    fn every_row_that_a_goal_names_is_in_the_plan() {
        let rows = super::super::plan::rows();
        for goal in goals() {
            for row in goal.rows {
                assert!(rows.iter().any(|planned| planned.id == *row), "{row}");
            }
        }
    }
}
