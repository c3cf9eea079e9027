//! `tidelog log import`: takes a partition of Apache Kafka into the data directory of a stopped node.
//!
//! It reads Kafka's directory to its end before anything of ours changes, and holds the data directory's lock all
//! along. A partition that exists takes an import as long as it never held a record, so an import that was cut off is
//! simply done again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use clap::Args;
use net::platform::Runtime;
use tuning::BrokerConfig;

use super::{Failure, Outcome, SettingsArguments, on_executor, output};
use crate::cluster::topics::{MorePartitions, NewTopic};
use crate::cluster::{ControlRequest, ControlResponse, Controller, MetadataImage, Record};
use crate::groups::{OFFSETS_TOPIC, offsets_topic};
use crate::log::adoption;
use crate::log::import::{Import, ImportedLog};
use crate::log::kafka_files::{
    LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, decode_epoch_checkpoint,
    decode_offset_checkpoint,
};
use crate::log::segment::{parse_segment_file_name, segment_file_name};
use crate::log::segment_scanner::Fed;
use crate::log::{RecoveredPartition, StorageSettings, recover};
use crate::platform::Disk;
use crate::shard::new_topic_id;
use crate::types::{LeaderEpoch, Offset, PartitionId};
use crate::{data_directory, node, node_thread};

/// Segments are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;
/// A partition that exists is given a leader this many times at most, to reach the epoch of what it takes in.
const EPOCHS_MAX: i32 = 100_000;

/// What to take in, and where to.
#[derive(Debug, Clone, Args)]
pub struct ImportArguments {
    /// Kafka's partition directory, of a stopped broker. It is only read.
    directory: PathBuf,
    /// Topic that it becomes part of; created if there is none.
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Partition that it becomes: the topic's next one, or one that never held a record.
    #[arg(long, value_name = "N", default_value_t = 0)]
    partition: i32,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl ImportArguments {
    pub(super) fn run(self) -> Outcome<()> {
        let ImportArguments {
            directory,
            topic,
            partition,
            settings,
        } = self;
        let source = Source::open(&directory)
            .map_err(|error| Failure::Said(format!("{}: {error}", directory.display())))?;
        let config = Arc::new(settings.load().map_err(Failure::Said)?);
        let ours = config.data_directory();
        std::fs::create_dir_all(&ours)
            .map_err(|error| Failure::Said(format!("{}: {error}", ours.display())))?;
        let lock = node_thread::lock(&ours).map_err(Failure::Said)?;
        let place = Place { topic, partition };
        let told = on_executor(move |runtime| async move {
            import(&runtime, &ours, &config, &source, &place).await
        })?;
        drop(lock);
        output::write(told.as_bytes())
    }
}

/// Where it goes.
struct Place {
    topic: String,
    partition: i32,
}

async fn import(
    runtime: &Runtime,
    ours: &Path,
    config: &Arc<BrokerConfig>,
    source: &Source,
    place: &Place,
) -> Outcome<String> {
    let disk = Disk::open_data_directory(runtime, ours).await;
    let disk =
        disk.map_err(|error| Failure::Said(format!("data directory {}: {error}", ours.display())))?;
    let identity = data_directory::open(&disk, runtime, config)
        .await
        .map_err(Failure::new)?;
    let (mut store, image, _repaired) = node::open_metadata(runtime, &disk, config, &identity)
        .await
        .map_err(Failure::new)?;
    let known = node::known_partitions(&image);
    let plan = Plan::new(runtime, image, place)?;
    // Everything is read and judged before anything changes.
    let name = format!("{}-{}", place.topic, place.partition);
    let imported = source.scan(plan.id, &name, runtime.wall_clock_ms())?;
    let told = source.describe(&name, &imported);
    let records = plan.records(imported.checkpoint.leader_epoch)?;
    let settings = StorageSettings::from_broker(config);
    let recovered = recover(runtime, &disk, &settings, &known)
        .await
        .map_err(Failure::new)?;
    if let Some(present) = recovered
        .partitions
        .iter()
        .find(|present| present.id() == plan.id)
    {
        refuse_used(&name, present)?;
    }
    let read = |base, position, length| source.read(base, position, length);
    let checkpoint = adoption::place(runtime, &disk, imported, read)
        .await
        .map_err(Failure::new)?;
    store
        .append(&records, runtime.wall_clock_ms())
        .await
        .map_err(Failure::new)?;
    adoption::adopt(runtime, &disk, checkpoint)
        .await
        .map_err(Failure::new)?;
    Ok(told)
}

fn refuse_used(name: &str, present: &RecoveredPartition) -> Outcome<()> {
    let state = present.state();
    if state.end_offset == Offset(0) && state.quarantined.is_empty() && !state.end_unproved {
        return Ok(());
    }
    let (start, end) = (state.log_start, state.end_offset);
    Err(Failure::Said(format!(
        "{name} holds or held records (offsets {start} to {end}): nothing is imported over them"
    )))
}

/// What the metadata has to learn.
struct Plan {
    id: PartitionId,
    records: Vec<Record>,
    /// The leader epoch of a partition that exists.
    present: Option<(i32, LeaderEpoch)>,
}

impl Plan {
    fn new(runtime: &Runtime, image: MetadataImage, place: &Place) -> Outcome<Plan> {
        let index = place.partition;
        let count = image
            .topic(&place.topic)
            .map_or(0, |topic| topic.partitions.len());
        let count = i32::try_from(count).expect("partition counts are bounded");
        if !(0..=count).contains(&index) {
            let name = &place.topic;
            return Err(Failure::Said(format!(
                "topic {name} has {count} partitions: the next one is {count}, not {index}"
            )));
        }
        let known = image
            .topic(&place.topic)
            .map(|topic| (topic.id, topic.partitions.get(index as usize).cloned()));
        if let Some((topic_id, Some(present))) = known {
            let present = Some((present.leader, present.leader_epoch));
            return Ok(Plan {
                id: PartitionId { topic_id, index },
                records: Vec::new(),
                present,
            });
        }
        let name = place.topic.clone();
        let request = match known {
            None => {
                // Offsets must not fall to retention: their topic is compacted from the start.
                let configs = if name == OFFSETS_TOPIC {
                    offsets_topic(&image.broker_config).configs
                } else {
                    Vec::new()
                };
                let topic = NewTopic {
                    name,
                    partitions: 1,
                    replication_factor: -1,
                    configs,
                    ..NewTopic::default()
                };
                ControlRequest::CreateTopics {
                    topics: vec![topic],
                    validate_only: false,
                }
            }
            Some(_) => {
                let topics = vec![MorePartitions {
                    name,
                    count: count + 1,
                    assignments: None,
                }];
                ControlRequest::CreatePartitions {
                    topics,
                    validate_only: false,
                }
            }
        };
        let decision =
            Controller::new(Arc::new(image)).handle(&request, &mut || new_topic_id(runtime));
        let refusal = match decision.response {
            ControlResponse::CreateTopics(results) => results.into_iter().find_map(Result::err),
            ControlResponse::CreatePartitions(results) => results.into_iter().find_map(Result::err),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(Failure::Said(
                refusal
                    .message
                    .unwrap_or_else(|| format!("{:?}", refusal.kind)),
            ));
        }
        let added = decision.records.iter().find_map(|record| match record {
            Record::Partition { topic_id, .. } => Some(*topic_id),
            _ => None,
        });
        let topic_id = added.expect("the decision adds a partition");
        Ok(Plan {
            id: PartitionId { topic_id, index },
            records: decision.records,
            present: None,
        })
    }

    /// The records that also bring the partition's leader epoch to that of its newest record: every later leader has
    /// to be above it.
    fn records(&self, epoch: LeaderEpoch) -> Outcome<Vec<Record>> {
        let mut records = self.records.clone();
        for record in &mut records {
            if let Record::Partition { leader_epoch, .. } = record {
                *leader_epoch = epoch;
            }
        }
        if let Some((leader, present)) = self.present {
            let missing = epoch.0.saturating_sub(present.0);
            if missing > EPOCHS_MAX {
                return Err(Failure::Said(format!(
                    "its leader epoch is {epoch}: import it as a new partition"
                )));
            }
            let PartitionId { topic_id, index } = self.id;
            records.extend((0..missing).map(|_| Record::NewLeader {
                topic_id,
                index,
                leader,
            }));
        }
        Ok(records)
    }
}

/// Kafka's directory.
struct Source {
    directory: PathBuf,
    /// By base offset, ascending.
    segments: Vec<(Offset, File)>,
}

impl Source {
    fn open(directory: &Path) -> io::Result<Source> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            let Some((base, "log")) = name.to_str().and_then(parse_segment_file_name) else {
                continue;
            };
            segments.push((base, File::open(directory.join(&name))?));
        }
        segments.sort_by_key(|(base, _)| *base);
        Ok(Source {
            directory: directory.canonicalize()?,
            segments,
        })
    }

    fn failed<E: std::fmt::Display>(&self) -> impl Fn(E) -> Failure + '_ {
        |error| Failure::Said(format!("{}: {error}", self.directory.display()))
    }

    fn scan(&self, id: PartitionId, name: &str, now_ms: i64) -> Outcome<ImportedLog> {
        let mut import = Import::new(id, name, now_ms);
        for (base, file) in &self.segments {
            let metadata = file.metadata().map_err(self.failed())?;
            let modified = metadata
                .modified()
                .ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let created_ms = modified
                .and_then(|age| i64::try_from(age.as_millis()).ok())
                .unwrap_or(now_ms);
            let length = metadata.len();
            import
                .start_segment(*base, length, created_ms)
                .map_err(self.failed())?;
            let mut wanted = READ_BYTES;
            loop {
                let position = u64::from(import.position().0);
                let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
                let bytes = self
                    .read(*base, position, wanted.min(left))
                    .map_err(self.failed())?;
                match import.feed(&bytes).map_err(self.failed())? {
                    Fed::More { length } => wanted = length.max(READ_BYTES),
                    Fed::Complete | Fed::Ended(_) => break,
                }
            }
        }
        import
            .finish(self.log_start(), self.epochs())
            .map_err(self.failed())
    }

    fn read(&self, base: Offset, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let found = self.segments.iter().find(|(other, _)| *other == base);
        let (_, file) = found.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Where Kafka says that the log begins: in its data directory, by the partition's name.
    fn log_start(&self) -> Option<Offset> {
        let (topic, index) = self.directory.file_name()?.to_str()?.rsplit_once('-')?;
        let index: i32 = index.parse().ok()?;
        let file = std::fs::read(self.directory.parent()?.join(LOG_START_CHECKPOINT)).ok()?;
        let entries = decode_offset_checkpoint(&file).ok()?;
        let mut own = entries
            .into_iter()
            .filter(|(name, partition, _)| name == topic && *partition == index);
        own.next().map(|(_, _, offset)| offset)
    }

    fn epochs(&self) -> Option<Vec<(LeaderEpoch, Offset)>> {
        let file = std::fs::read(self.directory.join(LEADER_EPOCH_CHECKPOINT)).ok()?;
        decode_epoch_checkpoint(&file).ok()
    }

    fn describe(&self, name: &str, imported: &ImportedLog) -> String {
        let state = &imported.checkpoint;
        let bytes: u64 = state
            .segments
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum();
        let (start, end, count) = (state.log_start, state.end_offset, state.segments.len());
        let from = self.directory.display();
        let mut text = format!(
            "{from} is now {name}: offsets {start} to {end}, {count} segments, {bytes} bytes\n"
        );
        if let Some(cut) = imported.cut {
            let file = segment_file_name(cut.segment, "log");
            let lost = cut.file_bytes - u64::from(cut.valid_bytes.0);
            let why = cut.end;
            text.push_str(&format!(
                "left out: the last {lost} bytes of {file} are no whole, good batch ({why:?})\n"
            ));
        }
        text
    }
}
