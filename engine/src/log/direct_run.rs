//! Big runs skip the copy through the journal: when one group would hold a few hundred KiB for one partition, the bytes
//! go straight to the segment, are flushed there, and the journal gets *extent* entries (DESIGN §5.2). Also forms the
//! groups, since it decides what does not go into them. On the shard's core.
//!
//! Invariant: while a run is outstanding, later batches of its partition are held, so that no acknowledged record lies
//! above a hole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use super::error::AppendError;
use super::journal::commit::Pending;
use super::journal::format::{EXTENT_PAYLOAD_BYTES, EntryKind};
use super::journal::group::Payload;
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};

/// Takes the next group's entries off the queue, without those that wait for or begin a direct run.
pub(crate) fn take_group(
    shard: &Rc<Shard>,
    queue: &mut VecDeque<Pending>,
    bytes_max: usize,
) -> Vec<Pending> {
    if queue.is_empty() {
        return Vec::new();
    }
    let mut taken = Vec::with_capacity(queue.len().min(1024));
    let mut bytes = 0;
    let mut partitions = shard.partitions.borrow_mut();
    while let Some(front) = queue.front() {
        let size = front.entry.journal_bytes();
        if bytes > 0 && bytes + size > bytes_max {
            break;
        }
        let pending = queue.pop_front().expect("it is there");
        let partition = partitions.get_mut(&pending.entry.header.partition);
        match partition.filter(|partition| {
            partition.direct_run && pending.entry.header.kind == EntryKind::Batch
        }) {
            Some(partition) if !crate::planted::is(crate::planted::Bug::AckAboveHole) => {
                partition.held.push(pending)
            }
            _ => {
                bytes += size;
                taken.push(pending);
            }
        }
    }
    drop(partitions);
    if bytes < shard.settings.direct_run_bytes_min
        && !taken.iter().any(|pending| is_too_large(shard, pending))
    {
        return taken;
    }
    divert(shard, taken)
}

/// A batch that no journal file may be large enough for goes to its segment in any case.
fn is_too_large(shard: &Shard, pending: &Pending) -> bool {
    pending.entry.header.kind == EntryKind::Batch
        && pending.entry.journal_bytes() > shard.settings.group_bytes_max()
}

fn divert(shard: &Rc<Shard>, taken: Vec<Pending>) -> Vec<Pending> {
    let mut sums: BTreeMap<PartitionId, usize> = BTreeMap::new();
    for pending in taken
        .iter()
        .filter(|pending| pending.entry.header.kind == EntryKind::Batch)
    {
        let size = pending.entry.header.length as usize;
        let weight = if is_too_large(shard, pending) {
            size.max(shard.settings.direct_run_bytes_min)
        } else {
            size
        };
        *sums.entry(pending.entry.header.partition).or_default() += weight;
    }
    sums.retain(|_, bytes| *bytes >= shard.settings.direct_run_bytes_min);
    if sums.is_empty() {
        return taken;
    }
    let mut runs: BTreeMap<PartitionId, Vec<Pending>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(taken.len());
    for pending in taken {
        let id = pending.entry.header.partition;
        if pending.entry.header.kind == EntryKind::Batch && sums.contains_key(&id) {
            runs.entry(id).or_default().push(pending);
        } else {
            kept.push(pending);
        }
    }
    for (id, entries) in runs {
        start(shard, id, entries);
    }
    kept
}

fn start(shard: &Rc<Shard>, id: PartitionId, entries: Vec<Pending>) {
    // Not journaled yet: the run counts as of the group that comes next.
    let group = shard.journal.end().group_number + 1;
    let known = shard.with_partition(id, |partition| {
        partition.direct_run = true;
        for pending in &entries {
            let planned = pending.planned.clone().expect("a batch was planned");
            partition.writer.hurry(planned.last_offset);
            if let Some(oldest) = partition.writer.push(planned, group) {
                shard.unwritten.borrow_mut().insert((oldest, id));
            }
        }
        shard.write_ready.borrow_mut().push_front(id);
    });
    if known.is_none() {
        return shard.fail_entries(entries, &AppendError::UnknownPartition);
    }
    shard.count(|counters| counters.direct_runs += 1);
    shard.write_work.notify_one();
    let task = shard.clone();
    shard
        .runtime
        .spawn(async move { carry_out(&task, id, entries).await });
}

async fn carry_out(shard: &Rc<Shard>, id: PartitionId, mut entries: Vec<Pending>) {
    let end = Offset(
        entries
            .last()
            .expect("a run has batches")
            .entry
            .header
            .last_offset
            .0
            + 1,
    );
    let written = shard.wait_until_written(id, end).await;
    let flushed = match written {
        true => flush(shard, id, &entries).await,
        false => Ok(()),
    };
    if let Err(error) = flushed {
        shard
            .journal
            .poison_with(&format!("flushing a direct run: {error}"));
    }
    if !written || shard.journal.poison().is_some() {
        let cause = shard.journal.poison();
        let error = cause.map_or(AppendError::UnknownPartition, |cause| {
            AppendError::Poisoned(cause.to_string())
        });
        shard.fail_written(entries, &error);
        shard.with_partition(id, |partition| {
            partition.direct_run = false;
            shard.fail_partition(partition, &error);
        });
        return;
    }
    for pending in &mut entries {
        to_extent(pending);
    }
    // What was held goes behind the extents, in front of everything else.
    let held = shard.with_partition(id, |partition| {
        partition.direct_run = false;
        std::mem::take(&mut partition.held)
    });
    entries.extend(held.unwrap_or_default());
    shard.journal.submit_first(entries);
}

async fn flush(shard: &Shard, id: PartitionId, entries: &[Pending]) -> io::Result<()> {
    let asked = entries.iter().any(|pending| {
        pending
            .planned
            .as_ref()
            .is_some_and(|planned| planned.flush)
    });
    if !(shard.settings.flushes() || asked)
        || crate::planted::is(crate::planted::Bug::AckBeforeFlush)
    {
        return Ok(());
    }
    let Some(directory) = shard.with_partition(id, |partition| partition.directory.clone()) else {
        return Ok(());
    };
    let mut flushed = None;
    for pending in entries {
        let base = pending.entry.header.segment_base_offset;
        if flushed != Some(base) {
            shard
                .files
                .writable(&shard.disk, id, &directory, base)
                .await?
                .fdatasync()
                .await?;
            flushed = Some(base);
        }
    }
    Ok(())
}

fn to_extent(pending: &mut Pending) {
    let Payload::Batch { prefix, body } = &pending.entry.payload else {
        return;
    };
    let mut header = [0; EXTENT_PAYLOAD_BYTES];
    header[..prefix.len()].copy_from_slice(prefix);
    header[prefix.len()..].copy_from_slice(&body[..EXTENT_PAYLOAD_BYTES - prefix.len()]);
    pending.entry.payload = Payload::Extent(header);
    pending.entry.header.kind = EntryKind::Extent;
    pending.entry.header.payload_bytes = EXTENT_PAYLOAD_BYTES as u32;
}
