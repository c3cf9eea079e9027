//! Why storage cannot start, stop, or make and delete partitions.
//!
//! Invariant: a disk's error keeps what was being done with it, so that an operator sees both.

use std::io;

/// Storage cannot start or stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An operation of the disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// What is on disk cannot be gone on from.
    #[error("{0}")]
    Damaged(String),
    /// The journal had failed.
    #[error("the journal failed: {0}")]
    Poisoned(String),
}

impl StorageError {
    /// A disk error with what was being done.
    pub fn io(what: impl Into<String>, source: io::Error) -> StorageError {
        StorageError::Io {
            what: what.into(),
            source,
        }
    }

    /// The same for `map_err`.
    pub fn during(what: impl Into<String>) -> impl FnOnce(io::Error) -> StorageError {
        move |source| StorageError::Io {
            what: what.into(),
            source,
        }
    }
}
