//! The disk probe: bandwidth, operations a second and flush latency of the data directory's disk, past every cache of
//! the operating system, through io_uring as a node does it; and the settings that follow from them.
//!
//! Bounded in time and space by [`Plan`]; its one file is removed whatever happens. Runs on one ordinary thread.

mod latency;
mod probe;
mod profile;
mod ring;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use latency::Latency;
pub use probe::measure;
pub use profile::{Recommendation, recommend, write_profile};

/// Bytes of a small operation.
pub const SMALL_BYTES: usize = 4_096;
/// Bytes of a large one.
pub const LARGE_BYTES: usize = 512 << 10;
/// Small operations under way at once; large ones.
pub(crate) const SMALL_DEPTH: usize = 32;
pub(crate) const LARGE_DEPTH: usize = 4;

/// What to measure with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where the probe's file is made; has to exist.
    pub directory: PathBuf,
    /// Longest time of one of the [`PHASES`].
    pub phase: Duration,
    /// Largest size of the file; less where little space is free.
    pub file_bytes_max: u64,
}

/// The steps of the probe, in order.
pub const PHASES: [&str; 10] = [
    "write, fresh extents",
    "write, preallocated",
    "read",
    "4 KiB random reads",
    "4 KiB random writes",
    "4 KiB sequential reads",
    "4 KiB sequential writes",
    "4 KiB write + fdatasync",
    "64 KiB write + fdatasync",
    "512 KiB write + fdatasync",
];

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Index into [`PHASES`].
    pub phase: usize,
    /// How much of the phase is done: 0 to 1.
    pub done: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Where.
    pub directory: String,
    /// Type of the file system.
    pub filesystem: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Size of the probe's file.
    pub file_bytes: u64,
    /// Bytes a second of large sequential writes, with the flush that ends them.
    pub write_bytes_per_s: Extents,
    /// Bytes a second of large sequential reads.
    pub read_bytes_per_s: f64,
    /// Small operations a second.
    pub small_per_s: SmallRates,
    /// How long a write and the flush after it take, one after the other.
    pub flush: Vec<Latency>,
}

/// Where the disk finds the blocks that are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Extents {
    /// Allocated but never written: the file system notes each of them.
    pub fresh: f64,
    /// Written before, as in a recycled journal file.
    pub preallocated: f64,
}

/// 4 KiB operations a second, with 32 under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SmallRates {
    /// Reads in random order.
    pub random_reads: f64,
    /// Writes in random order.
    pub random_writes: f64,
    /// Reads one after the other.
    pub sequential_reads: f64,
    /// Writes one after the other.
    pub sequential_writes: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The directory has less free space than the smallest probe needs.
    #[error("{directory}: only {free} bytes are free, the probe needs {needed}")]
    NoSpace {
        /// Where.
        directory: String,
        /// Free bytes, with what the probe leaves alone taken off.
        free: u64,
        /// Bytes of the smallest file.
        needed: u64,
    },
    /// An operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}
