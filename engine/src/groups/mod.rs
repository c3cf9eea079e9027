//! The group coordinator: consumer groups and their committed offsets, kept in `__consumer_offsets`.
//!
//! Each partition of that topic is a [`partition::GroupPartition`]: plain state without clock or I/O, on the shard that
//! owns the log partition. A group lives in the partition that [`partition_of`] names. Around it is the edge,
//! [`coordinator::Coordinator`], one per shard. Invariant: what a decision changes is in a record, the record is replayed
//! into memory at once and appended, and no answer leaves before everything appended ahead of it is durable
//! (RELIABILITY G4, G6). When an append fails, the partition's state is dropped and read again from the log.
//!
//! Requests that wait for others (JoinGroup, SyncGroup) hold no slot of the mesh: a [`request::GroupCall`] carries the
//! way back for its answer, and the mesh answers as soon as the owner took the call.

pub mod classic;
pub mod consumer;
pub mod coordinator;
pub mod error;
pub mod load;
pub mod offsets;
pub mod partition;
pub mod record;
pub mod request;
pub mod settings;
pub mod timers;
pub mod turn;

use tuning::BrokerConfig;

use crate::cluster::topics::NewTopic;

pub use coordinator::Coordinator;
pub use error::GroupError;
pub use request::{GroupCall, GroupReply, GroupRequest};

/// The topic with everything that coordinators must remember.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The topic as it is made: compacted, and with one replica whatever `offsets.topic.replication.factor` says, on a node
/// of one.
#[must_use]
pub fn offsets_topic(config: &BrokerConfig) -> NewTopic {
    let set = |key: &str, value: String| (key.to_owned(), Some(value));
    let segment_bytes = config.offsets_topic_segment_bytes().to_string();
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: config.offsets_topic_num_partitions(),
        replication_factor: 1,
        configs: vec![
            set("cleanup.policy", "compact".to_owned()),
            set("compression.type", "producer".to_owned()),
            set("segment.bytes", segment_bytes),
        ],
        ..NewTopic::default()
    }
}

/// The partition of [`OFFSETS_TOPIC`] that keeps `group`: Kafka's `abs(hashCode) % partitions` over UTF-16 units.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka's Utils.abs: the smallest number has no opposite and becomes 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn groups_go_where_java_puts_them() {
        // Java: "".hashCode() is 0, "a".hashCode() is 97, and each further unit multiplies by 31.
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
        // A known string whose hash code is Integer.MIN_VALUE.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // Outside the basic plane: two UTF-16 units, 0xD83D and 0xDE00.
        assert_eq!(
            partition_of("\u{1F600}", 1_000_000),
            (0xD83D * 31 + 0xDE00) % 1_000_000
        );
    }
}
