//! Takes files off the disk a step at a time, so that nobody waits behind it. On the shard's core.
//!
//! A file system that tells its device what it has freed (mounted with `discard`) keeps the device busy with that: a
//! mebibyte may take a third of a millisecond, a segment hundreds, and whoever waits for the journal's next flush waits for
//! all of it. So a long file gets shorter step by step, with rests between that leave the disk to everybody else. Every
//! step is flushed: a file system with a journal of its own would gather them until its next commit.
//!
//! Whatever a stop or a crash leaves is removed after the next start: the file has a name that says so.

use std::io;
use std::time::Duration;

use super::storage_shard::Shard;
use crate::platform::OpenMode;

/// A rest is so many times as long as what it follows.
const REST_FACTOR: u32 = 3;

/// Removes several files, with rests between.
pub(crate) struct FileRemoval<'a> {
    shard: &'a Shard,
    /// Since the last rest: bytes, and how long they took.
    freed_bytes: u64,
    took: Duration,
}

impl FileRemoval<'_> {
    pub(crate) fn new(shard: &Shard) -> FileRemoval<'_> {
        FileRemoval {
            shard,
            freed_bytes: 0,
            took: Duration::ZERO,
        }
    }

    /// Removes a file that nobody writes to any more, if it is there; readers may find it short. False if the shard stops
    /// before it is gone. The caller syncs the directory.
    pub(crate) async fn remove(&mut self, path: &str) -> io::Result<bool> {
        match self.remove_existing(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            result => result,
        }
    }

    async fn remove_existing(&mut self, path: &str) -> io::Result<bool> {
        let disk = &self.shard.disk;
        let step = self.shard.settings.removal_step_bytes;
        // Also what was allocated ahead, behind the file's length: the first steps may make it longer, and take that.
        let mut left = disk.allocated_bytes(path).await?;
        if left > step {
            let file = disk.open(path, OpenMode::Write).await?;
            while left > step {
                left -= step;
                let shorter = async {
                    file.truncate(left).await?;
                    file.fdatasync().await
                };
                self.take(step, shorter).await?;
                if self.shard.stopping.get() {
                    return Ok(false);
                }
            }
        }
        self.take(left, disk.remove_file(path)).await?;
        Ok(true)
    }

    async fn take(
        &mut self,
        bytes: u64,
        work: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        let begun = self.shard.runtime.monotonic();
        work.await?;
        self.took += self.shard.runtime.monotonic().saturating_sub(begun);
        self.freed_bytes += bytes;
        if self.freed_bytes >= self.shard.settings.removal_step_bytes {
            self.shard.pause(self.took * REST_FACTOR).await;
            (self.freed_bytes, self.took) = (0, Duration::ZERO);
        }
        Ok(())
    }
}
