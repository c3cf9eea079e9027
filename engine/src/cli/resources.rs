//! Settings over the wire: DescribeConfigs and IncrementalAlterConfigs for any kind of resource.

use net::cluster::Connection;
use net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use net::messages::{ApiKey, Request};

use super::output::NOTHING;
use super::{Failure, Outcome, error_text};

/// What has settings, with Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Resource {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl Resource {
    /// The sources of values that were set for such a resource while a node ran (Kafka's `ConfigSource`).
    pub(super) fn own_sources(self) -> &'static [i8] {
        match self {
            Resource::Topic => &[1],
            Resource::Broker => &[2, 3],
            Resource::BrokerLogger => &[6],
            Resource::ClientMetrics => &[7],
            Resource::Group => &[8],
        }
    }
}

/// A setting and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) source: i8,
    pub(super) read_only: bool,
    pub(super) sensitive: bool,
    /// Where the value could also come from, strongest first: source, name, value.
    pub(super) synonyms: Vec<(i8, String, Option<String>)>,
    pub(super) documentation: Option<String>,
}

impl Entry {
    fn new(result: &DescribeConfigsResourceResult<'_>) -> Entry {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let synonyms = result.synonyms.iter();
        Entry {
            name: result.name.to_owned(),
            value: owned(result.value),
            source: result.config_source,
            read_only: result.read_only,
            sensitive: result.is_sensitive,
            synonyms: synonyms
                .map(|one| (one.source, one.name.to_owned(), owned(one.value)))
                .collect(),
            documentation: owned(result.documentation),
        }
    }

    /// Whether it was set for the one topic that was asked about.
    pub(super) fn is_set_for_topic(&self) -> bool {
        self.source == 1
    }

    /// The value as it is printed: a secret is not sent, null is nothing.
    pub(super) fn shown(&self) -> &str {
        match &self.value {
            None if self.sensitive => "(sensitive)",
            None => NOTHING,
            Some(value) => value,
        }
    }

    /// Kafka's name of the place that the value comes from.
    pub(super) fn source_name(&self) -> &'static str {
        source_name(self.source)
    }
}

pub(super) fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "CLIENT_METRICS_CONFIG",
        8 => "GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

/// What each resource's settings are, or why it does not say; in the order asked for.
pub(super) async fn describe(
    connection: &mut Connection,
    asked: &[(Resource, &str)],
    everything: bool,
) -> Outcome<Vec<Result<Vec<Entry>, String>>> {
    let resources = asked
        .iter()
        .map(|(resource, name)| DescribeConfigsResource {
            resource_type: *resource as i8,
            resource_name: name,
            configuration_keys: None,
            ..Default::default()
        })
        .collect();
    let request = Request::DescribeConfigs(DescribeConfigsRequest {
        resources,
        include_synonyms: everything,
        include_documentation: everything,
        ..Default::default()
    });
    let version = connection.version(ApiKey::DescribeConfigs)?;
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(DescribeConfigsResponse::decode)?;
    let mut described = Vec::new();
    for (resource, name) in asked {
        let found = response.results.iter().find(|result| {
            result.resource_type == *resource as i8 && result.resource_name == *name
        });
        let result = found
            .ok_or_else(|| Failure::new("DescribeConfigs: the answer leaves resources out"))?;
        described.push(match result.error_code {
            0 => Ok(result.configs.iter().map(Entry::new).collect()),
            code => Err(format!(
                "settings of {name}: {}",
                error_text(code, result.error_message)
            )),
        });
    }
    Ok(described)
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Set(String, String),
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes from a list.
    Subtract(String, String),
}

impl Change {
    fn parts(&self) -> (&str, i8, Option<&str>) {
        match self {
            Change::Set(name, value) => (name, 0, Some(value)),
            Change::Delete(name) => (name, 1, None),
            Change::Append(name, value) => (name, 2, Some(value)),
            Change::Subtract(name, value) => (name, 3, Some(value)),
        }
    }
}

/// Changes the settings of resources; for each its error code and message.
pub(super) async fn alter(
    connection: &mut Connection,
    resource: Resource,
    names: &[&str],
    changes: &[Change],
    validate_only: bool,
) -> Outcome<Vec<(String, i16, Option<String>)>> {
    let configs: Vec<AlterableConfig<'_>> = changes
        .iter()
        .map(|change| {
            let (name, config_operation, value) = change.parts();
            AlterableConfig {
                name,
                config_operation,
                value,
                ..Default::default()
            }
        })
        .collect();
    let resources = names.iter().map(|name| AlterConfigsResource {
        resource_type: resource as i8,
        resource_name: name,
        configs: configs.clone(),
        ..Default::default()
    });
    let request = Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
        resources: resources.collect(),
        validate_only,
        ..Default::default()
    });
    let version = connection.version(ApiKey::IncrementalAlterConfigs)?;
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(IncrementalAlterConfigsResponse::decode)?;
    let result = response.responses.iter().map(|result| {
        let message = result.error_message.map(str::to_owned);
        (result.resource_name.to_owned(), result.error_code, message)
    });
    Ok(result.collect())
}

/// `key=value` pairs as Kafka's tools take them: commas between pairs, brackets around values with commas.
pub(super) fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((name, value)) = rest.split_once('=') else {
            return Err(format!("{rest}: give it as KEY=VALUE"));
        };
        let (value, left) = match value.strip_prefix('[') {
            Some(inner) => inner
                .split_once(']')
                .ok_or_else(|| format!("{rest}: a ] is missing"))?,
            None => {
                let end = value.find(',').unwrap_or(value.len());
                value.split_at(end)
            }
        };
        pairs.push((name.trim().to_owned(), value.to_owned()));
        rest = left.strip_prefix(',').unwrap_or(left);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_cut_at_commas_outside_of_brackets() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parse_pairs("a=1,cleanup.policy=[compact,delete],b=x=y"),
            Ok(vec![
                pair("a", "1"),
                pair("cleanup.policy", "compact,delete"),
                pair("b", "x=y")
            ])
        );
        assert_eq!(parse_pairs("a="), Ok(vec![pair("a", "")]));
        assert!(parse_pairs("a").is_err() && parse_pairs("a=[b").is_err());
    }
}
