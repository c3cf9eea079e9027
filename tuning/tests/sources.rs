//! Guards against a value that comes from the wrong place, is misread, or is taken and silently ignored.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use tuning::profiles::PROFILES;
use tuning::{
    AlterOperation, BrokerConfig, CleanupPolicy, CompressionType, ConfigErrorKind, ConfigSource,
    Durability, NamedText, Resource, Sources, TopicConfig, apply_incremental, describe, load,
};

fn pairs(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(name: &str, text: &str) -> Option<NamedText> {
    Some(NamedText {
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

fn map(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs(values).into_iter().collect()
}

fn refusal(values: &[(&str, &str)]) -> String {
    BrokerConfig::from_pairs(values)
        .expect_err("must be refused")
        .message
}

#[test]
fn a_stronger_source_wins_over_a_weaker_one() {
    let mut sources = Sources {
        profile: Some("dev".to_owned()),
        ..Sources::default()
    };
    let shards = |sources: &Sources| {
        load(sources.clone())
            .unwrap()
            .0
            .value("shards")
            .map(str::to_owned)
    };
    assert_eq!(shards(&Sources::default()), None);
    assert_eq!(shards(&sources).as_deref(), Some("1"));
    sources.properties = file("server.properties", "shards: 2");
    assert_eq!(shards(&sources).as_deref(), Some("2"));
    sources.toml = file("tidelog.toml", "shards = 3");
    assert_eq!(shards(&sources).as_deref(), Some("3"));
    sources.environment = pairs(&[("KAFKA_SHARDS", "4"), ("PATH", "/bin")]);
    assert_eq!(shards(&sources).as_deref(), Some("4"));
    sources.sets = pairs(&[("shards", "9"), ("shards", "5")]);
    assert_eq!(shards(&sources).as_deref(), Some("5"));
    let (config, _) = load(sources).unwrap();
    assert_eq!(config.shards(), Some(5));
    assert_eq!(config.source("shards"), Some(ConfigSource::StaticBroker));
    assert_eq!(config.origin("shards"), Some("--set"));
    assert_eq!(config.origin("cache.bytes"), Some("profile dev"));
    assert_eq!(config.source("num.partitions"), Some(ConfigSource::Default));
    assert_eq!(config.source("no.such"), None);
}

#[test]
fn an_unknown_name_is_an_error_with_a_suggestion_but_only_a_warning_in_the_environment() {
    let sources = Sources {
        toml: file("t.toml", "[log]\nretention.hour = 1"),
        ..Sources::default()
    };
    let error = load(sources).unwrap_err();
    assert_eq!(
        error.message,
        "t.toml: unknown setting log.retention.hour; did you mean log.retention.hours?"
    );
    let sources = Sources {
        properties: file("p", "nun.partitions=1"),
        ..Sources::default()
    };
    assert_eq!(
        load(sources).unwrap_err().message,
        "p: unknown setting nun.partitions; did you mean num.partitions?"
    );
    assert_eq!(refusal(&[("zzz", "1")]), "--set: unknown setting zzz");
    let environment = pairs(&[
        ("KAFKA_NO_SUCH", "1"),
        ("KAFKA_NUM_PARTITIONS", "7"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ("KAFKA_JMX_PORT", "1"),
        ("KAFKA_LOG4J_OPTS", "x"),
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        ("HOME", "/root"),
    ]);
    let (config, warnings) = load(Sources {
        environment,
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.num_partitions(), 7);
    assert_eq!(
        config.cluster_id().as_deref(),
        Some("4L6g3nShT-eMCtK--X86sw")
    );
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["KAFKA_NO_SUCH names no setting and is ignored"]);
}

/// The file that CLIENTS §4 starts a real Kafka with.
const SERVER_PROPERTIES: &str = "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=./kafka-data
num.network.threads=2
num.io.threads=2
num.partitions=4
auto.create.topics.enable=true
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.coordinator.rebalance.protocols=classic,consumer,share,streams
group.initial.rebalance.delay.ms=0
";

#[test]
fn the_server_properties_of_a_real_kafka_start_a_node_and_what_has_no_effect_is_said() {
    let sources = Sources {
        properties: file("s.properties", SERVER_PROPERTIES),
        ..Sources::default()
    };
    let (config, warnings) = load(sources).unwrap();
    assert_eq!(config.listeners().len(), 1);
    assert_eq!(
        (
            config.listeners()[0].host.as_str(),
            config.listeners()[0].port
        ),
        ("127.0.0.1", 9092)
    );
    assert_eq!(config.advertised_listeners()[0].name, "PLAINTEXT");
    assert_eq!(
        config.data_directory(),
        std::path::Path::new("./kafka-data")
    );
    assert_eq!((config.node_id(), config.num_partitions()), (1, 4));
    let said = warnings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    for part in [
        "num.io.threads = 2 has no effect: Tidelog has no thread pools",
        "controller.quorum.bootstrap.servers = 127.0.0.1:9093 has no effect",
        "the listener CONTROLLER is for the controller quorum and is not opened",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
    for followed in ["replication.factor", "group.initial.rebalance.delay.ms"] {
        assert!(!said.contains(followed), "{said}");
    }
}

/// Settings, values that must be refused, and a part of the message.
const REFUSED: &[(&str, &str, &str)] = &[
    ("metrics.listener", "9644", "not of the form host:port"),
    (
        "metrics.listener",
        "localhost:http",
        "not of the form host:port",
    ),
    (
        "remote.log.storage.system.enable",
        "true",
        "there is no tiered storage; remove it or set it to false",
    ),
    (
        "ssl.keystore.location",
        "/x",
        "only PLAINTEXT listeners are served; remove it",
    ),
    (
        "sasl.jaas.config",
        "secret",
        "sasl.jaas.config = ... is not supported",
    ),
    ("authorizer.class.name", "a.B", "no access control lists"),
    ("default.replication.factor", "3", "does not replicate"),
    (
        "offsets.topic.replication.factor",
        "2",
        "remove it or set it to 1 or 3",
    ),
    ("log.dirs", "a,b", "exactly one data directory"),
    ("process.roles", "broker", "set it to broker,controller"),
    (
        "controller.quorum.voters",
        "1@a:1,2@b:1",
        "names 2 controllers",
    ),
    (
        "controller.quorum.voters",
        "7@a:1",
        "names node 7, but node.id is 1",
    ),
    (
        "listeners",
        "SSL://127.0.0.1:1",
        "SSL (listener SSL) is not supported",
    ),
    (
        "listeners",
        "PLAINTEXT://0.0.0.0:9092",
        "accept that with --insecure",
    ),
    (
        "listeners",
        "PLAINTEXT://:9092",
        "accept that with --insecure",
    ),
    (
        "listeners",
        "PLAINTEXT://db.example:9092",
        "accept that with --insecure",
    ),
    ("listeners", "PLAINTEXT://127.0.0.1", "is not of the form"),
    (
        "listeners",
        "PLAINTEXT://127.0.0.1:99999",
        "is not of the form",
    ),
    (
        "listeners",
        "A://127.0.0.1:1",
        "no entry for the listener A",
    ),
    (
        "listeners",
        "PLAINTEXT://[::1]:1,PLAINTEXT://127.0.0.1:2",
        "different name",
    ),
    ("listeners", "", "at least one listener"),
    (
        "advertised.listeners",
        "OTHER://a:1",
        "no address for the listener PLAINTEXT",
    ),
    (
        "advertised.listeners",
        "PLAINTEXT://0.0.0.0:1",
        "clients cannot connect to 0.0.0.0",
    ),
    (
        "inter.broker.listener.name",
        "INTERNAL",
        "not among listeners",
    ),
    ("durability", "fsync", "must be one of: flush, os"),
    ("journal.file.bytes", "1000000", "at least 1048576"),
    ("journal.file.bytes", "1048577", "multiple of 4096"),
    ("num.partitions", "0", "at least 1"),
    ("num.partitions", "many", "Not a number of type INT"),
    (
        "message.max.bytes",
        "2147483648",
        "Not a number of type INT",
    ),
];

#[test]
fn nothing_is_accepted_that_would_be_ignored() {
    for (name, value, part) in REFUSED {
        let message = refusal(&[(name, value)]);
        assert!(message.contains(part), "{name}={value}: {message}");
    }
    assert!(refusal(&[("node.id", "1"), ("broker.id", "2")]).contains("two names of one number"));
}

#[test]
fn several_plaintext_listeners_keep_their_own_advertised_addresses() {
    let config = BrokerConfig::from_pairs(&[
        ("insecure", "true"),
        ("listeners", "INSIDE://[::1]:9092,OUTSIDE://0.0.0.0:9093"),
        (
            "listener.security.protocol.map",
            "INSIDE:PLAINTEXT,OUTSIDE:plaintext",
        ),
        (
            "advertised.listeners",
            "OUTSIDE://log.example:19093,INSIDE://localhost:9092",
        ),
        ("broker.id", "5"),
    ])
    .unwrap();
    let advertised: Vec<(&str, &str, u16)> = config
        .advertised_listeners()
        .iter()
        .map(|listener| {
            (
                listener.name.as_str(),
                listener.host.as_str(),
                listener.port,
            )
        })
        .collect();
    assert_eq!(
        advertised,
        [
            ("INSIDE", "localhost", 9092),
            ("OUTSIDE", "log.example", 19093)
        ]
    );
    assert_eq!(config.listeners()[0].host, "::1");
    assert_eq!(config.node_id(), 5);
}

#[test]
fn every_profile_is_valid_and_says_why_and_the_default_one_is_the_built_in_defaults() {
    for (name, text) in PROFILES {
        let sources = Sources {
            profile: Some((*name).to_owned()),
            ..Sources::default()
        };
        let (config, warnings) = load(sources).unwrap();
        assert_eq!(warnings, [], "{name}");
        assert_eq!(config.durability(), Durability::Flush, "{name}");
        assert!(
            config.journal_dirty_bytes_max() >= 2 * config.journal_file_bytes(),
            "{name}"
        );
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let is_value = line.contains('=') && !line.starts_with('#');
            assert!(
                !is_value || lines[index - 1].starts_with('#'),
                "{name}: no reason for {line}"
            );
        }
        if *name == "default" {
            let built_in = BrokerConfig::default();
            for line in lines
                .iter()
                .filter(|line| line.contains('=') && !line.starts_with('#'))
            {
                let setting = line.split_once('=').unwrap().0.trim();
                assert_eq!(config.value(setting), built_in.value(setting), "{setting}");
            }
        }
    }
    let error = load(Sources {
        profile: Some("fast".to_owned()),
        ..Sources::default()
    })
    .unwrap_err();
    assert!(error.message.contains("low-latency"), "{error}");
}

#[test]
fn a_weaker_durability_and_an_open_listener_are_said_aloud() {
    let sets = pairs(&[
        ("durability", "os"),
        ("log.flush.interval.messages", "1"),
        ("insecure", "true"),
        ("listeners", "PLAINTEXT://0.0.0.0:9092"),
        ("advertised.listeners", "PLAINTEXT://10.0.0.1:9092"),
    ]);
    let (config, warnings) = load(Sources {
        sets,
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.durability(), Durability::Os);
    let said = warnings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(said.contains("loses acknowledged records"), "{said}");
    assert!(
        said.contains("log.flush.interval.messages has no effect"),
        "{said}"
    );
    assert!(said.contains("open to other machines"), "{said}");
}

#[test]
fn a_topic_takes_each_value_from_itself_then_the_broker_in_its_unit_then_the_default() {
    let defaults = TopicConfig::resolve(&BrokerConfig::default(), &BTreeMap::new()).unwrap();
    assert_eq!(defaults.retention_ms, 604_800_000);
    assert_eq!(defaults.segment_ms, 604_800_000);
    assert_eq!(defaults.flush_ms, i64::MAX);
    assert_eq!(
        defaults.cleanup_policy,
        CleanupPolicy {
            delete: true,
            compact: false
        }
    );
    assert_eq!(&defaults, BrokerConfig::default().topic_defaults());

    let broker = BrokerConfig::from_pairs(&[
        ("log.retention.hours", "1"),
        ("log.retention.minutes", "2"),
        ("log.roll.hours", "3"),
        ("log.roll.jitter.hours", "1"),
        ("log.segment.bytes", "2097152"),
        ("compression.type", "zstd"),
    ])
    .unwrap();
    let topic = TopicConfig::resolve(&broker, &BTreeMap::new()).unwrap();
    assert_eq!(
        (
            topic.retention_ms,
            topic.segment_ms,
            topic.segment_jitter_ms
        ),
        (120_000, 10_800_000, 3_600_000)
    );
    assert_eq!(
        (topic.segment_bytes, topic.compression_type),
        (2_097_152, CompressionType::Zstd)
    );

    let dynamic = broker
        .with_dynamic(
            &map(&[("log.retention.ms", "-7"), ("log.segment.bytes", "1048576")]),
            &map(&[("log.segment.bytes", "3145728")]),
        )
        .unwrap();
    assert_eq!(dynamic.topic_defaults().retention_ms, -1);
    assert_eq!(dynamic.topic_defaults().segment_bytes, 3_145_728);

    let overrides = map(&[
        ("retention.ms", " 5 "),
        ("cleanup.policy", "compact, delete"),
        ("internal.segment.bytes", "2000"),
        ("compression.type", "gzip"),
    ]);
    let topic = TopicConfig::resolve(&dynamic, &overrides).unwrap();
    assert_eq!(
        (topic.retention_ms, topic.segment_bytes_effective()),
        (5, 2000)
    );
    assert_eq!(
        topic.cleanup_policy,
        CleanupPolicy {
            delete: true,
            compact: true
        }
    );
    assert_eq!(topic.compression_type, CompressionType::Gzip);

    let error = TopicConfig::resolve(
        &dynamic,
        &map(&[
            ("max.compaction.lag.ms", "1"),
            ("min.compaction.lag.ms", "2"),
        ]),
    );
    assert!(
        error
            .unwrap_err()
            .message
            .contains("min.compaction.lag.ms (2) > max.compaction.lag.ms (1)")
    );
    assert!(TopicConfig::resolve(&dynamic, &map(&[("no.such", "1")])).is_err());
}

#[test]
fn an_overridden_topic_setting_shows_its_whole_chain() {
    let broker =
        BrokerConfig::from_pairs(&[("log.retention.ms", "1"), ("log.retention.hours", "2")])
            .unwrap();
    let broker = broker
        .with_dynamic(
            &map(&[("log.retention.ms", "3")]),
            &map(&[("log.retention.ms", "4")]),
        )
        .unwrap();
    let described = describe(
        Resource::Topic,
        &map(&[("retention.ms", "5")]),
        &broker,
        Some(&["retention.ms", "no"]),
    );
    assert_eq!(described.len(), 1);
    let chain: Vec<(&str, &str, ConfigSource)> = described[0]
        .synonyms
        .iter()
        .map(|synonym| {
            (
                synonym.name.as_str(),
                synonym.value.as_deref().unwrap(),
                synonym.source,
            )
        })
        .collect();
    assert_eq!(
        chain,
        [
            ("retention.ms", "5", ConfigSource::Topic),
            ("log.retention.ms", "4", ConfigSource::DynamicBroker),
            ("log.retention.ms", "3", ConfigSource::DynamicDefaultBroker),
            ("log.retention.ms", "1", ConfigSource::StaticBroker),
            ("log.retention.hours", "2", ConfigSource::StaticBroker),
            ("log.retention.hours", "168", ConfigSource::Default),
        ]
    );
    assert_eq!(
        (described[0].value.as_deref(), described[0].source),
        (Some("5"), ConfigSource::Topic)
    );
}

#[test]
fn alterations_follow_kafkas_rules() {
    use AlterOperation::{Append, Delete, Set, Subtract};
    let topic = |current: &[(&str, &str)], operations: &[(&str, AlterOperation, Option<&str>)]| {
        apply_incremental(Resource::Topic, &map(current), operations)
    };
    assert_eq!(
        topic(&[], &[("retention.ms", Set, Some("7"))]),
        Ok(map(&[("retention.ms", "7")]))
    );
    assert_eq!(
        topic(&[("retention.ms", "7")], &[("retention.ms", Delete, None)]),
        Ok(map(&[]))
    );
    assert_eq!(topic(&[], &[("no.such", Delete, None)]), Ok(map(&[])));
    let policy = |value| Ok(map(&[("cleanup.policy", value)]));
    assert_eq!(
        topic(&[], &[("cleanup.policy", Append, Some("compact"))]),
        policy("delete,compact")
    );
    assert_eq!(
        topic(&[], &[("cleanup.policy", Subtract, Some("delete"))]),
        policy("")
    );
    assert_eq!(
        topic(&[], &[("cleanup.policy", Subtract, Some("compact"))]),
        policy("delete")
    );
}

#[test]
fn alterations_of_a_topic_that_kafka_refuses_are_refused_in_its_words() {
    use AlterOperation::{Append, Set, Subtract};
    for (operations, kind, part) in [
        (
            vec![("retention.ms", Append, Some("5"))],
            ConfigErrorKind::InvalidConfig,
            "Can't APPEND to key retention.ms",
        ),
        (
            vec![("retention.ms", Subtract, Some("5"))],
            ConfigErrorKind::InvalidConfig,
            "Can't SUBTRACT to key",
        ),
        (
            vec![("retention.ms", Set, None)],
            ConfigErrorKind::InvalidRequest,
            "Null value not supported for",
        ),
        (
            vec![
                ("retention.ms", Set, Some("1")),
                ("retention.ms", Set, Some("2")),
            ],
            ConfigErrorKind::InvalidRequest,
            "Error due to duplicate config keys",
        ),
        (
            vec![("no.such", Set, Some("1"))],
            ConfigErrorKind::InvalidConfig,
            "Unknown topic config name: no.such",
        ),
        (
            vec![("retention.ms", Set, Some("abc"))],
            ConfigErrorKind::InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            vec![("remote.storage.enable", Set, Some("true"))],
            ConfigErrorKind::InvalidConfig,
            "no tiered storage",
        ),
    ] {
        let error = apply_incremental(Resource::Topic, &map(&[]), &operations).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn alterations_of_a_broker_that_kafka_refuses_are_refused_in_its_words() {
    use AlterOperation::Set;
    for (resource, name, part) in [
        (
            Resource::Broker,
            "broker.id",
            "Cannot update these configs dynamically: [broker.id]",
        ),
        (
            Resource::BrokerDefault,
            "sasl.enabled.mechanisms",
            "Cannot update these configs at default cluster level",
        ),
        (
            Resource::Broker,
            "my.plugin.key",
            "Unknown broker config name",
        ),
    ] {
        let error = apply_incremental(resource, &map(&[]), &[(name, Set, Some("1"))]).unwrap_err();
        assert_eq!(error.kind, ConfigErrorKind::InvalidRequest);
        assert!(error.message.contains(part), "{error}");
    }
}
