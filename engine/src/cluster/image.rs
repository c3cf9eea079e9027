//! The metadata image: an immutable picture of the cluster, replaced as a whole.
//!
//! Readers on every shard hold an `Arc` of it. [`MetadataImage::apply`] is the only way to the next one; topics are
//! shared between images, so that a change costs what it touches plus one pointer per topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tuning::{BrokerConfig, TopicConfig};

use super::name::{collision_key, is_internal};
use super::record::Record;
use super::scram::{ScramCredential, ScramMechanism};
use crate::types::{LeaderEpoch, PartitionId, TopicId};

/// What a dynamic configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Topic, broker, …
    pub kind: ResourceKind,
    /// Topic name, broker id in digits, group id; empty for all brokers of the cluster.
    pub name: String,
}

/// Kinds of resources with configurations; the number is Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker, or all brokers.
    Broker = 4,
    /// The log levels of a broker.
    BrokerLogger = 8,
    /// A client metrics subscription.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Topic,
        Self::Broker,
        Self::BrokerLogger,
        Self::ClientMetrics,
        Self::Group,
    ];

    /// The kind with Kafka's number `code`.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i8 == code)
    }
}

/// A partition as the control plane knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// Node id of the leader.
    pub leader: i32,
    /// How often a leader was appointed.
    pub leader_epoch: LeaderEpoch,
    /// How often the partition's record changed.
    pub partition_epoch: i32,
    /// Node ids of the replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Node ids of the in-sync replicas.
    pub isr: Vec<i32>,
}

/// One incarnation of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicImage {
    /// The name.
    pub name: Arc<str>,
    /// Unique over all time.
    pub id: TopicId,
    /// By partition index.
    pub partitions: Vec<PartitionImage>,
    /// Whether clients must leave it alone.
    pub internal: bool,
    /// What was set for this topic.
    pub overrides: BTreeMap<String, String>,
    /// The configuration in force: overrides over the broker's.
    pub config: Arc<TopicConfig>,
}

/// The whole cluster metadata after the record at `offset`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataImage {
    /// Offset of the last applied record; −1 before the first. Also the epoch of the finalized features.
    pub offset: i64,
    /// The cluster's id, 22 characters of url-safe base64.
    pub cluster_id: Arc<str>,
    /// This node's id.
    pub node_id: i32,
    /// Offset of this start's broker registration.
    pub broker_epoch: i64,
    /// Epoch in which this start leads the metadata log.
    pub metadata_epoch: i32,
    /// First producer id that no block covers yet.
    pub next_producer_id: i64,
    /// Finalized feature levels.
    pub features: BTreeMap<String, i16>,
    /// SCRAM credentials, by user and mechanism.
    pub scram: BTreeMap<(String, ScramMechanism), ScramCredential>,
    /// Dynamic configurations of everything but topics.
    pub configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
    /// The broker's configuration, with what was set at run time.
    pub broker_config: Arc<BrokerConfig>,
    /// The broker's configuration as given at start.
    pub(super) static_config: Arc<BrokerConfig>,
    /// Ids of deleted topics that checkpoints or journals may still name (STORAGE C11).
    pub removed_topics: BTreeSet<TopicId>,
    topics_by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    names_by_id: BTreeMap<TopicId, Arc<str>>,
    names_by_collision_key: BTreeMap<String, Arc<str>>,
    partition_count: usize,
}

/// A record that contradicts the image it is applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata record at offset {offset} does not fit: {reason}")]
pub struct ReplayError {
    /// The record's offset.
    pub offset: i64,
    /// What contradicts.
    pub reason: String,
}

impl MetadataImage {
    /// The image before the first record.
    #[must_use]
    pub fn empty(cluster_id: &str, config: Arc<BrokerConfig>) -> Self {
        Self {
            offset: -1,
            cluster_id: cluster_id.into(),
            node_id: config.node_id(),
            broker_epoch: -1,
            metadata_epoch: 0,
            next_producer_id: 0,
            features: BTreeMap::new(),
            scram: BTreeMap::new(),
            configs: BTreeMap::new(),
            broker_config: config.clone(),
            static_config: config,
            removed_topics: BTreeSet::new(),
            topics_by_name: BTreeMap::new(),
            names_by_id: BTreeMap::new(),
            names_by_collision_key: BTreeMap::new(),
            partition_count: 0,
        }
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics_by_name.get(name)
    }

    /// The topic with that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics_by_name.get(self.names_by_id.get(&id)?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics_by_name.values()
    }

    /// An existing topic whose name differs from `name` only by `.` for `_`.
    #[must_use]
    pub fn colliding_topic(&self, name: &str) -> Option<Arc<str>> {
        self.names_by_collision_key
            .get(&collision_key(name))
            .filter(|other| ***other != *name)
            .cloned()
    }

    /// Number of partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// All partitions with their topic, by topic name and index.
    pub fn partitions(
        &self,
    ) -> impl Iterator<Item = (PartitionId, &Arc<TopicImage>, &PartitionImage)> {
        self.topics().flat_map(|topic| {
            (0..).zip(&topic.partitions).map(move |(index, partition)| {
                (
                    PartitionId {
                        topic_id: topic.id,
                        index,
                    },
                    topic,
                    partition,
                )
            })
        })
    }

    /// The dynamic configurations of a resource; empty if there are none.
    #[must_use]
    pub fn overrides(&self, resource: &ConfigResource) -> BTreeMap<String, String> {
        match resource.kind {
            ResourceKind::Topic => self
                .topic(&resource.name)
                .map(|topic| topic.overrides.clone()),
            _ => self.configs.get(resource).cloned(),
        }
        .unwrap_or_default()
    }

    /// Applies the next record.
    ///
    /// # Errors
    /// The record contradicts the image: the metadata log is damaged or not ours.
    pub fn apply(&mut self, record: &Record) -> Result<(), ReplayError> {
        let offset = self.offset + 1;
        let fail = |reason: &str| ReplayError {
            offset,
            reason: reason.to_owned(),
        };
        match record {
            Record::NoOp => {}
            Record::FeatureLevel { name, level } => {
                self.features.insert(name.clone(), *level);
            }
            Record::RegisterBroker { node_id, .. } => {
                if *node_id != self.node_id {
                    return Err(fail("a broker with another node id is registered"));
                }
                self.broker_epoch = offset;
            }
            Record::Topic { name, id } => self.add_topic(name, *id).map_err(fail)?,
            Record::Partition {
                topic_id,
                index,
                leader,
                leader_epoch,
                partition_epoch,
            } => {
                let (replicas, isr) = (vec![*leader], vec![*leader]);
                let (leader, leader_epoch, partition_epoch) =
                    (*leader, *leader_epoch, *partition_epoch);
                let partition = PartitionImage {
                    leader,
                    leader_epoch,
                    partition_epoch,
                    replicas,
                    isr,
                };
                self.add_partition(*topic_id, *index, partition)
                    .map_err(fail)?;
            }
            Record::NewLeader {
                topic_id,
                index,
                leader,
            } => {
                self.change_leader(*topic_id, *index, *leader)
                    .map_err(fail)?;
            }
            Record::RemoveTopic { id } => self.remove_topic(*id).map_err(fail)?,
            Record::Config {
                resource,
                name,
                value,
            } => {
                self.set_config(resource, name, value.as_deref())
                    .map_err(|error| fail(&error.to_string()))?;
            }
            Record::ScramCredential {
                user,
                mechanism,
                credential,
            } => {
                self.scram
                    .insert((user.clone(), *mechanism), credential.clone());
            }
            Record::RemoveScramCredential { user, mechanism } => {
                self.scram
                    .remove(&(user.clone(), *mechanism))
                    .ok_or_else(|| fail("removal of an unknown SCRAM credential"))?;
            }
            Record::ProducerIds { next, .. } => {
                if *next < self.next_producer_id {
                    return Err(fail("a producer id block goes back"));
                }
                self.next_producer_id = *next;
            }
        }
        self.offset = offset;
        Ok(())
    }

    /// The records that lead from [`MetadataImage::empty`] to this image, but for the offset.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (name, level) in &self.features {
            records.push(Record::FeatureLevel {
                name: name.clone(),
                level: *level,
            });
        }
        for topic in self.topics() {
            records.push(Record::Topic {
                name: topic.name.to_string(),
                id: topic.id,
            });
            for (index, partition) in (0..).zip(&topic.partitions) {
                records.push(Record::Partition {
                    topic_id: topic.id,
                    index,
                    leader: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    partition_epoch: partition.partition_epoch,
                });
            }
        }
        let topics = self.topics().map(|topic| {
            (
                ConfigResource {
                    kind: ResourceKind::Topic,
                    name: topic.name.to_string(),
                },
                &topic.overrides,
            )
        });
        for (resource, values) in self
            .configs
            .iter()
            .map(|(resource, values)| (resource.clone(), values))
            .chain(topics)
        {
            for (name, value) in values {
                let value = Some(value.clone());
                records.push(Record::Config {
                    resource: resource.clone(),
                    name: name.clone(),
                    value,
                });
            }
        }
        for ((user, mechanism), credential) in &self.scram {
            records.push(Record::ScramCredential {
                user: user.clone(),
                mechanism: *mechanism,
                credential: credential.clone(),
            });
        }
        records.push(Record::ProducerIds {
            node_id: self.node_id,
            broker_epoch: self.broker_epoch,
            next: self.next_producer_id,
        });
        records
    }

    fn add_topic(&mut self, name: &str, id: TopicId) -> Result<(), &'static str> {
        if self.topics_by_name.contains_key(name) || self.names_by_id.contains_key(&id) {
            return Err("a topic is created twice");
        }
        let name: Arc<str> = name.into();
        let internal = is_internal(&name);
        let topic = TopicImage {
            name: name.clone(),
            id,
            partitions: Vec::new(),
            internal,
            overrides: BTreeMap::new(),
            config: Arc::new(self.broker_config.topic_defaults().clone()),
        };
        self.names_by_id.insert(id, name.clone());
        self.names_by_collision_key
            .insert(collision_key(&name), name.clone());
        self.topics_by_name.insert(name, Arc::new(topic));
        Ok(())
    }

    fn add_partition(
        &mut self,
        topic_id: TopicId,
        index: i32,
        partition: PartitionImage,
    ) -> Result<(), &'static str> {
        let topic = self
            .topic_mut(topic_id)
            .ok_or("a partition of an unknown topic")?;
        if usize::try_from(index) != Ok(topic.partitions.len()) {
            return Err("partition indexes are not consecutive");
        }
        topic.partitions.push(partition);
        self.partition_count += 1;
        Ok(())
    }

    // KIP-595: a record that names a leader starts a new leader epoch, also when the leader stays the same.
    fn change_leader(
        &mut self,
        topic_id: TopicId,
        index: i32,
        leader: i32,
    ) -> Result<(), &'static str> {
        let topic = self
            .topic_mut(topic_id)
            .ok_or("a change of an unknown topic")?;
        let partition = usize::try_from(index)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index));
        let partition = partition.ok_or("a change of an unknown partition")?;
        partition.leader = leader;
        partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
        partition.partition_epoch += 1;
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), &'static str> {
        let name = self
            .names_by_id
            .remove(&id)
            .ok_or("removal of an unknown topic")?;
        if let Some(topic) = self.topics_by_name.remove(&name) {
            self.partition_count -= topic.partitions.len();
        }
        self.names_by_collision_key.remove(&collision_key(&name));
        self.removed_topics.insert(id);
        Ok(())
    }

    fn set_config(
        &mut self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), tuning::ConfigError> {
        let mut values = self.overrides(resource);
        match value {
            Some(value) => values.insert(name.to_owned(), value.to_owned()),
            None => values.remove(name),
        };
        if resource.kind == ResourceKind::Topic {
            return self.set_topic_overrides(&resource.name, values);
        }
        let before = self.configs.remove(resource);
        if !values.is_empty() {
            self.configs.insert(resource.clone(), values);
        }
        if resource.kind == ResourceKind::Broker
            && let Err(error) = self.follow_broker_configs()
        {
            self.configs.remove(resource);
            before.map(|before| self.configs.insert(resource.clone(), before));
            return Err(error);
        }
        Ok(())
    }

    fn set_topic_overrides(
        &mut self,
        name: &str,
        overrides: BTreeMap<String, String>,
    ) -> Result<(), tuning::ConfigError> {
        let config = Arc::new(TopicConfig::resolve(&self.broker_config, &overrides)?);
        if let Some(topic) = self.topics_by_name.get_mut(name).map(Arc::make_mut) {
            topic.overrides = overrides;
            topic.config = config;
        }
        Ok(())
    }

    // A broker's values are the defaults of its topics, so all of them are resolved again.
    fn follow_broker_configs(&mut self) -> Result<(), tuning::ConfigError> {
        let broker = |name: String| ConfigResource {
            kind: ResourceKind::Broker,
            name,
        };
        let cluster_default = self.overrides(&broker(String::new()));
        let own = self.overrides(&broker(self.node_id.to_string()));
        let broker_config = self.static_config.with_dynamic(&cluster_default, &own)?;
        let mut configs = Vec::new();
        for topic in self.topics() {
            configs.push(Arc::new(TopicConfig::resolve(
                &broker_config,
                &topic.overrides,
            )?));
        }
        self.broker_config = Arc::new(broker_config);
        for (topic, config) in self.topics_by_name.values_mut().zip(configs) {
            if topic.config != config {
                Arc::make_mut(topic).config = config;
            }
        }
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Option<&mut TopicImage> {
        let name = self.names_by_id.get(&id)?;
        self.topics_by_name.get_mut(name).map(Arc::make_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_after(records: &[Record]) -> MetadataImage {
        let mut image = MetadataImage::empty("cluster", Arc::default());
        for record in records {
            image.apply(record).unwrap();
        }
        image
    }

    fn some_records() -> Vec<Record> {
        let resource = ConfigResource {
            kind: ResourceKind::Topic,
            name: "a".to_owned(),
        };
        vec![
            Record::FeatureLevel {
                name: "metadata.version".to_owned(),
                level: 30,
            },
            Record::Topic {
                name: "a".to_owned(),
                id: TopicId([1; 16]),
            },
            Record::Partition {
                topic_id: TopicId([1; 16]),
                index: 0,
                leader: 1,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
            },
            Record::Partition {
                topic_id: TopicId([1; 16]),
                index: 1,
                leader: 1,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
            },
            Record::NewLeader {
                topic_id: TopicId([1; 16]),
                index: 1,
                leader: 1,
            },
            Record::Config {
                resource,
                name: "retention.ms".to_owned(),
                value: Some("5".to_owned()),
            },
            Record::ProducerIds {
                node_id: 1,
                broker_epoch: 0,
                next: 1000,
            },
        ]
    }

    #[test]
    fn naming_a_leader_raises_the_epoch_of_that_partition_only() {
        let image = image_after(&some_records());
        let epochs: Vec<i32> = image
            .topic("a")
            .unwrap()
            .partitions
            .iter()
            .map(|p| p.leader_epoch.0)
            .collect();
        assert_eq!(epochs, [0, 1]);
    }

    #[test]
    fn a_removed_topic_takes_its_configs_along_and_stays_known_as_removed() {
        let mut records = some_records();
        records.push(Record::RemoveTopic {
            id: TopicId([1; 16]),
        });
        let image = image_after(&records);
        assert!(image.topic("a").is_none() && image.configs.is_empty());
        assert!(image.removed_topics.contains(&TopicId([1; 16])));
        assert_eq!(image.partition_count(), 0);
    }

    #[test]
    fn the_records_of_an_image_lead_back_to_it() {
        let image = image_after(&some_records());
        let again = image_after(&image.to_records());
        assert_eq!(again.topics().collect::<Vec<_>>().len(), 1);
        assert_eq!(again.configs, image.configs);
        assert_eq!(
            again.topic("a").unwrap().partitions[1].leader_epoch,
            LeaderEpoch(1)
        );
        assert_eq!(again.next_producer_id, 1000);
    }

    #[test]
    fn records_that_contradict_the_image_are_refused() {
        let mut image = image_after(&some_records());
        let twice = Record::Topic {
            name: "a".to_owned(),
            id: TopicId([2; 16]),
        };
        let gap = Record::Partition {
            topic_id: TopicId([1; 16]),
            index: 9,
            leader: 1,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        };
        let back = Record::ProducerIds {
            node_id: 1,
            broker_epoch: 0,
            next: 10,
        };
        for record in [
            twice,
            gap,
            back,
            Record::RemoveTopic {
                id: TopicId([7; 16]),
            },
        ] {
            let before = image.clone();
            assert!(image.apply(&record).is_err());
            assert_eq!(image, before);
        }
    }
}
