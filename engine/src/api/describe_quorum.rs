//! DescribeQuorum: the metadata log of a node of one, whose only voter leads.

use net::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, RequestTopicData,
    ResponsePartitionData, ResponseTopicData,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext};
use crate::cluster::MetadataImage;
use crate::cluster::name::CLUSTER_METADATA_TOPIC;
use crate::shard::connection::Outgoing;

/// First version that names voters' directories, and where they are found.
const VERSION_WITH_DIRECTORIES: i16 = 2;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeQuorumRequest<'_>,
) -> Outgoing {
    let is_metadata_log = matches!(
        request.topics.as_slice(),
        [RequestTopicData { topic_name, partitions, .. }]
            if *topic_name == CLUSTER_METADATA_TOPIC
                && matches!(partitions.as_slice(), [partition] if partition.partition_index == 0)
    );
    let image = context.image();
    let response = if is_metadata_log {
        describe(context, &image)
    } else {
        refuse(&request)
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn describe<'a>(context: &'a RequestContext, image: &MetadataImage) -> DescribeQuorumResponse<'a> {
    let end = image.offset + 1;
    let now_ms = context.runtime().wall_clock_ms();
    let has_directories = context.version() >= VERSION_WITH_DIRECTORIES;
    let directory_id = context.settings().directory_id;
    let voter = ReplicaState {
        replica_id: image.node_id,
        replica_directory_id: Uuid(if has_directories {
            directory_id
        } else {
            [0; 16]
        }),
        log_end_offset: end,
        last_fetch_timestamp: now_ms,
        last_caught_up_timestamp: now_ms,
        ..Default::default()
    };
    let partition = ResponsePartitionData {
        partition_index: 0,
        error_message: Some(""),
        leader_id: image.node_id,
        leader_epoch: image.metadata_epoch,
        high_watermark: end,
        current_voters: vec![voter],
        ..Default::default()
    };
    let (host, port) = context.advertised();
    let listener = Listener {
        name: context.connection().listener().name.as_str(),
        host,
        port,
        ..Default::default()
    };
    let node = Node {
        node_id: image.node_id,
        listeners: vec![listener],
        ..Default::default()
    };
    DescribeQuorumResponse {
        error_message: Some(""),
        topics: vec![ResponseTopicData {
            topic_name: CLUSTER_METADATA_TOPIC,
            partitions: vec![partition],
            ..Default::default()
        }],
        nodes: if has_directories {
            vec![node]
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

fn refuse<'a>(request: &DescribeQuorumRequest<'a>) -> DescribeQuorumResponse<'a> {
    let topics = request.topics.iter().map(|topic| ResponseTopicData {
        topic_name: topic.topic_name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| ResponsePartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: Some("This server does not host this topic-partition."),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    DescribeQuorumResponse {
        error_message: Some(""),
        topics: topics.collect(),
        ..Default::default()
    }
}
