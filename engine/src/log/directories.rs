//! Partition directories: making them, giving them up, and Kafka's small files in them. On any executor that has the
//! disk.
//!
//! Invariant: a directory belongs to the topic id in its `partition.metadata`. One that names another id is moved aside
//! and reported, never adopted (C11); one that is given up gets Kafka's `-delete` name before anything in it goes.

use std::io;
use std::rc::Rc;

use net::platform::Runtime;

use super::file_removal;
use super::kafka_files::{
    LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, decode_partition_metadata,
    encode_epoch_checkpoint, encode_partition_metadata, encode_snapshot,
};
use super::segment::segment_file_name;
use super::storage_shard::Shard;
use crate::platform::{DirectoryLook, Disk};
use crate::types::{PartitionId, TopicId};

/// `partition.metadata` is two short lines.
const METADATA_BYTES_MAX: usize = 4096;

/// The topic id that a directory says it belongs to; `None` if it says nothing readable. An error of the disk is no
/// answer: a directory that was moved aside for one would take everything in it along.
pub(crate) async fn owner_of(disk: &Disk, directory: &str) -> io::Result<Option<TopicId>> {
    let path = format!("{directory}/{PARTITION_METADATA}");
    if !disk.exists(&path).await? {
        return Ok(None);
    }
    match disk.read_small(&path, METADATA_BYTES_MAX).await {
        Ok(content) => Ok(decode_partition_metadata(&content).ok()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

/// Many directories at once, with what they say about their owner.
pub(crate) async fn look_into(
    disk: &Disk,
    directories: Vec<String>,
) -> io::Result<Vec<Option<DirectoryLook>>> {
    disk.look_into(directories, PARTITION_METADATA, METADATA_BYTES_MAX)
        .await
}

/// The same as [`owner_of`], of a directory that was looked into.
pub(crate) fn owner_in(look: &DirectoryLook) -> Option<TopicId> {
    decode_partition_metadata(look.small_file.as_deref()?).ok()
}

/// Lets an existing directory, which a checkpoint or journal names, say whose it is.
pub(crate) async fn write_owner(disk: &Disk, id: PartitionId, directory: &str) -> io::Result<()> {
    disk.write_small(
        &format!("{directory}/{PARTITION_METADATA}"),
        encode_partition_metadata(id.topic_id).as_bytes(),
    )
    .await
}

/// Makes the directory with its `partition.metadata`; durable when this returns. A directory of that name that belongs
/// to another topic id, or to none, is moved aside.
pub(crate) async fn create(
    runtime: &Runtime,
    disk: &Disk,
    id: PartitionId,
    directory: &str,
) -> io::Result<()> {
    if disk.exists(directory).await? {
        let owner = owner_of(disk, directory).await?;
        // What a try to make it left that found no space is its own file at most.
        let names = disk.list(directory).await?;
        let leftover = owner.is_none()
            && names
                .iter()
                .all(|entry| entry.name.starts_with(PARTITION_METADATA));
        if owner == Some(id.topic_id) {
            return disk.sync_directory("").await;
        }
        if !leftover {
            let aside = format!("{directory}.{:016x}-stray", runtime.random_u64());
            tracing::error!(
                directory,
                aside,
                "the directory belongs to another topic: moved aside"
            );
            disk.rename(directory, &aside).await?;
        }
    }
    disk.create_directory(directory).await?;
    write_owner(disk, id, directory).await?;
    disk.sync_directory("").await
}

/// Gives the directory the name under which Kafka deletes; durable when this returns. `None` if there is none.
pub(crate) async fn rename_for_deletion(
    runtime: &Runtime,
    disk: &Disk,
    directory: &str,
) -> io::Result<Option<String>> {
    if !disk.exists(directory).await? {
        return Ok(None);
    }
    let unique = format!("{:016x}{:016x}", runtime.random_u64(), runtime.random_u64());
    // Kafka keeps a directory's name at or below 255 bytes: the topic's name is cut, the rest is what identifies it.
    let suffix = format!(".{unique}-delete");
    let (topic, index) = directory.rsplit_once('-').unwrap_or((directory, "0"));
    let room = 255 - suffix.len() - index.len() - 1;
    let name = format!("{}-{index}{suffix}", &topic[..topic.len().min(room)]);
    disk.rename(directory, &name).await?;
    disk.sync_directory("").await?;
    Ok(Some(name))
}

/// Whether a directory of the data directory waits for its removal.
pub(crate) fn is_for_deletion(name: &str) -> bool {
    name.ends_with("-delete") && name.contains('.')
}

/// Removes a directory that has the `-delete` name, with its files, in the background. What cannot be removed, or not
/// before the shard stops, is left for the next start.
pub(crate) fn remove(shard: &Rc<Shard>, directory: String) {
    shard.tasks.set(shard.tasks.get() + 1);
    let task = shard.clone();
    shard.runtime.spawn(async move {
        // Nothing is there any more if two had found it.
        if let Err(error) = remove_now(&task, &directory).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory, %error, "a deleted partition's files stay until the next start");
        }
        task.task_ended();
    });
}

async fn remove_now(shard: &Shard, directory: &str) -> io::Result<()> {
    for entry in shard.disk.list(directory).await? {
        let path = format!("{directory}/{}", entry.name);
        if !file_removal::remove(shard, &path).await? {
            return Ok(());
        }
    }
    shard.disk.remove_directory(directory).await
}

/// The same for all that the last run left behind.
pub(crate) async fn remove_leftovers(shard: &Rc<Shard>) {
    match shard.disk.list("").await {
        Ok(entries) => {
            for entry in entries {
                if entry.is_directory && is_for_deletion(&entry.name) {
                    remove(shard, entry.name);
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the files of deleted partitions stay until the next start")
        }
    }
}

/// What Kafka's tools and brokers expect beside the segments after a clean stop; durable with the last checkpoint.
pub(crate) async fn write_kafka_state(shard: &Shard, id: PartitionId) -> io::Result<()> {
    let state = shard.with_partition(id, |partition| {
        let log = &partition.log;
        let epochs = encode_epoch_checkpoint(log.epochs().entries());
        let snapshot = encode_snapshot(log.producers().iter());
        (
            partition.directory.clone(),
            epochs,
            snapshot,
            log.offsets().log_end(),
        )
    });
    let Some((directory, epochs, snapshot, end)) = state else {
        return Ok(());
    };
    shard
        .disk
        .replace_small(
            &format!("{directory}/{LEADER_EPOCH_CHECKPOINT}"),
            epochs.as_bytes(),
        )
        .await?;
    let name = segment_file_name(end, "snapshot");
    for entry in shard.disk.list(&directory).await? {
        if entry.name.ends_with(".snapshot") && entry.name != name {
            shard
                .disk
                .remove_file(&format!("{directory}/{}", entry.name))
                .await?;
        }
    }
    shard
        .disk
        .replace_small(&format!("{directory}/{name}"), &snapshot)
        .await
}
