//! Decisions about topics and their partitions: create, delete, grow.
//!
//! Every function reads the image and answers per topic, in request order, with the records that make it so.
//! Messages are Kafka's, since people search for them.

use std::collections::BTreeMap;

use super::controller::{ControlError, ControlErrorKind as Kind, NewId};
use super::image::{ConfigResource, MetadataImage, ResourceKind};
use super::name;
use super::record::Record;
use crate::limits::{CREATE_PARTITIONS_PER_REQUEST_MAX, PARTITIONS_PER_NODE_MAX};
use crate::types::{LeaderEpoch, TopicId};

/// A topic that a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; −1 for the broker's default, or with `assignments`.
    pub partitions: i32,
    /// Number of replicas; −1 for the broker's default, or with `assignments`.
    pub replication_factor: i16,
    /// Replicas by partition index, as the client listed them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Overrides; a `None` value is an error with Kafka's message.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic after its creation (or as it would be).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id (when only validated: one that it might get).
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
    /// Its overrides.
    pub overrides: BTreeMap<String, String>,
}

/// How a client names a topic to delete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicSelector {
    /// By name.
    pub name: Option<String>,
    /// By id; all zero means none.
    pub id: TopicId,
}

/// A topic that shall have more partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub name: String,
    /// How many it shall have in all.
    pub count: i32,
    /// Replicas of each added partition, if the client listed them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What the broker's configuration contributes to new topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i32,
}

type Outcome<T> = Result<T, ControlError>;

/// Decides CreateTopics. The image is only read: records of earlier topics in the request are taken into account.
pub fn create(
    image: &MetadataImage,
    defaults: TopicDefaults,
    topics: &[NewTopic],
    new_id: &mut NewId<'_>,
    check_configs: &dyn Fn(&BTreeMap<String, String>) -> Outcome<()>,
) -> (Vec<Outcome<CreatedTopic>>, Vec<Record>) {
    let mut records = Vec::new();
    let mut added = 0;
    let results = topics.iter().map(|topic| {
        if topics
            .iter()
            .filter(|other| other.name == topic.name)
            .count()
            > 1
        {
            return Err(ControlError::new(
                Kind::InvalidRequest,
                "Duplicate topic name.",
            ));
        }
        check_name(image, &topic.name)?;
        let count = partition_count(image, defaults, topic)?;
        check_room(image, &mut added, count)?;
        let overrides = collect_overrides(&topic.configs)?;
        check_configs(&overrides)?;
        let id = new_id();
        push_topic(&mut records, image.node_id, topic, id, count, &overrides);
        Ok(CreatedTopic {
            name: topic.name.clone(),
            id,
            partitions: count,
            overrides,
        })
    });
    (results.collect(), records)
}

/// Decides DeleteTopics; answers the id and name of each deleted topic.
pub fn delete(
    image: &MetadataImage,
    topics: &[TopicSelector],
) -> (Vec<Outcome<(TopicId, String)>>, Vec<Record>) {
    let mut records: Vec<Record> = Vec::new();
    let results = topics.iter().map(|selector| {
        if topics.iter().filter(|other| *other == selector).count() > 1 {
            let what = if selector.name.is_some() {
                "Duplicate topic name."
            } else {
                "Duplicate topic id."
            };
            return Err(ControlError::new(Kind::InvalidRequest, what));
        }
        let (id, name) = select(image, selector)?;
        let record = Record::RemoveTopic { id };
        if records.contains(&record) {
            return Err(ControlError::new(
                Kind::UnknownTopicId,
                "This server does not host this topic ID.",
            ));
        }
        records.push(record);
        Ok((id, name))
    });
    (results.collect(), records)
}

/// Decides CreatePartitions.
pub fn grow(image: &MetadataImage, topics: &[MorePartitions]) -> (Vec<Outcome<()>>, Vec<Record>) {
    let mut records = Vec::new();
    let mut added = 0;
    let results = topics.iter().map(|wanted| {
        if topics
            .iter()
            .filter(|other| other.name == wanted.name)
            .count()
            > 1
        {
            return Err(ControlError::new(
                Kind::InvalidRequest,
                "Duplicate topic name.",
            ));
        }
        let topic = image
            .topic(&wanted.name)
            .ok_or_else(|| ControlError::bare(Kind::UnknownTopicOrPartition))?;
        let present = i32::try_from(topic.partitions.len()).expect("partition count is bounded");
        let more = check_growth(&wanted.name, present, wanted.count)?;
        if let Some(assignments) = &wanted.assignments {
            check_added_assignments(image.node_id, more, assignments)?;
        }
        check_room(image, &mut added, more)?;
        for index in present..wanted.count {
            records.push(new_partition(topic.id, index, image.node_id));
        }
        Ok(())
    });
    (results.collect(), records)
}

fn check_name(image: &MetadataImage, topic: &str) -> Outcome<()> {
    if let Some(reason) = name::reason_invalid(topic) {
        return Err(ControlError::new(Kind::InvalidTopic, reason));
    }
    if topic == name::CLUSTER_METADATA_TOPIC {
        let message = format!("Creation of internal topic {topic} is prohibited.");
        return Err(ControlError::new(Kind::InvalidRequest, message));
    }
    if image.topic(topic).is_some() {
        return Err(ControlError::new(
            Kind::TopicAlreadyExists,
            format!("Topic '{topic}' already exists."),
        ));
    }
    match image.colliding_topic(topic) {
        Some(other) => {
            let message = format!("Topic '{topic}' collides with existing topic: {other}");
            Err(ControlError::new(Kind::InvalidTopic, message))
        }
        None => Ok(()),
    }
}

fn partition_count(
    image: &MetadataImage,
    defaults: TopicDefaults,
    topic: &NewTopic,
) -> Outcome<i32> {
    if !topic.assignments.is_empty() {
        return assigned_count(image.node_id, topic);
    }
    let factor = if topic.replication_factor == -1 {
        defaults.replication_factor
    } else {
        i32::from(topic.replication_factor)
    };
    if factor <= 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(ControlError::new(Kind::InvalidReplicationFactor, message));
    }
    let count = if topic.partitions == -1 {
        defaults.partitions
    } else {
        topic.partitions
    };
    if count <= 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(ControlError::new(Kind::InvalidPartitions, message));
    }
    if factor > 1 {
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
        );
        return Err(ControlError::new(Kind::InvalidReplicationFactor, message));
    }
    Ok(count)
}

fn assigned_count(node_id: i32, topic: &NewTopic) -> Outcome<i32> {
    for (what, given) in [
        ("replication factor", i32::from(topic.replication_factor)),
        ("partitions count", topic.partitions),
    ] {
        if given != -1 {
            let message = format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            );
            return Err(ControlError::new(Kind::InvalidRequest, message));
        }
    }
    let mut indexes = BTreeMap::new();
    for (index, replicas) in &topic.assignments {
        check_replicas(node_id, replicas)?;
        if indexes.insert(*index, ()).is_some() {
            let message =
                format!("Found multiple manual partition assignments for partition {index}");
            return Err(ControlError::new(Kind::InvalidReplicaAssignment, message));
        }
    }
    if indexes
        .keys()
        .copied()
        .ne(0..i32::try_from(indexes.len()).expect("bounded by the request"))
    {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(ControlError::new(Kind::InvalidReplicaAssignment, message));
    }
    Ok(i32::try_from(indexes.len()).expect("bounded by the request"))
}

/// Whether a partition can have these replicas: this node, once.
///
/// # Errors
/// Kafka's words for what is wrong.
pub fn check_replicas(node_id: i32, replicas: &[i32]) -> Outcome<()> {
    let refuse = |message: String| Err(ControlError::new(Kind::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    if let Some(stranger) = replicas.iter().find(|replica| **replica != node_id) {
        return refuse(format!(
            "The manual partition assignment includes broker {stranger}, but no such broker is registered."
        ));
    }
    if replicas.len() > 1 {
        return refuse(format!(
            "The manual partition assignment includes the broker {node_id} more than once."
        ));
    }
    Ok(())
}

fn check_room(image: &MetadataImage, added: &mut usize, count: i32) -> Outcome<()> {
    let count = usize::try_from(count).expect("checked to be positive");
    if *added + count > CREATE_PARTITIONS_PER_REQUEST_MAX {
        return Err(ControlError::new(
            Kind::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    if image.partition_count() + *added + count > PARTITIONS_PER_NODE_MAX {
        let message = format!(
            "This node holds at most {PARTITIONS_PER_NODE_MAX} partitions; delete topics first."
        );
        return Err(ControlError::new(Kind::PolicyViolation, message));
    }
    *added += count;
    Ok(())
}

// A key given twice: the last value counts, as in Kafka.
fn collect_overrides(configs: &[(String, Option<String>)]) -> Outcome<BTreeMap<String, String>> {
    let mut overrides = BTreeMap::new();
    for (key, value) in configs {
        let value = value.as_ref().ok_or_else(|| {
            let message = format!("Null value not supported for topic configs: {key}");
            ControlError::new(Kind::InvalidConfig, message)
        })?;
        overrides.insert(key.clone(), value.clone());
    }
    Ok(overrides)
}

fn push_topic(
    records: &mut Vec<Record>,
    node_id: i32,
    topic: &NewTopic,
    id: TopicId,
    count: i32,
    overrides: &BTreeMap<String, String>,
) {
    records.push(Record::Topic {
        name: topic.name.clone(),
        id,
    });
    records.extend((0..count).map(|index| new_partition(id, index, node_id)));
    let resource = ConfigResource {
        kind: ResourceKind::Topic,
        name: topic.name.clone(),
    };
    records.extend(overrides.iter().map(|(name, value)| Record::Config {
        resource: resource.clone(),
        name: name.clone(),
        value: Some(value.clone()),
    }));
}

fn new_partition(topic_id: TopicId, index: i32, node_id: i32) -> Record {
    Record::Partition {
        topic_id,
        index,
        leader: node_id,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
    }
}

fn select(image: &MetadataImage, selector: &TopicSelector) -> Outcome<(TopicId, String)> {
    let by_id = selector.id != TopicId::default();
    match (&selector.name, by_id) {
        (None, false) => Err(ControlError::new(
            Kind::InvalidRequest,
            "Neither topic name nor id were specified.",
        )),
        (Some(_), true) => {
            let message = "You may not specify both topic name and topic id.";
            Err(ControlError::new(Kind::InvalidRequest, message))
        }
        (Some(name), false) => image
            .topic(name)
            .map(|topic| (topic.id, topic.name.to_string()))
            .ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                ControlError::new(Kind::UnknownTopicOrPartition, message)
            }),
        (None, true) => image
            .topic_by_id(selector.id)
            .map(|topic| (topic.id, topic.name.to_string()))
            .ok_or_else(|| {
                ControlError::new(
                    Kind::UnknownTopicId,
                    "This server does not host this topic ID.",
                )
            }),
    }
}

fn check_growth(topic: &str, present: i32, wanted: i32) -> Outcome<i32> {
    if wanted == present {
        let message = format!("Topic already has {present} partition(s).");
        return Err(ControlError::new(Kind::InvalidPartitions, message));
    }
    if wanted < present {
        let message = format!(
            "The topic {topic} currently has {present} partition(s); {wanted} would not be an increase."
        );
        return Err(ControlError::new(Kind::InvalidPartitions, message));
    }
    Ok(wanted - present)
}

fn check_added_assignments(node_id: i32, more: i32, assignments: &[Vec<i32>]) -> Outcome<()> {
    if usize::try_from(more) != Ok(assignments.len()) {
        let message = format!(
            "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return Err(ControlError::new(Kind::InvalidReplicaAssignment, message));
    }
    assignments
        .iter()
        .try_for_each(|replicas| check_replicas(node_id, replicas))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: TopicDefaults = TopicDefaults {
        partitions: 4,
        replication_factor: 1,
    };

    fn named(name: &str) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            partitions: 2,
            replication_factor: 1,
            ..NewTopic::default()
        }
    }

    fn decide(
        image: &MetadataImage,
        topics: &[NewTopic],
    ) -> (Vec<Outcome<CreatedTopic>>, Vec<Record>) {
        let mut last = 0;
        create(
            image,
            DEFAULTS,
            topics,
            &mut || {
                last += 1;
                TopicId([last; 16])
            },
            &|_| Ok(()),
        )
    }

    fn image_with(names: &[&str]) -> MetadataImage {
        let mut image = MetadataImage::empty("cluster", std::sync::Arc::default());
        let topics: Vec<NewTopic> = names.iter().map(|name| named(name)).collect();
        let (_, records) = decide(&image.clone(), &topics);
        records
            .iter()
            .for_each(|record| image.apply(record).unwrap());
        image
    }

    fn kind(topic: NewTopic) -> Option<Kind> {
        decide(&image_with(&["err-t", "ct.col"]), &[topic])
            .0
            .remove(0)
            .err()
            .map(|error| error.kind)
    }

    #[test]
    fn what_kafka_refuses_is_refused_with_the_same_kind() {
        assert_eq!(kind(named("err-t")), Some(Kind::TopicAlreadyExists));
        assert_eq!(kind(named("ct_col")), Some(Kind::InvalidTopic));
        assert_eq!(
            kind(named("__cluster_metadata")),
            Some(Kind::InvalidRequest)
        );
        assert_eq!(
            kind(NewTopic {
                partitions: 0,
                ..named("a")
            }),
            Some(Kind::InvalidPartitions)
        );
        assert_eq!(
            kind(NewTopic {
                replication_factor: 2,
                ..named("a")
            }),
            Some(Kind::InvalidReplicationFactor)
        );
        assert_eq!(
            kind(NewTopic {
                partitions: 100_000,
                ..named("a")
            }),
            Some(Kind::PolicyViolation)
        );
        let null = vec![("retention.ms".to_owned(), None)];
        assert_eq!(
            kind(NewTopic {
                configs: null,
                ..named("a")
            }),
            Some(Kind::InvalidConfig)
        );
    }

    #[test]
    fn a_manual_assignment_is_consecutive_and_names_this_node_once() {
        let assigned = |assignments: Vec<(i32, Vec<i32>)>| {
            kind(NewTopic {
                partitions: -1,
                replication_factor: -1,
                assignments,
                ..named("a")
            })
        };
        assert_eq!(assigned(vec![(1, vec![1]), (0, vec![1])]), None);
        for bad in [
            vec![(0, vec![1]), (2, vec![1])],
            vec![(0, vec![9])],
            vec![(0, vec![1, 1])],
            vec![(0, vec![])],
            vec![(0, vec![1]), (0, vec![1])],
        ] {
            assert_eq!(assigned(bad), Some(Kind::InvalidReplicaAssignment));
        }
    }

    #[test]
    fn one_bad_topic_does_not_hold_back_the_others() {
        let image = image_with(&["there"]);
        let (results, records) = decide(
            &image,
            &[named("there"), named("new"), named("twice"), named("twice")],
        );
        assert_eq!(
            results.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [false, true, false, false]
        );
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_topic_named_by_name_and_by_id_is_deleted_once() {
        let image = image_with(&["a"]);
        let id = image.topic("a").unwrap().id;
        let by_name = TopicSelector {
            name: Some("a".to_owned()),
            id: TopicId::default(),
        };
        let (results, records) = delete(&image, &[by_name, TopicSelector { name: None, id }]);
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().kind, Kind::UnknownTopicId);
        assert_eq!(records, [Record::RemoveTopic { id }]);
    }

    #[test]
    fn growth_must_be_growth() {
        let image = image_with(&["a"]);
        let wanted = |count| MorePartitions {
            name: "a".to_owned(),
            count,
            assignments: None,
        };
        for count in [-1, 0, 1, 2] {
            assert_eq!(
                grow(&image, &[wanted(count)]).0[0]
                    .as_ref()
                    .unwrap_err()
                    .kind,
                Kind::InvalidPartitions
            );
        }
        assert_eq!(grow(&image, &[wanted(5)]).1.len(), 3);
    }
}
