//! What every shard knows of the cluster: the metadata image, and which shard owns which partition.
//!
//! One immutable value, replaced as a whole; readers hold a reference. Ownership is node-local and decided anew at
//! each start (every journal is retired before partitions are given out, STORAGE C6), so it is not stored
//! (`decisions/0001-shard-table-is-not-stored.md`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{MetadataImage, PartitionImage, TopicImage};
use crate::types::{PartitionId, ShardId, TopicId};

/// The cluster as seen from this node.
pub struct ClusterView {
    /// The metadata.
    pub image: Arc<MetadataImage>,
    topics: BTreeMap<Arc<str>, TopicView>,
    names: BTreeMap<TopicId, Arc<str>>,
    /// Partitions per shard.
    loads: Vec<usize>,
}

/// One topic as the data path needs it.
#[derive(Clone)]
pub struct TopicView {
    /// Its metadata and configuration.
    pub image: Arc<TopicImage>,
    /// The owners, by partition index.
    owners: Arc<[ShardId]>,
}

impl TopicView {
    /// A partition's id, metadata and owner.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<(PartitionId, &PartitionImage, ShardId)> {
        let position = usize::try_from(index).ok()?;
        let partition = self.image.partitions.get(position)?;
        Some((
            PartitionId {
                topic_id: self.image.id,
                index,
            },
            partition,
            *self.owners.get(position)?,
        ))
    }
}

impl ClusterView {
    /// The view of a node with `shards` shards before any topic exists.
    #[must_use]
    pub fn empty(image: Arc<MetadataImage>, shards: u16) -> ClusterView {
        assert!(shards > 0, "a node has a shard");
        ClusterView {
            image,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            loads: vec![0; usize::from(shards)],
        }
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&TopicView> {
        self.topics.get(name)
    }

    /// The topic with that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&TopicView> {
        self.topics.get(self.names.get(&id)?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicView> {
        self.topics.values()
    }

    /// The shard that owns the partition.
    #[must_use]
    pub fn owner(&self, id: PartitionId) -> Option<ShardId> {
        self.topic_by_id(id.topic_id)?
            .partition(id.index)
            .map(|(_, _, owner)| owner)
    }

    /// The view of `image`: partitions stay where they are, new ones go to the shard with the fewest.
    #[must_use]
    pub fn follow(&self, image: Arc<MetadataImage>) -> ClusterView {
        let shards = u16::try_from(self.loads.len()).expect("made from a u16");
        let mut next = ClusterView::empty(image.clone(), shards);
        for owner in image
            .topics()
            .filter_map(|topic| self.known(topic))
            .flat_map(|known| known.owners.iter())
        {
            next.loads[usize::from(owner.0)] += 1;
        }
        for topic in image.topics() {
            let owners = match self.known(topic) {
                Some(known) if known.owners.len() == topic.partitions.len() => known.owners.clone(),
                known => {
                    let mut owners = known.map_or_else(Vec::new, |known| known.owners.to_vec());
                    while owners.len() < topic.partitions.len() {
                        owners.push(next.least_loaded());
                    }
                    owners.into()
                }
            };
            next.names.insert(topic.id, topic.name.clone());
            next.topics.insert(
                topic.name.clone(),
                TopicView {
                    image: topic.clone(),
                    owners,
                },
            );
        }
        next
    }

    /// The same incarnation of a topic in this view.
    fn known(&self, topic: &TopicImage) -> Option<&TopicView> {
        self.topic(&topic.name)
            .filter(|known| known.image.id == topic.id)
    }

    fn least_loaded(&mut self) -> ShardId {
        let (index, load) = self
            .loads
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, load)| **load)
            .expect("a node has a shard");
        *load += 1;
        ShardId(u16::try_from(index).expect("made from a u16"))
    }
}
