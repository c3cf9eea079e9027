//! The partitions while their journals are replayed. On the recovering executor.
//!
//! The first pass reads a whole chain and touches no segment: the final log start, truncations, which segments survive.
//! The second replays what survives, without sequence checks (C2), and writes it (C4). A batch whose bytes are damaged
//! is taken from its segment if that has a good copy (C9), else its offsets are quarantined: the end never falls back.
//!
//! Here is what is known of each partition, and the two passes. `batches` brings one batch back, `gaps` stands in for
//! lost entries, `settle` gives directories to partitions between the passes, `tails` takes in what another program
//! appended, and `finish` leaves the directories as the log says.

mod batches;
mod finish;
mod gaps;
mod settle;
mod tails;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub(crate) use batches::placeholder;

use super::config::LogConfig;
use super::journal::chain::ChainReader;
use super::journal::files::{JournalFile, journal_path};
use super::journal::format::{EntryHeader, EntryKind, Generation};
use super::journal::group::ChainEnd;
use super::journal::replay::{GroupDamage, ReplayEntry};
use super::partition_checkpoint::PartitionCheckpoint;
use super::partition_log::PartitionLog;
use super::producer_state::ProducerCount;
use super::recovery::KnownPartitions;
use super::recovery_report::RecoveryReport;
use super::recovery_writer::RecoveryWriter;
use super::segment_files::segment_path;
use super::storage::log_config;
use crate::platform::{DirectoryEntry, Disk};
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId};

struct Tracked {
    log: PartitionLog,
    directory: String,
    owner: Option<ShardId>,
    /// A checkpoint or a journal entry names it, so that the directory of its name is its own (C12a).
    named: bool,
    /// What the journal says about the whole of it.
    plan: Plan,
    /// What its directory held before anything was written there.
    entries: Vec<DirectoryEntry>,
}

/// What the first pass found out about a partition.
#[derive(Default)]
struct Plan {
    log_start: Offset,
    /// Index of the entry and the end it cut to.
    truncations: Vec<(u64, Offset)>,
    segment_bases: BTreeSet<Offset>,
    /// Behind the last batch ever named.
    end: Offset,
    last_batch: Option<u64>,
}

/// All partitions of the node during recovery.
pub(crate) struct RecoveryState<'a> {
    disk: &'a Disk,
    known: &'a KnownPartitions,
    now_ms: i64,
    tracked: BTreeMap<PartitionId, Tracked>,
    producers: ProducerCount,
    writer: RecoveryWriter<'a>,
    set_aside: BTreeSet<(ShardId, u32)>,
}

impl Plan {
    /// Whether the batch of entry `index` is part of the log that the journal ends with.
    fn survives(&self, index: u64, base_offset: Offset) -> bool {
        !self
            .truncations
            .iter()
            .any(|(cut, end)| *cut > index && base_offset >= *end)
    }

    /// Whether a segment lies wholly below the log start and is, or will be, deleted.
    fn is_deleted(&self, base: Offset) -> bool {
        let next = self.segment_bases.range(Offset(base.0 + 1)..).next();
        *next.unwrap_or(&self.end) <= self.log_start
    }
}

impl<'a> RecoveryState<'a> {
    pub(crate) fn new(
        disk: &'a Disk,
        now_ms: i64,
        known: &'a KnownPartitions,
        partitions: BTreeMap<PartitionId, PartitionCheckpoint>,
        owners: BTreeMap<PartitionId, ShardId>,
        gathered_bytes_max: usize,
    ) -> RecoveryState<'a> {
        let mut state = RecoveryState {
            disk,
            known,
            now_ms,
            tracked: BTreeMap::new(),
            producers: ProducerCount::new(usize::MAX),
            writer: RecoveryWriter::new(disk, gathered_bytes_max),
            set_aside: BTreeSet::new(),
        };
        for (id, checkpoint) in partitions {
            if !known.removed.contains(&id.topic_id) {
                state.track(checkpoint, owners.get(&id).copied(), true);
            }
        }
        for (id, partition) in &known.partitions {
            if !state.tracked.contains_key(id) {
                let empty =
                    PartitionCheckpoint::empty(*id, &partition.directory, LeaderEpoch(-1), now_ms);
                state.track(empty, None, false);
            }
        }
        state
    }

    fn track(&mut self, mut checkpoint: PartitionCheckpoint, owner: Option<ShardId>, named: bool) {
        let id = checkpoint.id;
        let known = self.known.partitions.get(&id);
        if let Some(known) = known {
            checkpoint.directory.clone_from(&known.directory);
        }
        let directory = checkpoint.directory.clone();
        let config = known.map_or_else(LogConfig::default, |known| log_config(&known.config));
        let plan = Plan {
            log_start: checkpoint.log_start,
            end: checkpoint.end_offset,
            segment_bases: checkpoint
                .segments
                .iter()
                .map(|segment| segment.base_offset)
                .collect(),
            ..Plan::default()
        };
        match PartitionLog::restore(checkpoint, config, self.producers.clone()) {
            Ok(log) => drop(self.tracked.insert(
                id,
                Tracked {
                    log,
                    directory,
                    owner,
                    named,
                    plan,
                    entries: Vec::new(),
                },
            )),
            Err(problem) => tracing::error!(directory, problem, "a checkpoint contradicts itself"),
        }
    }

    /// First pass over one shard's journal: what it says about each partition. Touches no segment (C4). Gives the last
    /// group of the chain.
    pub(crate) async fn read_journal(
        &mut self,
        generation: Generation,
        shard: ShardId,
        files: &[JournalFile],
        cut: ChainEnd,
        report: &mut RecoveryReport,
    ) -> io::Result<u64> {
        let mut chain = ChainReader::open(generation, shard.0, files, cut).await?;
        let mut index = 0;
        let mut lost_at = None;
        let mut seen = BTreeSet::new();
        while let Some(group) = chain.next().await? {
            if group.damage == Some(GroupDamage::Headers) {
                lost_at = Some(index);
            }
            for entry in &group.entries {
                seen.insert(entry.header.partition);
                self.note(index, &entry.header);
                index += 1;
            }
        }
        let summary = chain.summary();
        if summary.entries_lost && lost_at.is_none() {
            lost_at = Some(u64::MAX);
        }
        self.report_chain(shard, &summary, &chain.rotten_files, report);
        if let Some(lost_at) = lost_at {
            self.mark_unproved(shard, &seen, lost_at, report);
        }
        Ok(summary.end.group_number)
    }

    /// Second pass over one shard's journal: brings back and writes what survives, up to the group `last`.
    pub(crate) async fn replay_journal(
        &mut self,
        generation: Generation,
        shard: ShardId,
        files: &[JournalFile],
        cut: ChainEnd,
        last: u64,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let mut chain = ChainReader::open(generation, shard.0, files, cut).await?;
        chain.stop_behind(last);
        let mut index = 0;
        while let Some(group) = chain.next().await? {
            for entry in &group.entries {
                self.replay(index, shard, entry, group.end.file_number, report)
                    .await?;
                index += 1;
            }
        }
        Ok(())
    }

    fn report_chain(
        &mut self,
        shard: ShardId,
        summary: &super::journal::chain::ChainSummary,
        rotten_files: &[u32],
        report: &mut RecoveryReport,
    ) {
        report.journals += 1;
        report.bytes_replayed += summary.bytes;
        report.torn_groups += u64::from(summary.torn);
        report.rotten_groups += summary.rotten_groups;
        for number in rotten_files {
            if self.set_aside.insert((shard, *number)) {
                let path = journal_path(shard, *number);
                report.damage.push(format!(
                    "{path}: holds groups that were flushed and are no longer whole"
                ));
            }
        }
    }

    /// First pass.
    fn note(&mut self, index: u64, header: &EntryHeader) {
        let Some(tracked) = self.tracked.get_mut(&header.partition) else {
            return;
        };
        match header.kind {
            EntryKind::Batch | EntryKind::Extent => {
                tracked.named = true;
                tracked
                    .plan
                    .segment_bases
                    .insert(header.segment_base_offset);
                tracked.plan.end = tracked.plan.end.max(Offset(header.last_offset.0 + 1));
                tracked.plan.last_batch = Some(index);
            }
            EntryKind::LogStartOffset => {
                tracked.plan.log_start = tracked.plan.log_start.max(header.base_offset)
            }
            EntryKind::Truncate => tracked.plan.truncations.push((index, header.base_offset)),
            EntryKind::PartitionClosed => {}
        }
    }

    /// Entries of flushed groups are lost: whoever has none behind them cannot prove its end (C9).
    fn mark_unproved(
        &mut self,
        shard: ShardId,
        seen: &BTreeSet<PartitionId>,
        lost_at: u64,
        report: &mut RecoveryReport,
    ) {
        for (id, tracked) in &mut self.tracked {
            let here = seen.contains(id) || tracked.owner.is_none_or(|owner| owner == shard);
            if here && tracked.plan.last_batch.is_none_or(|last| last < lost_at) {
                tracked.log.set_end_unproved(true);
                tracked.plan.end = Offset(i64::MAX);
                report.unproved_partitions += 1;
                report.damage.push(format!(
                    "{}: its end cannot be proved, appends are refused",
                    tracked.directory
                ));
            }
        }
    }

    /// Second pass.
    async fn replay(
        &mut self,
        index: u64,
        shard: ShardId,
        entry: &ReplayEntry,
        file_number: u32,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let header = &entry.header;
        let Some(tracked) = self.tracked.get_mut(&header.partition) else {
            if !self.known.removed.contains(&header.partition.topic_id)
                && self.set_aside.insert((shard, file_number))
            {
                let path = journal_path(shard, file_number);
                report.damage.push(format!(
                    "{path}: holds entries of a topic that is neither known nor deleted"
                ));
            }
            return Ok(());
        };
        if !matches!(header.kind, EntryKind::Batch | EntryKind::Extent)
            || !tracked.plan.survives(index, header.base_offset)
        {
            return Ok(());
        }
        let end = tracked.log.offsets().log_end();
        if header.base_offset < end {
            return Ok(());
        }
        if header.base_offset > end {
            self.fill_gap(header, report).await?;
        }
        self.bring_back(entry, report).await
    }

    /// The partitions that the metadata knows, with their directory and the path of their newest segment.
    pub(crate) fn places(&self) -> Vec<(PartitionId, String, String)> {
        let tracked = self.tracked.iter();
        tracked
            .filter(|(id, _)| self.known.partitions.contains_key(*id))
            .map(|(id, tracked)| {
                let newest = tracked.log.segments().active().base_offset;
                let path = segment_path(&tracked.directory, newest);
                (*id, tracked.directory.clone(), path)
            })
            .collect()
    }
}
