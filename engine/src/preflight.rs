//! What the host must offer before executors start, and what to say when it does not (RELIABILITY §5.8).
//!
//! `Facts` are gathered by ordinary system calls on the main thread, before any executor exists; `diagnose` judges
//! them and is pure. Without this the runtime below us panics with a text that names neither cause nor cure.

mod facts;
mod syscalls;

pub use facts::gather;

use std::fmt;
use std::path::PathBuf;
use tuning::Durability;
use tuning::host::{
    DESCRIPTORS_BASE, DESCRIPTORS_PER_SHARD, KERNEL_MIN, KERNEL_RINGS_LOCKED, kernel_version,
};

/// Exit code of a process that cannot start because of its surroundings (`EX_CONFIG` of sysexits.h).
pub const EXIT_CODE: i32 = 78;

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const OVERLAY: i64 = 0x794c_7630;
const FUSE: i64 = 0x6573_5546;

/// What the node is going to need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Number of shards, each with an executor of its own.
    pub shards: usize,
    /// The data directory; created if need be.
    pub data_directory: PathBuf,
    /// When records are acknowledged.
    pub durability: Durability,
}

/// A limit of the process; `None` is no limit.
pub type Limit = Option<u64>;

/// What was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Number of shards wanted.
    pub shards: usize,
    /// When records are to be acknowledged.
    pub durability: Durability,
    /// The kernel's release, for instance `6.8.0-41-generic`.
    pub kernel: String,
    /// Whether a ring could be made; else the errno.
    pub ring: Result<(), i32>,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    pub io_uring_disabled: Option<u8>,
    /// `Seccomp` of `/proc/self/status`: 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u8>,
    /// Whether this process may lock memory beyond its limit.
    pub locks_freely: bool,
    /// Lockable memory in bytes, after the soft limit was raised to the hard one.
    pub memlock: Limit,
    /// Open descriptors, after the soft limit was raised to the hard one.
    pub descriptors: Limit,
    /// The data directory.
    pub directory: DirectoryFacts,
}

/// What was found about the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Its path.
    pub path: PathBuf,
    /// Whether it exists or could be created; else the errno.
    pub created: Result<(), i32>,
    /// Whether a file could be made in it; else the errno.
    pub writable: Result<(), i32>,
    /// Whether that file could be written with direct I/O and flushed; else the errno.
    pub direct: Result<(), i32>,
    /// The file system's magic number (`statfs`), if it could be asked.
    pub filesystem: Option<i64>,
}

/// One reason why the node cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What does not work.
    pub problem: String,
    /// What was seen.
    pub seen: Vec<String>,
    /// Why, most likely.
    pub cause: String,
    /// What cures it; each line stands for itself.
    pub fixes: Vec<String>,
}

/// All reasons why the node cannot start; prints as the block of text for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// At least one.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "cannot start: {}", finding.problem)?;
            for line in &finding.seen {
                write!(formatter, "\n  {line}")?;
            }
            write!(formatter, "\n  likely cause: {}", finding.cause)?;
            for (index, fix) in finding.fixes.iter().enumerate() {
                write!(
                    formatter,
                    "\n  {} {fix}",
                    if index == 0 { "fix:" } else { "    " }
                )?;
            }
        }
        Ok(())
    }
}

/// Gathers the facts, which raises limits and creates the data directory, and judges them.
pub fn check(needs: &Needs) -> Result<(), Report> {
    diagnose(&gather(needs))
}

/// Descriptors that this process may have open, the soft limit raised to the hard one; `None` is no limit.
pub fn descriptors() -> Option<u64> {
    syscalls::raise_limit(syscalls::Resource::Descriptors)
}

/// Judges what was found.
pub fn diagnose(facts: &Facts) -> Result<(), Report> {
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(kernel_finding(facts).or_else(|| ring_finding(facts)));
    // A ring refused for want of memory has said so already.
    if facts.ring != Err(libc::ENOMEM) {
        findings.extend(memlock_finding(facts));
    }
    if !matches!(facts.ring, Err(libc::EMFILE | libc::ENFILE)) {
        findings.extend(descriptor_finding(facts));
    }
    findings.extend(directory_finding(facts));
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Report { findings })
    }
}

fn is_older(kernel: &str, than: (u32, u32)) -> bool {
    kernel_version(kernel).is_some_and(|version| version < than)
}

/// Locked memory that the rings take, in bytes, where they are counted.
fn memlock_needed(facts: &Facts) -> Option<u64> {
    tuning::host::memlock_needed(&facts.kernel, facts.locks_freely, facts.shards as u64)
}

fn descriptors_needed(facts: &Facts) -> u64 {
    DESCRIPTORS_BASE + DESCRIPTORS_PER_SHARD * facts.shards as u64
}

fn io_uring(facts: &Facts, errno: i32, cause: String, fixes: Vec<String>) -> Finding {
    let seen_or_unknown =
        |value: Option<u8>| value.map_or("unknown".to_owned(), |value| value.to_string());
    let seccomp = match facts.seccomp {
        Some(0) => "off".to_owned(),
        Some(2) => "mode 2 (filter active)".to_owned(),
        other => seen_or_unknown(other),
    };
    let disabled = match facts.io_uring_disabled {
        Some(value) => value.to_string(),
        None => "not there".to_owned(),
    };
    Finding {
        problem: "io_uring is not usable here".to_owned(),
        seen: vec![
            format!("io_uring_setup: {}", describe_errno(errno)),
            format!(
                "kernel {} (need >= {}.{})   kernel.io_uring_disabled = {disabled}   seccomp: {seccomp}",
                facts.kernel, KERNEL_MIN.0, KERNEL_MIN.1
            ),
        ],
        cause,
        fixes,
    }
}

fn kernel_finding(facts: &Facts) -> Option<Finding> {
    if !is_older(&facts.kernel, KERNEL_MIN) {
        return None;
    }
    Some(Finding {
        problem: "the kernel is too old".to_owned(),
        seen: vec![format!(
            "kernel {} (need >= {}.{})",
            facts.kernel, KERNEL_MIN.0, KERNEL_MIN.1
        )],
        cause: "io_uring of this kernel lacks what Tidelog uses".to_owned(),
        fixes: vec![format!(
            "run Linux {}.{} or newer",
            KERNEL_MIN.0, KERNEL_MIN.1
        )],
    })
}

fn ring_finding(facts: &Facts) -> Option<Finding> {
    let Err(errno) = facts.ring else { return None };
    let (cause, fixes) = match errno {
        libc::EPERM if matches!(facts.io_uring_disabled, Some(1 | 2)) => sysctl_cure(facts),
        libc::EPERM | libc::EACCES if facts.seccomp == Some(2) => seccomp_cure(),
        libc::EPERM | libc::EACCES => (
            "a security module (SELinux, AppArmor, ...) forbids io_uring to this process".to_owned(),
            vec!["look for the denial in `journalctl -k` or the audit log, and allow io_uring there".to_owned()],
        ),
        libc::ENOSYS if facts.seccomp == Some(2) => seccomp_cure(),
        libc::ENOSYS => (
            "the kernel is built without io_uring, or this is a sandbox that emulates Linux (gVisor)".to_owned(),
            vec![
                "run on a kernel with CONFIG_IO_URING=y".to_owned(),
                "under gVisor use the ordinary runtime (runc) for this container".to_owned(),
            ],
        ),
        libc::ENOMEM => memory_cure(facts),
        libc::EMFILE | libc::ENFILE => (
            format!("no file descriptors are left (limit {})", print_limit(facts.descriptors)),
            descriptor_fixes(facts),
        ),
        _ => (
            "none that is known".to_owned(),
            vec!["please report this line with the kernel's version and how the process was started".to_owned()],
        ),
    };
    Some(io_uring(facts, errno, cause, fixes))
}

fn sysctl_cure(facts: &Facts) -> (String, Vec<String>) {
    let value = facts.io_uring_disabled.unwrap_or_default();
    let who = if value == 1 {
        "to processes outside its group"
    } else {
        "to everybody"
    };
    let mut fixes = vec![
        "sysctl -w kernel.io_uring_disabled=0   (and a file in /etc/sysctl.d to keep it)"
            .to_owned(),
    ];
    if value == 1 {
        fixes.push(
            "or put the user into the group whose number is in kernel.io_uring_group".to_owned(),
        );
    }
    (
        format!(
            "the administrator switched io_uring off {who}: kernel.io_uring_disabled = {value}"
        ),
        fixes,
    )
}

fn seccomp_cure() -> (String, Vec<String>) {
    (
        "the container's seccomp profile (Docker >= 25 and current containerd block io_uring)".to_owned(),
        vec![
            "docker run --security-opt seccomp=PROFILE.json ..., where PROFILE.json is Docker's default profile"
                .to_owned(),
            "plus io_uring_setup, io_uring_enter and io_uring_register".to_owned(),
            "kubernetes: securityContext.seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}".to_owned(),
        ],
    )
}

/// What to do when the kernel has no memory for a ring.
fn memory_cure(facts: &Facts) -> (String, Vec<String>) {
    if let Some(needed) = memlock_missing(facts) {
        return (locked_memory_cause(facts), memlock_fixes(needed));
    }
    let mut cause = "the memory of the control group, or of the machine, is used up".to_owned();
    let mut fixes = vec![
        "docker run --memory BYTES ...   (kubernetes: resources.limits.memory), larger than now"
            .to_owned(),
        "systemd: a larger MemoryMax=".to_owned(),
    ];
    // The limit is one for all processes of a user.
    if let (Some(needed), Some(_)) = (memlock_needed(facts), facts.memlock) {
        cause += ", or other processes of this user hold what it may lock";
        fixes.extend(memlock_fixes(needed));
    }
    (cause, fixes)
}

fn memlock_finding(facts: &Facts) -> Option<Finding> {
    let needed = memlock_missing(facts)?;
    Some(Finding {
        problem: "the limit on locked memory is too low".to_owned(),
        seen: vec![format!(
            "memlock {} (need {} KiB for {})",
            print_limit(facts.memlock),
            needed >> 10,
            shards(facts)
        )],
        cause: locked_memory_cause(facts),
        fixes: memlock_fixes(needed),
    })
}

/// The locked memory needed, in bytes, if the limit is below that.
fn memlock_missing(facts: &Facts) -> Option<u64> {
    let limit = facts.memlock?;
    memlock_needed(facts).filter(|needed| limit < *needed)
}

fn locked_memory_cause(facts: &Facts) -> String {
    format!(
        "RLIMIT_MEMLOCK of this process ({}); Linux {}.{} and newer count rings as locked memory",
        print_limit(facts.memlock),
        KERNEL_RINGS_LOCKED.0,
        KERNEL_RINGS_LOCKED.1
    )
}

fn memlock_fixes(needed: u64) -> Vec<String> {
    vec![
        "docker run --ulimit memlock=-1 ...".to_owned(),
        "systemd: LimitMEMLOCK=infinity".to_owned(),
        format!(
            "shell: ulimit -l {}   (the hard limit stands in /etc/security/limits.conf)",
            needed >> 10
        ),
        "or give the process CAP_IPC_LOCK".to_owned(),
    ]
}

fn descriptor_finding(facts: &Facts) -> Option<Finding> {
    let needed = descriptors_needed(facts);
    if facts.descriptors.is_none_or(|limit| limit >= needed) {
        return None;
    }
    Some(Finding {
        problem: "too few file descriptors".to_owned(),
        seen: vec![format!(
            "nofile {} (need {needed} for {})",
            print_limit(facts.descriptors),
            shards(facts)
        )],
        cause: "the hard limit RLIMIT_NOFILE of this process (the soft one was raised to it)"
            .to_owned(),
        fixes: descriptor_fixes(facts),
    })
}

fn descriptor_fixes(facts: &Facts) -> Vec<String> {
    vec![
        format!(
            "at least {} are needed, and one for each connection and open segment",
            descriptors_needed(facts)
        ),
        "docker run --ulimit nofile=1048576 ...".to_owned(),
        "systemd: LimitNOFILE=1048576".to_owned(),
        "shell: ulimit -Hn   (the hard limit stands in /etc/security/limits.conf)".to_owned(),
    ]
}

fn directory_finding(facts: &Facts) -> Option<Finding> {
    let directory = &facts.directory;
    let path = directory.path.display();
    let found = |problem: &str, errno: i32, cause: &str, fix: &str| {
        Some(Finding {
            problem: problem.to_owned(),
            seen: vec![format!("{path}: {}", describe_errno(errno))],
            cause: cause.to_owned(),
            fixes: vec![fix.to_owned()],
        })
    };
    if let Err(errno) = directory.created.and(directory.writable) {
        let problem = "the data directory cannot be written";
        return match errno {
            libc::EACCES | libc::EPERM => found(
                problem,
                errno,
                "it, or a directory above it, belongs to another user",
                "give it to the user that runs Tidelog, or name another directory with --set log.dirs=DIR",
            ),
            libc::EROFS => found(
                problem,
                errno,
                "the file system is mounted read-only, by choice or after an error",
                "look into `dmesg`, remount it, or name another directory with --set log.dirs=DIR",
            ),
            libc::ENOSPC | libc::EDQUOT => found(
                problem,
                errno,
                "the file system is full",
                "free space, then start again; nothing was changed",
            ),
            libc::ENOTDIR | libc::EEXIST => found(
                problem,
                errno,
                "a file of that name, or of a directory above it, is in the way",
                "move it away, or name another directory with --set log.dirs=DIR",
            ),
            _ => found(
                problem,
                errno,
                "the error above",
                "name another directory with --set log.dirs=DIR",
            ),
        };
    }
    if matches!(directory.filesystem, Some(TMPFS | RAMFS)) && facts.durability == Durability::Flush
    {
        return Some(Finding {
            problem: "the data directory is in memory, and durability = flush promises more"
                .to_owned(),
            seen: vec![format!("{path} is on tmpfs")],
            cause: "a power cut or reboot would lose acknowledged records".to_owned(),
            fixes: vec![
                "name a directory on a disk with --set log.dirs=DIR".to_owned(),
                "or give up the promise with --set durability=os".to_owned(),
            ],
        });
    }
    let Err(errno) = directory.direct else {
        return None;
    };
    match (errno, directory.filesystem) {
        (libc::EINVAL | libc::EOPNOTSUPP, filesystem) => {
            let cause = match filesystem {
                Some(OVERLAY) => {
                    "this is a container's own layer (overlayfs), which does not pass direct I/O on"
                }
                Some(FUSE) => "this FUSE file system does not offer direct I/O",
                Some(TMPFS | RAMFS) => "tmpfs of this kernel does not offer direct I/O",
                _ => "this file system does not offer direct I/O in blocks of 4096 bytes",
            };
            let fix = "use a directory on ext4 or XFS (in a container: a volume), with --set log.dirs=DIR";
            found(
                "the data directory does not take direct I/O",
                errno,
                cause,
                fix,
            )
        }
        (libc::ENOSPC | libc::EDQUOT, _) => found(
            "the data directory is full",
            errno,
            "the file system has no space left",
            "free space, then start again; nothing was changed",
        ),
        _ => found(
            "writing to the data directory failed",
            errno,
            "the disk or its file system reports errors",
            "look into `dmesg` before anything else",
        ),
    }
}

fn shards(facts: &Facts) -> String {
    if facts.shards == 1 {
        "1 shard".to_owned()
    } else {
        format!("{} shards", facts.shards)
    }
}

fn print_limit(limit: Limit) -> String {
    limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
}

/// An errno with its name and the system's words for it.
fn describe_errno(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOSYS => "ENOSYS",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EINVAL => "EINVAL",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EROFS => "EROFS",
        libc::ENOSPC => "ENOSPC",
        libc::EIO => "EIO",
        libc::ENOTDIR => "ENOTDIR",
        libc::EEXIST => "EEXIST",
        _ => "errno",
    };
    // The standard library appends "(os error N)", which says nothing more than the name.
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    if name == "errno" {
        format!("errno {errno} ({words})")
    } else {
        format!("{name} ({words})")
    }
}

#[cfg(test)]
mod tests;
