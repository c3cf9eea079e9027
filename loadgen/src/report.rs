//! A run as one JSON document. Everything else that is shown (table, HTML, comparison, thresholds) is made from it.
//!
//! The schema is documented in `loadgen/README.md`; its name is in the field `schema`.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::clock::{MILLISECOND, SECOND};
use crate::figures::{Counts, Figures};
use crate::plan::{Phase, Plan, Rate};
use crate::process::Sample;
use crate::run::{PhaseResult, Point, RunResult, WorkloadResult};

/// Name and version of the schema.
pub(crate) const SCHEMA: &str = "tidelog-loadgen/1";
/// More seconds than this are put together in the report's series.
const SERIES_MAX: usize = 3600;

/// What a report is about beside its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Subcommand.
    pub(crate) mode: &'static str,
    /// Whether the headline is reading and not acknowledging.
    pub(crate) headline: Headline,
    /// The user's own name for the run.
    pub(crate) label: Option<String>,
}

/// Which figures stand at the top of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headline {
    /// Acknowledgements of the last phase's producers.
    Acknowledged,
    /// Reading, from the intended send time.
    EndToEnd,
    /// Fetches.
    Fetched,
}

/// The document.
pub(crate) fn document(
    subject: &Subject,
    plan: &Plan,
    run: &RunResult,
    provenance: Value,
) -> Value {
    let last = run.phases.last().expect("a plan has a phase");
    let wanted = |workload: &&WorkloadResult| {
        workload.produces == (subject.headline == Headline::Acknowledged)
    };
    let mut headline = Figures::default();
    let mut seconds: f64 = 0.0;
    for workload in last.workloads.iter().filter(wanted) {
        headline.add(&workload.measured);
        seconds = seconds.max(workload.seconds(last.plan.warmup));
    }
    let (latency, latency_of) = match subject.headline {
        Headline::Acknowledged => (&headline.latency, acknowledgement_of(&last.plan)),
        Headline::EndToEnd => (&headline.end_to_end, "reading, from the intended send time"),
        Headline::Fetched => (&headline.latency, "a fetch, from sending it to its answer"),
    };
    let mut all = Counts::default();
    for workload in run.phases.iter().flat_map(|phase| &phase.workloads) {
        all.add(&workload.counts);
    }
    let reasons = reasons(plan, run);
    let (records, bytes) = match subject.headline {
        Headline::Acknowledged => (headline.counts.acked, headline.counts.value_bytes),
        _ => (headline.counts.read, headline.counts.read_bytes),
    };
    json!({
        "schema": SCHEMA,
        "mode": subject.mode,
        "label": subject.label,
        "valid": reasons.is_empty(),
        "invalid_because": reasons,
        "throughput": throughput(records, bytes, seconds),
        "latency_ms": latency_ms(latency),
        "latency_of": latency_of,
        "records": records_of(&all),
        "errors": errors(run),
        "percentiles": percentile_curve(latency),
        "schedule": schedule(last),
        "generator": { "busy": last.busy },
        "broker_cpu": broker_cpu(last, records, bytes),
        "phases": run.phases.iter().map(phase_json).collect::<Vec<_>>(),
        "plan": plan,
        "provenance": provenance,
    })
}

/// What the latency of a phase's producers counts from.
fn acknowledgement_of(phase: &Phase) -> &'static str {
    if phase
        .produce
        .iter()
        .any(|produce| produce.rate == Rate::Max)
    {
        "acknowledgement, from when the batch was made: at full load there is no schedule, and waiting before that is hidden"
    } else if phase.produce.iter().any(|produce| produce.closed_loop) {
        "acknowledgement, from when the record was looked at (closed loop): a stall delays what follows and hides it"
    } else {
        "acknowledgement, from the intended send time"
    }
}

fn throughput(records: u64, bytes: u64, seconds: f64) -> Value {
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    json!({
        "records_per_s": round(per_second(records as f64), 1),
        "megabytes_per_s": round(per_second(bytes as f64 / 1e6), 3),
        "seconds": round(seconds, 3),
        "records": records,
        "bytes": bytes,
    })
}

/// Milliseconds at the usual percentiles; null where nothing was measured.
pub(crate) fn latency_ms(histogram: &Histogram<u64>) -> Value {
    let at = |value: f64| match histogram.is_empty() {
        true => Value::Null,
        false => json!(round(value / MILLISECOND as f64, 4)),
    };
    let quantile = |quantile| at(histogram.value_at_quantile(quantile) as f64);
    json!({
        "p50": quantile(0.5),
        "p90": quantile(0.9),
        "p99": quantile(0.99),
        "p999": quantile(0.999),
        "p9999": quantile(0.9999),
        "max": at(histogram.max() as f64),
        "mean": at(histogram.mean()),
        "count": histogram.len(),
    })
}

/// Pairs of quantile and milliseconds, denser towards 1.
fn percentile_curve(histogram: &Histogram<u64>) -> Vec<[f64; 2]> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let mut curve = Vec::new();
    let mut rest: f64 = 1.0;
    // Ten steps per factor of ten, up to one record in the sample.
    while rest >= 1.0 / histogram.len() as f64 && rest > 1e-7 {
        let value = histogram.value_at_quantile(1.0 - rest) as f64;
        curve.push([1.0 - rest, round(value / MILLISECOND as f64, 4)]);
        rest /= 10f64.powf(0.1);
    }
    curve.push([1.0, round(histogram.max() as f64 / MILLISECOND as f64, 4)]);
    curve
}

fn records_of(counts: &Counts) -> Value {
    json!({
        "sent": counts.sent,
        "acked": counts.acked,
        "failed": counts.failed,
        "read": counts.read,
        "lost": counts.lost,
        "duplicated": counts.duplicated,
        "reordered": counts.reordered,
        "corrupt": counts.corrupt,
        "foreign": counts.foreign,
        "reconnects": counts.reconnects,
        "requests": counts.requests,
    })
}

fn errors(run: &RunResult) -> Value {
    let mut errors = Map::new();
    for workload in run.phases.iter().flat_map(|phase| &phase.workloads) {
        for (error, count) in &workload.measured.errors {
            let before = errors.get(error).and_then(Value::as_u64).unwrap_or(0);
            errors.insert(error.clone(), json!(before + count));
        }
    }
    Value::Object(errors)
}

/// How well the generator held its own schedule.
fn schedule(phase: &PhaseResult) -> Value {
    let mut lateness = crate::figures::histogram();
    let mut behind = 0;
    let mut behind_ms: f64 = 0.0;
    for (workload, produce) in phase.workloads.iter().zip(&phase.plan.produce) {
        lateness
            .add(&workload.measured.lateness)
            .expect("a growing histogram takes every value");
        behind += workload.behind;
        if let Rate::PerSecond(rate) = produce.rate {
            behind_ms = behind_ms.max(workload.behind as f64 * 1000.0 / rate);
        }
    }
    let ms = |value: u64| round(value as f64 / MILLISECOND as f64, 4);
    json!({
        "late_ms": { "p50": ms(lateness.value_at_quantile(0.5)), "p99": ms(lateness.value_at_quantile(0.99)), "max": ms(lateness.max()) },
        "behind_records": behind,
        "behind_ms": round(behind_ms, 1),
    })
}

/// Why nobody should rely on the numbers.
fn reasons(plan: &Plan, run: &RunResult) -> Vec<String> {
    let mut reasons = Vec::new();
    for phase in &run.phases {
        let name = &phase.plan.name;
        if phase.aborted {
            reasons.push(format!("{name}: ended early"));
        }
        for (workload, produce) in phase.workloads.iter().zip(&phase.plan.produce) {
            let late =
                workload.measured.lateness.value_at_quantile(0.99) as f64 / MILLISECOND as f64;
            if late > plan.lateness_max_ms {
                reasons.push(format!(
                    "{name}: the generator was {late:.1} ms late at the 99th percentile of its own schedule"
                ));
            }
            if let Rate::PerSecond(rate) = produce.rate {
                let behind = workload.behind as f64 / rate;
                if behind > (phase.plan.duration as f64 / 100.0).max(0.1) {
                    let records = workload.behind;
                    reasons.push(format!(
                        "{name}: the rate was not held: {records} records, {behind:.2} s of the schedule, were not sent at its end"
                    ));
                }
            }
        }
        for workload in &phase.workloads {
            let counts = &workload.counts;
            let bad = [
                (counts.failed, "failed"),
                (counts.lost, "lost"),
                (counts.duplicated, "duplicated"),
                (counts.reordered, "reordered"),
                (counts.corrupt, "corrupt"),
            ];
            for (count, what) in bad.into_iter().filter(|(count, _)| *count > 0) {
                reasons.push(format!(
                    "{name}: {count} records {what} ({})",
                    workload.name
                ));
            }
            if workload.fell_short > 0 {
                reasons.push(format!(
                    "{name}: {} partitions were not read to their end ({})",
                    workload.fell_short, workload.name
                ));
            }
            let measured = &workload.measured.counts;
            if measured.acked + measured.read == 0 {
                reasons.push(format!("{name}: nothing was measured ({})", workload.name));
            }
        }
    }
    reasons
}

fn broker_cpu(phase: &PhaseResult, records: u64, bytes: u64) -> Value {
    let begun = phase.plan.warmup * SECOND;
    let samples: Vec<&Sample> = phase
        .broker
        .iter()
        .filter(|sample| sample.at >= begun)
        .collect();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Value::Null;
    };
    let cpu = last.cpu.saturating_sub(first.cpu) as f64 / SECOND as f64;
    let wall = last.at.saturating_sub(first.at) as f64 / SECOND as f64;
    let ratio = |over: f64, under: f64| {
        if under > 0.0 {
            json!(round(over / under, 4))
        } else {
            Value::Null
        }
    };
    json!({
        "cpu_s": round(cpu, 3),
        "seconds": round(wall, 3),
        "core_percent": ratio(cpu * 100.0, wall),
        "cpu_s_per_gb": ratio(cpu, bytes as f64 / 1e9),
        "cpu_us_per_record": ratio(cpu * 1e6, records as f64),
        "resident_bytes_max": samples.iter().map(|sample| sample.resident).max(),
    })
}

fn phase_json(phase: &PhaseResult) -> Value {
    json!({
        "name": phase.plan.name,
        "began": crate::provenance::utc(phase.began_ms / 1000),
        "duration": phase.plan.duration,
        "warmup": phase.plan.warmup,
        "generator_busy": phase.busy,
        "schedule": schedule(phase),
        "workloads": phase.workloads.iter().map(|workload| workload_json(phase, workload)).collect::<Vec<_>>(),
        "broker": broker_series(&phase.broker),
    })
}

fn workload_json(phase: &PhaseResult, workload: &WorkloadResult) -> Value {
    let seconds = workload.seconds(phase.plan.warmup);
    let counts = &workload.measured.counts;
    let (kind, amount) = match workload.produces {
        true => (
            "produce",
            throughput(counts.acked, counts.value_bytes, seconds),
        ),
        false => (
            "consume",
            throughput(counts.read, counts.read_bytes, seconds),
        ),
    };
    json!({
        "name": workload.name,
        "kind": kind,
        "throughput": amount,
        "latency_ms": latency_ms(&workload.measured.latency),
        "end_to_end_ms": latency_ms(&workload.measured.end_to_end),
        "records": records_of(&workload.counts),
        "behind_records": workload.behind,
        "errors": workload.measured.errors,
        "percentiles": percentile_curve(&workload.measured.latency),
        "end_to_end_percentiles": percentile_curve(&workload.measured.end_to_end),
        "seconds": series(&workload.series),
    })
}

/// One row per second, or per several where there are too many.
fn series(points: &[Point]) -> Vec<Value> {
    let width = points.len().div_ceil(SERIES_MAX).max(1);
    points
        .chunks(width)
        .map(|points| {
            let mut counts = Counts::default();
            for point in points {
                counts.add(&point.counts);
            }
            let worst = |which: fn(&Point) -> [u64; 3], at: usize| {
                let value = points.iter().map(|point| which(point)[at]).max().unwrap_or(0);
                round(value as f64 / MILLISECOND as f64, 4)
            };
            let of = |which: fn(&Point) -> [u64; 3]| {
                json!({ "p50": worst(which, 0), "p99": worst(which, 1), "max": worst(which, 2) })
            };
            json!({
                "second": points[0].second,
                "seconds": points.len(),
                "acked": counts.acked,
                "read": counts.read,
                "bytes": counts.value_bytes + counts.read_bytes,
                "failed": counts.failed,
                "backlog": points.last().map(|point| point.counts.backlog),
                "latency_ms": of(|point| point.latency),
                "end_to_end_ms": of(|point| point.end_to_end),
            })
        })
        .collect()
}

/// Share of a core and memory between two looks at the broker.
fn broker_series(samples: &[Sample]) -> Vec<Value> {
    let width = samples.len().div_ceil(SERIES_MAX).max(1);
    let kept: Vec<&Sample> = samples.iter().step_by(width).collect();
    kept.windows(2)
        .filter(|pair| pair[1].at > pair[0].at + SECOND / 2)
        .map(|pair| {
            let share = (pair[1].cpu - pair[0].cpu) as f64 / (pair[1].at - pair[0].at) as f64;
            json!({
                "second": round(pair[1].at as f64 / SECOND as f64, 1),
                "core_percent": round(share * 100.0, 1),
                "resident_bytes": pair[1].resident,
            })
        })
        .collect()
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
