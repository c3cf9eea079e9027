//! A client that was away while the node restarted: its leader epoch is old, its position may be on records that another
//! epoch wrote. What it is told must let it find the place where its history and the log's part (KIP-320), in every
//! version that carries epochs; by topic name and by topic id. On a whole node of two shards in the simulator.

use std::time::Duration;

use net::client::Client;
use net::messages::ApiKey;
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::records::BatchBuilder;
use net::wire::{Reader, Records, Uuid};

mod simulated;
use simulated::{connect, created, simulated, start};

const TOPIC: &str = "orders";
const NOBODY: Uuid = Uuid([7; 16]);
const OK: i16 = 0;
const SESSION_NOT_FOUND: i16 = 70;
const FENCED: i16 = 74;
const UNKNOWN_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
const SESSION_NAMES_TOPICS_OTHERWISE: i16 = 106;

/// Produces one record by topic id; its offset.
async fn produce(client: &Client, topic_id: Uuid) -> Result<i64, i16> {
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(b"value"), &[], 1_700_000_000_000);
    let data = PartitionProduceData {
        index: 0,
        records: Some(Records::Chain(vec![builder.build(0, -1).into()])),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            topic_id,
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = client
        .call(ApiKey::Produce, 13, |writer| request.encode(writer, 13))
        .await
        .expect("an answer");
    let answer = ProduceResponse::decode(&mut Reader::new(&body), 13).expect("readable");
    assert_eq!(answer.responses[0].topic_id, topic_id);
    let part = &answer.responses[0].partition_responses[0];
    match part.error_code {
        OK => Ok(part.base_offset),
        code => Err(code),
    }
}

/// Where `epoch` ended, as (code, epoch, end offset), for a client that believes in `current`.
async fn end_of_epoch(client: &Client, epoch: i32, current: i32) -> (i16, i32, i64) {
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: TOPIC,
            partitions: vec![OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch: current,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let key = ApiKey::OffsetForLeaderEpoch;
    let body = client
        .call(key, 4, |writer| request.encode(writer, 4))
        .await
        .expect("an answer");
    let answer =
        OffsetForLeaderEpochResponse::decode(&mut Reader::new(&body), 4).expect("readable");
    let end = &answer.topics[0].partitions[0];
    (end.error_code, end.leader_epoch, end.end_offset)
}

/// One fetch of the partition, or none of it, in a session.
#[derive(Clone, Copy)]
struct Fetch {
    version: i16,
    topic_id: Uuid,
    offset: i64,
    current_epoch: i32,
    last_epoch: i32,
    session: (i32, i32),
    names_topic: bool,
}

/// What it brought.
#[derive(Debug, PartialEq)]
struct Fetched {
    code: i16,
    session: i32,
    partition: Option<FetchedPartition>,
}

#[derive(Debug, PartialEq)]
struct FetchedPartition {
    code: i16,
    bytes: bool,
    /// Epoch and end offset.
    diverging: (i32, i64),
    /// Id and epoch.
    leader: (i32, i32),
    endpoints: usize,
}

async fn fetch(client: &Client, wanted: Fetch) -> Fetched {
    let by_id = wanted.version >= 13;
    let topic = FetchTopic {
        topic: if by_id { "" } else { TOPIC },
        topic_id: if by_id {
            wanted.topic_id
        } else {
            Uuid([0; 16])
        },
        partitions: vec![FetchPartition {
            current_leader_epoch: wanted.current_epoch,
            fetch_offset: wanted.offset,
            last_fetched_epoch: wanted.last_epoch,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = FetchRequest {
        max_bytes: 1 << 20,
        session_id: wanted.session.0,
        session_epoch: wanted.session.1,
        topics: if wanted.names_topic {
            vec![topic]
        } else {
            Vec::new()
        },
        ..Default::default()
    };
    let body = client
        .call(ApiKey::Fetch, wanted.version, |writer| {
            request.encode(writer, wanted.version)
        })
        .await
        .expect("an answer");
    let answer = FetchResponse::decode(&mut Reader::new(&body), wanted.version).expect("readable");
    let partition = answer.responses.first().map(|topic| {
        let found = &topic.partitions[0];
        FetchedPartition {
            code: found.error_code,
            bytes: matches!(&found.records, Some(Records::Borrowed(bytes)) if !bytes.is_empty()),
            diverging: (
                found.diverging_epoch.epoch,
                found.diverging_epoch.end_offset,
            ),
            leader: (
                found.current_leader.leader_id,
                found.current_leader.leader_epoch,
            ),
            endpoints: answer.node_endpoints.len(),
        }
    });
    Fetched {
        code: answer.error_code,
        session: answer.session_id,
        partition,
    }
}

const NONE: (i32, i64) = (-1, -1);

fn quiet(code: i16, bytes: bool) -> FetchedPartition {
    FetchedPartition {
        code,
        bytes,
        diverging: NONE,
        leader: (-1, -1),
        endpoints: 0,
    }
}

#[test]
fn a_client_of_an_old_epoch_learns_where_the_histories_part() {
    simulated(|broker, runtime, disk| async move {
        let node = start(&broker, &disk).await;
        let client = connect(&runtime).await;
        let (id, first) = created(&client, TOPIC).await;
        for offset in 0..3 {
            assert_eq!(produce(&client, id).await, Ok(offset));
        }
        drop(client);
        node.stop().await.expect("stops");
        let node = start(&broker, &disk).await;
        let client = connect(&runtime).await;
        let (same_id, second) = created(&client, TOPIC).await;
        assert_eq!(same_id, id);
        assert!(second > first, "every start has an epoch of its own");
        for offset in 3..5 {
            assert_eq!(produce(&client, id).await, Ok(offset));
        }
        assert_eq!(produce(&client, NOBODY).await, Err(UNKNOWN_TOPIC_ID));

        assert_eq!(end_of_epoch(&client, first, -1).await, (OK, first, 3));
        assert_eq!(end_of_epoch(&client, second, second).await, (OK, second, 5));
        assert_eq!(end_of_epoch(&client, second + 1, -1).await, (OK, -1, -1));
        assert_eq!(end_of_epoch(&client, first, first).await, (FENCED, -1, -1));
        let ahead = end_of_epoch(&client, first, second + 1).await;
        assert_eq!(ahead, (UNKNOWN_EPOCH, -1, -1));

        for version in 12..=18 {
            let ask = Fetch {
                version,
                topic_id: id,
                offset: 4,
                current_epoch: second,
                last_epoch: first,
                session: (0, -1),
                names_topic: true,
            };
            let parted = fetch(&client, ask).await.partition.expect("one");
            let expected = FetchedPartition {
                diverging: (first, 3),
                ..quiet(OK, false)
            };
            assert_eq!(
                parted, expected,
                "v{version}: the client has two records too many"
            );
            let together = Fetch { offset: 3, ..ask };
            let found = fetch(&client, together).await.partition.expect("one");
            assert_eq!(found, quiet(OK, true), "v{version}");
            let stale = Fetch {
                current_epoch: first,
                ..ask
            };
            let fenced = fetch(&client, stale).await.partition.expect("one");
            let hinted = version >= 16;
            let expected = FetchedPartition {
                leader: if hinted { (1, second) } else { (-1, -1) },
                endpoints: usize::from(hinted),
                ..quiet(FENCED, false)
            };
            assert_eq!(fenced, expected, "v{version}: who leads, and where");
            let unknown = Fetch {
                current_epoch: second + 1,
                ..ask
            };
            let unknown = fetch(&client, unknown).await.partition.expect("one");
            assert_eq!(unknown, quiet(UNKNOWN_EPOCH, false), "v{version}");
        }
        drop(client);
        node.stop().await.expect("stops");
    });
}

#[test]
fn a_session_goes_on_over_any_connection_in_the_way_it_began() {
    simulated(|broker, runtime, disk| async move {
        let node = start(&broker, &disk).await;
        // Connections are spread over both shards, and a session stays on the shard of the first.
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(connect(&runtime).await);
        }
        let (id, epoch) = created(&clients[0], TOPIC).await;
        assert_eq!(produce(&clients[0], id).await, Ok(0));
        let ask = Fetch {
            version: 18,
            topic_id: id,
            offset: 0,
            current_epoch: epoch,
            last_epoch: -1,
            session: (0, 0),
            names_topic: true,
        };
        let opened = fetch(&clients[0], ask).await;
        assert_eq!(opened.partition, Some(quiet(OK, true)));
        assert!(opened.session > 0);
        for (client, session_epoch) in clients.iter().zip(1..) {
            let go_on = Fetch {
                session: (opened.session, session_epoch),
                names_topic: false,
                ..ask
            };
            let found = fetch(client, go_on).await;
            assert_eq!(found.partition, Some(quiet(OK, true)), "{session_epoch}");
            assert_eq!((found.code, found.session), (OK, opened.session));
        }
        let by_name = Fetch {
            version: 12,
            session: (opened.session, 5),
            names_topic: false,
            ..ask
        };
        let refused = fetch(&clients[1], by_name).await;
        assert_eq!(refused.code, SESSION_NAMES_TOPICS_OTHERWISE);
        // A new session, wherever it is made, ends the old one.
        let renew = Fetch {
            session: (opened.session, 0),
            ..ask
        };
        assert!(fetch(&clients[1], renew).await.session > 0);
        let gone = Fetch {
            session: (opened.session, 5),
            names_topic: false,
            ..ask
        };
        assert_eq!(fetch(&clients[2], gone).await.code, SESSION_NOT_FOUND);
        let stranger = Fetch {
            topic_id: NOBODY,
            session: (0, -1),
            ..ask
        };
        let unknown = fetch(&clients[3], stranger).await.partition.expect("one");
        assert_eq!(unknown, quiet(UNKNOWN_TOPIC_ID, false));
        runtime.sleep(Duration::from_millis(1)).await;
        drop(clients);
        node.stop().await.expect("stops");
    });
}
