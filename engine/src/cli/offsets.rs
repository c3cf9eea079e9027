//! Asks the leaders where partitions begin and end.

use std::collections::BTreeMap;

use net::cluster::{Cluster, Topic};
use net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use net::messages::{ApiKey, Request};

use super::{Failure, Outcome, PATIENCE, error_name};

/// Kafka's special timestamp for the log's start.
pub(super) const EARLIEST: i64 = -2;
/// Kafka's special timestamp for the log's end.
pub(super) const LATEST: i64 = -1;

/// The offsets that belong to `timestamp`, by partition; of the listed partitions only.
pub(super) async fn list(
    cluster: &mut Cluster,
    topic: &Topic,
    partitions: &[i32],
    timestamp: i64,
) -> Outcome<BTreeMap<i32, i64>> {
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in topic
        .partitions
        .iter()
        .filter(|partition| partitions.contains(&partition.index))
    {
        by_leader
            .entry(partition.leader)
            .or_default()
            .push(partition.index);
    }
    let mut found = BTreeMap::new();
    for (leader, partitions) in by_leader {
        let connection = cluster.broker(leader).await?;
        let wanted = |index: &i32| ListOffsetsPartition {
            partition_index: *index,
            timestamp,
            ..Default::default()
        };
        let request = Request::ListOffsets(ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: &topic.name,
                partitions: partitions.iter().map(wanted).collect(),
                ..Default::default()
            }],
            timeout_ms: i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX),
            ..Default::default()
        });
        let version = connection.version(ApiKey::ListOffsets)?;
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(ListOffsetsResponse::decode)?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            if partition.error_code != 0 {
                let name = error_name(partition.error_code);
                return Err(Failure::Said(format!(
                    "offsets of {}-{index}: {name}",
                    topic.name
                )));
            }
            found.insert(index, partition.offset);
        }
    }
    match partitions.iter().find(|index| !found.contains_key(index)) {
        Some(index) => Err(Failure::Said(format!(
            "topic {} has no partition {index}",
            topic.name
        ))),
        None => Ok(found),
    }
}
