//! The partitions while their journals are replayed. On the recovering executor.
//!
//! The first pass reads a whole chain and touches no segment: the final log start, truncations, which segments survive.
//! The second replays what survives, without sequence checks (C2), and writes it (C4). A batch whose bytes are damaged
//! is taken from its segment if that has a good copy (C9), else its offsets are quarantined: the end never falls back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use net::platform::Runtime;
use net::records::BatchHeader;

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use super::compaction::swap_files;
use super::config::LogConfig;
use super::directories;
use super::journal::chain::ChainReader;
use super::journal::files::{JournalFile, journal_path};
use super::journal::format::{EntryHeader, EntryKind, Generation};
use super::journal::group::ChainEnd;
use super::journal::replay::{GroupDamage, ReplayEntry, batch_crc_holds};
use super::partition_checkpoint::{PartitionCheckpoint, QuarantinedRange};
use super::partition_log::{PartitionLog, ReplayedBatch};
use super::producer_state::ProducerCount;
use super::recovery::{KnownPartitions, remove_deleted};
use super::recovery_report::RecoveryReport;
use super::recovery_writer::RecoveryWriter;
use super::segment::{parse_segment_file_name, segment_file_name};
use super::segment_files::segment_path;
use super::storage::log_config;
use super::transactions::TransactionMarker;
use crate::platform::{DirectoryEntry, DirectoryLook, Disk};
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId, ShardId};

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

    async fn bring_back(
        &mut self,
        entry: &ReplayEntry,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let header = &entry.header;
        let id = header.partition;
        let tracked = self.tracked.get_mut(&id).expect("the caller found it");
        let deleted = tracked.plan.is_deleted(header.segment_base_offset);
        let directory = tracked.directory.clone();
        let bytes = match (&entry.payload, header.kind) {
            (Some(payload), EntryKind::Batch) => {
                if !deleted {
                    self.writer
                        .write(
                            id,
                            &directory,
                            header.segment_base_offset,
                            header.file_position,
                            payload.clone(),
                        )
                        .await?;
                }
                Some(payload.clone())
            }
            (Some(payload), _) if deleted => Some(payload.clone()),
            (payload, _) => {
                self.good_copy(header, &directory, payload.as_deref())
                    .await?
            }
        };
        let batch = bytes
            .as_deref()
            .and_then(BatchHeader::parse)
            .filter(|batch| matches_entry(batch, header));
        if batch.is_none() {
            let range = QuarantinedRange {
                first: header.base_offset,
                last: header.last_offset,
            };
            self.quarantine(id, range, report);
        }
        let marker = batch.filter(BatchHeader::is_control).and_then(|_| {
            bytes
                .as_deref()
                .and_then(|bytes| TransactionMarker::parse(bytes).ok().flatten())
        });
        let batch = batch.unwrap_or_else(|| {
            placeholder(
                header.base_offset,
                header.last_offset,
                header.length,
                header.leader_epoch,
            )
        });
        report.batches_replayed += 1;
        self.count(
            id,
            &batch,
            marker,
            header.segment_base_offset,
            header.file_position,
            header.length,
            report,
        );
        Ok(())
    }

    /// The batch as it stands in its segment, if that is whole and what the entry names.
    async fn good_copy(
        &mut self,
        header: &EntryHeader,
        directory: &str,
        start: Option<&[u8]>,
    ) -> io::Result<Option<bytes::Bytes>> {
        let id = header.partition;
        let length = header.length as usize;
        let copy = self
            .writer
            .read(
                id,
                directory,
                header.segment_base_offset,
                header.file_position,
                length,
            )
            .await?;
        let whole = |copy: &bytes::Bytes| copy.len() == length && batch_crc_holds(copy);
        Ok(copy.filter(|copy| whole(copy) && start.is_none_or(|start| copy.starts_with(start))))
    }

    fn quarantine(
        &mut self,
        id: PartitionId,
        range: QuarantinedRange,
        report: &mut RecoveryReport,
    ) {
        let tracked = self.tracked.get_mut(&id).expect("the caller found it");
        tracked.log.quarantine(range);
        report.quarantined_ranges += 1;
        report.damage.push(format!(
            "{}: offsets {} to {} are lost or damaged",
            tracked.directory, range.first, range.last
        ));
    }

    #[allow(clippy::too_many_arguments, reason = "a batch and its place")]
    fn count(
        &mut self,
        id: PartitionId,
        header: &BatchHeader,
        marker: Option<TransactionMarker>,
        segment_base: Offset,
        position: u64,
        size: u32,
        report: &mut RecoveryReport,
    ) {
        let tracked = self.tracked.get_mut(&id).expect("the caller found it");
        let file_position = FilePosition(position as u32);
        let batch = ReplayedBatch {
            header,
            marker,
            segment_base,
            file_position,
            size,
            now_ms: self.now_ms,
        };
        if let Err(problem) = tracked.log.replay_batch(&batch) {
            report.damage.push(format!(
                "{}: offset {}: {problem}",
                tracked.directory, header.base_offset
            ));
            tracked.log.set_end_unproved(true);
            report.unproved_partitions += 1;
        }
    }

    /// Entries between the log's end and `next` are lost. What of them stands whole in the segments is used, the rest is
    /// quarantined; the end does not fall back.
    async fn fill_gap(
        &mut self,
        next: &EntryHeader,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let id = next.partition;
        let active = *self.tracked[&id].log.segments().active();
        if active.base_offset == next.segment_base_offset {
            return self
                .fill_segment(
                    id,
                    active.base_offset,
                    next.file_position,
                    next.base_offset,
                    report,
                )
                .await;
        }
        let end = self.tracked[&id].log.offsets().log_end();
        if next.segment_base_offset > end {
            self.fill_segment(
                id,
                active.base_offset,
                u64::from(u32::MAX),
                next.segment_base_offset,
                report,
            )
            .await?;
        }
        self.fill_segment(
            id,
            next.segment_base_offset,
            next.file_position,
            next.base_offset,
            report,
        )
        .await
    }

    /// Brings a segment up to `position`, where `offset` begins.
    async fn fill_segment(
        &mut self,
        id: PartitionId,
        base: Offset,
        position: u64,
        offset: Offset,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        loop {
            let tracked = &self.tracked[&id];
            let active = *tracked.log.segments().active();
            let from = if active.base_offset == base {
                u64::from(active.size)
            } else {
                0
            };
            let (end, directory) = (tracked.log.offsets().log_end(), tracked.directory.clone());
            if end >= offset {
                return Ok(());
            }
            let Some(copy) = self.batch_in_segment(id, &directory, base, from).await? else {
                let size = if position == u64::from(u32::MAX) {
                    0
                } else {
                    (position - from) as u32
                };
                let range = QuarantinedRange {
                    first: end,
                    last: Offset(offset.0 - 1),
                };
                self.quarantine(id, range, report);
                let epoch = self.tracked[&id].log.leader_epoch();
                let header = placeholder(range.first, range.last, size, epoch);
                self.count(id, &header, None, base, from, size, report);
                return Ok(());
            };
            let header = BatchHeader::parse(&copy).expect("its CRC held");
            let fits = header.base_offset == end.0
                && header.last_offset() < offset.0
                && from + copy.len() as u64 <= position;
            let marker = if header.is_control() {
                TransactionMarker::parse(&copy).ok().flatten()
            } else {
                None
            };
            if fits {
                self.count(id, &header, marker, base, from, copy.len() as u32, report);
            } else {
                let size = if position == u64::from(u32::MAX) {
                    0
                } else {
                    (position - from) as u32
                };
                let range = QuarantinedRange {
                    first: end,
                    last: Offset(offset.0 - 1),
                };
                self.quarantine(id, range, report);
                let header = placeholder(
                    range.first,
                    range.last,
                    size,
                    LeaderEpoch(header.partition_leader_epoch),
                );
                self.count(id, &header, None, base, from, size, report);
                return Ok(());
            }
        }
    }

    async fn batch_in_segment(
        &mut self,
        id: PartitionId,
        directory: &str,
        base: Offset,
        position: u64,
    ) -> io::Result<Option<bytes::Bytes>> {
        let start = self
            .writer
            .read(id, directory, base, position, HEADER_BYTES)
            .await?;
        let header = start.as_deref().and_then(BatchHeader::parse);
        let length = header
            .and_then(|header| usize::try_from(header.batch_length).ok())
            .map(|length| length + LENGTH_OVERHEAD);
        let Some(length) = length else {
            return Ok(None);
        };
        let batch = self
            .writer
            .read(id, directory, base, position, length)
            .await?;
        Ok(batch.filter(|batch| batch.len() == length && batch_crc_holds(batch)))
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
                settle_directory(runtime, self.disk, self.known, id, tracked, look, report).await?;
        }
        Ok(())
    }

    /// After a clean stop our segments have their exact length: what stands behind it another program appended, a real
    /// Kafka, and its valid batches of an equal or higher epoch are taken in (C12a). After any other stop a longer tail is
    /// ours, unacknowledged, and is written over.
    async fn adopt_tails(&mut self, report: &mut RecoveryReport) -> io::Result<()> {
        let named = self.tracked.iter().filter(|(_, tracked)| tracked.named);
        let ids: Vec<PartitionId> = named.map(|(id, _)| *id).collect();
        for id in ids {
            let tracked = &self.tracked[&id];
            let active = *tracked.log.segments().active();
            let mut lengths: Vec<(Offset, u64)> = tracked
                .entries
                .iter()
                .filter_map(|entry| Some((parse_segment_file_name(&entry.name)?, entry.length)))
                .filter(|((base, extension), _)| *extension == "log" && *base >= active.base_offset)
                .map(|((base, _), length)| (base, length))
                .collect();
            lengths.sort_unstable();
            for (base, length) in lengths {
                let own = base == active.base_offset;
                let from = if own { u64::from(active.size) } else { 0 };
                let continues = own || base >= self.tracked[&id].log.offsets().log_end();
                if length > from
                    && (!continues || !self.adopt_tail(id, base, from, length, report).await?)
                {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The batches of one segment from `position` on; whether all of it up to `length` was taken in.
    async fn adopt_tail(
        &mut self,
        id: PartitionId,
        base: Offset,
        mut position: u64,
        length: u64,
        report: &mut RecoveryReport,
    ) -> io::Result<bool> {
        let directory = self.tracked[&id].directory.clone();
        let first = self.tracked[&id].log.offsets().log_end();
        while position < length {
            let Some(copy) = self
                .batch_in_segment(id, &directory, base, position)
                .await?
            else {
                break;
            };
            let header = BatchHeader::parse(&copy).expect("its CRC held");
            let log = &self.tracked[&id].log;
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            let continues = header.base_offset >= log.offsets().log_end().0
                && log.epochs().latest().is_none_or(|latest| epoch >= latest)
                && position + copy.len() as u64 <= length;
            if !continues {
                break;
            }
            let marker = header
                .is_control()
                .then(|| TransactionMarker::parse(&copy).ok().flatten());
            let size = copy.len() as u32;
            self.count(id, &header, marker.flatten(), base, position, size, report);
            position += copy.len() as u64;
        }
        let end = self.tracked[&id].log.offsets().log_end();
        if end > first {
            let last = Offset(end.0 - 1);
            report
                .adopted
                .push(format!("{directory}: offsets {first} to {last}"));
        }
        if position < length {
            report.damage.push(format!(
                "{directory}/{}: {} bytes behind offset {end} continue no log and are written over",
                segment_file_name(base, "log"),
                length - position
            ));
        }
        Ok(position == length)
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
        remove_deleted(runtime, self.disk, self.known, report).await?;
        if adopts {
            self.adopt_tails(report).await?;
        }
        let mut kept = BTreeMap::new();
        for (id, tracked) in &mut self.tracked {
            tracked.log.apply_log_start(tracked.plan.log_start);
            tracked.log.drop_active_below_log_start(self.now_ms);
            if self.known.partitions.contains_key(id) {
                remove_leftovers(self.disk, &self.writer, *id, tracked, report).await?;
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
            self.disk
                .sync_directory(super::journal::files::TIDELOG_DIRECTORY)
                .await?;
        }
        Ok(())
    }
}

/// Makes sure that the partition's directory is there and its own; what is in it.
async fn settle_directory(
    runtime: &Runtime,
    disk: &Disk,
    known: &KnownPartitions,
    id: PartitionId,
    tracked: &Tracked,
    look: Option<DirectoryLook>,
    report: &mut RecoveryReport,
) -> io::Result<Vec<DirectoryEntry>> {
    let directory = &tracked.directory;
    if let Some(look) = look {
        let owner = directories::owner_in(&look);
        if owner == Some(id.topic_id) {
            return Ok(look.entries);
        }
        if tracked.named {
            directories::write_owner(disk, id, directory).await?;
            report.damage.push(format!(
                "{directory}/partition.metadata: did not name its topic, written again"
            ));
            return Ok(look.entries);
        }
        // A deleted topic's directory although a new topic has its name (C11).
        if owner.is_some_and(|owner| known.removed.contains(&owner))
            && let Some(gone) = directories::rename_for_deletion(runtime, disk, directory).await?
        {
            directories::remove(disk, &gone).await;
        }
    }
    directories::create(runtime, disk, id, directory).await?;
    Ok(Vec::new())
}

fn matches_entry(batch: &BatchHeader, entry: &EntryHeader) -> bool {
    batch.base_offset == entry.base_offset.0
        && batch.last_offset() == entry.last_offset.0
        && batch.batch_length as usize + LENGTH_OVERHEAD == entry.length as usize
}

/// A header that stands for bytes nobody can read.
pub(crate) fn placeholder(
    first: Offset,
    last: Offset,
    size: u32,
    epoch: LeaderEpoch,
) -> BatchHeader {
    BatchHeader {
        base_offset: first.0,
        batch_length: size as i32 - LENGTH_OVERHEAD as i32,
        partition_leader_epoch: epoch.0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: (last.0 - first.0).min(i64::from(i32::MAX)) as i32,
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    }
}

/// Removes segments that retention had taken already, and those above the end that nothing names; names what is short.
async fn remove_leftovers(
    disk: &Disk,
    writer: &RecoveryWriter<'_>,
    id: PartitionId,
    tracked: &Tracked,
    report: &mut RecoveryReport,
) -> io::Result<()> {
    let segments = tracked.log.segments().as_slice();
    let mut lengths = BTreeMap::new();
    let mut removed = false;
    for entry in &tracked.entries {
        if swap_files::is_leftover(&entry.name) {
            disk.remove_file(&format!("{}/{}", tracked.directory, entry.name))
                .await?;
            removed = true;
            continue;
        }
        let Some((base, extension)) = parse_segment_file_name(&entry.name) else {
            continue;
        };
        let listed = segments.iter().any(|segment| segment.base_offset == base);
        if listed && extension == "log" {
            lengths.insert(base, entry.length);
        }
        let above = base > tracked.log.segments().active().base_offset;
        let below = base < segments[0].base_offset;
        if extension != "snapshot" && !listed && (below || (above && !report.clean)) {
            disk.remove_file(&format!("{}/{}", tracked.directory, entry.name))
                .await?;
            removed = true;
        }
    }
    if removed {
        disk.sync_directory(&tracked.directory).await?;
    }
    for segment in segments.iter().filter(|segment| segment.size > 0) {
        let found = lengths.get(&segment.base_offset).copied().unwrap_or(0);
        let length = found.max(writer.written_end(id, segment.base_offset));
        if length < u64::from(segment.size) {
            let name = segment.file_name("log");
            report.damage.push(format!(
                "{}/{name}: {length} bytes of {}",
                tracked.directory, segment.size
            ));
        }
    }
    Ok(())
}
