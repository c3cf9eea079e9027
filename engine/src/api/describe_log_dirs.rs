//! DescribeLogDirs: how large each partition is, from what the shards count; no partition's file is looked at.

use std::collections::BTreeMap;

use net::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::owners::ask;
use super::{RequestContext, topic_results};
use crate::shard::ClusterView;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::{PartitionId, ShardId};

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeLogDirsRequest<'_>,
) -> Outgoing {
    let view = context.shard().view();
    let wanted = wanted(&view, &request);
    let answers = |response| match response {
        ShardResponse::Sizes(sizes) => Some(sizes),
        _ => None,
    };
    let items = wanted.iter().map(|(_, owner, id)| (*owner, *id)).collect();
    let sizes = ask(context, items, ShardRequest::Sizes, answers, 0).await;
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition<'_>>> = BTreeMap::new();
    for ((name, _, id), size) in wanted.iter().zip(sizes) {
        topics
            .entry(name)
            .or_default()
            .push(DescribeLogDirsPartition {
                partition_index: id.index,
                partition_size: i64::try_from(size).unwrap_or(i64::MAX),
                ..Default::default()
            });
    }
    let directory = context.settings().data_directory();
    let space = context.shard().storage().space().await;
    let bytes = |bytes: Option<u64>| {
        bytes
            .and_then(|bytes| i64::try_from(bytes).ok())
            .unwrap_or(-1)
    };
    let result = DescribeLogDirsResult {
        log_dir: &directory,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic {
                name,
                partitions,
                ..Default::default()
            })
            .collect(),
        total_bytes: bytes(space.map(|space| space.total_bytes)),
        usable_bytes: bytes(space.map(|space| space.free_bytes)),
        ..Default::default()
    };
    let response = DescribeLogDirsResponse {
        results: vec![result],
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// The partitions asked for that exist, each once.
fn wanted<'v>(
    view: &'v ClusterView,
    request: &DescribeLogDirsRequest<'_>,
) -> Vec<(&'v str, ShardId, PartitionId)> {
    let named = match &request.topics {
        None => {
            let every = view.topics().flat_map(|topic| {
                (0..).map_while(move |index| topic.partition(index).map(|found| (topic, found)))
            });
            return every
                .map(|(topic, (id, _, owner))| (&*topic.image.name, owner, id))
                .collect();
        }
        Some(topics) => topic_results::once_each(
            topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic, *index))),
        ),
    };
    let found = named.into_iter().filter_map(|(name, index)| {
        let topic = view.topic(name)?;
        let (id, _, owner) = topic.partition(index)?;
        Some((&*topic.image.name, owner, id))
    });
    found.collect()
}
