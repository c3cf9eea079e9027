//! What /proc says: cores that may be used, and the broker's CPU time and memory.

use std::fs;

use crate::clock::SECOND;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Nanoseconds from the start of the phase.
    pub(crate) at: u64,
    /// CPU time since the process began, nanoseconds.
    pub(crate) cpu: u64,
    /// Resident bytes.
    pub(crate) resident: u64,
}

/// A process that is looked at every now and then.
#[derive(Debug)]
pub(crate) struct Watched {
    pid: u32,
    samples: Vec<Sample>,
}

impl Watched {
    /// Nothing seen yet.
    pub(crate) fn new(pid: u32) -> Self {
        Self {
            pid,
            samples: Vec::new(),
        }
    }

    /// Looks; a process that has ended gives nothing.
    pub(crate) fn sample(&mut self, at: u64) {
        if let Some((cpu, resident)) = usage(self.pid) {
            self.samples.push(Sample { at, cpu, resident });
        }
    }

    /// Everything seen.
    pub(crate) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

/// CPU nanoseconds (the kernel counts in ticks of 10 ms) and resident bytes of a process.
pub(crate) fn usage(pid: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    Some((ticks * (SECOND / ticks_per_second()), pages * page_bytes()))
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks)
        .ok()
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// The cores that this process may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain data for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid cpu_set_t of the size given; thread 0 means the calling thread.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the core number is below the size of the set.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect();
    if cores.is_empty() { vec![0] } else { cores }
}
