//! A member of a group is given a new partition and commits for it on another shard's connection. Shards follow new
//! metadata at different times, since each makes its own files; while one of them did not know the partition yet, it
//! refused the commit as one for a partition that does not exist, which ends a Java consumer. On a whole node of two
//! shards in the simulator.

use std::time::Duration;

use engine::platform::sim::SimDiskOptions;
use net::client::Client;
use net::messages::ApiKey;
use net::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use net::messages::find_coordinator::FindCoordinatorRequest;
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use net::platform::Runtime;
use net::wire::{Reader, Uuid};

mod simulated;
use simulated::{connect, created, simulated, start};

const TOPIC: &str = "orders";
const GROUP: &str = "readers";
const MEMBER: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const OK: i16 = 0;

/// The member's epoch, and how many partitions it was given if that is said.
async fn heartbeat(client: &Client, epoch: i32) -> (i16, i32, Option<usize>) {
    let is_first = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: GROUP,
        member_id: MEMBER,
        member_epoch: epoch,
        rebalance_timeout_ms: if is_first { 60_000 } else { -1 },
        subscribed_topic_names: is_first.then(|| vec![TOPIC]),
        topic_partitions: is_first.then(Vec::new),
        ..Default::default()
    };
    let key = ApiKey::ConsumerGroupHeartbeat;
    let body = client
        .call(key, 1, |writer| request.encode(writer, 1))
        .await
        .expect("an answer");
    let answer =
        ConsumerGroupHeartbeatResponse::decode(&mut Reader::new(&body), 1).expect("readable");
    let given = answer.assignment.map(|assignment| {
        let topics = assignment.topic_partitions.iter();
        topics.map(|topic| topic.partitions.len()).sum()
    });
    (answer.error_code, answer.member_epoch, given)
}

async fn commit(client: &Client, topic_id: Uuid, epoch: i32, partition: i32) -> i16 {
    let request = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: epoch,
        member_id: MEMBER,
        topics: vec![OffsetCommitRequestTopic {
            topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: 1,
                committed_metadata: Some(""),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = client
        .call(ApiKey::OffsetCommit, 10, |writer| {
            request.encode(writer, 10)
        })
        .await
        .expect("an answer");
    let answer = OffsetCommitResponse::decode(&mut Reader::new(&body), 10).expect("readable");
    answer.topics[0].partitions[0].error_code
}

async fn grow(client: &Client, count: i32) {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: TOPIC,
            count,
            assignments: None,
            ..Default::default()
        }],
        timeout_ms: 60_000,
        ..Default::default()
    };
    let body = client.call(ApiKey::CreatePartitions, 3, |writer| {
        request.encode(writer, 3)
    });
    let body = body.await.expect("an answer");
    let answer = CreatePartitionsResponse::decode(&mut Reader::new(&body), 3).expect("readable");
    assert_eq!(answer.results[0].error_code, OK, "{:?}", answer.results[0]);
}

/// Waits until the member is given `count` partitions; its epoch then.
async fn until_given(runtime: &Runtime, client: &Client, mut epoch: i32, count: usize) -> i32 {
    for _ in 0..100_000 {
        let (code, now, given) = heartbeat(client, epoch).await;
        if code == OK {
            epoch = now;
        }
        if given == Some(count) {
            return epoch;
        }
        runtime.sleep(Duration::from_micros(200)).await;
    }
    panic!(
        "{count} partitions are not given: {:?}",
        heartbeat(client, epoch).await
    );
}

#[test]
fn a_commit_for_a_partition_that_was_just_given_counts_on_every_shard() {
    simulated(|broker, machine, disk| async move {
        let _node = start(&broker, &disk).await;
        // One after the other: they are shared out among both shards.
        let connections = [connect(&machine).await, connect(&machine).await];
        let (topic_id, _) = created(&connections[0], TOPIC).await;
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![GROUP],
            ..Default::default()
        };
        let found = connections[0].call(ApiKey::FindCoordinator, 6, |writer| {
            request.encode(writer, 6)
        });
        found.await.expect("an answer");
        let mut epoch = until_given(&machine, &connections[0], 0, 1).await;
        disk.set_options(SimDiskOptions {
            latency_max: Duration::from_millis(20),
            ..SimDiskOptions::default()
        });
        for count in 2..12 {
            let client = connect(&machine).await;
            machine.spawn(async move { grow(&client, count).await });
            epoch = until_given(&machine, &connections[0], epoch, count as usize).await;
            for client in &connections {
                let code = commit(client, topic_id, epoch, count - 1).await;
                assert_eq!(code, OK, "partition {}", count - 1);
            }
        }
    });
}
