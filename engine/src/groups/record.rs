//! Records of `__consumer_offsets`, typed by Kafka's own schemas, and the bytes they are.
//!
//! A key begins with its record type, a value with its version. Values are written in the versions Kafka 4.3 writes and
//! read in every version. Records of group types that are not served (share, streams) are read as
//! [`GroupRecord::Foreign`]: their groups' names are taken, their content stays in the log.

use bytes::Bytes;
use net::messages::group_records::{
    consumer_group_current_member_assignment as current, consumer_group_member_metadata as member,
    consumer_group_metadata as consumer, consumer_group_partition_metadata as partitions,
    consumer_group_regular_expression as regex, consumer_group_target_assignment_member as target,
    consumer_group_target_assignment_metadata as target_epoch, group_metadata as classic,
    legacy_offset_commit as legacy, offset_commit as offset, share_group_metadata as share,
    streams_group_metadata as streams,
};
use net::wire::{DecodeError, Reader, Writer};

/// Version of the value of an offset commit with an expiry of its own.
const OFFSET_WITH_EXPIRY: i16 = 1;
/// Version of the value of any other offset commit; it can carry the topic's id.
const OFFSET: i16 = 4;
/// The newest version of a classic group without tagged fields.
const CLASSIC: i16 = 3;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Null keys are never written.
    #[error("a record without a key")]
    NoKey,
    /// Kafka added it after 4.3.
    #[error("unknown record type {0}")]
    UnknownType(i16),
    /// It does not follow its schema.
    #[error("record type {0}: {1}")]
    Malformed(i16, DecodeError),
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident($module:ident::$key:ident, $value:ident) = $version:expr;)+) => {
        /// One record: a key and a value; no value is a tombstone.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GroupRecord<'a> {
            $($(#[$doc])* $name($module::$key<'a>, Option<$module::$value<'a>>),)+
            /// Of a share or streams group; the name of the group if this creates or removes one.
            Foreign {
                /// The group, where the record is about its existence.
                group: Option<&'a str>,
                /// Whether it removes.
                tombstone: bool,
            },
        }

        impl<'a> GroupRecord<'a> {
            /// The bytes of key and value.
            ///
            /// # Panics
            /// For [`GroupRecord::Foreign`], which is never written, and if a field is longer than Kafka's schema can
            /// say; both are refused before a decision writes anything.
            #[must_use]
            pub fn encode(&self) -> (Bytes, Option<Bytes>) {
                let mut writer = Writer::new();
                let mut content = None;
                match self {
                    $(GroupRecord::$name(key, value) => {
                        writer.put_i16($module::$key::API_KEY);
                        key.encode(&mut writer, 0).expect("requests bound every field");
                        if let Some(value) = value {
                            let version = ($version)(value);
                            let mut writer = Writer::new();
                            writer.put_i16(version);
                            value.encode(&mut writer, version).expect("requests bound every field");
                            content = Some(Bytes::from(writer.to_vec()));
                        }
                    })+
                    GroupRecord::Foreign { .. } => panic!("records of other group types are only read"),
                }
                (Bytes::from(writer.to_vec()), content)
            }

            /// Reads a record.
            ///
            /// # Errors
            /// It is of an unknown type, or damaged.
            pub fn decode(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Self, RecordError> {
                let mut reader = Reader::new(key.ok_or(RecordError::NoKey)?);
                let kind = reader.get_i16().map_err(|error| RecordError::Malformed(-1, error))?;
                let malformed = |error| RecordError::Malformed(kind, error);
                match kind {
                    $($module::$key::API_KEY => {
                        let key = $module::$key::decode(&mut reader, 0).map_err(malformed)?;
                        let value = match value {
                            None => None,
                            Some(bytes) => {
                                let mut reader = Reader::new(bytes);
                                let version = reader.get_i16().map_err(malformed)?;
                                Some($module::$value::decode(&mut reader, version).map_err(malformed)?)
                            }
                        };
                        Ok(GroupRecord::$name(key, value))
                    })+
                    _ => Self::decode_foreign(kind, &mut reader, value.is_none()),
                }
            }
        }
    };
}

records! {
    /// A committed offset, as Kafka wrote it before 0.9.
    LegacyOffset(legacy::LegacyOffsetCommitKey, LegacyOffsetCommitValue) = |_: &legacy::LegacyOffsetCommitValue<'_>| 0;
    /// A committed offset.
    Offset(offset::OffsetCommitKey, OffsetCommitValue) = offset_version;
    /// A group of the classic protocol.
    ClassicGroup(classic::GroupMetadataKey, GroupMetadataValue) = |_: &classic::GroupMetadataValue<'_>| CLASSIC;
    /// A group of the consumer protocol: its epoch.
    ConsumerGroup(consumer::ConsumerGroupMetadataKey, ConsumerGroupMetadataValue) = |_: &consumer::ConsumerGroupMetadataValue| 0;
    /// What a consumer group knew of its topics (not written since Kafka 4.1).
    ConsumerPartitions(partitions::ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue) = |_: &partitions::ConsumerGroupPartitionMetadataValue<'_>| 0;
    /// A member of a consumer group: its subscription.
    ConsumerMember(member::ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue) = |_: &member::ConsumerGroupMemberMetadataValue<'_>| 0;
    /// The epoch of a consumer group's target assignment.
    ConsumerTarget(target_epoch::ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue) = |_: &target_epoch::ConsumerGroupTargetAssignmentMetadataValue| 0;
    /// What a member of a consumer group shall own.
    ConsumerTargetMember(target::ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue) = |_: &target::ConsumerGroupTargetAssignmentMemberValue<'_>| 0;
    /// What a member of a consumer group owns.
    ConsumerCurrent(current::ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue) = |_: &current::ConsumerGroupCurrentMemberAssignmentValue<'_>| 0;
    /// The topics that a regular expression of a consumer group named.
    ConsumerRegex(regex::ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue) = |_: &regex::ConsumerGroupRegularExpressionValue<'_>| 0;
}

impl<'a> GroupRecord<'a> {
    fn decode_foreign(
        kind: i16,
        reader: &mut Reader<'a>,
        tombstone: bool,
    ) -> Result<Self, RecordError> {
        let malformed = |error| RecordError::Malformed(kind, error);
        let group = match kind {
            share::ShareGroupMetadataKey::API_KEY => Some(
                share::ShareGroupMetadataKey::decode(reader, 0)
                    .map_err(malformed)?
                    .group_id,
            ),
            streams::StreamsGroupMetadataKey::API_KEY => Some(
                streams::StreamsGroupMetadataKey::decode(reader, 0)
                    .map_err(malformed)?
                    .group_id,
            ),
            10..=23 => None,
            _ => return Err(RecordError::UnknownType(kind)),
        };
        Ok(GroupRecord::Foreign { group, tombstone })
    }
}

fn offset_version(value: &offset::OffsetCommitValue<'_>) -> i16 {
    if value.expire_timestamp >= 0 {
        OFFSET_WITH_EXPIRY
    } else {
        OFFSET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::wire::Uuid;

    #[test]
    fn an_offset_survives_its_bytes_in_each_version_that_is_written() {
        let key = offset::OffsetCommitKey {
            group: "g",
            topic: "t",
            partition: 3,
        };
        for (expire_timestamp, topic_id, version) in [
            (-1, Uuid::default(), 4),
            (77, Uuid::default(), 1),
            (-1, Uuid([7; 16]), 4),
        ] {
            let value = offset::OffsetCommitValue {
                offset: 42,
                metadata: "m",
                commit_timestamp: 5,
                expire_timestamp,
                topic_id,
                ..Default::default()
            };
            let record = GroupRecord::Offset(key.clone(), Some(value));
            let (key_bytes, value_bytes) = record.encode();
            let value_bytes = value_bytes.expect("not a tombstone");
            assert_eq!(value_bytes[..2], [0, version]);
            assert_eq!(
                GroupRecord::decode(Some(&key_bytes), Some(&value_bytes)),
                Ok(record)
            );
        }
    }

    #[test]
    fn a_type_of_a_later_kafka_is_told_from_one_of_ours() {
        assert_eq!(
            GroupRecord::decode(Some(&[0, 99]), None),
            Err(RecordError::UnknownType(99))
        );
        assert_eq!(GroupRecord::decode(None, None), Err(RecordError::NoKey));
        assert!(matches!(
            GroupRecord::decode(Some(&[0, 2, 0, 9]), None),
            Err(RecordError::Malformed(2, _))
        ));
    }
}
