//! The file half's simulated backend: a disk with a volatile cache that tears, loses, rots, fills up and fails.
//!
//! A [`SimDisk`] is one machine's disk; [`SimDisk::disk`] is what a process on it sees. Operations run as tasks of the
//! disk and not of the process: one that was submitted goes on after `kill -9` and still holds its file's lock
//! (STORAGE C5), and ends only with [`SimDisk::cut_power`]. Operations on names are system calls of the process's own
//! threads, on a real disk: the kernel closes its descriptors, and with them the data directory's lock, once the last of them
//! has returned. So the next process begins behind those that were submitted.
//!
//! Invariant: what an operation does happens at one moment between its start and its answer, with nothing borrowed
//! across an await; which moment, and which operations go wrong, comes from the simulation's seed.
//!
//! Here is the machine's side. `mounted` is what a process sees, `file` what it has open, `hardware` runs their operations
//! and decides which go wrong; `media` is what lies on the disk, as each file's `image`, and `cut` what a power cut leaves.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use net::platform::Runtime;
use net::platform::sim::SimHandle;

use super::{AlignedBuffer, BufferBackend, Disk, DiskBackend};

mod cut;
mod file;
mod hardware;
mod image;
mod media;
mod mounted;
mod options;
#[cfg(test)]
mod tests;

pub use cut::{CutMode, CutReport};
pub(super) use file::SimFile;
use hardware::Shared;
use media::Media;
pub(super) use mounted::MountedDisk;
pub use options::{DiskFault, SimDiskOptions};

/// One machine's disk. Cheap to clone.
#[derive(Clone)]
pub struct SimDisk {
    shared: Rc<Shared>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(sim: &SimHandle, options: SimDiskOptions) -> Self {
        let shared = Shared {
            sim: sim.clone(),
            hardware: sim.node("disk").runtime(),
            media: RefCell::new(Media::new()),
            options: RefCell::default(),
            planned: RefCell::default(),
            locked: RefCell::default(),
            names_in_flight: Cell::default(),
            epoch: Cell::default(),
            in_flight: Cell::default(),
        };
        let disk = SimDisk {
            shared: Rc::new(shared),
        };
        disk.set_options(options);
        disk
    }

    /// The disk as a process sees it; its root is the data directory.
    pub fn disk(&self, runtime: &Runtime) -> Disk {
        let mounted = MountedDisk {
            shared: self.shared.clone(),
            runtime: runtime.clone(),
            has_begun: Rc::default(),
        };
        Disk {
            backend: DiskBackend::Sim(mounted),
        }
    }

    /// Changes how the disk behaves from now on.
    pub fn set_options(&self, options: SimDiskOptions) {
        self.shared.media.borrow_mut().quota_bytes = options.quota_bytes;
        self.shared.options.replace(options);
    }

    /// How the disk behaves now.
    pub fn options(&self) -> SimDiskOptions {
        self.shared.options.borrow().clone()
    }

    /// Lets the next operation of that kind fail whose file's path contains `path_part`.
    pub fn fail_next(&self, fault: DiskFault, path_part: &str) {
        self.shared
            .planned
            .borrow_mut()
            .push((fault, path_part.into()));
    }

    /// Cuts the power and brings it back. Kill or power off the processes on this machine first; what they still
    /// hold open answers EIO.
    pub fn cut_power(&self, mode: CutMode) -> CutReport {
        let shared = &self.shared;
        shared.epoch.set(shared.epoch.get() + 1);
        shared.locked.borrow_mut().clear();
        shared.names_in_flight.set(0);
        let report = shared.media.borrow_mut().cut(mode, &shared.sim);
        shared.sim.count_fault("disk_power_cut");
        let counts = [
            ("disk_torn_block", report.blocks_torn),
            ("disk_lost_sector", report.sectors_lost),
            ("disk_lost_name", report.names_lost),
            ("disk_lost_length", report.lengths_lost),
        ];
        for (kind, count) in counts {
            if count > 0 {
                shared.sim.count_fault(kind);
                shared.sim.trace(kind, &[count]);
            }
        }
        report
    }

    /// Flips the bits of `mask` in one byte of a file, durably. False if the file is shorter.
    pub fn rot(&self, path: &str, position: u64, mask: u8) -> io::Result<bool> {
        let mut media = self.shared.media.borrow_mut();
        let inode = media.lookup_file(path)?;
        self.shared.sim.count_fault("disk_bit_rot");
        Ok(media.rot(inode, position, mask))
    }

    /// A file's content as a program would read it now, without faults.
    pub fn content(&self, path: &str) -> io::Result<Vec<u8>> {
        let media = self.shared.media.borrow();
        let inode = media.lookup_file(path)?;
        Ok(media.read(inode, 0, u64::MAX))
    }

    /// Names in a directory, sorted.
    pub fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = self.shared.media.borrow().list(directory)?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    /// Bytes that files occupy, as the quota counts them.
    pub fn used_bytes(&self) -> u64 {
        self.shared.media.borrow().used_bytes()
    }

    /// What [`SimDisk::fail_next`] planned and has not happened will not happen.
    pub fn forget_planned_faults(&self) {
        self.shared.planned.borrow_mut().clear();
    }

    /// Operations that were started and not answered.
    pub fn operations_in_flight(&self) -> usize {
        self.shared.in_flight.get()
    }
}

/// A zeroed buffer; the simulator needs no alignment.
pub(super) fn allocate_buffer(length: usize) -> AlignedBuffer {
    AlignedBuffer {
        backend: BufferBackend::Sim(vec![0; length]),
    }
}

/// The first `filled` bytes are garbage, so that a caller that leaves one of them out is found.
pub(super) fn allocate_buffer_to_fill(length: usize, filled: usize) -> AlignedBuffer {
    let mut bytes = vec![0xa5; length];
    bytes[filled..].fill(0);
    AlignedBuffer {
        backend: BufferBackend::Sim(bytes),
    }
}
