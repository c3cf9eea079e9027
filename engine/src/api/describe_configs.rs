//! DescribeConfigs: the settings table's view of a topic, this broker, or all brokers.

use std::collections::BTreeMap;

use net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use tuning::{ConfigSource, DescribedConfig, Resource};

use super::{ErrorCode, RequestContext, broker_loggers};
use crate::cluster::{ConfigResource, MetadataImage, ResourceKind, name};
use crate::shard::connection::Outgoing;

/// Kafka's words for a resource type that it does not know.
const UNKNOWN_RESOURCE: &str = "This most likely occurs because of a request being malformed by the client library or \
                                the message was sent to an incompatible broker. See the broker logs for more details.";

use broker_loggers::Refusal;

/// What is found of a resource.
enum Described {
    Configs(Vec<DescribedConfig>),
    /// Loggers and their levels.
    Levels(BTreeMap<String, &'static str>),
}

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeConfigsRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let described: Vec<Result<Described, Refusal>> = request
        .resources
        .iter()
        .map(|resource| describe(&image, resource))
        .collect();
    let results = request
        .resources
        .iter()
        .zip(&described)
        .map(|(resource, described)| {
            let (error_code, message, configs) = match described {
                Ok(described) => (ErrorCode::None, "", entries(described, &request)),
                Err((code, message)) => (*code, message.as_str(), Vec::new()),
            };
            DescribeConfigsResult {
                error_code: error_code.code(),
                error_message: Some(message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs,
                ..Default::default()
            }
        });
    let response = DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn describe(
    image: &MetadataImage,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Described, Refusal> {
    let name = resource.resource_name;
    let keys = resource.configuration_keys.as_deref();
    let kind = ResourceKind::from_code(resource.resource_type)
        .ok_or_else(|| (ErrorCode::InvalidRequest, UNKNOWN_RESOURCE.to_owned()))?;
    let table = match kind {
        ResourceKind::Topic => {
            if let Some(reason) = name::reason_invalid(name) {
                return Err((ErrorCode::InvalidTopicException, reason));
            }
            if image.topic(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            Resource::Topic
        }
        ResourceKind::Broker if name.is_empty() => Resource::BrokerDefault,
        ResourceKind::Broker => {
            check_broker(image, name)?;
            Resource::Broker
        }
        ResourceKind::BrokerLogger => {
            return broker_loggers::describe(image.node_id, name, keys).map(Described::Levels);
        }
        ResourceKind::Group if name.is_empty() => {
            return Err((
                ErrorCode::InvalidRequest,
                "Group name must not be empty".to_owned(),
            ));
        }
        ResourceKind::ClientMetrics if name.is_empty() => {
            let message = "Client metrics subscription name must not be empty";
            return Err((ErrorCode::InvalidRequest, message.to_owned()));
        }
        ResourceKind::Group => Resource::Group,
        ResourceKind::ClientMetrics => Resource::ClientMetrics,
    };
    let overrides = image.overrides(&ConfigResource {
        kind,
        name: name.to_owned(),
    });
    let configs = tuning::describe(table, &overrides, &image.broker_config, keys);
    Ok(Described::Configs(configs))
}

fn check_broker(image: &MetadataImage, broker: &str) -> Result<(), Refusal> {
    let node_id = image.node_id;
    let message = match broker.parse::<i32>() {
        Ok(id) if id == node_id => return Ok(()),
        Ok(id) => {
            format!("Unexpected broker id, expected {node_id} or empty string, but received {id}")
        }
        Err(_) => format!("Broker id must be an integer, but it is: {broker}"),
    };
    Err((ErrorCode::InvalidRequest, message))
}

fn entries<'a>(
    described: &'a Described,
    request: &DescribeConfigsRequest<'_>,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    match described {
        Described::Configs(configs) => configs
            .iter()
            .map(|config| entry(config, request))
            .collect(),
        Described::Levels(levels) => levels
            .iter()
            .map(|(logger, level)| DescribeConfigsResourceResult {
                name: logger,
                value: Some(level),
                config_source: ConfigSource::BrokerLogger as i8,
                // Kafka gives loggers neither a type nor a description, and this for the latter.
                documentation: Some(""),
                ..Default::default()
            })
            .collect(),
    }
}

fn entry<'a>(
    config: &'a DescribedConfig,
    request: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResourceResult<'a> {
    let synonyms = config.synonyms.iter().filter(|_| request.include_synonyms);
    DescribeConfigsResourceResult {
        name: config.name,
        value: config.value.as_deref(),
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
        synonyms: synonyms
            .map(|synonym| DescribeConfigsSynonym {
                name: &synonym.name,
                value: synonym.value.as_deref(),
                source: synonym.source as i8,
                ..Default::default()
            })
            .collect(),
        config_type: config.kind as i8,
        documentation: request
            .include_documentation
            .then_some(config.documentation),
        ..Default::default()
    }
}
