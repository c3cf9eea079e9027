//! Makes a log that was imported one of ours (C12a): its segments into our directory, its state into the checkpoints.
//! With the node stopped and recovered, on one executor.
//!
//! Order: [`place`] copies everything and flushes it; the caller makes the partition known to the metadata; [`adopt`]
//! begins a new generation whose start checkpoints hold it. Invariant: until both have returned, a start finds no such
//! partition or an empty one, never a part of the import.

use std::io;

use net::platform::Runtime;

use super::checkpoint_body::encode_body;
use super::directories;
use super::import::ImportedLog;
use super::index::{IndexBuilder, SIDECAR_EXTENSION, SegmentIndex};
use super::kafka_files::{
    LEADER_EPOCH_CHECKPOINT, encode_epoch_checkpoint, encode_offset_index, encode_time_index,
    encode_transaction_index, kafka_indexes,
};
use super::partition_checkpoint::PartitionCheckpoint;
use super::recovery::begin_generation;
use super::segment::{SegmentInfo, parse_segment_file_name, segment_file_name};
use super::segment_files::segment_path;
use super::storage::StorageError;
use super::transactions::AbortedTransaction;
use crate::platform::{Disk, OpenMode};
use crate::types::Offset;

/// Segments are copied in pieces of this size.
const COPY_BYTES: usize = 1 << 20;

/// Copies the segments of `imported` into the partition's directory, with all files beside them. `read` gives the bytes
/// of the segment with that base offset at a position. What an earlier attempt left there is replaced.
pub async fn place(
    runtime: &Runtime,
    disk: &Disk,
    imported: ImportedLog,
    mut read: impl FnMut(Offset, u64, usize) -> io::Result<Vec<u8>>,
) -> Result<PartitionCheckpoint, StorageError> {
    let ImportedLog {
        checkpoint,
        indexes,
        ..
    } = imported;
    let directory = checkpoint.directory.clone();
    let placed: io::Result<()> = async {
        directories::create(runtime, disk, checkpoint.id, &directory).await?;
        remove_leftovers(disk, &directory).await?;
        let bases = checkpoint
            .segments
            .iter()
            .map(|segment| segment.base_offset);
        let nexts: Vec<Offset> = bases.skip(1).chain([Offset(i64::MAX)]).collect();
        for ((segment, next), index) in checkpoint.segments.iter().zip(nexts).zip(indexes) {
            copy_segment(disk, &directory, segment, &mut read).await?;
            let aborted = checkpoint
                .aborted
                .iter()
                .filter(|entry| (segment.base_offset..next).contains(&entry.last_offset));
            write_beside(
                disk,
                &directory,
                segment,
                index,
                &aborted.copied().collect::<Vec<_>>(),
            )
            .await?;
        }
        let epochs = encode_epoch_checkpoint(&checkpoint.epochs);
        disk.write_small(
            &format!("{directory}/{LEADER_EPOCH_CHECKPOINT}"),
            epochs.as_bytes(),
        )
        .await?;
        disk.sync_directory(&directory).await?;
        disk.sync_directory("").await
    }
    .await;
    placed.map_err(StorageError::during(format!("copying into {directory}")))?;
    Ok(checkpoint)
}

/// Begins a new generation with `partition` in place of what the checkpoints say of it. Recovery has to have run, so
/// that no journal holds anything that the checkpoints lack.
pub async fn adopt(
    runtime: &Runtime,
    disk: &Disk,
    partition: PartitionCheckpoint,
) -> Result<(), StorageError> {
    begin_generation(runtime, disk, |partitions| {
        partitions.insert(partition.id, partition);
        let all: Vec<PartitionCheckpoint> = partitions.values().cloned().collect();
        encode_body(&all)
    })
    .await
}

async fn remove_leftovers(disk: &Disk, directory: &str) -> io::Result<()> {
    for entry in disk.list(directory).await? {
        if parse_segment_file_name(&entry.name).is_some() {
            disk.remove_file(&format!("{directory}/{}", entry.name))
                .await?;
        }
    }
    disk.sync_directory(directory).await
}

async fn copy_segment(
    disk: &Disk,
    directory: &str,
    segment: &SegmentInfo,
    read: &mut impl FnMut(Offset, u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let file = disk
        .open(
            &segment_path(directory, segment.base_offset),
            OpenMode::Create,
        )
        .await?;
    let size = u64::from(segment.size);
    let mut position = 0;
    while position < size {
        let length = COPY_BYTES.min(usize::try_from(size - position).unwrap_or(COPY_BYTES));
        let bytes = read(segment.base_offset, position, length)?;
        if bytes.len() != length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the segment became shorter while it was copied",
            ));
        }
        let mut buffer = disk.allocate_buffer(length);
        buffer[..length].copy_from_slice(&bytes);
        file.write_at(buffer, position).await?;
        position += length as u64;
    }
    file.truncate(size).await?;
    file.fdatasync().await
}

/// What sealing writes beside a segment: our sidecar and Kafka's indexes.
async fn write_beside(
    disk: &Disk,
    directory: &str,
    segment: &SegmentInfo,
    index: IndexBuilder,
    aborted: &[AbortedTransaction],
) -> io::Result<()> {
    let base = segment.base_offset;
    let path = |extension| format!("{directory}/{}", segment_file_name(base, extension));
    disk.write_small(&path(SIDECAR_EXTENSION), &index.encode())
        .await?;
    let (offsets, times) = kafka_indexes(&SegmentIndex::Building(index));
    disk.write_small(&path("index"), &encode_offset_index(base, &offsets))
        .await?;
    disk.write_small(&path("timeindex"), &encode_time_index(base, &times))
        .await?;
    if !aborted.is_empty() {
        disk.write_small(&path("txnindex"), &encode_transaction_index(aborted))
            .await?;
    }
    Ok(())
}
