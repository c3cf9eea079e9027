//! The consumer protocol that classic members carry inside JoinGroup and SyncGroup: subscriptions and assignments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use net::messages::data::consumer_protocol_assignment as assignment;
use net::messages::data::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::wire::{DecodeError, Reader, Writer};

use super::partitions::PartitionSet;
use crate::cluster::MetadataImage;
use crate::types::{PartitionId, TopicId};

/// Protocol type of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";
/// The newest version of subscriptions and assignments.
const VERSION_MAX: i16 = 3;

/// What a classic member asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Topics by name.
    pub topics: Arc<[Arc<str>]>,
    /// What it owns, of topics that exist.
    pub owned: PartitionSet,
    /// Where it runs.
    pub rack: Option<Arc<str>>,
}

impl Subscription {
    /// Reads the metadata of one protocol.
    ///
    /// # Errors
    /// It is not what consumers send.
    pub fn decode(metadata: &[u8], image: &MetadataImage) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(metadata);
        let version = reader.get_i16()?;
        // A newer version begins like the newest that is known, as Kafka reads it.
        let read = ConsumerProtocolSubscription::decode(&mut reader, version.min(VERSION_MAX))?;
        let topics: BTreeSet<Arc<str>> =
            read.topics.iter().map(|topic| Arc::from(*topic)).collect();
        let named = read.owned_partitions.iter();
        let owned = partitions_of(
            named.map(|topic| (topic.topic, topic.partitions.as_slice())),
            image,
        );
        Ok(Self {
            topics: topics.into_iter().collect(),
            owned,
            rack: read.rack_id.map(Arc::from),
        })
    }
}

/// The version with which metadata of a protocol begins; 0 if there is none.
#[must_use]
pub fn version_of(metadata: &[u8]) -> i16 {
    let version = Reader::new(metadata).get_i16().unwrap_or(0);
    version.clamp(0, VERSION_MAX)
}

/// Reads what a leader assigned to a member; nothing at all assigns nothing.
///
/// # Errors
/// It is not what consumers send.
pub fn decode_assignment(bytes: &[u8], image: &MetadataImage) -> Result<PartitionSet, DecodeError> {
    if bytes.is_empty() {
        return Ok(PartitionSet::default());
    }
    let mut reader = Reader::new(bytes);
    let version = reader.get_i16()?;
    let read =
        assignment::ConsumerProtocolAssignment::decode(&mut reader, version.min(VERSION_MAX))?;
    let named = read.assigned_partitions.iter();
    Ok(partitions_of(
        named.map(|topic| (topic.topic, topic.partitions.as_slice())),
        image,
    ))
}

/// What a classic member is told to own.
#[must_use]
pub fn encode_assignment(
    partitions: impl Iterator<Item = PartitionId>,
    version: i16,
    image: &MetadataImage,
) -> Bytes {
    let mut by_topic: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic
            .entry(partition.topic_id)
            .or_default()
            .push(partition.index);
    }
    let assigned_partitions = by_topic
        .into_iter()
        .filter_map(|(topic_id, partitions)| {
            let topic = &image.topic_by_id(topic_id)?.name;
            Some(assignment::TopicPartition { topic, partitions })
        })
        .collect();
    let assignment = assignment::ConsumerProtocolAssignment {
        assigned_partitions,
        user_data: None,
    };
    let mut writer = Writer::new();
    writer.put_i16(version);
    assignment
        .encode(&mut writer, version)
        .expect("topic names are short and the version is one that exists");
    writer.to_vec().into()
}

fn partitions_of<'a>(
    topics: impl Iterator<Item = (&'a str, &'a [i32])>,
    image: &MetadataImage,
) -> PartitionSet {
    topics
        .filter_map(|(name, indexes)| Some((image.topic(name)?.id, indexes)))
        .flat_map(|(topic_id, indexes)| {
            indexes.iter().map(move |index| PartitionId {
                topic_id,
                index: *index,
            })
        })
        .collect()
}
