//! What one connection may rely on: answers in the order of requests, whatever overlaps; silence or an end where
//! there is no answer; and no patience for peers that block others. On a whole node in the simulator.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use engine::node::{Executors, ListenerSettings, Node, NodeSettings};
use engine::platform::sim::{SimDisk, SimDiskOptions};
use net::messages::ApiKey;
use net::messages::api_versions::ApiVersionsRequest;
use net::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::platform::sim::Simulation;
use net::platform::{Runtime, Stream, WriteHalf};
use net::records::BatchBuilder;
use net::server::{FrameReader, ReceiveBudget};
use net::wire::{EncodeError, Reader, Records, Writer};
use tuning::BrokerConfig;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("an address")
}

/// Runs `client` against a node of two shards.
fn with_node<T: 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    client: impl FnOnce(Runtime, Stream) -> F + 'static,
) -> T {
    let simulation = Simulation::new(seed);
    let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
    let (broker, machine) = (simulation.node("broker"), simulation.node("client"));
    let (broker_runtime, runtime) = (broker.runtime(), machine.runtime());
    simulation.block_on(&machine, async move {
        let config = BrokerConfig::from_pairs(&[("journal.file.bytes", "1048576")])
            .expect("a good configuration");
        let listener = ListenerSettings {
            name: "PLAINTEXT".into(),
            address: address(),
            advertised_host: "127.0.0.1".into(),
            advertised_port: 9092,
        };
        let settings = NodeSettings::new(config, 2, vec![listener]);
        broker_runtime.clone().spawn(async move {
            let disk = disk.disk(&broker_runtime);
            let node = Node::start(&broker_runtime, &disk, Executors::Here, settings)
                .await
                .expect("the node starts");
            std::future::pending::<()>().await;
            drop(node);
        });
        let stream = loop {
            runtime.sleep(Duration::from_millis(10)).await;
            if let Ok(stream) = runtime.connect(address()).await {
                break stream;
            }
        };
        client(runtime, stream).await
    })
}

fn frame(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Bytes {
    let mut writer = Writer::new();
    let mark = writer.begin_frame();
    writer.put_i16(key as i16);
    writer.put_i16(version);
    writer.put_i32(correlation_id);
    writer.put_i16(-1);
    if net::messages::request_header_version(key, version) >= 2 {
        writer.put_unsigned_varint(0);
    }
    encode(&mut writer).expect("encodable");
    writer.end_frame(mark).expect("short");
    writer.take_chain().concat().into()
}

fn produce(correlation_id: i32, topic: &str, acks: i16) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(b"value"), &[], 1_700_000_000_000);
    let records = Records::Chain(vec![builder.build(0, -1).into()]);
    let data = PartitionProduceData {
        index: 0,
        records: Some(records),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: topic,
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: 1_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    frame(ApiKey::Produce, 7, correlation_id, |writer| {
        request.encode(writer, 7)
    })
}

fn metadata(correlation_id: i32, topic: &str) -> Bytes {
    let topics = vec![MetadataRequestTopic {
        name: Some(topic),
        ..Default::default()
    }];
    let request = MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    frame(ApiKey::Metadata, 5, correlation_id, |writer| {
        request.encode(writer, 5)
    })
}

fn api_versions(correlation_id: i32) -> Bytes {
    frame(ApiKey::ApiVersions, 0, correlation_id, |writer| {
        ApiVersionsRequest::default().encode(writer, 0)
    })
}

/// A fetch that waits for what never comes.
fn long_fetch(correlation_id: i32, topic: &str) -> Bytes {
    let wanted = FetchPartition {
        current_leader_epoch: -1,
        fetch_offset: 0,
        partition_max_bytes: 1000,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic,
        partitions: vec![wanted],
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: 3_600_000,
        min_bytes: 1,
        max_bytes: 1000,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    frame(ApiKey::Fetch, 10, correlation_id, |writer| {
        request.encode(writer, 10)
    })
}

async fn send(write: &mut WriteHalf, frames: &[Bytes]) {
    write.write_all(frames).await.expect("sent");
}

/// Has topics created by asking for them, and waits until they are there.
async fn create(
    runtime: &Runtime,
    reader: &mut FrameReader,
    write: &mut WriteHalf,
    topics: &[&str],
) {
    for topic in topics {
        send(write, &[metadata(1_000, topic)]).await;
        assert_eq!(next(reader).await, Some(1_000));
    }
    runtime.sleep(Duration::from_secs(1)).await;
}

/// The correlation id of the next answer; `None` if the connection ended.
async fn next(reader: &mut FrameReader) -> Option<i32> {
    let frame = reader.next(&ReceiveBudget::new(usize::MAX)).await.ok()??;
    Some(
        Reader::new(&frame.bytes)
            .get_i32()
            .expect("an answer has a correlation id"),
    )
}

#[test]
fn answers_come_in_the_order_of_requests_whatever_overlaps() {
    for seed in 0..20 {
        let order = with_node(seed, |runtime, stream| async move {
            let (read, mut write) = stream.split();
            let mut reader = FrameReader::new(read, 1 << 20);
            create(&runtime, &mut reader, &mut write, &["a", "b"]).await;
            let mut frames = vec![metadata(0, "a"), metadata(1, "b"), api_versions(2)];
            // Two topics, so that with two shards one of them lies across the mesh.
            for number in 3..40 {
                frames.push(match number % 8 {
                    6 => api_versions(number),
                    7 => metadata(number, "a"),
                    odd if odd % 2 == 1 => produce(number, "a", -1),
                    _ => produce(number, "b", 1),
                });
            }
            send(&mut write, &frames).await;
            let mut order = Vec::new();
            for _ in 0..frames.len() {
                order.push(next(&mut reader).await);
            }
            order
        });
        assert_eq!(order, (0..40).map(Some).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn acks_0_is_silent_and_ends_the_connection_only_when_it_fails() {
    let (answer, after_failure) = with_node(1, |runtime, stream| async move {
        let (read, mut write) = stream.split();
        let mut reader = FrameReader::new(read, 1 << 20);
        create(&runtime, &mut reader, &mut write, &["a"]).await;
        send(
            &mut write,
            &[
                metadata(1, "a"),
                produce(2, "a", 0),
                produce(3, "a", 0),
                api_versions(4),
            ],
        )
        .await;
        assert_eq!(next(&mut reader).await, Some(1));
        let answer = next(&mut reader).await;
        send(&mut write, &[produce(5, "missing", 0), api_versions(6)]).await;
        (answer, next(&mut reader).await)
    });
    assert_eq!(answer, Some(4), "nothing for 2 and 3");
    assert_eq!(after_failure, None);
}

#[test]
fn a_waiting_fetch_ends_with_its_connection_and_holds_back_what_follows() {
    let waited = with_node(1, |runtime, stream| async move {
        let (read, mut write) = stream.split();
        let mut reader = FrameReader::new(read, 1 << 20);
        create(&runtime, &mut reader, &mut write, &["a"]).await;
        send(&mut write, &[long_fetch(2, "a"), api_versions(3)]).await;
        let early = runtime
            .timeout(Duration::from_secs(60), next(&mut reader))
            .await;
        assert!(early.is_err(), "3 must not overtake 2: {early:?}");
        // Another connection's record ends the wait.
        let (other_read, mut other_write) =
            runtime.connect(address()).await.expect("connects").split();
        let mut other_reader = FrameReader::new(other_read, 1 << 20);
        send(&mut other_write, &[produce(9, "a", -1)]).await;
        assert_eq!(next(&mut other_reader).await, Some(9));
        let order = (next(&mut reader).await, next(&mut reader).await);
        assert_eq!(order, (Some(2), Some(3)));
        runtime.monotonic()
    });
    assert!(
        waited < Duration::from_secs(120),
        "woken by the record, not by the hour: {waited:?}"
    );
}

#[test]
fn a_peer_that_begins_a_request_and_stops_is_cut_off() {
    let ended = with_node(1, |runtime, stream| async move {
        let (read, mut write) = stream.split();
        let mut reader = FrameReader::new(read, 1 << 20);
        send(
            &mut write,
            &[Bytes::from_static(&[0, 1, 0, 0, 0, 18, 0, 0])],
        )
        .await;
        assert_eq!(next(&mut reader).await, None);
        runtime.monotonic()
    });
    assert!(
        ended < Duration::from_secs(60),
        "long before the idle limit: {ended:?}"
    );
}
