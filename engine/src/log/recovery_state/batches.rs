//! One batch of the journal comes back: its bytes to its segment, what they say to the partition's log. On the
//! recovering executor.
//!
//! Invariant: a batch that the journal names keeps its offsets, whatever became of its bytes. Without a whole copy they
//! are quarantined and a placeholder is counted in its place.

use std::io;

use net::records::BatchHeader;

use super::RecoveryState;
use crate::log::batch::LENGTH_OVERHEAD;
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::journal::replay::{ReplayEntry, batch_crc_holds};
use crate::log::partition_checkpoint::QuarantinedRange;
use crate::log::partition_log::ReplayedBatch;
use crate::log::recovery_report::RecoveryReport;
use crate::log::transactions::TransactionMarker;
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId};

impl RecoveryState<'_> {
    pub(super) async fn bring_back(
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

    pub(super) fn quarantine(
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
    pub(super) fn count(
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
