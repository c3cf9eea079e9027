//! Every bound of the broker that a client or a disk could push against, and how they relate.

/// The largest request frame, in bytes (Kafka's `socket.request.max.bytes` default).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Batches remembered per producer and partition (RELIABILITY I1).
pub const PRODUCER_BATCHES_MAX: usize = 5;
/// Producer ids that the partitions of one shard remember together (RELIABILITY I10).
pub const PRODUCERS_PER_SHARD_MAX: usize = 100_000;
/// At that bound, a producer silent for so long may be forgotten for a new one, in milliseconds.
pub const PRODUCER_IDLE_EVICTION_MS: i64 = 15 * 60 * 1000;
/// Partitions that one CreateTopics or CreatePartitions request may add (Kafka's limit).
pub const CREATE_PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Partitions in one answer to DescribeTopicPartitions (Kafka's `max.request.partition.size.limit` default).
pub const DESCRIBED_PARTITIONS_MAX: usize = 2000;
/// Partitions of one node.
pub const PARTITIONS_PER_NODE_MAX: usize = 200_000;
/// Bytes of one copy of the metadata log; a start compacts it well before.
pub const METADATA_LOG_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of the metadata log that only records which do not grow the metadata may use.
pub const METADATA_RESERVE_BYTES: u64 = 1024 * 1024;
/// Calls that one shard may have under way to one other shard; more wait for a slot (DESIGN §6).
pub const MESH_CALLS_MAX: usize = 512;
/// Requests of one connection that were received and not yet taken up.
pub const FRAMES_AHEAD_MAX: usize = 2;
/// Produce requests of one connection that may be under way together.
pub const PRODUCE_IN_FLIGHT_MAX: usize = 64;
/// Answers of one connection that are written together, in bytes.
pub const WRITE_TOGETHER_BYTES: usize = 64 * 1024;
/// Received request bytes of one shard's connections; beyond it one request at a time is read.
pub const RECEIVE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Partitions of one fetch session.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 100_000;
/// Addresses whose connections are counted apart.
pub const PEER_ADDRESSES_MAX: usize = 100_000;
/// Groups of one partition of the offsets topic.
pub const GROUPS_PER_PARTITION_MAX: usize = 100_000;
/// Committed offsets of one partition of the offsets topic.
pub const OFFSETS_PER_PARTITION_MAX: usize = 4_000_000;
/// Deadlines of one partition's groups, beyond which nobody new is let in. Members and ids that were given out to become
/// members have one each at least, so this bounds them whatever `group.max.size` says.
pub const GROUP_DEADLINES_PER_PARTITION_MAX: usize = 200_000;
/// Protocol names and metadata of one group member, in bytes.
pub const GROUP_MEMBER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records that are appended as one batch where a decision may become several, in bytes.
pub const GROUP_BATCH_BYTES: usize = 1024 * 1024;
/// Topics that clients asked for and that one shard has not yet handed on to be created; whoever asks for more asks again.
pub const AUTO_CREATIONS_MAX: usize = 1_000;
/// Committed offsets that a page of metrics names.
pub const METRIC_GROUP_OFFSETS_MAX: usize = 10_000;
/// Partitions of the offsets topic that one shard reads at the same time.
pub const GROUP_LOADS_TOGETHER_MAX: usize = 4;
/// Bytes of a pattern of topic names.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Memory that one such pattern may take when it is ready to match.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 1 << 20;
