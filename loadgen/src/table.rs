//! The final table, made from the JSON document.

use std::fmt::Write;

use serde_json::Value;

const QUANTILES: [(&str, &str); 6] = [
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p999"),
    ("p99.99", "p9999"),
    ("max", "max"),
];

/// What a person wants to know at the end of a run.
pub(crate) fn render(document: &Value) -> String {
    let mut text = String::new();
    let phases = document["phases"].as_array().map_or(&[][..], Vec::as_slice);
    for phase in phases {
        if phases.len() > 1 {
            let _ = writeln!(text, "\nphase {}", word(&phase["name"]));
        }
        let workloads = phase["workloads"].as_array().map_or(&[][..], Vec::as_slice);
        for workload in workloads {
            render_workload(&mut text, workload);
        }
        let late = &phase["schedule"]["late_ms"];
        if late["max"].as_f64().is_some_and(|max| max > 0.0) {
            let behind = &phase["schedule"]["behind_records"];
            let _ = writeln!(
                text,
                "  schedule    p99 {} ms late, max {} ms, {behind} records behind at its end",
                number(&late["p99"], 3),
                number(&late["max"], 3)
            );
        }
    }
    let _ = writeln!(text, "latency of    {}", word(&document["latency_of"]));
    if let Some(percent) = document["broker_cpu"]["core_percent"].as_f64() {
        let cpu = &document["broker_cpu"];
        let _ = writeln!(
            text,
            "broker        {percent:.1} % of a core, {} CPU-s/GB, {} MiB resident at most",
            number(&cpu["cpu_s_per_gb"], 3),
            cpu["resident_bytes_max"].as_u64().unwrap_or(0) >> 20
        );
    }
    let records = &document["records"];
    let _ = write!(text, "records      ");
    for name in [
        "sent",
        "acked",
        "failed",
        "read",
        "lost",
        "duplicated",
        "reordered",
        "corrupt",
    ] {
        let _ = write!(text, " {} {name}", records[name]);
    }
    text.push('\n');
    for (error, count) in document["errors"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "error         {error}: {count} records");
    }
    let reasons = document["invalid_because"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for reason in reasons {
        let _ = writeln!(text, "INVALID       {}", word(reason));
    }
    for threshold in document["thresholds"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
    {
        let verdict = if threshold["holds"] == true {
            "holds "
        } else {
            "MISSED"
        };
        let _ = writeln!(
            text,
            "threshold     {verdict} {} (is {})",
            word(&threshold["expression"]),
            threshold["value"]
        );
    }
    text
}

fn render_workload(text: &mut String, workload: &Value) {
    let throughput = &workload["throughput"];
    let _ = writeln!(
        text,
        "{:<13} {} records/s, {} MB/s over {} s",
        word(&workload["name"]),
        number(&throughput["records_per_s"], 0),
        number(&throughput["megabytes_per_s"], 1),
        number(&throughput["seconds"], 1)
    );
    for (title, field) in [
        ("latency ms", "latency_ms"),
        ("end to end", "end_to_end_ms"),
    ] {
        let latency = &workload[field];
        if latency["count"].as_u64().unwrap_or(0) == 0 {
            continue;
        }
        let _ = write!(text, "  {title:<11}");
        for (name, key) in QUANTILES {
            let _ = write!(text, " {name} {} ", number(&latency[key], 3));
        }
        text.push('\n');
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number with so many digits, and thousands set apart.
pub(crate) fn number(value: &Value, digits: usize) -> String {
    let Some(value) = value.as_f64() else {
        return "-".into();
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0
            && (whole.len() - index).is_multiple_of(3)
            && digit.is_ascii_digit()
            && !grouped.ends_with('-')
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() {
        grouped
    } else {
        format!("{grouped}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (value, digits, text) in [
            (1_234_567.891, 1, "1,234,567.9"),
            (999.0, 0, "999"),
            (-1000.0, 0, "-1,000"),
            (0.1234, 3, "0.123"),
        ] {
            assert_eq!(number(&serde_json::json!(value), digits), text);
        }
    }
}
