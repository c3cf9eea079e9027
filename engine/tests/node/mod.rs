//! A real node of one unpinned shard in this process, for tests with real clients.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::time::Duration;

use engine::node_thread::RunningNode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tempfile::TempDir;
use tuning::BrokerConfig;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node and its data directory, which outlives a restart.
pub(crate) struct TestNode {
    running: Option<RunningNode>,
    directory: TempDir,
    sets: Vec<(String, String)>,
}

impl TestNode {
    pub(crate) fn start(sets: &[(&str, &str)]) -> TestNode {
        // Beside the build, because a tmpfs on /tmp need not know direct I/O.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let sets = sets
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut node = TestNode {
            running: None,
            directory,
            sets,
        };
        node.restart();
        node
    }

    /// Stops it cleanly, if it runs, and starts it again on the same directory.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let directory = self.directory.path().to_str().expect("text").to_owned();
        let mut pairs = vec![
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", &directory),
            ("shards", "1"),
        ];
        pairs.extend(
            self.sets
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let config = BrokerConfig::from_pairs(&pairs).expect("a good configuration");
        self.running = Some(RunningNode::start(config, false).expect("the node starts"));
    }

    /// As [`TestNode::restart`], for clients that go on.
    pub(crate) fn restart_at_the_same_address(&mut self) {
        let listener = format!("PLAINTEXT://{}", self.bootstrap());
        self.sets.retain(|(name, _)| name != "listeners");
        self.sets.push(("listeners".to_owned(), listener));
        self.restart();
    }

    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().expect("a clean stop");
        }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.running.as_ref().expect("it runs").addresses()[0].to_string()
    }

    pub(crate) fn metrics(&self) -> std::net::SocketAddr {
        self.running
            .as_ref()
            .and_then(RunningNode::metrics_address)
            .expect("it serves metrics")
    }

    pub(crate) fn client(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Counts what was delivered, with its offset.
#[derive(Default)]
pub(crate) struct Deliveries {
    pub(crate) offsets: std::sync::Mutex<Vec<i64>>,
    pub(crate) errors: std::sync::Mutex<Vec<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self
                .offsets
                .lock()
                .expect("not poisoned")
                .push(message.offset()),
            Err((error, _)) => self
                .errors
                .lock()
                .expect("not poisoned")
                .push(error.to_string()),
        }
    }
}

/// Produces the values in order to partition 0 and waits until all are delivered; their offsets.
pub(crate) fn produce(
    node: &TestNode,
    topic: &str,
    settings: &[(&str, &str)],
    values: &[String],
) -> Vec<i64> {
    let producer: BaseProducer<Deliveries> = node
        .client(settings)
        .create_with_context(Deliveries::default())
        .expect("a producer");
    for value in values {
        let mut record = BaseRecord::to(topic).partition(0).key("k").payload(value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(PATIENCE).expect("all delivered in time");
    let deliveries = producer.context();
    assert_eq!(
        *deliveries.errors.lock().expect("not poisoned"),
        Vec::<String>::new()
    );
    let offsets = deliveries.offsets.lock().expect("not poisoned");
    assert_eq!(offsets.len(), values.len());
    offsets.clone()
}

/// Reads partition 0 from `from` until it has `count` records: offsets and values.
pub(crate) fn consume(
    node: &TestNode,
    topic: &str,
    from: Offset,
    count: usize,
) -> Vec<(i64, String)> {
    let consumer: BaseConsumer = node
        .client(&[
            ("group.id", "unused"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
        ])
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(topic, 0, from)
        .expect("a good offset");
    consumer.assign(&partitions).expect("assigned");
    let mut records = Vec::new();
    let mut empty_polls = 0;
    while records.len() < count && empty_polls < 600 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            empty_polls += 1;
            continue;
        };
        let message = message.expect("a good message");
        let value =
            String::from_utf8(message.payload().unwrap_or_default().to_vec()).expect("text");
        records.push((message.offset(), value));
    }
    records
}

pub(crate) fn values(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|index| format!("{prefix}-{index}-{}", "x".repeat(index % 50)))
        .collect()
}
