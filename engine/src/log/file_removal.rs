//! Takes files off the disk a step at a time, so that nobody waits behind it. On the shard's core.
//!
//! A file system that tells its device what it has freed (mounted with `discard`) keeps the device busy with that: a
//! mebibyte may take a third of a millisecond, a segment hundreds, and whoever waits for the journal's next flush waits for
//! all of it. So a long file gets shorter step by step, with rests between that leave the disk to everybody else. Every
//! step is flushed: a file system with a journal would gather them until its next commit.
//!
//! Invariant: a shard removes one file at a time, however many wait, and has only that one open. Whatever a stop or a crash
//! leaves is removed after the next start: the file has a name that says so.

use std::io;
use std::time::Duration;

use super::storage_shard::Shard;
use crate::platform::OpenMode;

/// A rest is so many times as long as what it follows.
const REST_FACTOR: u32 = 3;
/// After an append was refused for want of space, nobody gains by rests for so long.
const SHORT_OF_SPACE_FOR: Duration = Duration::from_secs(10);

/// What a shard removed since its last rest.
#[derive(Default)]
pub(crate) struct Removed {
    bytes: u64,
    took: Duration,
}

/// Removes a file that nobody writes to any more, if it is there; readers may find it short. False if the shard stops
/// before it is gone. The caller syncs the directory.
pub(crate) async fn remove(shard: &Shard, path: &str) -> io::Result<bool> {
    let mut removed = shard.removed.lock().await;
    match remove_existing(shard, path, &mut removed).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => result,
    }
}

async fn remove_existing(shard: &Shard, path: &str, removed: &mut Removed) -> io::Result<bool> {
    if shard.stopping.get() {
        return Ok(false);
    }
    let step = shard.settings.removal_step_bytes;
    // Also what was allocated ahead, behind the file's length: the first steps may make it longer, and take that.
    let mut left = shard.disk.allocated_bytes(path).await?;
    if left > step {
        let file = shard.disk.open(path, OpenMode::Write).await?;
        while left > step {
            left -= step;
            let shorter = async {
                file.truncate(left).await?;
                file.fdatasync().await
            };
            take(shard, removed, step, shorter).await?;
            if shard.stopping.get() {
                return Ok(false);
            }
        }
    }
    take(shard, removed, left, shard.disk.remove_file(path)).await?;
    Ok(true)
}

/// One step, and a rest when it is time for one.
async fn take(
    shard: &Shard,
    removed: &mut Removed,
    bytes: u64,
    work: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let begun = shard.runtime.monotonic();
    work.await?;
    removed.took += shard.runtime.monotonic().saturating_sub(begun);
    removed.bytes += bytes;
    if removed.bytes >= shard.settings.removal_step_bytes {
        if !is_short_of_space(shard) {
            shard.pause(removed.took * REST_FACTOR).await;
        }
        *removed = Removed::default();
    }
    Ok(())
}

fn is_short_of_space(shard: &Shard) -> bool {
    let (refused, _) = shard.no_space.get();
    let now = shard.runtime.monotonic();
    refused.is_some_and(|at| now.saturating_sub(at) < SHORT_OF_SPACE_FOR)
}
