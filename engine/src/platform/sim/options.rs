//! How a simulated disk behaves, and what can be made to fail on it. Plain values.
//!
//! Invariant: by default nothing goes wrong, so that a test names every fault it is about.

use std::time::Duration;

/// How the disk behaves. Probabilities are per operation; by default nothing goes wrong.
#[derive(Debug, Clone)]
pub struct SimDiskOptions {
    /// Longest ordinary operation.
    pub latency_max: Duration,
    /// Probability that an operation takes up to `latency_tail_max`.
    pub latency_tail: f64,
    /// Longest of the slow operations.
    pub latency_tail_max: Duration,
    /// Probability that a read fails (EIO).
    pub read_error: f64,
    /// Probability that a write fails (EIO) after some of its blocks landed.
    pub write_error: f64,
    /// Probability that a flush fails (EIO) and drops what it should have flushed; the next one succeeds.
    pub flush_error: f64,
    /// Probability that a write lands in two parts, at two times.
    pub short_write: f64,
    /// Probability that a read takes two parts, at two times.
    pub short_read: f64,
    /// Probability that a read finds a bit flipped, which stays so.
    pub bit_rot: f64,
    /// Bytes that files may occupy; allocation takes them, writes into allocated space do not.
    pub quota_bytes: Option<u64>,
    /// Whether `syncfs` also flushes the device. If not, the next flush of any file or directory does it.
    pub syncfs_flushes_device: bool,
}

impl Default for SimDiskOptions {
    fn default() -> Self {
        SimDiskOptions {
            latency_max: Duration::from_micros(300),
            latency_tail: 0.0,
            latency_tail_max: Duration::from_secs(2),
            read_error: 0.0,
            write_error: 0.0,
            flush_error: 0.0,
            short_write: 0.0,
            short_read: 0.0,
            bit_rot: 0.0,
            quota_bytes: None,
            syncfs_flushes_device: false,
        }
    }
}

/// An operation that [`SimDisk::fail_next`] makes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// A read: EIO.
    Read,
    /// A write: EIO, after some of its blocks landed.
    Write,
    /// A write that finds no room: ENOSPC, and nothing of it landed.
    Full,
    /// A flush of a file or directory: EIO, and what it should have flushed is dropped.
    Flush,
}
