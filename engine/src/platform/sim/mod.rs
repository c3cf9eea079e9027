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

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::platform::Runtime;
use net::platform::sim::SimHandle;
use net::platform::sync::oneshot;

use super::{
    AlignedBuffer, BLOCK_BYTES, BufferBackend, DirectoryEntry, DirectoryLook, Disk, DiskBackend,
    OpenMode, READ_BYTES_MAX, Space,
};

mod cut;
mod media;
#[cfg(test)]
mod tests;

pub use cut::{CutMode, CutReport};
use media::{Inode, Media};

/// How the disk behaves. Probabilities are per operation; by default nothing goes wrong.
#[derive(Debug, Clone)]
pub struct SimDiskOptions {
    /// Longest ordinary operation.
    pub latency_max: Duration,
    /// Probability that an operation takes up to `latency_tail_max`.
    pub latency_tail: f64,
    /// Longest of the slow operations.
    pub latency_tail_max: Duration,
    /// Probability that a read fails (EIO).
    pub read_error: f64,
    /// Probability that a write fails (EIO) after some of its blocks landed.
    pub write_error: f64,
    /// Probability that a flush fails (EIO) and drops what it should have flushed; the next one succeeds.
    pub flush_error: f64,
    /// Probability that a write lands in two parts, at two times.
    pub short_write: f64,
    /// Probability that a read takes two parts, at two times.
    pub short_read: f64,
    /// Probability that a read finds a bit flipped, which stays so.
    pub bit_rot: f64,
    /// Bytes that files may occupy; allocation takes them, writes into allocated space do not.
    pub quota_bytes: Option<u64>,
    /// Whether `syncfs` also flushes the device. If not, the next flush of any file or directory does it.
    pub syncfs_flushes_device: bool,
}

impl Default for SimDiskOptions {
    fn default() -> Self {
        SimDiskOptions {
            latency_max: Duration::from_micros(300),
            latency_tail: 0.0,
            latency_tail_max: Duration::from_secs(2),
            read_error: 0.0,
            write_error: 0.0,
            flush_error: 0.0,
            short_write: 0.0,
            short_read: 0.0,
            bit_rot: 0.0,
            quota_bytes: None,
            syncfs_flushes_device: false,
        }
    }
}

/// An operation that [`SimDisk::fail_next`] makes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// A read: EIO.
    Read,
    /// A write: EIO, after some of its blocks landed.
    Write,
    /// A write that finds no room: ENOSPC, and nothing of it landed.
    Full,
    /// A flush of a file or directory: EIO, and what it should have flushed is dropped.
    Flush,
}

/// One machine's disk. Cheap to clone.
#[derive(Clone)]
pub struct SimDisk {
    shared: Rc<Shared>,
}

struct Shared {
    sim: SimHandle,
    /// The disk's own tasks.
    hardware: Runtime,
    media: RefCell<Media>,
    options: RefCell<SimDiskOptions>,
    planned: RefCell<Vec<(DiskFault, String)>>,
    locked: RefCell<BTreeSet<Inode>>,
    /// Operations on names, of whichever process.
    names_in_flight: Cell<usize>,
    /// Power cuts so far; an operation from before one does nothing any more.
    epoch: Cell<u64>,
    in_flight: Cell<usize>,
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

impl Shared {
    /// Runs an operation as a task of the disk; the future only waits for its answer.
    fn start<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
        self: &Rc<Self>,
        operation: F,
    ) -> impl Future<Output = io::Result<T>> + use<T, F> {
        let (sender, receiver) = oneshot::channel();
        self.in_flight.set(self.in_flight.get() + 1);
        let shared = self.clone();
        self.hardware.spawn(async move {
            let result = operation.await;
            shared.in_flight.set(shared.in_flight.get() - 1);
            drop(sender.send(result));
        });
        async move { receiver.await.unwrap_or_else(|_| Err(input_output_error())) }
    }

    /// The same for an operation on names.
    fn start_on_names<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
        self: &Rc<Self>,
        operation: F,
    ) -> impl Future<Output = io::Result<T>> + use<T, F> {
        let (shared, epoch) = (self.clone(), self.epoch.get());
        self.names_in_flight.set(self.names_in_flight.get() + 1);
        self.start(async move {
            let result = operation.await;
            if shared.epoch.get() == epoch {
                shared.names_in_flight.set(shared.names_in_flight.get() - 1);
            }
            result
        })
    }

    /// Takes an operation's time; fails when the power went meanwhile.
    async fn pass_time(&self, epoch: u64) -> io::Result<()> {
        let duration = {
            let options = self.options.borrow();
            if self.sim.random_chance(options.latency_tail) {
                self.sim.count_fault("disk_latency_tail");
                self.sim.random_duration(options.latency_tail_max)
            } else {
                self.sim.random_duration(options.latency_max)
            }
        };
        self.hardware.sleep(duration).await;
        if self.epoch.get() == epoch {
            Ok(())
        } else {
            Err(input_output_error())
        }
    }

    fn happens(&self, probability: impl Fn(&SimDiskOptions) -> f64, kind: &'static str) -> bool {
        let happens = self.sim.random_chance(probability(&self.options.borrow()));
        if happens {
            self.sim.count_fault(kind);
        }
        happens
    }

    fn planned(&self, fault: DiskFault, path: &str, kind: &'static str) -> bool {
        let mut planned = self.planned.borrow_mut();
        let found = planned
            .iter()
            .position(|(planned, part)| *planned == fault && path.contains(part.as_str()));
        if let Some(found) = found {
            planned.remove(found);
            self.sim.count_fault(kind);
        }
        found.is_some()
    }

    fn read_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Read, path, "disk_read_error")
            || self.happens(|options| options.read_error, "disk_read_error")
    }

    fn write_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Write, path, "disk_write_error")
            || self.happens(|options| options.write_error, "disk_write_error")
    }

    fn flush_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Flush, path, "disk_flush_error")
            || self.happens(|options| options.flush_error, "disk_flush_error")
    }

    fn refused(&self, result: io::Result<u64>) -> io::Result<u64> {
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        {
            self.sim.count_fault("disk_full");
        }
        result
    }
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

/// What a process sees.
#[derive(Clone)]
pub(super) struct MountedDisk {
    shared: Rc<Shared>,
    runtime: Runtime,
    /// Whether the process has the data directory for itself.
    has_begun: Rc<Cell<bool>>,
}

/// How long an open waits for a lock before it gives up, as on a real file system.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

impl MountedDisk {
    pub(super) async fn open_file(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let (name, epoch) = (path.to_owned(), self.shared.epoch.get());
        let inode = self
            .on_media(path, move |media| {
                let inode = match media.lookup_file(&name) {
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && mode == OpenMode::Create =>
                    {
                        media.create_file(&name)?
                    }
                    result => result?,
                };
                media.opened(inode);
                Ok(inode)
            })
            .await?;
        let open = OpenFile {
            shared: self.shared.clone(),
            inode,
            path: path.into(),
            epoch,
            writable: mode != OpenMode::Read,
            write_through: mode == OpenMode::WriteThrough,
            locked: Cell::new(false),
        };
        let file = SimFile {
            open: Rc::new(open),
        };
        if mode != OpenMode::Read {
            self.lock(&file).await?;
        }
        if mode == OpenMode::Create && file.length()? > 0 {
            file.truncate(0).await?;
        }
        Ok(file)
    }

    async fn lock(&self, file: &SimFile) -> io::Result<()> {
        let started = self.runtime.monotonic();
        while !self.shared.locked.borrow_mut().insert(file.open.inode) {
            self.shared.sim.trace("lock_wait", &[]);
            if self.runtime.monotonic() - started > LOCK_WAIT_MAX {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        file.open.locked.set(true);
        Ok(())
    }

    pub(super) async fn create_directory(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.create_directory(&name))
            .await
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let names = (from.to_owned(), to.to_owned());
        self.on_media(from, move |media| media.rename(&names.0, &names.1))
            .await
    }

    pub(super) async fn remove_file(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.remove_file(&name))
            .await
    }

    pub(super) async fn remove_directory(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.remove_directory(&name))
            .await
    }

    pub(super) async fn sync_directory(&self, path: &str) -> io::Result<()> {
        let (shared, epoch, path) = (
            self.shared.clone(),
            self.shared.epoch.get(),
            path.to_owned(),
        );
        let operation = async move {
            shared.pass_time(epoch).await?;
            if shared.flush_fails(&path) {
                return Err(input_output_error());
            }
            shared.sim.trace("sync_directory", &[path.len() as u64]);
            shared.media.borrow_mut().sync_directory(&path)
        };
        self.begin().await;
        self.shared.start_on_names(operation).await
    }

    pub(super) async fn list(&self, path: &str) -> io::Result<Vec<DirectoryEntry>> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.list(&name)).await
    }

    pub(super) async fn look_into(
        &self,
        directories: Vec<String>,
        small_file: &'static str,
        length_max: usize,
    ) -> io::Result<Vec<Option<DirectoryLook>>> {
        let mut looks = Vec::with_capacity(directories.len());
        for directory in directories {
            looks.push(
                self.look_into_one(&directory, small_file, length_max)
                    .await?,
            );
        }
        Ok(looks)
    }

    async fn look_into_one(
        &self,
        directory: &str,
        small_file: &str,
        length_max: usize,
    ) -> io::Result<Option<DirectoryLook>> {
        let entries = match self.list(directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let path = format!("{directory}/{small_file}");
        let small_file = match self.read_small(&path, length_max).await {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                None
            }
            result => Some(result?),
        };
        Ok(Some(DirectoryLook {
            entries,
            small_file,
        }))
    }

    pub(super) async fn exists(&self, path: &str) -> io::Result<bool> {
        self.begin().await;
        match self.shared.media.borrow().lookup(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read_small(&self, path: &str, length_max: usize) -> io::Result<Vec<u8>> {
        let file = self.open_file(path, OpenMode::Read).await?;
        let content = file.read_at(0, length_max + 1).await?;
        if content.len() > length_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is longer than it may be",
            ));
        }
        Ok(content.into())
    }

    pub(super) async fn write_small(
        &self,
        path: &str,
        content: &[u8],
        durable: bool,
    ) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        let file = self.open_file(&temporary, OpenMode::Create).await?;
        if !content.is_empty() {
            let mut blocks = content.to_vec();
            blocks.resize(content.len().next_multiple_of(BLOCK_BYTES), 0);
            file.write_at(blocks, 0).await?;
            file.truncate(content.len() as u64).await?;
        }
        if !durable {
            drop(file);
            return self.rename(&temporary, path).await;
        }
        file.fdatasync().await?;
        drop(file);
        self.rename(&temporary, path).await?;
        self.sync_directory(path.rsplit_once('/').map_or("", |(directory, _)| directory))
            .await
    }

    pub(super) async fn sync_filesystem(&self) -> io::Result<()> {
        let (shared, epoch) = (self.shared.clone(), self.shared.epoch.get());
        let bound = shared.media.borrow().next_sequence();
        let operation = async move {
            shared.pass_time(epoch).await?;
            let mut media = shared.media.borrow_mut();
            media.write_back(bound);
            if shared.options.borrow().syncfs_flushes_device {
                media.flush_device();
            }
            shared.sim.trace("syncfs", &[bound]);
            Ok(())
        };
        self.shared.start(operation).await
    }

    pub(super) async fn space(&self) -> io::Result<Space> {
        let media = self.shared.media.borrow();
        let total_bytes = media.quota_bytes.unwrap_or(u64::MAX / 2);
        let used = media.quota_bytes.map_or(0, |_| media.used_bytes());
        Ok(Space {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(used),
        })
    }

    /// Runs an operation on names, all at once at some moment.
    async fn on_media<T: 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&mut Media) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let (shared, epoch, length) = (
            self.shared.clone(),
            self.shared.epoch.get(),
            path.len() as u64,
        );
        let operation = async move {
            shared.pass_time(epoch).await?;
            shared.sim.trace("names", &[length]);
            work(&mut shared.media.borrow_mut())
        };
        self.begin().await;
        self.shared.start_on_names(operation).await
    }

    /// Waits, before the process's first operation, until the name operations of one that was killed are over.
    async fn begin(&self) {
        while !self.has_begun.get() && self.shared.names_in_flight.get() > 0 {
            self.shared.sim.trace("begin_wait", &[]);
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        self.has_begun.set(true);
    }
}

/// One `open`: what handles and operations in flight share, and what holds the lock.
struct OpenFile {
    shared: Rc<Shared>,
    inode: Inode,
    path: String,
    epoch: u64,
    writable: bool,
    write_through: bool,
    locked: Cell<bool>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.epoch == self.shared.epoch.get() {
            self.shared.media.borrow_mut().closed(self.inode);
            if self.locked.get() {
                self.shared.locked.borrow_mut().remove(&self.inode);
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct SimFile {
    open: Rc<OpenFile>,
}

impl SimFile {
    pub(super) async fn write_at(&self, content: Vec<u8>, position: u64) -> io::Result<()> {
        let open = self.open.clone();
        self.open
            .shared
            .start(async move {
                open.write(content, position).await?;
                if open.write_through {
                    let bound = open.shared.media.borrow().next_sequence();
                    open.flush(bound).await?;
                }
                Ok(())
            })
            .await
    }

    pub(super) async fn read_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let open = self.open.clone();
        self.open
            .shared
            .start(async move { open.read(position, length).await })
            .await
    }

    pub(super) async fn fdatasync(&self) -> io::Result<()> {
        let open = self.open.clone();
        let bound = self.open.shared.media.borrow().next_sequence();
        self.open
            .shared
            .start(async move { open.flush(bound).await })
            .await
    }

    pub(super) async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        let open = self.open.clone();
        let operation = async move {
            open.pass_time().await?;
            let allocated = open
                .shared
                .media
                .borrow_mut()
                .allocate(open.inode, position, length);
            open.shared.refused(allocated.map(|()| 0)).map(|_| ())
        };
        self.open.shared.start(operation).await
    }

    pub(super) async fn truncate(&self, length: u64) -> io::Result<()> {
        let open = self.open.clone();
        let operation = async move {
            open.check_writable()?;
            open.pass_time().await?;
            open.shared.sim.trace("truncate", &[length]);
            open.shared.media.borrow_mut().truncate(open.inode, length);
            Ok(())
        };
        self.open.shared.start(operation).await
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        if self.open.epoch != self.open.shared.epoch.get() {
            return Err(input_output_error());
        }
        Ok(self.open.shared.media.borrow().length(self.open.inode))
    }
}

impl OpenFile {
    async fn pass_time(&self) -> io::Result<()> {
        self.shared.pass_time(self.epoch).await
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EBADF))
        }
    }

    async fn write(&self, content: Vec<u8>, position: u64) -> io::Result<()> {
        let shared = &self.shared;
        self.check_writable()?;
        if self.epoch != shared.epoch.get() {
            return Err(input_output_error());
        }
        let submitted = shared
            .media
            .borrow_mut()
            .submit(self.inode, position, &content);
        let number = shared.refused(submitted)?;
        shared
            .sim
            .trace("submit", &[number, position, content.len() as u64]);
        let fails = shared.write_fails(&self.path);
        let full = shared.planned(DiskFault::Full, &self.path, "disk_full");
        self.pass_time().await?;
        if full {
            shared.media.borrow_mut().withdraw(number);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let blocks = shared.media.borrow().blocks_left(number);
        if fails {
            let landed = shared.sim.random_below(blocks as u64) as usize;
            let mut media = shared.media.borrow_mut();
            media.land(number, landed);
            media.withdraw(number);
            return Err(input_output_error());
        }
        if blocks > 1 && shared.happens(|options| options.short_write, "disk_short_write") {
            let first = 1 + shared.sim.random_below(blocks as u64 - 1) as usize;
            shared.media.borrow_mut().land(number, first);
            self.pass_time().await?;
        }
        shared.sim.trace("land", &[number]);
        shared.media.borrow_mut().land(number, usize::MAX);
        Ok(())
    }

    async fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let shared = &self.shared;
        if self.epoch != shared.epoch.get() {
            return Err(input_output_error());
        }
        let end = shared
            .media
            .borrow()
            .length(self.inode)
            .min(position.saturating_add(length as u64));
        let mut content = Vec::new();
        let mut next = position;
        while next < end {
            let mut to = end.min(next - next % BLOCK_BYTES as u64 + READ_BYTES_MAX as u64);
            if to - next > BLOCK_BYTES as u64
                && shared.happens(|options| options.short_read, "disk_short_read")
            {
                to = next + 1 + shared.sim.random_below(to - next - 1);
            }
            let fails = shared.read_fails(&self.path);
            self.pass_time().await?;
            if fails {
                return Err(input_output_error());
            }
            if shared.happens(|options| options.bit_rot, "disk_bit_rot") {
                let (at, bit) = (
                    next + shared.sim.random_below(to - next),
                    shared.sim.random_below(8),
                );
                shared.media.borrow_mut().rot(self.inode, at, 1 << bit);
            }
            let piece = shared.media.borrow().read(self.inode, next, to);
            content.extend_from_slice(&piece);
            if (piece.len() as u64) < to - next {
                break; // The file was cut short meanwhile.
            }
            next = to;
        }
        shared
            .sim
            .trace("read_file", &[position, content.len() as u64]);
        Ok(Bytes::from(content))
    }

    async fn flush(&self, bound: u64) -> io::Result<()> {
        let shared = &self.shared;
        let fails = shared.flush_fails(&self.path);
        self.pass_time().await?;
        shared.sim.trace("flush", &[bound, u64::from(fails)]);
        let mut media = shared.media.borrow_mut();
        if fails {
            media.lose(self.inode, bound);
            return Err(input_output_error());
        }
        media.flush(self.inode, bound);
        Ok(())
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
