//! Changes of configurations over the wire: which are valid, and what a resource's values are afterwards.
//!
//! Pure; runs where the metadata log is written. The error kinds and messages are Kafka's (golden/configs).

use crate::broker::BrokerConfig;
use crate::describe::Resource;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::setting::{Dynamic, Kind, Problem, Scope, split_list};
use crate::table::{lookup, suggestion};
use std::collections::{BTreeMap, BTreeSet};

/// What IncrementalAlterConfigs does with a value, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum AlterOperation {
    /// Gives the setting this value.
    Set = 0,
    /// Takes the setting's own value away.
    Delete = 1,
    /// Adds parts to a list.
    Append = 2,
    /// Removes parts from a list.
    Subtract = 3,
}

impl AlterOperation {
    /// The operation of this number.
    pub fn from_code(code: i8) -> Option<AlterOperation> {
        match code {
            0 => Some(AlterOperation::Set),
            1 => Some(AlterOperation::Delete),
            2 => Some(AlterOperation::Append),
            3 => Some(AlterOperation::Subtract),
            _ => None,
        }
    }
}

/// Checks one value, wherever it comes from, and returns it as Kafka prints it.
pub(crate) fn accept(scope: Scope, name: &str, value: &str) -> Result<String, ConfigError> {
    let Some(setting) = lookup(name, scope) else {
        return Err(unknown(scope, name));
    };
    setting.accept(value).map_err(|problem| {
        let kind = match (scope, &problem) {
            (Scope::Broker, _) | (Scope::ClientMetrics, Problem::Range(_)) => {
                ConfigErrorKind::InvalidRequest
            }
            _ => ConfigErrorKind::InvalidConfig,
        };
        ConfigError {
            kind,
            message: problem.message().to_owned(),
        }
    })
}

fn unknown(scope: Scope, name: &str) -> ConfigError {
    match scope {
        Scope::Topic => ConfigError::config(format!("Unknown topic config name: {name}")),
        Scope::Group => ConfigError::config(format!("Unknown group config name: {name}")),
        Scope::ClientMetrics => {
            ConfigError::request(format!("Unknown client metrics configuration: {name}"))
        }
        Scope::Broker => {
            let hint = suggestion(name)
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            ConfigError::request(format!("Unknown broker config name: {name}{hint}"))
        }
    }
}

/// Whether a resource may be given this value at run time; `None` is the null value.
pub fn validate(resource: Resource, name: &str, value: Option<&str>) -> Result<(), ConfigError> {
    let Some(value) = value else {
        return Err(ConfigError::request(format!(
            "Null value not supported for : {name}"
        )));
    };
    let is_broker = matches!(resource, Resource::Broker | Resource::BrokerDefault);
    if is_broker && let Some(setting) = lookup(name, Scope::Broker) {
        if setting.dynamic == Dynamic::ReadOnly {
            return Err(ConfigError::request(format!(
                "Cannot update these configs dynamically: [{name}]"
            )));
        }
        if setting.dynamic == Dynamic::PerBroker && resource == Resource::BrokerDefault {
            return Err(ConfigError::request(format!(
                "Cannot update these configs at default cluster level, broker id must be specified: [{name}]"
            )));
        }
    }
    accept(resource.scope(), name, value)?;
    Ok(())
}

/// Whether a group may have these values of its own: each within the bounds that the broker sets, and heartbeats often
/// enough for the session, in Kafka's order and words.
pub fn check_group(
    broker: &BrokerConfig,
    own: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<i64>().ok());
    let of_group = |what: &str| {
        let own = own.get(&format!("consumer.{what}.ms"));
        let text = own.map(String::as_str);
        number(text.or_else(|| broker.value(&format!("group.consumer.{what}.ms"))))
    };
    for what in [
        "heartbeat.interval",
        "session.timeout",
        "assignment.interval",
    ] {
        let value = of_group(what);
        let bounds = [("min", "greater"), ("max", "less")];
        for (bound, relation) in bounds {
            let bound = format!("group.consumer.{bound}.{what}.ms");
            let limit = number(broker.value(&bound));
            let is_beyond = match relation {
                "greater" => value < limit,
                _ => value > limit,
            };
            if is_beyond {
                return Err(ConfigError::config(format!(
                    "consumer.{what}.ms must be {relation} than or equal to {bound}"
                )));
            }
        }
    }
    if of_group("session.timeout") <= of_group("heartbeat.interval") {
        return Err(ConfigError::config(
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms",
        ));
    }
    Ok(())
}

/// The values that a resource has of its own after these operations on its `current` ones. All or nothing.
pub fn apply_incremental(
    resource: Resource,
    current: &BTreeMap<String, String>,
    operations: &[(&str, AlterOperation, Option<&str>)],
) -> Result<BTreeMap<String, String>, ConfigError> {
    let names: BTreeSet<&str> = operations.iter().map(|(name, ..)| *name).collect();
    if names.len() != operations.len() {
        return Err(ConfigError::request("Error due to duplicate config keys"));
    }
    let mut altered = current.clone();
    for &(name, operation, value) in operations {
        if operation != AlterOperation::Delete && value.is_none() {
            return Err(ConfigError::request(format!(
                "Null value not supported for : {name}"
            )));
        }
        let value = value.unwrap_or_default();
        match operation {
            AlterOperation::Set => {
                altered.insert(name.to_owned(), value.to_owned());
            }
            AlterOperation::Delete => {
                altered.remove(name);
            }
            AlterOperation::Append | AlterOperation::Subtract => {
                let list = change_list(resource.scope(), &altered, name, operation, value)?;
                altered.insert(name.to_owned(), list);
            }
        }
        // What was there before is not judged again, so that one old value does not block all changes.
        if let Some(value) = altered.get(name)
            && current.get(name) != Some(value)
        {
            validate(resource, name, Some(value))?;
        }
    }
    Ok(altered)
}

fn change_list(
    scope: Scope,
    values: &BTreeMap<String, String>,
    name: &str,
    operation: AlterOperation,
    value: &str,
) -> Result<String, ConfigError> {
    let setting = lookup(name, scope);
    // Kafka knows no types for the settings of subscriptions when it adds to lists.
    if scope == Scope::ClientMetrics || setting.is_none_or(|setting| setting.kind != Kind::List) {
        let verb = if operation == AlterOperation::Append {
            "APPEND"
        } else {
            "SUBTRACT"
        };
        return Err(ConfigError::config(format!(
            "Can't {verb} to key {name} because its type is not LIST."
        )));
    }
    let default = setting
        .and_then(|setting| setting.default)
        .unwrap_or_default();
    let mut parts = split_list(values.get(name).map_or(default, String::as_str));
    for part in split_list(value) {
        if operation == AlterOperation::Subtract {
            parts.retain(|present| *present != part);
        } else if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Ok(parts.join(","))
}
