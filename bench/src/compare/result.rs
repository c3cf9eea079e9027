//! What was measured: raw runs, kept row by row in files, and the statistics over them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One run, with everything that was measured in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// `tidelog`, `kafka`, `kafka_flush` or `reference`.
    pub broker: String,
    /// What distinguishes it from other runs of the row.
    pub case: String,
    /// Which repeat.
    pub round: u32,
    /// Whether it counts: the generator held its own schedule and lost nothing.
    pub valid: bool,
    /// Why it does not count.
    #[serde(default)]
    pub invalid_because: Vec<String>,
    /// Figures by name: `megabytes_per_s`, `cpu_s_per_gb`, `p99_ms`, …
    pub figures: BTreeMap<String, f64>,
}

impl Run {
    /// A run without figures yet.
    pub fn new(broker: &str, case: &str, round: u32) -> Run {
        Run {
            broker: broker.to_owned(),
            case: case.to_owned(),
            round,
            valid: true,
            invalid_because: Vec::new(),
            figures: BTreeMap::new(),
        }
    }

    /// The run does not count.
    #[must_use]
    pub fn invalid(mut self, reason: &str) -> Run {
        self.valid = false;
        self.invalid_because.push(reason.to_owned());
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Run {
        self.figures.insert(name.to_owned(), value);
        self
    }
}

/// All runs of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowResult {
    /// The row.
    pub id: String,
    /// For readers.
    pub title: String,
    /// The commit that was measured.
    pub commit: String,
    /// Whether it was measured with the shorter runs of `--quick`.
    pub quick: bool,
    /// How long it took.
    pub seconds: f64,
    /// The runs, in the order in which they happened.
    pub runs: Vec<Run>,
}

/// Median and range of a figure over runs.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl RowResult {
    /// The row's file.
    pub fn load(directory: &Path, id: &str) -> Option<RowResult> {
        let text = std::fs::read_to_string(directory.join(format!("{id}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps the row, so that a resumed run need not measure it again.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data");
        let path = directory.join(format!("{}.json", self.id));
        std::fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// The runs of one broker in one case.
    pub fn select<'r>(&'r self, broker: &'r str, case: &'r str) -> impl Iterator<Item = &'r Run> {
        self.runs
            .iter()
            .filter(move |run| run.broker == broker && run.case == case)
    }

    /// Median and range of a figure over the runs that count.
    pub fn spread(&self, broker: &str, case: &str, figure: &str) -> Option<Spread> {
        let mut found: Vec<f64> = self
            .select(broker, case)
            .filter(|run| run.valid)
            .filter_map(|run| run.figures.get(figure).copied())
            .collect();
        found.sort_by(f64::total_cmp);
        let (min, max) = (*found.first()?, *found.last()?);
        let middle = found.len() / 2;
        let median = if found.len().is_multiple_of(2) {
            f64::midpoint(found[middle - 1], found[middle])
        } else {
            found[middle]
        };
        Some(Spread { median, min, max })
    }

    /// The median of a figure.
    pub fn median(&self, broker: &str, case: &str, figure: &str) -> Option<f64> {
        self.spread(broker, case, figure)
            .map(|spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_valid_runs_alone() {
        let run = |round, valid, value| Run {
            valid,
            ..Run::new("tidelog", "", round).with("x", value)
        };
        let mut row = RowResult {
            id: "row".to_owned(),
            title: String::new(),
            commit: String::new(),
            quick: false,
            seconds: 0.0,
            runs: vec![run(0, true, 1.0), run(1, false, 100.0), run(2, true, 3.0)],
        };
        let spread = row.spread("tidelog", "", "x").expect("it was measured");
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        row.runs.retain(|run| !run.valid);
        assert_eq!(row.median("tidelog", "", "x"), None);
        assert_eq!(row.median("kafka", "", "x"), None);
    }
}
