//! Entries that the journal lost: what of them stands whole in the segments is counted, the rest is quarantined. On the
//! recovering executor.
//!
//! Invariant: the offsets of a gap are never given again; the end does not fall back.

use std::io;

use net::records::BatchHeader;

use super::{RecoveryState, placeholder};
use crate::log::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use crate::log::journal::format::EntryHeader;
use crate::log::journal::replay::batch_crc_holds;
use crate::log::partition_checkpoint::QuarantinedRange;
use crate::log::recovery_report::RecoveryReport;
use crate::log::transactions::TransactionMarker;
use crate::types::{LeaderEpoch, Offset, PartitionId};

impl RecoveryState<'_> {
    /// Entries between the log's end and `next` are lost. What of them stands whole in the segments is used, the rest is
    /// quarantined; the end does not fall back.
    pub(super) async fn fill_gap(
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

    pub(super) async fn batch_in_segment(
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
}
