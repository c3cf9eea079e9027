//! `tidelog log quarantine`: damage that is kept and not served, and the decision to go on without it (STORAGE C9).
//!
//! Listing only reads the checkpoints, so it may be done beside a running node, which adds what it finds at its next
//! checkpoint. Stepping over changes them: with the node stopped, after a recovery, under the data directory's lock.
//! Invariant: a step-over removes no byte; readers skip the range, and every other record keeps its offset.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand};
use net::platform::Runtime;
use tuning::BrokerConfig;

use super::output::{NOTHING, OutputArguments};
use super::{Failure, Outcome, SettingsArguments, on_executor, output};
use crate::log::checkpoint::{self, CheckpointHeader};
use crate::log::checkpoint_body::decode_body;
use crate::log::journal::files::TIDELOG_DIRECTORY;
use crate::log::{PartitionCheckpoint, QuarantinedRange, StorageSettings, adoption, recover};
use crate::platform::Disk;
use crate::types::{Offset, PartitionId};
use crate::{data_directory, node, node_thread};

/// Damaged records of a data directory.
#[derive(Debug, Clone, Subcommand)]
pub enum QuarantineCommand {
    /// Show the damaged ranges of all partitions.
    List(ListArguments),
    /// Let readers go on behind a damaged range, with the node stopped.
    StepOver(StepOverArguments),
}

/// Where to look.
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// What to step over.
#[derive(Debug, Clone, Args)]
pub struct StepOverArguments {
    /// Topic of the partition.
    topic: String,
    /// The partition.
    partition: i32,
    /// An offset in the range that readers shall step over; may be given several times.
    #[arg(long, value_name = "N", required_unless_present_any = ["all", "accept_end"])]
    offset: Vec<i64>,
    /// All ranges of the partition.
    #[arg(long, conflicts_with = "offset")]
    all: bool,
    /// Take the end that is known for the log's end, where it could not be proved, so that appends go on. Records that
    /// nothing names any more may have been acknowledged: they are lost.
    #[arg(long)]
    accept_end: bool,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl QuarantineCommand {
    pub(super) fn run(self) -> Outcome<()> {
        match self {
            QuarantineCommand::List(arguments) => arguments.run(),
            QuarantineCommand::StepOver(arguments) => arguments.run(),
        }
    }
}

const HEAD: [&str; 5] = ["PARTITION", "FIRST", "LAST", "STATE", "LOG-END"];

impl ListArguments {
    fn run(self) -> Outcome<()> {
        let config = self.settings.load().map_err(Failure::Said)?;
        let partitions = newest_states(&config.data_directory())?;
        let mut rows = Vec::new();
        for partition in partitions.values() {
            let end = partition.end_offset.0.to_string();
            for range in &partition.quarantined {
                let state = if is_stepped_over(partition, range) {
                    "stepped over"
                } else {
                    "not served"
                };
                let (first, last) = (range.first.0.to_string(), range.last.0.to_string());
                rows.push(vec![
                    partition.directory.clone(),
                    first,
                    last,
                    state.to_owned(),
                    end.clone(),
                ]);
            }
            if partition.end_unproved {
                let unknown = NOTHING.to_owned();
                rows.push(vec![
                    partition.directory.clone(),
                    end.clone(),
                    unknown,
                    "end unproved".to_owned(),
                    end,
                ]);
            }
        }
        self.output.rows(&HEAD, &rows)
    }
}

fn is_stepped_over(partition: &PartitionCheckpoint, range: &QuarantinedRange) -> bool {
    let mut covers = partition.stepped_over.iter();
    covers.any(|step| step.first <= range.first && range.last <= step.last)
}

/// What the newest good checkpoint says of each partition.
fn newest_states(directory: &Path) -> Outcome<BTreeMap<PartitionId, PartitionCheckpoint>> {
    let directory = directory.join(TIDELOG_DIRECTORY);
    let told = |error: std::io::Error| Failure::Said(format!("{}: {error}", directory.display()));
    // A start's checkpoint comes before those that its shards write in the same generation.
    let rank = |header: &CheckpointHeader| {
        (
            header.generation.number,
            header.shard.is_some(),
            header.sequence,
        )
    };
    let mut newest = BTreeMap::new();
    for entry in std::fs::read_dir(&directory).map_err(told)? {
        let entry = entry.map_err(told)?;
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("checkpoint-")
        {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(told)?;
        // One of a pair may be half written; the other then is whole.
        let Ok((header, body)) = checkpoint::decode(&bytes) else {
            continue;
        };
        let Ok(partitions) = decode_body(body) else {
            continue;
        };
        for partition in partitions {
            let rank = rank(&header);
            let known = newest.entry(partition.id).or_insert((rank, None));
            if known.1.is_none() || known.0 < rank {
                *known = (rank, Some(partition));
            }
        }
    }
    let found = newest.into_iter();
    Ok(found
        .filter_map(|(id, (_, partition))| Some((id, partition?)))
        .collect())
}

impl StepOverArguments {
    fn run(self) -> Outcome<()> {
        let config = Arc::new(self.settings.clone().load().map_err(Failure::Said)?);
        let ours = config.data_directory();
        let lock = node_thread::lock(&ours).map_err(Failure::Said)?;
        let told =
            on_executor(
                move |runtime| async move { self.step_over(&runtime, &ours, &config).await },
            )?;
        drop(lock);
        output::write(told.as_bytes())
    }

    async fn step_over(
        &self,
        runtime: &Runtime,
        ours: &Path,
        config: &Arc<BrokerConfig>,
    ) -> Outcome<String> {
        let disk = Disk::open_data_directory(runtime, ours).await;
        let disk = disk.map_err(|error| {
            Failure::Said(format!("data directory {}: {error}", ours.display()))
        })?;
        let identity = data_directory::open(&disk, runtime, config)
            .await
            .map_err(Failure::new)?;
        let (_store, image, _repaired) = node::open_metadata(runtime, &disk, config, &identity)
            .await
            .map_err(Failure::new)?;
        let known = node::known_partitions(&image);
        let topic = image
            .topic(&self.topic)
            .ok_or_else(|| Failure::Said(format!("there is no topic {}", self.topic)))?;
        let id = PartitionId {
            topic_id: topic.id,
            index: self.partition,
        };
        let settings = StorageSettings::from_broker(config);
        let recovered = recover(runtime, &disk, &settings, &known)
            .await
            .map_err(Failure::new)?;
        let mut partitions = recovered.partitions.iter();
        let found = partitions.find(|partition| partition.id() == id);
        let mut state = found
            .ok_or_else(|| {
                Failure::Said(format!(
                    "topic {} has no partition {}",
                    self.topic, self.partition
                ))
            })?
            .state()
            .clone();
        let told = self.decide(&mut state)?;
        adoption::adopt(runtime, &disk, state)
            .await
            .map_err(Failure::new)?;
        Ok(told)
    }

    /// Changes the partition's state; what to tell about it.
    fn decide(&self, state: &mut PartitionCheckpoint) -> Outcome<String> {
        let mut told = String::new();
        let name = state.directory.clone();
        for offset in &self.offset {
            let damaged = state.quarantined.iter().any(|range| holds(range, *offset));
            if !damaged {
                return Err(Failure::Said(format!(
                    "{name}: offset {offset} is in no damaged range"
                )));
            }
        }
        for range in state.quarantined.clone() {
            let chosen = self.all || self.offset.iter().any(|offset| holds(&range, *offset));
            if chosen && !is_stepped_over(state, &range) {
                state.stepped_over.push(range);
                let (first, last) = (range.first.0, range.last.0);
                told.push_str(&format!(
                    "{name}: readers step over offsets {first} to {last}\n"
                ));
            }
        }
        if self.accept_end {
            if !state.end_unproved {
                return Err(Failure::Said(format!("{name}: its end is proved")));
            }
            state.end_unproved = false;
            told.push_str(&format!(
                "{name}: its end is offset {}, appends go on there\n",
                state.end_offset.0
            ));
        }
        if told.is_empty() {
            told = format!("{name}: there is nothing to step over\n");
        }
        Ok(told)
    }
}

fn holds(range: &QuarantinedRange, offset: i64) -> bool {
    (range.first..=range.last).contains(&Offset(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, TopicId};

    fn arguments(offset: Vec<i64>, all: bool, accept_end: bool) -> StepOverArguments {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            settings: SettingsArguments,
        }
        StepOverArguments {
            topic: "t".to_owned(),
            partition: 0,
            offset,
            all,
            accept_end,
            settings: Line::parse_from(["tidelog"]).settings,
        }
    }

    fn damaged() -> PartitionCheckpoint {
        let id = PartitionId {
            topic_id: TopicId([1; 16]),
            index: 0,
        };
        let mut state = PartitionCheckpoint::empty(id, "t-0", LeaderEpoch(0), 0);
        let range = |first, last| QuarantinedRange {
            first: Offset(first),
            last: Offset(last),
        };
        state.quarantined = vec![range(5, 9), range(20, 29)];
        state
    }

    #[test]
    fn only_what_was_named_is_stepped_over_and_only_once() {
        let mut state = damaged();
        let told = arguments(vec![25], false, false).decide(&mut state);
        assert_eq!(
            told.expect("damaged"),
            "t-0: readers step over offsets 20 to 29\n"
        );
        assert_eq!(state.stepped_over, [state.quarantined[1]]);
        let told = arguments(Vec::new(), true, false).decide(&mut state);
        assert_eq!(
            told.expect("damaged"),
            "t-0: readers step over offsets 5 to 9\n"
        );
        let told = arguments(Vec::new(), true, false).decide(&mut state);
        assert_eq!(
            told.expect("nothing left"),
            "t-0: there is nothing to step over\n"
        );
        assert_eq!(state.stepped_over.len(), 2);
        assert!(
            arguments(vec![10], false, false)
                .decide(&mut state)
                .is_err()
        );
    }

    #[test]
    fn an_end_is_accepted_only_where_it_is_unproved() {
        let mut state = damaged();
        assert!(
            arguments(Vec::new(), false, true)
                .decide(&mut state)
                .is_err()
        );
        state.end_unproved = true;
        arguments(Vec::new(), false, true)
            .decide(&mut state)
            .expect("unproved");
        assert!(!state.end_unproved && state.stepped_over.is_empty());
    }
}
