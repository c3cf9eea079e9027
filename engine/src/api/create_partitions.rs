//! CreatePartitions: decided by the controller, answered when the new partitions can be written.

use net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::{ErrorCode, RequestContext, topic_results};
use crate::cluster::topics::MorePartitions;
use crate::cluster::{ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: CreatePartitionsRequest<'_>,
) -> Outgoing {
    let count = request.topics.len();
    let results = if request.timeout_ms <= 0 {
        topic_results::timed_out(count)
    } else {
        let control = ControlRequest::CreatePartitions {
            topics: request.topics.iter().map(more_partitions).collect(),
            validate_only: request.validate_only,
        };
        match context.control(control).await {
            Ok(ControlResponse::CreatePartitions(results)) => results,
            other => topic_results::all_failed(other, count),
        }
    };
    let names = topic_results::once_each(request.topics.iter().map(|topic| topic.name));
    let answers = names.into_iter().map(|name| {
        let position = request
            .topics
            .iter()
            .position(|topic| topic.name == name)
            .expect("taken from the list");
        let error = results[position].as_ref().err();
        CreatePartitionsTopicResult {
            name,
            error_code: error
                .map_or(ErrorCode::None, |error| error.kind.into())
                .code(),
            error_message: error.and_then(|error| error.message.as_deref()),
            ..Default::default()
        }
    });
    let response = CreatePartitionsResponse {
        results: answers.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn more_partitions(topic: &CreatePartitionsTopic<'_>) -> MorePartitions {
    MorePartitions {
        name: topic.name.to_owned(),
        count: topic.count,
        assignments: topic.assignments.as_ref().map(|assignments| {
            assignments
                .iter()
                .map(|assignment| assignment.broker_ids.clone())
                .collect()
        }),
    }
}
