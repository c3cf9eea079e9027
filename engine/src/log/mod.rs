//! The log: journal, segments, checkpoints, recovery.
//!
//! Decisions are plain structs ([`PartitionLog`] and its parts); the edges that move bytes call them.

pub mod append;
pub mod batch;
pub mod cache;
pub mod config;
pub mod error;
pub mod leader_epochs;
pub mod offsets;
pub mod partition_checkpoint;
pub mod partition_log;
pub mod producer_state;
pub mod quarantine;
pub mod read;
pub mod segment;
pub mod transactions;

pub use append::{
    AppendOrigin, AppendRequest, Appended, Applied, Placement, PlanOutcome, PlannedAppend, ReplayedBatch,
};
pub use batch::StoredBatch;
pub use cache::TailCache;
pub use config::LogConfig;
pub use error::{AppendError, FormatError, ReadError};
pub use leader_epochs::LeaderEpochs;
pub use offsets::LogOffsets;
pub use partition_checkpoint::PartitionCheckpoint;
pub use partition_log::PartitionLog;
pub use producer_state::{ProducerCount, ProducerEntry, ProducerState};
pub use quarantine::{Quarantine, QuarantinedRange};
pub use read::{FoundOffset, Isolation, OffsetQuery, ReadPlan, ReadRequest, ReadResult, ReadSource};
pub use segment::{SegmentInfo, SegmentList};
pub use transactions::{AbortedTransaction, AbortedTransactions, TransactionMarker};
pub mod index;
pub mod kafka_files;
pub mod import;
pub mod retention;
pub mod segment_scanner;
mod standin;
pub use standin::*;
