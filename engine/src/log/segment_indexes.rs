//! The index of each segment that is read: built along for the active one, loaded from its sidecar or rebuilt by a scan
//! for the others. On the shard's core.
//!
//! Invariant: an index covers only bytes that are in the segment. A sidecar that does not match is rebuilt and is never
//! by itself damage (C10).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::records::BatchHeader;

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD, PREFIX_BYTES};
use super::damage::{good_batch, has_its_epoch, next_good_batch, overlaps};
use super::index::{
    IndexBuilder, LoadedIndex, RUN_INTERVAL_BYTES, SIDECAR_EXTENSION, SegmentIndex,
};
use super::leader_epochs::LeaderEpochs;
use super::recovery_state::placeholder;
use super::segment::{SegmentInfo, segment_file_name};
use super::storage_shard::Shard;
use crate::platform::File;
use crate::types::{LeaderEpoch, Offset, PartitionId};

/// Indexes of closed segments kept in memory.
const LOADED_MAX: usize = 64;
/// A sidecar is smaller: one run of at least 32 KiB takes 40 bytes, a segment has at most 2 GiB.
const SIDECAR_BYTES_MAX: usize = 64 << 20;
/// How long to wait for a swap that is being carried out, in milliseconds.
pub(crate) const SWAP_PAUSE: Duration = Duration::from_millis(2);
/// A scan reads this much at once.
const SCAN_BYTES: usize = 1 << 20;

/// Prefix and header of a batch that entered the segment while its index was not yet there.
type Pushed = ([u8; PREFIX_BYTES], BatchHeader);

/// An index that grows while it is read.
pub(crate) type SharedIndex = Rc<RefCell<SegmentIndex>>;

/// The active segment's index.
pub(crate) enum ActiveIndex {
    /// Built along from the segment's first byte, or caught up by a scan.
    Ready(Rc<RefCell<SegmentIndex>>),
    /// Of a segment that was there before the start: covers what a scan will find up to `scan_end`, then these.
    Behind {
        scan_end: u32,
        end: Offset,
        pushed: Vec<Pushed>,
    },
}

/// Indexes of closed segments, a few of them.
#[derive(Default)]
pub(crate) struct LoadedIndexes {
    loaded: RefCell<BTreeMap<(PartitionId, Offset), SharedIndex>>,
}

/// `<directory>/<base>.tidx`.
pub(crate) fn sidecar_path(directory: &str, base: Offset) -> String {
    format!("{directory}/{}", segment_file_name(base, SIDECAR_EXTENSION))
}

impl ActiveIndex {
    pub(crate) fn of_new_segment(base: Offset, created_ms: i64) -> ActiveIndex {
        let builder = IndexBuilder::new(base, created_ms, RUN_INTERVAL_BYTES);
        ActiveIndex::Ready(Rc::new(RefCell::new(SegmentIndex::Building(builder))))
    }

    pub(crate) fn of_old_segment(scan_end: u32, end: Offset) -> ActiveIndex {
        ActiveIndex::Behind {
            scan_end,
            end,
            pushed: Vec::new(),
        }
    }

    /// The batch is in the segment.
    pub(crate) fn push(&mut self, prefix: &[u8; PREFIX_BYTES], header: &BatchHeader) {
        match self {
            ActiveIndex::Ready(index) => {
                if let SegmentIndex::Building(builder) = &mut *index.borrow_mut() {
                    builder.push(prefix, header);
                }
            }
            ActiveIndex::Behind { pushed, .. } => pushed.push((*prefix, *header)),
        }
    }
}

impl LoadedIndexes {
    pub(crate) fn forget(&self, id: PartitionId, base: Offset) {
        self.loaded.borrow_mut().remove(&(id, base));
    }

    pub(crate) fn forget_partition(&self, id: PartitionId) {
        self.loaded
            .borrow_mut()
            .retain(|(other, _), _| *other != id);
    }

    pub(crate) fn keep(&self, id: PartitionId, base: Offset, index: Rc<RefCell<SegmentIndex>>) {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.len() >= LOADED_MAX {
            loaded.pop_first();
        }
        loaded.insert((id, base), index);
    }
}

enum Lookup {
    Ready(Rc<RefCell<SegmentIndex>>),
    Missing {
        directory: Rc<str>,
        info: SegmentInfo,
        scan_end: u32,
        end: Offset,
    },
}

fn look_up(shard: &Shard, id: PartitionId, base: Offset) -> Option<Lookup> {
    if let Some(index) = shard.indexes.loaded.borrow().get(&(id, base)) {
        return Some(Lookup::Ready(index.clone()));
    }
    shard.with_partition(id, |partition| {
        let segments = partition.log.segments().as_slice();
        let index = segments.iter().position(|info| info.base_offset == base)?;
        let info = segments[index];
        let next = segments
            .get(index + 1)
            .map_or(partition.log.offsets().log_end(), |next| next.base_offset);
        let missing = |scan_end, end| Lookup::Missing {
            directory: partition.directory.clone(),
            info,
            scan_end,
            end,
        };
        Some(match &partition.index {
            (active, ActiveIndex::Ready(index)) if *active == base => Lookup::Ready(index.clone()),
            (active, ActiveIndex::Behind { scan_end, end, .. }) if *active == base => {
                missing(*scan_end, *end)
            }
            _ => missing(info.size, next),
        })
    })?
}

/// The index of a segment, made if need be.
pub(crate) async fn index_of(
    shard: &Shard,
    id: PartitionId,
    base: Offset,
) -> io::Result<Rc<RefCell<SegmentIndex>>> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "the segment is gone");
    loop {
        let (directory, info, scan_end, end) = match look_up(shard, id, base).ok_or_else(gone)? {
            Lookup::Ready(index) => return Ok(index),
            Lookup::Missing {
                directory,
                info,
                scan_end,
                end,
            } => (directory, info, scan_end, end),
        };
        let before = swap_state(shard, id).ok_or_else(gone)?;
        let builder = build(shard, id, &directory, &info, scan_end, end).await;
        let after = swap_state(shard, id).ok_or_else(gone)?;
        if before.is_renaming || before != after {
            // It may have been made from files of both sides of a swap.
            shard.pause(SWAP_PAUSE).await;
            continue;
        }
        let builder = builder?;
        let index = Rc::new(RefCell::new(SegmentIndex::Building(builder)));
        let active =
            shard.with_partition(id, |partition| catch_up(&mut partition.index, base, &index));
        if let Some(index) = active.ok_or_else(gone)? {
            return Ok(index);
        }
        // A segment that was left behind while it was scanned had grown before that: then once more.
        let size = match look_up(shard, id, base).ok_or_else(gone)? {
            Lookup::Ready(index) => return Ok(index),
            Lookup::Missing { scan_end, .. } => scan_end,
        };
        if index.borrow().covered().0 >= size {
            shard.indexes.keep(id, base, index.clone());
            return Ok(index);
        }
    }
}

/// Whether the files of a segment are those that its place in the list speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SwapState {
    swaps: u64,
    pub(crate) is_renaming: bool,
}

/// To be taken before an index and a file are opened and once they were used; `None` without such a partition.
pub(crate) fn swap_state(shard: &Shard, id: PartitionId) -> Option<SwapState> {
    shard.with_partition(id, |partition| SwapState {
        swaps: partition.swaps,
        is_renaming: partition.renaming,
    })
}

/// Makes `index` that of the active segment, with the batches that came meanwhile, if `base` is that segment.
fn catch_up(
    (active, state): &mut (Offset, ActiveIndex),
    base: Offset,
    index: &Rc<RefCell<SegmentIndex>>,
) -> Option<Rc<RefCell<SegmentIndex>>> {
    if *active != base {
        return None;
    }
    if let ActiveIndex::Ready(index) = state {
        return Some(index.clone());
    }
    let before = std::mem::replace(state, ActiveIndex::Ready(index.clone()));
    if let ActiveIndex::Behind { pushed, .. } = before {
        for (prefix, header) in &pushed {
            state.push(prefix, header);
        }
    }
    Some(index.clone())
}

/// An index of the segment's first `scan_end` bytes: from the sidecar as far as that goes, the rest by a scan.
async fn build(
    shard: &Shard,
    id: PartitionId,
    directory: &str,
    info: &SegmentInfo,
    scan_end: u32,
    end: Offset,
) -> io::Result<IndexBuilder> {
    let base = info.base_offset;
    let file = shard
        .files
        .readable(&shard.disk, id, directory, base)
        .await?;
    let mut builder = match load_sidecar(shard, &file, directory, base, scan_end).await {
        Some(loaded) => {
            let covered = loaded.info().size;
            shard.with_partition(id, |partition| partition.sidecar_covers(base, covered));
            loaded.into_builder()
        }
        None => IndexBuilder::new(base, info.created_ms, RUN_INTERVAL_BYTES),
    };
    let epochs = shard.with_partition(id, |partition| partition.log.epochs().clone());
    scan(
        &file,
        &mut builder,
        scan_end,
        end,
        &epochs.unwrap_or_default(),
    )
    .await?;
    Ok(builder)
}

/// The sidecar, if it belongs to what the segment holds now. One that was written before a crash may cover a direct run
/// that never came into the journal and was overwritten since; then its last run does not fit.
async fn load_sidecar(
    shard: &Shard,
    file: &File,
    directory: &str,
    base: Offset,
    scan_end: u32,
) -> Option<LoadedIndex> {
    let path = sidecar_path(directory, base);
    let bytes = shard.disk.read_small(&path, SIDECAR_BYTES_MAX).await.ok()?;
    let loaded = LoadedIndex::open(Bytes::from(bytes)).ok()?;
    let info = loaded.info();
    if info.base_offset != base || info.size > scan_end {
        return None;
    }
    let index = SegmentIndex::Loaded(loaded.clone());
    if let Some(last) = index.run_count().checked_sub(1) {
        let run = index.run(last);
        let bytes = file
            .read_at(u64::from(run.position.0), run.length as usize)
            .await
            .ok()?;
        if bytes.len() != run.length as usize || index.verify(last, &bytes).is_err() {
            return None;
        }
    }
    Some(loaded)
}

/// Adds the batches between what the builder covers and `scan_end`, where the segment's offsets end with `end`. What is
/// damaged becomes a run of its own that no read will find in order, so that what lies behind it is served.
pub(crate) async fn scan(
    file: &File,
    builder: &mut IndexBuilder,
    scan_end: u32,
    end: Offset,
    epochs: &LeaderEpochs,
) -> io::Result<()> {
    let mut wanted = SCAN_BYTES;
    while builder.info().size < scan_end {
        let position = builder.info().size;
        let rest = (scan_end - position) as usize;
        let bytes = file.read_at(u64::from(position), wanted.min(rest)).await?;
        let is_last = bytes.len() == rest;
        match push_batches(builder, &bytes, is_last, end, epochs) {
            Progress::Some => {
                wanted = SCAN_BYTES;
                continue;
            }
            Progress::NeedsMore if wanted < rest && bytes.len() == wanted => {
                wanted *= 2;
                continue;
            }
            Progress::NeedsMore | Progress::None => {}
        }
        let behind = next_good_batch(&bytes, HEADER_BYTES, builder.next_offset())
            .filter(|(_, header)| header.next_offset() <= end.0);
        match behind {
            Some((length, header)) => push_damage(builder, length, Offset(header.base_offset)),
            // A batch may be longer than what was read.
            None if wanted < rest && bytes.len() == wanted => wanted *= 2,
            None => push_damage(builder, rest, end),
        }
    }
    Ok(())
}

/// What [`push_batches`] came to.
enum Progress {
    /// At least one batch is in the index.
    Some,
    /// Whether the first batch is good shows in the one behind it, which is not all there.
    NeedsMore,
    /// The first batch is not whole or not good.
    None,
}

/// Pushes the whole good batches at the start of `bytes`, behind which nothing comes if `is_last`.
fn push_batches(
    builder: &mut IndexBuilder,
    bytes: &[u8],
    is_last: bool,
    end: Offset,
    epochs: &LeaderEpochs,
) -> Progress {
    let mut position = 0;
    let mut needs_more = false;
    while let Some((header, size)) = good_batch(&bytes[position..]) {
        let next = builder.next_offset();
        let in_order = header.base_offset >= next.0 && header.next_offset() <= end.0;
        if !in_order || !has_its_epoch(&header, epochs) {
            break;
        }
        if header.base_offset > next.0 {
            match good_batch(&bytes[position + size..]) {
                Some((behind, _)) if overlaps(&header, &behind, next) => break,
                // Enough of it for any batch but a very long one: then it is damaged itself, and tells nothing.
                None if !is_last && bytes.len() - position - size < SCAN_BYTES => {
                    needs_more = true;
                    break;
                }
                _ => {}
            }
        }
        let prefix: &[u8; PREFIX_BYTES] = bytes[position..][..PREFIX_BYTES]
            .try_into()
            .expect("a batch is longer than its prefix");
        builder.push(prefix, &header);
        position += size;
    }
    match (position, needs_more) {
        (0, true) => Progress::NeedsMore,
        (0, false) => Progress::None,
        _ => Progress::Some,
    }
}

/// Stands for `length` bytes that hold no good batch, up to the offset `next`.
fn push_damage(builder: &mut IndexBuilder, length: usize, next: Offset) {
    let first = builder.next_offset();
    tracing::error!(
        segment = builder.info().base_offset.0,
        position = builder.info().size,
        length,
        "damaged bytes in a segment"
    );
    let last = Offset((next.0 - 1).max(first.0));
    let length = u32::try_from(length).expect("a segment is below 4 GiB");
    builder.close_run();
    builder.push(
        &[0; PREFIX_BYTES],
        &placeholder(
            first,
            last,
            length.max(LENGTH_OVERHEAD as u32),
            LeaderEpoch(-1),
        ),
    );
    builder.close_run();
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::BatchBuilder;

    fn batch(base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.append(None, Some(b"value"), &[], 1);
        builder.build(base, 0)
    }

    /// The offsets that one call pushes of a segment whose batches say these base offsets.
    fn pushed(bases: &[i64], is_last: bool) -> (i64, Progress) {
        let bytes: Vec<u8> = bases.iter().flat_map(|base| batch(*base)).collect();
        let mut builder = IndexBuilder::new(Offset(0), 0, RUN_INTERVAL_BYTES);
        let epochs = LeaderEpochs::default();
        let progress = push_batches(&mut builder, &bytes, is_last, Offset(100), &epochs);
        (builder.next_offset().0, progress)
    }

    #[test]
    fn a_base_offset_that_runs_into_the_next_batch_is_damage() {
        // The second batch was at 1; one bit made it 3, or 65.
        for flipped in [3, 65] {
            assert_eq!(pushed(&[0, flipped, 2, 3], true).0, 1);
            assert!(matches!(
                pushed(&[flipped, 1, 2], true),
                (0, Progress::None)
            ));
        }
    }

    #[test]
    fn offsets_that_compaction_left_out_are_no_damage() {
        assert_eq!(pushed(&[2, 7, 8, 90], true).0, 91);
        // Whether the first one is right shows in what was not read yet.
        assert!(matches!(pushed(&[2], false), (0, Progress::NeedsMore)));
    }
}
