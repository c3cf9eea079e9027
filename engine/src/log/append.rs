//! What goes into an append and what comes out: plain values that cross from the connection's core to the owner's.
//!
//! Everything that needs the records themselves has happened before a request of this kind exists: the batch was
//! validated, and where the topic wants LogAppendTime or another compression it was **already rewritten** (with its
//! CRC recomputed) on the connection's core, with the `now_ms` that stands in the request. Planning therefore reads
//! the header only and touches nothing but the first 21 bytes, which the batch's CRC leaves out.

use super::batch::StoredBatch;
use super::transactions::TransactionMarker;
use crate::types::{FilePosition, LeaderEpoch, Offset};
use bytes::Bytes;
use net::records::BatchHeader;

/// Who appends; it decides which checks apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendOrigin {
    /// A producer: sequences and epochs are checked, control batches are refused.
    #[default]
    Client,
    /// A coordinator of this node: no sequences; may write transaction markers.
    Coordinator,
    /// A follower's fetch: offsets and epochs stand in the batch already and are kept.
    Replication,
}

/// One validated batch for one partition.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// The whole batch, as validation left it.
    pub batch: Bytes,
    /// Its decoded header.
    pub header: BatchHeader,
    /// Largest timestamp of its records in milliseconds, as validation found it; −1 if they have none.
    pub max_timestamp: i64,
    /// Which record carries it first, relative to the base offset.
    pub offset_of_max_timestamp_delta: i32,
    /// The leader epoch the sender believes in; `None` is not checked.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// Wall-clock time in milliseconds when the request was validated.
    pub now_ms: i64,
    /// Who appends.
    pub origin: AppendOrigin,
}

/// An append that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// −1, except under LogAppendTime and for a duplicate, which gets the first copy's time (RELIABILITY I2).
    pub log_append_time_ms: i64,
    /// First offset of the partition when it was decided.
    pub log_start_offset: Offset,
    /// Nothing was written: the same batch is already there.
    pub duplicate: bool,
}

/// What [`super::PartitionLog::plan_append`] decided.
#[derive(Debug, Clone)]
pub enum PlanOutcome {
    /// Write this, then call [`super::PartitionLog::apply_append`].
    Append(PlannedAppend),
    /// A resend of a batch that is still remembered; nothing is written.
    Duplicate {
        /// What to answer.
        appended: Appended,
        /// Whether the first copy is durable, so that the answer may leave now.
        durable: bool,
        /// Otherwise: answer once the high watermark has reached this offset (RELIABILITY I11).
        wait_until: Offset,
    },
}

/// A batch with its place in the log.
#[derive(Debug, Clone)]
pub struct PlannedAppend {
    /// The batch with base offset and leader epoch stamped.
    pub batch: StoredBatch,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The leader epoch stamped into it.
    pub leader_epoch: LeaderEpoch,
    /// Base offset of the segment it goes to.
    pub segment_base: Offset,
    /// Byte position in that segment.
    pub file_position: FilePosition,
    /// Length in bytes.
    pub size: u32,
    /// The segment is new and begins with this batch; the one before is complete.
    pub roll: bool,
    /// Largest record timestamp.
    pub max_timestamp: i64,
    /// Offset of the first record that carries it.
    pub offset_of_max_timestamp: Offset,
    /// It is flushed before it is acknowledged, also where the node's durability asks for no flush.
    pub flush: bool,
    /// What to answer once it is durable.
    pub appended: Appended,
}

/// What [`super::PartitionLog::apply_append`] moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// How many plans became visible.
    pub batches: usize,
    /// The high watermark now.
    pub high_watermark: Offset,
    /// The last stable offset now.
    pub last_stable: Offset,
    /// Whether either of them moved, so that waiting fetches and duplicates must be looked at.
    pub moved: bool,
}

/// Where the next batch would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Base offset of the segment.
    pub segment_base: Offset,
    /// Position in it.
    pub file_position: FilePosition,
    /// Whether the segment would be new.
    pub roll: bool,
}

/// A batch found by recovery, with its place.
#[derive(Debug, Clone, Copy)]
pub struct ReplayedBatch<'a> {
    /// Its header, as stamped.
    pub header: &'a BatchHeader,
    /// What it says if it is a control batch that ends a transaction.
    pub marker: Option<TransactionMarker>,
    /// Base offset of its segment.
    pub segment_base: Offset,
    /// Position in the segment.
    pub file_position: FilePosition,
    /// Bytes.
    pub size: u32,
    /// Wall-clock time of the recovery.
    pub now_ms: i64,
}
