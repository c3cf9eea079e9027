//! Every bound of the broker that a client or a disk could push against, and how they relate.

/// The largest request frame, in bytes (Kafka's `socket.request.max.bytes` default).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Batches remembered per producer and partition (RELIABILITY I1).
pub const PRODUCER_BATCHES_MAX: usize = 5;
