//! Puts a cleaned segment in the place of the old ones while they are read (STORAGE C10). On the shard's core.
//!
//! Order: everything of the new segment flushed · the swap on record, durably · the log renamed and, in the same step,
//! the new segment in the list · the rest renamed, the old files removed, the directory flushed. Invariants: a reader
//! never joins an index of one side with a file of the other without noticing (`Partition::swaps`,
//! `Partition::renaming`); the record stays until both checkpoints were taken after the swap.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::cleaned_file::CleanedSegment;
use super::swap_files;
use super::swap_record::{Swap, encode_swaps, swaps_name};
use crate::log::admission::is_out_of_space;
use crate::log::journal::files::TIDELOG_DIRECTORY;
use crate::log::segment::SegmentInfo;
use crate::log::segment_indexes::ActiveIndex;
use crate::log::segment_removal;
use crate::log::storage_shard::{Partition, Shard};
use crate::log::transactions::AbortedTransaction;
use crate::types::{Offset, PartitionId};

/// How long to wait between two looks at the checkpoints.
const LOOK: Duration = Duration::from_millis(20);

/// A group of segments and what is to take their place.
pub(crate) struct Replacement<'a> {
    pub(crate) id: PartitionId,
    pub(crate) directory: &'a str,
    pub(crate) group: &'a [SegmentInfo],
    /// Base offset of the segment behind them.
    pub(crate) end: Offset,
    pub(crate) segment: CleanedSegment,
    /// Aborted transactions whose markers lie in the group and which readers still need.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// How a swap ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SwapOutcome {
    /// The new segment is in use.
    Swapped,
    /// The old segments are no longer what was cleaned, or are in use by somebody else; nothing was changed.
    Refused,
}

/// Carries out the swap. An error after which nobody can say what is on disk ends all cleaning until the next start,
/// which finishes or undoes the swap by its record.
pub(crate) async fn swap(
    shard: &Rc<Shard>,
    replacement: Replacement<'_>,
) -> io::Result<SwapOutcome> {
    let Replacement {
        id,
        directory,
        group,
        end,
        segment,
        aborted,
    } = replacement;
    let begun = shard.with_partition(id, |partition| begin(partition, group, end));
    if begun != Some(true) {
        return Ok(SwapOutcome::Refused);
    }
    let swap = Swap {
        id,
        directory: directory.to_owned(),
        replaced: group.iter().map(|info| info.base_offset).collect(),
        end,
        segment: segment.info,
        has_aborted: !aborted.is_empty(),
    };
    shard.cleaner.borrow_mut().swaps.push(swap.clone());
    if let Err(error) = write_record(shard).await {
        if is_out_of_space(&error) {
            return Err(call_off(shard, id, directory, error));
        }
        return give_up(shard, id, directory, error);
    }
    let result = async {
        shard.with_partition(id, |partition| partition.renaming = true);
        let renaming = swap_files::rename_log(&shard.disk, &swap);
        shard.files.exchange(id, swap.replaced[0], renaming).await?;
        let index = Rc::new(RefCell::new(segment.index));
        shard.with_partition(id, |partition| {
            switch(shard, partition, &swap, &aborted);
            shard.indexes.keep(id, swap.replaced[0], index);
        });
        swap_files::finish(&shard.disk, &swap).await
    }
    .await;
    if let Err(error) = result {
        return give_up(shard, id, directory, error);
    }
    release(shard, id);
    Ok(SwapOutcome::Swapped)
}

/// Others may be at work on the segments again.
fn release(shard: &Rc<Shard>, id: PartitionId) {
    shard.with_partition(id, |partition| {
        partition.log.end_swap();
        partition.renaming = false;
        segment_removal::remove_below_log_start(shard, partition);
    });
    shard.written.notify_all();
}

fn give_up(
    shard: &Rc<Shard>,
    id: PartitionId,
    directory: &str,
    error: io::Error,
) -> io::Result<SwapOutcome> {
    release(shard, id);
    tracing::error!(
        directory,
        %error,
        "a cleaned segment could not be put in place: this shard cleans nothing more until the next start"
    );
    shard.cleaner.borrow_mut().disabled = true;
    Err(error)
}

/// The record found no room, and nothing was renamed: the old segments stay in use. Whether the record names the swap
/// is not known, so the cleaned files stay, too, until it was written anew: a start in between may finish the swap.
fn call_off(shard: &Rc<Shard>, id: PartitionId, directory: &str, error: io::Error) -> io::Error {
    {
        let mut cleaner = shard.cleaner.borrow_mut();
        cleaner.swaps.pop();
        cleaner.record_in_doubt = true;
    }
    release(shard, id);
    tracing::warn!(directory, %error, "no room to put a cleaned segment in place: cleaning goes on when there is");
    error
}

/// Writes the record without the swap that was called off. False if there is still no room.
pub(super) async fn write_record_anew(shard: &Shard) -> bool {
    match write_record(shard).await {
        Ok(()) => {
            shard.cleaner.borrow_mut().record_in_doubt = false;
            true
        }
        Err(error) => {
            tracing::debug!(%error, "the record of swaps cannot be written yet");
            false
        }
    }
}

/// Whether the segments are still those that were cleaned and nobody is at work on them; then nobody will be.
fn begin(partition: &mut Partition, group: &[SegmentInfo], end: Offset) -> bool {
    let bases = group[0].base_offset..end;
    let busy = partition
        .sealing
        .iter()
        .any(|sealing| bases.contains(sealing));
    let settled = partition.settled_end() >= end;
    !partition.closing && !busy && settled && partition.log.begin_swap(group, end)
}

/// The log has the new segment's bytes under the first old one's name: from here on they are read.
fn switch(shard: &Shard, partition: &mut Partition, swap: &Swap, aborted: &[AbortedTransaction]) {
    partition.log.apply_swap(swap.segment, aborted);
    partition.swaps += 1;
    partition.renaming = false;
    if partition.index.0 < swap.end {
        // The active segment was closed by its age and nothing came since.
        let active = *partition.log.segments().active();
        let index = ActiveIndex::of_new_segment(active.base_offset, active.created_ms);
        partition.index = (active.base_offset, index);
    }
    let mut cache = shard.cache.borrow_mut();
    cache.remove_below(swap.id, swap.end);
    for base in &swap.replaced {
        shard.files.forget(swap.id, *base);
        shard.indexes.forget(swap.id, *base);
        shard.readers.forget(swap.id, *base);
    }
    shard.segments_version.set(shard.segments_version.get() + 1);
}

async fn write_record(shard: &Shard) -> io::Result<()> {
    let text = encode_swaps(&shard.cleaner.borrow().swaps);
    let path = format!("{TIDELOG_DIRECTORY}/{}", swaps_name(shard.id));
    shard.disk.write_small(&path, text.as_bytes()).await
}

/// Takes the swaps off the record once both checkpoints were taken after them. False if the shard stopped first.
pub(crate) async fn settle(shard: &Rc<Shard>) -> io::Result<bool> {
    if shard.cleaner.borrow().swaps.is_empty() {
        return Ok(true);
    }
    let version = shard.segments_version.get();
    while shard.segments_checkpointed.get() < version {
        if shard.stopping.get() || shard.journal.poison().is_some() {
            return Ok(false);
        }
        shard.checkpoint_work.notify_one();
        shard.pause(LOOK).await;
    }
    forget_record(shard).await?;
    Ok(true)
}

/// The swaps stand in both checkpoints.
pub(crate) async fn forget_record(shard: &Shard) -> io::Result<()> {
    if shard.cleaner.borrow().swaps.is_empty() || shard.cleaner.borrow().disabled {
        return Ok(());
    }
    let path = format!("{TIDELOG_DIRECTORY}/{}", swaps_name(shard.id));
    match shard.disk.remove_file(&path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    shard.disk.sync_directory(TIDELOG_DIRECTORY).await?;
    shard.cleaner.borrow_mut().swaps.clear();
    Ok(())
}

/// Waits until both checkpoints hold everything that is journaled now. False if the shard stopped first.
pub(crate) async fn wait_for_checkpoints(shard: &Rc<Shard>) -> bool {
    let group = shard.journal.end().group_number;
    while shard.checkpointed_group.get() < group {
        if shard.stopping.get() || shard.journal.poison().is_some() {
            return false;
        }
        shard.checkpoint_work.notify_one();
        shard.pause(LOOK).await;
    }
    true
}
