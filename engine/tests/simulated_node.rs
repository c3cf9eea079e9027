//! One whole node and its clients in the simulator: over the network, through dispatcher, mesh and storage, across
//! power cuts. What was acknowledged is there afterwards, at its offset, once.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use engine::node::{Executors, ListenerSettings, Node, NodeSettings};
use engine::platform::sim::{CutMode, SimDisk, SimDiskOptions};
use net::client::Client;
use net::messages::ApiKey;
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::platform::Runtime;
use net::platform::sim::Simulation;
use net::records::{BatchBuilder, Decompressor, split_batches};
use net::wire::{Reader, Records};
use tuning::BrokerConfig;

const PARTITIONS: i32 = 4;
const TOPIC: &str = "t";

/// Partition, offset, value.
type Acknowledged = Rc<RefCell<Vec<(i32, i64, Vec<u8>)>>>;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("an address")
}

async fn start(runtime: &Runtime, disk: &SimDisk) -> Node {
    let pairs = [
        ("num.partitions", "4"),
        ("journal.file.bytes", "1048576"),
        ("cache.bytes", "65536"),
    ];
    let config = BrokerConfig::from_pairs(&pairs).expect("a good configuration");
    let listener = ListenerSettings {
        name: "PLAINTEXT".into(),
        address: address(),
        advertised_host: "127.0.0.1".into(),
        advertised_port: 9092,
    };
    let settings = NodeSettings::new(config, 2, vec![listener]);
    Node::start(runtime, &disk.disk(runtime), Executors::Here, settings)
        .await
        .expect("the node starts")
}

/// Makes the topic if it is not there and says how many partitions it has.
async fn partitions(client: &Client) -> usize {
    let topics = vec![MetadataRequestTopic {
        name: Some(TOPIC),
        ..Default::default()
    }];
    let request = MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    // The answer to the request that has a topic created does not know it yet.
    for _ in 0..100_000 {
        let body = client
            .call(ApiKey::Metadata, 8, |writer| request.encode(writer, 8))
            .await
            .expect("metadata");
        let response = MetadataResponse::decode(&mut Reader::new(&body), 8).expect("a good answer");
        let found = response.topics[0].partitions.len();
        if found > 0 {
            return found;
        }
    }
    0
}

/// Produces one record; its offset if it was acknowledged.
async fn produce(client: &Client, partition: i32, value: &[u8]) -> Option<i64> {
    let mut builder = BatchBuilder::new();
    builder.append(Some(b"k"), Some(value), &[], 1_700_000_000_000);
    let records = Records::Chain(vec![builder.build(0, -1).into()]);
    let data = PartitionProduceData {
        index: partition,
        records: Some(records),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: TOPIC,
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let body = client
        .call(ApiKey::Produce, 9, |writer| request.encode(writer, 9))
        .await
        .ok()?;
    let response = ProduceResponse::decode(&mut Reader::new(&body), 9).expect("a good answer");
    let part = &response.responses[0].partition_responses[0];
    (part.error_code == 0).then_some(part.base_offset)
}

/// All records of a partition: offsets and values.
async fn consume(client: &Client, partition: i32) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        let offset = found.last().map_or(0, |(offset, _)| offset + 1);
        let wanted = FetchPartition {
            partition,
            current_leader_epoch: -1,
            fetch_offset: offset,
            partition_max_bytes: 4_000,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: TOPIC,
            partitions: vec![wanted],
            ..Default::default()
        };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 50,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let body = client
            .call(ApiKey::Fetch, 11, |writer| request.encode(writer, 11))
            .await
            .expect("an answer");
        let response = FetchResponse::decode(&mut Reader::new(&body), 11).expect("a good answer");
        let part = &response.responses[0].partitions[0];
        assert_eq!(part.error_code, 0);
        let Some(Records::Borrowed(bytes)) = &part.records else {
            panic!("records are never null")
        };
        for batch in split_batches(bytes) {
            let batch = batch.expect("whole batches only");
            assert!(batch.crc_is_valid());
            let base = batch.header().base_offset;
            let mut decompressor = Decompressor::new(1 << 20);
            for (record, place) in batch.records(&mut decompressor).expect("readable").zip(0..) {
                let record = record.expect("readable");
                found.push((base + place, record.value.expect("a value").to_vec()));
            }
        }
        if bytes.is_empty() {
            return found;
        }
    }
}

/// Produces to every partition by several connections until each has sent `count` records or lost its connection;
/// notes what was acknowledged.
async fn load(runtime: Runtime, round: u64, count: usize, acknowledged: Acknowledged) {
    let mut clients = Vec::new();
    for partition in 0..PARTITIONS {
        let (runtime, acknowledged) = (runtime.clone(), acknowledged.clone());
        clients.push(Box::pin(async move {
            let client = Client::connect(&runtime, address(), "load")
                .await
                .expect("connects");
            for number in 0..count {
                let value = format!("{round}-{partition}-{number}").into_bytes();
                match produce(&client, partition, &value).await {
                    Some(offset) => acknowledged.borrow_mut().push((partition, offset, value)),
                    None => break,
                }
            }
        }));
    }
    let mut open = clients.len();
    std::future::poll_fn(|context| {
        clients.retain_mut(|client| client.as_mut().poll(context).is_pending());
        open = clients.len();
        if open == 0 {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[test]
fn what_was_acknowledged_survives_power_cuts_and_clean_stops() {
    for seed in 0..8 {
        let simulation = Simulation::new(seed);
        let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
        let mut acknowledged: Vec<(i32, i64, Vec<u8>)> = Vec::new();
        for round in 0..4 {
            let (broker, client) = (simulation.node("broker"), simulation.node("client"));
            let (broker_runtime, client_runtime) = (broker.runtime(), client.runtime());
            let (starting, cut) = (disk.clone(), round % 2 == 0);
            let expected = acknowledged.clone();
            let fresh = simulation.block_on(&client, async move {
                let node = Rc::new(RefCell::new(None));
                let (started, runtime) = (node.clone(), broker_runtime.clone());
                broker_runtime.spawn(async move {
                    let running = start(&runtime, &starting).await;
                    started.replace(Some(running));
                });
                while node.borrow().is_none() {
                    client_runtime.sleep(Duration::from_millis(10)).await;
                }
                let reader = Client::connect(&client_runtime, address(), "reader")
                    .await
                    .expect("connects");
                assert_eq!(partitions(&reader).await, PARTITIONS as usize);
                for partition in 0..PARTITIONS {
                    let found = consume(&reader, partition).await;
                    for (_, offset, value) in
                        expected.iter().filter(|(kept, ..)| *kept == partition)
                    {
                        let at_offset = found
                            .iter()
                            .find(|(at, _)| at == offset)
                            .map(|(_, value)| value);
                        assert_eq!(at_offset, Some(value), "seed {} round {round}", seed);
                    }
                }
                let fresh = Acknowledged::default();
                if cut {
                    let loading = load(client_runtime.clone(), round, 1_000_000, fresh.clone());
                    let _ = client_runtime
                        .timeout(Duration::from_millis(200), loading)
                        .await;
                } else {
                    load(client_runtime.clone(), round, 30, fresh.clone()).await;
                    let node = node.take().expect("it runs");
                    node.stop().await.expect("a clean stop");
                }
                fresh.take()
            });
            assert!(!fresh.is_empty() || cut, "something was acknowledged");
            acknowledged.extend(fresh);
            simulation.power_off(&broker);
            simulation.power_off(&client);
            if cut {
                disk.cut_power(CutMode::Random(0.5));
            }
        }
        assert!(
            acknowledged.len() > 200,
            "seed {seed}: only {} acknowledged",
            acknowledged.len()
        );
    }
}

/// A simulation with a node that was stopped cleanly, one record in each partition.
fn stopped(seed: u64) -> (Simulation, SimDisk) {
    let simulation = Simulation::new(seed);
    let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
    with_node(&simulation, &disk, async |client, _| {
        assert_eq!(partitions(&client).await, PARTITIONS as usize);
        for partition in 0..PARTITIONS {
            assert_eq!(produce(&client, partition, b"kept").await, Some(0));
        }
    });
    (simulation, disk)
}

/// Starts a node, runs `body` with a client and what recovery found, and stops the node cleanly.
fn with_node(
    simulation: &Simulation,
    disk: &SimDisk,
    body: impl AsyncFnOnce(Client, Vec<String>) + 'static,
) {
    let node = simulation.node("broker");
    let (runtime, disk) = (node.runtime(), disk.clone());
    simulation.block_on(&node, async move {
        let running = start(&runtime, &disk).await;
        let client = Client::connect(&runtime, address(), "test")
            .await
            .expect("connects");
        body(client, running.report().damage.clone()).await;
        running.stop().await.expect("a clean stop");
    });
    simulation.power_off(&node);
}

#[test]
fn damage_to_any_file_of_the_node_costs_no_topic_and_is_named_where_it_matters() {
    let (_, disk) = stopped(1);
    let mut paths: Vec<String> = Vec::new();
    for directory in ["", "tidelog", "t-0"] {
        for name in disk.names(directory).expect("a directory") {
            let path = format!("{directory}/{name}")
                .trim_start_matches('/')
                .to_owned();
            // A directory has no content.
            if disk.content(&path).is_ok_and(|content| !content.is_empty()) {
                paths.push(path);
            }
        }
    }
    let needed = [
        "meta.properties",
        "tidelog/metadata-a.log",
        "tidelog/metadata-b.log",
        "tidelog/meta.properties",
    ];
    assert!(
        needed
            .iter()
            .all(|path| paths.iter().any(|found| found == path)),
        "{paths:?}"
    );
    for path in paths {
        for kind in 0..6 {
            let (simulation, disk) = stopped(1);
            let content = disk.content(&path).expect("the same file");
            let length = content.len();
            let mut damaged = content.clone();
            match kind {
                0 => damaged[0] ^= 2,
                1 => damaged[length / 2] ^= 1,
                2 => damaged.clear(),
                3 => damaged.truncate(length / 2),
                4 => damaged.truncate(length - 1),
                _ => damaged[..length.min(4096)].fill(0),
            }
            let what = format!("{path}, damage {kind}");
            // Files that are allocated ahead end in zeros that say nothing.
            let said = |bytes: &[u8]| {
                let end = bytes.iter().rposition(|byte| *byte != 0);
                end.map_or(0, |last| last + 1)
            };
            let changed = damaged[..said(&damaged)] != content[..said(&content)];
            replace(&simulation, &disk, &path, damaged);
            // The first byte of Kafka's file begins a comment and its last one ends a line: without them it says the same.
            let says_the_same = path == "meta.properties" && matches!(kind, 0 | 4);
            let must_be_named = changed && !says_the_same && needed.contains(&path.as_str());
            let segment = path.starts_with("t-0/") && path.ends_with(".log");
            with_node(&simulation, &disk, async move |client, damage| {
                assert_eq!(partitions(&client).await, PARTITIONS as usize, "{what}");
                assert!(!must_be_named || !damage.is_empty(), "{what}: not named");
                for partition in i32::from(segment)..PARTITIONS {
                    let found = consume(&client, partition).await;
                    assert_eq!(
                        found,
                        [(0, b"kept".to_vec())],
                        "{what}, partition {partition}"
                    );
                    assert_eq!(
                        produce(&client, partition, b"more").await,
                        Some(1),
                        "{what}"
                    );
                }
            });
        }
    }
}

/// Gives a file another content, durably.
fn replace(simulation: &Simulation, disk: &SimDisk, path: &str, content: Vec<u8>) {
    let node = simulation.node("editor");
    let (disk, path) = (disk.disk(&node.runtime()), path.to_owned());
    simulation.block_on(&node, async move {
        disk.write_small(&path, &content).await.expect("a write");
    });
}
