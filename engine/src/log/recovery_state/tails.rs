//! What stands behind a partition's end in its segments: taken in after a clean stop, written over after any other. On
//! the recovering executor.
//!
//! Invariant: only whole batches that continue the log, in offset and in epoch, are taken in, and none behind the first
//! that does not.

use std::io;

use net::records::BatchHeader;

use super::RecoveryState;
use crate::log::recovery_report::RecoveryReport;
use crate::log::segment::{parse_segment_file_name, segment_file_name};
use crate::log::transactions::TransactionMarker;
use crate::types::{LeaderEpoch, Offset, PartitionId};

impl RecoveryState<'_> {
    /// After a clean stop our segments have their exact length: what stands behind it another program appended, a real
    /// Kafka, and its valid batches of an equal or higher epoch are taken in (C12a). After any other stop a longer tail is
    /// ours, unacknowledged, and is written over.
    pub(super) async fn adopt_tails(&mut self, report: &mut RecoveryReport) -> io::Result<()> {
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
}
