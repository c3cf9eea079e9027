//! What can go wrong in the log, one enum per direction. `api/error.rs` alone turns these into Kafka's codes.

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use thiserror::Error;

/// Why an append was refused or failed. After any of these nothing of the batch is in the log, except where the
/// variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// This shard does not own the partition, or it was deleted while the append waited.
    #[error("the partition is not on this shard")]
    UnknownPartition,
    /// The request names an older leader epoch than the partition's (RELIABILITY F4).
    #[error("leader epoch {requested} is older than the current {current}")]
    FencedLeaderEpoch {
        /// The epoch in the request.
        requested: LeaderEpoch,
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// The request names a newer leader epoch than the partition's (RELIABILITY F4).
    #[error("leader epoch {requested} is newer than the current {current}")]
    UnknownLeaderEpoch {
        /// The epoch in the request.
        requested: LeaderEpoch,
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// A gap, an overlap, or a resend that left the window of remembered batches (RELIABILITY I3, I6).
    #[error("producer {producer_id} sent sequence {got}, expected {expected} at offset {offset}")]
    OutOfOrderSequence {
        /// Who sent it.
        producer_id: ProducerId,
        /// The sequence that would have been accepted.
        expected: i32,
        /// The first sequence of the refused batch.
        got: i32,
        /// Where the batch would have gone.
        offset: Offset,
    },
    /// The producer's epoch is older than the one known (RELIABILITY I5).
    #[error("producer {producer_id} has epoch {current:?}, the batch {got:?}")]
    InvalidProducerEpoch {
        /// Who sent it.
        producer_id: ProducerId,
        /// The newest epoch seen.
        current: ProducerEpoch,
        /// The epoch of the refused batch.
        got: ProducerEpoch,
    },
    /// A non-transactional batch inside a transaction, or a transaction marker by someone else than the coordinator
    /// (RELIABILITY T1, T2).
    #[error("the batch does not fit the producer's transaction")]
    InvalidTransactionState,
    /// A marker from a coordinator that was replaced (RELIABILITY T3).
    #[error("coordinator epoch {got} is older than {current}")]
    TransactionCoordinatorFenced {
        /// The newest coordinator epoch seen for the producer.
        current: i32,
        /// The marker's.
        got: i32,
    },
    /// The shard remembers as many producers as it may and none of this partition is idle enough to be forgotten.
    #[error(
        "the shard remembers {max} producer ids, its most; a lower producer.id.expiration.ms frees some"
    )]
    TooManyProducers {
        /// The bound.
        max: usize,
    },
    /// The batch is larger than a segment may be (RELIABILITY P3).
    #[error("a batch of {size} bytes does not fit a segment of {max}")]
    BatchLargerThanSegment {
        /// Bytes of the batch.
        size: usize,
        /// `segment.bytes` of the topic.
        max: usize,
    },
    /// The batch's own fields contradict what validation promised; nothing was changed.
    #[error("the batch is malformed: {0}")]
    InvalidBatch(&'static str),
    /// No space for the batch's segment bytes; reads go on and appends resume when space returns (RELIABILITY R8).
    #[error("no space left on the device for the segment; appends go on when there is")]
    OutOfSpace,
    /// A write or flush failed, and the journal takes no more (RELIABILITY R9). The batch **may** be in the log.
    #[error("the journal failed: {0}")]
    Poisoned(String),
    /// The partition's end cannot be proved after damage; an operator decides (STORAGE C9).
    #[error("the partition is quarantined at its end")]
    Quarantined,
    /// The append did not become durable in time. The batch **may** be in the log.
    #[error("the append did not finish in time")]
    Timeout,
    /// The shard stops.
    #[error("the shard is stopping")]
    Stopping,
}

/// Why a read was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// This shard does not own the partition.
    #[error("the partition is not on this shard")]
    UnknownPartition,
    /// Below the log start or beyond the log end (RELIABILITY F1).
    #[error("offset {offset} is outside {log_start}..={high_watermark}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that exists.
        log_start: Offset,
        /// The first offset that consumers cannot read yet.
        high_watermark: Offset,
    },
    /// The request names an older leader epoch than the partition's (RELIABILITY F4).
    #[error("leader epoch {requested} is older than the current {current}")]
    FencedLeaderEpoch {
        /// The epoch in the request.
        requested: LeaderEpoch,
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// The request names a newer leader epoch than the partition's (RELIABILITY F4).
    #[error("leader epoch {requested} is newer than the current {current}")]
    UnknownLeaderEpoch {
        /// The epoch in the request.
        requested: LeaderEpoch,
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// The offset lies in a damaged range that is kept but not served (DESIGN §5.3).
    #[error("offsets {first}..={last} are damaged and quarantined")]
    Quarantined {
        /// First damaged offset.
        first: Offset,
        /// Last damaged offset.
        last: Offset,
    },
    /// The disk failed.
    #[error("reading failed: {0}")]
    Storage(String),
}

/// A file of Kafka's or our own that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Fewer bytes than the format needs.
    #[error("{file}: {length} bytes are too few")]
    TooShort {
        /// Kind of file.
        file: &'static str,
        /// How many there are.
        length: usize,
    },
    /// The length is no multiple of the entry size, or disagrees with a count inside.
    #[error("{file}: a length of {length} bytes does not fit its entries")]
    WrongLength {
        /// Kind of file.
        file: &'static str,
        /// How many there are.
        length: usize,
    },
    /// A version this build does not know (RELIABILITY R12).
    #[error("{file}: version {version} is not supported")]
    UnknownVersion {
        /// Kind of file.
        file: &'static str,
        /// What the file says.
        version: i64,
    },
    /// The checksum does not match the content.
    #[error("{file}: checksum {computed:08x} instead of {stored:08x}")]
    Checksum {
        /// Kind of file.
        file: &'static str,
        /// What the file says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The content contradicts itself.
    #[error("{file}: {problem}")]
    Malformed {
        /// Kind of file.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
}
