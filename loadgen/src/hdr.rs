//! Latencies second by second in HdrHistogram's log format, for its own tools (HistogramLogAnalyzer, hdr-plot).

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::run::RunResult;

/// Values are nanoseconds; the column of maxima is in milliseconds. Tags are the workloads' names.
pub(crate) fn log(run: &RunResult) -> Result<String, Box<dyn Error>> {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let began = run.phases.first().map_or(0, |phase| phase.began_ms);
    let began = UNIX_EPOCH + Duration::from_millis(began.max(0).unsigned_abs());
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("latency in nanoseconds, one line per workload and second")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6);
    let mut writer = builder.begin_log_with(&mut text, &mut serializer)?;
    let mut offset = 0;
    for phase in &run.phases {
        for workload in &phase.workloads {
            // Tags end at a comma or a space.
            let name: String = workload
                .name
                .chars()
                .map(|c| {
                    if c == ',' || c.is_whitespace() {
                        '-'
                    } else {
                        c
                    }
                })
                .collect();
            for (second, histogram) in &workload.log {
                let at = Duration::from_secs(offset + second);
                let tag = Tag::new(&name);
                writer
                    .write_histogram(histogram, at, Duration::from_secs(1), tag)
                    .map_err(|error| format!("the HDR log cannot be written: {error:?}"))?;
            }
        }
        offset += phase.plan.duration;
    }
    drop(writer);
    Ok(String::from_utf8(text)?)
}
