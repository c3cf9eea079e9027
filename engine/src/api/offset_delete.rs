//! OffsetDelete: forgets how far a group has read in some partitions.

use net::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: OffsetDeleteRequest<'_>) -> Outgoing {
    let image = context.image();
    let known = |topic: &str| image.topic(topic).is_some();
    let partitions = request
        .topics
        .iter()
        .filter(|topic| known(topic.name))
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (topic.name.into(), partition.partition_index))
        })
        .collect();
    let reply = if request.group_id.is_empty() {
        GroupReply::Failed(GroupError::InvalidGroupId)
    } else {
        let wish = GroupRequest::DeleteOffsets(request.group_id.into(), partitions);
        ask(context, request.group_id, wish).await
    };
    let (code, results) = match reply {
        GroupReply::OffsetsDeleted(results) => (ErrorCode::None, results),
        GroupReply::Failed(error) => (error.into(), Vec::new()),
        _ => (ErrorCode::UnknownServerError, Vec::new()),
    };
    let mut results = results.into_iter();
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetDeleteResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let code = if known(topic.name) {
                        let result = results.next().unwrap_or(Ok(()));
                        result.map_or_else(ErrorCode::from, |()| ErrorCode::None)
                    } else {
                        ErrorCode::UnknownTopicOrPartition
                    };
                    OffsetDeleteResponsePartition {
                        partition_index: partition.partition_index,
                        error_code: code.code(),
                    }
                })
                .collect(),
        });
    let response = OffsetDeleteResponse {
        error_code: code.code(),
        topics: if code == ErrorCode::None {
            topics.collect()
        } else {
            Vec::new()
        },
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}
