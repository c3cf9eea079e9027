//! `tidelog consume --group`: alone, with others of its kind, and in one group with librdkafka.

mod binary;

use std::collections::BTreeMap;
use std::time::Duration;

use binary::{Node, Run, Running, tidelog};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use serde_json::Value;

/// Bounds a wait that ends much earlier.
const TRIES_MAX: u32 = 600;

fn node(partitions: &str) -> Node {
    let node = Node::started();
    node.command(&["topic", "create", "t", "-p", partitions], b"")
        .ok();
    node
}

fn run(node: &Node, words: &str) -> Run {
    node.command(&words.split(' ').collect::<Vec<_>>(), b"")
}

fn produce(node: &Node, partition: &str, values: &[&str]) {
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    node.command(&["produce", "t", "-p", partition], lines.as_bytes())
        .ok();
}

fn sorted(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

fn described(node: &Node, group: &str) -> Value {
    let described = node.command(&["group", "describe", group, "--json"], b"");
    serde_json::from_str::<Value>(&described.ok()).expect("JSON")[0].clone()
}

/// Waits until the group is stable with these numbers of partitions, one for each member.
#[track_caller]
fn wait_for_shares(node: &Node, group: &str, wanted: &[usize], mut meanwhile: impl FnMut()) {
    let mut last = Value::Null;
    for _ in 0..TRIES_MAX {
        meanwhile();
        let run = node.command(&["group", "describe", group, "--json"], b"");
        if run.code == Some(0) {
            last = serde_json::from_str::<Value>(&run.text()).expect("JSON")[0].clone();
            let members = last["members"].as_array().expect("a list");
            let partitions = |member: &Value| member["partitions"].as_array().map_or(0, Vec::len);
            let mut shares: Vec<usize> = members.iter().map(partitions).collect();
            shares.sort_unstable();
            if last["state"] == "Stable" && shares == wanted {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not shared out as {wanted:?}: {last}");
}

fn librdkafka(node: &Node, group: &str, assignor: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", node.address())
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", assignor)
        .create()
        .expect("a consumer");
    consumer.subscribe(&["t"]).expect("subscribed");
    consumer
}

#[test]
fn each_run_goes_on_where_the_last_one_ended() {
    let node = node("2");
    produce(&node, "0", &["a", "b", "c"]);
    produce(&node, "1", &["d", "e"]);
    let all = run(&node, "consume t -g g -e -f %p:%v\\n").ok();
    assert_eq!(sorted(&all), ["0:a", "0:b", "0:c", "1:d", "1:e"]);
    let group = described(&node, "g");
    assert_eq!(
        (&group["state"], &group["lag"]),
        (&"Empty".into(), &0.into())
    );
    assert_eq!(run(&node, "consume t -g g -e").ok(), "");

    // One batch, of which a run takes a part.
    produce(&node, "0", &["f", "g", "h", "i", "j"]);
    assert_eq!(run(&node, "consume t --group g -n 3").ok(), "f\ng\nh\n");
    assert_eq!(described(&node, "g")["lag"], 2);
    assert_eq!(run(&node, "consume t --group g -e").ok(), "i\nj\n");

    // Another group begins by itself, and at the end if it is told so.
    assert_eq!(run(&node, "consume t -g late -o end -e").ok(), "");
    produce(&node, "1", &["k"]);
    assert_eq!(run(&node, "consume t -g late -o end -e").ok(), "k\n");
    let again = run(&node, "consume t -g other -o start:end").ok();
    assert_eq!(sorted(&again).len(), 11);
}

#[test]
fn members_share_partitions_with_each_other_and_with_librdkafka() {
    let node = node("3");
    let member = || node.spawn(&["consume", "t", "-g", "g", "-f", "%p:%v\\n"]);
    let (first, second) = (member(), member());
    wait_for_shares(&node, "g", &[1, 2], || {});
    let other = librdkafka(&node, "g", "range,roundrobin");
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let poll = |seen: &mut BTreeMap<String, u32>| {
        if let Some(record) = other.poll(Duration::from_millis(20)) {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.payload().expect("a value")).into_owned();
            let key = format!("{}:{value}", record.partition());
            *seen.entry(key).or_default() += 1;
        }
    };
    wait_for_shares(&node, "g", &[1, 1, 1], || poll(&mut seen));
    for partition in ["0", "1", "2"] {
        produce(&node, partition, &["a", "b"]);
    }
    let mut wait_for_all = |members: &[&Running], count: usize| {
        let mut by_member = vec![0; members.len()];
        for _ in 0..TRIES_MAX {
            poll(&mut seen);
            for (member, number) in members.iter().zip(&mut by_member) {
                for line in member.take_lines() {
                    *number += 1;
                    *seen.entry(line).or_default() += 1;
                }
            }
            if seen.len() == count {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(seen.len(), count, "{seen:?}");
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        by_member
    };
    assert_eq!(wait_for_all(&[&first, &second], 6), [2, 2]);

    // Whoever is interrupted commits, leaves, and the others take over.
    assert_eq!(first.interrupt().ok(), "");
    wait_for_shares(&node, "g", &[1, 2], || {
        assert!(other.poll(Duration::ZERO).is_none())
    });
    for partition in ["0", "1", "2"] {
        produce(&node, partition, &["c"]);
    }
    wait_for_all(&[&second], 9);
    assert_eq!(second.interrupt().ok(), "");
    other.unsubscribe();
    drop(other);
    let group = described(&node, "g");
    assert_eq!(
        (&group["state"], &group["lag"]),
        (&"Empty".into(), &0.into())
    );
}

#[test]
fn a_group_of_another_kind_is_told_apart() {
    let node = node("1");
    let other = librdkafka(&node, "g", "roundrobin");
    let poll = || assert!(other.poll(Duration::from_millis(20)).is_none());
    wait_for_shares(&node, "g", &[1], poll);
    let refused = run(&node, "consume t -g g -e");
    assert_eq!((refused.code, refused.text()), (Some(1), String::new()));
    let expected = "tidelog: group g: INCONSISTENT_GROUP_PROTOCOL: its members share partitions in another way than range";
    assert!(refused.err.starts_with(expected), "{}", refused.err);
}

#[test]
fn options_that_a_group_decides_are_refused() {
    for wrong in [
        &["consume", "t", "-g", "g", "-p", "0"][..],
        &["consume", "t", "-g", "g", "-o", "5"],
        &["consume", "t", "-g", "g", "-o", "-5"],
        &["consume", "t", "-g", "g", "-o", "start:9"],
        &["consume", "t", "-g", ""],
    ] {
        let refused = tidelog(wrong, b"");
        assert_eq!(refused.code, Some(2), "{wrong:?}: {}", refused.err);
        assert!(!refused.err.is_empty());
    }
}
