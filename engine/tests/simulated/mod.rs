//! A node of two shards in the simulator, for tests that speak to it over the wire.

use std::future::Future;
use std::net::SocketAddr;

use engine::node::{Executors, ListenerSettings, Node, NodeSettings};
use engine::platform::sim::{SimDisk, SimDiskOptions};
use net::client::Client;
use net::messages::ApiKey;
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::platform::Runtime;
use net::platform::sim::Simulation;
use net::wire::{Reader, Uuid};
use tuning::BrokerConfig;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("an address")
}

/// Runs `test` with the runtimes of the broker and of the client, and the broker's disk.
pub(crate) fn simulated<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(Runtime, Runtime, SimDisk) -> F,
) {
    let simulation = Simulation::new(1);
    let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
    let (broker, machine) = (simulation.node("broker"), simulation.node("client"));
    let body = test(broker.runtime(), machine.runtime(), disk);
    simulation.block_on(&machine, body);
}

/// Starts the node, or starts it again.
pub(crate) async fn start(runtime: &Runtime, disk: &SimDisk) -> Node {
    let pairs = [
        ("journal.file.bytes", "1048576"),
        ("group.consumer.assignment.interval.ms", "0"),
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

/// A connection to it.
pub(crate) async fn connect(runtime: &Runtime) -> Client {
    Client::connect(runtime, address(), "test")
        .await
        .expect("the node listens")
}

/// Asks for a topic until it is there, which has it created: its id, and the leader epoch of its first partition.
pub(crate) async fn created(client: &Client, topic: &str) -> (Uuid, i32) {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic),
            ..Default::default()
        }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    for _ in 0..100_000 {
        let body = client
            .call(ApiKey::Metadata, 13, |writer| request.encode(writer, 13))
            .await
            .expect("an answer");
        let answer = MetadataResponse::decode(&mut Reader::new(&body), 13).expect("readable");
        if let Some(partition) = answer.topics[0].partitions.first() {
            return (answer.topics[0].topic_id, partition.leader_epoch);
        }
    }
    panic!("{topic} is not created");
}
