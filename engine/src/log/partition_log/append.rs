//! A batch is appended: planned, then applied when it is durable, or given up. On the partition's core.
//!
//! Invariant: what is refused leaves no trace; an accepted plan counts at once for those behind it, and what a failed
//! write takes back is as if it had never come.

use super::{PartitionLog, Planned};
use crate::log::append::{
    AppendOrigin, AppendRequest, Appended, Applied, Placement, PlanOutcome, PlannedAppend,
};
use crate::log::batch::{HEADER_BYTES, LENGTH_OVERHEAD, StoredBatch};
use crate::log::error::AppendError;
use crate::log::producer_state::{ProducerAppend, ProducerBatch, ProducerCheck};
use crate::log::segment::RollQuestion;
use crate::log::transactions::TransactionMarker;
use crate::types::{FilePosition, LeaderEpoch, Offset};

impl PartitionLog {
    /// Where a batch would go if it were planned now, so that its bytes can be allocated first (DESIGN §5.2, Space).
    pub fn place(&self, request: &AppendRequest) -> Placement {
        let base = self.offsets.log_end();
        let question = RollQuestion {
            size: u32::try_from(request.batch.len()).unwrap_or(u32::MAX),
            max_timestamp: request.max_timestamp,
            last_offset: Offset(
                base.0
                    .saturating_add(i64::from(request.header.last_offset_delta)),
            ),
            now_ms: request.now_ms,
        };
        if self.segments.should_roll(self.id, &self.config, &question) {
            Placement {
                segment_base: base,
                file_position: FilePosition(0),
                roll: true,
            }
        } else {
            Placement {
                segment_base: self.segments.active().base_offset,
                file_position: self.segments.end_position(),
                roll: false,
            }
        }
    }

    /// Decides the batch's offset. Checks epoch, size and sequence; what is refused leaves no trace. An accepted
    /// plan counts at once for those behind it and must be followed by [`Self::apply_append`] or
    /// [`Self::fail_pending`].
    pub fn plan_append(&mut self, request: &AppendRequest) -> Result<PlanOutcome, AppendError> {
        let size = self.check_append(request)?;
        let marker = marker_of(request)?;
        let log_end = self.offsets.log_end();
        match self.producers.check(
            &request.header,
            marker,
            request.origin,
            log_end,
            request.now_ms,
        )? {
            ProducerCheck::Duplicate(batch) => return Ok(self.duplicate(batch)),
            ProducerCheck::Accept => {}
        }

        let (base_offset, leader_epoch) = match request.origin {
            AppendOrigin::Client | AppendOrigin::Coordinator => (log_end, self.leader_epoch),
            AppendOrigin::Replication => (
                Offset(request.header.base_offset),
                LeaderEpoch(request.header.partition_leader_epoch),
            ),
        };
        let delta = i64::from(request.header.last_offset_delta);
        let last_offset = Offset(
            base_offset
                .0
                .checked_add(delta)
                .filter(|last| *last < i64::MAX)
                .ok_or(AppendError::InvalidBatch("offsets run out"))?,
        );

        let placement = self.place(request);
        let segment_before = *self.segments.active();
        if placement.roll {
            self.segments.roll(base_offset, request.now_ms);
        }
        let offset_of_max_timestamp =
            Offset(base_offset.0 + i64::from(request.offset_of_max_timestamp_delta));
        self.segments
            .active_mut()
            .append(size, request.max_timestamp, offset_of_max_timestamp);

        let producer = ProducerAppend::of(
            &request.header,
            base_offset,
            last_offset,
            request.now_ms,
            marker,
        );
        if let Some(producer) = &producer {
            self.producers.plan(producer);
        }
        self.planned.push_back(Planned {
            base_offset,
            last_offset,
            leader_epoch,
            producer,
            segment_before,
            finished: false,
        });
        let offsets = self.offsets;
        self.offsets.set(
            offsets.log_start(),
            offsets.last_stable(),
            offsets.high_watermark(),
            Offset(last_offset.0 + 1),
        );

        Ok(PlanOutcome::Append(PlannedAppend {
            batch: StoredBatch::stamp(&request.batch, request.header, base_offset, leader_epoch),
            base_offset,
            last_offset,
            leader_epoch,
            segment_base: self.segments.active().base_offset,
            file_position: placement.file_position,
            size,
            roll: placement.roll,
            max_timestamp: request.max_timestamp,
            offset_of_max_timestamp,
            flush: self.config.flushes,
            appended: Appended {
                base_offset,
                last_offset,
                log_append_time_ms: if self.config.log_append_time {
                    request.max_timestamp
                } else {
                    -1
                },
                log_start_offset: offsets.log_start(),
                duplicate: false,
            },
        }))
    }

    fn check_append(&self, request: &AppendRequest) -> Result<u32, AppendError> {
        match request.current_leader_epoch {
            Some(requested) if requested < self.leader_epoch => {
                return Err(AppendError::FencedLeaderEpoch {
                    requested,
                    current: self.leader_epoch,
                });
            }
            Some(requested) if requested > self.leader_epoch => {
                return Err(AppendError::UnknownLeaderEpoch {
                    requested,
                    current: self.leader_epoch,
                });
            }
            _ => {}
        }
        if self.quarantine.end_unproved {
            return Err(AppendError::Quarantined);
        }
        let size = request.batch.len();
        let max = self.config.segment_bytes as usize;
        if size > max {
            return Err(AppendError::BatchLargerThanSegment { size, max });
        }
        let header = &request.header;
        if size != header.batch_length as usize + LENGTH_OVERHEAD || size < HEADER_BYTES {
            return Err(AppendError::InvalidBatch(
                "its length differs from its header",
            ));
        }
        if header.last_offset_delta < 0
            || !(0..=header.last_offset_delta).contains(&request.offset_of_max_timestamp_delta)
        {
            return Err(AppendError::InvalidBatch(
                "its last offset delta is out of range",
            ));
        }
        if request.origin == AppendOrigin::Replication
            && header.base_offset < self.offsets.log_end().0
        {
            return Err(AppendError::InvalidBatch(
                "a replicated batch lies below the log end",
            ));
        }
        Ok(size as u32)
    }

    /// I2 and I11: the original's offsets, to be answered once the original is durable.
    fn duplicate(&self, batch: ProducerBatch) -> PlanOutcome {
        let wait_until = Offset(batch.last_offset.0 + 1);
        PlanOutcome::Duplicate {
            appended: Appended {
                base_offset: batch.first_offset(),
                last_offset: batch.last_offset,
                log_append_time_ms: batch.timestamp,
                log_start_offset: self.offsets.log_start(),
                duplicate: true,
            },
            durable: wait_until <= self.offsets.high_watermark(),
            wait_until,
        }
    }

    /// The planned batch that begins at `base_offset` is durable. It becomes visible together with those behind it
    /// that are durable already, once nothing in front of it is outstanding.
    ///
    /// # Panics
    /// If there is no such plan.
    pub fn apply_append(&mut self, base_offset: Offset) -> Applied {
        let index = self
            .planned
            .partition_point(|plan| plan.base_offset < base_offset);
        let plan = self
            .planned
            .get_mut(index)
            .filter(|plan| plan.base_offset == base_offset)
            .expect("only planned batches are applied");
        plan.finished = true;
        self.advance()
    }

    fn advance(&mut self) -> Applied {
        let before = self.offsets;
        let mut batches = 0;
        let mut durable_end = before.high_watermark();
        while self.planned.front().is_some_and(|plan| plan.finished) {
            let plan = self.planned.pop_front().expect("it is there");
            durable_end = Offset(plan.last_offset.0 + 1);
            batches += 1;
            self.epochs.assign(plan.leader_epoch, plan.base_offset);
            if let Some(aborted) = plan
                .producer
                .and_then(|producer| self.producers.apply(&producer))
            {
                self.aborted.push(aborted);
            }
        }
        if batches > 0 {
            self.move_offsets(before.log_start(), durable_end, before.log_end());
        }
        Applied {
            batches,
            high_watermark: self.offsets.high_watermark(),
            last_stable: self.offsets.last_stable(),
            moved: self.offsets.high_watermark() != before.high_watermark()
                || self.offsets.last_stable() != before.last_stable(),
        }
    }

    /// Everything planned and not applied is void: its write failed. The log ends at the high watermark again and
    /// the producers are as if the batches had never come.
    pub fn fail_pending(&mut self) {
        while let Some(plan) = self.planned.pop_back() {
            while self.segments.active().base_offset != plan.segment_before.base_offset {
                self.segments.remove_last();
            }
            *self.segments.active_mut() = plan.segment_before;
        }
        self.producers.fail_pending();
        let offsets = self.offsets;
        self.offsets.set(
            offsets.log_start(),
            offsets.last_stable(),
            offsets.high_watermark(),
            offsets.high_watermark(),
        );
    }

    /// Whether plans are outstanding.
    pub fn has_pending(&self) -> bool {
        !self.planned.is_empty()
    }

    /// Whether the batch is in the log already, so that its append writes nothing.
    pub fn is_duplicate(&self, request: &AppendRequest) -> bool {
        self.producers.is_duplicate(&request.header, request.origin)
    }

    /// An append was refused for want of space, before it was planned.
    pub fn note_refused(&mut self, request: &AppendRequest) {
        self.producers.note_refused(&request.header);
    }
}

/// The transaction marker in a control batch. Clients may not send one (RELIABILITY P5).
fn marker_of(request: &AppendRequest) -> Result<Option<TransactionMarker>, AppendError> {
    if !request.header.is_control() {
        return Ok(None);
    }
    if request.origin == AppendOrigin::Client {
        return Err(AppendError::InvalidTransactionState);
    }
    TransactionMarker::parse(&request.batch).map_err(AppendError::InvalidBatch)
}
