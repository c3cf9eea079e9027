//! The phases of the probe: what is written and read where, and when a phase ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ring::{Operation, Ring, next};
use super::{
    Extents, LARGE_BYTES, LARGE_DEPTH, Latency, Measured, PHASES, Plan, ProbeError, Progress,
    SMALL_BYTES, SMALL_DEPTH, SmallRates,
};
use crate::host;

/// Less says nothing about a disk.
const FILE_BYTES_MIN: u64 = 16 << 20;
/// What stays free on the disk, whatever the plan says.
const SPARE_BYTES: u64 = 256 << 20;
/// Write-and-flush pairs of one size: enough for the 99.9th percentile.
const FLUSHES_MAX: usize = 20_000;
const FLUSH_BYTES: [usize; 3] = [SMALL_BYTES, 64 << 10, LARGE_BYTES];
/// The clock is not read more often than operations complete in batches of this size.
const PROGRESS_EVERY: u64 = 16;

/// Measures. `progress` is called often and must be quick.
///
/// # Errors
/// Space or an operation is missing; the probe's file is removed all the same.
pub fn measure(plan: &Plan, mut progress: impl FnMut(Progress)) -> Result<Measured, ProbeError> {
    let file_bytes = file_bytes(plan)?;
    let probe_file = ProbeFile::create(&plan.directory)?;
    let mut probe = Probe {
        path: probe_file.path.clone(),
        plan,
        progress: &mut progress,
        phase: 0,
    };
    let (fresh, written) = probe.write_fresh(file_bytes)?;
    let preallocated = probe.bandwidth(Operation::Write, written)?;
    let read = probe.bandwidth(Operation::Read, written)?;
    let small_per_s = SmallRates {
        random_reads: probe.small(Operation::Read, written, true)?,
        random_writes: probe.small(Operation::Write, written, true)?,
        sequential_reads: probe.small(Operation::Read, written, false)?,
        sequential_writes: probe.small(Operation::Write, written, false)?,
    };
    let mut flush = Vec::new();
    for bytes in FLUSH_BYTES {
        flush.push(probe.flush_latency(bytes, written)?);
    }
    let mount = host::mount_of(&plan.directory);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    Ok(Measured {
        directory: plan.directory.display().to_string(),
        filesystem: mount.map(|mount| mount.filesystem),
        kernel: kernel.map(|release| release.trim().to_owned()),
        file_bytes: written,
        write_bytes_per_s: Extents {
            fresh,
            preallocated,
        },
        read_bytes_per_s: read,
        small_per_s,
        flush,
    })
}

/// The size of the file: what the plan allows, at most a quarter of what is free.
fn file_bytes(plan: &Plan) -> Result<u64, ProbeError> {
    let free = host::space(&plan.directory).map_or(u64::MAX, |(free, _)| free);
    let free = free.saturating_sub(SPARE_BYTES);
    let bytes = plan.file_bytes_max.min(free / 4) / LARGE_BYTES as u64 * LARGE_BYTES as u64;
    if bytes < FILE_BYTES_MIN {
        return Err(ProbeError::NoSpace {
            directory: plan.directory.display().to_string(),
            free: free.min(plan.file_bytes_max),
            needed: FILE_BYTES_MIN,
        });
    }
    Ok(bytes)
}

/// The file, as long as it is needed.
struct ProbeFile {
    path: PathBuf,
}

impl ProbeFile {
    fn create(directory: &Path) -> Result<ProbeFile, ProbeError> {
        let path = directory.join(format!(".tidelog-tune-disk-{}", std::process::id()));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        made.map_err(failed(format!("{} cannot be made", path.display())))?;
        Ok(ProbeFile { path })
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> ProbeError {
    let what = what.into();
    move |source| ProbeError::Io { what, source }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the probe measures the real disk; no simulator runs it"
)]
fn now() -> Instant {
    Instant::now()
}

struct Probe<'a> {
    path: PathBuf,
    plan: &'a Plan,
    progress: &'a mut dyn FnMut(Progress),
    phase: usize,
}

/// What a row of operations came to.
struct Row {
    operations: u64,
    elapsed: Duration,
}

impl Row {
    fn per_second(&self, each: f64) -> f64 {
        self.operations as f64 * each / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Probe<'_> {
    fn ring(&self, slots: usize, bytes: usize) -> Result<Ring, ProbeError> {
        let file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&self.path)
            .map_err(failed("direct I/O is not possible here"))?;
        Ring::new(file, slots, bytes).map_err(failed("io_uring cannot be used"))
    }

    fn next_phase(&mut self) -> &'static str {
        let name = PHASES[self.phase];
        (self.progress)(Progress {
            phase: self.phase,
            done: 1.0,
        });
        self.phase += 1;
        name
    }

    /// Writes space that was only allocated; returns bytes a second and how far it came.
    fn write_fresh(&mut self, file_bytes: u64) -> Result<(f64, u64), ProbeError> {
        let mut ring = self.ring(LARGE_DEPTH, LARGE_BYTES)?;
        ring.allocate(file_bytes)
            .map_err(failed("space cannot be allocated"))?;
        let blocks = file_bytes / LARGE_BYTES as u64;
        let least = FILE_BYTES_MIN / LARGE_BYTES as u64;
        let next = |index: u64, over: bool| {
            (index < blocks && (!over || index < least)).then_some(index * LARGE_BYTES as u64)
        };
        let row = self.row(&mut ring, Operation::Write, LARGE_BYTES, next)?;
        self.next_phase();
        Ok((
            row.per_second(LARGE_BYTES as f64),
            row.operations * LARGE_BYTES as u64,
        ))
    }

    /// Writes or reads the file from its beginning, again and again, in large pieces.
    fn bandwidth(&mut self, operation: Operation, file_bytes: u64) -> Result<f64, ProbeError> {
        let mut ring = self.ring(LARGE_DEPTH, LARGE_BYTES)?;
        let blocks = file_bytes / LARGE_BYTES as u64;
        let next = |index: u64, over: bool| (!over).then_some(index % blocks * LARGE_BYTES as u64);
        let row = self.row(&mut ring, operation, LARGE_BYTES, next)?;
        self.next_phase();
        Ok(row.per_second(LARGE_BYTES as f64))
    }

    fn small(
        &mut self,
        operation: Operation,
        file_bytes: u64,
        random: bool,
    ) -> Result<f64, ProbeError> {
        let mut ring = self.ring(SMALL_DEPTH, SMALL_BYTES)?;
        let blocks = file_bytes / SMALL_BYTES as u64;
        let mut state = 0x2545_f491_4f6c_dd1d;
        let next = |index: u64, over: bool| {
            state = next(state);
            let block = if random { state } else { index };
            (!over).then_some(block % blocks * SMALL_BYTES as u64)
        };
        let row = self.row(&mut ring, operation, SMALL_BYTES, next)?;
        self.next_phase();
        Ok(row.per_second(1.0))
    }

    /// Keeps every slot of the ring at work with operations at the offsets that `next` gives, until it gives none;
    /// it is told whether the phase's time is over. Writes end with a flush, which counts.
    fn row(
        &mut self,
        ring: &mut Ring,
        operation: Operation,
        bytes: usize,
        mut next: impl FnMut(u64, bool) -> Option<u64>,
    ) -> Result<Row, ProbeError> {
        let name = PHASES[self.phase];
        let started = now();
        let (mut begun, mut operations) = (0, 0);
        let mut over = false;
        let mut free: Vec<usize> = (0..ring.slots()).collect();
        loop {
            while let Some(slot) = free.pop() {
                let Some(offset) = next(begun, over) else {
                    free.push(slot);
                    break;
                };
                ring.start(slot, operation, offset, bytes)
                    .map_err(failed(name))?;
                begun += 1;
            }
            if ring.under_way() == 0 {
                break;
            }
            free.extend(ring.complete().map_err(failed(name))?);
            operations += 1;
            if operations % PROGRESS_EVERY == 0 {
                over = self.tell(started);
            }
        }
        if operation == Operation::Write {
            ring.flush().map_err(failed(name))?;
        }
        Ok(Row {
            operations,
            elapsed: started.elapsed(),
        })
    }

    /// Tells how far the phase is; whether its time is over.
    fn tell(&mut self, started: Instant) -> bool {
        let done = started.elapsed().as_secs_f64() / self.plan.phase.as_secs_f64().max(1e-9);
        (self.progress)(Progress {
            phase: self.phase,
            done: done.min(1.0),
        });
        done >= 1.0
    }

    /// Writes and flushes, one pair after the other, as a journal does that has one client.
    fn flush_latency(&mut self, bytes: usize, file_bytes: u64) -> Result<Latency, ProbeError> {
        let name = PHASES[self.phase];
        let mut ring = self.ring(1, bytes)?;
        let blocks = file_bytes / bytes as u64;
        let mut times = Vec::new();
        let started = now();
        loop {
            let offset = times.len() as u64 % blocks * bytes as u64;
            let begun = now();
            ring.start_flushed_write(0, offset, bytes)
                .map_err(failed(name))?;
            while ring.under_way() > 0 {
                ring.complete().map_err(failed(name))?;
            }
            times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if self.tell(started) || times.len() >= FLUSHES_MAX {
                break;
            }
        }
        self.next_phase();
        Ok(Latency::of(bytes, times))
    }
}
