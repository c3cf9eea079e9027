//! The configuration of a node: layers of raw values, and the typed values that the broker works with.
//!
//! Invariant: every value in a layer is accepted by the settings table, so the typed values always exist. A
//! configuration never changes; a dynamic change makes a new one (`with_dynamic`). Any core may hold one.

use crate::alter::accept;
use crate::error::ConfigError;
use crate::listeners::{self, Listener};
use crate::setting::Scope;
use crate::table::lookup;
use crate::topic::TopicConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a value comes from, with the numbers of Kafka's DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker at run time.
    DynamicBroker = 2,
    /// Set for all brokers at run time.
    DynamicDefaultBroker = 3,
    /// From profile, file, environment or command line.
    StaticBroker = 4,
    /// Built in.
    Default = 5,
    /// Level of a logger.
    BrokerLogger = 6,
    /// Set on a subscription to clients' metrics.
    ClientMetrics = 7,
    /// Set on the group.
    Group = 8,
}

/// When a record is acknowledged (DESIGN §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on stable storage.
    Flush,
    /// Once the operating system has it: a power cut loses acknowledged records.
    Os,
}

/// The raw values of a node: what was given at start, and the two layers that change at run time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layers {
    /// Value and where it was given.
    pub(crate) stated: BTreeMap<String, (String, String)>,
    pub(crate) dynamic_default: BTreeMap<String, String>,
    pub(crate) dynamic_broker: BTreeMap<String, String>,
}

impl Layers {
    /// The value given for a setting in the strongest layer that has one, not the default.
    pub(crate) fn given(&self, name: &str) -> Option<(&str, ConfigSource)> {
        if let Some(value) = self.dynamic_broker.get(name) {
            return Some((value, ConfigSource::DynamicBroker));
        }
        if let Some(value) = self.dynamic_default.get(name) {
            return Some((value, ConfigSource::DynamicDefaultBroker));
        }
        self.stated
            .get(name)
            .map(|(value, _)| (value.as_str(), ConfigSource::StaticBroker))
    }

    /// The value in force: given, or the default; `None` is Kafka's null.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        match self.given(name) {
            Some((value, _)) => Some(value),
            None => lookup(name, Scope::Broker)?.default,
        }
    }
}

/// A type that a setting's text turns into.
pub(crate) trait FromText {
    fn from_text(text: Option<&str>) -> Self;
}

macro_rules! from_text {
    ($($type:ty),+) => {$(
        impl FromText for $type {
            fn from_text(text: Option<&str>) -> Self {
                text.and_then(|text| text.trim().parse().ok()).expect("layers hold accepted values only")
            }
        }
    )+};
}
from_text!(i32, i64, u64, f64);

impl FromText for bool {
    fn from_text(text: Option<&str>) -> Self {
        text.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }
}

impl<T: FromText> FromText for Option<T> {
    fn from_text(text: Option<&str>) -> Self {
        text.map(|text| T::from_text(Some(text)))
    }
}

impl FromText for String {
    fn from_text(text: Option<&str>) -> Self {
        text.unwrap_or_default().trim().to_owned()
    }
}

macro_rules! typed {
    ($($(#[$doc:meta])* $getter:ident: $type:ty = $name:literal;)+) => {
        #[derive(Debug, Clone, PartialEq)]
        struct Typed { $($getter: $type),+ }

        impl Typed {
            fn of(layers: &Layers) -> Typed {
                Typed { $($getter: FromText::from_text(layers.value($name))),+ }
            }
        }

        impl BrokerConfig {
            $($(#[$doc])* pub fn $getter(&self) -> $type { self.typed.$getter.clone() })+
        }
    };
}

typed! {
    /// Number of this node.
    node_id: i32 = "node.id";
    /// Cluster id wished for at formatting.
    cluster_id: Option<String> = "cluster.id";
    /// Number of shards, if it is not to be the number of cores.
    shard_count_wanted: Option<i32> = "shards";
    /// Whether listeners may be open to other machines without encryption.
    insecure: bool = "insecure";
    /// Size of a journal file, in bytes.
    journal_file_bytes: u64 = "journal.file.bytes";
    /// Bytes per shard that may be in the journal and not yet in segments.
    journal_dirty_bytes_max: u64 = "journal.dirty.bytes.max";
    /// Bytes of one partition in one journal group from which they bypass the journal.
    direct_run_bytes_min: u64 = "direct.run.bytes.min";
    /// Longest time between two checkpoints of a busy shard, in milliseconds.
    checkpoint_interval_ms: u64 = "checkpoint.interval.ms";
    /// Address, host:port, at which metrics are served.
    metrics_listener: Option<String> = "metrics.listener";
    /// Bytes per shard for recent batches.
    cache_bytes: u64 = "cache.bytes";
    /// Bytes per shard pinned by unsent fetch responses.
    fetch_bytes_max: u64 = "shard.fetch.bytes.max";
    /// Upper bound on one fetch response, in bytes.
    fetch_response_bytes_max: i32 = "fetch.max.bytes";
    /// Largest request frame, in bytes.
    socket_request_max_bytes: i32 = "socket.request.max.bytes";
    /// Partitions of a topic created without a number.
    num_partitions: i32 = "num.partitions";
    /// Replicas of a topic created without a number.
    default_replication_factor: i32 = "default.replication.factor";
    /// Whether asking for a topic creates it.
    auto_create_topics_enable: bool = "auto.create.topics.enable";
    /// Whether topics can be deleted.
    delete_topic_enable: bool = "delete.topic.enable";
    /// Idle time in milliseconds after which a connection is closed; negative is never.
    connections_max_idle_ms: i64 = "connections.max.idle.ms";
    /// Connections open at a time; can change at run time.
    max_connections: i32 = "max.connections";
    /// Connections open at a time from one address; can change at run time.
    max_connections_per_ip: i32 = "max.connections.per.ip";
    /// How long, in milliseconds, an idle producer is remembered; can change at run time.
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms";
    /// Pause between two rounds of retention, in milliseconds.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms";
    /// Pause of the log cleaner when it finds nothing to do, in milliseconds.
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms";
    /// Memory of the node for the cleaner's tables of keys, in bytes.
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size";
    /// How full the cleaner's table of keys may get.
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor";
    /// Memory of a shard for the cleaner's reading and writing, in bytes.
    log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size";
    /// Bytes per second that the cleaner may read and write.
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second";
    /// Fetch sessions kept.
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots";
    /// How long an empty classic group waits for more members, in milliseconds.
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms";
    /// Smallest session timeout of a classic group's member, in milliseconds.
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms";
    /// Largest session timeout of a classic group's member, in milliseconds.
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms";
    /// Partitions of the offsets topic.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions";
    /// Largest number of members of a classic group.
    group_max_size: i32 = "group.max.size";
    /// Largest metadata of a committed offset, in bytes.
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes";
    /// How long committed offsets that nobody uses are kept, in minutes.
    offsets_retention_minutes: i32 = "offsets.retention.minutes";
    /// Pause between two looks for offsets that expired, in milliseconds.
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms";
    /// Segment size of the offsets topic, in bytes.
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes";
    /// Partitions of the transaction topic.
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions";
}

/// The configuration of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    pub(crate) layers: Layers,
    typed: Typed,
    listeners: Vec<Listener>,
    advertised_listeners: Vec<Listener>,
    topic_defaults: TopicConfig,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::new(Layers::default())
            .expect("the built-in defaults are a valid configuration")
    }
}

impl BrokerConfig {
    /// A configuration of these values alone, for tests and tools; same checks as `load`.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        let sets = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let sources = crate::load::Sources {
            sets,
            ..Default::default()
        };
        Ok(crate::load::load(sources)?.0)
    }

    /// Checks what concerns several settings at once and computes the typed values.
    pub(crate) fn new(mut layers: Layers) -> Result<BrokerConfig, ConfigError> {
        settle_node_id(&mut layers)?;
        let (listeners, advertised_listeners) = listeners::of(&layers)?;
        let topic_defaults = TopicConfig::of(&layers, &BTreeMap::new())?;
        let config = BrokerConfig {
            typed: Typed::of(&layers),
            layers,
            listeners,
            advertised_listeners,
            topic_defaults,
        };
        check_roles(&config)?;
        config.log_dir()?;
        check_metrics_listener(&config)?;
        check_consumer_groups(&config)?;
        Ok(config)
    }

    /// This configuration with the values that were set at run time: for all brokers, and for this one. Values that
    /// are not accepted any more are an error that names them.
    pub fn with_dynamic(
        &self,
        cluster_default: &BTreeMap<String, String>,
        broker: &BTreeMap<String, String>,
    ) -> Result<BrokerConfig, ConfigError> {
        for (name, value) in cluster_default.iter().chain(broker) {
            accept(Scope::Broker, name, value)?;
        }
        BrokerConfig::new(Layers {
            stated: self.layers.stated.clone(),
            dynamic_default: cluster_default.clone(),
            dynamic_broker: broker.clone(),
        })
    }

    /// The value in force; `None` for null and for unknown settings.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.layers.value(name)
    }

    /// Where the value in force comes from; `None` for unknown settings.
    pub fn source(&self, name: &str) -> Option<ConfigSource> {
        lookup(name, Scope::Broker)?;
        Some(
            self.layers
                .given(name)
                .map_or(ConfigSource::Default, |(_, source)| source),
        )
    }

    /// Where a value given at start was given, in words: `--set`, a file's name, `profile dev`.
    pub fn origin(&self, name: &str) -> Option<&str> {
        self.layers
            .stated
            .get(name)
            .map(|(_, origin)| origin.as_str())
    }

    /// What to open, controller listeners left out; never empty.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// What to tell clients, one for each of `listeners` by name.
    pub fn advertised_listeners(&self) -> &[Listener] {
        &self.advertised_listeners
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.log_dir()
            .expect("checked when the configuration was made")
            .into()
    }

    /// Number of shards, if it is not to be the number of cores.
    pub fn shards(&self) -> Option<usize> {
        self.typed
            .shard_count_wanted
            .and_then(|count| usize::try_from(count).ok())
    }

    /// When a record is acknowledged.
    pub fn durability(&self) -> Durability {
        match self.value("durability").map(str::trim) {
            Some("os") => Durability::Os,
            _ => Durability::Flush,
        }
    }

    /// The configuration of a topic that sets nothing itself.
    pub fn topic_defaults(&self) -> &TopicConfig {
        &self.topic_defaults
    }

    fn log_dir(&self) -> Result<String, ConfigError> {
        let given = |name| {
            self.layers
                .given(name)
                .map(|(value, _)| value.trim())
                .filter(|value| !value.is_empty())
        };
        let path = given("log.dirs")
            .or_else(|| given("log.dir"))
            .unwrap_or_else(|| {
                lookup("log.dir", Scope::Broker)
                    .and_then(|setting| setting.default)
                    .expect("log.dir has a default")
            });
        if path.contains(',') {
            return Err(ConfigError::config(format!(
                "log.dirs = {path}: Tidelog has exactly one data directory; name one"
            )));
        }
        Ok(path.to_owned())
    }
}

/// `broker.id` is the older name of `node.id`; Kafka shows both.
fn settle_node_id(layers: &mut Layers) -> Result<(), ConfigError> {
    let number = |name: &str| {
        layers
            .stated
            .get(name)
            .filter(|(value, _)| value != "-1")
            .cloned()
    };
    match (number("node.id"), number("broker.id")) {
        (Some((node, _)), Some((broker, _))) if node != broker => {
            Err(ConfigError::config(format!(
                "node.id = {node} and broker.id = {broker} are two names of one number; set only node.id"
            )))
        }
        (None, Some(broker)) => {
            layers.stated.insert("node.id".to_owned(), broker);
            Ok(())
        }
        (Some(node), _) => {
            layers.stated.insert("broker.id".to_owned(), node);
            Ok(())
        }
        (None, None) => {
            layers.stated.remove("broker.id");
            Ok(())
        }
    }
}

/// Whether `metrics.listener` is an address.
fn check_metrics_listener(config: &BrokerConfig) -> Result<(), ConfigError> {
    let Some(address) = config.metrics_listener() else {
        return Ok(());
    };
    let is_address = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address {
        return Ok(());
    }
    Err(ConfigError::config(format!(
        "metrics.listener = {address} is not of the form host:port, for instance 127.0.0.1:9644"
    )))
}

/// A node of one is broker and controller; what describes anything else is refused.
/// What a consumer group's members are told lies within the bounds for groups of their own, and is heard in time.
fn check_consumer_groups(config: &BrokerConfig) -> Result<(), ConfigError> {
    let number = |name: &str| i64::from_text(config.value(name));
    for what in [
        "heartbeat.interval",
        "session.timeout",
        "assignment.interval",
    ] {
        let [own, min, max] =
            ["", "min.", "max."].map(|bound| format!("group.consumer.{bound}{what}.ms"));
        if number(&min) > number(&own) || number(&own) > number(&max) {
            return Err(ConfigError::config(format!(
                "{own} = {} must lie between {min} = {} and {max} = {}",
                number(&own),
                number(&min),
                number(&max)
            )));
        }
    }
    let (pause, silence) = (
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.session.timeout.ms",
    );
    if number(pause) >= number(silence) {
        return Err(ConfigError::config(format!(
            "{pause} = {} must be less than {silence} = {}",
            number(pause),
            number(silence)
        )));
    }
    Ok(())
}

fn check_roles(config: &BrokerConfig) -> Result<(), ConfigError> {
    let roles = config.value("process.roles").unwrap_or_default();
    if !roles.contains("broker") || !roles.contains("controller") {
        return Err(ConfigError::config(format!(
            "process.roles = {roles} is not supported by Tidelog yet: a node of one is both; \
             remove it or set it to broker,controller"
        )));
    }
    for name in [
        "controller.quorum.voters",
        "controller.quorum.bootstrap.servers",
    ] {
        let members = crate::setting::split_list(config.value(name).unwrap_or_default());
        if members.len() > 1 {
            return Err(ConfigError::config(format!(
                "{name} names {} controllers: Tidelog runs as a node of one; remove it or name one",
                members.len()
            )));
        }
    }
    let voter = config
        .value("controller.quorum.voters")
        .and_then(|voters| voters.split_once('@'));
    if let Some((id, _)) = voter
        && id.trim().parse() != Ok(config.node_id())
    {
        return Err(ConfigError::config(format!(
            "controller.quorum.voters names node {id}, but node.id is {}",
            config.node_id()
        )));
    }
    Ok(())
}
