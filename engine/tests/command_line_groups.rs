//! Consumer groups from the command line: what librdkafka's consumer leaves behind, and offsets that are moved.

mod binary;

use std::time::Duration;

use binary::{Node, Run};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use serde_json::{Value, json};

/// Bounds a wait that ends much earlier.
const POLLS_MAX: u32 = 1_000;

#[track_caller]
fn parsed(run: Run) -> Value {
    serde_json::from_str(&run.ok()).expect("JSON")
}

fn consumer(node: &Node, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", node.address())
        .set("group.id", group)
        .set("client.id", "reader")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", "range")
        .create()
        .expect("a consumer")
}

/// A topic `t` of two partitions with five records each, of which group `g` has read all and committed.
fn node_with_group() -> (Node, BaseConsumer) {
    let node = Node::started();
    node.command(&["topic", "create", "t", "-p", "2"], b"").ok();
    for partition in ["0", "1"] {
        node.command(&["produce", "t", "-p", partition], b"1\n2\n3\n4\n5\n")
            .ok();
    }
    let consumer = consumer(&node, "g");
    consumer.subscribe(&["t"]).expect("subscribed");
    let (mut read, mut polls) = (0, 0);
    while read < 10 {
        polls += 1;
        assert!(polls < POLLS_MAX, "the group reads all");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            message.expect("a record");
            read += 1;
        }
    }
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("committed");
    (node, consumer)
}

#[test]
fn a_group_is_listed_and_described_with_members_and_lag() {
    let (node, consumer) = node_with_group();
    let run = |words: &str| node.command(&words.split(' ').collect::<Vec<_>>(), b"");
    assert_eq!(run("group list --names-only").ok(), "g\n");
    let listed = parsed(run("group list --state Stable --type classic --json"));
    assert_eq!(
        (&listed[0]["group"], &listed[0]["state"]),
        (&json!("g"), &json!("Stable"))
    );
    assert_eq!(parsed(run("group list --state Empty --json")), json!([]));

    node.command(&["produce", "t", "-p", "1"], b"6\n7\n").ok();
    let described = parsed(run("group describe g --json"));
    let group = &described[0];
    assert_eq!(
        (&group["state"], &group["assignor"], &group["lag"]),
        (&json!("Stable"), &json!("range"), &json!(2))
    );
    assert_eq!(group["members"][0]["client_id"], "reader");
    assert_eq!(
        group["members"][0]["partitions"][1],
        json!({"topic": "t", "partition": 1})
    );
    let second = &group["offsets"][1];
    assert_eq!(
        (&second["current_offset"], &second["log_end_offset"]),
        (&json!(5), &json!(7))
    );
    assert_eq!(second["member_id"], group["members"][0]["member_id"]);
    let text = run("group describe --group g").ok();
    assert!(
        text.contains("GROUP  TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG"),
        "{text}"
    );
    let members = run("group describe g --members --verbose").ok();
    assert!(members.contains("t(0,1)"), "{members}");
    assert!(
        run("group describe --all-groups --state")
            .ok()
            .contains("range")
    );

    // While it has members its offsets stay as they are.
    let busy = run("group reset-offsets g --topic t --to-earliest --execute");
    assert_eq!(busy.code, Some(1));
    assert!(busy.err.contains("it is Stable"), "{}", busy.err);
    assert_eq!(
        run("group delete g").text(),
        "GROUP  STATUS\ng      NON_EMPTY_GROUP\n"
    );
    drop(consumer);
    let absent = run("group describe absent");
    assert_eq!(
        (absent.code, absent.err.as_str()),
        (Some(1), "tidelog: group absent does not exist\n")
    );
}

#[test]
fn offsets_are_moved_exported_read_back_and_deleted() {
    let (node, consumer) = node_with_group();
    consumer.unsubscribe();
    drop(consumer);
    let run = |words: &str| node.command(&words.split(' ').collect::<Vec<_>>(), b"");
    let mut polls = 0;
    while parsed(run("group describe g --json"))[0]["state"] != "Empty" {
        polls += 1;
        assert!(polls < POLLS_MAX, "the member leaves");
        std::thread::sleep(Duration::from_millis(50));
    }
    let offsets = || {
        let described = parsed(run("group describe g --json"));
        let offset = |index: usize| described[0]["offsets"][index]["current_offset"].as_i64();
        (offset(0), offset(1))
    };
    let head = "GROUP  TOPIC  PARTITION  NEW-OFFSET\n";
    let dry = run("group reset-offsets --group g --topic t --to-earliest --dry-run").ok();
    assert_eq!(
        dry,
        format!("{head}g      t      0          0\ng      t      1          0\n")
    );
    assert_eq!(offsets(), (Some(5), Some(5)), "a dry run changes nothing");
    run("group reset-offsets g --topic t:1 --shift-by -2 --execute").ok();
    assert_eq!(offsets(), (Some(5), Some(3)));
    run("group reset-offsets g --all-topics --to-offset 99 --execute").ok();
    assert_eq!(offsets(), (Some(5), Some(5)), "never behind the end");
    run("group reset-offsets g --all-topics --to-offset 2 --execute").ok();

    let exported = run("group reset-offsets g --all-topics --to-current --export").ok();
    assert_eq!(exported, "t,0,2\nt,1,2\n");
    let file = node.path().join("offsets.csv");
    std::fs::write(&file, "t,0,4\n").expect("written");
    run(&format!(
        "group reset-offsets g --from-file {} --execute",
        file.display()
    ))
    .ok();
    assert_eq!(offsets(), (Some(4), Some(2)));
    run("group reset-offsets g --all-topics --by-duration PT1H --execute").ok();
    assert_eq!(offsets(), (Some(0), Some(0)));
    run("group reset-offsets g --all-topics --to-datetime 2200-01-01T00:00:00 --execute").ok();
    assert_eq!(offsets(), (Some(5), Some(5)));
    run("group seek g --to start").ok();
    assert_eq!(offsets(), (Some(0), Some(0)));
    run("group seek new --to end --topics t").ok();
    run("group seek g --to-group new").ok();
    assert_eq!(offsets(), (Some(5), Some(5)));

    assert_eq!(
        run("group delete-offsets g --topic t:0").ok(),
        "TOPIC  PARTITION  STATUS\nt      0          OK\n"
    );
    assert_eq!(offsets().1, None, "one partition is left");
    assert_eq!(
        run("group delete g --group new").ok(),
        "GROUP  STATUS\ng      OK\nnew    OK\n"
    );
    assert_eq!(run("group list --names-only").ok(), "");
    for wrong in [
        "group describe",
        "group reset-offsets g --topic t",
        "group reset-offsets g --to-latest",
    ] {
        assert_eq!(run(wrong).code, Some(2), "{wrong}");
    }
}
