//! What was found on the host: plain values. `None` says that it could not be seen.

use std::path::PathBuf;

use super::Needs;

/// Everything that is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the node is going to need.
    pub needs: Needs,
    /// The kernel's release, for instance `6.8.0-41-generic`.
    pub kernel: Option<String>,
    /// What a ring can do; else the errno of making one.
    pub ring: Result<Ring, i32>,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    pub io_uring_disabled: Option<u8>,
    /// `Seccomp` of `/proc/self/status`: 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u8>,
    /// Whether this process may lock memory beyond its limit.
    pub locks_freely: bool,
    /// Hard limits of this process; a node raises its soft ones to them.
    pub limits: Limits,
    /// The processors.
    pub cpu: CpuFacts,
    /// Interrupts of disks and network cards.
    pub interrupts: Vec<Interrupt>,
    /// Memory.
    pub memory: MemoryFacts,
    /// The data directory, its file system and its disk.
    pub data: DataDirectory,
    /// Clocks.
    pub clock: ClockFacts,
    /// The network.
    pub network: NetworkFacts,
}

/// A ring that could be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ring {
    /// Operations that Tidelog uses and this kernel lacks.
    pub missing: Vec<&'static str>,
}

/// Hard limits; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lockable memory in bytes.
    pub memlock: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
}

/// The processors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuFacts {
    /// How many this process may use.
    pub usable: u64,
    /// `cpu.max` of the control group: hundredths of a processor; `None` is no quota.
    pub quota_percent: Option<u64>,
    /// Frequency governors that are in force, each once; empty where the host does not show them.
    pub governors: Vec<String>,
    /// The longest time in microseconds that an idle processor may take to wake up.
    pub wake_latency_us: Option<u64>,
    /// Memory nodes.
    pub numa_nodes: Option<u64>,
    /// `kernel.numa_balancing`.
    pub numa_balancing: Option<u8>,
}

/// An interrupt of a disk or a network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// What it is for, for instance `nvme0q1` or `virtio3-rx`.
    pub name: String,
    /// The processor that took most of them since boot, and how many all took.
    pub busiest: usize,
    /// How many all processors took since boot.
    pub count: u64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// What this process may use, in bytes: of the machine or of its control group, whichever is less.
    pub usable_bytes: Option<u64>,
    /// The chosen value of `transparent_hugepage/enabled`.
    pub huge_pages: Option<String>,
    /// Swap areas.
    pub swap: Vec<Swap>,
    /// `vm.swappiness`.
    pub swappiness: Option<u64>,
}

/// A swap area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// File or device.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// Its path, or that of the directory above it that exists.
    pub path: PathBuf,
    /// Whether a file could be made there; else the errno. `None`: not tried.
    pub writable: Option<Result<(), i32>>,
    /// Whether that file took direct I/O and a flush; else the errno. `None`: not tried.
    pub direct: Option<Result<(), i32>>,
    /// Bytes that are free there.
    pub free_bytes: Option<u64>,
    /// Its mount.
    pub mount: Option<Mount>,
    /// Its disks; more than one below a stripe, none for a file system without a device that can be seen.
    pub disks: Vec<Block>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Where.
    pub point: String,
    /// Type of the file system.
    pub filesystem: String,
    /// Options of mount and file system together.
    pub options: Vec<String>,
    /// `major:minor` of its device.
    pub device: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// Name, for instance `nvme0n1`.
    pub name: String,
    /// The chosen I/O scheduler.
    pub scheduler: Option<String>,
    /// Whether it turns.
    pub rotational: Option<bool>,
    /// `write back` or `write through`.
    pub write_cache: Option<String>,
    /// Bytes of a logical block.
    pub logical_block: Option<u64>,
}

/// Clocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClockFacts {
    /// The kernel's clock source.
    pub source: Option<String>,
    /// Those it could use.
    pub available: Vec<String>,
    /// Whether the kernel holds its wall clock to be synchronised.
    pub synchronised: Option<bool>,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkFacts {
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u64>,
    /// `net.core.netdev_max_backlog`.
    pub device_backlog: Option<u64>,
    /// Largest value of `net.ipv4.tcp_rmem`.
    pub receive_max: Option<u64>,
    /// Largest value of `net.ipv4.tcp_wmem`.
    pub send_max: Option<u64>,
}
