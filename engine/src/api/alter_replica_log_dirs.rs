//! AlterReplicaLogDirs: there is one data directory, so a partition can only stay in it.

use std::collections::BTreeMap;

use net::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: AlterReplicaLogDirsRequest<'_>,
) -> Outgoing {
    let directory = context.settings().data_directory();
    let view = context.shard().view();
    let mut results: Vec<AlterReplicaLogDirTopicResult<'_>> = Vec::new();
    let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
    for wanted in &request.dirs {
        for topic in &wanted.topics {
            let code = |index: i32| match view.topic(topic.name) {
                _ if wanted.path != directory => ErrorCode::LogDirNotFound,
                Some(found) if found.partition(index).is_some() => ErrorCode::None,
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            let partitions =
                topic
                    .partitions
                    .iter()
                    .map(|index| AlterReplicaLogDirPartitionResult {
                        partition_index: *index,
                        error_code: code(*index).code(),
                        ..Default::default()
                    });
            let position = *positions.entry(topic.name).or_insert_with(|| {
                results.push(AlterReplicaLogDirTopicResult {
                    topic_name: topic.name,
                    ..Default::default()
                });
                results.len() - 1
            });
            results[position].partitions.extend(partitions);
        }
    }
    let response = AlterReplicaLogDirsResponse {
        results,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}
