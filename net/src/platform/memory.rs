//! What this process asks of the kernel's memory management.

use std::io;

/// Asks the kernel to back this process, and what it starts, with base pages only.
///
/// The kernel clears a transparent huge page (2 MiB) inside the fault that first touches it. That is some hundred
/// microseconds on bare metal and milliseconds in a virtual machine, on an executor's own core: every request of the
/// shard waits for it. Cleared page by page the same memory costs a little more in all, but no one request.
///
/// To be called before threads start and memory is touched. Errors: what prctl(2) answers (a kernel before 3.15).
pub fn decline_huge_pages() -> io::Result<()> {
    // SAFETY: PR_SET_THP_DISABLE reads its four integers and sets a flag of the process.
    let answer = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_declined_huge_pages_gets_none() {
        super::decline_huge_pages().unwrap();
        // SAFETY: PR_GET_THP_DISABLE takes no pointers.
        let declined = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        assert_eq!(declined, 1);
    }
}
