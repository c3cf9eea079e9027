//! The few system calls of the host checks that the standard library does not offer.
//!
//! The only `unsafe` code of the host checks; each function makes one call and turns its result into plain values.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Bytes free for this user, and bytes altogether, of the file system that a path is on.
pub(crate) fn space(path: &Path) -> Option<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero byte; the kernel writes a whole `struct statvfs` into `answer` if it returns 0.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call returned 0, so the structure is filled.
    let answer = unsafe { answer.assume_init() };
    let block = answer.f_frsize;
    Some((
        answer.f_bavail.saturating_mul(block),
        answer.f_blocks.saturating_mul(block),
    ))
}

/// Whether the kernel holds its wall clock to be synchronised.
pub(super) fn clock_is_synchronised() -> Option<bool> {
    let mut answer = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zero is a valid request (`modes` 0 changes nothing); the kernel writes the structure.
    let state = unsafe { libc::adjtimex(answer.as_mut_ptr()) };
    if state < 0 {
        return None;
    }
    // SAFETY: it was zeroed, which is a valid value, and then written by the kernel.
    let answer = unsafe { answer.assume_init() };
    Some(state != libc::TIME_ERROR && answer.status & libc::STA_UNSYNC == 0)
}
