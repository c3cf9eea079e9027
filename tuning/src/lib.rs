//! Settings of Tidelog: the one table of them and everything derived from it.
//!
//! The table (`settings`, `lookup`) says each setting's name, type, default, rule and how far it is honoured. From it
//! come `load` (files, environment and flags to a [`BrokerConfig`]), `validate` and `apply_incremental` (changes over
//! the wire), `describe` (DescribeConfigs), [`TopicConfig`] and the documentation. Nothing here knows a partition or a
//! socket. Any core may call it; configurations are immutable values. [`host`] and [`disk`] look at the machine, for
//! `tidelog tune`; beside them, reading a named file is the only I/O.

pub mod alter;
pub mod broker;
pub mod describe;
pub mod disk;
pub mod docs;
mod environment;
mod error;
pub mod host;
pub mod listeners;
pub mod load;
pub mod profiles;
mod properties;
pub mod setting;
mod table;
mod toml_file;
pub mod topic;

pub use alter::{AlterOperation, apply_incremental, check_group, validate};
pub use broker::{BrokerConfig, ConfigSource, Durability};
pub use describe::{ConfigSynonym, DescribedConfig, Resource, describe};
pub use error::{ConfigError, ConfigErrorKind};
pub use listeners::Listener;
pub use load::{NamedText, Sources, Warning, load};
pub use setting::{Check, Dynamic, Kind, Scope, Setting, Support, Synonym};
pub use table::{lookup, settings, suggestion};
pub use topic::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};
