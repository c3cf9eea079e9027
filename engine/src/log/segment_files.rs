//! Open segment files of a shard, least recently used first out, and the allocation of their space. On the shard's
//! core.
//!
//! Invariant: a file open for writing is open once, and locked (C5); the directory entry of a new segment is durable
//! before anybody learns of its room.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use net::platform::sync::Mutex;

use super::segment::segment_file_name;
use super::storage_shard::Shard;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::{FilePosition, Offset, PartitionId};

/// Space is allocated in steps of at least this many bytes …
const STEP_BYTES_MIN: u64 = 256 << 10;
/// … and at most this many.
const STEP_BYTES_MAX: u64 = 64 << 20;

/// The room that an append needs.
pub(crate) struct Room {
    pub(crate) directory: Rc<str>,
    pub(crate) id: PartitionId,
    pub(crate) segment_base: Offset,
    pub(crate) position: FilePosition,
    pub(crate) size: u32,
    /// The segment's file is to be made.
    pub(crate) new: bool,
    pub(crate) segment_bytes_max: u32,
}

struct Handle {
    file: File,
    writable: bool,
    used: u64,
}

/// The open files by segment, and the same by their last use.
#[derive(Default)]
struct Handles {
    by_segment: BTreeMap<(PartitionId, Offset), Handle>,
    by_use: BTreeMap<u64, (PartitionId, Offset)>,
    clock: u64,
}

impl Handles {
    fn take(&mut self, key: (PartitionId, Offset)) -> Option<Handle> {
        let handle = self.by_segment.remove(&key)?;
        self.by_use.remove(&handle.used);
        Some(handle)
    }

    fn put(&mut self, key: (PartitionId, Offset), file: File, writable: bool) {
        self.take(key);
        self.clock += 1;
        self.by_use.insert(self.clock, key);
        let handle = Handle {
            file,
            writable,
            used: self.clock,
        };
        self.by_segment.insert(key, handle);
    }

    fn touch(&mut self, key: (PartitionId, Offset), write: bool) -> Option<File> {
        let handle = self
            .by_segment
            .get_mut(&key)
            .filter(|handle| handle.writable || !write)?;
        self.by_use.remove(&handle.used);
        self.clock += 1;
        handle.used = self.clock;
        self.by_use.insert(self.clock, key);
        Some(handle.file.clone())
    }
}

/// What the openers of each file wait at.
type Opening = BTreeMap<(PartitionId, Offset), Rc<Mutex<()>>>;

/// One opener at, or behind, the lock of a file; the last one to leave takes the lock away.
struct Gate<'a> {
    lock: Rc<Mutex<()>>,
    key: (PartitionId, Offset),
    opening: &'a RefCell<Opening>,
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        // One count in the map, one here.
        if Rc::strong_count(&self.lock) == 2 {
            self.opening.borrow_mut().remove(&self.key);
        }
    }
}

/// The open segment files of a shard.
pub(crate) struct SegmentFiles {
    handles: RefCell<Handles>,
    /// A file is opened by one task at a time: a second open for writing would wait for the lock that the first one's
    /// handle keeps.
    opening: RefCell<Opening>,
    handles_max: usize,
    reserve_bytes: u64,
}

/// `<directory>/<base>.log`.
pub(crate) fn segment_path(directory: &str, base: Offset) -> String {
    format!("{directory}/{}", segment_file_name(base, "log"))
}

impl SegmentFiles {
    pub(crate) fn new(handles_max: usize, reserve_bytes: u64) -> SegmentFiles {
        SegmentFiles {
            handles: RefCell::default(),
            opening: RefCell::default(),
            handles_max: handles_max.max(1),
            reserve_bytes,
        }
    }

    /// The segment's file, open for writing.
    pub(crate) async fn writable(
        &self,
        disk: &Disk,
        id: PartitionId,
        directory: &str,
        base: Offset,
    ) -> io::Result<File> {
        self.open(disk, id, directory, base, true).await
    }

    /// The same for a segment that may be empty: a partition's first file is made when it is needed.
    pub(crate) async fn writable_or_new(
        &self,
        disk: &Disk,
        id: PartitionId,
        directory: &str,
        base: Offset,
    ) -> io::Result<File> {
        match self.writable(disk, id, directory, base).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create(disk, id, directory, base).await
            }
            result => result,
        }
    }

    /// The segment's file, open for reading.
    pub(crate) async fn readable(
        &self,
        disk: &Disk,
        id: PartitionId,
        directory: &str,
        base: Offset,
    ) -> io::Result<File> {
        self.open(disk, id, directory, base, false).await
    }

    async fn open(
        &self,
        disk: &Disk,
        id: PartitionId,
        directory: &str,
        base: Offset,
        write: bool,
    ) -> io::Result<File> {
        if let Some(file) = self.cached(id, base, write) {
            return Ok(file);
        }
        let gate = self.gate(id, base);
        let _one = gate.lock.lock().await;
        if let Some(file) = self.cached(id, base, write) {
            return Ok(file);
        }
        let mode = if write {
            OpenMode::Write
        } else {
            OpenMode::Read
        };
        let file = disk.open(&segment_path(directory, base), mode).await?;
        self.keep(id, base, file.clone(), write);
        Ok(file)
    }

    /// Makes the segment's file, or empties a leftover of that name; its directory entry is durable.
    pub(crate) async fn create(
        &self,
        disk: &Disk,
        id: PartitionId,
        directory: &str,
        base: Offset,
    ) -> io::Result<File> {
        let gate = self.gate(id, base);
        let _one = gate.lock.lock().await;
        self.forget(id, base);
        let file = disk
            .open(&segment_path(directory, base), OpenMode::Create)
            .await?;
        disk.sync_directory(directory).await?;
        self.keep(id, base, file.clone(), true);
        Ok(file)
    }

    /// Does `work`, which gives the name another file, while nobody opens it, and closes the old one once nobody uses it.
    pub(crate) async fn exchange<T>(
        &self,
        id: PartitionId,
        base: Offset,
        work: impl Future<Output = T>,
    ) -> T {
        let gate = self.gate(id, base);
        let _one = gate.lock.lock().await;
        let result = work.await;
        // An open that began before would otherwise have kept the old file here.
        self.forget(id, base);
        result
    }

    fn gate(&self, id: PartitionId, base: Offset) -> Gate<'_> {
        let mut opening = self.opening.borrow_mut();
        let lock = opening
            .entry((id, base))
            .or_insert_with(|| Rc::new(Mutex::new(())));
        Gate {
            lock: lock.clone(),
            key: (id, base),
            opening: &self.opening,
        }
    }

    /// Allocates space for the append and some more. Returns up to which byte of the file space is allocated.
    pub(crate) async fn make_room(&self, shard: &Shard, room: &Room) -> io::Result<u64> {
        let file = match room.new {
            true => {
                self.create(&shard.disk, room.id, &room.directory, room.segment_base)
                    .await?
            }
            false => {
                self.writable_or_new(&shard.disk, room.id, &room.directory, room.segment_base)
                    .await?
            }
        };
        let block = BLOCK_BYTES as u64;
        let start = u64::from(room.position.0) / block * block;
        let needed = (u64::from(room.position.0) + u64::from(room.size)).next_multiple_of(block);
        let step = start.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        let limit = u64::from(room.segment_bytes_max).next_multiple_of(block);
        let wanted = (needed + step).min(limit).max(needed);
        let free = shard.disk.free_bytes().await?;
        for end in [wanted, needed] {
            if free < end - start + self.reserve_bytes {
                continue;
            }
            match file.allocate(start, end - start).await {
                Ok(()) => return Ok(end),
                Err(error) if super::admission::is_out_of_space(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }

    /// Closes one segment's file once nobody uses it.
    pub(crate) fn forget(&self, id: PartitionId, base: Offset) {
        self.handles.borrow_mut().take((id, base));
    }

    /// Closes all files of a partition once nobody uses them.
    pub(crate) fn forget_partition(&self, id: PartitionId) {
        let mut handles = self.handles.borrow_mut();
        let of_partition = (id, Offset(i64::MIN))..=(id, Offset(i64::MAX));
        let keys: Vec<_> = handles
            .by_segment
            .range(of_partition)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            handles.take(key);
        }
    }

    /// Closes all files once nobody uses them.
    pub(crate) fn forget_all(&self) {
        *self.handles.borrow_mut() = Handles::default();
    }

    fn cached(&self, id: PartitionId, base: Offset, write: bool) -> Option<File> {
        self.handles.borrow_mut().touch((id, base), write)
    }

    fn keep(&self, id: PartitionId, base: Offset, file: File, writable: bool) {
        let mut handles = self.handles.borrow_mut();
        handles.put((id, base), file, writable);
        while handles.by_segment.len() > self.handles_max
            && let Some((_, oldest)) = handles.by_use.first_key_value()
        {
            let oldest = *oldest;
            handles.take(oldest);
        }
    }
}
