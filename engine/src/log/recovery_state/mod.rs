//! The partitions while their journals are replayed. On the recovering executor.
//!
//! The first pass reads a whole chain and touches no segment: the final log start, truncations, which segments survive.
//! The second replays what survives, without sequence checks (C2), and writes it (C4). A batch whose bytes are damaged
//! is taken from its segment if that has a good copy (C9), else its offsets are quarantined: the end never falls back.
//!
//! Here are the two passes. `partition` has what is known of one, and brings its batches back; `settle` gives directories to
//! partitions between the passes, and `finish` leaves these as the log says.

mod finish;
mod partition;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub(crate) use partition::placeholder;

use net::platform::Runtime;

use super::config::LogConfig;
use super::journal::chain::ChainReader;
use super::journal::files::{JournalFile, TIDELOG_DIRECTORY, journal_path};
use super::journal::format::{EntryHeader, EntryKind, Generation};
use super::journal::group::ChainEnd;
use super::journal::replay::{GroupDamage, ReplayEntry};
use super::partition_checkpoint::PartitionCheckpoint;
use super::partition_log::PartitionLog;
use super::producer_state::ProducerCount;
use super::recovery::{KnownPartitions, rename_deleted};
use super::recovery_report::RecoveryReport;
use super::recovery_writer::RecoveryWriter;
use super::segment_files::segment_path;
use super::storage::log_config;
use crate::platform::{DirectoryLook, Disk};
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId};
use partition::{Plan, Returning, Tracked};

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
        tracked.named |= matches!(header.kind, EntryKind::Batch | EntryKind::Extent);
        tracked.plan.note(index, header);
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
        let mut returning = Returning {
            id: header.partition,
            tracked,
            writer: &mut self.writer,
            report,
            now_ms: self.now_ms,
        };
        returning.replay(entry).await
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

    /// Between the passes: each partition gets a directory that is its own, before anything is written there.
    pub(crate) async fn settle_directories(
        &mut self,
        runtime: &Runtime,
        looks: Vec<(PartitionId, Option<DirectoryLook>)>,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        for (id, look) in looks {
            let tracked = self.tracked.get_mut(&id).expect("they were asked for");
            tracked.entries =
                settle::settle_directory(runtime, self.disk, self.known, id, tracked, look, report)
                    .await?;
        }
        Ok(())
    }

    /// Completes the segments' writes, applies log starts, and removes what is left over. With `flush_follows` the
    /// caller makes all of the file system durable at once, names too; with `adopts` tails are taken in.
    pub(crate) async fn finish(
        &mut self,
        runtime: &Runtime,
        flush_follows: bool,
        adopts: bool,
        report: &mut RecoveryReport,
    ) -> io::Result<BTreeMap<PartitionId, PartitionCheckpoint>> {
        self.writer.finish().await?;
        report.phases.end("write", runtime.monotonic());
        rename_deleted(runtime, self.disk, self.known, report).await?;
        if adopts {
            self.adopt_tails(report).await?;
        }
        let mut kept = BTreeMap::new();
        for (id, tracked) in &mut self.tracked {
            tracked.log.apply_log_start(tracked.plan.log_start);
            tracked.log.drop_active_below_log_start(self.now_ms);
            if self.known.partitions.contains_key(id) {
                finish::remove_leftovers(self.disk, &self.writer, *id, tracked, report).await?;
            }
            let mut checkpoint = tracked.log.snapshot();
            if crate::planted::is(crate::planted::Bug::LoseProducerState) {
                checkpoint.producers.clear();
            }
            kept.insert(*id, checkpoint);
        }
        if !flush_follows {
            // A directory that was made just before a cut may not be durable yet.
            self.disk.sync_directory("").await?;
            self.writer.sync_new_names().await?;
        }
        report.phases.end("leftovers", runtime.monotonic());
        Ok(kept)
    }

    /// Journals with damage keep their bytes under another name (C9).
    pub(crate) async fn set_journals_aside(
        &self,
        generation: u64,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        for (shard, number) in &self.set_aside {
            let path = journal_path(*shard, *number);
            let aside = format!("{path}.damaged-{generation}");
            if self.disk.exists(&path).await? {
                self.disk.rename(&path, &aside).await?;
                report.damage.push(format!("{path} is kept as {aside}"));
            }
        }
        if !self.set_aside.is_empty() {
            self.disk.sync_directory(TIDELOG_DIRECTORY).await?;
        }
        Ok(())
    }

    /// After any stop but a clean one a longer tail is ours, unacknowledged, and is written over.
    async fn adopt_tails(&mut self, report: &mut RecoveryReport) -> io::Result<()> {
        for (id, tracked) in &mut self.tracked {
            if tracked.named {
                let mut returning = Returning {
                    id: *id,
                    tracked,
                    writer: &mut self.writer,
                    report,
                    now_ms: self.now_ms,
                };
                returning.adopt_tails().await?;
            }
        }
        Ok(())
    }
}
