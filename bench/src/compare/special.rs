//! The rows that need more than loads: catching up beside the bare disk, 10,000 partitions, an idle node.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::plan;
use super::result::Run;
use super::{Bench, LOAD_GRACE_SECONDS, Usage, say, to_run};
use crate::broker::{Broker, Kind};
use crate::load::{Load, Mode, Pace};
use crate::machine;
use crate::references::disk;
use crate::wire::Wire;
use crate::{Error, Result};

const CATCH_UP_BYTES_MIN: f64 = 4e9;
const IDLE_PARTITIONS: i32 = 1000;
const MORE_PARTITIONS: i32 = 10_000;

impl Bench {
    pub(super) fn catch_up(&mut self) -> Result<Vec<Run>> {
        let fill = plan::produce(1, 1, 1024, 512 << 10);
        self.only(Kind::Tidelog)?;
        let topic = self.create_topic(Kind::Tidelog, 1)?;
        let mut bytes = 0.0;
        while bytes < CATCH_UP_BYTES_MIN {
            let (outcome, usage) = self.load_into(Kind::Tidelog, &fill, &topic)?;
            bytes += written(&to_run(Kind::Tidelog, "fill", 0, &outcome, &usage))? * 1e9;
        }
        // What was written behind the acknowledgements is in the segments by now.
        std::thread::sleep(Duration::from_secs(12));
        let read = Load {
            mode: Mode::CatchUp,
            consumers: 1,
            seconds: 30.0,
            ..fill.clone()
        };
        let files = self.segments(&topic)?;
        let mut runs = Vec::new();
        for round in 0..self.rounds(3) {
            self.pause_all();
            let bare = disk::read(&files)?;
            let reference = Run::new("reference", "", round)
                .with("megabytes_per_s", bare.megabytes_per_s)
                .with("cpu_s_per_gb", bare.cpu_s_per_gb);
            say(&reference);
            runs.push(reference);
            self.only(Kind::Tidelog)?;
            let (outcome, usage) = self.load_into(Kind::Tidelog, &read, &topic)?;
            let mut run = to_run(Kind::Tidelog, "alone", round, &outcome, &usage);
            if let Some(records) = outcome.number("records.read") {
                run = run.with("cpu_s_per_gb", usage.cpu_seconds / (records * 1024.0 / 1e9));
            }
            say(&run);
            runs.push(run);
        }
        runs.extend(self.catch_up_while_producing(&read, &topic)?);
        self.delete_topic(Kind::Tidelog, &topic)?;
        Ok(runs)
    }

    fn catch_up_while_producing(&mut self, read: &Load, topic: &str) -> Result<Vec<Run>> {
        let single = Load {
            linger_ms: 0,
            ..plan::produce(16, 16, 1024, 1024)
        };
        let produce = Load {
            pace: Pace::Rate(0.3 * self.maximum(Kind::Tidelog, &single)?),
            seconds: 12.0,
            ..single
        };
        let mut runs = Vec::new();
        for round in 0..self.rounds(3) {
            for case in ["produce without", "produce with catch-up"] {
                let other = self.create_topic(Kind::Tidelog, produce.partitions)?;
                machine::settle();
                let pid = self.brokers[&Kind::Tidelog].pid();
                let usage = Usage::begin(pid)?;
                let writing = self.start(Kind::Tidelog, &produce, &other, "produce")?;
                std::thread::sleep(Duration::from_secs(1));
                let mut gigabytes = 0.0;
                if case != "produce without" {
                    let end = Instant::now() + Duration::from_secs_f64(produce.seconds - 1.0);
                    // The generator's core does both; the consumer goes last, so that it does not delay the producer.
                    while Instant::now() < end {
                        let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
                        let read = Load {
                            seconds: left.max(1.0),
                            ..read.clone()
                        };
                        let reading = self.start_behind(&read, topic)?;
                        let found = reading.finish(read.seconds + LOAD_GRACE_SECONDS)?;
                        gigabytes += found.number("records.read").unwrap_or(0.0) * 1024.0 / 1e9;
                    }
                }
                let outcome = writing.finish(produce.seconds + LOAD_GRACE_SECONDS)?;
                let usage = usage.end(pid)?;
                let run = to_run(Kind::Tidelog, case, round, &outcome, &usage)
                    .with("gigabytes_read", gigabytes);
                say(&run);
                runs.push(run);
                self.delete_topic(Kind::Tidelog, &other)?;
            }
        }
        Ok(runs)
    }

    fn start_behind(&self, load: &Load, topic: &str) -> Result<crate::load::Running> {
        let running = self.start(Kind::Tidelog, load, topic, "behind")?;
        running.lower_priority();
        Ok(running)
    }

    /// The segment files of a topic's partitions.
    fn segments(&self, topic: &str) -> Result<Vec<PathBuf>> {
        let data = self.brokers[&Kind::Tidelog].data();
        let mut files = Vec::new();
        for folder in list(data)? {
            let name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let of_topic = name.rsplit_once('-').is_some_and(|(of, _)| of == topic);
            if of_topic {
                let found = list(&folder)?.into_iter();
                files.extend(found.filter(|file| file.extension().is_some_and(|end| end == "log")));
            }
        }
        files.sort();
        Ok(files)
    }

    pub(super) fn many_partitions(&mut self, bytes_min: u64) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for round in 0..self.rounds(2) {
            for partitions in [1, MORE_PARTITIONS] {
                self.only(Kind::Tidelog)?;
                let load = plan::produce(partitions, 16, 1024, 16 << 10);
                let topic = self.create_topic(Kind::Tidelog, partitions)?;
                let mut parts = Vec::new();
                let mut bytes = 0.0;
                while bytes < bytes_min as f64 {
                    let load = Load {
                        seconds: 20.0,
                        ..load.clone()
                    };
                    let (outcome, usage) = self.load_into(Kind::Tidelog, &load, &topic)?;
                    let run = to_run(
                        Kind::Tidelog,
                        &partitions.to_string(),
                        round,
                        &outcome,
                        &usage,
                    );
                    say(&run);
                    bytes += written(&run)? * 1e9;
                    parts.push(run);
                }
                self.check_every_partition(&topic, partitions)?;
                runs.push(joined(&parts));
                self.delete_topic(Kind::Tidelog, &topic)?;
            }
        }
        Ok(runs)
    }

    /// A throughput over partitions of which some were left out would be that of fewer partitions.
    fn check_every_partition(&self, topic: &str, partitions: i32) -> Result<()> {
        let mut wire = Wire::connect(self.brokers[&Kind::Tidelog].address())?;
        for partition in 0..partitions {
            if !wire.fetch_first(topic, partition)? {
                return Err(Error::failed(format!("nothing is in {topic}-{partition}")));
            }
        }
        Ok(())
    }

    pub(super) fn idle(&mut self) -> Result<Vec<Run>> {
        // A process that has done nothing yet.
        self.brokers.remove(&Kind::Tidelog);
        self.pause_all();
        let settings = [];
        let broker = Broker::start(&self.site, Kind::Tidelog, &settings)?;
        let mut runs = vec![idle_run(&broker, "0", 5.0)?];
        let mut wire = Wire::connect(broker.address())?;
        wire.create_topic("idle", IDLE_PARTITIONS, &[])?;
        std::thread::sleep(Duration::from_secs(12));
        let few = idle_run(&broker, "1000", 30.0)?;
        let before = few.figures["resident_bytes"];
        runs.push(few);
        wire.create_topic("more", MORE_PARTITIONS, &[])?;
        std::thread::sleep(Duration::from_secs(12));
        let many = idle_run(&broker, "10000 more", 10.0)?;
        let each = (many.figures["resident_bytes"] - before) / f64::from(MORE_PARTITIONS);
        runs.push(many.with("bytes_per_partition", each));
        drop(broker);
        if !self.quick {
            self.brokers.clear();
            let broker = Broker::start(&self.site, Kind::Kafka, &[])?;
            Wire::connect(broker.address())?.create_topic("idle", IDLE_PARTITIONS, &[])?;
            std::thread::sleep(Duration::from_secs(15));
            runs.push(idle_run(&broker, "1000", 30.0)?);
        }
        Ok(runs)
    }
}

/// Gigabytes that a run wrote; nothing at all is a failure, and filling up would never end.
pub(super) fn written(run: &Run) -> Result<f64> {
    let gigabytes = run.figures.get("gigabytes_written").copied();
    let gigabytes = gigabytes.filter(|gigabytes| *gigabytes > 0.0);
    gigabytes.ok_or_else(|| {
        let reasons = run.invalid_because.join("; ");
        Error::failed(format!("nothing was written: {reasons}"))
    })
}

/// Several runs into the same topic as one.
fn joined(parts: &[Run]) -> Run {
    let sum = |name: &str| -> f64 { parts.iter().filter_map(|run| run.figures.get(name)).sum() };
    let largest = |name: &str| -> f64 {
        parts
            .iter()
            .filter_map(|run| run.figures.get(name).copied())
            .fold(0.0, f64::max)
    };
    let gigabytes = sum("gigabytes_written");
    let seconds: f64 = parts
        .iter()
        .map(|run| {
            run.figures["gigabytes_written"] * 1000.0 / run.figures["megabytes_per_s"].max(1e-9)
        })
        .sum();
    let first = &parts[0];
    let mut run = Run::new(&first.broker, &first.case, first.round)
        .with("megabytes_per_s", gigabytes * 1000.0 / seconds)
        .with("gigabytes_written", gigabytes)
        .with("cpu_seconds", sum("cpu_seconds"))
        .with("cpu_s_per_gb", sum("cpu_seconds") / gigabytes)
        .with("peak_resident_bytes", largest("peak_resident_bytes"))
        .with("p99_ms", largest("p99_ms"));
    run.valid = parts.iter().all(|part| part.valid);
    run.invalid_because = parts
        .iter()
        .flat_map(|part| part.invalid_because.clone())
        .collect();
    run
}

fn idle_run(broker: &Broker, case: &str, seconds: f64) -> Result<Run> {
    let (cpu, begun) = (broker.cpu_seconds()?, Instant::now());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let used = broker.cpu_seconds()? - cpu;
    let percent = 100.0 * used / begun.elapsed().as_secs_f64();
    let resident = machine::resident_bytes(broker.pid())? as f64;
    eprintln!(
        "{} with {case} partitions: {:.1} MB resident, {percent:.2} % of a core",
        broker.kind().name(),
        resident / 1e6
    );
    Ok(Run::new(broker.kind().name(), case, 0)
        .with("resident_bytes", resident)
        .with("core_percent", percent))
}

fn list(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).map_err(Error::io(format!("listing {}", folder.display())))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect())
}
