//! AlterPartitionReassignments: on a node of one a partition can only stay where it is, which succeeds at once;
//! whatever else is asked for is refused in Kafka's words.

use net::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::{MetadataImage, topics};
use crate::shard::connection::Outgoing;

type Refusal = (ErrorCode, Option<String>);

pub(super) async fn handle(
    context: &RequestContext,
    request: AlterPartitionReassignmentsRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let answers: Vec<Vec<(i32, Option<Refusal>)>> = request
        .topics
        .iter()
        .map(|topic| {
            let answer = |wanted: &ReassignablePartition<'_>| {
                (
                    wanted.partition_index,
                    reassign(&image, topic.name, wanted).err(),
                )
            };
            topic.partitions.iter().map(answer).collect()
        })
        .collect();
    let responses = request
        .topics
        .iter()
        .zip(&answers)
        .map(|(topic, partitions)| ReassignableTopicResponse {
            name: topic.name,
            partitions: partitions.iter().map(partition_response).collect(),
            ..Default::default()
        });
    let response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: request.topics.is_empty().then_some(""),
        responses: responses.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn partition_response(answer: &(i32, Option<Refusal>)) -> ReassignablePartitionResponse<'_> {
    let (index, refusal) = answer;
    ReassignablePartitionResponse {
        partition_index: *index,
        error_code: refusal
            .as_ref()
            .map_or(ErrorCode::None, |(code, _)| *code)
            .code(),
        error_message: refusal.as_ref().and_then(|(_, text)| text.as_deref()),
        ..Default::default()
    }
}

fn reassign(
    image: &MetadataImage,
    topic: &str,
    wanted: &ReassignablePartition<'_>,
) -> Result<(), Refusal> {
    let unknown = |message: String| (ErrorCode::UnknownTopicOrPartition, Some(message));
    let found = image
        .topic(topic)
        .ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
    let index = wanted.partition_index;
    if !usize::try_from(index).is_ok_and(|index| index < found.partitions.len()) {
        return Err(unknown(format!(
            "Unable to find partition {topic}:{index}."
        )));
    }
    let Some(replicas) = &wanted.replicas else {
        // Nothing is ever under way that could be cancelled.
        return Err((ErrorCode::NoReassignmentInProgress, None));
    };
    topics::check_replicas(image.node_id, replicas)
        .map_err(|error| (error.kind.into(), error.message))
}
