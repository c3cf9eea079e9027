//! Direct file operations on the executor's ring, for the file half of the seam.
//!
//! Invariant: the descriptor and the memory of an operation are owned by it until the kernel is done.

use std::alloc::Layout;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;

use io_uring::{opcode, types::Fd, types::FsyncFlags};

use super::executor::UringRuntime;
use crate::platform::Runtime;

/// Alignment of memory for direct I/O, in bytes.
const ALIGNMENT: usize = 4096;

/// Memory aligned to 4,096 bytes, of a fixed length.
pub struct AlignedMemory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its memory alone, as a boxed slice does, and nothing in it belongs to a thread.
unsafe impl Send for AlignedMemory {}
// SAFETY: through a shared reference it can only be read.
unsafe impl Sync for AlignedMemory {}

impl AlignedMemory {
    /// `length` bytes (not 0), all zero.
    pub fn zeroed(length: usize) -> AlignedMemory {
        let layout = layout(length);
        // SAFETY: the layout's size is not 0.
        AlignedMemory::owning(unsafe { std::alloc::alloc_zeroed(layout) }, layout)
    }

    /// `length` bytes (not 0) of which the first `filled` hold anything and the rest zeros: for a caller who overwrites
    /// those first ones, every one of them.
    pub fn to_fill(length: usize, filled: usize) -> AlignedMemory {
        let layout = layout(length);
        // SAFETY: the layout's size is not 0.
        let start = unsafe { std::alloc::alloc(layout) };
        let memory = AlignedMemory::owning(start, layout);
        // A caller who keeps no promise reads a pattern in tests, and what another batch left elsewhere.
        if cfg!(debug_assertions) {
            // SAFETY: the memory is `length` bytes long.
            unsafe { start.write_bytes(0xa5, length) };
        }
        let filled = filled.min(length);
        // SAFETY: `filled` is within the memory.
        let rest = unsafe { start.add(filled) };
        // SAFETY: as many bytes are behind it.
        unsafe { rest.write_bytes(0, length - filled) };
        memory
    }

    fn owning(start: *mut u8, layout: Layout) -> AlignedMemory {
        let Some(start) = NonNull::new(start) else {
            std::alloc::handle_alloc_error(layout)
        };
        AlignedMemory { start, layout }
    }
}

fn layout(length: usize) -> Layout {
    assert!(length > 0, "memory for I/O is not empty");
    Layout::from_size_align(length, ALIGNMENT).expect("lengths are far below the address space")
}

impl Drop for AlignedMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nobody uses it any more.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl std::ops::Deref for AlignedMemory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is this long and initialised, or promised to be before anybody looks (`to_fill`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl AsRef<[u8]> for AlignedMemory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::ops::DerefMut for AlignedMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

/// An open file. Cheap to clone; closed when the last clone and the last operation are gone.
#[derive(Clone)]
pub struct DirectFile {
    runtime: UringRuntime,
    descriptor: Rc<OwnedFd>,
}

impl AsRawFd for DirectFile {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl DirectFile {
    /// Opens `path` with the flags of open(2) (`O_DIRECT` and `O_CLOEXEC` are added) and, if it is made, `mode`. Panics
    /// on a simulated runtime.
    pub async fn open(
        runtime: &Runtime,
        path: &Path,
        flags: libc::c_int,
        mode: libc::mode_t,
    ) -> io::Result<DirectFile> {
        let runtime = runtime.uring().clone();
        let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let entry = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
            .flags(flags | libc::O_DIRECT | libc::O_CLOEXEC)
            .mode(mode)
            .build();
        // SAFETY: the text that the entry points to is on the heap, and owned by the operation.
        let opened = unsafe { runtime.ring().start(entry, path) };
        let (descriptor, _path) = opened.await;
        let descriptor = RawFd::try_from(descriptor?).expect("descriptors are small");
        // SAFETY: the kernel just made the descriptor, and nobody else owns it.
        let descriptor = Rc::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
        Ok(DirectFile {
            runtime,
            descriptor,
        })
    }

    /// Starts writing `memory` from byte `from` on at `position`, both aligned; resolves to the bytes written, which may
    /// be fewer.
    pub fn write(
        &self,
        memory: AlignedMemory,
        from: usize,
        position: u64,
    ) -> impl Future<Output = (io::Result<usize>, AlignedMemory)> + use<> {
        let rest = &memory[from..];
        let length = u32::try_from(rest.len()).expect("one write is far below 4 GiB");
        let entry = opcode::Write::new(Fd(self.as_raw_fd()), rest.as_ptr(), length)
            .offset(position)
            .build();
        let owned = (self.descriptor.clone(), memory);
        // SAFETY: the descriptor and the memory, which lies on the heap, are owned by the operation.
        let writing = unsafe { self.runtime.ring().start(entry, owned) };
        async move {
            let (result, (_descriptor, memory)) = writing.await;
            (result, memory)
        }
    }

    /// Starts reading at `position` into `memory`, all of it; resolves to the bytes read, fewer only at the end of the file.
    pub fn read(
        &self,
        memory: AlignedMemory,
        position: u64,
    ) -> impl Future<Output = (io::Result<usize>, AlignedMemory)> + use<> {
        let length = u32::try_from(memory.len()).expect("one read is far below 4 GiB");
        let entry = opcode::Read::new(Fd(self.as_raw_fd()), memory.start.as_ptr(), length)
            .offset(position)
            .build();
        let owned = (self.descriptor.clone(), memory);
        // SAFETY: the descriptor and the memory, which lies on the heap, are owned by the operation.
        let reading = unsafe { self.runtime.ring().start(entry, owned) };
        async move {
            let (result, (_descriptor, memory)) = reading.await;
            (result, memory)
        }
    }

    /// Makes the file's data and its length durable.
    pub fn fdatasync(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let entry = opcode::Fsync::new(Fd(self.as_raw_fd()))
            .flags(FsyncFlags::DATASYNC)
            .build();
        // SAFETY: the descriptor is owned by the operation.
        let flushing = unsafe { self.runtime.ring().start(entry, self.descriptor.clone()) };
        async move { flushing.await.0.map(drop) }
    }
}
