//! librdkafka's consumer groups against a real node: who owns what, what is committed, and what a restart or a deleted
//! topic leaves of it.

mod node;

use std::time::Duration;

use node::{PATIENCE, TestNode, produce, values};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

fn member(node: &TestNode, group: &str, topic: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = node.client(&[
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "200"),
    ]);
    for (key, value) in more {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    consumer
}

/// Polls everybody until that holds; gives what they read meanwhile.
fn until(members: &[&BaseConsumer], mut holds: impl FnMut(&[String]) -> bool) -> Vec<String> {
    let mut read = Vec::new();
    let mut rounds = 0;
    while !holds(&read) {
        rounds += 1;
        assert!(rounds < 1_200, "did not become true; read {}", read.len());
        for member in members {
            if let Some(Ok(message)) = member.poll(Duration::from_millis(50)) {
                let value = message.payload().expect("a value");
                read.push(String::from_utf8(value.to_vec()).expect("text"));
            }
        }
    }
    read
}

fn owned(member: &BaseConsumer) -> Vec<i32> {
    let assignment = member.assignment().expect("an assignment");
    assignment
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}

fn committed(member: &BaseConsumer, topic: &str) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let found = member
        .committed_offsets(asked, PATIENCE)
        .expect("committed offsets");
    found.elements()[0].offset()
}

fn commit(member: &BaseConsumer, topic: &str, offset: i64) {
    let mut wish = TopicPartitionList::new();
    wish.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("a good offset");
    member.commit(&wish, CommitMode::Sync).expect("committed");
}

const FAST: [(&str, &str); 3] = [
    ("group.initial.rebalance.delay.ms", "100"),
    ("offsets.topic.num.partitions", "5"),
    ("num.partitions", "4"),
];

#[test]
fn members_share_partitions_and_take_over_from_who_leaves() {
    let node = TestNode::start(&FAST);
    for strategy in ["range", "cooperative-sticky"] {
        let topic = format!("shared-{strategy}");
        produce(&node, &topic, &[], &values("v", 40));
        let how = [("partition.assignment.strategy", strategy)];
        let first = member(&node, &topic, &topic, &how);
        let read = until(&[&first], |read| read.len() == 40);
        assert_eq!(read.len(), 40);
        let second = member(&node, &topic, &topic, &how);
        until(&[&first, &second], |_| {
            owned(&first).len() == 2 && owned(&second).len() == 2
        });
        let mut both = [owned(&first), owned(&second)].concat();
        both.sort_unstable();
        assert_eq!(both, [0, 1, 2, 3]);
        drop(second);
        until(&[&first], |_| owned(&first).len() == 4);
    }
}

#[test]
fn committed_offsets_and_members_survive_a_restart() {
    let mut node = TestNode::start(&FAST);
    produce(&node, "kept", &[], &values("before", 10));
    let reader = member(&node, "keeper", "kept", &[]);
    until(&[&reader], |read| read.len() == 10);
    commit(&reader, "kept", 7);
    assert_eq!(committed(&reader, "kept"), Offset::Offset(7));
    drop(reader);
    node.restart();
    let reader = member(&node, "keeper", "kept", &[]);
    let read = until(&[&reader], |read| read.len() >= 3);
    assert_eq!(read, values("before", 10)[7..]);
    assert_eq!(committed(&reader, "kept"), Offset::Offset(7));
}

#[test]
fn a_deleted_topic_takes_its_committed_offsets_along() {
    let mut node = TestNode::start(&FAST);
    produce(&node, "gone", &[], &values("v", 5));
    produce(&node, "stays", &[], &values("v", 5));
    let outsider: BaseConsumer = node
        .client(&[("group.id", "outsider")])
        .create()
        .expect("a consumer");
    commit(&outsider, "gone", 4);
    commit(&outsider, "stays", 3);
    let admin: AdminClient<DefaultClientContext> = node.client(&[]).create().expect("an admin");
    let deleted =
        futures_lite::future::block_on(admin.delete_topics(&["gone"], &AdminOptions::new()));
    assert_eq!(deleted.expect("an answer"), [Ok("gone".to_owned())]);
    produce(&node, "gone", &[], &values("again", 2));
    assert_eq!(committed(&outsider, "gone"), Offset::Invalid);
    assert_eq!(committed(&outsider, "stays"), Offset::Offset(3));
    drop(outsider);
    node.restart();
    let outsider: BaseConsumer = node
        .client(&[("group.id", "outsider")])
        .create()
        .expect("a consumer");
    assert_eq!(committed(&outsider, "gone"), Offset::Invalid);
    assert_eq!(committed(&outsider, "stays"), Offset::Offset(3));
}

#[test]
fn a_commit_for_a_partition_that_does_not_exist_is_refused_alone() {
    let node = TestNode::start(&FAST);
    produce(&node, "small", &[], &values("v", 1));
    let outsider: BaseConsumer = node
        .client(&[("group.id", "careless")])
        .create()
        .expect("a consumer");
    let mut wish = TopicPartitionList::new();
    for partition in [99, 0] {
        wish.add_partition_offset("small", partition, Offset::Offset(1))
            .expect("a good offset");
    }
    let refused = outsider.commit(&wish, CommitMode::Sync);
    assert_eq!(
        refused.expect_err("no such partition").rdkafka_error_code(),
        Some(rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition)
    );
    assert_eq!(committed(&outsider, "small"), Offset::Offset(1));
}

#[test]
fn the_metrics_page_says_how_far_groups_are_behind() {
    use std::io::{Read, Write};
    let mut sets = FAST.to_vec();
    sets.push(("metrics.listener", "127.0.0.1:0"));
    let node = TestNode::start(&sets);
    produce(&node, "read", &[], &values("v", 10));
    let reader = member(&node, "behind", "read", &[]);
    until(&[&reader], |read| read.len() == 10);
    let page = || {
        let mut stream = std::net::TcpStream::connect(node.metrics()).expect("connects");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text
    };
    assert!(!page().contains("kafka_consumergroup_lag{"));
    commit(&reader, "read", 7);
    let text = page();
    let labels = r#"consumergroup="behind",partition="0",topic="read""#;
    let ends: i64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("kafka_topic_partition_current_offset{"))
        .map(|line| {
            line.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<i64>()
                .expect("a number")
        })
        .sum();
    for line in [
        format!("kafka_consumergroup_current_offset{{{labels}}} 7"),
        format!("kafka_consumergroup_lag{{{labels}}} {}", (ends - 7).max(0)),
        "tidelog_group_offsets_left_out 0".to_owned(),
        "tidelog_group_offsets_committed_total 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // A commit that is refused is none.
    let outsider: BaseConsumer = node
        .client(&[("group.id", "behind")])
        .create()
        .expect("a consumer");
    let mut wish = TopicPartitionList::new();
    wish.add_partition_offset("read", 0, Offset::Offset(1))
        .expect("a good offset");
    outsider
        .commit(&wish, CommitMode::Sync)
        .expect_err("the group has members");
    assert!(page().contains("\ntidelog_group_offsets_committed_total 1\n"));
}
