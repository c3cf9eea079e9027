//! Distinct types for the distinct numbers of the broker.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number!(
    /// Position of a record in its partition; the first record ever has 0.
    Offset(i64)
);
number!(
    /// How often the partition got a leader; −1 is unknown.
    LeaderEpoch(i32)
);
number!(
    /// Number of an idempotent or transactional producer; −1 is none.
    ProducerId(i64)
);
number!(
    /// Incarnation of a producer id.
    ProducerEpoch(i16)
);
number!(
    /// Number of a record within a producer's epoch and partition; wraps from 2,147,483,647 to 0.
    Sequence(i32)
);
number!(
    /// Index of a shard (executor) of this node.
    ShardId(u16)
);
number!(
    /// Byte position in a segment file.
    FilePosition(u32)
);
/// One incarnation of a topic; a topic created again gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

/// A partition of one incarnation of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic's incarnation.
    pub topic_id: TopicId,
    /// Index of the partition in its topic.
    pub index: i32,
}
