//! librdkafka with `group.protocol=consumer` (KIP-848) against a real node: members share, commits and membership survive
//! a restart, classic members join and stay.

mod node;

use std::collections::BTreeSet;
use std::time::Duration;

use node::{TestNode, produce, values};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;

/// Rounds of polling everybody; each takes at least a poll's time.
const ROUNDS: usize = 3_000;
const POLL: Duration = Duration::from_millis(20);
/// What makes members learn quickly of each other.
const QUICK: &[(&str, &str)] = &[
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.assignment.interval.ms", "100"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "2"),
    ("num.partitions", "4"),
];

struct Reader {
    consumer: BaseConsumer,
    seen: BTreeSet<String>,
    twice: Vec<String>,
}

impl Reader {
    fn new(node: &TestNode, protocol: &str, topic: &str) -> Reader {
        let mut settings = vec![
            ("group.id", "readers"),
            ("group.protocol", protocol),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
        ];
        if protocol == "classic" {
            settings.extend([
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("heartbeat.interval.ms", "200"),
            ]);
        }
        let consumer: BaseConsumer = node.client(&settings).create().expect("a consumer");
        consumer.subscribe(&[topic]).expect("a subscription");
        Reader {
            consumer,
            seen: BTreeSet::new(),
            twice: Vec::new(),
        }
    }

    fn poll(&mut self) {
        if let Some(Ok(message)) = self.consumer.poll(POLL) {
            let value = String::from_utf8(message.payload().expect("a value").to_vec());
            let value = value.expect("text");
            if !self.seen.insert(value.clone()) {
                self.twice.push(value);
            }
        }
    }

    fn owned(&self) -> BTreeSet<i32> {
        let assignment = self.consumer.assignment().expect("an assignment");
        let elements = assignment.elements();
        elements.iter().map(|element| element.partition()).collect()
    }
}

/// Polls everybody until `done`; at no time is a partition owned by two.
#[track_caller]
fn until(readers: &mut [Reader], done: impl Fn(&[Reader]) -> bool) {
    for _ in 0..ROUNDS {
        readers.iter_mut().for_each(Reader::poll);
        let mut owned = BTreeSet::new();
        for partition in readers.iter().flat_map(Reader::owned) {
            assert!(
                owned.insert(partition),
                "partition {partition} is owned twice"
            );
        }
        if done(readers) {
            return;
        }
    }
    let owned: Vec<_> = readers.iter().map(Reader::owned).collect();
    panic!("not reached; they own {owned:?}");
}

fn sizes(readers: &[Reader]) -> Vec<usize> {
    let mut sizes: Vec<_> = readers.iter().map(|reader| reader.owned().len()).collect();
    sizes.sort_unstable();
    sizes
}

fn send(node: &TestNode, round: &str) -> BTreeSet<String> {
    let sent = values(round, 40);
    produce(node, "shared", &[("acks", "all")], &sent);
    sent.into_iter().collect()
}

#[test]
fn members_share_come_and_go_and_a_restart_forgets_nothing() {
    let mut node = TestNode::start(QUICK);
    let first = send(&node, "first");
    let mut readers = vec![Reader::new(&node, "consumer", "shared")];
    until(&mut readers, |readers| {
        sizes(readers) == [4] && readers[0].seen == first
    });
    let consumer = &readers[0].consumer;
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("committed");
    readers.push(Reader::new(&node, "consumer", "shared"));
    readers.push(Reader::new(&node, "consumer", "shared"));
    until(&mut readers, |readers| sizes(readers) == [1, 1, 2]);
    assert!(readers[1].seen.is_empty() && readers[2].seen.is_empty());

    let before: Vec<_> = readers.iter().map(Reader::owned).collect();
    node.restart_at_the_same_address();
    let second = send(&node, "second");
    until(&mut readers, |readers| {
        let seen = readers
            .iter()
            .flat_map(|reader| reader.seen.iter().cloned());
        seen.filter(|value| second.contains(value)).count() == second.len()
    });
    let after: Vec<_> = readers.iter().map(Reader::owned).collect();
    assert_eq!(before, after, "members and assignment outlived the restart");
    assert!(readers.iter().all(|reader| reader.twice.is_empty()));

    readers.truncate(1);
    until(&mut readers, |readers| sizes(readers) == [4]);
}

#[test]
fn classic_and_modern_members_share_one_group() {
    let node = TestNode::start(QUICK);
    send(&node, "first");
    let mut readers = vec![Reader::new(&node, "classic", "shared")];
    until(&mut readers, |readers| sizes(readers) == [4]);
    readers.push(Reader::new(&node, "consumer", "shared"));
    until(&mut readers, |readers| sizes(readers) == [2, 2]);
    readers.push(Reader::new(&node, "classic", "shared"));
    until(&mut readers, |readers| sizes(readers) == [1, 1, 2]);
    // The modern one goes: the classic ones go on by themselves.
    drop(readers.remove(1));
    until(&mut readers, |readers| sizes(readers) == [2, 2]);
}
