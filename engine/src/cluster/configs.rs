//! Decisions about dynamic configurations: AlterConfigs and IncrementalAlterConfigs.
//!
//! The settings table (crate `tuning`) says what a value may be; this file says which resource may be changed and
//! turns the difference into records.

use std::collections::{BTreeMap, BTreeSet};

use tuning::AlterOperation;

use super::controller::{ControlError, ControlErrorKind as Kind};
use super::features;
use super::image::{ConfigResource, MetadataImage, ResourceKind};
use super::name;
use super::record::Record;

/// Lives at cluster level while there are eligible leader replicas (KIP-966).
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The changes a client wants on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterResource {
    /// Kafka's number of the resource's kind, as received.
    pub kind: i8,
    /// Topic name, broker id, …
    pub name: String,
    /// What happens to what is not named.
    pub change: Change,
    /// In request order.
    pub changes: Vec<AlterConfig>,
}

/// What happens to configurations that a request does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They stay: IncrementalAlterConfigs.
    Incremental,
    /// They go: AlterConfigs.
    Replace,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfig {
    /// The key.
    pub name: String,
    /// SET 0, DELETE 1, APPEND 2, SUBTRACT 3, as received.
    pub operation: i8,
    /// The value, where the operation has one.
    pub value: Option<String>,
}

/// Decides both, per resource in request order.
#[must_use]
pub fn alter(
    image: &MetadataImage,
    resources: &[AlterResource],
) -> (Vec<Result<(), ControlError>>, Vec<Record>) {
    let mut records = Vec::new();
    let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for wanted in resources {
        *times.entry((wanted.kind, &wanted.name)).or_default() += 1;
    }
    // Each value may be right and the whole wrong: the records must lead to an image.
    let mut trial = image.clone();
    let results = resources.iter().map(|wanted| {
        if times[&(wanted.kind, &*wanted.name)] > 1 {
            return Err(ControlError::new(
                Kind::InvalidRequest,
                "Each resource must appear at most once.",
            ));
        }
        let resource = check_resource(image, wanted)?;
        check_changes(&wanted.changes)?;
        let present = image.overrides(&resource);
        let future = apply(&resource, &present, wanted)?;
        check_eligible_leaders(image, &resource, &present, &future)?;
        if resource.kind == ResourceKind::Group {
            tuning::check_group(&image.broker_config, &future)?;
        }
        let first = records.len();
        push_difference(&mut records, &resource, &present, &future);
        let mut new = records[first..].iter();
        if let Err(error) = new.try_for_each(|record| trial.apply(record)) {
            records.truncate(first);
            trial = image.clone();
            for record in &records {
                trial.apply(record).expect("was applied before");
            }
            return Err(ControlError::new(Kind::InvalidConfig, error.reason));
        }
        Ok(())
    });
    (results.collect(), records)
}

/// With eligible leader replicas there is always a value for all brokers, and none of a single one (KIP-966).
fn check_eligible_leaders(
    image: &MetadataImage,
    resource: &ConfigResource,
    present: &BTreeMap<String, String>,
    future: &BTreeMap<String, String>,
) -> Result<(), ControlError> {
    if resource.kind != ResourceKind::Broker || !features::has_eligible_leaders(image) {
        return Ok(());
    }
    let value = |configs: &BTreeMap<String, String>| configs.get(MIN_INSYNC_REPLICAS).cloned();
    let message = match (value(present), value(future)) {
        (_, None) if resource.name.is_empty() => {
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
        }
        (before, Some(after)) if !resource.name.is_empty() && before.as_ref() != Some(&after) => {
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
        }
        _ => return Ok(()),
    };
    Err(ControlError::new(Kind::InvalidConfig, message))
}

fn check_resource(
    image: &MetadataImage,
    wanted: &AlterResource,
) -> Result<ConfigResource, ControlError> {
    let refuse = |message: String| Err(ControlError::new(Kind::InvalidRequest, message));
    let Some(kind) = ResourceKind::from_code(wanted.kind) else {
        return refuse(format!("Unknown resource type {}", wanted.kind));
    };
    match kind {
        // Log levels are each process's own and never come here (`api/broker_loggers.rs`).
        ResourceKind::BrokerLogger => {
            return refuse(format!("Unknown resource type {}", wanted.kind));
        }
        ResourceKind::Topic => check_topic(image, &wanted.name)?,
        ResourceKind::Broker => check_broker(image.node_id, &wanted.name)?,
        ResourceKind::Group if wanted.name.is_empty() => {
            return refuse("Default group resources are not allowed.".to_owned());
        }
        ResourceKind::ClientMetrics if wanted.name.is_empty() => {
            return refuse("Subscription name can't be empty".to_owned());
        }
        ResourceKind::Group | ResourceKind::ClientMetrics => {}
    }
    Ok(ConfigResource {
        kind,
        name: wanted.name.clone(),
    })
}

fn check_topic(image: &MetadataImage, topic: &str) -> Result<(), ControlError> {
    if let Some(reason) = name::reason_invalid(topic) {
        return Err(ControlError::new(Kind::InvalidTopic, reason));
    }
    if image.topic(topic).is_none() {
        let message = format!("The topic '{topic}' does not exist.");
        return Err(ControlError::new(Kind::UnknownTopicOrPartition, message));
    }
    Ok(())
}

// The empty name stands for all brokers of the cluster.
fn check_broker(node_id: i32, broker: &str) -> Result<(), ControlError> {
    if broker.is_empty() {
        return Ok(());
    }
    let refuse = |message: String| Err(ControlError::new(Kind::InvalidRequest, message));
    match broker.parse::<i32>() {
        Ok(id) if id == node_id => Ok(()),
        Ok(id) => refuse(format!(
            "Unexpected broker id, expected {node_id}, but received {id}"
        )),
        Err(_) => refuse(format!("Node id must be an integer, but it is: {broker}")),
    }
}

/// What is wrong with changes whatever they belong to.
///
/// # Errors
/// A key named twice, an unknown operation, or a missing value.
pub fn check_changes(changes: &[AlterConfig]) -> Result<(), ControlError> {
    let mut names = BTreeSet::new();
    for change in changes {
        if !names.insert(&change.name) {
            return Err(ControlError::new(
                Kind::InvalidRequest,
                "Error due to duplicate config keys",
            ));
        }
        if !(0..=3).contains(&change.operation) {
            return Err(ControlError::bare(Kind::UnknownServerError));
        }
        if change.operation != 1 && change.value.is_none() {
            let message = format!("Null value not supported for : {}", change.name);
            return Err(ControlError::new(Kind::InvalidRequest, message));
        }
    }
    Ok(())
}

// The settings table says what a value may be. What is replaced is judged before what goes, so that a bad value is
// named first.
fn apply(
    resource: &ConfigResource,
    present: &BTreeMap<String, String>,
    wanted: &AlterResource,
) -> Result<BTreeMap<String, String>, ControlError> {
    let table = match resource.kind {
        ResourceKind::Topic => tuning::Resource::Topic,
        ResourceKind::Broker if resource.name.is_empty() => tuning::Resource::BrokerDefault,
        ResourceKind::Broker => tuning::Resource::Broker,
        ResourceKind::Group => tuning::Resource::Group,
        ResourceKind::ClientMetrics => tuning::Resource::ClientMetrics,
        ResourceKind::BrokerLogger => unreachable!("refused before"),
    };
    let mut operations: Vec<_> = wanted
        .changes
        .iter()
        .map(|change| {
            let operation = AlterOperation::from_code(change.operation).expect("checked before");
            (change.name.as_str(), operation, change.value.as_deref())
        })
        .collect();
    if wanted.change == Change::Replace {
        let named = |name: &str| wanted.changes.iter().any(|change| change.name == name);
        let gone = present.keys().filter(|name| !named(name));
        operations.extend(gone.map(|name| (name.as_str(), AlterOperation::Delete, None)));
    }
    Ok(tuning::apply_incremental(table, present, &operations)?)
}

fn push_difference(
    records: &mut Vec<Record>,
    resource: &ConfigResource,
    present: &BTreeMap<String, String>,
    future: &BTreeMap<String, String>,
) {
    let record = |name: &String, value| Record::Config {
        resource: resource.clone(),
        name: name.clone(),
        value,
    };
    let changed = future
        .iter()
        .filter(|(name, value)| present.get(*name) != Some(value));
    records.extend(changed.map(|(name, value)| record(name, Some(value.clone()))));
    records.extend(
        present
            .keys()
            .filter(|name| !future.contains_key(*name))
            .map(|name| record(name, None)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, operation: i8, value: Option<&str>) -> AlterConfig {
        AlterConfig {
            name: name.to_owned(),
            operation,
            value: value.map(str::to_owned),
        }
    }

    fn broker(name: &str, changes: Vec<AlterConfig>) -> AlterResource {
        AlterResource {
            kind: 4,
            name: name.to_owned(),
            change: Change::Incremental,
            changes,
        }
    }

    fn decide(resources: &[AlterResource]) -> (Vec<Result<(), ControlError>>, Vec<Record>) {
        let image = MetadataImage::empty("cluster", std::sync::Arc::default());
        alter(&image, resources)
    }

    fn kind(resource: AlterResource) -> Kind {
        decide(&[resource]).0.remove(0).unwrap_err().kind
    }

    #[test]
    fn requests_that_kafka_refuses_get_the_same_kind() {
        assert_eq!(kind(broker("2", vec![])), Kind::InvalidRequest);
        assert_eq!(kind(broker("abc", vec![])), Kind::InvalidRequest);
        assert_eq!(
            kind(broker("1", vec![change("a", 0, None)])),
            Kind::InvalidRequest
        );
        assert_eq!(
            kind(broker("1", vec![change("a", 4, Some("1"))])),
            Kind::UnknownServerError
        );
        let twice = vec![change("a", 0, Some("1")), change("a", 0, Some("2"))];
        assert_eq!(kind(broker("1", twice)), Kind::InvalidRequest);
        assert_eq!(
            kind(AlterResource {
                kind: 99,
                ..broker("x", vec![])
            }),
            Kind::InvalidRequest
        );
        assert_eq!(
            kind(AlterResource {
                kind: 2,
                ..broker("none", vec![])
            }),
            Kind::UnknownTopicOrPartition
        );
    }

    #[test]
    fn a_resource_named_twice_is_refused_both_times() {
        let (results, records) = decide(&[
            broker("1", vec![]),
            broker("1", vec![change("a", 0, Some("1"))]),
        ]);
        assert!(results.iter().all(Result::is_err) && records.is_empty());
    }

    #[test]
    fn what_a_replacement_does_not_name_goes() {
        let mut image = MetadataImage::empty("cluster", std::sync::Arc::default());
        let group = |change, changes| AlterResource {
            kind: ResourceKind::Group as i8,
            name: "g".to_owned(),
            change,
            changes,
        };
        let set = |name: &str, value: &str| change(name, 0, Some(value));
        let first = group(
            Change::Incremental,
            vec![set("consumer.session.timeout.ms", "50000")],
        );
        let second = group(
            Change::Replace,
            vec![set("consumer.heartbeat.interval.ms", "6000")],
        );
        for wanted in [first, second] {
            let (results, records) = alter(&image, &[wanted]);
            assert_eq!(results, [Ok(())]);
            for record in &records {
                image.apply(record).unwrap();
            }
        }
        let group = ConfigResource {
            kind: ResourceKind::Group,
            name: "g".to_owned(),
        };
        let left = BTreeMap::from([(
            "consumer.heartbeat.interval.ms".to_owned(),
            "6000".to_owned(),
        )]);
        assert_eq!(image.overrides(&group), left);
    }

    #[test]
    fn a_groups_settings_lie_within_the_brokers_bounds() {
        let pairs = [("group.consumer.min.session.timeout.ms", "10000")];
        let config = tuning::BrokerConfig::from_pairs(&pairs).unwrap();
        let image = MetadataImage::empty("cluster", std::sync::Arc::new(config));
        let refusal = |name: &str, value: &str| {
            let group = AlterResource {
                kind: ResourceKind::Group as i8,
                name: "g".to_owned(),
                change: Change::Incremental,
                changes: vec![change(name, 0, Some(value))],
            };
            let (mut results, records) = alter(&image, &[group]);
            assert_eq!(records.is_empty(), results[0].is_err());
            results.remove(0).err().map(|error| {
                assert_eq!(error.kind, Kind::InvalidConfig);
                error.message.unwrap_or_default()
            })
        };
        let session = "consumer.session.timeout.ms";
        assert_eq!(
            refusal(session, "10000"),
            None,
            "below Kafka's default of the bound"
        );
        let text = "consumer.session.timeout.ms must be greater than or equal to \
                    group.consumer.min.session.timeout.ms";
        assert_eq!(refusal(session, "9999").as_deref(), Some(text));
        let text = "consumer.heartbeat.interval.ms must be less than or equal to \
                    group.consumer.max.heartbeat.interval.ms";
        assert_eq!(
            refusal("consumer.heartbeat.interval.ms", "15001").as_deref(),
            Some(text)
        );
    }

    #[test]
    fn only_the_difference_is_recorded() {
        let (_, records) = decide(&[broker("", vec![change("log.retention.ms", 0, Some("1"))])]);
        assert_eq!(records.len(), 1);
        let resource = ConfigResource {
            kind: ResourceKind::Broker,
            name: String::new(),
        };
        assert_eq!(
            records[0],
            Record::Config {
                resource,
                name: "log.retention.ms".to_owned(),
                value: Some("1".to_owned())
            }
        );
    }
}
