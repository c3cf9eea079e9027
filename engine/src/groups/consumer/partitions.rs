//! Sets of partitions as sorted vectors: what members are to own and what they own.
//!
//! A member has few partitions and keeps them for long, so both kinds are kept dense and are rebuilt when they change.
//! Invariant: strictly ascending by partition id. Plain values, on whichever core the group lives.

use crate::types::{PartitionId, TopicId};

/// Partitions, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSet(Box<[PartitionId]>);

impl FromIterator<PartitionId> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = PartitionId>>(partitions: I) -> Self {
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        Self(partitions.into_boxed_slice())
    }
}

impl PartitionSet {
    /// Whether `partition` is one of them.
    #[must_use]
    pub fn contains(&self, partition: PartitionId) -> bool {
        self.0.binary_search(&partition).is_ok()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PartitionId> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Topic by topic, the indexes ascending.
    pub fn by_topic(&self) -> impl Iterator<Item = (TopicId, Vec<i32>)> + '_ {
        self.0
            .chunk_by(|left, right| left.topic_id == right.topic_id)
            .map(|run| {
                let indexes = run.iter().map(|partition| partition.index).collect();
                (run[0].topic_id, indexes)
            })
    }
}

/// Partitions that a member owns, each with the member epoch at which it got it (KIP-1251).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedPartitions(Box<[(PartitionId, i32)]>);

impl FromIterator<(PartitionId, i32)> for OwnedPartitions {
    /// Of a partition that is named twice the first epoch counts.
    fn from_iter<I: IntoIterator<Item = (PartitionId, i32)>>(partitions: I) -> Self {
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_by_key(|(partition, _)| *partition);
        partitions.dedup_by_key(|(partition, _)| *partition);
        Self(partitions.into_boxed_slice())
    }
}

impl OwnedPartitions {
    /// The epoch at which the member got `partition`, if it owns it.
    #[must_use]
    pub fn epoch(&self, partition: PartitionId) -> Option<i32> {
        self.0
            .binary_search_by_key(&partition, |(owned, _)| *owned)
            .ok()
            .map(|at| self.0[at].1)
    }

    /// Whether the member owns `partition`.
    #[must_use]
    pub fn contains(&self, partition: PartitionId) -> bool {
        self.epoch(partition).is_some()
    }

    /// All partitions with their epochs, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (PartitionId, i32)> + '_ {
        self.0.iter().copied()
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = PartitionId> + '_ {
        self.0.iter().map(|(partition, _)| *partition)
    }

    /// Whether both name the same partitions, at whatever epochs.
    #[must_use]
    pub fn same_partitions(&self, other: &Self) -> bool {
        self.partitions().eq(other.partitions())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Topic by topic, indexes ascending, each with its epoch in the second list.
    pub fn by_topic(&self) -> impl Iterator<Item = (TopicId, Vec<i32>, Vec<i32>)> + '_ {
        self.0
            .chunk_by(|(left, _), (right, _)| left.topic_id == right.topic_id)
            .map(|run| {
                let (indexes, epochs) = run
                    .iter()
                    .map(|(partition, epoch)| (partition.index, *epoch))
                    .unzip();
                (run[0].0.topic_id, indexes, epochs)
            })
    }
}
