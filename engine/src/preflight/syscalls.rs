//! The few system calls of the preflight that the standard library does not offer.
//!
//! The only `unsafe` code of the preflight; each function makes one call and turns its result into a plain value.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Size in bytes of the kernel's `struct io_uring_params`.
const RING_PARAMETERS_BYTES: usize = 120;

fn last_errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

/// Makes a ring of two entries and closes it; the errno if that fails.
pub(super) fn probe_ring() -> Result<(), i32> {
    let mut parameters = [0_u64; RING_PARAMETERS_BYTES / 8];
    // SAFETY: the kernel reads and writes `struct io_uring_params`, 120 bytes, all zero is a valid request; the array
    // is as large, suitably aligned, and lives until the call returns.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_io_uring_setup, 2_u32, parameters.as_mut_ptr()) };
    let Ok(descriptor) = libc::c_int::try_from(descriptor) else {
        return Err(libc::EOVERFLOW);
    };
    if descriptor < 0 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor came from the call above and nobody else knows it.
    unsafe { libc::close(descriptor) };
    Ok(())
}

/// Which limit of the process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource {
    LockedMemory,
    Descriptors,
}

/// Raises the soft limit to the hard one, as far as allowed, and returns what holds then; `None` is no limit.
pub(super) fn raise_limit(resource: Resource) -> Option<u64> {
    let resource = match resource {
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the result and lives until the call returns.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // SAFETY: `raised` is a valid limit, only read by the call; soft is not above hard.
    if unsafe { libc::setrlimit(resource, &raw const raised) } == 0 {
        limit = raised;
    }
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The magic number of the file system that a path is on.
pub(super) fn filesystem(path: &Path) -> Option<i64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends in a zero byte; the kernel writes a whole `struct statfs` into `answer` if it returns 0.
    if unsafe { libc::statfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call returned 0, so the kernel filled the structure.
    let answer = unsafe { answer.assume_init() };
    Some(answer.f_type)
}
