//! The records of consumer groups in `__consumer_offsets`, as owned values; [`GroupRecord`] is what is on disk.
//!
//! Record types 3–8 and 16. A record of a group without a value removes what the key names.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use net::messages::group_records::consumer_group_current_member_assignment as current;
use net::messages::group_records::consumer_group_member_metadata as metadata;
use net::messages::group_records::consumer_group_metadata::{
    ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
};
use net::messages::group_records::consumer_group_partition_metadata::{
    ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue,
};
use net::messages::group_records::consumer_group_regular_expression::{
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
};
use net::messages::group_records::consumer_group_target_assignment_member as target;
use net::messages::group_records::consumer_group_target_assignment_metadata::{
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};
use net::wire::Uuid;

use super::member::{ClassicMetadata, CurrentAssignment, MemberMetadata, MemberState};
use super::partitions::{OwnedPartitions, PartitionSet};
use crate::groups::record::GroupRecord;
use crate::types::{PartitionId, TopicId};

/// A change of one consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group's epoch; none removes the group.
    Group(Option<GroupEpoch>),
    /// Partition counts as older versions of Kafka kept them; only whether they are there matters.
    PartitionMetadata(bool),
    /// What a member says of itself.
    Member(Arc<str>, Option<Box<MemberMetadata>>),
    /// The epoch of the target assignment.
    TargetEpoch(Option<TargetEpoch>),
    /// What a member is to own.
    Target(Arc<str>, Option<PartitionSet>),
    /// Where a member stands.
    Current(Arc<str>, Option<CurrentAssignment>),
    /// The topics that a pattern matched.
    Pattern(Arc<str>, Option<ResolvedPattern>),
}

/// A group's epoch and what it was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEpoch {
    /// How often something changed that the assignment depends on.
    pub epoch: i32,
    /// Hash of the topics that the group asks for; 0 for none.
    pub metadata_hash: i64,
}

/// When the target assignment was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetEpoch {
    /// Epoch of the group it was computed for.
    pub epoch: i32,
    /// When, in milliseconds since 1970; 0 if unknown.
    pub timestamp_ms: i64,
}

/// The topics that a pattern matched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedPattern {
    /// Their names.
    pub topics: BTreeSet<Arc<str>>,
    /// Offset of the metadata it was matched against.
    pub version: i64,
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl ConsumerRecord {
    /// Whether the record removes what it names.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::PartitionMetadata(present) => !present,
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Pattern(_, value) => value.is_none(),
        }
    }

    /// The record as it is written.
    #[must_use]
    pub fn to_wire<'a>(&'a self, group_id: &'a str) -> GroupRecord<'a> {
        match self {
            Self::Group(value) => GroupRecord::ConsumerGroup(
                ConsumerGroupMetadataKey { group_id },
                value.map(|value| ConsumerGroupMetadataValue {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                    ..Default::default()
                }),
            ),
            Self::PartitionMetadata(present) => GroupRecord::ConsumerPartitions(
                ConsumerGroupPartitionMetadataKey { group_id },
                present.then(ConsumerGroupPartitionMetadataValue::default),
            ),
            Self::Member(member_id, value) => GroupRecord::ConsumerMember(
                metadata::ConsumerGroupMemberMetadataKey {
                    group_id,
                    member_id,
                },
                value.as_deref().map(member_to_wire),
            ),
            Self::TargetEpoch(value) => GroupRecord::ConsumerTarget(
                ConsumerGroupTargetAssignmentMetadataKey { group_id },
                value.map(|value| ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: value.epoch,
                    assignment_timestamp: value.timestamp_ms,
                    ..Default::default()
                }),
            ),
            Self::Target(member_id, value) => GroupRecord::ConsumerTargetMember(
                target::ConsumerGroupTargetAssignmentMemberKey {
                    group_id,
                    member_id,
                },
                value.as_ref().map(target_to_wire),
            ),
            Self::Current(member_id, value) => GroupRecord::ConsumerCurrent(
                current::ConsumerGroupCurrentMemberAssignmentKey {
                    group_id,
                    member_id,
                },
                value.as_ref().map(current_to_wire),
            ),
            Self::Pattern(regular_expression, value) => GroupRecord::ConsumerRegex(
                ConsumerGroupRegularExpressionKey {
                    group_id,
                    regular_expression,
                },
                value
                    .as_ref()
                    .map(|value| ConsumerGroupRegularExpressionValue {
                        topics: value.topics.iter().map(|topic| &**topic).collect(),
                        version: value.version,
                        timestamp: value.timestamp_ms,
                        ..Default::default()
                    }),
            ),
        }
    }

    /// The record of a consumer group, with the group's id; `None` if it is of something else.
    #[must_use]
    pub fn from_wire<'a>(record: &GroupRecord<'a>) -> Option<(&'a str, Self)> {
        Some(match record {
            GroupRecord::ConsumerGroup(key, value) => {
                let value = value.as_ref().map(|value| GroupEpoch {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                });
                (key.group_id, Self::Group(value))
            }
            GroupRecord::ConsumerPartitions(key, value) => {
                (key.group_id, Self::PartitionMetadata(value.is_some()))
            }
            GroupRecord::ConsumerMember(key, value) => {
                let value = value
                    .as_ref()
                    .map(|value| Box::new(member_from_wire(value)));
                (key.group_id, Self::Member(key.member_id.into(), value))
            }
            GroupRecord::ConsumerTarget(key, value) => {
                let value = value.as_ref().map(|value| TargetEpoch {
                    epoch: value.assignment_epoch,
                    timestamp_ms: value.assignment_timestamp,
                });
                (key.group_id, Self::TargetEpoch(value))
            }
            GroupRecord::ConsumerTargetMember(key, value) => {
                let value = value.as_ref().map(|value| {
                    let topics = value.topic_partitions.iter();
                    topics
                        .flat_map(|topic| partitions_of(topic.topic_id, &topic.partitions))
                        .collect()
                });
                (key.group_id, Self::Target(key.member_id.into(), value))
            }
            GroupRecord::ConsumerCurrent(key, value) => {
                let value = value.as_ref().map(current_from_wire);
                (key.group_id, Self::Current(key.member_id.into(), value))
            }
            GroupRecord::ConsumerRegex(key, value) => {
                let value = value.as_ref().map(|value| ResolvedPattern {
                    topics: value.topics.iter().map(|topic| Arc::from(*topic)).collect(),
                    version: value.version,
                    timestamp_ms: value.timestamp,
                });
                (
                    key.group_id,
                    Self::Pattern(key.regular_expression.into(), value),
                )
            }
            _ => return None,
        })
    }
}

fn partitions_of(topic_id: Uuid, indexes: &[i32]) -> impl Iterator<Item = PartitionId> + '_ {
    indexes.iter().map(move |index| PartitionId {
        topic_id: TopicId(topic_id.0),
        index: *index,
    })
}

fn member_to_wire(value: &MemberMetadata) -> metadata::ConsumerGroupMemberMetadataValue<'_> {
    let classic = value.classic.as_ref();
    metadata::ConsumerGroupMemberMetadataValue {
        instance_id: value.instance_id.as_deref(),
        rack_id: value.rack_id.as_deref(),
        client_id: &value.client_id,
        client_host: &value.client_host,
        subscribed_topic_names: value.topics.iter().map(|topic| &**topic).collect(),
        subscribed_topic_regex: value.regex.as_deref(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        server_assignor: value.assignor.as_deref(),
        classic_member_metadata: classic.map(|classic| metadata::ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic
                .protocols
                .iter()
                .map(|(name, bytes)| metadata::ClassicProtocol {
                    name,
                    metadata: bytes,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn target_to_wire(value: &PartitionSet) -> target::ConsumerGroupTargetAssignmentMemberValue<'_> {
    target::ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: value
            .by_topic()
            .map(|(topic_id, partitions)| target::TopicPartition {
                topic_id: Uuid(topic_id.0),
                partitions,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn current_to_wire(
    value: &CurrentAssignment,
) -> current::ConsumerGroupCurrentMemberAssignmentValue<'_> {
    current::ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: value.epoch,
        previous_member_epoch: value.previous_epoch,
        state: value.state.code(),
        assigned_partitions: owned_to_wire(&value.assigned),
        partitions_pending_revocation: owned_to_wire(&value.revoking),
        ..Default::default()
    }
}

fn member_from_wire(value: &metadata::ConsumerGroupMemberMetadataValue<'_>) -> MemberMetadata {
    let topics: BTreeSet<Arc<str>> = value
        .subscribed_topic_names
        .iter()
        .map(|topic| Arc::from(*topic))
        .collect();
    let classic = value.classic_member_metadata.as_ref();
    MemberMetadata {
        instance_id: value.instance_id.map(Arc::from),
        rack_id: value.rack_id.map(Arc::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        topics: topics.into_iter().collect(),
        regex: value.subscribed_topic_regex.map(Arc::from),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.map(Arc::from),
        classic: classic.and_then(|classic| {
            let protocols: Vec<(Arc<str>, Bytes)> = classic
                .supported_protocols
                .iter()
                .map(|protocol| {
                    (
                        Arc::from(protocol.name),
                        Bytes::copy_from_slice(protocol.metadata),
                    )
                })
                .collect();
            // The schema's default is an empty structure, which Kafka never writes and reads as "not classic".
            (!protocols.is_empty()).then_some(ClassicMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                protocols,
            })
        }),
    }
}

fn owned_to_wire(owned: &OwnedPartitions) -> Vec<current::TopicPartitions<'_>> {
    owned
        .by_topic()
        .map(|(topic_id, partitions, epochs)| current::TopicPartitions {
            topic_id: Uuid(topic_id.0),
            partitions,
            assignment_epochs: Some(epochs),
            ..Default::default()
        })
        .collect()
}

fn current_from_wire(
    value: &current::ConsumerGroupCurrentMemberAssignmentValue<'_>,
) -> CurrentAssignment {
    let owned = |topics: &[current::TopicPartitions<'_>]| -> OwnedPartitions {
        let topics = topics.iter();
        topics
            .flat_map(|topic| {
                let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
                partitions_of(topic.topic_id, &topic.partitions)
                    .enumerate()
                    .map(|(at, partition)| {
                        // Versions before 4.3 did not keep them: then the member's epoch is the earliest that is safe.
                        let epoch = epochs.get(at).copied().unwrap_or(value.member_epoch);
                        (partition, epoch)
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    CurrentAssignment {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::from_code(value.state),
        assigned: owned(&value.assigned_partitions),
        revoking: owned(&value.partitions_pending_revocation),
    }
}
