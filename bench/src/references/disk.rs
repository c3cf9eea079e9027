//! The disk without a broker: raw io_uring writes, the write-and-flush loop, and reads of given files.
//!
//! Invariant: a buffer given to the ring outlives the ring, which is dropped (and with it waits for nothing more) only
//! after every completion was taken.

use std::alloc::Layout;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::{IoUring, opcode, types};
use serde::{Deserialize, Serialize};

use super::Rate;
use crate::machine::{BROKER_CORE, own_cpu_seconds, pin_thread};
use crate::{Error, Result};

const ALIGNMENT: usize = 4096;
/// A huge page.
const HUGE_BYTES: usize = 2 << 20;

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Writing {
    block_bytes: usize,
    depth: usize,
    bytes: u64,
    /// Write the file once before, as a journal that is used again.
    written_before: bool,
}

impl Writing {
    /// What a journal could reach.
    pub const JOURNAL: Writing = Writing {
        block_bytes: 1 << 20,
        depth: 16,
        bytes: 1 << 30,
        written_before: true,
    };
    /// What growing segments could reach.
    pub const FRESH: Writing = Writing {
        block_bytes: 128 << 10,
        depth: 8,
        bytes: 512 << 20,
        written_before: false,
    };
}

/// Latency of one 4 KiB direct write followed by fdatasync, milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the report")]
pub struct FlushLatency {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
}

/// Direct writes through a ring, and one flush at the end.
pub fn write(directory: &Path, how: &Writing) -> Result<Rate> {
    let path = directory.join("reference-write");
    let rate = on_broker_core(|| -> io::Result<Rate> {
        let file = preallocated(&path, how.bytes)?;
        if how.written_before {
            transfer(&[(&file, how.bytes)], how.block_bytes, how.depth, true)?;
            file.sync_all()?;
        }
        let (begun, cpu) = (Instant::now(), own_cpu_seconds());
        let bytes = transfer(&[(&file, how.bytes)], how.block_bytes, how.depth, true)?;
        file.sync_data()?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Rate::new(bytes, seconds, own_cpu_seconds() - cpu))
    });
    let _ = std::fs::remove_file(&path);
    rate.map_err(Error::io("raw writes"))
}

/// Reads whole files directly, in large blocks, several in flight.
pub fn read(files: &[PathBuf]) -> Result<Rate> {
    on_broker_core(|| -> io::Result<Rate> {
        let mut open = Vec::new();
        for path in files {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECT)
                .open(path)?;
            let length = file.metadata()?.len();
            open.push((file, length));
        }
        let (begun, cpu) = (Instant::now(), own_cpu_seconds());
        let all: Vec<(&File, u64)> = open.iter().map(|(file, length)| (file, *length)).collect();
        let bytes = transfer(&all, 512 << 10, 8, false)?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Rate::new(bytes, seconds, own_cpu_seconds() - cpu))
    })
    .map_err(Error::io("raw reads"))
}

/// One 4 KiB write and one fdatasync after the other for `seconds`.
pub fn flush_loop(directory: &Path, seconds: f64) -> Result<FlushLatency> {
    const FILE_BYTES: u64 = 64 << 20;
    let path = directory.join("reference-flush");
    let measured = on_broker_core(|| -> io::Result<FlushLatency> {
        let file = preallocated(&path, FILE_BYTES)?;
        transfer(&[(&file, FILE_BYTES)], 1 << 20, 8, true)?;
        file.sync_all()?;
        let memory = aligned(ALIGNMENT);
        let block = memory.slice();
        let mut latency =
            Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("the bounds are legal");
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut position = 0;
        while Instant::now() < end {
            let begun = Instant::now();
            file.write_all_at(block, position)?;
            file.sync_data()?;
            latency.saturating_record(begun.elapsed().as_micros() as u64);
            position = (position + ALIGNMENT as u64) % FILE_BYTES;
        }
        let ms = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(FlushLatency {
            count: latency.len(),
            p50: ms(0.5),
            p99: ms(0.99),
            p999: ms(0.999),
            p9999: ms(0.9999),
            max: latency.max() as f64 / 1000.0,
        })
    });
    let _ = std::fs::remove_file(&path);
    measured.map_err(Error::io("the write-and-flush loop"))
}

fn on_broker_core<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            pin_thread(BROKER_CORE);
            work()
        });
        worker.join().expect("a measurement does not panic")
    })
}

fn preallocated(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: fallocate takes no pointers; the descriptor is open as long as `file`.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Memory in huge pages, if the kernel has any: what the disk is best at.
struct Aligned {
    start: NonNull<u8>,
    layout: Layout,
    length: usize,
}

impl Aligned {
    fn slice(&self) -> &[u8] {
        // SAFETY: the memory is at least this long, and was filled when it was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nobody uses it any more.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

fn aligned(length: usize) -> Aligned {
    let layout = Layout::from_size_align(length.next_multiple_of(HUGE_BYTES), HUGE_BYTES)
        .expect("a block is far below the address space");
    // SAFETY: the layout's size is not 0.
    let start = unsafe { std::alloc::alloc(layout) };
    let Some(start) = NonNull::new(start) else {
        std::alloc::handle_alloc_error(layout)
    };
    // SAFETY: whole pages that belong to this allocation; the advice changes no content.
    unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
    // SAFETY: the allocation is this long.
    unsafe { start.write_bytes(0x5a, layout.size()) };
    Aligned {
        start,
        layout,
        length,
    }
}

/// Transfers the files block by block with `depth` operations in flight; returns the bytes transferred.
fn transfer(
    files: &[(&File, u64)],
    block_bytes: usize,
    depth: usize,
    writing: bool,
) -> io::Result<u64> {
    let mut ring = IoUring::new(depth as u32)?;
    let buffers: Vec<Aligned> = (0..depth).map(|_| aligned(block_bytes)).collect();
    let mut free: Vec<usize> = (0..depth).collect();
    let mut blocks = files
        .iter()
        .flat_map(|(file, length)| {
            let blocks = length.div_ceil(block_bytes as u64);
            (0..blocks).map(move |number| (file.as_raw_fd(), number * block_bytes as u64))
        })
        .peekable();
    let (mut done, mut in_flight, mut failed) = (0_u64, 0, None);
    while in_flight > 0 || (blocks.peek().is_some() && failed.is_none()) {
        while failed.is_none()
            && let Some(slot) = free.pop()
        {
            let Some((descriptor, position)) = blocks.next() else {
                free.push(slot);
                break;
            };
            let pointer = buffers[slot].start.as_ptr();
            let descriptor = types::Fd(descriptor);
            let entry = if writing {
                opcode::Write::new(descriptor, pointer, block_bytes as u32)
                    .offset(position)
                    .build()
            } else {
                opcode::Read::new(descriptor, pointer, block_bytes as u32)
                    .offset(position)
                    .build()
            };
            // SAFETY: the buffer is used by this operation alone until its completion frees the slot, and outlives
            // the ring; the file is open as long as `files`.
            unsafe { ring.submission().push(&entry.user_data(slot as u64)) }
                .expect("the ring has room for `depth` entries");
            in_flight += 1;
        }
        ring.submit_and_wait(1)?;
        for completion in ring.completion() {
            in_flight -= 1;
            free.push(completion.user_data() as usize);
            match completion.result() {
                result if result < 0 => failed = Some(io::Error::from_raw_os_error(-result)),
                result => done += result as u64,
            }
        }
    }
    failed.map_or(Ok(done), Err)
}
