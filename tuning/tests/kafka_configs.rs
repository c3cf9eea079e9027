//! Guards against telling clients something else about configurations than Kafka 4.3.1 does: DescribeConfigs entry by
//! entry, and the error of every (setting, value) pair that was tried on it. What differs on purpose stands here.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeMap;
use tuning::{
    BrokerConfig, ConfigErrorKind, ConfigSource, DescribedConfig, Dynamic, Resource, Support,
    check_group, describe, lookup, validate,
};

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A broker set up like the one that Kafka's answers come from.
fn broker() -> BrokerConfig {
    let golden = golden("broker");
    let stated: Vec<(&str, &str)> = golden["configs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["source"] == "STATIC_BROKER_CONFIG")
        .map(|entry| {
            (
                entry["name"].as_str().unwrap(),
                entry["value"].as_str().unwrap(),
            )
        })
        .collect();
    let cluster = BTreeMap::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
    BrokerConfig::from_pairs(&stated)
        .unwrap()
        .with_dynamic(&cluster, &BTreeMap::new())
        .unwrap()
}

fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
        other => panic!("{other:?} cannot come up on a fresh broker"),
    }
}

fn as_json(entry: &DescribedConfig) -> Value {
    let synonyms: Vec<Value> = entry
        .synonyms
        .iter()
        .map(|synonym| {
            serde_json::json!({
                "name": synonym.name, "value": synonym.value, "source": source_name(synonym.source),
            })
        })
        .collect();
    serde_json::json!({
        "name": entry.name, "value": entry.value, "type": entry.kind.to_string(), "typeCode": entry.kind as i8,
        "source": source_name(entry.source), "sourceCode": entry.source as i8, "readOnly": entry.read_only,
        "sensitive": entry.sensitive, "synonyms": synonyms,
    })
}

/// Compares a description with Kafka's; returns the names of entries that differ, ours alone first.
fn differences(file: &str, ours: &[DescribedConfig]) -> Vec<String> {
    let golden = golden(file);
    let theirs: BTreeMap<&str, &Value> = golden["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["name"].as_str().unwrap(), entry))
        .collect();
    let own = |entry: &&DescribedConfig| {
        lookup(entry.name, tuning::Scope::Broker).is_some_and(|setting| setting.own)
    };
    let ours: BTreeMap<&str, Value> = ours
        .iter()
        .filter(|entry| !own(entry))
        .map(|entry| (entry.name, as_json(entry)))
        .collect();
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>(),
        "names of {file}"
    );
    ours.iter()
        .filter(|(name, entry)| *entry != theirs[**name])
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

#[test]
fn a_fresh_topic_is_described_as_kafka_describes_it() {
    let ours = describe(Resource::Topic, &BTreeMap::new(), &broker(), None);
    assert_eq!(differences("topic", &ours), Vec::<String>::new());
}

#[test]
fn entries_come_in_kafkas_order_but_for_neighbours() {
    for (file, resource) in [
        ("topic", Resource::Topic),
        ("group", Resource::Group),
        ("client-metrics", Resource::ClientMetrics),
        ("broker", Resource::Broker),
    ] {
        let ours = describe(resource, &BTreeMap::new(), &broker(), None);
        let ours: Vec<&str> = ours
            .iter()
            .map(|entry| entry.name)
            .filter(|name| {
                resource != Resource::Broker
                    || !lookup(name, tuning::Scope::Broker).is_some_and(|setting| setting.own)
            })
            .collect();
        let golden = golden(file);
        let order = golden["order"].as_array().unwrap().iter();
        let theirs: Vec<&str> = order.map(|name| name.as_str().unwrap()).collect();
        // Names that share a bucket come in the order of Kafka's declarations, which is not known here.
        for (place, name) in ours.iter().enumerate() {
            let there = theirs.iter().position(|other| other == name).unwrap();
            assert!(place.abs_diff(there) <= 4, "{file}: {name} {place} {there}");
        }
    }
}

#[test]
fn groups_subscriptions_and_the_cluster_default_are_described_as_kafka_describes_them() {
    for (file, resource) in [
        ("group", Resource::Group),
        ("client-metrics", Resource::ClientMetrics),
        ("broker-default", Resource::BrokerDefault),
    ] {
        let ours = describe(resource, &BTreeMap::new(), &broker(), None);
        assert_eq!(differences(file, &ours), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn a_broker_is_described_as_kafka_describes_it_but_for_the_defaults_that_are_ours() {
    let ours = describe(Resource::Broker, &BTreeMap::new(), &broker(), None);
    // Each differs in its built-in default (seen in value or synonyms), or in that it can only be changed at start.
    let intended = [
        "background.threads",                // read-only: thread counts have no meaning
        "listener.security.protocol.map",    // read-only: listeners are opened at start
        "listeners",                         // read-only, and loopback by default
        "log.cleaner.threads",               // read-only: thread counts have no meaning
        "log.dir",                           // our default data directory
        "node.id",                           // Kafka has no default; a node of one is 1
        "num.io.threads",                    // read-only: thread counts have no meaning
        "num.network.threads",               // read-only: thread counts have no meaning
        "num.recovery.threads.per.data.dir", // read-only: thread counts have no meaning
        "num.replica.fetchers",              // read-only: thread counts have no meaning
        "process.roles",                     // Kafka has no default; a node of one is both
    ];
    assert_eq!(differences("broker", &ours), intended);
    let own: Vec<&str> = ours
        .iter()
        .filter(|entry| lookup(entry.name, tuning::Scope::Broker).unwrap().own)
        .map(|e| e.name)
        .collect();
    assert!(
        own.contains(&"durability") && own.contains(&"journal.file.bytes"),
        "{own:?}"
    );
}

/// Kafka's code of each value tried on each setting.
fn codes(file: &str) -> Vec<(String, String, i64)> {
    let golden = golden(file);
    let mut codes = Vec::new();
    for (name, values) in golden["results"].as_object().unwrap() {
        for (value, code) in values.as_object().unwrap() {
            codes.push((name.clone(), value.clone(), code.as_i64().unwrap()));
        }
    }
    codes
}

fn our_code(resource: Resource, name: &str, value: &str) -> i64 {
    let result = validate(resource, name, (value != "<null>").then_some(value));
    let result = result.and_then(|()| match resource {
        Resource::Group => {
            let own = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            check_group(&BrokerConfig::default(), &own)
        }
        _ => Ok(()),
    });
    match result {
        Ok(()) => 0,
        Err(error) if error.kind == ConfigErrorKind::InvalidConfig => 40,
        Err(_) => 42,
    }
}

/// Compares all codes; where Kafka accepts and we do not honour the setting (only its default is accepted, or it is a
/// thread count, which is read-only here), we may refuse. Returns the number of pairs and the differences left.
fn compare(file: &str, resource: Resource) -> (usize, Vec<String>) {
    let mut left = Vec::new();
    let codes = codes(file);
    for (name, value, theirs) in &codes {
        let ours = our_code(resource, name, value);
        let is_unsupported = lookup(name, resource.scope()).is_some_and(|setting| {
            matches!(setting.support, Support::Refused { .. })
                || (matches!(setting.support, Support::Inert { .. })
                    && setting.dynamic == Dynamic::ReadOnly)
        });
        let is_refused = is_unsupported && *theirs == 0 && ours != 0;
        // A good value is refused while there are eligible leader replicas (KIP-966), which the table cannot know.
        let by_feature = resource == Resource::Broker && name == "min.insync.replicas";
        if ours != *theirs && !is_refused && !(by_feature && ours == 0) {
            left.push(format!("{name}={value}: Kafka {theirs}, we {ours}"));
        }
    }
    (codes.len(), left)
}

#[test]
fn every_value_tried_on_a_topic_group_or_subscription_gets_kafkas_code() {
    for (file, resource) in [
        ("topic-validation", Resource::Topic),
        ("group-validation", Resource::Group),
        ("client-metrics-validation", Resource::ClientMetrics),
    ] {
        let (count, left) = compare(file, resource);
        assert!(count > 100, "{file}: {count}");
        assert_eq!(left, Vec::<String>::new(), "{file}");
    }
}

#[test]
fn every_value_tried_on_a_broker_gets_kafkas_code() {
    let (count, left) = compare("broker-validation", Resource::Broker);
    assert!(count > 3000, "{count}");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn read_only_broker_settings_cannot_be_altered() {
    let golden = golden("broker-readonly");
    for (name, code) in golden["results"].as_object().unwrap() {
        assert_eq!(
            our_code(Resource::Broker, name, "1"),
            code.as_i64().unwrap(),
            "{name}"
        );
    }
}
