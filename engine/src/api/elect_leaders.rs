//! ElectLeaders: a partition of a node of one is led by its only replica, so no election is ever needed.

use net::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::MetadataImage;
use crate::shard::connection::Outgoing;

/// First version with a code for the whole answer.
const VERSION_WITH_CODE: i16 = 1;
/// Preferred and unclean.
const ELECTION_TYPES: [i8; 2] = [0, 1];

/// A partition's index, code and message.
type Elected = (i32, ErrorCode, String);

pub(super) async fn handle(context: &RequestContext, request: ElectLeadersRequest<'_>) -> Outgoing {
    let image = context.image();
    let unknown_type = (!ELECTION_TYPES.contains(&request.election_type))
        .then(|| format!("Unknown election type {}", request.election_type));
    let code = if unknown_type.is_some() && context.version() >= VERSION_WITH_CODE {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::None
    };
    let answers: Vec<(&str, Vec<Elected>)> = match &request.topic_partitions {
        // Everywhere: partitions without anything to elect are left out, their topics are not.
        None if unknown_type.is_none() => image
            .topics()
            .map(|topic| (&*topic.name, Vec::new()))
            .collect(),
        None => Vec::new(),
        Some(topics) => topics
            .iter()
            .map(|wanted| {
                let answer = |index: &i32| match &unknown_type {
                    Some(message) => (*index, ErrorCode::InvalidRequest, message.clone()),
                    None => elect(&image, wanted.topic, *index),
                };
                (wanted.topic, wanted.partitions.iter().map(answer).collect())
            })
            .collect(),
    };
    let results = answers
        .iter()
        .map(|(topic, partitions)| ReplicaElectionResult {
            topic,
            partition_result: partitions
                .iter()
                .map(|(index, code, message)| PartitionResult {
                    partition_id: *index,
                    error_code: code.code(),
                    error_message: Some(message),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
    let response = ElectLeadersResponse {
        error_code: code.code(),
        replica_election_results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn elect(image: &MetadataImage, topic: &str, index: i32) -> Elected {
    let Some(found) = image.topic(topic) else {
        let message = format!("No such topic as {topic}");
        return (index, ErrorCode::UnknownTopicOrPartition, message);
    };
    let exists = usize::try_from(index).is_ok_and(|index| index < found.partitions.len());
    if exists {
        let message = "Leader election not needed for topic partition.".to_owned();
        return (index, ErrorCode::ElectionNotNeeded, message);
    }
    let message = format!("No such partition as {topic}-{index}");
    (index, ErrorCode::UnknownTopicOrPartition, message)
}
