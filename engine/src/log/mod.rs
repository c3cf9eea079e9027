//! The log: journal, segments, checkpoints, recovery.
//!
//! Decisions are plain structs ([`PartitionLog`] and its parts); the edges that move bytes call them.

pub(crate) mod admission;
pub mod adoption;
pub mod append;
pub mod batch;
pub mod cache;
pub mod checkpoint;
pub mod checkpoint_body;
pub(crate) mod checkpointer;
pub mod compaction;
pub mod config;
pub(crate) mod damage;
pub(crate) mod direct_run;
pub(crate) mod directories;
pub mod error;
pub(crate) mod file_removal;
pub mod import;
pub mod index;
pub mod journal;
pub mod kafka_files;
pub mod leader_epochs;
pub(crate) mod offset_query;
pub mod offsets;
pub mod partition_checkpoint;
pub mod partition_log;
pub mod producer_state;
pub mod quarantine;
pub mod read;
pub(crate) mod read_again;
pub mod recovery;
pub mod recovery_report;
pub(crate) mod recovery_state;
pub(crate) mod recovery_writer;
pub mod retention;
pub(crate) mod sealing;
pub mod segment;
pub(crate) mod segment_files;
pub(crate) mod segment_indexes;
pub(crate) mod segment_reader;
pub(crate) mod segment_removal;
pub mod segment_scanner;
pub(crate) mod sidecar_refresh;
pub mod storage;
pub(crate) mod storage_read;
pub(crate) mod storage_shard;
pub(crate) mod timestamp_search;
pub mod transactions;
pub(crate) mod upkeep;
pub mod watch;
pub(crate) mod write_behind;

pub use append::{
    AppendOrigin, AppendRequest, Appended, Applied, Placement, PlanOutcome, PlannedAppend,
    ReplayedBatch,
};
pub use batch::StoredBatch;
pub use cache::TailCache;
pub use config::LogConfig;
pub use error::{AppendError, FormatError, ReadError};
pub use journal::format::Generation;
pub use leader_epochs::LeaderEpochs;
pub use offsets::LogOffsets;
pub use partition_checkpoint::PartitionCheckpoint;
pub use partition_log::PartitionLog;
pub use producer_state::{ProducerCount, ProducerEntry, ProducerState};
pub use quarantine::{Quarantine, QuarantinedRange};
pub use read::{
    FoundOffset, Isolation, OffsetQuery, ReadPlan, ReadRequest, ReadResult, ReadSource,
};
pub use recovery::{KnownPartition, KnownPartitions, Recovered, RecoveredPartition, recover};
pub use recovery_report::RecoveryReport;
pub use segment::{SegmentInfo, SegmentList};
pub use storage::{
    PendingAppend, StoppedPartition, StoppedShard, Storage, StorageError, StorageMetrics,
    StorageSettings,
};
pub use transactions::{AbortedTransaction, AbortedTransactions, TransactionMarker};
pub use watch::Watch;
