//! The machine: what it is, where a thread runs, and what a process has used. Reads `/proc`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::{Error, Result};

/// Where the broker runs.
pub const BROKER_CORE: usize = 0;
/// Where the load generator runs.
pub const LOAD_CORE: usize = 1;

/// What a reader must know to judge a figure.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are those of the report")]
pub struct Provenance {
    pub command: String,
    pub commit: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    pub file_system: String,
    pub java: String,
    pub load_average_at_start: String,
}

/// Looks the machine over; `data` lies on the file system that is measured.
pub fn provenance(data: &Path) -> Provenance {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_owned())
            .unwrap_or_default()
    };
    let memory = field(&line("/proc/meminfo"), "MemTotal");
    let kilobytes: u64 = memory
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    Provenance {
        command: std::env::args()
            .skip(1)
            .fold("bench".to_owned(), |all, word| format!("{all} {word}")),
        commit: commit(),
        cpu: field(&line("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: kilobytes * 1024,
        kernel: line("/proc/sys/kernel/osrelease").trim().to_owned(),
        file_system: output(Command::new("stat").args(["-f", "-c", "%T"]).arg(data)),
        java: output(Command::new("java").arg("--version"))
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        load_average_at_start: line("/proc/loadavg").trim().to_owned(),
    }
}

/// The commit of the working tree; `-dirty` if it differs from it.
pub fn commit() -> String {
    output(Command::new("git").args(["describe", "--always", "--dirty"]))
}

fn output(command: &mut Command) -> String {
    command
        .output()
        .map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// CPU seconds that a process has used, all its threads together, ended ones too.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(Error::io(path.clone()))?;
    let times = text.rsplit_once(')').map(|(_, rest)| {
        let mut fields = rest.split_whitespace().skip(11);
        let mut next = || fields.next().and_then(|word| word.parse::<f64>().ok());
        Some(next()? + next()?)
    });
    // The kernel counts in hundredths of a second on every architecture that Linux still builds for us.
    times
        .flatten()
        .map(|ticks| ticks / 100.0)
        .ok_or_else(|| Error::failed(format!("{path} cannot be read")))
}

/// Resident bytes of a process now.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// The most resident bytes a process ever had.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(Error::io(path.clone()))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| Error::failed(format!("{path} has no {name}")))
}

/// CPU seconds of the calling thread.
pub fn thread_cpu_seconds() -> f64 {
    used_cpu_seconds(libc::RUSAGE_THREAD)
}

/// CPU seconds of this process, with the threads that the kernel gives it for io_uring.
pub fn own_cpu_seconds() -> f64 {
    used_cpu_seconds(libc::RUSAGE_SELF)
}

fn used_cpu_seconds(whose: libc::c_int) -> f64 {
    // SAFETY: rusage is plain data for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable and outlives the call.
    let result = unsafe { libc::getrusage(whose, &mut usage) };
    assert_eq!(result, 0, "getrusage of oneself does not fail");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The beginning of a command that runs on one core, and dies with this process however that ends.
pub fn pinned(core: usize) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()]);
    command
}

/// Keeps the calling thread on one core; without effect where the machine does not have it.
pub fn pin_thread(core: usize) {
    // SAFETY: cpu_set_t is plain data for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the cores named here are far below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a valid cpu_set_t of the size given; thread 0 means the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result != 0 {
        eprintln!("not pinned to core {core}: {}", io::Error::last_os_error());
    }
}

/// Everything written so far is on the device, so that nobody's writing back falls into the next measurement.
pub fn settle() {
    // SAFETY: sync takes nothing and cannot fail.
    unsafe { libc::sync() };
}

/// Forgets the page cache; false where that is not allowed.
pub fn drop_caches() -> bool {
    settle();
    fs::write("/proc/sys/vm/drop_caches", "3\n").is_ok()
}

/// Free bytes of the file system of `path`.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let text = output(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(path));
    let mut numbers = text.split(' ').filter_map(|word| word.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(blocks), Some(size)) => Ok(blocks * size),
        _ => Err(Error::failed(format!(
            "stat -f of {} said {text:?}",
            path.display()
        ))),
    }
}
