//! What this process asks of the kernel's memory management.

use std::io;

/// A flag of PR_SET_THP_DISABLE since Linux 6.18.
const EXCEPT_ADVISED: libc::c_ulong = 1 << 1;

/// Asks the kernel to back this process, and what it starts, with base pages, except where it asks for huge ones.
///
/// The kernel clears a transparent huge page (2 MiB) inside the fault that first touches it. That is some hundred
/// microseconds on bare metal and milliseconds in a virtual machine, on an executor's own core: every request of the
/// shard waits for it. Cleared page by page the same memory costs a little more in all, but no one request. Memory for
/// direct I/O does ask for huge pages, and has another thread touch them first (`uring/pages.rs`).
///
/// A kernel before 6.18 knows no exception: there the process gets no huge page at all if the host's default is to give
/// them to everybody.
///
/// To be called before threads start and memory is touched. Errors: what prctl(2) answers (a kernel before 3.15).
pub fn decline_huge_pages() -> io::Result<()> {
    match disable_huge_pages(EXCEPT_ADVISED) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        result => return result,
    }
    // Nobody but the memory for direct I/O asks for them.
    let host = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if host.is_ok_and(|chosen| !chosen.contains("[always]")) {
        return Ok(());
    }
    disable_huge_pages(0)
}

fn disable_huge_pages(flags: libc::c_ulong) -> io::Result<()> {
    const NOTHING: libc::c_ulong = 0;
    const YES: libc::c_ulong = 1;
    // SAFETY: PR_SET_THP_DISABLE reads its four integers and sets a flag of the process.
    let answer = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, YES, flags, NOTHING, NOTHING) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_declined_huge_pages_gets_none_that_it_did_not_ask_for() {
        super::decline_huge_pages().unwrap();
        let chosen = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let by_host = chosen.is_ok_and(|chosen| !chosen.contains("[always]"));
        // SAFETY: PR_GET_THP_DISABLE takes no pointers.
        let declined = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        let has_no_exception = || super::disable_huge_pages(super::EXCEPT_ADVISED).is_err();
        assert!(
            declined > 0 || (by_host && has_no_exception()),
            "{declined}"
        );
    }
}
