//! One partition comes back: batches of the journal to its segments and its log, and what stands whole in the segments
//! where the journal lost entries or another program appended. On the recovering executor.
//!
//! Invariants: a batch that the journal names keeps its offsets, whatever became of its bytes: without a whole copy they are
//! quarantined and a placeholder is counted in its place. The offsets of a gap are never given again; the end does not fall
//! back. Only whole batches that continue the log, in offset and in epoch, are taken in from a tail, and none behind the
//! first that does not.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use net::records::BatchHeader;

use crate::log::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::journal::replay::{ReplayEntry, batch_crc_holds};
use crate::log::partition_checkpoint::QuarantinedRange;
use crate::log::partition_log::{PartitionLog, ReplayedBatch};
use crate::log::recovery_report::RecoveryReport;
use crate::log::recovery_writer::RecoveryWriter;
use crate::log::segment::{parse_segment_file_name, segment_file_name};
use crate::log::transactions::TransactionMarker;
use crate::platform::DirectoryEntry;
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId, ShardId};

/// What is known of a partition.
pub(super) struct Tracked {
    pub(super) log: PartitionLog,
    pub(super) directory: String,
    pub(super) owner: Option<ShardId>,
    /// A checkpoint or a journal entry names it, so that the directory of its name is its own (C12a).
    pub(super) named: bool,
    /// What the journal says about the whole of it.
    pub(super) plan: Plan,
    /// What its directory held before anything was written there.
    pub(super) entries: Vec<DirectoryEntry>,
}

/// What the first pass found out about a partition.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) log_start: Offset,
    /// Index of the entry and the end it cut to.
    pub(super) truncations: Vec<(u64, Offset)>,
    pub(super) segment_bases: BTreeSet<Offset>,
    /// Behind the last batch ever named.
    pub(super) end: Offset,
    pub(super) last_batch: Option<u64>,
}

impl Plan {
    /// First pass: entry `index` of the journal is about this partition.
    pub(super) fn note(&mut self, index: u64, header: &EntryHeader) {
        match header.kind {
            EntryKind::Batch | EntryKind::Extent => {
                self.segment_bases.insert(header.segment_base_offset);
                self.end = self.end.max(Offset(header.last_offset.0 + 1));
                self.last_batch = Some(index);
            }
            EntryKind::LogStartOffset => self.log_start = self.log_start.max(header.base_offset),
            EntryKind::Truncate => self.truncations.push((index, header.base_offset)),
            EntryKind::PartitionClosed => {}
        }
    }

    /// Whether the batch of entry `index` is part of the log that the journal ends with.
    pub(super) fn survives(&self, index: u64, base_offset: Offset) -> bool {
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

/// A partition while something is brought back to it.
pub(super) struct Returning<'a, 'disk> {
    pub(super) id: PartitionId,
    pub(super) tracked: &'a mut Tracked,
    pub(super) writer: &'a mut RecoveryWriter<'disk>,
    pub(super) report: &'a mut RecoveryReport,
    pub(super) now_ms: i64,
}

/// Where in its segment a batch lies.
#[derive(Clone, Copy)]
struct Place {
    segment_base: Offset,
    position: u64,
    size: u32,
}

impl Returning<'_, '_> {
    /// Second pass: a batch that survives. What was lost in front of it is made up for first.
    pub(super) async fn replay(&mut self, entry: &ReplayEntry) -> io::Result<()> {
        let end = self.tracked.log.offsets().log_end();
        if entry.header.base_offset < end {
            return Ok(());
        }
        if entry.header.base_offset > end {
            self.fill_gap(&entry.header).await?;
        }
        self.bring_back(entry).await
    }

    async fn bring_back(&mut self, entry: &ReplayEntry) -> io::Result<()> {
        let header = &entry.header;
        let deleted = self.tracked.plan.is_deleted(header.segment_base_offset);
        let bytes = match (&entry.payload, header.kind) {
            (Some(payload), EntryKind::Batch) => {
                if !deleted {
                    self.writer
                        .write(
                            self.id,
                            &self.tracked.directory,
                            header.segment_base_offset,
                            header.file_position,
                            payload.clone(),
                        )
                        .await?;
                }
                Some(payload.clone())
            }
            (Some(payload), _) if deleted => Some(payload.clone()),
            (payload, _) => self.good_copy(header, payload.as_deref()).await?,
        };
        let batch = bytes
            .as_deref()
            .and_then(BatchHeader::parse)
            .filter(|batch| matches_entry(batch, header));
        if batch.is_none() {
            self.quarantine(QuarantinedRange {
                first: header.base_offset,
                last: header.last_offset,
            });
        }
        let marker = batch.and_then(|batch| marker_in(&batch, bytes.as_deref()?));
        let batch = batch.unwrap_or_else(|| {
            placeholder(
                header.base_offset,
                header.last_offset,
                header.length,
                header.leader_epoch,
            )
        });
        self.report.batches_replayed += 1;
        let place = Place {
            segment_base: header.segment_base_offset,
            position: header.file_position,
            size: header.length,
        };
        self.count(&batch, marker, place);
        Ok(())
    }

    /// The batch as it stands in its segment, if that is whole and what the entry names.
    async fn good_copy(
        &mut self,
        header: &EntryHeader,
        start: Option<&[u8]>,
    ) -> io::Result<Option<Bytes>> {
        let length = header.length as usize;
        let copy = self
            .writer
            .read(
                self.id,
                &self.tracked.directory,
                header.segment_base_offset,
                header.file_position,
                length,
            )
            .await?;
        let whole = |copy: &Bytes| copy.len() == length && batch_crc_holds(copy);
        Ok(copy.filter(|copy| whole(copy) && start.is_none_or(|start| copy.starts_with(start))))
    }

    /// Entries between the log's end and `next` are lost. What of them stands whole in the segments is used, the rest is
    /// quarantined; the end does not fall back.
    async fn fill_gap(&mut self, next: &EntryHeader) -> io::Result<()> {
        let active = *self.tracked.log.segments().active();
        let end = self.tracked.log.offsets().log_end();
        if active.base_offset != next.segment_base_offset && next.segment_base_offset > end {
            self.fill_segment(active.base_offset, None, next.segment_base_offset)
                .await?;
        }
        let position = Some(next.file_position);
        self.fill_segment(next.segment_base_offset, position, next.base_offset)
            .await
    }

    /// Brings a segment up to `position`, its end if that is not known, where `offset` begins.
    async fn fill_segment(
        &mut self,
        segment_base: Offset,
        position: Option<u64>,
        offset: Offset,
    ) -> io::Result<()> {
        loop {
            let active = *self.tracked.log.segments().active();
            let from = if active.base_offset == segment_base {
                u64::from(active.size)
            } else {
                0
            };
            let end = self.tracked.log.offsets().log_end();
            if end >= offset {
                return Ok(());
            }
            let mut epoch = self.tracked.log.leader_epoch();
            if let Some(copy) = self.batch_in_segment(segment_base, from).await? {
                let header = BatchHeader::parse(&copy).expect("its CRC held");
                let behind = from + copy.len() as u64;
                if header.base_offset == end.0
                    && header.last_offset() < offset.0
                    && behind <= position.unwrap_or(u64::from(u32::MAX))
                {
                    let place = Place {
                        segment_base,
                        position: from,
                        size: copy.len() as u32,
                    };
                    self.count(&header, marker_in(&header, &copy), place);
                    continue;
                }
                epoch = LeaderEpoch(header.partition_leader_epoch);
            }
            let range = QuarantinedRange {
                first: end,
                last: Offset(offset.0 - 1),
            };
            self.quarantine(range);
            let size = position.map_or(0, |position| (position - from) as u32);
            let place = Place {
                segment_base,
                position: from,
                size,
            };
            self.count(
                &placeholder(range.first, range.last, size, epoch),
                None,
                place,
            );
            return Ok(());
        }
    }

    /// After a clean stop our segments have their exact length: what stands behind it another program appended, a real
    /// Kafka, and its valid batches of an equal or higher epoch are taken in (C12a).
    pub(super) async fn adopt_tails(&mut self) -> io::Result<()> {
        let active = *self.tracked.log.segments().active();
        let mut lengths: Vec<(Offset, u64)> = self
            .tracked
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
            let continues = own || base >= self.tracked.log.offsets().log_end();
            if length > from && (!continues || !self.adopt_tail(base, from, length).await?) {
                break;
            }
        }
        Ok(())
    }

    /// The batches of one segment from `position` on; whether all of it up to `length` was taken in.
    async fn adopt_tail(
        &mut self,
        segment_base: Offset,
        mut position: u64,
        length: u64,
    ) -> io::Result<bool> {
        let first = self.tracked.log.offsets().log_end();
        while position < length {
            let Some(copy) = self.batch_in_segment(segment_base, position).await? else {
                break;
            };
            let header = BatchHeader::parse(&copy).expect("its CRC held");
            let log = &self.tracked.log;
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            let continues = header.base_offset >= log.offsets().log_end().0
                && log.epochs().latest().is_none_or(|latest| epoch >= latest)
                && position + copy.len() as u64 <= length;
            if !continues {
                break;
            }
            let place = Place {
                segment_base,
                position,
                size: copy.len() as u32,
            };
            self.count(&header, marker_in(&header, &copy), place);
            position += copy.len() as u64;
        }
        let directory = &self.tracked.directory;
        let end = self.tracked.log.offsets().log_end();
        if end > first {
            let last = Offset(end.0 - 1);
            self.report
                .adopted
                .push(format!("{directory}: offsets {first} to {last}"));
        }
        if position < length {
            self.report.damage.push(format!(
                "{directory}/{}: {} bytes behind offset {end} continue no log and are written over",
                segment_file_name(segment_base, "log"),
                length - position
            ));
        }
        Ok(position == length)
    }

    /// The whole batch that begins at `position` of a segment.
    async fn batch_in_segment(&mut self, base: Offset, position: u64) -> io::Result<Option<Bytes>> {
        let directory = &self.tracked.directory;
        let start = self
            .writer
            .read(self.id, directory, base, position, HEADER_BYTES)
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
            .read(self.id, directory, base, position, length)
            .await?;
        Ok(batch.filter(|batch| batch.len() == length && batch_crc_holds(batch)))
    }

    fn quarantine(&mut self, range: QuarantinedRange) {
        self.tracked.log.quarantine(range);
        self.report.quarantined_ranges += 1;
        self.report.damage.push(format!(
            "{}: offsets {} to {} are lost or damaged",
            self.tracked.directory, range.first, range.last
        ));
    }

    fn count(&mut self, header: &BatchHeader, marker: Option<TransactionMarker>, place: Place) {
        let batch = ReplayedBatch {
            header,
            marker,
            segment_base: place.segment_base,
            file_position: FilePosition(place.position as u32),
            size: place.size,
            now_ms: self.now_ms,
        };
        if let Err(problem) = self.tracked.log.replay_batch(&batch) {
            self.report.damage.push(format!(
                "{}: offset {}: {problem}",
                self.tracked.directory, header.base_offset
            ));
            self.tracked.log.set_end_unproved(true);
            self.report.unproved_partitions += 1;
        }
    }
}

fn matches_entry(batch: &BatchHeader, entry: &EntryHeader) -> bool {
    batch.base_offset == entry.base_offset.0
        && batch.last_offset() == entry.last_offset.0
        && batch.batch_length as usize + LENGTH_OVERHEAD == entry.length as usize
}

/// The transaction marker in a whole batch.
fn marker_in(header: &BatchHeader, batch: &[u8]) -> Option<TransactionMarker> {
    header
        .is_control()
        .then(|| TransactionMarker::parse(batch).ok().flatten())?
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
