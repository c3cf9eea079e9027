//! librdkafka against a real node: every codec and acks level, restarts, idempotence, offsets by time.

mod node;

use node::{PATIENCE, TestNode, consume, produce, values};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

/// The first difference only: whole lists would bury it.
#[track_caller]
fn assert_same(received: &[(i64, String)], sent: &[String]) {
    for (place, sent) in sent.iter().enumerate() {
        assert_eq!(
            received.get(place),
            Some(&(place as i64, sent.clone())),
            "record {place}"
        );
    }
    assert_eq!(received.len(), sent.len());
}

#[test]
fn what_is_produced_with_any_codec_and_acks_is_consumed_in_order() {
    let node = TestNode::start(&[]);
    for codec in ["none", "gzip", "snappy", "lz4"] {
        for acks in ["0", "1", "all"] {
            let topic = format!("codec-{codec}-{acks}");
            let sent = values(&topic, 100);
            produce(
                &node,
                &topic,
                &[
                    ("compression.type", codec),
                    ("acks", acks),
                    ("linger.ms", "5"),
                ],
                &sent,
            );
            assert_same(
                &consume(&node, &topic, Offset::Beginning, sent.len()),
                &sent,
            );
        }
    }
}

#[test]
fn acknowledged_records_and_their_offsets_survive_restarts() {
    let mut node = TestNode::start(&[]);
    let mut all = Vec::new();
    for round in 0..3 {
        let sent = values(&format!("round-{round}"), 200);
        let offsets = produce(&node, "kept", &[("acks", "all"), ("linger.ms", "1")], &sent);
        let expected: Vec<i64> = (all.len() as i64..).take(sent.len()).collect();
        assert_eq!(offsets, expected, "round {round}");
        all.extend(sent);
        node.restart();
        let received = consume(&node, "kept", Offset::Beginning, all.len());
        assert_same(&received, &all);
    }
}

#[test]
fn an_idempotent_producer_loses_and_doubles_nothing() {
    let node = TestNode::start(&[]);
    let sent = values("once", 5_000);
    let settings = [
        ("enable.idempotence", "true"),
        ("linger.ms", "0"),
        ("batch.num.messages", "7"),
    ];
    let offsets = produce(&node, "idempotent", &settings, &sent);
    assert_eq!(offsets, (0..5_000).collect::<Vec<i64>>());
    assert_same(
        &consume(&node, "idempotent", Offset::Beginning, sent.len()),
        &sent,
    );
}

#[test]
fn a_waiting_consumer_gets_what_is_produced_later() {
    let node = TestNode::start(&[]);
    produce(&node, "tail", &[], &values("before", 3));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| consume(&node, "tail", Offset::Offset(3), 2));
        produce(&node, "tail", &[], &values("after", 2));
        let received = reader.join().expect("no panic");
        assert_eq!(
            received,
            [(3, "after-0-".to_owned()), (4, "after-1-x".to_owned())]
        );
    });
}

#[test]
fn offsets_are_found_by_time_and_by_name() {
    let node = TestNode::start(&[]);
    produce(&node, "times", &[], &values("v", 10));
    let consumer: BaseConsumer = node
        .client(&[("group.id", "unused")])
        .create()
        .expect("a consumer");
    let found = consumer
        .fetch_watermarks("times", 0, PATIENCE)
        .expect("watermarks");
    assert_eq!(found, (0, 10));
    let mut query = TopicPartitionList::new();
    query
        .add_partition_offset("times", 0, Offset::Offset(0))
        .expect("a good time");
    let found = consumer
        .offsets_for_times(query, PATIENCE)
        .expect("an answer");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(0));
    let mut query = TopicPartitionList::new();
    query
        .add_partition_offset("times", 0, Offset::Offset(i64::MAX - 1))
        .expect("a good time");
    let found = consumer
        .offsets_for_times(query, PATIENCE)
        .expect("an answer");
    assert_eq!(found.elements()[0].offset(), Offset::End);
}

#[test]
fn metrics_count_what_happened() {
    use std::io::{Read, Write};
    let node = TestNode::start(&[("metrics.listener", "127.0.0.1:0")]);
    produce(&node, "counted", &[("acks", "all")], &values("v", 10));
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(node.metrics()).expect("connects");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    };
    let text = ask("/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.contains("\nkafka_server_brokertopicmetrics_messagesin_total 10\n"),
        "{text}"
    );
    assert!(text.contains("\ntidelog_storage_ready 1\n"), "{text}");
    assert!(ask("/health/ready").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(ask("/nothing").starts_with("HTTP/1.1 404 Not Found\r\n"));
}

fn watermarks(node: &TestNode, topic: &str) -> (i64, i64) {
    let consumer: BaseConsumer = node.client(&[]).create().expect("a consumer");
    consumer
        .fetch_watermarks(topic, 0, PATIENCE)
        .expect("watermarks")
}

#[test]
fn retention_takes_old_segments_while_clients_go_on() {
    let mut node = TestNode::start(&[
        ("log.segment.bytes", "1048576"),
        ("log.retention.bytes", "2097152"),
        ("log.retention.check.interval.ms", "100"),
        ("log.segment.delete.delay.ms", "0"),
    ]);
    let sent: Vec<String> = (0..600)
        .map(|number| format!("{number:05}").repeat(2_000))
        .collect();
    produce(
        &node,
        "kept-short",
        &[("acks", "all"), ("linger.ms", "5")],
        &sent,
    );
    let settled = |node: &TestNode| {
        let (low, high) = watermarks(node, "kept-short");
        assert_eq!(high, 600);
        // Two segments of up to 104 records, and the active one.
        (low >= 600 - 3 * 105).then_some(low)
    };
    let low = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        settled(&node)
    });
    let low = low.expect("retention takes the oldest segments");
    assert!(low <= 600 - 2 * 90, "retention.bytes stay: {low}");
    for _ in 0..2 {
        let received = consume(&node, "kept-short", Offset::Offset(low), 600 - low as usize);
        assert_eq!(received.len(), 600 - low as usize);
        assert!(
            received
                .iter()
                .all(|(offset, value)| *value == sent[*offset as usize])
        );
        node.restart();
        assert_eq!(watermarks(&node, "kept-short"), (low, 600));
    }
    let mut logs: Vec<String> = std::fs::read_dir(node.path().join("kept-short-0"))
        .expect("its directory")
        .map(|entry| {
            entry
                .expect("a name")
                .file_name()
                .into_string()
                .expect("text")
        })
        .filter(|name| name.contains(".log"))
        .collect();
    logs.sort();
    assert_eq!(logs.first(), Some(&format!("{low:020}.log")), "{logs:?}");
}

#[test]
fn the_brokers_own_time_and_codec_reach_the_consumer() {
    let node = TestNode::start(&[
        ("log.message.timestamp.type", "LogAppendTime"),
        ("compression.type", "gzip"),
    ]);
    let sent = values("v", 50);
    produce(
        &node,
        "stamped",
        &[("compression.type", "snappy"), ("linger.ms", "5")],
        &sent,
    );
    assert_same(
        &consume(&node, "stamped", Offset::Beginning, sent.len()),
        &sent,
    );
    let consumer: BaseConsumer = node
        .client(&[("group.id", "unused"), ("enable.auto.commit", "false")])
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset("stamped", 0, Offset::Beginning)
        .expect("a good offset");
    consumer.assign(&partitions).expect("assigned");
    let message = consumer
        .poll(PATIENCE)
        .expect("a record in time")
        .expect("a good record");
    let timestamp = rdkafka::Message::timestamp(&message);
    assert!(
        matches!(timestamp, rdkafka::Timestamp::LogAppendTime(time) if time > 1_700_000_000_000),
        "{timestamp:?}"
    );
}
