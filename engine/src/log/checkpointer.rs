//! Takes checkpoints of one shard (DESIGN §5.5). On the shard's core, one task per shard.
//!
//! Invariant (C2): a checkpoint is the state behind one group and nothing later, copied without an await; it is written
//! only when every segment write of the groups up to there has completed and is flushed; and a journal file is freed
//! only when both files of the pair are past it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::checkpoint::{CheckpointCopy, CheckpointFile, CheckpointHeader, checkpoint_path};
use super::checkpoint_body::encode_body;
use super::journal::files::TIDELOG_DIRECTORY;
use super::journal::group::ChainEnd;
use super::sidecar_refresh;
use super::storage_shard::Shard;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::{Offset, PartitionId, ShardId};

/// How long to wait after a checkpoint found no space.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The two checkpoint files of a shard and what they hold.
pub(crate) struct Checkpointer {
    files: [CheckpointFile; 2],
    /// Group numbers of this generation that each file is past; 0 for a file of an older generation.
    groups: [u64; 2],
    /// The version of the segment lists in each file.
    versions: [u64; 2],
    next: CheckpointCopy,
    sequence: u64,
    flush_file: File,
}

impl Checkpointer {
    /// Opens both files, with their space.
    pub(crate) async fn open(disk: &Disk, shard: ShardId) -> io::Result<Checkpointer> {
        let a =
            CheckpointFile::open(disk, &checkpoint_path(Some(shard), CheckpointCopy::A)).await?;
        let b =
            CheckpointFile::open(disk, &checkpoint_path(Some(shard), CheckpointCopy::B)).await?;
        let flush_file =
            open_flush_file(disk, &format!("{TIDELOG_DIRECTORY}/flush-{}", shard.0)).await?;
        disk.sync_directory(TIDELOG_DIRECTORY).await?;
        Ok(Checkpointer {
            files: [a, b],
            groups: [0, 0],
            versions: [0, 0],
            next: CheckpointCopy::A,
            sequence: 0,
            flush_file,
        })
    }

    /// Takes one checkpoint: everything up to the journal's last flushed group.
    pub(crate) async fn take(&mut self, shard: &Rc<Shard>) -> io::Result<()> {
        let cut = shard.journal.end();
        shard.written_since_checkpoint.set(0);
        let version = shard.segments_version.get();
        let (body, ends) = {
            let partitions = shard.partitions.borrow();
            let snapshots: Vec<_> = partitions
                .values()
                .map(|partition| partition.log.snapshot())
                .collect();
            let ends: Vec<_> = snapshots
                .iter()
                .map(|snapshot| (snapshot.id, snapshot.end_offset))
                .collect();
            (encode_body(&snapshots), ends)
        };
        let early = crate::planted::is(crate::planted::Bug::RecycleBeforeCheckpoint);
        if early {
            shard.journal.release(cut.group_number);
        }
        write_behind_up_to(shard, &cut).await?;
        let asked = shard
            .partitions
            .borrow()
            .values()
            .any(|partition| partition.log.config().flushes);
        if shard.settings.flushes() || asked {
            force_device_flush(&shard.disk, &self.flush_file).await?;
        }
        // A flush of a single segment that failed meanwhile may have dropped what this one should have made durable,
        // and only that one was told.
        if let Some(cause) = shard.journal.poison() {
            return Err(io::Error::other(cause.to_string()));
        }
        self.sequence += 1;
        let header = CheckpointHeader {
            generation: shard.journal.generation(),
            shard: Some(shard.id),
            sequence: self.sequence,
            cut,
        };
        let index = self.next as usize;
        self.files[index].write(&shard.disk, &header, &body).await?;
        self.groups[index] = cut.group_number;
        self.versions[index] = version;
        self.tell(shard, index, ends);
        self.next = self.next.other();
        // Ahead of growth (C12c); without space for that the checkpoint still counts.
        let ahead = 2 * (BLOCK_BYTES + body.len()) as u64;
        for file in &mut self.files {
            let _ = file.reserve(ahead).await;
        }
        shard.journal.release(self.groups[0].min(self.groups[1]));
        shard.count(|counters| counters.checkpoints += 1);
        Ok(())
    }

    /// Who wants to replace segments may go by this.
    fn tell(&self, shard: &Shard, index: usize, ends: Vec<(PartitionId, Offset)>) {
        let mut partitions = shard.partitions.borrow_mut();
        for (id, end) in ends {
            if let Some(partition) = partitions.get_mut(&id) {
                partition.checkpointed[index] = end;
            }
        }
        shard
            .checkpointed_group
            .set(self.groups[0].min(self.groups[1]));
        shard
            .segments_checkpointed
            .set(self.versions[0].min(self.versions[1]));
    }

    /// Whether a checkpoint would say more than both files do.
    pub(crate) fn is_behind(&self, shard: &Shard) -> bool {
        self.groups[0].min(self.groups[1]) < shard.journal.end().group_number
            || self.versions[0].min(self.versions[1]) < shard.segments_version.get()
    }
}

/// The loop: a checkpoint when journal files run short or a start would have much to read again, and at the interval.
pub(crate) async fn run(shard: &Rc<Shard>, mut checkpointer: Checkpointer) -> Checkpointer {
    let interval = Duration::from_millis(shard.settings.checkpoint_interval_ms.max(1));
    loop {
        let work = shard.checkpoint_work.notified();
        // The journal may need files freed until its very last group.
        if shard.stopping.get() && shard.journal.is_stopped() {
            return checkpointer;
        }
        if shard.journal.poison().is_some() {
            work.await;
            continue;
        }
        // One checkpoint frees what the one before it covers: when files are short, the next follows at once.
        if !(shard.journal.is_short() && checkpointer.is_behind(shard)) {
            let _ = shard.runtime.timeout(interval, work).await;
        }
        if !checkpointer.is_behind(shard) || shard.journal.poison().is_some() {
            continue;
        }
        match checkpointer.take(shard).await {
            Ok(()) if shard.stopping.get() => {}
            Ok(()) => sidecar_refresh::refresh(shard).await,
            Err(error) if super::admission::is_out_of_space(&error) => {
                tracing::warn!(
                    shard = shard.id.0,
                    "no space for a checkpoint; trying again"
                );
                shard.runtime.sleep(RETRY_AFTER).await;
            }
            Err(error) => shard
                .journal
                .poison_with(&format!("checkpoint of shard {}: {error}", shard.id)),
        }
    }
}

/// Waits until every batch of the groups up to the cut is in its segment.
async fn write_behind_up_to(shard: &Rc<Shard>, cut: &ChainEnd) -> io::Result<()> {
    loop {
        let progress = shard.written.notified();
        shard
            .write_up_to
            .set(shard.write_up_to.get().max(cut.group_number));
        shard.write_work.notify_one();
        if let Some(cause) = shard.journal.poison() {
            return Err(io::Error::other(cause.to_string()));
        }
        let behind = shard.partitions.borrow().values().any(|partition| {
            partition
                .writer
                .oldest_group()
                .is_some_and(|group| group <= cut.group_number)
        });
        if !behind {
            return Ok(());
        }
        progress.await;
    }
}

/// Makes everything written so far durable: `syncfs`, then a flush of a file just written, which no file system may
/// answer without flushing the device.
pub(crate) async fn force_device_flush(disk: &Disk, flush_file: &File) -> io::Result<()> {
    disk.sync_filesystem().await?;
    flush_file
        .write_at(disk.allocate_buffer(BLOCK_BYTES), 0)
        .await?;
    flush_file.fdatasync().await
}

/// The file that is written only to be flushed.
pub(crate) async fn open_flush_file(disk: &Disk, path: &str) -> io::Result<File> {
    let exists = disk.exists(path).await?;
    let file = disk
        .open(
            path,
            if exists {
                OpenMode::Write
            } else {
                OpenMode::Create
            },
        )
        .await?;
    file.allocate(0, BLOCK_BYTES as u64).await?;
    Ok(file)
}
