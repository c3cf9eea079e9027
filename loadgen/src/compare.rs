//! `loadgen compare`: results side by side, with the spread over repeats.

use std::error::Error;
use std::fs;

use serde_json::{Map, Value, json};

use crate::flags::CompareMode;
use crate::table::number;

/// Rows: title, where the value stands, digits.
const ROWS: [(&str, &[&str], usize); 12] = [
    ("records/s", &["throughput", "records_per_s"], 0),
    ("MB/s", &["throughput", "megabytes_per_s"], 1),
    ("p50 ms", &["latency_ms", "p50"], 3),
    ("p90 ms", &["latency_ms", "p90"], 3),
    ("p99 ms", &["latency_ms", "p99"], 3),
    ("p99.9 ms", &["latency_ms", "p999"], 3),
    ("p99.99 ms", &["latency_ms", "p9999"], 3),
    ("max ms", &["latency_ms", "max"], 3),
    ("mean ms", &["latency_ms", "mean"], 3),
    ("broker CPU-s/GB", &["broker_cpu", "cpu_s_per_gb"], 3),
    ("broker core %", &["broker_cpu", "core_percent"], 1),
    ("broker RSS bytes", &["broker_cpu", "resident_bytes_max"], 0),
];

/// Results that are repeats of each other.
struct Column {
    title: String,
    documents: Vec<Value>,
}

/// Prints the table; whether every result is valid.
pub(crate) fn compare(mode: &CompareMode) -> Result<bool, Box<dyn Error>> {
    let columns = columns(&mode.results)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    let width = columns
        .iter()
        .map(|column| column.title.chars().count())
        .max()
        .unwrap_or(0)
        .max(34);
    let mut head = format!("{:<18}", "");
    for column in &columns {
        head.push_str(&format!("{:>width$}  ", column.title));
    }
    text.push_str(head.trim_end());
    text.push('\n');
    for (title, path, digits) in ROWS {
        let spreads: Vec<Option<Spread>> = columns
            .iter()
            .map(|column| Spread::of(&column.documents, path))
            .collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let first = spreads[0];
        let mut line = format!("{title:<18}");
        for spread in &spreads {
            line.push_str(&format!(
                "{:>width$}  ",
                cell(spread.as_ref(), first.as_ref(), digits)
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        rows.push(json!({ "figure": title, "columns": spreads.iter().map(|spread| spread.map(Spread::json)).collect::<Vec<_>>() }));
    }
    let mut valid = true;
    for column in &columns {
        for document in column
            .documents
            .iter()
            .filter(|document| document["valid"] != true)
        {
            valid = false;
            text.push_str(&format!(
                "INVALID {}: {}\n",
                column.title, document["invalid_because"]
            ));
        }
    }
    print!("{text}");
    if let Some(path) = &mode.json {
        let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
        let document = json!({ "columns": titles, "rows": rows, "valid": valid });
        fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?;
    }
    Ok(valid)
}

/// Median, least, most, and the ratio of medians to the first column's.
fn cell(spread: Option<&Spread>, first: Option<&Spread>, digits: usize) -> String {
    let Some(spread) = spread else {
        return "-".into();
    };
    let show = |value: f64| number(&json!(value), digits);
    let mut text = show(spread.median);
    if spread.repeats > 1 {
        text.push_str(&format!(" [{}–{}]", show(spread.least), show(spread.most)));
    }
    match first {
        Some(first) if !std::ptr::eq(first, spread) && first.median != 0.0 => {
            text.push_str(&format!(" ×{:.2}", spread.median / first.median));
        }
        _ => {}
    }
    text
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
    repeats: usize,
}

impl Spread {
    fn of(documents: &[Value], path: &[&str]) -> Option<Spread> {
        let at = |document: &Value| {
            path.iter()
                .fold(document.clone(), |value, key| value[*key].clone())
                .as_f64()
        };
        let mut values: Vec<f64> = documents.iter().filter_map(at).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Spread {
            median,
            least,
            most,
            repeats: values.len(),
        })
    }

    fn json(self) -> Value {
        let mut map = Map::new();
        map.insert("median".into(), json!(self.median));
        map.insert("least".into(), json!(self.least));
        map.insert("most".into(), json!(self.most));
        map.insert("repeats".into(), json!(self.repeats));
        Value::Object(map)
    }
}

fn columns(results: &[String]) -> Result<Vec<Column>, Box<dyn Error>> {
    let mut columns: Vec<Column> = Vec::new();
    for joined in results {
        let mut documents = Vec::new();
        for file in joined.split(',') {
            let text =
                fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
            let document: Value =
                serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
            if document["schema"] != crate::report::SCHEMA {
                return Err(format!("{file} is not a result of this load generator").into());
            }
            documents.push(document);
        }
        let label = documents[0]["label"].as_str().map(str::to_owned);
        let title = label.clone().unwrap_or_else(|| joined.clone());
        let same = columns
            .iter_mut()
            .find(|column| label.is_some() && column.title == title);
        match same {
            Some(column) => column.documents.extend(documents),
            None => columns.push(Column { title, documents }),
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_become_a_median_and_a_spread() {
        let documents: Vec<Value> = [5.0, 1.0, 3.0]
            .iter()
            .map(|p99| json!({ "latency_ms": { "p99": p99 } }))
            .collect();
        let spread = Spread::of(&documents, &["latency_ms", "p99"]).unwrap();
        assert_eq!(
            (spread.median, spread.least, spread.most, spread.repeats),
            (3.0, 1.0, 5.0, 3)
        );
        assert_eq!(Spread::of(&documents, &["latency_ms", "p50"]), None);
    }
}
