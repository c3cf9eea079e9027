//! The row of the restart: kill -9 under load with a large log, a cold cache, and how long until every partition is written
//! and read again.
//!
//! Small batches go through the journal, and what lies there since the last checkpoint is what a restart has to replay:
//! Tidelog is killed when that is as much as it ever comes to before the next checkpoint.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::result::Run;
use super::special::written;
use super::{Bench, plan, to_run};
use crate::broker::{Broker, Kind, metric};
use crate::wire::Wire;
use crate::{Error, Result, machine};

const PARTITIONS: i32 = 16;
/// After the brokers' own ports.
const METRICS_PORT: u16 = 5;
/// How long the load runs at most before the kill; more than two checkpoints of a journal that fills up slowly.
const WATCH_MAX: Duration = Duration::from_secs(35);
/// How long it runs at least: longer than `checkpoint.interval.ms`, as checkpoints may follow each other closely at first.
const WATCH_MIN: Duration = Duration::from_secs(12);
/// How long it runs where nobody says what lies in a journal.
const UNWATCHED: Duration = Duration::from_secs(5);
const COME_BACK_MAX: Duration = Duration::from_secs(300);
/// Kafka's default. As long as its session lasts, a killed broker's registration keeps its successor out; the session of
/// other rows would do so for an hour.
const KAFKA_SETTINGS: [(&str, &str); 1] = [("broker.session.timeout.ms", "9000")];

impl Bench {
    pub(super) fn restart(&mut self, log_bytes: u64) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let metrics = SocketAddr::from(([127, 0, 0, 1], self.site.port + METRICS_PORT));
        let listener = metrics.to_string();
        for kind in [Kind::Tidelog, Kind::Kafka] {
            let (rounds, settings) = match kind {
                Kind::Tidelog => (self.rounds(3), [("metrics.listener", listener.as_str())]),
                _ => (1, KAFKA_SETTINGS),
            };
            self.brokers.clear();
            let broker = Broker::start(&self.site, kind, &settings)?;
            self.brokers.insert(kind, broker);
            let topic = self.create_topic(kind, PARTITIONS)?;
            let load = plan::produce(PARTITIONS, 16, 1024, 512 << 10);
            let mut bytes = 0.0;
            while bytes < log_bytes as f64 {
                let (outcome, usage) = self.load_into(kind, &load, &topic)?;
                bytes += written(&to_run(kind, "fill", 0, &outcome, &usage))? * 1e9;
            }
            for round in 0..rounds {
                let metrics = (kind == Kind::Tidelog).then_some(metrics);
                let run = self.kill_and_restart(kind, &topic, round, metrics)?;
                runs.push(run.with("log_bytes", bytes));
            }
        }
        self.brokers.clear();
        Ok(runs)
    }

    fn kill_and_restart(
        &mut self,
        kind: Kind,
        topic: &str,
        round: u32,
        metrics: Option<SocketAddr>,
    ) -> Result<Run> {
        let load = plan::produce(PARTITIONS, 16, 1024, 16 << 10);
        let load = crate::load::Load {
            seconds: WATCH_MAX.as_secs_f64() + 2.0,
            ..load
        };
        let writing = self.start(kind, &load, topic, "before-kill")?;
        let replay = wait_for_a_full_journal(metrics);
        let broker = self.brokers.get_mut(&kind).expect("it runs");
        broker.kill();
        drop(writing);
        let cold = machine::drop_caches();
        let begun = Instant::now();
        broker.start_again()?;
        let first = broker.wait_until_it_answers()?;
        let mut wire = Wire::connect(broker.address())?;
        while wire.produce_everywhere(topic, PARTITIONS)? < PARTITIONS as usize {
            if begun.elapsed() > COME_BACK_MAX {
                return Err(Error::failed("partitions do not come back"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for partition in 0..PARTITIONS {
            while !wire.fetch_first(topic, partition)? {
                if begun.elapsed() > COME_BACK_MAX {
                    return Err(Error::failed("partitions cannot be read"));
                }
            }
        }
        let all = begun.elapsed().as_secs_f64();
        let mut run = Run::new(kind.name(), "", round)
            .with("first_answer_s", first)
            .with("all_partitions_s", all);
        if let Some(bytes) = replay {
            run = run.with("bytes_to_replay", bytes);
        }
        if !cold {
            run = run.invalid("the page cache could not be emptied");
        }
        eprintln!(
            "{}: first answer {first:.2} s, all partitions {all:.2} s, {:.0} MB to replay",
            kind.name(),
            replay.unwrap_or(0.0) / 1e6
        );
        Ok(run)
    }
}

/// What lies in the journal since the last checkpoint, which a restart has to replay.
#[derive(Default)]
struct Unfinished {
    checkpoints: f64,
    bytes_at_checkpoint: f64,
    bytes: f64,
    /// The most that lay there when a checkpoint ended, of those whose beginning was seen, too.
    most: f64,
    seen: u32,
}

impl Unfinished {
    fn update(&mut self, checkpoints: f64, journal_bytes: f64) {
        if checkpoints > self.checkpoints || self.seen == 0 {
            if self.seen > 1 {
                self.most = self.most.max(self.bytes);
            }
            self.seen += 1;
            (self.checkpoints, self.bytes_at_checkpoint) = (checkpoints, journal_bytes);
        }
        self.bytes = journal_bytes - self.bytes_at_checkpoint;
    }

    fn is_at_its_bound(&self) -> bool {
        self.most > 0.0 && self.bytes >= 0.9 * self.most
    }
}

/// Returns when the journal holds as much since the last checkpoint as it came to hold before one; how much that is.
fn wait_for_a_full_journal(metrics: Option<SocketAddr>) -> Option<f64> {
    let Some(address) = metrics else {
        std::thread::sleep(UNWATCHED);
        return None;
    };
    let begun = Instant::now();
    let mut unfinished = Unfinished::default();
    while begun.elapsed() < WATCH_MAX
        && (begun.elapsed() < WATCH_MIN || !unfinished.is_at_its_bound())
    {
        std::thread::sleep(Duration::from_millis(5));
        let figure = |name| metric(address, name);
        let checkpoints = figure("tidelog_checkpoints_total");
        if let (Some(checkpoints), Some(bytes)) =
            (checkpoints, figure("tidelog_journal_bytes_total"))
        {
            unfinished.update(checkpoints, bytes);
        }
    }
    Some(unfinished.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_waits_for_as_many_bytes_as_a_whole_interval_had() {
        let mut unfinished = Unfinished::default();
        // The first interval is seen from its middle on, and says nothing of how long one is.
        for (checkpoints, bytes) in [(3.0, 500.0), (3.0, 510.0), (4.0, 520.0), (4.0, 610.0)] {
            unfinished.update(checkpoints, bytes);
            assert!(!unfinished.is_at_its_bound());
        }
        for (bytes, ready) in [(620.0, false), (700.0, false), (701.0, true)] {
            unfinished.update(5.0, bytes);
            assert_eq!(unfinished.is_at_its_bound(), ready, "{bytes}");
        }
    }
}
