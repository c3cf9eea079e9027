//! The Tidelog broker.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod consumer_lag;
pub mod data_directory;
pub mod groups;
pub mod limits;
pub mod loggers;
pub mod metrics;
pub mod metrics_http;
pub mod node;
pub mod node_thread;
pub mod partition;
pub mod planted;
pub mod platform;
pub mod preflight;
pub mod shard;
pub mod types;

pub mod log;
