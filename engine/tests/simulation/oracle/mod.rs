//! What may be seen of a broker that keeps its promises; panics, with the reason, on anything else.
//!
//! Plain structs without time or I/O. The clients tell what they send before they send it and what they were answered
//! as soon as they were; what a client knew *before* it asked is the floor of what the answer may say.

use std::collections::{BTreeMap, BTreeSet};

pub mod commits;
pub mod compacted;
pub mod consumer_groups;
pub mod groups;
pub mod partition;

use compacted::CompactedModel;
use consumer_groups::ConsumerGroupModel;
use groups::GroupModel;
use partition::PartitionModel;

/// A partition of one incarnation of a topic.
pub type PartitionKey = (String, i32);

/// What was known when a request left: nothing in its answer may be older.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Everything below was durable.
    pub high_watermark: i64,
    /// Everything below was deleted.
    pub log_start: i64,
}

/// All checkers of one run.
#[derive(Default)]
pub struct Oracle {
    partitions: BTreeMap<PartitionKey, PartitionModel>,
    compacted: BTreeMap<PartitionKey, CompactedModel>,
    producer_ids: BTreeSet<i64>,
    cluster_id: Option<String>,
    topic_ids: BTreeMap<String, [u8; 16]>,
    /// Leader epochs by partition, with the life each was seen in.
    epochs: BTreeMap<PartitionKey, BTreeMap<i32, u32>>,
    /// The group of the classic protocol.
    pub groups: GroupModel,
    /// The group of the consumer protocol.
    pub consumer_groups: ConsumerGroupModel,
    /// Reads may fail with a storage error: the disk makes errors, or made bits flip.
    pub read_errors_allowed: bool,
    /// Acknowledgements so far.
    pub acknowledged: u64,
}

impl Oracle {
    /// The model of a partition.
    pub fn partition(&mut self, key: &PartitionKey) -> &mut PartitionModel {
        self.partitions
            .entry(key.clone())
            .or_insert_with(|| PartitionModel::new(format!("{}-{}", key.0, key.1)))
    }

    /// The model of a partition of a compacted topic.
    pub fn compacted(&mut self, key: &PartitionKey) -> &mut CompactedModel {
        self.compacted
            .entry(key.clone())
            .or_insert_with(|| CompactedModel::new(format!("{}-{}", key.0, key.1)))
    }

    /// What is known of a partition now.
    pub fn floor(&mut self, key: &PartitionKey) -> Floor {
        self.partition(key).floor()
    }

    /// The deletion of a topic was answered: nothing of it may show up in one of the same name, except requests that
    /// are still on their way.
    pub fn forget_topic(&mut self, topic: &str) {
        for (_, partition) in self
            .partitions
            .iter_mut()
            .filter(|((name, _), _)| name == topic)
        {
            partition.begin_again();
        }
        self.epochs.retain(|(name, _), _| name != topic);
        self.topic_ids.remove(topic);
    }

    /// A producer id was given out: each only once, for ever (I9).
    pub fn producer_id(&mut self, id: i64) {
        assert!(id >= 0, "producer id {id}");
        assert!(
            self.producer_ids.insert(id),
            "producer id {id} was given out twice"
        );
    }

    /// The cluster's id, which never changes.
    pub fn cluster_id(&mut self, id: &str) {
        let known = self.cluster_id.get_or_insert_with(|| id.to_owned());
        assert_eq!(known, id, "the cluster changed its id");
    }

    /// A topic's id, which never changes while it lives.
    pub fn topic_id(&mut self, topic: &str, id: [u8; 16]) {
        let known = *self.topic_ids.entry(topic.to_owned()).or_insert(id);
        assert_eq!(known, id, "topic {topic} changed its id");
    }

    /// The id of a topic, once it was told.
    pub fn id_of(&self, topic: &str) -> Option<[u8; 16]> {
        self.topic_ids.get(topic).copied()
    }

    /// A leader epoch as metadata gave it within one life: it never falls, and every life has its own.
    pub fn leader_epoch(&mut self, key: &PartitionKey, epoch: i32, life: u32) {
        let known = self.epochs.entry(key.clone()).or_default();
        let seen_in = *known.entry(epoch).or_insert(life);
        assert_eq!(
            seen_in, life,
            "{key:?}: leader epoch {epoch} belongs to two lives"
        );
        let later = known.range(..epoch).any(|(_, other)| *other > life);
        let earlier = known.range(epoch + 1..).any(|(_, other)| *other < life);
        assert!(!later && !earlier, "{key:?}: leader epochs fell: {known:?}");
    }
}
