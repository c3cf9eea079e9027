//! `--fail-if 'p99>5ms'`: when a run has to count as failed.

use std::str::FromStr;

use serde_json::{Value, json};

/// One condition under which the run failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    figure: String,
    comparison: Comparison,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What is wrong with an expression.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a condition: give FIGURE>LIMIT or FIGURE<LIMIT, for instance p99>5ms, records_per_s<100000, lost>0"
)]
pub(crate) struct ThresholdError(String);

const LATENCIES: [(&str, &str); 9] = [
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p999"),
    ("p999", "p999"),
    ("p99.99", "p9999"),
    ("p9999", "p9999"),
    ("max", "max"),
    ("mean", "mean"),
];
const SECTIONS: [(&str, &[&str]); 3] = [
    ("throughput", &["records_per_s", "megabytes_per_s"]),
    (
        "records",
        &[
            "sent",
            "acked",
            "failed",
            "read",
            "lost",
            "duplicated",
            "reordered",
            "corrupt",
            "foreign",
            "reconnects",
        ],
    ),
    (
        "broker_cpu",
        &["cpu_s_per_gb", "core_percent", "resident_bytes_max"],
    ),
];

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let bad = || ThresholdError(text.into());
        let at = text.find(['<', '>']).ok_or_else(bad)?;
        let (figure, rest) = (text[..at].trim(), &text[at..]);
        let (comparison, rest) = match (rest.starts_with('>'), rest[1..].strip_prefix('=')) {
            (true, Some(rest)) => (Comparison::AtLeast, rest),
            (true, None) => (Comparison::Above, &rest[1..]),
            (false, Some(rest)) => (Comparison::AtMost, rest),
            (false, None) => (Comparison::Below, &rest[1..]),
        };
        let is_latency = LATENCIES.iter().any(|(name, _)| *name == figure);
        if !is_latency && place(figure).is_none() {
            return Err(bad());
        }
        let rest = rest.trim();
        let (number, scale) = match (is_latency, rest) {
            (true, rest) if rest.ends_with("us") => (&rest[..rest.len() - 2], 1e-3),
            (true, rest) if rest.ends_with("ms") => (&rest[..rest.len() - 2], 1.0),
            (true, rest) if rest.ends_with('s') => (&rest[..rest.len() - 1], 1e3),
            (_, rest) => (rest, 1.0),
        };
        let number: f64 = number.trim().replace('_', "").parse().map_err(|_| bad())?;
        Ok(Self {
            text: text.into(),
            figure: figure.into(),
            comparison,
            limit: number * scale,
        })
    }
}

/// Section and field of a figure that is not a latency.
fn place(figure: &str) -> Option<(&'static str, &str)> {
    SECTIONS
        .iter()
        .find(|(_, fields)| fields.contains(&figure))
        .map(|(section, _)| (*section, figure))
}

impl Threshold {
    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the condition is true of the document, for a condition that is to be met.
    pub(crate) fn judge_met(&self, document: &Value) -> bool {
        let judged = self.judge(document);
        judged["value"].is_number() && judged["holds"] == false
    }

    /// What came of it. A figure that was not measured counts as missed.
    pub(crate) fn judge(&self, document: &Value) -> Value {
        let latency = LATENCIES.iter().find(|(name, _)| *name == self.figure);
        let value = match latency {
            Some((_, field)) => &document["latency_ms"][*field],
            None => place(&self.figure)
                .map_or(&Value::Null, |(section, field)| &document[section][field]),
        };
        let holds = value.as_f64().is_some_and(|value| match self.comparison {
            Comparison::Above => value <= self.limit,
            Comparison::AtLeast => value < self.limit,
            Comparison::Below => value >= self.limit,
            Comparison::AtMost => value > self.limit,
        });
        json!({ "expression": format!("not {}", self.text), "value": value, "holds": holds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let document = json!({
            "latency_ms": { "p99": 4.0, "p999": 20.0 },
            "throughput": { "records_per_s": 1000.0 },
            "records": { "lost": 0 },
        });
        text.parse::<Threshold>().unwrap().judge(&document)["holds"] == true
    }

    #[test]
    fn a_threshold_is_held_against_its_figure_in_its_unit() {
        assert!(holds("p99>5ms") && !holds("p99>3.9ms") && !holds("p99 >= 4ms"));
        assert!(holds("p99.9>0.1s") && !holds("p99.9>19000us"));
        assert!(
            holds("records_per_s<1000")
                && !holds("records_per_s<=1000")
                && !holds("records_per_s<2_000")
        );
        assert!(holds("lost>0"));
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        assert!(!holds("p50>1s"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["p98>5ms", "p99", "p99>fast", "p99=5", "lost>0ms", ""] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
