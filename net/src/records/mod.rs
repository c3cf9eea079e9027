//! Kafka record batches, magic 2: seen, built, judged and rewritten.
//!
//! What lies here: a view over the bytes of a batch that copies nothing ([`Batch`], [`BatchHeader`]), the
//! builder that clients, coordinators and tests use ([`BatchBuilder`]), the judge of what a producer sent
//! ([`Validator`]), and the few rewrites that a broker is allowed ([`stamp`], [`rewrite_for_log_append_time`],
//! [`Recompressor`]; what compaction leaves of a batch, [`Retainer`]).
//!
//! Invariant: nothing here reserves memory by a length that the batch announces, and nothing panics on any
//! input. Everything is plain computation on the core that calls it; what can be long comes in steps, so that
//! the caller can yield between them.

mod batch;
mod builder;
mod compress;
mod decompress;
mod header;
mod record;
mod rejection;
mod retain;
mod rewrite;
mod validate;
mod varint;
mod walk;

pub use batch::{Batch, BatchError, SplitBatches, split_batches};
pub use builder::BatchBuilder;
pub use decompress::{DecompressError, Decompressor};
pub use header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, Compression, TimestampType,
    UnknownCompression,
};
pub use record::{Header, Record, Records};
pub use rejection::{Rejection, RejectionKind};
pub use retain::{RetainRules, Retained, RetainedBatch, Retainer, StoredRecord, empty_batch};
pub use rewrite::{
    Recompressor, recompress, rewrite_for_log_append_time, rewrite_timestamps, stamp,
};
pub use validate::{Step, ValidatedBatch, ValidationLimits, Validator, validate};

/// The only batch format that is stored, sent and accepted.
pub const MAGIC_V2: i8 = 2;
/// Kafka's "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;
/// Kafka's "no producer id".
pub const NO_PRODUCER_ID: i64 = -1;
