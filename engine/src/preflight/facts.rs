//! Gathers what the preflight judges: asks the kernel, raises limits, tries the data directory.

use super::syscalls::{self, Resource};
use super::{DirectoryFacts, Facts, Needs};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// The file with which the data directory is tried; removed at once.
const PROBE_FILE: &str = ".tidelog-preflight";

/// Looks at the host. Raises the soft limits on descriptors and locked memory to the hard ones, and creates the data
/// directory if it is not there.
pub fn gather(needs: &Needs) -> Facts {
    // Limits first: a ring needs both.
    let memlock = syscalls::raise_limit(Resource::LockedMemory);
    let descriptors = syscalls::raise_limit(Resource::Descriptors);
    Facts {
        shards: needs.shards,
        durability: needs.durability,
        kernel: read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        ring: syscalls::probe_ring(),
        io_uring_disabled: read_trimmed("/proc/sys/kernel/io_uring_disabled")
            .and_then(|text| text.parse().ok()),
        seccomp: read_trimmed("/proc/self/status")
            .as_deref()
            .and_then(seccomp_mode),
        locks_freely: tuning::host::locks_freely(),
        memlock,
        descriptors,
        directory: try_directory(&needs.data_directory),
    }
}

fn read_trimmed(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The number after `Seccomp:` in `/proc/self/status`.
pub(super) fn seccomp_mode(status: &str) -> Option<u8> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok())
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn try_directory(path: &Path) -> DirectoryFacts {
    let created = fs::create_dir_all(path).map_err(|error| errno(&error));
    let (writable, direct) = if created.is_ok() {
        try_files(path)
    } else {
        (Ok(()), Ok(()))
    };
    DirectoryFacts {
        path: path.to_owned(),
        created,
        writable,
        direct,
        filesystem: syscalls::filesystem(path),
    }
}

/// Whether a file can be made, and whether it takes a direct write and a flush. Leaves nothing behind.
fn try_files(directory: &Path) -> (Result<(), i32>, Result<(), i32>) {
    let path = directory.join(PROBE_FILE);
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    if let Err(error) = made {
        return (Err(errno(&error)), Ok(()));
    }
    let direct = tuning::host::try_direct(&path).map_err(|error| errno(&error));
    let removed = fs::remove_file(&path).map_err(|error| errno(&error));
    (removed, direct)
}
