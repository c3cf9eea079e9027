//! The rows that are nothing but loads: produce in alternation, acknowledgements, end to end, tailing consumers.

use std::time::{Duration, Instant};

use super::plan;
use super::result::Run;
use super::{Bench, LOAD_GRACE_SECONDS, ROW_WARM_UP_SECONDS, Usage, say, to_run};
use crate::broker::Kind;
use crate::load::{Load, Mode, Pace};
use crate::machine;
use crate::references::{self, References};
use crate::{Error, Result};

/// Part of the highest rate at which latency is looked at.
const MODERATE: f64 = 0.3;
/// Bytes a second that tailing consumers follow.
const TAIL_BYTES_PER_S: f64 = 50e6;

impl Bench {
    pub(super) fn references(&mut self) -> Result<Vec<Run>> {
        self.pause_all();
        let mut runs = Vec::new();
        for round in 0..self.rounds(3) {
            machine::settle();
            let found = References::measure(&self.site.work, 3.0)?;
            let run = Run::new("reference", "", round)
                .with("write_megabytes_per_s", found.write.megabytes_per_s)
                .with("write_cpu_s_per_gb", found.write.cpu_s_per_gb)
                .with(
                    "write_fresh_megabytes_per_s",
                    found.write_fresh.megabytes_per_s,
                )
                .with("receive_megabytes_per_s", found.receive.megabytes_per_s)
                .with("receive_cpu_s_per_gb", found.receive.cpu_s_per_gb)
                .with("copy_megabytes_per_s", found.copy.megabytes_per_s)
                .with("copy_cpu_s_per_gb", found.copy.cpu_s_per_gb)
                .with("checksum_megabytes_per_s", found.checksum.megabytes_per_s)
                .with("checksum_cpu_s_per_gb", found.checksum.cpu_s_per_gb)
                .with("floor_cpu_s_per_gb", found.floor_cpu_s_per_gb())
                .with("flush_p50_ms", found.flush.p50)
                .with("flush_p99_ms", found.flush.p99);
            eprintln!(
                "write {:.0} MB/s, receive {:.0} MB/s, copy {:.0} MB/s, CRC-32C {:.0} MB/s, floor {:.2} CPU-s/GB, \
                 write + fdatasync p50 {:.2} p99 {:.2} ms",
                found.write.megabytes_per_s,
                found.receive.megabytes_per_s,
                found.copy.megabytes_per_s,
                found.checksum.megabytes_per_s,
                found.floor_cpu_s_per_gb(),
                found.flush.p50,
                found.flush.p99
            );
            runs.push(run);
        }
        Ok(runs)
    }

    pub(super) fn pause_all(&mut self) {
        for broker in self.brokers.values_mut() {
            broker.pause();
        }
    }

    /// Every load against every broker, in alternation, after a warm-up of each with the first load.
    pub(super) fn alternate(
        &mut self,
        brokers: &[Kind],
        loads: &[(&'static str, Load)],
        rounds: u32,
    ) -> Result<Vec<Run>> {
        for kind in brokers {
            let warm_up = Load {
                seconds: self.seconds(ROW_WARM_UP_SECONDS),
                ..loads[0].1.clone()
            };
            self.only(*kind)?;
            self.load(*kind, &warm_up)?;
        }
        let mut runs = Vec::new();
        for round in 0..self.rounds(rounds) {
            for (case, load) in loads {
                for kind in brokers {
                    let load = Load {
                        seconds: self.seconds(load.seconds),
                        ..load.clone()
                    };
                    runs.push(self.measure(*kind, case, round, &load)?);
                }
            }
        }
        Ok(runs)
    }

    /// One 1 KiB record a request, so that nothing waits but for the disk.
    fn single_records() -> Load {
        Load {
            linger_ms: 0,
            seconds: 15.0,
            ..plan::produce(16, 16, 1024, 1024)
        }
    }

    pub(super) fn acks(&mut self) -> Result<Vec<Run>> {
        let load = Self::single_records();
        let ours = MODERATE * self.maximum(Kind::Tidelog, &load)?;
        let kafkas = MODERATE * self.maximum(Kind::Kafka, &load)?;
        let at = |rate: f64, seconds: f64| Load {
            pace: Pace::Rate(rate),
            seconds,
            ..load.clone()
        };
        let seconds = if self.quick { 8.0 } else { load.seconds };
        let mut runs = Vec::new();
        for round in 0..self.rounds(3) {
            self.pause_all();
            machine::settle();
            let flush = references::disk::flush_loop(&self.site.work, seconds)?;
            let reference = Run::new("reference", "", round)
                .with("p50_ms", flush.p50)
                .with("p99_ms", flush.p99)
                .with("p999_ms", flush.p999)
                .with("p9999_ms", flush.p9999)
                .with("max_ms", flush.max);
            say(&reference);
            runs.push(reference);
            for (kind, case, rate) in [
                (Kind::Tidelog, "30 % of tidelog", ours),
                (Kind::Tidelog, "30 % of kafka", kafkas),
                (Kind::Kafka, "30 % of kafka", kafkas),
            ] {
                // After a pause a just-in-time compiled broker is measured only once it is at speed again.
                self.only(kind)?;
                self.load(kind, &at(rate, 3.0))?;
                let run = self.measure(kind, case, round, &at(rate, seconds))?;
                runs.push(run.with("rate", rate));
            }
        }
        Ok(runs)
    }

    pub(super) fn end_to_end(&mut self) -> Result<Vec<Run>> {
        let load = Self::single_records();
        let mut runs = Vec::new();
        for kind in [Kind::Tidelog, Kind::Kafka] {
            let rate = MODERATE * self.maximum(kind, &load)?;
            for round in 0..self.rounds(3) {
                let load = Load {
                    mode: Mode::EndToEnd,
                    pace: Pace::Rate(rate),
                    consumers: 1,
                    ..load.clone()
                };
                self.only(kind)?;
                let (outcome, usage) = self.load(kind, &load)?;
                let mut run = to_run(kind, "", round, &outcome, &usage);
                let acks = outcome.ack_p99();
                if let (Some(all), Some(ack)) = (outcome.number("latency_ms.p99"), acks) {
                    run = run.with("ack_p99_ms", ack).with("extra_p99_ms", all - ack);
                }
                say(&run);
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// The same moderate stream with no, one and five consumers at its end: what they add to the broker's CPU is the
    /// price of serving them.
    pub(super) fn tail(&mut self) -> Result<Vec<Run>> {
        let produce = Load {
            pace: Pace::Rate(TAIL_BYTES_PER_S / 1024.0),
            seconds: 12.0,
            ..plan::produce(1, 1, 1024, 512 << 10)
        };
        let window = Duration::from_secs_f64(produce.seconds + 3.5);
        let consume = |consumers: u32| Load {
            mode: Mode::Tail,
            consumers,
            seconds: 12.0 + 2.0,
            ..produce.clone()
        };
        let mut runs = Vec::new();
        // The first round warms both brokers up for serving consumers, and does not count.
        for round in 0..=self.rounds(3) {
            for kind in [Kind::Tidelog, Kind::Kafka] {
                self.only(kind)?;
                let cases: &[u32] = if round == 0 { &[5] } else { &[0, 1, 5] };
                for &consumers in cases {
                    let topic = self.create_topic(kind, 1)?;
                    machine::settle();
                    let pid = self.brokers[&kind].pid();
                    let (usage, begun) = (Usage::begin(pid)?, Instant::now());
                    let reading = match consumers {
                        0 => None,
                        some => Some(self.start(kind, &consume(some), &topic, "consume")?),
                    };
                    std::thread::sleep(Duration::from_millis(700));
                    let writing = self.start(kind, &produce, &topic, "produce")?;
                    let outcome = writing.finish(produce.seconds + LOAD_GRACE_SECONDS)?;
                    let read = reading
                        .map(|running| running.finish(produce.seconds + LOAD_GRACE_SECONDS))
                        .transpose()?;
                    // With and without consumers a run lasts equally long, so that idling costs both the same.
                    std::thread::sleep(window.saturating_sub(begun.elapsed()));
                    let usage = usage.end(pid)?;
                    self.delete_topic(kind, &topic)?;
                    let Some(round) = round.checked_sub(1) else {
                        continue;
                    };
                    let mut run = to_run(kind, &consumers.to_string(), round, &outcome, &usage);
                    if let Some(read) = read {
                        let records = read.number("records.read").ok_or_else(|| {
                            Error::failed("the consumer's JSON has no records.read")
                        })?;
                        run = run.with("gigabytes_read", records * 1024.0 / 1e9).with(
                            "read_p99_ms",
                            read.number("latency_ms.p99").unwrap_or(f64::NAN),
                        );
                        run.valid &= read.is_valid();
                        run.invalid_because.extend(read.invalid_because());
                    }
                    say(&run);
                    runs.push(run);
                }
            }
        }
        Ok(runs)
    }

    /// The same load while other topics exist.
    pub(super) fn beside_topics(&mut self, counts: &[u32]) -> Result<Vec<Run>> {
        let load = Load {
            seconds: 4.0,
            ..plan::produce(16, 16, 1024, 16 << 10)
        };
        let mut others = Vec::new();
        let mut runs = Vec::new();
        self.only(Kind::Tidelog)?;
        for count in counts {
            while others.len() < *count as usize {
                others.push(self.create_topic(Kind::Tidelog, 10)?);
            }
            for round in 0..2 {
                runs.push(self.measure(Kind::Tidelog, &count.to_string(), round, &load)?);
            }
        }
        for topic in others {
            self.delete_topic(Kind::Tidelog, &topic)?;
        }
        Ok(runs)
    }

    /// The same load again and again into the same topic; the case is the gigabytes that were there.
    pub(super) fn growing_log(&mut self, steps: u32) -> Result<Vec<Run>> {
        let load = plan::produce(16, 16, 1024, 16 << 10);
        self.only(Kind::Tidelog)?;
        let topic = self.create_topic(Kind::Tidelog, load.partitions)?;
        let mut runs = Vec::new();
        let mut gigabytes = 0.0;
        for round in 0..steps {
            let (outcome, usage) = self.load_into(Kind::Tidelog, &load, &topic)?;
            let run = to_run(
                Kind::Tidelog,
                &format!("{gigabytes:.1}"),
                round,
                &outcome,
                &usage,
            );
            say(&run);
            gigabytes += run.figures.get("gigabytes_written").copied().unwrap_or(0.0);
            runs.push(run);
        }
        self.delete_topic(Kind::Tidelog, &topic)?;
        Ok(runs)
    }
}
