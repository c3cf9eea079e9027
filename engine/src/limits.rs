//! Every bound of the broker that a client or a disk could push against, and how they relate.

/// The largest request frame, in bytes (Kafka's `socket.request.max.bytes` default).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Batches remembered per producer and partition (RELIABILITY I1).
pub const PRODUCER_BATCHES_MAX: usize = 5;
/// Producer ids that the partitions of one shard remember together (RELIABILITY I10).
pub const PRODUCERS_PER_SHARD_MAX: usize = 100_000;
/// At that bound, a producer silent for so long may be forgotten for a new one, in milliseconds.
pub const PRODUCER_IDLE_EVICTION_MS: i64 = 15 * 60 * 1000;
