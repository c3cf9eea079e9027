//! The files of a swap: their names, their renames, and what a start does with those of a swap that was cut.
//!
//! A cleaned segment is written under Kafka's ending `.cleaned`. Invariant: every step can be repeated; a `.cleaned`
//! file counts only together with its [`Swap`] on record, and is removed without one.

use std::collections::BTreeMap;
use std::io;

use super::swap_record::{SWAPS_BYTES_MAX, Swap, decode_swaps, is_swaps_name};
use crate::log::directories;
use crate::log::index::SIDECAR_EXTENSION;
use crate::log::journal::files::TIDELOG_DIRECTORY;
use crate::log::partition_checkpoint::PartitionCheckpoint;
use crate::log::recovery::KnownPartitions;
use crate::log::segment::segment_file_name;
use crate::platform::Disk;
use crate::types::{Offset, PartitionId};

/// Kafka's ending for files that a cleaning has written and nobody uses yet.
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
/// The files of a segment beside the log itself.
const BESIDE: [&str; 4] = [SIDECAR_EXTENSION, "index", "timeindex", "txnindex"];

/// A segment's file.
pub(crate) fn path_of(directory: &str, base: Offset, extension: &str) -> String {
    format!("{directory}/{}", segment_file_name(base, extension))
}

/// The same under the name it has before the swap.
pub(crate) fn cleaned_path(directory: &str, base: Offset, extension: &str) -> String {
    format!("{}{CLEANED_SUFFIX}", path_of(directory, base, extension))
}

/// Whether a name in a partition's directory is of a cleaning that came to nothing.
pub(crate) fn is_leftover(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    name.ends_with(CLEANED_SUFFIX)
}

/// Gives the new log its name, in place of the old one.
pub(crate) async fn rename_log(disk: &Disk, swap: &Swap) -> io::Result<()> {
    let base = swap.replaced[0];
    done(
        disk.rename(
            &cleaned_path(&swap.directory, base, "log"),
            &path_of(&swap.directory, base, "log"),
        )
        .await,
    )
}

/// Renames what lies beside the log and removes the old segments behind the first; durable when it returns.
pub(crate) async fn finish(disk: &Disk, swap: &Swap) -> io::Result<()> {
    let (directory, base) = (&swap.directory, swap.replaced[0]);
    for extension in BESIDE {
        let path = path_of(directory, base, extension);
        if extension == "txnindex" && !swap.has_aborted {
            done(disk.remove_file(&path).await)?;
        } else {
            let cleaned = cleaned_path(directory, base, extension);
            done(disk.rename(&cleaned, &path).await)?;
        }
    }
    for old in &swap.replaced[1..] {
        for extension in BESIDE.iter().chain(&["log"]) {
            done(disk.remove_file(&path_of(directory, *old, extension)).await)?;
        }
    }
    disk.sync_directory(directory).await
}

/// Removes the files of a cleaning that is not to be.
pub(crate) async fn discard(disk: &Disk, directory: &str, base: Offset) {
    for extension in BESIDE.iter().chain(&["log"]) {
        let path = cleaned_path(directory, base, extension);
        if let Err(error) = done(disk.remove_file(&path).await) {
            tracing::warn!(path, %error, "what a cleaning left stays until the next start");
        }
    }
}

/// Finishes every swap on record, and puts the new segments into what the checkpoints say. Done before anything reads
/// the segments; [`forget`] once the outcome stands in the start checkpoints. Returns what cannot
/// be understood, which is set aside.
pub(crate) async fn recover(
    disk: &Disk,
    known: &KnownPartitions,
    partitions: &mut BTreeMap<PartitionId, PartitionCheckpoint>,
) -> io::Result<Vec<String>> {
    let mut damage = Vec::new();
    let records = records(disk).await?;
    if !records.is_empty() {
        // The dead process may have been about to: what a record has renamed for good must not outlive the record.
        disk.sync_directory(TIDELOG_DIRECTORY).await?;
    }
    for path in records {
        let bytes = disk.read_small(&path, SWAPS_BYTES_MAX).await?;
        let swaps = match decode_swaps(&bytes) {
            Ok(swaps) => swaps,
            Err(error) => {
                let aside = set_aside(disk, &path).await?;
                damage.push(format!("{path}: {error}; kept as {aside}"));
                continue;
            }
        };
        for swap in swaps {
            if !has_its_directory(disk, known, &swap).await? || !has_its_file(disk, &swap).await? {
                continue;
            }
            let said = partitions.get_mut(&swap.id);
            if said.is_some_and(|checkpoint| swap.apply(checkpoint)) {
                rename_log(disk, &swap).await?;
                finish(disk, &swap).await?;
            }
        }
    }
    Ok(damage)
}

/// Renames a record that cannot be understood, so that it is there for whoever looks into it; its new name.
async fn set_aside(disk: &Disk, path: &str) -> io::Result<String> {
    let mut number = 0_u32;
    let aside = loop {
        let aside = format!("{path}.damaged-{number}");
        if !disk.exists(&aside).await? {
            break aside;
        }
        number += 1;
    };
    disk.rename(path, &aside).await?;
    disk.sync_directory(TIDELOG_DIRECTORY).await?;
    Ok(aside)
}

/// The directory of a topic that was deleted since has another name, and a new topic may have the old one.
async fn has_its_directory(disk: &Disk, known: &KnownPartitions, swap: &Swap) -> io::Result<bool> {
    if !disk.exists(&swap.directory).await? {
        return Ok(false);
    }
    if known.partitions.contains_key(&swap.id) {
        return Ok(true);
    }
    let owner = directories::owner_of(disk, &swap.directory).await?;
    Ok(owner.is_none_or(|owner| owner == swap.id.topic_id))
}

/// Whether the new segment is there, whole, under its old or its new name: what a record says of files is not believed
/// without them, since a checkpoint that names bytes which are not there has good ones called damaged.
async fn has_its_file(disk: &Disk, swap: &Swap) -> io::Result<bool> {
    let base = swap.replaced[0];
    let log = segment_file_name(base, "log");
    let cleaned = format!("{log}{CLEANED_SUFFIX}");
    let entries = disk.list(&swap.directory).await?;
    Ok(entries.iter().any(|entry| {
        (entry.name == cleaned || entry.name == log) && entry.length == u64::from(swap.segment.size)
    }))
}

/// Takes the records of swaps off the disk.
pub(crate) async fn forget(disk: &Disk) -> io::Result<()> {
    let records = records(disk).await?;
    for path in &records {
        disk.remove_file(path).await?;
    }
    match records.is_empty() {
        true => Ok(()),
        false => disk.sync_directory(TIDELOG_DIRECTORY).await,
    }
}

async fn records(disk: &Disk) -> io::Result<Vec<String>> {
    let entries = disk.list(TIDELOG_DIRECTORY).await?;
    let names = entries.iter().filter(|entry| is_swaps_name(&entry.name));
    Ok(names
        .map(|entry| format!("{TIDELOG_DIRECTORY}/{}", entry.name))
        .collect())
}

/// What is done already needs no doing.
fn done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::compaction::swap_record::encode_swaps;
    use crate::log::segment::SegmentInfo;
    use crate::platform::OpenMode;
    use crate::platform::sim::{CutMode, SimDisk, SimDiskOptions};
    use crate::types::{LeaderEpoch, TopicId};
    use net::platform::sim::Simulation;

    const DIRECTORY: &str = "orders-0";
    const RECORD: &str = "tidelog/swaps-0";
    const ID: PartitionId = PartitionId {
        topic_id: TopicId([7; 16]),
        index: 0,
    };

    fn old_segment() -> SegmentInfo {
        SegmentInfo {
            size: 5_000,
            ..SegmentInfo::empty(Offset(0), 0)
        }
    }

    /// A data directory, durable, with a segment at 0 and a cleaned file of so many bytes, if any, to replace it; a swap
    /// to 1,000 bytes is on record, and that may not be durable.
    async fn make(disk: &Disk, cleaned: Option<u64>) {
        let swap = Swap {
            id: ID,
            directory: DIRECTORY.to_owned(),
            replaced: vec![Offset(0)],
            end: Offset(16),
            segment: SegmentInfo {
                size: 1_000,
                ..old_segment()
            },
            has_aborted: false,
        };
        for directory in [DIRECTORY, TIDELOG_DIRECTORY] {
            disk.create_directory(directory).await.unwrap();
        }
        let log = path_of(DIRECTORY, Offset(0), "log");
        let new = cleaned_path(DIRECTORY, Offset(0), "log");
        for (path, length) in [(&log, Some(5_000)), (&new, cleaned)] {
            if let Some(length) = length {
                let file = disk.open(path, OpenMode::Create).await.unwrap();
                file.truncate(length).await.unwrap();
                file.fdatasync().await.unwrap();
            }
        }
        for directory in ["", DIRECTORY, TIDELOG_DIRECTORY] {
            disk.sync_directory(directory).await.unwrap();
        }
        let text = encode_swaps(std::slice::from_ref(&swap));
        disk.replace_small(RECORD, text.as_bytes()).await.unwrap();
        let record = disk.open(RECORD, OpenMode::Write).await.unwrap();
        record.fdatasync().await.unwrap();
    }

    /// What recovery says of the segment at 0, and the length of its file.
    async fn recovered(disk: &Disk) -> (u32, u64) {
        let checkpoint = PartitionCheckpoint {
            segments: vec![old_segment(), SegmentInfo::empty(Offset(16), 0)],
            ..PartitionCheckpoint::empty(ID, DIRECTORY, LeaderEpoch(0), 0)
        };
        let mut partitions = BTreeMap::from([(ID, checkpoint)]);
        recover(disk, &KnownPartitions::default(), &mut partitions)
            .await
            .unwrap();
        let log = path_of(DIRECTORY, Offset(0), "log");
        let file = disk.open(&log, OpenMode::Read).await.unwrap();
        (
            partitions[&ID].segments[0].size,
            file.length().await.unwrap(),
        )
    }

    #[test]
    fn a_swap_is_finished_only_with_the_whole_new_segment() {
        let recovered = |cleaned| {
            let simulation = Simulation::new(1);
            let machine = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
            let node = simulation.node("broker");
            let disk = machine.disk(&node.runtime());
            simulation.block_on(&node, async move {
                make(&disk, cleaned).await;
                recovered(&disk).await
            })
        };
        assert_eq!(recovered(Some(1_000)), (1_000, 1_000));
        assert_eq!(recovered(None), (5_000, 5_000), "taken for a leftover");
        assert_eq!(recovered(Some(600)), (5_000, 5_000), "of another cleaning");
    }

    /// Killed while the record was written, then cut while the next start finished the swap: the cleaned file stood under
    /// the old one's name for good, the record did not, and the checkpoint called the difference damage.
    #[test]
    fn a_swap_is_finished_only_once_its_record_is_durable() {
        let simulation = Simulation::new(1);
        let machine = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
        let node = simulation.node("broker");
        let disk = machine.disk(&node.runtime());
        let first = simulation.block_on(&node, async move {
            make(&disk, Some(1_000)).await;
            recovered(&disk).await
        });
        assert_eq!(first, (1_000, 1_000));
        simulation.power_off(&node);
        machine.cut_power(CutMode::Random(0.0));
        let node = simulation.node("broker");
        let disk = machine.disk(&node.runtime());
        let second = simulation.block_on(&node, async move { recovered(&disk).await });
        assert_eq!(second, (1_000, 1_000));
    }
}
