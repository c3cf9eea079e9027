//! Carries out planned reads: from the cache by reference, or from a segment by whole index runs, every batch's CRC and
//! every run's header checksum verified before a byte leaves (DESIGN §5.3). `segment_reader` brings them from the disk. On
//! the shard's core.
//!
//! Invariant: damaged bytes are quarantined when they are seen and never served; what lies before and behind them is.

use std::io;
use std::rc::Rc;

use super::damage::{Division, divide};
use super::error::ReadError;
use super::index::{Damage, SegmentIndex};
use super::partition_checkpoint::QuarantinedRange;
use super::read::{
    BatchCut, Isolation, ReadPlan, ReadRequest, ReadResult, ReadSource, cut_batches,
};
use super::segment_indexes::{SWAP_PAUSE, index_of, swap_state};
use super::segment_reader::{Chunk, SegmentView};
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};
use bytes::Bytes;

/// How often a read is planned again because of damage or of a segment that ended.
const ATTEMPTS_MAX: usize = 16;

enum Outcome {
    Done(Vec<Bytes>, usize),
    /// Look at the plan again: a range was quarantined meanwhile.
    Replan,
    /// Nothing at or above the offset in this segment.
    NextSegment,
}

/// The bytes of a plan.
pub(crate) async fn execute(
    shard: &Rc<Shard>,
    mut plan: ReadPlan,
) -> Result<ReadResult, ReadError> {
    let mut attempts = 0;
    while attempts < ATTEMPTS_MAX {
        match std::mem::replace(&mut plan.source, ReadSource::Empty) {
            ReadSource::Empty => return Ok(result(plan, Vec::new(), 0)),
            ReadSource::Cached { chain, bytes } => {
                shard.count(|counters| counters.cache_hits += 1);
                return Ok(result(plan, chain, bytes));
            }
            ReadSource::Segment { segment_base, .. } => {
                shard.count(|counters| counters.cache_misses += 1);
                let read = read_segment(shard, &plan, segment_base).await;
                match read.map_err(|error| explain(shard, &plan, error))? {
                    Outcome::Done(chain, bytes) => return Ok(result(plan, chain, bytes)),
                    Outcome::Replan => {
                        attempts += 1;
                        plan = plan_again(shard, &plan, plan.offset)?;
                    }
                    // As often as there are segments: compaction may have left many of them empty.
                    Outcome::NextSegment => match plan.next_segment_base {
                        Some(base) => plan = plan_again(shard, &plan, base)?,
                        // Says that it is damaged, or goes on behind it where readers step over it: a reader that got
                        // nothing would ask for ever.
                        None if damage_begins_at_bound(shard, &plan) => {
                            plan = plan_again(shard, &plan, plan.upper_bound)?;
                        }
                        None => return Ok(result(plan, Vec::new(), 0)),
                    },
                }
            }
        }
    }
    Err(ReadError::Storage(
        "a segment is missing, or damaged in too many places for one read".to_owned(),
    ))
}

/// A read that failed because retention took the segment meanwhile was out of range.
fn explain(shard: &Shard, plan: &ReadPlan, error: ReadError) -> ReadError {
    let offsets = shard.with_partition(plan.id, |partition| *partition.log.offsets());
    match (&error, offsets) {
        (ReadError::Storage(_), Some(offsets)) if plan.offset < offsets.log_start() => {
            ReadError::OffsetOutOfRange {
                offset: plan.offset,
                log_start: offsets.log_start(),
                high_watermark: offsets.high_watermark(),
            }
        }
        _ => error,
    }
}

fn result(plan: ReadPlan, chain: Vec<Bytes>, bytes: usize) -> ReadResult {
    ReadResult {
        chain: if bytes == 0 { Vec::new() } else { chain },
        bytes,
        high_watermark: plan.high_watermark,
        last_stable_offset: plan.last_stable_offset,
        log_start_offset: plan.log_start_offset,
        aborted: plan.aborted,
        diverging: plan.diverging,
    }
}

fn damage_begins_at_bound(shard: &Shard, plan: &ReadPlan) -> bool {
    let found = shard.with_partition(plan.id, |partition| {
        let ranges = partition.log.quarantined();
        ranges.iter().any(|range| range.first == plan.upper_bound)
    });
    found == Some(true)
}

fn plan_again(shard: &Shard, plan: &ReadPlan, offset: Offset) -> Result<ReadPlan, ReadError> {
    let request = ReadRequest {
        id: plan.id,
        offset,
        bytes_max: plan.bytes_max,
        at_least_one: plan.at_least_one,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    let cache = shard.cache.borrow();
    let again = shard.with_partition(plan.id, |partition| {
        partition.log.plan_read(&request, &cache)
    });
    let mut again = again.ok_or(ReadError::UnknownPartition)??;
    // What the reader may see was decided by the first plan.
    again.upper_bound = again.upper_bound.min(plan.upper_bound);
    again.high_watermark = plan.high_watermark;
    again.last_stable_offset = plan.last_stable_offset;
    again.log_start_offset = plan.log_start_offset;
    again.aborted.clone_from(&plan.aborted);
    if let ReadSource::Cached { .. } = again.source {
        let cached = cache.plan(
            plan.id,
            offset,
            again.upper_bound,
            plan.bytes_max,
            plan.at_least_one,
        );
        again.source = cached.map_or(ReadSource::Empty, |(chain, bytes)| ReadSource::Cached {
            chain,
            bytes,
        });
    }
    Ok(again)
}

async fn read_segment(
    shard: &Rc<Shard>,
    plan: &ReadPlan,
    base: Offset,
) -> Result<Outcome, ReadError> {
    match read_runs(shard, plan, base).await {
        // Deleted since the plan, or missing: another plan tells.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Replan),
        Err(error) => Err(ReadError::Storage(error.to_string())),
        Ok(outcome) => Ok(outcome),
    }
}

/// What a read has gathered so far.
#[derive(Default)]
struct Gathered {
    chain: Vec<Bytes>,
    bytes: usize,
    /// Where the reader goes on.
    next_offset: Option<Offset>,
    /// The next batch is too much, or not to be seen.
    is_ended: bool,
}

impl Gathered {
    /// Adds the batches that the plan wants of verified ones that lie behind those that were added before.
    fn add(&mut self, plan: &ReadPlan, batches: &Bytes) -> io::Result<()> {
        let cut = cut_batches(
            batches,
            true,
            plan.offset,
            plan.upper_bound,
            plan.bytes_max.saturating_sub(self.bytes),
            plan.at_least_one && self.chain.is_empty(),
        );
        match cut {
            BatchCut::Found {
                start,
                end,
                next_offset,
            } => {
                self.is_ended = end < batches.len();
                if end > start {
                    self.chain.push(batches.slice(start..end));
                    self.bytes += end - start;
                    self.next_offset = Some(next_offset);
                }
                Ok(())
            }
            BatchCut::Exhausted => Ok(()),
            BatchCut::NeedMore { .. } | BatchCut::Damaged { .. } => {
                Err(io::Error::other("verified bytes are no batches"))
            }
        }
    }

    fn wants_more(&self, plan: &ReadPlan) -> bool {
        !self.is_ended && (self.chain.is_empty() || self.bytes < plan.bytes_max)
    }
}

async fn read_runs(shard: &Rc<Shard>, plan: &ReadPlan, base: Offset) -> io::Result<Outcome> {
    let swap = swap_state(shard, plan.id).ok_or(io::ErrorKind::NotFound)?;
    let index = index_of(shard, plan.id, base).await?;
    let directory = shard.with_partition(plan.id, |partition| partition.directory.clone());
    let directory = directory.ok_or(io::ErrorKind::NotFound)?;
    let covered = index.borrow().covered();
    let range = index
        .borrow()
        .read_range(plan.offset, plan.bytes_max, covered);
    let Some((_, _, until)) = range else {
        return Ok(Outcome::NextSegment);
    };
    let file = shard
        .files
        .readable(&shard.disk, plan.id, &directory, base)
        .await?;
    let view = SegmentView {
        id: plan.id,
        base,
        swap,
        index: index.clone(),
    };
    let mut reader = shard.readers.take(view, plan.offset);
    if reader.has_chunks() {
        shard.count(|counters| counters.read_ahead_hits += 1);
    }
    let mut gathered = Gathered::default();
    let mut may_go_on = true;
    while gathered.wants_more(plan)
        && reader
            .next_base_offset()
            .is_some_and(|next| next < plan.upper_bound)
    {
        // A read error is damage of the range that was read, not of the partition.
        let Some(chunk) = reader.next(shard, &file, until).await? else {
            break;
        };
        let (bytes, is_good) = chunk.bytes();
        if is_good {
            gathered.add(plan, &bytes)?;
        } else {
            let division = divide_chunk(shard, plan.id, &index.borrow(), &chunk, &bytes);
            if !division.damaged.is_empty() {
                if chunk.is_ahead {
                    reader.read_again(&chunk);
                    continue;
                }
                let after = swap_state(shard, plan.id).ok_or(io::ErrorKind::NotFound)?;
                if swap.is_renaming || swap != after {
                    // Not damage, but an index of one side of a swap and a file of the other.
                    shard.pause(SWAP_PAUSE).await;
                    return Ok(Outcome::Replan);
                }
            }
            if quarantine(shard, plan, base, &division.damaged) {
                return Ok(Outcome::Replan);
            }
            // Behind damage a reader begins anew.
            may_go_on &= division.is_good(chunk.length);
            for good in division.good {
                let is_last = good.end == chunk.length;
                gathered.add(plan, &bytes.slice(good))?;
                gathered.is_ended |= !is_last && !gathered.chain.is_empty();
                if gathered.is_ended {
                    break;
                }
            }
        }
        if gathered.is_ended && may_go_on {
            reader.put_back(chunk);
        }
    }
    if let Some(next_offset) = gathered.next_offset.filter(|_| may_go_on) {
        let now = shard.runtime.monotonic();
        shard.readers.keep(reader, next_offset, now);
    }
    Ok(match gathered {
        Gathered { chain, bytes, .. } if bytes > 0 => Outcome::Done(chain, bytes),
        Gathered { is_ended: true, .. } => Outcome::Done(Vec::new(), 0),
        _ => Outcome::NextSegment,
    })
}

fn divide_chunk(
    shard: &Shard,
    id: PartitionId,
    index: &SegmentIndex,
    chunk: &Chunk,
    bytes: &Bytes,
) -> Division {
    let epochs = || {
        let epochs = shard.with_partition(id, |partition| partition.log.epochs().clone());
        epochs.unwrap_or_default()
    };
    divide(
        index,
        chunk.first_run,
        chunk.start,
        bytes,
        chunk.length,
        epochs,
    )
}

/// Remembers damage; says whether any of it was not known.
fn quarantine(
    shard: &Shard,
    plan: &ReadPlan,
    base: Offset,
    damaged: &[(QuarantinedRange, Damage)],
) -> bool {
    let news = shard.with_partition(plan.id, |partition| {
        let mut news = false;
        for (range, damage) in damaged {
            let known = partition
                .log
                .quarantined()
                .iter()
                .any(|old| old.first <= range.first && range.last <= old.last);
            let below = range.last < partition.log.offsets().log_start();
            if known || below {
                continue;
            }
            news = true;
            tracing::error!(
                directory = &*partition.directory,
                segment = base.0,
                position = damage.position.0,
                kind = ?damage.kind,
                first = range.first.0,
                last = range.last.0,
                "damaged records: kept, and not served"
            );
            partition.log.quarantine(*range);
        }
        news
    });
    news.unwrap_or(true)
}
