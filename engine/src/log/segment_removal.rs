//! Takes the files of segments below a log start off the disk, as Kafka does: first another name, then, after
//! `file.delete.delay.ms`, nothing. On the shard's core, one task per removal.
//!
//! Invariant: the log start is durable and the segment off the list before this begins, and nothing writes to its files
//! any more when they are renamed (STORAGE C4). Whatever a crash leaves is removed by the next start, which knows the
//! log start, so no step here is needed for correctness.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::file_removal;
use super::index::SIDECAR_EXTENSION;
use super::segment::{SegmentInfo, segment_file_name};
use super::storage_shard::{Partition, Shard};
use crate::types::{Offset, PartitionId};

/// Kafka's ending for files that wait for their deletion.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// The files of a segment; the log goes last, so that what is left after a crash names its segment.
const EXTENSIONS: [&str; 5] = [SIDECAR_EXTENSION, "index", "timeindex", "txnindex", "log"];

/// Removes the segments that lie wholly below the partition's log start, in the background.
pub(crate) fn remove_below_log_start(shard: &Rc<Shard>, partition: &mut Partition) {
    let log_start = partition.log.offsets().log_start();
    let removed = partition.log.apply_log_start(log_start);
    start(shard, partition, removed);
}

/// Removes segments that the log no longer has, in the background.
pub(crate) fn start(shard: &Rc<Shard>, partition: &mut Partition, removed: Vec<SegmentInfo>) {
    let Some(last) = removed.last() else { return };
    let removal = Removal {
        id: partition.log.id(),
        directory: partition.directory.clone(),
        end: first_base_behind(partition, last.base_offset),
        delay: Duration::from_millis(
            u64::try_from(partition.log.config().file_delete_delay_ms).unwrap_or(0),
        ),
        bases: removed.iter().map(|segment| segment.base_offset).collect(),
    };
    // Batches of these segments that are not written yet would otherwise wait for company.
    partition.writer.hurry(removal.end);
    if partition.writer.is_ready() {
        shard.write_ready.borrow_mut().push_back(removal.id);
        shard.write_work.notify_one();
    }
    partition.removals += 1;
    shard.tasks.set(shard.tasks.get() + 1);
    let task = shard.clone();
    shard.runtime.spawn(async move {
        carry_out(&task, removal).await;
        task.task_ended();
    });
}

struct Removal {
    id: PartitionId,
    directory: Rc<str>,
    bases: Vec<Offset>,
    /// Where the first segment behind them begins.
    end: Offset,
    delay: Duration,
}

fn first_base_behind(partition: &Partition, base: Offset) -> Offset {
    let segments = partition.log.segments().as_slice();
    let behind = segments.iter().find(|segment| segment.base_offset > base);
    behind.map_or(partition.log.offsets().log_end(), |segment| {
        segment.base_offset
    })
}

async fn carry_out(shard: &Rc<Shard>, removal: Removal) {
    let renamed = match wait_until_unused(shard, &removal).await {
        true => rename(shard, &removal).await,
        false => Ok(()),
    };
    if let Err(error) = &renamed {
        tracing::warn!(directory = &*removal.directory, %error, "files of deleted segments stay until the next start");
    }
    let there = shard
        .with_partition(removal.id, |partition| partition.removals -= 1)
        .is_some();
    shard.written.notify_all();
    if !there || renamed.is_err() {
        return;
    }
    shard.pause(removal.delay).await;
    if shard.stopping.get() {
        return;
    }
    // The directory of a deleted topic goes as a whole.
    let there = shard.with_partition(removal.id, |partition| !partition.closing) == Some(true);
    if there && let Err(error) = unlink(shard, &removal).await {
        tracing::warn!(directory = &*removal.directory, %error, "files of deleted segments stay until the next start");
    }
}

/// Waits until write-behind is past the segments and none of them is being sealed. False if that will not come.
async fn wait_until_unused(shard: &Shard, removal: &Removal) -> bool {
    loop {
        let progress = shard.written.notified();
        let unused = shard.with_partition(removal.id, |partition| {
            let sealing = removal
                .bases
                .iter()
                .any(|base| partition.sealing.contains(base));
            partition.writer.written_end() >= removal.end && !sealing
        });
        match unused {
            None => return false,
            Some(true) => return true,
            Some(false) if shard.journal.poison().is_some() => return false,
            Some(false) => {
                let _ = shard
                    .runtime
                    .timeout(Duration::from_millis(50), progress)
                    .await;
            }
        }
    }
}

async fn rename(shard: &Shard, removal: &Removal) -> io::Result<()> {
    for base in &removal.bases {
        for extension in EXTENSIONS {
            let path = format!(
                "{}/{}",
                removal.directory,
                segment_file_name(*base, extension)
            );
            found(
                shard
                    .disk
                    .rename(&path, &format!("{path}{DELETED_SUFFIX}"))
                    .await,
            )?;
        }
        shard.files.forget(removal.id, *base);
        shard.indexes.forget(removal.id, *base);
        shard.readers.forget(removal.id, *base);
    }
    shard.disk.sync_directory(&removal.directory).await
}

async fn unlink(shard: &Shard, removal: &Removal) -> io::Result<()> {
    for base in &removal.bases {
        for extension in EXTENSIONS {
            let name = segment_file_name(*base, extension);
            let path = format!("{}/{name}{DELETED_SUFFIX}", removal.directory);
            if !file_removal::remove(shard, &path).await? {
                return Ok(());
            }
        }
    }
    shard.disk.sync_directory(&removal.directory).await
}

/// A file that is not there needs no change.
fn found(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
