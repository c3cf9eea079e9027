//! The tail cache of a shard: recent batches of all its partitions, by reference.
//!
//! Every planned batch enters, **pinned**: its bytes are not in a segment yet, so a read can only be served from
//! here. When write-behind has put them there, [`TailCache::unpin`] makes them evictable; from then on they share
//! one byte budget for the whole shard, and the batch that became evictable first leaves first. Per partition the
//! cached batches are always one gapless run up to the partition's end, because batches are unpinned in order and
//! evicted from the front. One per shard, never leaves its core.

use super::batch::{PREFIX_BYTES, StoredBatch};
use crate::types::{FilePosition, Offset, PartitionId};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// Memory that a cached batch costs beside its bytes.
const OVERHEAD_BYTES: usize = size_of::<CachedBatch>() + size_of::<(PartitionId, Offset)>();

#[derive(Debug)]
struct CachedBatch {
    batch: StoredBatch,
    segment_base: Offset,
    position: FilePosition,
}

impl CachedBatch {
    fn cost(&self) -> usize {
        self.batch.size_in_bytes() + OVERHEAD_BYTES
    }
}

#[derive(Debug, Default)]
struct Tail {
    batches: VecDeque<CachedBatch>,
    /// How many of the front ones are evictable.
    unpinned: usize,
}

/// The cached batches of one shard.
#[derive(Debug)]
pub struct TailCache {
    tails: BTreeMap<PartitionId, Tail>,
    /// Evictable batches in the order they became so; exactly those that are there.
    order: VecDeque<(PartitionId, Offset)>,
    bytes_max: usize,
    bytes_unpinned: usize,
    bytes_pinned: usize,
}

/// Where the cached run of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStart {
    /// Offset of its first record; everything below is in segments.
    pub offset: Offset,
    /// The segment of that batch.
    pub segment_base: Offset,
    /// Its place in that segment: bytes below are written.
    pub position: FilePosition,
}

impl TailCache {
    /// A cache that keeps up to `bytes_max` bytes that are also in segments; pinned bytes come on top, bounded by
    /// `journal_dirty_bytes_max`.
    pub fn new(bytes_max: usize) -> TailCache {
        TailCache {
            tails: BTreeMap::new(),
            order: VecDeque::new(),
            bytes_max,
            bytes_unpinned: 0,
            bytes_pinned: 0,
        }
    }

    /// Evictable bytes held.
    pub fn bytes_unpinned(&self) -> usize {
        self.bytes_unpinned
    }

    /// Bytes held because no segment has them yet.
    pub fn bytes_pinned(&self) -> usize {
        self.bytes_pinned
    }

    /// Adds the batch behind the partition's last one.
    pub fn push(
        &mut self,
        id: PartitionId,
        batch: StoredBatch,
        segment_base: Offset,
        position: FilePosition,
    ) {
        let tail = self.tails.entry(id).or_default();
        assert!(
            tail.batches
                .back()
                .is_none_or(|last| last.batch.last_offset() < batch.base_offset()),
            "batches enter in offset order"
        );
        let cached = CachedBatch {
            batch,
            segment_base,
            position,
        };
        self.bytes_pinned += cached.cost();
        tail.batches.push_back(cached);
    }

    /// All batches of the partition that end at or below `last_offset` are in their segments now.
    pub fn unpin(&mut self, id: PartitionId, last_offset: Offset) {
        let Some(tail) = self.tails.get_mut(&id) else {
            return;
        };
        while let Some(cached) = tail.batches.get(tail.unpinned)
            && cached.batch.last_offset() <= last_offset
        {
            tail.unpinned += 1;
            let bytes = cached.cost();
            self.bytes_pinned -= bytes;
            self.bytes_unpinned += bytes;
            self.order.push_back((id, cached.batch.base_offset()));
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes_unpinned > self.bytes_max {
            let (id, base) = self
                .order
                .pop_front()
                .expect("evictable bytes stand in the order");
            let tail = self
                .tails
                .get_mut(&id)
                .expect("the order names batches that are there");
            let gone = tail
                .batches
                .pop_front()
                .expect("the order names batches that are there");
            assert!(
                tail.unpinned > 0 && gone.batch.base_offset() == base,
                "a partition's batches leave from the front"
            );
            tail.unpinned -= 1;
            self.bytes_unpinned -= gone.cost();
            if tail.batches.is_empty() {
                self.tails.remove(&id);
            } else if tail.batches.capacity() > 16
                && tail.batches.len() * 4 < tail.batches.capacity()
            {
                tail.batches.shrink_to(tail.batches.len() * 2);
            }
        }
    }

    /// Drops the partition's batches that begin at or above `end`: their plans failed or the log was truncated.
    pub fn truncate(&mut self, id: PartitionId, end: Offset) {
        let Some(tail) = self.tails.get_mut(&id) else {
            return;
        };
        while let Some(last) = tail.batches.back()
            && last.batch.base_offset() >= end
        {
            let bytes = last.cost();
            tail.batches.pop_back();
            if tail.unpinned > tail.batches.len() {
                tail.unpinned = tail.batches.len();
                self.bytes_unpinned -= bytes;
            } else {
                self.bytes_pinned -= bytes;
            }
        }
        if tail.batches.is_empty() {
            self.tails.remove(&id);
        }
        self.forget_stale_order();
    }

    /// Drops the batches that end below `end` and are in segments: those were cleaned.
    pub fn remove_below(&mut self, id: PartitionId, end: Offset) {
        let Some(tail) = self.tails.get_mut(&id) else {
            return;
        };
        let mut removed = false;
        while tail.unpinned > 0
            && let Some(first) = tail.batches.front()
            && first.batch.last_offset() < end
        {
            self.bytes_unpinned -= first.cost();
            tail.batches.pop_front();
            tail.unpinned -= 1;
            removed = true;
        }
        if tail.batches.is_empty() {
            self.tails.remove(&id);
        }
        if removed {
            self.forget_stale_order();
        }
    }

    /// Drops everything of a partition.
    pub fn remove(&mut self, id: PartitionId) {
        if let Some(tail) = self.tails.remove(&id) {
            for (index, cached) in tail.batches.iter().enumerate() {
                let bytes = cached.cost();
                if index < tail.unpinned {
                    self.bytes_unpinned -= bytes;
                } else {
                    self.bytes_pinned -= bytes;
                }
            }
            self.forget_stale_order();
        }
    }

    /// An entry of a dropped batch could otherwise name a later batch at the same offset. Walks the whole order:
    /// truncation and deletion are rare.
    fn forget_stale_order(&mut self) {
        let tails = &self.tails;
        self.order.retain(|(id, base)| {
            tails.get(id).is_some_and(|tail| {
                let index = tail
                    .batches
                    .partition_point(|cached| cached.batch.base_offset() < *base);
                index < tail.unpinned && tail.batches[index].batch.base_offset() == *base
            })
        });
    }

    /// Where the partition's cached run begins; `None` if nothing of it is cached.
    pub fn start(&self, id: PartitionId) -> Option<CacheStart> {
        let first = self.tails.get(&id)?.batches.front()?;
        Some(CacheStart {
            offset: first.batch.base_offset(),
            segment_base: first.segment_base,
            position: first.position,
        })
    }

    /// The batches a read gets, as one chain, or `None` if `offset` lies below the cached run. One allocation holds
    /// the prefixes of all of them; bodies are shared.
    pub fn plan(
        &self,
        id: PartitionId,
        offset: Offset,
        upper_bound: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Option<(Vec<Bytes>, usize)> {
        let tail = self.tails.get(&id)?;
        let begin = tail
            .batches
            .partition_point(|cached| cached.batch.last_offset() < offset);
        if begin == 0 && tail.batches.front()?.batch.base_offset() > offset {
            return None;
        }
        let mut bytes = 0;
        let mut count = 0;
        for cached in tail.batches.range(begin..) {
            let size = cached.batch.size_in_bytes();
            if cached.batch.last_offset() >= upper_bound
                || (bytes + size > bytes_max && !(count == 0 && at_least_one))
            {
                break;
            }
            bytes += size;
            count += 1;
        }
        let mut prefixes = BytesMut::with_capacity(count * PREFIX_BYTES);
        for cached in tail.batches.range(begin..begin + count) {
            prefixes.extend_from_slice(&cached.batch.prefix);
        }
        let mut prefixes = prefixes.freeze();
        let mut chain = Vec::with_capacity(count * 2);
        for cached in tail.batches.range(begin..begin + count) {
            chain.push(prefixes.split_to(PREFIX_BYTES));
            chain.push(cached.batch.body.clone());
        }
        Some((chain, bytes))
    }

    /// The batches of a partition from `from` on that no segment has yet, oldest first, with segment and position.
    pub fn pinned(
        &self,
        id: PartitionId,
    ) -> impl Iterator<Item = (&StoredBatch, Offset, FilePosition)> {
        self.tails
            .get(&id)
            .into_iter()
            .flat_map(|tail| tail.batches.range(tail.unpinned..))
            .map(|cached| (&cached.batch, cached.segment_base, cached.position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, TopicId};
    use net::records::{BatchBuilder, BatchHeader};

    fn id(index: i32) -> PartitionId {
        PartitionId {
            topic_id: TopicId([1; 16]),
            index,
        }
    }

    fn batch(base: i64) -> StoredBatch {
        let mut builder = BatchBuilder::new();
        builder.append(None, Some(&[0; 900]), &[], 5);
        let bytes = Bytes::from(builder.build(0, -1));
        let header = BatchHeader::parse(&bytes).unwrap();
        StoredBatch::stamp(&bytes, header, Offset(base), LeaderEpoch(2))
    }

    fn offsets(cache: &TailCache, partition: i32) -> Vec<i64> {
        let Some(start) = cache.start(id(partition)) else {
            return Vec::new();
        };
        let (chain, bytes) = cache
            .plan(
                id(partition),
                start.offset,
                Offset(i64::MAX),
                usize::MAX,
                false,
            )
            .unwrap();
        assert_eq!(chain.concat().len(), bytes);
        chain
            .chunks(2)
            .map(|pair| i64::from_be_bytes(pair[0][..8].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn the_batch_unpinned_first_leaves_first_whatever_its_partition() {
        let cost = batch(0).size_in_bytes() + OVERHEAD_BYTES;
        let mut cache = TailCache::new(3 * cost);
        for base in 0..3 {
            cache.push(id(0), batch(base), Offset(0), FilePosition(0));
            cache.push(id(1), batch(base), Offset(0), FilePosition(0));
        }
        assert_eq!(cache.bytes_pinned(), 6 * cost);
        cache.unpin(id(1), Offset(1));
        cache.unpin(id(0), Offset(0));
        assert_eq!(
            (offsets(&cache, 0), offsets(&cache, 1)),
            (vec![0, 1, 2], vec![0, 1, 2]),
            "the budget is just met"
        );
        cache.unpin(id(0), Offset(2));
        assert_eq!(
            (offsets(&cache, 0), offsets(&cache, 1)),
            (vec![0, 1, 2], vec![2]),
            "pinned batches stay"
        );
        assert_eq!(
            (cache.bytes_unpinned(), cache.bytes_pinned()),
            (3 * cost, cost)
        );
        cache.unpin(id(1), Offset(2));
        assert_eq!(
            (offsets(&cache, 0), offsets(&cache, 1)),
            (vec![1, 2], vec![2])
        );
    }

    #[test]
    fn a_read_below_the_cached_run_goes_to_the_disk() {
        let mut cache = TailCache::new(0);
        for base in 0..3 {
            cache.push(
                id(0),
                batch(base),
                Offset(0),
                FilePosition(100 * base as u32),
            );
        }
        cache.unpin(id(0), Offset(1));
        assert_eq!(
            cache.start(id(0)),
            Some(CacheStart {
                offset: Offset(2),
                segment_base: Offset(0),
                position: FilePosition(200)
            })
        );
        assert!(
            cache
                .plan(id(0), Offset(1), Offset(9), 1 << 20, true)
                .is_none()
        );
        assert_eq!(
            cache
                .plan(id(0), Offset(2), Offset(2), 1 << 20, true)
                .unwrap()
                .0
                .len(),
            0
        );
        cache.unpin(id(0), Offset(2));
        assert!(
            cache.tails.is_empty() && cache.order.is_empty(),
            "an idle partition costs nothing"
        );
    }

    #[test]
    fn offsets_given_again_after_a_truncation_do_not_meet_old_entries() {
        let cost = batch(0).size_in_bytes() + OVERHEAD_BYTES;
        let mut cache = TailCache::new(2 * cost);
        for base in 0..2 {
            cache.push(id(0), batch(base), Offset(0), FilePosition(0));
        }
        cache.unpin(id(0), Offset(1));
        cache.truncate(id(0), Offset(1));
        cache.push(id(0), batch(1), Offset(0), FilePosition(0));
        cache.push(id(1), batch(0), Offset(0), FilePosition(0));
        cache.unpin(id(1), Offset(0));
        cache.unpin(id(0), Offset(1));
        assert_eq!((offsets(&cache, 0), offsets(&cache, 1)), (vec![1], vec![0]));
        cache.remove(id(0));
        cache.remove(id(1));
        assert_eq!((cache.bytes_unpinned(), cache.bytes_pinned()), (0, 0));
    }
}
