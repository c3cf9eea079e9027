//! The file half of the platform seam: directories, files, direct I/O, aligned buffers.
//!
//! Two variants of each type: io_uring on a real file system, and (feature `sim`) the simulated disk of
//! RELIABILITY §4. Paths are relative to the data directory the [`Disk`] was opened on.
//!
//! Invariant: memory given to the kernel, and the open file, belong to the operation until it completes, also when
//! its future is dropped.

use std::io;
use std::path::Path;

use net::platform::{AlignedMemory, Runtime};

mod real;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(test)]
mod tests;

/// The alignment, in bytes, of file positions, lengths and memory for direct I/O.
pub const BLOCK_BYTES: usize = 4096;

/// The longest single read in bytes; longer ones are split. A batch of half a mebibyte and the blocks that it begins and
/// ends in come in one piece.
const READ_BYTES_MAX: usize = 1 << 20;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Bytes free for this process.
    pub free_bytes: u64,
}

/// One data directory as seen from one executor. Cheap to clone, never leaves its thread.
#[derive(Clone)]
pub struct Disk {
    backend: DiskBackend,
}

#[derive(Clone)]
enum DiskBackend {
    Real(real::RealDisk),
    #[cfg(feature = "sim")]
    Sim(sim::MountedDisk),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// File name without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Length in bytes; 0 for a directory.
    pub length: u64,
}

/// What [`Disk::look_into`] saw of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryLook {
    /// Its entries, sorted by name.
    pub entries: Vec<DirectoryEntry>,
    /// The content of the small file asked for; `None` if there is none, or if it is longer than allowed.
    pub small_file: Option<Vec<u8>>,
}

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, for reading only, no lock.
    Read,
    /// Existing file, for reading and writing; waits for its exclusive `flock` (STORAGE C5).
    Write,
    /// As `Write`; what is written is durable when the write completes (`O_DSYNC`): one request where the device knows
    /// FUA, else a flush that the kernel sends behind the write, without a way back through this process.
    WriteThrough,
    /// As `Write`; created (and emptied) if need be. The caller syncs the directory.
    Create,
}

impl Disk {
    /// Opens the data directory `root`, an existing directory of a real file system, from this executor.
    pub async fn open_data_directory(runtime: &Runtime, root: &Path) -> io::Result<Disk> {
        Ok(Disk {
            backend: DiskBackend::Real(real::RealDisk::open(runtime, root)?),
        })
    }

    /// Opens a file for direct I/O.
    pub async fn open(&self, path: &str, mode: OpenMode) -> io::Result<File> {
        match &self.backend {
            DiskBackend::Real(disk) => Ok(File {
                backend: FileBackend::Real(disk.open_file(path, mode).await?),
            }),
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => Ok(File {
                backend: FileBackend::Sim(disk.open_file(path, mode).await?),
            }),
        }
    }

    /// Makes a directory; succeeds if it exists. The caller syncs the parent.
    pub async fn create_directory(&self, path: &str) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.create_directory(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.create_directory(path).await,
        }
    }

    /// Renames a file or directory, replacing an existing file. The caller syncs the parents.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.rename(from, to).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.rename(from, to).await,
        }
    }

    /// Removes a file. The caller syncs the parent.
    pub async fn remove_file(&self, path: &str) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.remove_file(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.remove_file(path).await,
        }
    }

    /// Removes an empty directory. The caller syncs the parent.
    pub async fn remove_directory(&self, path: &str) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.remove_directory(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.remove_directory(path).await,
        }
    }

    /// Makes the directory's entries durable (`""` is the data directory itself).
    pub async fn sync_directory(&self, path: &str) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.sync_directory(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.sync_directory(path).await,
        }
    }

    /// The directory's entries, sorted by name.
    pub async fn list(&self, path: &str) -> io::Result<Vec<DirectoryEntry>> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.list(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.list(path).await,
        }
    }

    /// Many directories at once, each with the content of its file `small_file`, in the order asked for; `None` where
    /// there is no directory. What the file system has to fetch for them is fetched side by side.
    pub async fn look_into(
        &self,
        directories: Vec<String>,
        small_file: &'static str,
        length_max: usize,
    ) -> io::Result<Vec<Option<DirectoryLook>>> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.look_into(directories, small_file, length_max).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.look_into(directories, small_file, length_max).await,
        }
    }

    /// Has the file system look up, side by side, where the bytes of these files lie. Best effort: without it the first
    /// read or write of each file waits for that alone, and the executor with it.
    pub async fn look_up_places(&self, paths: Vec<String>) {
        match &self.backend {
            DiskBackend::Real(disk) => disk.look_up_places(paths).await,
            // The simulated disk has no such thing as a place.
            #[cfg(feature = "sim")]
            DiskBackend::Sim(_) => {}
        }
    }

    /// Whether a file or directory of that name exists.
    pub async fn exists(&self, path: &str) -> io::Result<bool> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.exists(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.exists(path).await,
        }
    }

    /// A whole small file, at most `length_max` bytes (longer: `InvalidData`).
    pub async fn read_small(&self, path: &str, length_max: usize) -> io::Result<Vec<u8>> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.read_small(path, length_max).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.read_small(path, length_max).await,
        }
    }

    /// Replaces a small file atomically and durably: temporary name (`path` with `.tmp` appended), fsync, rename,
    /// fsync of the directory.
    pub async fn write_small(&self, path: &str, content: &[u8]) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.write_small(path, content, true).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.write_small(path, content, true).await,
        }
    }

    /// Replaces a small file atomically for every process, not durably: after a power cut it may be the old one, the new
    /// one, or neither whole. For files that check themselves and can be made again.
    pub async fn replace_small(&self, path: &str, content: &[u8]) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.write_small(path, content, false).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.write_small(path, content, false).await,
        }
    }

    /// Makes every completed write of the whole file system durable up to the device's cache (`syncfs`, on a
    /// thread of its own).
    pub async fn sync_filesystem(&self) -> io::Result<()> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.sync_filesystem().await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.sync_filesystem().await,
        }
    }

    /// Bytes that the file occupies, also where they were allocated behind its length.
    pub async fn allocated_bytes(&self, path: &str) -> io::Result<u64> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.allocated_bytes(path).await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.allocated_bytes(path).await,
        }
    }

    /// Bytes free for this process on the file system.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.space().await?.free_bytes)
    }

    /// How large the file system is, and how much of it is free for this process.
    pub async fn space(&self) -> io::Result<Space> {
        match &self.backend {
            DiskBackend::Real(disk) => disk.space().await,
            #[cfg(feature = "sim")]
            DiskBackend::Sim(disk) => disk.space().await,
        }
    }

    /// A zeroed buffer for direct writes; `length` is rounded up to whole blocks, at least one.
    pub fn allocate_buffer(&self, length: usize) -> AlignedBuffer {
        let length = length.max(1).next_multiple_of(BLOCK_BYTES);
        match &self.backend {
            DiskBackend::Real(_) => AlignedBuffer {
                backend: BufferBackend::Real(AlignedMemory::zeroed(length)),
            },
            #[cfg(feature = "sim")]
            DiskBackend::Sim(_) => sim::allocate_buffer(length),
        }
    }

    /// As [`Disk::allocate_buffer`] for a caller that overwrites the first `filled` bytes, every one of them: what they
    /// hold before is undefined. Zeroing what is copied over would cost as much as copying it.
    pub fn allocate_buffer_to_fill(&self, filled: usize) -> AlignedBuffer {
        let length = filled.max(1).next_multiple_of(BLOCK_BYTES);
        match &self.backend {
            DiskBackend::Real(_) => AlignedBuffer {
                backend: BufferBackend::Real(AlignedMemory::to_fill(length, filled)),
            },
            #[cfg(feature = "sim")]
            DiskBackend::Sim(_) => sim::allocate_buffer_to_fill(length, filled),
        }
    }
}

/// An open file for direct I/O. Cheap to clone (reference counted); closes when the last clone and the last
/// operation in flight are gone.
#[derive(Clone)]
pub struct File {
    backend: FileBackend,
}

#[derive(Clone)]
enum FileBackend {
    Real(real::RealFile),
    #[cfg(feature = "sim")]
    Sim(sim::SimFile),
}

impl File {
    /// Writes the whole buffer at `position`; both are multiples of [`BLOCK_BYTES`]. The buffer belongs to the
    /// operation until it completes, also when the future is dropped. Short writes are continued.
    pub async fn write_at(&self, buffer: AlignedBuffer, position: u64) -> io::Result<()> {
        assert!(
            position.is_multiple_of(BLOCK_BYTES as u64),
            "unaligned direct write"
        );
        match (&self.backend, buffer.backend) {
            (FileBackend::Real(file), BufferBackend::Real(buffer)) => {
                file.write_at(buffer, position).await
            }
            #[cfg(feature = "sim")]
            (FileBackend::Sim(file), BufferBackend::Sim(buffer)) => {
                file.write_at(buffer, position).await
            }
            #[cfg(feature = "sim")]
            _ => panic!("a buffer of the other backend"),
        }
    }

    /// Reads up to `length` bytes at any position; shorter only at the end of the file. Aligns internally; split
    /// into operations of at most 1 MiB.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<bytes::Bytes> {
        match &self.backend {
            FileBackend::Real(file) => file.read_at(position, length).await,
            #[cfg(feature = "sim")]
            FileBackend::Sim(file) => file.read_at(position, length).await,
        }
    }

    /// Makes the file's data (and its length) durable.
    pub async fn fdatasync(&self) -> io::Result<()> {
        match &self.backend {
            FileBackend::Real(file) => file.fdatasync().await,
            #[cfg(feature = "sim")]
            FileBackend::Sim(file) => file.fdatasync().await,
        }
    }

    /// Allocates space for the byte range without changing the length (`fallocate` KEEP_SIZE).
    pub async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        match &self.backend {
            FileBackend::Real(file) => file.allocate(position, length).await,
            #[cfg(feature = "sim")]
            FileBackend::Sim(file) => file.allocate(position, length).await,
        }
    }

    /// Sets the exact length in bytes.
    pub async fn truncate(&self, length: u64) -> io::Result<()> {
        match &self.backend {
            FileBackend::Real(file) => file.truncate(length).await,
            #[cfg(feature = "sim")]
            FileBackend::Sim(file) => file.truncate(length).await,
        }
    }

    /// The length in bytes.
    pub async fn length(&self) -> io::Result<u64> {
        match &self.backend {
            FileBackend::Real(file) => file.length(),
            #[cfg(feature = "sim")]
            FileBackend::Sim(file) => file.length(),
        }
    }
}

/// Memory aligned to [`BLOCK_BYTES`] (in the simulator: not), a whole number of blocks long.
pub struct AlignedBuffer {
    backend: BufferBackend,
}

enum BufferBackend {
    Real(AlignedMemory),
    #[cfg(feature = "sim")]
    Sim(Vec<u8>),
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.backend {
            BufferBackend::Real(buffer) => buffer,
            #[cfg(feature = "sim")]
            BufferBackend::Sim(buffer) => buffer,
        }
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.backend {
            BufferBackend::Real(buffer) => buffer,
            #[cfg(feature = "sim")]
            BufferBackend::Sim(buffer) => buffer,
        }
    }
}
