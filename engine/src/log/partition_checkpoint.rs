//! Everything that must be known of a partition to go on after a restart, as plain values. How it is written down
//! is the checkpoint file's business.

use super::producer_state::ProducerEntry;
pub use super::quarantine::QuarantinedRange;
use super::segment::SegmentInfo;
use super::transactions::AbortedTransaction;
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId, ProducerId};

/// One partition's durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    /// Which partition.
    pub id: PartitionId,
    /// Its directory's name in the data directory.
    pub directory: String,
    /// The newest leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the log.
    pub log_start: Offset,
    /// The offset behind the last durable record. Never below the end of a quarantined range (STORAGE C9).
    pub end_offset: Offset,
    /// At least one segment, ascending; the last one's size is the end's file position.
    pub segments: Vec<SegmentInfo>,
    /// Leader epochs and their first offsets, ascending.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Producers by id, with up to five batches each.
    pub producers: Vec<(ProducerId, ProducerEntry)>,
    /// Aborted transactions in the order of their markers.
    pub aborted: Vec<AbortedTransaction>,
    /// Ranges not to be served, ascending.
    pub quarantined: Vec<QuarantinedRange>,
    /// Those of them, or parts of them, that an operator decided readers step over (C9).
    pub stepped_over: Vec<QuarantinedRange>,
    /// The end cannot be proved: appends are refused.
    pub end_unproved: bool,
}

impl PartitionCheckpoint {
    /// A partition without a record.
    pub fn empty(
        id: PartitionId,
        directory: &str,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> PartitionCheckpoint {
        PartitionCheckpoint {
            id,
            directory: directory.to_owned(),
            leader_epoch,
            log_start: Offset(0),
            end_offset: Offset(0),
            segments: vec![SegmentInfo::empty(Offset(0), now_ms)],
            epochs: Vec::new(),
            producers: Vec::new(),
            aborted: Vec::new(),
            quarantined: Vec::new(),
            stepped_over: Vec::new(),
            end_unproved: false,
        }
    }

    /// Where the end offset lies in the last segment.
    pub fn end_position(&self) -> FilePosition {
        FilePosition(self.segments.last().map_or(0, |segment| segment.size))
    }
}
