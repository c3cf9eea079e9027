//! ListConfigResources: what has configurations of its own; version 0 knows client metrics only (KIP-1142).

use net::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::{MetadataImage, ResourceKind};
use crate::shard::connection::Outgoing;

/// First version that says which kinds are wanted; none means all.
const VERSION_WITH_TYPES: i16 = 1;

pub(super) async fn handle(
    context: &RequestContext,
    request: ListConfigResourcesRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let wanted: Option<Vec<ResourceKind>> = request
        .resource_types
        .iter()
        .map(|code| ResourceKind::from_code(*code))
        .collect();
    let kinds = match wanted {
        _ if context.version() < VERSION_WITH_TYPES => vec![ResourceKind::ClientMetrics],
        None => return fail(context),
        Some(kinds) if kinds.is_empty() => ResourceKind::ALL.to_vec(),
        Some(mut kinds) => {
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        }
    };
    let listed: Vec<(ResourceKind, String)> = kinds
        .into_iter()
        .flat_map(|kind| {
            names(&image, kind)
                .into_iter()
                .map(move |name| (kind, name))
        })
        .collect();
    let resources = listed.iter().map(|(kind, name)| ConfigResource {
        resource_name: name,
        resource_type: *kind as i8,
        ..Default::default()
    });
    let response = ListConfigResourcesResponse {
        config_resources: resources.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn fail(context: &RequestContext) -> Outgoing {
    let response = ListConfigResourcesResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn names(image: &MetadataImage, kind: ResourceKind) -> Vec<String> {
    match kind {
        ResourceKind::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceKind::Broker | ResourceKind::BrokerLogger => vec![image.node_id.to_string()],
        ResourceKind::ClientMetrics | ResourceKind::Group => image
            .configs
            .keys()
            .filter(|resource| resource.kind == kind)
            .map(|resource| resource.name.clone())
            .collect(),
    }
}
