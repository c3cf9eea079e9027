//! One ring, one file and the buffers between them: the only `unsafe` code of the disk probe.
//!
//! Invariant: a buffer that the kernel works on is neither touched nor freed before its completion was taken; dropping
//! the ring waits for what is under way.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, squeue, types};

/// Direct I/O wants addresses that are multiples of the logical block; 4096 suits all disks we accept.
const ALIGNMENT: usize = 4_096;

/// What to do with a slot's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// Ring, file and one buffer for each slot.
pub(super) struct Ring {
    ring: IoUring,
    file: File,
    /// Longer than needed, so that an aligned address lies within.
    buffers: Vec<u8>,
    start: usize,
    slot_bytes: usize,
    slots: usize,
    under_way: usize,
}

impl Ring {
    /// A ring for `slots` operations of at most `slot_bytes` at once.
    pub(super) fn new(file: File, slots: usize, slot_bytes: usize) -> io::Result<Ring> {
        let entries = u32::try_from(slots * 2).expect("few slots");
        let ring = IoUring::new(entries)?;
        let mut buffers = vec![0; slots * slot_bytes + ALIGNMENT];
        fill(&mut buffers);
        let start = buffers.as_ptr().align_offset(ALIGNMENT);
        Ok(Ring {
            ring,
            file,
            buffers,
            start,
            slot_bytes,
            slots,
            under_way: 0,
        })
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Starts an operation with the buffer of a slot that has none under way.
    pub(super) fn start(
        &mut self,
        slot: usize,
        operation: Operation,
        offset: u64,
        bytes: usize,
    ) -> io::Result<()> {
        let entry = self.entry(slot, operation, offset, bytes);
        self.push(entry)
    }

    /// Starts a write and, once it is done, a flush of the file's data. Two completions follow.
    pub(super) fn start_flushed_write(
        &mut self,
        slot: usize,
        offset: u64,
        bytes: usize,
    ) -> io::Result<()> {
        let write = self
            .entry(slot, Operation::Write, offset, bytes)
            .flags(squeue::Flags::IO_LINK);
        let flush = self.flush_entry();
        self.push(write)?;
        self.push(flush)
    }

    /// Flushes the file's data and waits; nothing else may be under way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        assert_eq!(self.under_way, 0, "a flush by itself");
        let flush = self.flush_entry();
        self.push(flush)?;
        self.complete().map(drop)
    }

    /// Reserves space that was never written.
    pub(super) fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        let file = types::Fd(self.file.as_raw_fd());
        self.push(
            opcode::Fallocate::new(file, bytes)
                .build()
                .user_data(u64::MAX),
        )?;
        self.complete().map(drop)
    }

    /// Waits for one completion: its slot, `None` for a flush or an allocation.
    pub(super) fn complete(&mut self) -> io::Result<Option<usize>> {
        assert!(self.under_way > 0, "something is under way");
        loop {
            if let Some(completion) = self.ring.completion().next() {
                self.under_way -= 1;
                let result = completion.result();
                if result < 0 {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                let slot = usize::try_from(completion.user_data()).ok();
                return Ok(slot.filter(|slot| *slot < self.slots));
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn entry(
        &mut self,
        slot: usize,
        operation: Operation,
        offset: u64,
        bytes: usize,
    ) -> squeue::Entry {
        assert!(slot < self.slots && bytes <= self.slot_bytes);
        let at = self.start + slot * self.slot_bytes;
        let buffer = self.buffers[at..at + bytes].as_mut_ptr();
        let length = u32::try_from(bytes).expect("slots are small");
        let file = types::Fd(self.file.as_raw_fd());
        let entry = match operation {
            Operation::Read => opcode::Read::new(file, buffer, length)
                .offset(offset)
                .build(),
            Operation::Write => opcode::Write::new(file, buffer, length)
                .offset(offset)
                .build(),
        };
        entry.user_data(slot as u64)
    }

    fn flush_entry(&self) -> squeue::Entry {
        let file = types::Fd(self.file.as_raw_fd());
        let flush = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC);
        flush.build().user_data(u64::MAX)
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: the entry names this ring's file and a buffer of `buffers`, which is never resized; both live until
        // every completion was taken, since `drop` waits for them.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        self.under_way += 1;
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut failures = 0;
        while self.under_way > 0 && failures < 1_000 {
            let before = self.under_way;
            // An error of the operation itself is also a completion.
            if self.complete().is_err() && self.under_way == before {
                failures += 1;
            }
        }
        if self.under_way > 0 {
            // The kernel may still write into them: better lost than reused.
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
    }
}

/// Bytes that no disk compresses: xorshift with a fixed seed.
fn fill(buffer: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for chunk in buffer.chunks_mut(8) {
        state = next(state);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// The next of a row of well-mixed numbers; never 0 if `state` is not.
pub(super) fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}
