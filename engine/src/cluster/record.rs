//! The metadata records that this node writes and understands, and their form on disk.
//!
//! The form is Kafka's (`net/schemas/metadata`), in record batches as KRaft frames them; this enum owns its strings so
//! that decisions do not borrow from a log.

use net::messages::metadata_records as wire;
use net::records::{Batch, BatchBuilder, Decompressor, split_batches};
use net::wire::{DecodeError, Reader, Uuid, Writer};

use super::image::{ConfigResource, ResourceKind};
use super::scram::{ScramCredential, ScramMechanism};
use crate::types::{LeaderEpoch, TopicId};

const FRAME_VERSION: u32 = 1;

/// One change of the cluster metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Nothing: keeps an offset.
    NoOp,
    /// A feature is finalized at a level.
    FeatureLevel {
        /// The feature's name.
        name: String,
        /// The level.
        level: i16,
    },
    /// A start of this node; its offset is the broker epoch.
    RegisterBroker {
        /// This node.
        node_id: i32,
        /// Where clients connect.
        host: String,
        /// Where clients connect.
        port: u16,
    },
    /// A topic exists.
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// A partition exists, with one replica.
    Partition {
        /// Its topic.
        topic_id: TopicId,
        /// Its index.
        index: i32,
        /// The node that holds and leads it.
        leader: i32,
        /// How often a leader was appointed.
        leader_epoch: LeaderEpoch,
        /// How often the partition changed.
        partition_epoch: i32,
    },
    /// A leader is appointed (also the same one again): starts a new leader epoch.
    NewLeader {
        /// The topic.
        topic_id: TopicId,
        /// The partition's index.
        index: i32,
        /// The leader.
        leader: i32,
    },
    /// A topic is gone.
    RemoveTopic {
        /// Its id.
        id: TopicId,
    },
    /// A dynamic configuration is set, or removed by `None`.
    Config {
        /// Whose.
        resource: ConfigResource,
        /// The key.
        name: String,
        /// The value.
        value: Option<String>,
    },
    /// A user can log in with a password.
    ScramCredential {
        /// The user.
        user: String,
        /// How the password was hashed.
        mechanism: ScramMechanism,
        /// What is kept of the password.
        credential: ScramCredential,
    },
    /// A user can no longer log in so.
    RemoveScramCredential {
        /// The user.
        user: String,
        /// Which of the user's credentials.
        mechanism: ScramMechanism,
    },
    /// Producer ids below `next` are given out.
    ProducerIds {
        /// Who got the last block.
        node_id: i32,
        /// In which epoch.
        broker_epoch: i64,
        /// First id of the next block.
        next: i64,
    },
}

impl Record {
    /// Whether it makes the image larger: refused when space is short, while the others may use the reserve.
    #[must_use]
    pub fn grows(&self) -> bool {
        matches!(
            self,
            Self::Topic { .. }
                | Self::Partition { .. }
                | Self::Config { value: Some(_), .. }
                | Self::ScramCredential { .. }
        )
    }
}

/// A record that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record at offset {offset} cannot be read by this version: {reason}")]
pub struct RecordError {
    /// Its offset.
    pub offset: i64,
    /// What is wrong.
    pub reason: String,
}

/// What stands in a batch's sequence field, which means nothing without a producer: a checksum of the two header fields
/// that Kafka's CRC leaves out, so that a flipped bit in them is found.
pub(super) fn prefix_checksum(base_offset: i64, leader_epoch: i32) -> i32 {
    let fields = [
        &base_offset.to_be_bytes()[..],
        &leader_epoch.to_be_bytes()[..],
    ]
    .concat();
    crc32c::crc32c(&fields).cast_signed()
}

/// One record batch that holds all `records`.
pub(super) fn encode_batch(
    records: &[Record],
    base_offset: i64,
    leader_epoch: i32,
    now_ms: i64,
) -> Vec<u8> {
    let mut builder =
        BatchBuilder::new().producer(-1, -1, prefix_checksum(base_offset, leader_epoch));
    for record in records {
        let mut writer = Writer::new();
        let body = to_wire(record);
        // KIP-595: frame version, record type and record version stand before the body.
        for number in [
            FRAME_VERSION,
            u32::from(body.api_key().unsigned_abs()),
            u32::from(version_of(record)),
        ] {
            writer.put_unsigned_varint(number);
        }
        body.encode(&mut writer, i16::from(version_of(record)))
            .expect("fields are within the record's version");
        builder.append(None, Some(&writer.to_vec()), &[], now_ms);
    }
    builder.build(base_offset, leader_epoch)
}

/// The records of a run of good batches, oldest first.
pub(crate) fn decode_batches(bytes: &[u8]) -> Result<Vec<Record>, RecordError> {
    let mut records = Vec::new();
    for batch in split_batches(bytes) {
        let batch = batch.map_err(|error| RecordError {
            offset: -1,
            reason: error.to_string(),
        })?;
        decode_batch(&batch, &mut records)?;
    }
    Ok(records)
}

fn decode_batch(batch: &Batch<'_>, records: &mut Vec<Record>) -> Result<(), RecordError> {
    let base_offset = batch.header().base_offset;
    let fail = |reason: String| RecordError {
        offset: base_offset,
        reason,
    };
    let mut decompressor = Decompressor::default();
    for record in batch
        .records(&mut decompressor)
        .map_err(|error| fail(error.to_string()))?
    {
        let record = record.map_err(|error| fail(error.to_string()))?;
        let offset = record.offset;
        let value = record
            .value
            .ok_or_else(|| fail("a metadata record without a value".to_owned()))?;
        let decoded = decode_framed(value).map_err(|error| RecordError {
            offset,
            reason: error.to_string(),
        })?;
        records.push(from_wire(&decoded).ok_or_else(|| RecordError {
            offset,
            reason: format!("{decoded:?}"),
        })?);
    }
    Ok(())
}

fn decode_framed(value: &[u8]) -> Result<wire::MetadataRecord<'_>, DecodeError> {
    let mut reader = Reader::new(value);
    let frame_version = reader.get_unsigned_varint()?;
    if frame_version != FRAME_VERSION {
        let version = i16::try_from(frame_version).unwrap_or(i16::MAX);
        return Err(DecodeError::UnsupportedVersion {
            message: "metadata record frame",
            version,
        });
    }
    let key = i16::try_from(reader.get_unsigned_varint()?).unwrap_or(i16::MAX);
    let version = i16::try_from(reader.get_unsigned_varint()?).unwrap_or(i16::MAX);
    wire::MetadataRecord::decode(key, version, &mut reader)
}

// The lowest version that holds what we have to say: directories and eligible leaders belong to clusters.
fn version_of(record: &Record) -> u8 {
    match record {
        Record::RegisterBroker { .. } => 2,
        _ => 0,
    }
}

fn to_wire(record: &Record) -> wire::MetadataRecord<'_> {
    use wire::MetadataRecord as Wire;
    match record {
        Record::NoOp => Wire::NoOp(wire::no_op::NoOpRecord::default()),
        Record::FeatureLevel { name, level } => {
            Wire::FeatureLevel(wire::feature_level::FeatureLevelRecord {
                name,
                feature_level: *level,
                ..Default::default()
            })
        }
        Record::RegisterBroker {
            node_id,
            host,
            port,
        } => Wire::RegisterBroker(registration(*node_id, host, *port)),
        Record::Topic { name, id } => Wire::Topic(wire::topic::TopicRecord {
            name,
            topic_id: Uuid(id.0),
            ..Default::default()
        }),
        Record::Partition {
            topic_id,
            index,
            leader,
            leader_epoch,
            partition_epoch,
        } => Wire::Partition(wire::partition::PartitionRecord {
            partition_id: *index,
            topic_id: Uuid(topic_id.0),
            replicas: vec![*leader],
            isr: vec![*leader],
            leader: *leader,
            leader_epoch: leader_epoch.0,
            partition_epoch: *partition_epoch,
            ..Default::default()
        }),
        Record::NewLeader {
            topic_id,
            index,
            leader,
        } => Wire::PartitionChange(wire::partition_change::PartitionChangeRecord {
            partition_id: *index,
            topic_id: Uuid(topic_id.0),
            leader: *leader,
            ..Default::default()
        }),
        Record::RemoveTopic { id } => Wire::RemoveTopic(wire::remove_topic::RemoveTopicRecord {
            topic_id: Uuid(id.0),
            ..Default::default()
        }),
        Record::Config {
            resource,
            name,
            value,
        } => Wire::Config(wire::config::ConfigRecord {
            resource_type: resource.kind as i8,
            resource_name: &resource.name,
            name,
            value: value.as_deref(),
            ..Default::default()
        }),
        Record::ScramCredential {
            user,
            mechanism,
            credential,
        } => Wire::UserScramCredential(wire::user_scram_credential::UserScramCredentialRecord {
            name: user,
            mechanism: *mechanism as i8,
            salt: &credential.salt,
            stored_key: &credential.stored_key,
            server_key: &credential.server_key,
            iterations: credential.iterations,
            ..Default::default()
        }),
        Record::RemoveScramCredential { user, mechanism } => Wire::RemoveUserScramCredential(
            wire::remove_user_scram_credential::RemoveUserScramCredentialRecord {
                name: user,
                mechanism: *mechanism as i8,
                ..Default::default()
            },
        ),
        Record::ProducerIds {
            node_id,
            broker_epoch,
            next,
        } => Wire::ProducerIds(wire::producer_ids::ProducerIdsRecord {
            broker_id: *node_id,
            broker_epoch: *broker_epoch,
            next_producer_id: *next,
            ..Default::default()
        }),
    }
}

fn registration<'a>(
    node_id: i32,
    host: &'a str,
    port: u16,
) -> wire::register_broker::RegisterBrokerRecord<'a> {
    let end_point = wire::register_broker::BrokerEndpoint {
        name: "PLAINTEXT",
        host,
        port,
        security_protocol: 0,
        ..Default::default()
    };
    wire::register_broker::RegisterBrokerRecord {
        broker_id: node_id,
        end_points: vec![end_point],
        fenced: false,
        ..Default::default()
    }
}

fn from_wire(record: &wire::MetadataRecord<'_>) -> Option<Record> {
    use wire::MetadataRecord as Wire;
    Some(match record {
        Wire::NoOp(_) => Record::NoOp,
        Wire::FeatureLevel(r) => Record::FeatureLevel {
            name: r.name.to_owned(),
            level: r.feature_level,
        },
        Wire::RegisterBroker(r) => {
            let end_point = r.end_points.first()?;
            Record::RegisterBroker {
                node_id: r.broker_id,
                host: end_point.host.to_owned(),
                port: end_point.port,
            }
        }
        Wire::Topic(r) => Record::Topic {
            name: r.name.to_owned(),
            id: TopicId(r.topic_id.0),
        },
        Wire::Partition(r) => Record::Partition {
            topic_id: TopicId(r.topic_id.0),
            index: r.partition_id,
            leader: r.leader,
            leader_epoch: LeaderEpoch(r.leader_epoch),
            partition_epoch: r.partition_epoch,
        },
        Wire::PartitionChange(r) => Record::NewLeader {
            topic_id: TopicId(r.topic_id.0),
            index: r.partition_id,
            leader: r.leader,
        },
        Wire::RemoveTopic(r) => Record::RemoveTopic {
            id: TopicId(r.topic_id.0),
        },
        Wire::Config(r) => {
            let resource = ConfigResource {
                kind: ResourceKind::from_code(r.resource_type)?,
                name: r.resource_name.to_owned(),
            };
            Record::Config {
                resource,
                name: r.name.to_owned(),
                value: r.value.map(str::to_owned),
            }
        }
        Wire::UserScramCredential(r) => Record::ScramCredential {
            user: r.name.to_owned(),
            mechanism: ScramMechanism::from_code(r.mechanism)?,
            credential: ScramCredential {
                salt: r.salt.to_owned(),
                stored_key: r.stored_key.to_owned(),
                server_key: r.server_key.to_owned(),
                iterations: r.iterations,
            },
        },
        Wire::RemoveUserScramCredential(r) => Record::RemoveScramCredential {
            user: r.name.to_owned(),
            mechanism: ScramMechanism::from_code(r.mechanism)?,
        },
        Wire::ProducerIds(r) => Record::ProducerIds {
            node_id: r.broker_id,
            broker_epoch: r.broker_epoch,
            next: r.next_producer_id,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Record> {
        let resource = ConfigResource {
            kind: ResourceKind::Topic,
            name: "t".to_owned(),
        };
        let topic_id = TopicId([3; 16]);
        vec![
            Record::NoOp,
            Record::FeatureLevel {
                name: "metadata.version".to_owned(),
                level: 30,
            },
            Record::RegisterBroker {
                node_id: 1,
                host: "127.0.0.1".to_owned(),
                port: 9092,
            },
            Record::Topic {
                name: "t".to_owned(),
                id: topic_id,
            },
            Record::Partition {
                topic_id,
                index: 0,
                leader: 1,
                leader_epoch: LeaderEpoch(4),
                partition_epoch: 5,
            },
            Record::NewLeader {
                topic_id,
                index: 0,
                leader: 1,
            },
            Record::Config {
                resource: resource.clone(),
                name: "a".to_owned(),
                value: Some("b".to_owned()),
            },
            Record::Config {
                resource,
                name: "a".to_owned(),
                value: None,
            },
            Record::ProducerIds {
                node_id: 1,
                broker_epoch: 2,
                next: 3000,
            },
            Record::ScramCredential {
                user: "u".to_owned(),
                mechanism: ScramMechanism::Sha512,
                credential: ScramCredential {
                    salt: vec![1],
                    stored_key: vec![2; 64],
                    server_key: vec![3; 64],
                    iterations: 4096,
                },
            },
            Record::RemoveScramCredential {
                user: "u".to_owned(),
                mechanism: ScramMechanism::Sha512,
            },
            Record::RemoveTopic { id: topic_id },
        ]
    }

    #[test]
    fn records_survive_the_way_to_disk_and_back() {
        let mut bytes = encode_batch(&one_of_each(), 7, 2, 1_700_000_000_000);
        bytes.extend(encode_batch(&one_of_each(), 17, 3, 1_700_000_000_000));
        let mut twice = one_of_each();
        twice.extend(one_of_each());
        assert_eq!(decode_batches(&bytes).unwrap(), twice);
    }
}
