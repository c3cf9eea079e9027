//! DescribeCluster: who is there, for the admin clients.

use net::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{ErrorCode, RequestContext, authorized};
use crate::shard::connection::Outgoing;

const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeClusterRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let refusal = match request.endpoint_type {
        ENDPOINT_BROKER => None,
        ENDPOINT_CONTROLLER => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        )),
        other => Some((ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    let response = match &refusal {
        Some((code, message)) => DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(message),
            controller_id: -1,
            ..Default::default()
        },
        None => {
            let (host, port) = context.advertised();
            let broker = DescribeClusterBroker {
                broker_id: image.node_id,
                host,
                port: port.into(),
                ..Default::default()
            };
            DescribeClusterResponse {
                error_message: None,
                cluster_id: &image.cluster_id,
                controller_id: image.node_id,
                brokers: vec![broker],
                cluster_authorized_operations: authorized::cluster(
                    request.include_cluster_authorized_operations,
                ),
                ..Default::default()
            }
        }
    };
    context.reply(|writer, version| response.encode(writer, version))
}
