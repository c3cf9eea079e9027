//! The file half of the platform seam: directories, files, direct I/O, aligned buffers.
//!
//! Two variants of each type: glommio on a real file system, and (feature `sim`) the simulated disk of
//! RELIABILITY §4. Paths are relative to the data directory the [`Disk`] was opened on.

use std::io;

/// The alignment, in bytes, of file positions, lengths and memory for direct I/O.
pub const BLOCK_BYTES: usize = 4096;

/// One data directory as seen from one executor. Cheap to clone, never leaves its thread.
#[derive(Clone)]
pub struct Disk {
    _backend: std::rc::Rc<()>,
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

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, for reading only, no lock.
    Read,
    /// Existing file, for reading and writing; waits for its exclusive `flock` (STORAGE C5).
    Write,
    /// As `Write`; created (and emptied) if need be. The caller syncs the directory.
    Create,
}

impl Disk {
    /// Opens a file for direct I/O.
    pub async fn open(&self, path: &str, mode: OpenMode) -> io::Result<File> {
        let _ = (path, mode);
        unreachable!("platform backend not landed")
    }
    /// Makes a directory; succeeds if it exists. The caller syncs the parent.
    pub async fn create_directory(&self, path: &str) -> io::Result<()> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// Renames a file or directory, replacing an existing file. The caller syncs the parents.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let _ = (from, to);
        unreachable!("platform backend not landed")
    }
    /// Removes a file. The caller syncs the parent.
    pub async fn remove_file(&self, path: &str) -> io::Result<()> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// Removes an empty directory. The caller syncs the parent.
    pub async fn remove_directory(&self, path: &str) -> io::Result<()> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// Makes the directory's entries durable (`""` is the data directory itself).
    pub async fn sync_directory(&self, path: &str) -> io::Result<()> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// The directory's entries, sorted by name.
    pub async fn list(&self, path: &str) -> io::Result<Vec<DirectoryEntry>> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// Whether a file or directory of that name exists.
    pub async fn exists(&self, path: &str) -> io::Result<bool> {
        let _ = path;
        unreachable!("platform backend not landed")
    }
    /// A whole small file, at most `length_max` bytes (longer: `InvalidData`).
    pub async fn read_small(&self, path: &str, length_max: usize) -> io::Result<Vec<u8>> {
        let _ = (path, length_max);
        unreachable!("platform backend not landed")
    }
    /// Replaces a small file atomically and durably: temporary name, fsync, rename, fsync of the directory.
    pub async fn write_small(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let _ = (path, content);
        unreachable!("platform backend not landed")
    }
    /// Makes every completed write of the whole file system durable up to the device's cache (`syncfs`, on a
    /// thread of its own).
    pub async fn sync_filesystem(&self) -> io::Result<()> {
        unreachable!("platform backend not landed")
    }
    /// Bytes free for this process on the file system.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        unreachable!("platform backend not landed")
    }
    /// A zeroed buffer for direct writes; `length` is rounded up to whole blocks.
    pub fn allocate_buffer(&self, length: usize) -> AlignedBuffer {
        let _ = length;
        unreachable!("platform backend not landed")
    }
}

/// An open file for direct I/O. Cheap to clone (reference counted); closes when the last clone and the last
/// operation in flight are gone.
#[derive(Clone)]
pub struct File {
    _backend: std::rc::Rc<()>,
}

impl File {
    /// Writes the whole buffer at `position`; both are multiples of [`BLOCK_BYTES`]. The buffer belongs to the
    /// operation until it completes, also when the future is dropped. Short writes are continued.
    pub async fn write_at(&self, buffer: AlignedBuffer, position: u64) -> io::Result<()> {
        let _ = (buffer, position);
        unreachable!("platform backend not landed")
    }
    /// Reads up to `length` bytes at any position; shorter only at the end of the file. Aligns internally; split
    /// into operations of at most 512 KiB.
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<bytes::Bytes> {
        let _ = (position, length);
        unreachable!("platform backend not landed")
    }
    /// Makes the file's data (and its length) durable.
    pub async fn fdatasync(&self) -> io::Result<()> {
        unreachable!("platform backend not landed")
    }
    /// Allocates space for the byte range without changing the length (`fallocate` KEEP_SIZE).
    pub async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        let _ = (position, length);
        unreachable!("platform backend not landed")
    }
    /// Sets the exact length in bytes.
    pub async fn truncate(&self, length: u64) -> io::Result<()> {
        let _ = length;
        unreachable!("platform backend not landed")
    }
    /// The length in bytes.
    pub async fn length(&self) -> io::Result<u64> {
        unreachable!("platform backend not landed")
    }
}

/// Memory aligned to [`BLOCK_BYTES`], a whole number of blocks long.
pub struct AlignedBuffer {
    _backend: (),
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unreachable!("platform backend not landed")
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        unreachable!("platform backend not landed")
    }
}
