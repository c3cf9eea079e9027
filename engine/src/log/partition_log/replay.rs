//! Recovery brings batches back that the journal or a segment holds. On the recovering executor.
//!
//! Invariant: a batch is counted above the log end, at the place where its segment ends, and is durable at once;
//! sequences are not checked (STORAGE C2).

use super::{PartitionLog, ReplayedBatch};
use crate::log::producer_state::ProducerAppend;
use crate::types::{LeaderEpoch, Offset};

impl PartitionLog {
    /// The log goes on in this segment. Nothing happens if it is the active one; an empty active one is replaced.
    pub fn replay_roll(&mut self, segment_base: Offset, now_ms: i64) -> Result<(), &'static str> {
        let active = *self.segments.active();
        if segment_base == active.base_offset {
            return Ok(());
        }
        if segment_base < self.offsets.log_end() {
            return Err("a replayed segment begins below the log end");
        }
        if active.size == 0 {
            self.segments.reset_active(segment_base, now_ms);
        } else {
            self.segments.roll(segment_base, now_ms);
        }
        Ok(())
    }

    /// Counts a batch that the journal or a segment holds beyond what is known, without checking sequences
    /// (STORAGE C2). The error says what does not fit.
    pub fn replay_batch(&mut self, batch: &ReplayedBatch<'_>) -> Result<(), &'static str> {
        let header = batch.header;
        let base_offset = Offset(header.base_offset);
        if base_offset < self.offsets.log_end() || header.last_offset_delta < 0 {
            return Err("a replayed batch lies below the log end");
        }
        if batch.segment_base > base_offset {
            return Err("a replayed batch lies below its segment");
        }
        self.replay_roll(batch.segment_base, batch.now_ms)?;
        if batch.file_position.0 != self.segments.active().size {
            return Err("a replayed batch leaves a hole in its segment");
        }
        let last_offset = Offset(
            header
                .base_offset
                .checked_add(i64::from(header.last_offset_delta))
                .ok_or("offsets run out")?,
        );
        self.segments
            .active_mut()
            .append(batch.size, header.max_timestamp, last_offset);
        self.leader_epoch = self
            .leader_epoch
            .max(LeaderEpoch(header.partition_leader_epoch));
        self.epochs
            .assign(LeaderEpoch(header.partition_leader_epoch), base_offset);
        let producer =
            ProducerAppend::of(header, base_offset, last_offset, batch.now_ms, batch.marker);
        if let Some(aborted) = producer.and_then(|producer| self.producers.replay(&producer)) {
            self.aborted.push(aborted);
        }
        let end = Offset(last_offset.0 + 1);
        self.move_offsets(self.offsets.log_start(), end, end);
        Ok(())
    }
}
