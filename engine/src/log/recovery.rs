//! Brings a data directory back after a stop of any kind (DESIGN §5.5). Runs once per start, on one executor, before
//! any shard exists.
//!
//! Order: the newest good checkpoints, the journals behind them in two passes (C4), all segment writes flushed, then
//! the recovered state as a new generation into both start checkpoints, one after the other (C6). Only then may a
//! journal be written again. Invariant: cut anywhere, the next start finds either the old generation whole or the new.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use net::platform::Runtime;
use rkyv::util::AlignedVec;
use tuning::TopicConfig;

use super::admission;
use super::checkpoint::{
    CheckpointCopy, CheckpointFile, CheckpointHeader, FoundCheckpoint, checkpoint_path,
    read_checkpoint,
};
use super::checkpoint_body::{decode_body, encode_body};
use super::checkpointer::{force_device_flush, open_flush_file};
use super::compaction::swap_files;
use super::config::LogConfig;
use super::directories;
use super::journal::files::{JournalFile, TIDELOG_DIRECTORY, journal_path, parse_journal_name};
use super::journal::format::Generation;
use super::journal::group::ChainEnd;
use super::kafka_files::CLEAN_SHUTDOWN;
use super::partition_checkpoint::PartitionCheckpoint;
use super::recovery_report::{Phases, RecoveryReport};
use super::recovery_state::RecoveryState;
use super::storage::{StorageError, StorageSettings};
use crate::platform::{Disk, OpenMode};
use crate::types::{PartitionId, ShardId, TopicId};

/// A partition that the metadata knows.
#[derive(Debug, Clone)]
pub struct KnownPartition {
    /// Its directory's name.
    pub directory: String,
    /// Its topic's settings.
    pub config: Arc<TopicConfig>,
}

/// What the metadata knows when storage starts.
#[derive(Debug, Clone, Default)]
pub struct KnownPartitions {
    /// The partitions that exist.
    pub partitions: BTreeMap<PartitionId, KnownPartition>,
    /// Topics that were deleted.
    pub removed: BTreeSet<TopicId>,
}

/// A partition brought back; may go to any shard.
#[derive(Debug, Clone)]
pub struct RecoveredPartition {
    pub(crate) checkpoint: PartitionCheckpoint,
}

impl RecoveredPartition {
    /// Which partition.
    pub fn id(&self) -> PartitionId {
        self.checkpoint.id
    }

    /// Bytes of its segments.
    pub fn bytes(&self) -> u64 {
        self.checkpoint
            .segments
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum()
    }

    /// Everything that is known of it.
    pub fn state(&self) -> &PartitionCheckpoint {
        &self.checkpoint
    }
}

/// The recovered node.
#[derive(Debug)]
pub struct Recovered {
    /// What every journal of this start carries.
    pub generation: Generation,
    /// The partitions that the metadata knows.
    pub partitions: Vec<RecoveredPartition>,
    /// What was found.
    pub report: RecoveryReport,
}

/// Where replay begins.
#[derive(Default)]
struct Replay {
    generation: Option<Generation>,
    cuts: BTreeMap<ShardId, ChainEnd>,
}

impl Replay {
    fn cut(&self, shard: ShardId) -> ChainEnd {
        self.cuts.get(&shard).copied().unwrap_or(CHAIN_START)
    }
}

/// What the checkpoints say.
struct Base {
    replay: Replay,
    partitions: BTreeMap<PartitionId, PartitionCheckpoint>,
    /// Which shard's checkpoint a partition stands in.
    owners: BTreeMap<PartitionId, ShardId>,
    /// The start checkpoint that is to be overwritten first.
    first_copy: CheckpointCopy,
    sequence: u64,
}

/// Replays all journals found, writes what they name into segments, and begins a new generation.
pub async fn recover(
    runtime: &Runtime,
    disk: &Disk,
    settings: &StorageSettings,
    known: &KnownPartitions,
) -> Result<Recovered, StorageError> {
    let mut report = RecoveryReport {
        phases: Phases::begin(runtime.monotonic()),
        ..RecoveryReport::default()
    };
    let adopts = prepare_directory(disk, &mut report)
        .await
        .map_err(StorageError::during("preparing the data directory"))?;
    let mut partitions = known.partitions.values();
    let flush = settings.flushes()
        || partitions.any(|partition| LogConfig::from(&*partition.config).flushes);
    let journals = open_journals(disk)
        .await
        .map_err(StorageError::during("opening the journals"))?;
    let mut base = read_base(disk, &journals, &mut report).await?;
    let damage = swap_files::recover(disk, known, &mut base.partitions)
        .await
        .map_err(StorageError::during("finishing swaps of cleaned segments"))?;
    report.damage.extend(damage);
    report.phases.end("checkpoints", runtime.monotonic());
    let mut state = RecoveryState::new(
        disk,
        runtime.wall_clock_ms(),
        known,
        base.partitions,
        base.owners,
        // As much as a running shard may pin.
        usize::try_from(settings.journal_dirty_bytes_max).unwrap_or(usize::MAX),
    );
    let ends = first_pass(
        runtime,
        disk,
        &mut state,
        &journals,
        &base.replay,
        &mut report,
    )
    .await?;
    for (shard, end) in ends {
        let generation = base.replay.generation.expect("a journal was read");
        let cut = base.replay.cut(shard);
        state
            .replay_journal(generation, shard, &journals[&shard], cut, end, &mut report)
            .await
            .map_err(StorageError::during(format!(
                "replaying the journal of shard {shard}"
            )))?;
    }
    report.phases.end("second_pass", runtime.monotonic());
    let kept = state
        .finish(runtime, flush, adopts, &mut report)
        .await
        .map_err(StorageError::during("writing recovered segments"))?;
    if flush {
        let path = format!("{TIDELOG_DIRECTORY}/flush-start");
        let flush_file = open_flush_file(disk, &path)
            .await
            .map_err(StorageError::during("opening the flush file"))?;
        force_device_flush(disk, &flush_file)
            .await
            .map_err(StorageError::during("flushing recovered segments"))?;
    }
    report.phases.end("flush", runtime.monotonic());
    let generation = Generation {
        number: base.replay.generation.map_or(1, |old| old.number + 1),
        secret: new_secret(runtime),
    };
    let header = CheckpointHeader {
        generation,
        shard: None,
        sequence: base.sequence + 1,
        cut: CHAIN_START,
    };
    let all: Vec<PartitionCheckpoint> = kept.values().cloned().collect();
    write_start_checkpoints(disk, &header, &encode_body(&all), base.first_copy)
        .await
        .map_err(StorageError::during("writing the start checkpoints"))?;
    if adopts {
        forget_adoption(disk)
            .await
            .map_err(StorageError::during("noting that nothing is left to adopt"))?;
    }
    swap_files::forget(disk)
        .await
        .map_err(StorageError::during("taking swaps off the record"))?;
    state
        .set_journals_aside(generation.number, &mut report)
        .await
        .map_err(StorageError::during("setting damaged journals aside"))?;
    report.phases.end("new_checkpoints", runtime.monotonic());
    let partitions = kept
        .into_values()
        .filter(|checkpoint| known.partitions.contains_key(&checkpoint.id))
        .map(|checkpoint| RecoveredPartition { checkpoint })
        .collect();
    Ok(Recovered {
        generation,
        partitions,
        report,
    })
}

/// Reads every journal, and brings the directories in order meanwhile: the second pass then finds the files' places in
/// memory. Gives each journal's last group.
async fn first_pass(
    runtime: &Runtime,
    disk: &Disk,
    state: &mut RecoveryState<'_>,
    journals: &BTreeMap<ShardId, Vec<JournalFile>>,
    replay: &Replay,
    report: &mut RecoveryReport,
) -> Result<BTreeMap<ShardId, u64>, StorageError> {
    let places = state.places();
    let looking = async {
        let directories = places.iter().map(|(_, directory, _)| directory.clone());
        let looks = directories::look_into(disk, directories.collect()).await;
        let newest = places.iter().map(|(.., newest)| newest.clone());
        disk.look_up_places(newest.collect()).await;
        looks
    };
    let reading = async {
        let mut ends = BTreeMap::new();
        let Some(generation) = replay.generation else {
            return Ok(ends);
        };
        for (shard, files) in journals {
            let end = state
                .read_journal(generation, *shard, files, replay.cut(*shard), report)
                .await
                .map_err(StorageError::during(format!(
                    "reading the journal of shard {shard}"
                )))?;
            ends.insert(*shard, end);
        }
        Ok(ends)
    };
    let (looks, ends) = futures_lite::future::zip(looking, reading).await;
    let ends = ends?;
    let looks = looks.map_err(StorageError::during("looking into the directories"))?;
    report.phases.end("first_pass", runtime.monotonic());
    let looks = places.into_iter().map(|(id, ..)| id).zip(looks).collect();
    state
        .settle_directories(runtime, looks, report)
        .await
        .map_err(StorageError::during("settling the directories"))?;
    report.phases.end("directories", runtime.monotonic());
    Ok(ends)
}

/// Begins a new generation on top of start checkpoints that [`recover`] wrote: `change` edits their partitions and gives
/// the new body. No journal of the present generation may have been written.
pub(crate) async fn begin_generation(
    runtime: &Runtime,
    disk: &Disk,
    change: impl FnOnce(&mut BTreeMap<PartitionId, PartitionCheckpoint>) -> AlignedVec,
) -> Result<(), StorageError> {
    let mut base = read_base(disk, &BTreeMap::new(), &mut RecoveryReport::default()).await?;
    let body = change(&mut base.partitions);
    let generation = Generation {
        number: base.replay.generation.map_or(1, |old| old.number + 1),
        secret: new_secret(runtime),
    };
    let header = CheckpointHeader {
        generation,
        shard: None,
        sequence: base.sequence + 1,
        cut: CHAIN_START,
    };
    write_start_checkpoints(disk, &header, &body, base.first_copy)
        .await
        .map_err(StorageError::during("writing the start checkpoints"))
}

/// The chain before its first group.
const CHAIN_START: ChainEnd = ChainEnd {
    group_number: 0,
    checksum: 0,
    file_number: 0,
    position: 0,
};

fn new_secret(runtime: &Runtime) -> [u8; 16] {
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&runtime.random_u64().to_le_bytes());
    secret[8..].copy_from_slice(&runtime.random_u64().to_le_bytes());
    secret
}

/// Stands from the removal of the clean mark until the start checkpoints hold what a real Kafka appended: a start that
/// is cut in between would leave that to be written over (C12a).
const ADOPTING: &str = "tidelog/adopting";

/// Whether what another program appended behind a clean stop is still to be taken in.
async fn prepare_directory(disk: &Disk, report: &mut RecoveryReport) -> std::io::Result<bool> {
    if disk.exists(CLEAN_SHUTDOWN).await? {
        report.clean = true;
        disk.create_directory(TIDELOG_DIRECTORY).await?;
        match disk.write_small(ADOPTING, b"").await {
            // A full disk does not keep a node from starting.
            Err(error) if admission::is_out_of_space(&error) => {}
            result => result?,
        }
        // Gone for good before anything is written (C12b).
        disk.remove_file(CLEAN_SHUTDOWN).await?;
        disk.sync_directory("").await?;
    }
    disk.create_directory(TIDELOG_DIRECTORY).await?;
    disk.sync_directory("").await?;
    Ok(report.clean || disk.exists(ADOPTING).await?)
}

/// Durable before a journal is written: from then on a longer tail is our own.
async fn forget_adoption(disk: &Disk) -> std::io::Result<()> {
    if disk.exists(ADOPTING).await? {
        disk.remove_file(ADOPTING).await?;
    }
    disk.sync_directory(TIDELOG_DIRECTORY).await
}

/// All journal files, each locked before it is read (C5).
async fn open_journals(disk: &Disk) -> std::io::Result<BTreeMap<ShardId, Vec<JournalFile>>> {
    let mut journals: BTreeMap<ShardId, Vec<JournalFile>> = BTreeMap::new();
    for entry in disk.list(TIDELOG_DIRECTORY).await? {
        let Some((shard, number)) = parse_journal_name(&entry.name) else {
            continue;
        };
        let file = disk
            .open(&journal_path(shard, number), OpenMode::Write)
            .await?;
        let bytes = file.length().await?;
        journals.entry(shard).or_default().push(JournalFile {
            number,
            bytes,
            file,
        });
    }
    Ok(journals)
}

async fn read_base(
    disk: &Disk,
    journals: &BTreeMap<ShardId, Vec<JournalFile>>,
    report: &mut RecoveryReport,
) -> Result<Base, StorageError> {
    let a = read_reported(disk, None, CheckpointCopy::A, report).await;
    let b = read_reported(disk, None, CheckpointCopy::B, report).await;
    let damaged = a.is_err() || b.is_err();
    let missing = [&a, &b].map(|found| matches!(found, Ok(None)));
    let (a, b) = (a.unwrap_or(None), b.unwrap_or(None));
    let generation_of =
        |found: &Option<Checkpointed>| found.as_ref().map(|(header, _)| header.generation.number);
    // The copy that is older, or not whole, is overwritten first.
    let first_copy = if generation_of(&a) <= generation_of(&b) {
        CheckpointCopy::A
    } else {
        CheckpointCopy::B
    };
    let newest = if generation_of(&a) >= generation_of(&b) {
        a
    } else {
        b
    };
    let Some((start, partitions)) = newest else {
        if damaged || !journals.is_empty() {
            let problem = "neither start checkpoint can be read, and there are journals: nothing says what they continue";
            return Err(StorageError::Damaged(problem.to_owned()));
        }
        report.fresh = true;
        return Ok(Base {
            replay: Replay::default(),
            partitions: BTreeMap::new(),
            owners: BTreeMap::new(),
            first_copy,
            sequence: 0,
        });
    };
    // Only the very first start can have been cut before both were there.
    if start.generation.number > 1 || report.clean {
        for (copy, _) in [CheckpointCopy::A, CheckpointCopy::B]
            .into_iter()
            .zip(missing)
            .filter(|(_, missing)| *missing)
        {
            let path = checkpoint_path(None, copy);
            let problem = "missing or empty, made again from its twin";
            report.damage.push(format!("{path}: {problem}"));
        }
    }
    let mut base = Base {
        replay: Replay {
            generation: Some(start.generation),
            cuts: BTreeMap::new(),
        },
        partitions: partitions
            .into_iter()
            .map(|partition| (partition.id, partition))
            .collect(),
        owners: BTreeMap::new(),
        first_copy,
        sequence: start.sequence,
    };
    for shard in journals.keys() {
        let Some((header, partitions)) =
            newest_of_shard(disk, *shard, start.generation, report).await?
        else {
            continue;
        };
        base.replay.cuts.insert(*shard, header.cut);
        for partition in partitions {
            base.owners.insert(partition.id, *shard);
            base.partitions.insert(partition.id, partition);
        }
    }
    Ok(base)
}

/// The newest checkpoint of the shard that belongs to the generation; `None` if it has taken none. Where neither copy is
/// whole, one that the disk does not give might be: the journal begins behind it, so that a start without it would take
/// what it says for lost.
async fn newest_of_shard(
    disk: &Disk,
    shard: ShardId,
    generation: Generation,
    report: &mut RecoveryReport,
) -> Result<Option<Checkpointed>, StorageError> {
    let mut newest: Option<Checkpointed> = None;
    let mut bad = Vec::new();
    for copy in [CheckpointCopy::A, CheckpointCopy::B] {
        match read_reported(disk, Some(shard), copy, report).await {
            Ok(Some((header, partitions)))
                if header.generation == generation
                    && newest
                        .as_ref()
                        .is_none_or(|(newest, _)| newest.sequence < header.sequence) =>
            {
                newest = Some((header, partitions));
            }
            Ok(_) => {}
            Err(problem) => bad.push((checkpoint_path(Some(shard), copy), problem)),
        }
    }
    if bad.len() == 2
        && let Some((path, Bad::Unreadable(error))) = bad
            .into_iter()
            .find(|(_, problem)| matches!(problem, Bad::Unreadable(_)))
    {
        let what = format!("reading {path}, whose twin is not whole");
        return Err(StorageError::io(what, error));
    }
    Ok(newest)
}

/// A whole checkpoint.
type Checkpointed = (CheckpointHeader, Vec<PartitionCheckpoint>);

/// Why a checkpoint is of no use.
enum Bad {
    Damaged,
    Unreadable(io::Error),
}

/// A checkpoint, `None` if it was never written, or an error if it is of no use, which is reported.
async fn read_reported(
    disk: &Disk,
    shard: Option<ShardId>,
    copy: CheckpointCopy,
    report: &mut RecoveryReport,
) -> Result<Option<Checkpointed>, Bad> {
    let path = checkpoint_path(shard, copy);
    let (problem, bad) = match read_checkpoint(disk, &path).await {
        FoundCheckpoint::Missing => return Ok(None),
        FoundCheckpoint::Good(header, _) if header.shard != shard => {
            ("it belongs to another shard".to_owned(), Bad::Damaged)
        }
        FoundCheckpoint::Good(header, body) => match decode_body(&body) {
            Ok(partitions) => return Ok(Some((header, partitions))),
            Err(problem) => (problem, Bad::Damaged),
        },
        FoundCheckpoint::Damaged(problem) => (problem, Bad::Damaged),
        FoundCheckpoint::Unreadable(error) => {
            (format!("cannot be read: {error}"), Bad::Unreadable(error))
        }
    };
    // A write that was cut looks like damage; only a clean stop leaves none. Either way the other copy stands in.
    let list = if report.clean {
        &mut report.damage
    } else {
        &mut report.unfinished
    };
    list.push(format!("{path}: {problem}"));
    Err(bad)
}

async fn write_start_checkpoints(
    disk: &Disk,
    header: &CheckpointHeader,
    body: &[u8],
    first: CheckpointCopy,
) -> std::io::Result<()> {
    for copy in [first, first.other()] {
        let mut file = CheckpointFile::open(disk, &checkpoint_path(None, copy)).await?;
        disk.sync_directory(TIDELOG_DIRECTORY).await?;
        file.write(disk, header, body).await?;
    }
    Ok(())
}

/// Renames the directories of deleted topics; the first shard removes them once it runs.
pub(crate) async fn rename_deleted(
    runtime: &Runtime,
    disk: &Disk,
    known: &KnownPartitions,
    report: &mut RecoveryReport,
) -> std::io::Result<()> {
    let directories: BTreeSet<&str> = known
        .partitions
        .values()
        .map(|partition| partition.directory.as_str())
        .collect();
    for entry in disk.list("").await? {
        if !entry.is_directory || entry.name == TIDELOG_DIRECTORY {
            continue;
        }
        if directories::is_for_deletion(&entry.name) || directories.contains(entry.name.as_str()) {
            continue;
        }
        let owner = directories::owner_of(disk, &entry.name).await?;
        if owner.is_some_and(|owner| known.removed.contains(&owner)) {
            directories::rename_for_deletion(runtime, disk, &entry.name).await?;
        } else {
            report.stray_directories.push(entry.name);
        }
    }
    Ok(())
}
