//! DescribeProducers: what the partitions remember of their producers.

use net::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};

use super::owners::ask;
use super::{ErrorCode, RequestContext};
use crate::cluster::name;
use crate::partition::ProducerDescription;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};

type Refusal = (ErrorCode, Option<String>);

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeProducersRequest<'_>,
) -> Outgoing {
    let view = context.shard().view();
    let mut items = Vec::new();
    let mut places: Vec<Vec<Result<usize, Refusal>>> = Vec::new();
    for topic in &request.topics {
        let place = |index: &i32| match view.topic(topic.name) {
            Some(found) => {
                // Kafka has no message for a partition that a known topic lacks.
                let refusal = (ErrorCode::UnknownTopicOrPartition, None);
                let (id, _, owner) = found.partition(*index).ok_or(refusal)?;
                items.push((owner, id));
                Ok(items.len() - 1)
            }
            None => Err(match name::reason_invalid(topic.name) {
                Some(reason) => (ErrorCode::InvalidTopicException, Some(reason)),
                None => (
                    ErrorCode::UnknownTopicOrPartition,
                    Some("This server does not host this topic-partition.".to_owned()),
                ),
            }),
        };
        places.push(topic.partition_indexes.iter().map(place).collect());
    }
    let answers = |response| match response {
        ShardResponse::Producers(producers) => Some(producers),
        _ => None,
    };
    let found = ask(context, items, ShardRequest::Producers, answers, None).await;
    let topics = request.topics.iter().zip(&places).map(|(topic, places)| {
        let partitions = topic.partition_indexes.iter().zip(places);
        TopicResponse {
            name: topic.name,
            partitions: partitions
                .map(|(index, place)| match place {
                    Ok(place) => described(*index, found[*place].as_deref()),
                    Err((code, message)) => PartitionResponse {
                        partition_index: *index,
                        error_code: code.code(),
                        error_message: message.as_deref(),
                        ..Default::default()
                    },
                })
                .collect(),
            ..Default::default()
        }
    });
    let response = DescribeProducersResponse {
        topics: topics.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// `None`: the owner is gone, or no longer has the partition.
fn described(index: i32, producers: Option<&[ProducerDescription]>) -> PartitionResponse<'static> {
    let Some(producers) = producers else {
        return PartitionResponse {
            partition_index: index,
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            ..Default::default()
        };
    };
    let active = producers.iter().map(|producer| ProducerState {
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer
            .transaction_first_offset
            .map_or(-1, |offset| offset.0),
        ..Default::default()
    });
    PartitionResponse {
        partition_index: index,
        active_producers: active.collect(),
        ..Default::default()
    }
}
