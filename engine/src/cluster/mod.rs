//! The control plane: cluster metadata as a log of Kafka's own metadata records (DESIGN §7).
//!
//! Decisions ([`topics`], [`configs`], [`producer_ids`]) read an immutable [`MetadataImage`] and answer with
//! [`Record`]s; [`MetadataStore`] makes the records durable in two mirrored files; replaying them gives the next
//! image. A restart replays the same records, so there is one way for metadata to change. Runs on shard 0.

pub mod configs;
pub mod controller;
mod copy;
pub mod features;
pub mod image;
pub mod name;
pub mod producer_ids;
pub mod record;
pub mod scram;
pub mod store;
pub mod topics;

pub use controller::{ControlError, ControlErrorKind, ControlRequest, ControlResponse, Controller};
pub use image::{ConfigResource, MetadataImage, PartitionImage, ResourceKind, TopicImage};
pub use record::Record;
pub use store::{FoundLog, MetadataStore, StoreError};
