//! IncrementalAlterConfigs: decided by the controller; every shard follows the new values before the answer. Log levels
//! are this process's own: they are decided here.

use std::collections::BTreeMap;

use net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::{ErrorCode, RequestContext, broker_loggers, topic_results};
use crate::cluster::configs::{self, AlterConfig, AlterResource, Change};
use crate::cluster::{ControlRequest, ControlResponse, ResourceKind};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: IncrementalAlterConfigsRequest<'_>,
) -> Outgoing {
    let resources: Vec<AlterResource> = request.resources.iter().map(wanted).collect();
    let (levels, others): (Vec<_>, Vec<_>) = (0..resources.len())
        .partition(|position| resources[*position].kind == ResourceKind::BrokerLogger as i8);
    let mut results: Vec<Result<(), (ErrorCode, Option<String>)>> = vec![Ok(()); resources.len()];
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for position in &levels {
        *names.entry(&resources[*position].name).or_default() += 1;
    }
    for position in levels {
        let wanted = &resources[position];
        let is_twice = names[&*wanted.name] > 1;
        results[position] = alter_levels(context, wanted, is_twice, request.validate_only);
    }
    if !others.is_empty() {
        let control = ControlRequest::AlterConfigs {
            resources: others
                .iter()
                .map(|position| resources[*position].clone())
                .collect(),
            validate_only: request.validate_only,
        };
        let decided = match context.control(control).await {
            Ok(ControlResponse::AlterConfigs(results)) => results,
            other => topic_results::all_failed(other, others.len()),
        };
        for (position, result) in others.into_iter().zip(decided) {
            results[position] = result.map_err(|error| (error.kind.into(), error.message));
        }
    }
    let responses = request
        .resources
        .iter()
        .zip(&results)
        .map(|(resource, result)| {
            let error = result.as_ref().err();
            AlterConfigsResourceResponse {
                error_code: error.map_or(ErrorCode::None, |(code, _)| *code).code(),
                error_message: error.and_then(|(_, message)| message.as_deref()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        });
    let response = IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn wanted(resource: &AlterConfigsResource<'_>) -> AlterResource {
    AlterResource {
        kind: resource.resource_type,
        name: resource.resource_name.to_owned(),
        change: Change::Incremental,
        changes: resource
            .configs
            .iter()
            .map(|config| AlterConfig {
                name: config.name.to_owned(),
                operation: config.config_operation,
                value: config.value.map(str::to_owned),
            })
            .collect(),
    }
}

fn alter_levels(
    context: &RequestContext,
    wanted: &AlterResource,
    is_twice: bool,
    validate_only: bool,
) -> Result<(), (ErrorCode, Option<String>)> {
    if is_twice {
        let message = "Each resource must appear at most once.".to_owned();
        return Err((ErrorCode::InvalidRequest, Some(message)));
    }
    configs::check_changes(&wanted.changes).map_err(|error| (error.kind.into(), error.message))?;
    let node_id = context.image().node_id;
    broker_loggers::alter(node_id, &wanted.name, &wanted.changes, validate_only)
        .map_err(|(code, message)| (code, Some(message)))
}
