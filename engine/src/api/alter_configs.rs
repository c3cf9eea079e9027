//! AlterConfigs: replaces all of a resource's own configurations; decided by the controller like
//! IncrementalAlterConfigs.

use net::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::{ErrorCode, RequestContext, topic_results};
use crate::cluster::configs::{AlterConfig, AlterResource, Change};
use crate::cluster::{ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: AlterConfigsRequest<'_>) -> Outgoing {
    let resources = request.resources.iter().map(|resource| AlterResource {
        kind: resource.resource_type,
        name: resource.resource_name.to_owned(),
        change: Change::Replace,
        changes: resource
            .configs
            .iter()
            .map(|config| AlterConfig {
                name: config.name.to_owned(),
                operation: tuning::AlterOperation::Set as i8,
                value: config.value.map(str::to_owned),
            })
            .collect(),
    });
    let control = ControlRequest::AlterConfigs {
        resources: resources.collect(),
        validate_only: request.validate_only,
    };
    let results = match context.control(control).await {
        Ok(ControlResponse::AlterConfigs(results)) => results,
        other => topic_results::all_failed(other, request.resources.len()),
    };
    let responses = request
        .resources
        .iter()
        .zip(&results)
        .map(|(resource, result)| {
            let error = result.as_ref().err();
            AlterConfigsResourceResponse {
                error_code: error
                    .map_or(ErrorCode::None, |error| error.kind.into())
                    .code(),
                error_message: error.and_then(|error| error.message.as_deref()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        });
    let response = AlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}
