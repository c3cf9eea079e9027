//! Looks at the host: reads `/proc` and `/sys`, makes one ring, and tries one small file in the data directory.
//!
//! Changes nothing that stays. What cannot be read becomes `None` or an empty list.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use io_uring::{IoUring, Probe, opcode};

use super::facts::{
    Block, ClockFacts, CpuFacts, DataDirectory, Facts, Interrupt, Limits, MemoryFacts, Mount,
    NetworkFacts, Ring, Swap,
};
use super::{Needs, syscalls};

/// Name of the file that is tried; the process id keeps two checks apart.
const PROBE_FILE: &str = ".tidelog-tune-check";
const BLOCK_BYTES: usize = 4_096;
/// Number of the capability to lock memory beyond the limit (capabilities(7)).
const CAP_IPC_LOCK: u32 = 14;
/// Slaves of slaves (a mapped device on a stripe on partitions) are followed this deep.
const DEVICE_DEPTH_MAX: u32 = 6;

/// Looks at the host.
#[must_use]
pub fn gather(needs: Needs) -> Facts {
    Facts {
        kernel: read("/proc/sys/kernel/osrelease"),
        ring: try_ring(),
        io_uring_disabled: read_number("/proc/sys/kernel/io_uring_disabled"),
        seccomp: read("/proc/self/status").and_then(|text| field(&text, "Seccomp:")?.parse().ok()),
        locks_freely: locks_freely(),
        limits: read("/proc/self/limits").map_or(
            Limits {
                memlock: None,
                descriptors: None,
            },
            |text| limits(&text),
        ),
        cpu: cpu(),
        interrupts: read("/proc/interrupts").map_or(Vec::new(), |text| interrupts(&text)),
        memory: memory(),
        data: data(&needs.data_directory),
        clock: clock(),
        network: network(),
        needs,
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn read_number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    read(path)?.parse().ok()
}

/// The rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name).map(str::trim))
}

/// The bracketed one of `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word.to_owned())
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn try_ring() -> Result<Ring, i32> {
    let ring = IoUring::new(2).map_err(|error| errno(&error))?;
    let mut probe = Probe::new();
    let mut missing = Vec::new();
    // A kernel without the question has none of the newer operations: the check of its version says so.
    if ring.submitter().register_probe(&mut probe).is_ok() {
        // Those of `net/src/platform/uring`.
        let needed = [
            ("OPENAT", opcode::OpenAt::CODE),
            ("READ", opcode::Read::CODE),
            ("WRITE", opcode::Write::CODE),
            ("FSYNC", opcode::Fsync::CODE),
            ("POLL_ADD", opcode::PollAdd::CODE),
            ("POLL_REMOVE", opcode::PollRemove::CODE),
        ];
        let lacking = needed.iter().filter(|(_, code)| !probe.is_supported(*code));
        missing = lacking.map(|(name, _)| *name).collect();
    }
    Ok(Ring { missing })
}

/// Whether this process may lock memory beyond its limit.
#[must_use]
pub fn locks_freely() -> bool {
    let text = |path| read(path).unwrap_or_default();
    lock_capability(&text("/proc/self/status"), &text("/proc/self/uid_map"))
}

/// Whether `CAP_IPC_LOCK` is among the capabilities of a process, and worth something: the kernel asks for it in the first
/// user namespace, the one that maps every user to itself.
pub(super) fn lock_capability(status: &str, users: &str) -> bool {
    let effective = field(status, "CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let first = users.split_whitespace().eq(["0", "0", "4294967295"]);
    first && effective.is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1)
}

/// The hard limits in `/proc/self/limits`.
pub(super) fn limits(text: &str) -> Limits {
    let hard = |name: &str| {
        let mut columns = field(text, name)?.split_whitespace();
        columns.nth(1)?.parse().ok()
    };
    Limits {
        memlock: hard("Max locked memory"),
        descriptors: hard("Max open files"),
    }
}

fn cpu() -> CpuFacts {
    let usable = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut governors = Vec::new();
    for index in 0..usable {
        let path = format!("/sys/devices/system/cpu/cpu{index}/cpufreq/scaling_governor");
        governors.extend(read(path));
    }
    governors.sort();
    governors.dedup();
    let states = fs::read_dir("/sys/devices/system/cpu/cpu0/cpuidle")
        .into_iter()
        .flatten();
    let enabled = states
        .flatten()
        .filter(|state| read_number::<u8>(state.path().join("disable")) != Some(1));
    let wake_latency_us = enabled
        .filter_map(|state| read_number(state.path().join("latency")))
        .max();
    CpuFacts {
        usable,
        quota_percent: own_group("cpu", "cpu.max")
            .as_deref()
            .and_then(quota_percent),
        governors,
        wake_latency_us,
        numa_nodes: read("/sys/devices/system/node/online").map(|text| count_list(&text)),
        numa_balancing: read_number("/proc/sys/kernel/numa_balancing"),
    }
}

/// A file of this process's control group: of its own (version 2), or at the mount that a container sees.
fn own_group(controller: &str, name: &str) -> Option<String> {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let root = Path::new("/sys/fs/cgroup");
    let own = own.map(|path| root.join(path.trim_start_matches('/')).join(name));
    let places = own
        .into_iter()
        .chain([root.join(name), root.join(controller).join(name)]);
    places.into_iter().find_map(read)
}

/// Hundredths of a processor in `200000 100000`; none for `max 100000`.
pub(super) fn quota_percent(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.saturating_mul(100).checked_div(period)
}

/// How many numbers `0-3,8` has.
pub(super) fn count_list(text: &str) -> u64 {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let count = |part: &str| -> Option<u64> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(last.saturating_sub(first).saturating_add(1))
    };
    parts.map(|part| count(part).unwrap_or(0)).sum()
}

/// The interrupts of disks and network cards in `/proc/interrupts`.
pub(super) fn interrupts(text: &str) -> Vec<Interrupt> {
    let mut lines = text.lines();
    let processors = lines
        .next()
        .map_or(0, |head| head.split_whitespace().count());
    let mut found = Vec::new();
    for line in lines {
        let Some((number, rest)) = line.split_once(':') else {
            continue;
        };
        let Ok(number) = number.trim().parse() else {
            continue;
        };
        let counts = rest.split_whitespace().take(processors);
        let counts: Vec<u64> = counts.map_while(|count| count.parse().ok()).collect();
        let Some(name) = rest.split_whitespace().last() else {
            continue;
        };
        let device = [
            "nvme", "virtio", "eth", "ens", "enp", "eno", "mlx", "ixgbe", "i40e", "ice", "ahci",
            "mpt", "megasas", "xen", "gve",
        ];
        if counts.len() != processors || !device.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let busiest = counts.iter().enumerate().max_by_key(|(_, count)| **count);
        found.push(Interrupt {
            number,
            name: name.to_owned(),
            busiest: busiest.map_or(0, |(processor, _)| processor),
            count: counts.iter().sum(),
        });
    }
    found
}

fn memory() -> MemoryFacts {
    let total = read("/proc/meminfo").and_then(|text| {
        let kilobytes = field(&text, "MemTotal:")?.split_whitespace().next()?;
        Some(kilobytes.parse::<u64>().ok()?.saturating_mul(1_024))
    });
    let group =
        own_group("memory", "memory.max").or_else(|| own_group("memory", "memory.limit_in_bytes"));
    let group = group.and_then(|text| text.parse::<u64>().ok());
    let swap = read("/proc/swaps").unwrap_or_default();
    let swap = swap.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?.to_owned();
        let kilobytes: u64 = columns.nth(1)?.parse().ok()?;
        Some(Swap {
            name,
            bytes: kilobytes.saturating_mul(1_024),
        })
    });
    MemoryFacts {
        usable_bytes: [total, group].into_iter().flatten().min(),
        huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
            .as_deref()
            .and_then(chosen),
        swap: swap.collect(),
        swappiness: read_number("/proc/sys/vm/swappiness"),
    }
}

fn clock() -> ClockFacts {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let available = read(format!("{folder}/available_clocksource")).unwrap_or_default();
    ClockFacts {
        source: read(format!("{folder}/current_clocksource")),
        available: available.split_whitespace().map(str::to_owned).collect(),
        synchronised: syscalls::clock_is_synchronised(),
    }
}

fn network() -> NetworkFacts {
    let largest = |path: &str| read(path)?.split_whitespace().last()?.parse().ok();
    NetworkFacts {
        somaxconn: read_number("/proc/sys/net/core/somaxconn"),
        syn_backlog: read_number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        device_backlog: read_number("/proc/sys/net/core/netdev_max_backlog"),
        receive_max: largest("/proc/sys/net/ipv4/tcp_rmem"),
        send_max: largest("/proc/sys/net/ipv4/tcp_wmem"),
    }
}

fn data(directory: &Path) -> DataDirectory {
    let path = existing(directory);
    let (writable, direct) = try_file(&path);
    let mount = mount_of(&path);
    let disks = mount
        .as_ref()
        .map_or(Vec::new(), |mount| disks(&mount.device));
    DataDirectory {
        writable: Some(writable),
        direct: writable.is_ok().then_some(direct),
        free_bytes: syscalls::space(&path).map(|(free, _)| free),
        mount,
        disks,
        path,
    }
}

/// The directory, or the nearest one above it that exists: a check creates none.
fn existing(directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let mut path = absolute.as_path();
    while !path.exists() {
        match path.parent() {
            Some(parent) => path = parent,
            None => break,
        }
    }
    path.to_owned()
}

/// Whether a file can be made, and whether it takes a direct write and a flush. Leaves nothing behind.
fn try_file(directory: &Path) -> (Result<(), i32>, Result<(), i32>) {
    let path = directory.join(format!("{PROBE_FILE}-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&path);
    if let Err(error) = made {
        return (Err(errno(&error)), Ok(()));
    }
    let direct = try_direct(&path).map_err(|error| errno(&error));
    let removed = fs::remove_file(&path).map_err(|error| errno(&error));
    (removed, direct)
}

/// Writes a block past the page cache into a file that is there, and flushes it.
///
/// # Errors
/// What the kernel says; `EINVAL` where the filesystem takes no direct writes.
pub fn try_direct(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    // A block at an address that direct I/O accepts lies somewhere in a buffer of two.
    let buffer = vec![0_u8; 2 * BLOCK_BYTES];
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    file.write_all_at(&buffer[start..start + BLOCK_BYTES], 0)?;
    file.sync_data()
}

/// The mount that a path is on.
pub(crate) fn mount_of(path: &Path) -> Option<Mount> {
    let path = path.canonicalize().ok()?;
    mount_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// The mount of an absolute path, in the form of `/proc/self/mountinfo`.
pub(super) fn mount_in(text: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<Mount> = None;
    for line in text.lines() {
        // 27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([_, _, device, _, point, options, ..], [filesystem, .., more]) =
            (&left[..], &right[..])
        else {
            continue;
        };
        let point = unescape(point);
        // A later line of the same point lies over the earlier one.
        let closer = best
            .as_ref()
            .is_none_or(|best| point.len() >= best.point.len());
        if closer && path.starts_with(&point) {
            let mut all: Vec<String> = options.split(',').map(str::to_owned).collect();
            all.extend(more.split(',').map(str::to_owned));
            let mut seen = Vec::new();
            all.retain(|option| {
                let new = !seen.contains(option);
                seen.push(option.clone());
                new
            });
            best = Some(Mount {
                point,
                filesystem: (*filesystem).to_owned(),
                options: all,
                device: (*device).to_owned(),
            });
        }
    }
    best
}

/// `\040` and its like as the kernel writes them.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, letter) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escape, letter);
    }
    plain
}

fn disks(device: &str) -> Vec<Block> {
    let mut found = Vec::new();
    if let Ok(path) = Path::new("/sys/dev/block").join(device).canonicalize() {
        follow(&path, DEVICE_DEPTH_MAX, &mut found);
    }
    found
}

/// The whole disks below a block device: of a partition its disk, of a mapped or striped device all of them.
fn follow(path: &Path, depth: u32, found: &mut Vec<Block>) {
    if path.join("partition").exists() {
        if let (Some(parent), true) = (path.parent(), depth > 0) {
            follow(parent, depth - 1, found);
        }
        return;
    }
    let below: Vec<PathBuf> = fs::read_dir(path.join("slaves"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.path().canonicalize().ok())
        .collect();
    if !below.is_empty() && depth > 0 {
        for device in below {
            follow(&device, depth - 1, found);
        }
        return;
    }
    let queue = path.join("queue");
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if found.iter().any(|disk| disk.name == name) || !queue.exists() {
        return;
    }
    found.push(Block {
        name,
        scheduler: read(queue.join("scheduler")).as_deref().and_then(chosen),
        rotational: read_number::<u8>(queue.join("rotational")).map(|turns| turns != 0),
        write_cache: read(queue.join("write_cache")),
        logical_block: read_number(queue.join("logical_block_size")),
    });
}
