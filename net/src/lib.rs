//! Bytes to Kafka frames to connections.
//!
//! `net` knows Kafka's wire format and nothing of topics or partitions: it turns bytes into messages and
//! messages into bytes, looks into record batches without copying them, and owns the runtime half of the
//! platform seam (executor, time, sockets, randomness).

pub mod client;
pub mod cluster;
pub mod fuzz;
pub mod messages;
pub mod platform;
pub mod records;
pub mod server;
pub mod wire;
