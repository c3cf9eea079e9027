//! One cleaning of one partition: the table of keys from its dirty part, then group by group a new segment, swapped in.
//! On the shard's core.
//!
//! Invariants: memory is bounded by the table, one read, one write and the largest batch; a segment with damage is left
//! as it is, and its group is cleaned around it; whatever goes wrong, the old segments are still there.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;

use net::records::{
    Batch, BatchHeader, RetainRules, Retained, RetainedBatch, Retainer, StoredRecord, empty_batch,
    split_batches,
};

use super::cleaned_file::CleanedFile;
use super::cleaned_transactions::CleanedTransactions;
use super::cleaner::Pace;
use super::filter::{Filter, MapBuilder, Verdict, last_of_producers};
use super::offset_map::OffsetMap;
use super::plan::{Cleanable, group_segments};
use super::source::{Source, SourceError};
use super::swap::{self, Replacement, SwapOutcome};
use super::swap_files::discard;
use crate::log::quarantine::QuarantinedRange;
use crate::log::segment::SegmentInfo;
use crate::log::storage_shard::Shard;
use crate::log::transactions::AbortedTransaction;
use crate::types::{Offset, PartitionId};

/// The most that a stored batch may unpack to: what a producer may send is below (RELIABILITY N8), an imported log
/// may hold more.
const UNPACKED_BYTES_MAX: usize = 256 << 20;
/// What looking at a batch costs beside its bytes, in bytes.
const BATCH_COST: usize = 256;

/// How a cleaning ended.
pub(crate) enum Outcome {
    /// The log is clean up to there.
    Cleaned {
        /// Where it is dirty.
        first_dirty: Offset,
    },
    /// The shard stops, the partition goes, or it is no longer to be compacted.
    Interrupted,
}

/// Why a group came to nothing.
enum GroupError {
    /// The segment with this base offset is damaged.
    Damaged(Offset),
    /// The new segment would have more bytes than a segment may.
    TooLarge,
    /// Nothing is to be cleaned any more.
    Interrupted,
    Io(io::Error),
}

impl From<io::Error> for GroupError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => GroupError::TooLarge,
            _ => GroupError::Io(error),
        }
    }
}

/// What stands still while a partition is cleaned.
struct Job<'a> {
    shard: &'a Rc<Shard>,
    id: PartitionId,
    directory: Rc<str>,
    /// The segments below the end, oldest first.
    segments: Vec<SegmentInfo>,
    end: Offset,
    max_message_bytes: usize,
    segment_bytes: u32,
    /// Base offsets of segments that turned out to be damaged or unreadable.
    untouchable: RefCell<BTreeSet<Offset>>,
}

/// Cleans the partition as planned. `now_ms` is `None` while the clock is in doubt.
pub(crate) async fn clean(
    shard: &Rc<Shard>,
    id: PartitionId,
    plan: &Cleanable,
    now_ms: Option<i64>,
    pace: &mut Pace<'_>,
) -> io::Result<Outcome> {
    let found = shard.with_partition(id, |partition| {
        let log = &partition.log;
        let segments = log.segments().as_slice().iter().copied();
        let job = Job {
            shard,
            id,
            directory: partition.directory.clone(),
            segments: segments
                .filter(|segment| segment.base_offset < plan.end)
                .collect(),
            end: plan.end,
            max_message_bytes: log.config().max_message_bytes as usize,
            segment_bytes: log.config().segment_bytes,
            untouchable: RefCell::default(),
        };
        let aborted: Vec<AbortedTransaction> = log.aborted().iter().copied().collect();
        let producers = last_of_producers(log.producers());
        (job, aborted, producers, log.config().delete_retention_ms)
    });
    let Some((job, aborted, producers, delete_retention_ms)) = found else {
        return Ok(Outcome::Interrupted);
    };
    let Some(mut map) = job.build_map(plan, &aborted, pace).await? else {
        return Ok(Outcome::Interrupted);
    };
    let looked_at = Offset(map.latest().0 + 1);
    let mut filter = Filter {
        map: &map,
        transactions: CleanedTransactions::new(aborted),
        producers,
        now_ms,
        delete_retention_ms,
        round_end: plan.end,
    };
    let result = job.clean_groups(looked_at, &mut filter, pace).await;
    let bytes = map.bytes();
    {
        let numbers = &mut shard.cleaner.borrow_mut().numbers;
        numbers.map_bytes_max = numbers.map_bytes_max.max(bytes);
    }
    while map.give_back() {
        shard.runtime.yield_now().await;
    }
    Ok(match result? {
        true => Outcome::Cleaned {
            first_dirty: looked_at,
        },
        false => Outcome::Interrupted,
    })
}

impl Job<'_> {
    fn is_over(&self) -> bool {
        if self.shard.stopping.get() || self.shard.journal.poison().is_some() {
            return true;
        }
        let wanted = self.shard.with_partition(self.id, |partition| {
            !partition.closing && partition.log.config().compact
        });
        wanted != Some(true)
    }

    /// Base offset behind the segment at `index`.
    fn next_base(&self, index: usize) -> Offset {
        let next = self.segments.get(index + 1);
        next.map_or(self.end, |next| next.base_offset)
    }

    /// The table of keys of the dirty part; `None` if the cleaning is over.
    async fn build_map(
        &self,
        plan: &Cleanable,
        aborted: &[AbortedTransaction],
        pace: &mut Pace<'_>,
    ) -> io::Result<Option<OffsetMap>> {
        let settings = self.shard.cleaner_settings.get();
        let secret = [
            self.shard.runtime.random_u64(),
            self.shard.runtime.random_u64(),
        ];
        let keys = (plan.end.0 - plan.first_dirty.0).unsigned_abs();
        let ending = aborted
            .iter()
            .filter(|entry| entry.last_offset >= plan.first_dirty);
        let mut builder = MapBuilder::new(
            OffsetMap::new(settings.map_bytes, settings.map_load, keys, secret),
            CleanedTransactions::new(ending.copied()),
            plan.first_dirty,
        );
        for (index, segment) in self.segments.iter().enumerate() {
            if self.next_base(index) <= plan.first_dirty || builder.is_full() {
                continue;
            }
            match self
                .add_segment(segment, plan.first_dirty, &mut builder, pace)
                .await
            {
                Ok(()) => builder.end_segment(self.next_base(index)),
                // Its keys supersede nothing; it will not be cleaned either.
                Err(GroupError::Damaged(_) | GroupError::TooLarge) => {
                    builder.end_segment(self.next_base(index));
                }
                Err(GroupError::Interrupted) => return Ok(None),
                Err(GroupError::Io(error)) => return Err(error),
            }
        }
        Ok(Some(builder.map))
    }

    async fn add_segment(
        &self,
        segment: &SegmentInfo,
        first_dirty: Offset,
        builder: &mut MapBuilder,
        pace: &mut Pace<'_>,
    ) -> Result<(), GroupError> {
        let base = segment.base_offset;
        let from = first_dirty.max(base);
        let mut source = self.open(base, from).await?;
        while let Some(bytes) = self.read(&mut source, base, pace).await? {
            for batch in split_batches(&bytes) {
                let batch = batch.map_err(|_| self.unreadable(base))?;
                let header = batch.header();
                if header.last_offset() < first_dirty.0 {
                    continue;
                }
                if builder.begin_batch(header, batch.bytes()) {
                    let add = |record: &StoredRecord<'_>| {
                        builder.add(record);
                        false
                    };
                    self.retain(&batch, RetainRules::default(), add, base, pace)
                        .await?;
                }
                pace.worked(BATCH_COST).await;
                if !builder.end_batch(header) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Cleans everything that begins below `looked_at`. False if it was interrupted.
    async fn clean_groups(
        &self,
        looked_at: Offset,
        filter: &mut Filter<'_>,
        pace: &mut Pace<'_>,
    ) -> io::Result<bool> {
        let count = self
            .segments
            .partition_point(|segment| segment.base_offset < looked_at);
        let end = self.next_base(count.saturating_sub(1));
        let mut groups: VecDeque<Vec<SegmentInfo>> = VecDeque::new();
        for stretch in self.stretches(&self.segments[..count], end) {
            match stretch {
                Stretch::Good(segments, end) => {
                    groups.extend(group_segments(&segments, end, self.segment_bytes));
                }
                Stretch::Damaged(segment) => groups.push_back(vec![segment]),
            }
        }
        while let Some(group) = groups.pop_front() {
            if self.has_untouchable(&group) {
                filter.transactions.step_over();
                self.shard.cleaner.borrow_mut().numbers.damaged_segments += 1;
                continue;
            }
            if self.is_too_large(&group) {
                filter.transactions.step_over();
                continue;
            }
            let before = filter.transactions.clone();
            match self.clean_group(&group, filter, pace).await {
                Ok(()) => {}
                Err(GroupError::Interrupted) => return Ok(false),
                Err(GroupError::Io(error)) => return Err(error),
                Err(GroupError::TooLarge) => {
                    // Each segment for itself, and one that grows even so is left as it is.
                    filter.transactions = before;
                    match &group[..] {
                        [segment] => self.leave_too_large(segment, &mut groups),
                        _ => group
                            .iter()
                            .rev()
                            .for_each(|segment| groups.push_front(vec![*segment])),
                    }
                }
                Err(GroupError::Damaged(base)) => {
                    // It is quarantined now: the others are cleaned without it.
                    filter.transactions = before;
                    let at = group.iter().position(|segment| segment.base_offset == base);
                    let at = at.expect("a segment of the group was read");
                    let (front, rest) = group.split_at(at);
                    let (damaged, back) = rest.split_at(1);
                    for part in [back, damaged, front] {
                        if !part.is_empty() {
                            groups.push_front(part.to_vec());
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    fn leave_too_large(&self, segment: &SegmentInfo, groups: &mut VecDeque<Vec<SegmentInfo>>) {
        let base = segment.base_offset;
        tracing::warn!(
            directory = &*self.directory,
            %base,
            "a segment would be too large once it is cleaned, and stays as it is"
        );
        let mut cleaner = self.shard.cleaner.borrow_mut();
        cleaner.too_large.insert((self.id, base));
        groups.push_front(vec![*segment]);
    }

    fn is_too_large(&self, group: &[SegmentInfo]) -> bool {
        let too_large = &self.shard.cleaner.borrow().too_large;
        let mut bases = group.iter().map(|segment| segment.base_offset);
        bases.any(|base| too_large.contains(&(self.id, base)))
    }

    fn stretches(&self, segments: &[SegmentInfo], end: Offset) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let next = segments.get(index + 1).map_or(end, |next| next.base_offset);
            let alone = std::slice::from_ref(segment);
            if self.is_too_large(alone) || self.is_untouchable(segment.base_offset, next) {
                stretches.push(Stretch::Damaged(*segment));
                continue;
            }
            match stretches.last_mut() {
                Some(Stretch::Good(list, end)) => {
                    list.push(*segment);
                    *end = next;
                }
                _ => stretches.push(Stretch::Good(vec![*segment], next)),
            }
        }
        stretches
    }

    fn has_untouchable(&self, group: &[SegmentInfo]) -> bool {
        group.iter().any(|segment| {
            let at = self
                .segments
                .iter()
                .position(|other| other.base_offset == segment.base_offset);
            let next = at.map_or(self.end, |at| self.next_base(at));
            self.is_untouchable(segment.base_offset, next)
        })
    }

    fn is_untouchable(&self, base: Offset, next: Offset) -> bool {
        if self.untouchable.borrow().contains(&base) {
            return true;
        }
        let found = self.shard.with_partition(self.id, |partition| {
            let ranges = partition.log.quarantined();
            ranges
                .iter()
                .any(|range| range.first < next && range.last >= base)
        });
        found.unwrap_or(true)
    }

    /// Writes the group's new segment and swaps it in.
    async fn clean_group(
        &self,
        group: &[SegmentInfo],
        filter: &mut Filter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<(), GroupError> {
        let base = group[0].base_offset;
        let result = self.write_group(group, filter, pace).await;
        match result {
            Ok(Some(replacement)) => {
                let outcome = swap::swap(self.shard, replacement).await?;
                if outcome == SwapOutcome::Refused {
                    discard(&self.shard.disk, &self.directory, base).await;
                    return match self.is_over() {
                        true => Err(GroupError::Interrupted),
                        false => Err(io::Error::other("its segments changed meanwhile").into()),
                    };
                }
                self.shard.cleaner.borrow_mut().numbers.swaps += 1;
                if self.shard.cleaner.borrow().swaps.len() >= super::swap_record::SWAPS_MAX
                    && !swap::settle(self.shard).await?
                {
                    return Err(GroupError::Interrupted);
                }
                Ok(())
            }
            Ok(None) => {
                discard(&self.shard.disk, &self.directory, base).await;
                Ok(())
            }
            Err(error) => {
                discard(&self.shard.disk, &self.directory, base).await;
                Err(error)
            }
        }
    }

    /// The new segment; `None` if it would be the old one again.
    async fn write_group<'j>(
        &'j self,
        group: &'j [SegmentInfo],
        filter: &mut Filter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Replacement<'j>>, GroupError> {
        let created_ms = group.last().expect("a group has a segment").created_ms;
        let base = group[0].base_offset;
        let mut file = CleanedFile::create(self.shard, &self.directory, base, created_ms).await?;
        let mut changed = group.len() > 1;
        for segment in group {
            let mut source = self.open(segment.base_offset, segment.base_offset).await?;
            while let Some(bytes) = self.read(&mut source, segment.base_offset, pace).await? {
                let before = file.size();
                for batch in split_batches(&bytes) {
                    let batch = batch.map_err(|_| self.unreadable(segment.base_offset))?;
                    changed |= self
                        .clean_batch(&batch, filter, &mut file, segment.base_offset, pace)
                        .await?;
                }
                let written = u64::from(file.size() - before);
                self.shard.cleaner.borrow_mut().numbers.bytes_written += written;
                pace.transferred(written).await;
            }
        }
        let aborted = filter.transactions.take_needed();
        if !changed {
            return Ok(None);
        }
        let last = group[group.len() - 1].base_offset;
        let at = self
            .segments
            .iter()
            .position(|segment| segment.base_offset == last)
            .expect("a group is part of the log");
        let end = self.next_base(at);
        let in_group: Vec<AbortedTransaction> = aborted
            .into_iter()
            .filter(|entry| (base..end).contains(&entry.last_offset))
            .collect();
        let segment = file.finish(&in_group).await?;
        Ok(Some(Replacement {
            id: self.id,
            directory: &self.directory,
            group,
            end,
            segment,
            aborted: in_group,
        }))
    }

    /// Writes what stays of a batch. Whether that is something else than the batch.
    async fn clean_batch(
        &self,
        batch: &Batch<'_>,
        filter: &mut Filter<'_>,
        file: &mut CleanedFile<'_>,
        base: Offset,
        pace: &mut Pace<'_>,
    ) -> Result<bool, GroupError> {
        pace.worked(BATCH_COST).await;
        let header = batch.header();
        let count = |read: i32, removed: usize| {
            let numbers = &mut self.shard.cleaner.borrow_mut().numbers;
            numbers.records_read += u64::try_from(read).unwrap_or(0);
            numbers.records_removed += removed as u64;
        };
        let empty = (header.max_timestamp, Offset(header.last_offset()));
        match filter.judge(header, batch.bytes()) {
            Verdict::Drop => {
                count(header.record_count, header.record_count.max(0) as usize);
                Ok(true)
            }
            Verdict::Empty => {
                count(header.record_count, header.record_count.max(0) as usize);
                file.push(&empty_batch(header), empty).await?;
                Ok(header.record_count != 0)
            }
            Verdict::Ask { keep_empty, rules } => {
                let filter = &*filter;
                let keep = |record: &StoredRecord<'_>| filter.keeps(header, record);
                let retained = self.retain(batch, rules, keep, base, pace).await?;
                count(
                    header.record_count,
                    retained.records_before - retained.records,
                );
                let newest = (
                    retained.max_timestamp,
                    Offset(retained.offset_of_max_timestamp),
                );
                match retained.batch {
                    RetainedBatch::Unchanged => {
                        file.push(batch.bytes(), newest).await?;
                        Ok(false)
                    }
                    RetainedBatch::Rewritten(rewritten) => {
                        self.warn_if_larger(header, batch.bytes().len(), rewritten.len());
                        file.push(&rewritten, newest).await?;
                        Ok(true)
                    }
                    RetainedBatch::Nothing if keep_empty => {
                        file.push(&empty_batch(header), empty).await?;
                        Ok(header.record_count != 0)
                    }
                    RetainedBatch::Nothing => Ok(true),
                }
            }
        }
    }

    fn unreadable(&self, base: Offset) -> GroupError {
        self.untouchable.borrow_mut().insert(base);
        GroupError::Damaged(base)
    }

    fn warn_if_larger(&self, header: &BatchHeader, before: usize, after: usize) {
        if after > before && after > self.max_message_bytes {
            tracing::warn!(
                directory = &*self.directory,
                offset = header.base_offset,
                after,
                "a batch grew beyond max.message.bytes in cleaning; consumers may need a larger fetch size"
            );
        }
    }

    async fn retain(
        &self,
        batch: &Batch<'_>,
        rules: RetainRules,
        mut keep: impl FnMut(&StoredRecord<'_>) -> bool,
        base: Offset,
        pace: &mut Pace<'_>,
    ) -> Result<Retained, GroupError> {
        let broken = |error: net::records::BatchError| {
            // The checksums hold: it was stored like this. Nobody can say what its keys are.
            tracing::warn!(
                directory = &*self.directory,
                offset = batch.header().base_offset,
                %error,
                "a batch cannot be unpacked: its segment is left as it is"
            );
            self.unreadable(base)
        };
        let mut retainer = Retainer::new(batch, rules, UNPACKED_BYTES_MAX).map_err(broken)?;
        pace.worked(batch.bytes().len()).await;
        loop {
            match retainer.step(&mut keep).map_err(broken)? {
                Some(retained) => return Ok(retained),
                // A step that is not the last did about so much.
                None => pace.worked(64 << 10).await,
            }
        }
    }

    async fn open(&self, base: Offset, from: Offset) -> Result<Source, GroupError> {
        if self.is_over() {
            return Err(GroupError::Interrupted);
        }
        Ok(Source::open(self.shard, self.id, &self.directory, base, from).await?)
    }

    async fn read(
        &self,
        source: &mut Source,
        base: Offset,
        pace: &mut Pace<'_>,
    ) -> Result<Option<bytes::Bytes>, GroupError> {
        if self.is_over() {
            return Err(GroupError::Interrupted);
        }
        match source.next().await {
            Ok(Some(bytes)) => {
                self.shard.cleaner.borrow_mut().numbers.bytes_read += bytes.len() as u64;
                pace.worked(bytes.len() / 4).await;
                pace.transferred(bytes.len() as u64).await;
                Ok(Some(bytes))
            }
            Ok(None) => Ok(None),
            Err(SourceError::Io(error)) => Err(GroupError::Io(error)),
            Err(SourceError::Damaged(ranges)) => {
                self.untouchable.borrow_mut().insert(base);
                self.quarantine(base, &ranges);
                Err(GroupError::Damaged(base))
            }
        }
    }

    fn quarantine(&self, base: Offset, ranges: &[QuarantinedRange]) {
        self.shard.with_partition(self.id, |partition| {
            let log_start = partition.log.offsets().log_start();
            for range in ranges.iter().filter(|range| range.last >= log_start) {
                tracing::error!(
                    directory = &*self.directory,
                    segment = base.0,
                    first = range.first.0,
                    last = range.last.0,
                    "damaged records: kept, and not cleaned"
                );
                partition.log.quarantine(*range);
            }
        });
    }
}

/// Neighbouring segments without damage, and where they end; or one with damage.
enum Stretch {
    Good(Vec<SegmentInfo>, Offset),
    Damaged(SegmentInfo),
}
