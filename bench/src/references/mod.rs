//! The physical references: what the disk, the loopback and the memory of this machine do without a broker.
//!
//! Each runs pinned to the broker's core, with the flags the broker uses (direct I/O, io_uring, preallocated files), and
//! reports a rate and the CPU it took. They are measured in the same run as the brokers and mean nothing outside it.

pub mod disk;
pub mod memory;
pub mod tcp;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// A rate and its price.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Rate {
    /// 10⁶ bytes a second.
    pub megabytes_per_s: f64,
    /// CPU seconds of the measured thread per 10⁹ bytes; of a ring, with the threads that the kernel works it with.
    pub cpu_s_per_gb: f64,
}

impl Rate {
    pub(crate) fn new(bytes: u64, seconds: f64, cpu_seconds: f64) -> Rate {
        Rate {
            megabytes_per_s: bytes as f64 / 1e6 / seconds.max(1e-9),
            cpu_s_per_gb: cpu_seconds / (bytes as f64 / 1e9),
        }
    }
}

/// All references that a comparison needs, of one moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct References {
    /// Direct writes of 1 MiB, 16 in flight, into a file that was written before, and one flush.
    pub write: Rate,
    /// Direct writes of 128 KiB, 8 in flight, into space that is only allocated.
    pub write_fresh: Rate,
    /// The receiving end of one loopback connection.
    pub receive: Rate,
    /// Copying 1 MiB blocks in memory.
    pub copy: Rate,
    /// CRC-32C of 1 MiB blocks.
    pub checksum: Rate,
    /// 4 KiB direct write + fdatasync, one at a time.
    pub flush: disk::FlushLatency,
}

impl References {
    /// Measures everything once; `directory` lies on the file system in question.
    pub fn measure(directory: &Path, flush_seconds: f64) -> Result<References> {
        Ok(References {
            write: disk::write(directory, &disk::Writing::JOURNAL)?,
            write_fresh: disk::write(directory, &disk::Writing::FRESH)?,
            receive: tcp::receive()?,
            copy: memory::copy(),
            checksum: memory::checksum(),
            flush: disk::flush_loop(directory, flush_seconds)?,
        })
    }

    /// CPU seconds that a produced gigabyte costs at least: receive it, check it, copy it once, write it once.
    pub fn floor_cpu_s_per_gb(&self) -> f64 {
        self.receive.cpu_s_per_gb
            + self.checksum.cpu_s_per_gb
            + self.copy.cpu_s_per_gb
            + self.write.cpu_s_per_gb
    }
}
