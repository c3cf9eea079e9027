//! Topics, settings, brokers and the cluster from the command line, in our words and in those of Kafka's tools.

mod binary;

use binary::{Node, Run, tidelog};
use serde_json::{Value, json};

#[track_caller]
fn parsed(run: Run) -> Value {
    serde_json::from_str(&run.ok()).expect("JSON")
}

#[test]
fn topics_are_created_altered_listed_and_deleted() {
    let node = Node::started();
    let run = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        node.command(&words, b"")
    };
    assert_eq!(
        run("topic create a -p 2 -r 1 -c retention.ms=1000").ok(),
        "TOPIC  STATUS\na      OK\n"
    );
    run("topic create --topic b --topic c --partitions 1 --replication-factor 1 --config cleanup.policy=delete").ok();
    assert_eq!(
        run("topic create d --dry-run").ok(),
        "TOPIC  STATUS\nd      OK\n"
    );
    assert_eq!(run("topic list --names-only").ok(), "a\nb\nc\n");
    assert_eq!(
        run("topic list -r [ab]").ok(),
        "TOPIC  PARTITIONS  REPLICAS\na      2           1\nb      1           1\n"
    );

    run("topic alter a --partitions 4 --config segment.bytes=2097152 --delete-config retention.ms")
        .ok();
    let described = parsed(run("topic describe a --format json"));
    assert_eq!(described[0]["config"], json!({"segment.bytes": "2097152"}));
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(described[0]["partitions"][3]["end"], 0);
    let fewer = run("topic alter a --partitions 1");
    assert_eq!(fewer.code, Some(1));
    assert!(
        fewer.text().contains("INVALID_PARTITIONS"),
        "{}",
        fewer.text()
    );
    let overridden = run("topic describe --topics-with-overrides").ok();
    assert!(
        overridden.contains("topic       a\n") && overridden.contains("topic       b\n"),
        "{overridden}"
    );
    assert!(!overridden.contains("PARTITION"), "{overridden}");
    for filter in [
        "--under-replicated-partitions",
        "--unavailable-partitions",
        "--under-min-isr-partitions",
    ] {
        assert_eq!(
            run(&format!("topic describe {filter}")).ok(),
            "",
            "{filter}"
        );
    }
    assert!(
        run("topic describe --at-min-isr-partitions")
            .ok()
            .contains("topic       a\n")
    );

    node.command(&["produce", "a", "-p", "0"], b"1\n2\n3\n")
        .ok();
    assert_eq!(
        run("topic trim-prefix a -p 0 --offset 2").ok(),
        "TOPIC  PARTITION  START  STATUS\na      0          2      OK\n"
    );
    assert_eq!(run("consume a -p 0 -e").ok(), "3\n");

    assert_eq!(
        run("topic delete --if-exists b absent").ok(),
        "TOPIC   STATUS\nb       OK\nabsent  ABSENT\n"
    );
    let absent = run("topic describe absent");
    assert_eq!(
        (absent.code, absent.err.as_str()),
        (
            Some(1),
            "tidelog: topic absent: UNKNOWN_TOPIC_OR_PARTITION\n"
        )
    );
    assert_eq!(run("topic describe absent --if-exists").ok(), "");
    assert_eq!(
        parsed(run("topic delete a c --json")),
        json!([{"topic": "a", "status": "OK"}, {"topic": "c", "status": "OK"}])
    );
    assert_eq!(run("topic list --names-only").ok(), "");
}

#[test]
fn settings_are_described_and_altered_for_topics_and_brokers() {
    let node = Node::started();
    let run = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        node.command(&words, b"")
    };
    run("topic create t").ok();
    let alter = "config alter --entity-type topics --entity-name t --add-config retention.ms=5000,cleanup.policy=[delete]";
    assert_eq!(run(alter).ok(), "NAME  STATUS\nt     OK\n");
    assert_eq!(
        run("config describe --topic t").ok(),
        "KEY             VALUE   SOURCE\ncleanup.policy  delete  DYNAMIC_TOPIC_CONFIG\nretention.ms    5000    DYNAMIC_TOPIC_CONFIG\n"
    );
    let all = parsed(run("config describe --topic t --all --verbose --json"));
    let configs = all[0]["configs"].as_array().expect("a list");
    let policy = configs
        .iter()
        .find(|one| one["name"] == "cleanup.policy")
        .expect("it is there");
    assert_eq!(policy["synonyms"][1]["source"], "DEFAULT_CONFIG");
    run("config alter --topic t --delete-config retention.ms,cleanup.policy").ok();
    assert_eq!(
        run("config describe --topic t").ok(),
        "KEY  VALUE  SOURCE\n"
    );
    let bad = run("config alter --topic t --add-config retention.ms=soon");
    assert_eq!(bad.code, Some(1));
    assert!(bad.text().contains("INVALID_CONFIG"), "{}", bad.text());

    let id = parsed(run("broker list --json"))[0]["id"].to_string();
    run(&format!(
        "config alter --broker {id} --add-config max.connections=700"
    ))
    .ok();
    let described = run(&format!(
        "config describe --entity-type brokers --entity-name {id}"
    ))
    .ok();
    assert!(
        described.contains("max.connections      700"),
        "{described}"
    );
    for wrong in [
        "config describe",
        "config alter --topic t",
        "topic alter t",
        "topic create",
        "config alter --add-config a=1",
    ] {
        assert_eq!(run(wrong).code, Some(2), "{wrong}");
    }
    let checked = tidelog(
        &[
            "config",
            "check",
            "--profile",
            "dev",
            "--set",
            "num.partitions=3",
        ],
        b"",
    )
    .ok();
    assert!(
        checked.contains("num.partitions") && checked.contains("profile dev"),
        "{checked}"
    );
}

#[test]
fn the_cluster_and_its_brokers_are_shown() {
    let node = Node::started();
    let run = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        node.command(&words, b"")
    };
    run("topic create t -p 3").ok();
    let info = parsed(run("cluster info --json"));
    assert_eq!(
        (&info["topics"], &info["partitions"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(info["brokers"][0]["controller"], true);
    let id = info["cluster_id"].as_str().expect("an id");
    assert_eq!(run("cluster cluster-id").ok().trim(), id);
    assert!(
        run("cluster info").ok().contains("ID  HOST       PORT"),
        "{}",
        run("cluster info").ok()
    );
    let health = run("cluster health").ok();
    assert!(
        health.starts_with("healthy                      yes\n"),
        "{health}"
    );
    assert_eq!(
        parsed(run("cluster metadata --json"))["topics"][0]["partitions"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    let versions = parsed(run("broker api-versions --json"));
    let produce = &versions[0];
    assert_eq!(
        (&produce["api"], &produce["key"]),
        (&json!("Produce"), &json!(0))
    );
    assert!(produce["used"].is_number(), "{produce}");
    assert!(run("broker describe").ok().contains("controller  yes"));
    let absent = run("broker describe 77");
    assert_eq!(
        (absent.code, absent.err.as_str()),
        (Some(1), "tidelog: there is no broker 77\n")
    );
}

#[test]
fn kafkas_tools_are_the_same_binary_under_their_names() {
    let node = Node::started();
    let link = node.path().join("kafka-topics.sh");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tidelog"), &link).expect("a link");
    let kafka = |words: &[&str]| {
        let output = std::process::Command::new(&link)
            .args(["--bootstrap-server", node.address()])
            .args(words)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Letter for letter what librdkafka's test suite calls.
    kafka(&[
        "--create",
        "--topic",
        "rdkafkatest_1",
        "--replication-factor",
        "1",
        "--partitions",
        "4",
    ]);
    kafka(&["--create", "--if-not-exists", "--topic", "rdkafkatest_1"]);
    assert_eq!(kafka(&["--list"]), "rdkafkatest_1\n");
    kafka(&["--alter", "--topic", "rdkafkatest_1", "--partitions", "5"]);
    assert!(kafka(&["--describe", "--topic", "rdkafka.*"]).contains("partitions  5\n"));
    kafka(&["--delete", "--topic", "rdkafkatest_1"]);
    assert_eq!(kafka(&["--list"]), "");
}
