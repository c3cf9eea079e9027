//! Direct file operations on the executor's ring, for the file half of the seam.
//!
//! Invariant: the descriptor and the memory of an operation are owned by it until the kernel is done.

use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use io_uring::{opcode, types::Fd, types::FsyncFlags};

use super::executor::UringRuntime;
use super::pages::AlignedMemory;
use crate::platform::Runtime;

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
        let entry = opcode::Read::new(Fd(self.as_raw_fd()), memory.as_mut_ptr(), length)
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
