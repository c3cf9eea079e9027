//! Host checks: what the host offers, what Tidelog wants of it, why, and the command that changes it.
//!
//! [`Facts`] are gathered by reading `/proc` and `/sys` and by a few harmless trials ([`gather`], the only I/O here);
//! [`judge`] is pure. Called from ordinary threads, never from a shard.

mod facts;
mod gather;
mod judge;
mod judge_disk;
mod report;
mod syscalls;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use facts::{
    Block, ClockFacts, CpuFacts, DataDirectory, Facts, Interrupt, Limits, MemoryFacts, Mount,
    NetworkFacts, Ring, Swap,
};
pub(crate) use gather::mount_of;
pub use gather::{gather, locks_freely, try_direct};
pub use judge::judge;
pub use report::{Finding, Level, Report};
pub(crate) use syscalls::space;

use crate::{BrokerConfig, Durability};

/// The oldest kernel whose io_uring does what the platform seam asks of it: one poll that tells of every change (5.13), and
/// a wait with a time limit that takes no submission (5.11).
pub const KERNEL_MIN: (u32, u32) = (5, 13);
/// From here on rings count as locked memory of their user, as they did before 5.12. In between only their control group
/// paid for them, which it does now as well.
pub const KERNEL_RINGS_LOCKED: (u32, u32) = (6, 14);
/// What the ring of one executor takes of it, in bytes, with pages of 4 KiB: 256 submissions of 64 bytes, 4,096 completions of
/// 16, and their heads (`net/src/platform/uring/ring.rs`).
pub const MEMLOCK_PER_SHARD: u64 = 84 << 10;
/// Descriptors for listeners, journals, checkpoints, open segments and the first few hundred connections.
pub const DESCRIPTORS_BASE: u64 = 512;
/// Descriptors of one executor: its ring, its event descriptor and its journal files.
pub const DESCRIPTORS_PER_SHARD: u64 = 64;

/// What the node is going to need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Number of shards, each with an executor of its own.
    pub shards: u64,
    /// The data directory; it need not exist.
    pub data_directory: PathBuf,
    /// When records are acknowledged.
    pub durability: Durability,
    /// Memory that the settings let all shards use together, in bytes.
    pub memory_bytes: u64,
    /// Port that clients connect to from other machines, if they do.
    pub remote_clients: bool,
}

impl Needs {
    /// What a node with these settings and that many shards needs.
    #[must_use]
    pub fn of(config: &BrokerConfig, shards: u64) -> Needs {
        let number = |name: &str| {
            let value = config.value(name).and_then(|value| value.parse().ok());
            value.unwrap_or(0_u64)
        };
        // A response being sent is in the fetch budget, a batch being written in the dirty bound, beside the cache.
        let per_shard = [
            "cache.bytes",
            "journal.dirty.bytes.max",
            "shard.fetch.bytes.max",
        ];
        let per_shard: u64 = per_shard.into_iter().map(number).sum();
        Needs {
            shards,
            data_directory: config.data_directory(),
            durability: config.durability(),
            memory_bytes: per_shard.saturating_mul(shards),
            remote_clients: config
                .listeners()
                .iter()
                .any(|listener| !listener.is_loopback()),
        }
    }
}

/// Locked memory in bytes that the rings of so many shards take; `None` where they are not counted: by the kernel, or to a
/// process that may lock memory freely.
#[must_use]
pub fn memlock_needed(kernel: &str, locks_freely: bool, shards: u64) -> Option<u64> {
    let counted = kernel_version(kernel).is_some_and(|version| version >= KERNEL_RINGS_LOCKED);
    (counted && !locks_freely).then(|| MEMLOCK_PER_SHARD.saturating_mul(shards))
}

/// Major and minor number of a kernel release.
#[must_use]
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
