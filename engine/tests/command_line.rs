//! The binary end to end: a node as a process, and the commands that a user types.

mod binary;

use binary::{Node, tidelog};

#[test]
fn what_is_produced_is_consumed_again_after_a_restart() {
    let mut node = Node::started();
    let created = node.command(
        &[
            "topic",
            "create",
            "t",
            "-p",
            "3",
            "-c",
            "retention.ms=604800000",
        ],
        b"",
    );
    assert_eq!(created.ok(), "TOPIC  STATUS\nt      OK\n");
    let lines: Vec<String> = (0..5_000)
        .map(|n| format!("key-{};value {n}", n % 97))
        .collect();
    node.command(
        &["produce", "t", "-k", ";", "-z", "zstd"],
        (lines.join("\n") + "\n").as_bytes(),
    )
    .ok();
    let described = node.command(&["topic", "describe", "t"], b"").ok();
    assert!(
        described.contains("config      retention.ms=604800000\n"),
        "{described}"
    );
    assert!(
        described.contains("PARTITION  LEADER  EPOCH  REPLICAS  ISR  START  END"),
        "{described}"
    );

    let consume = ["consume", "t", "--until-end", "--format", "%p %k;%v\\n"];
    let before = node.command(&consume, b"").ok();
    node.stop();
    node.start();
    assert_eq!(
        sorted(&node.command(&consume, b"").ok()),
        sorted(&before),
        "the restart changes nothing"
    );
    let mut values: Vec<&str> = before
        .lines()
        .map(|line| line.split_once(' ').expect("partition and text").1)
        .collect();
    // Records of one key stay in order, so a stable sort by key gives what was sent.
    let by_key = |line: &&str| line.split_once(';').expect("key and value").0.to_owned();
    values.sort_by_key(by_key);
    let mut sent: Vec<&str> = lines.iter().map(String::as_str).collect();
    sent.sort_by_key(by_key);
    assert_eq!(values, sent);

    node.command(
        &["produce", "t", "--partition", "1", "--acks", "1"],
        b"without a newline",
    )
    .ok();
    let at_start = node
        .command(
            &[
                "consume", "t", "-p", "1", "-n", "1", "--offset", "2", "-f", "%o",
            ],
            b"",
        )
        .ok();
    assert_eq!(at_start, "2");
    assert!(
        node.command(&consume, b"")
            .ok()
            .contains("1 ;without a newline\n")
    );
    node.stop();
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn refusals_have_kafkas_names_and_exit_code_1() {
    let node = Node::started();
    assert_eq!(node.command(&["topic", "create", "a"], b"").code, Some(0));
    let again = node.command(&["topic", "create", "a", "b"], b"");
    assert_eq!(again.code, Some(1));
    assert_eq!(
        again.text(),
        "TOPIC  STATUS\na      TOPIC_ALREADY_EXISTS: Topic 'a' already exists.\nb      OK\n"
    );
    let content = node.command(&["topic", "create", "a", "--if-not-exists"], b"");
    assert_eq!(content.ok(), "TOPIC  STATUS\na      EXISTS\n");
    let bad = node.command(&["topic", "create", "c", "-c", "retention.ms=soon"], b"");
    assert_eq!(bad.code, Some(1));
    assert!(bad.text().contains("INVALID_CONFIG: "), "{}", bad.text());
    let absent = node.command(&["consume", "absent", "--until-end"], b"");
    assert_eq!(
        (absent.code, absent.err.as_str()),
        (
            Some(1),
            "tidelog: topic absent: UNKNOWN_TOPIC_OR_PARTITION\n"
        )
    );
    let beyond = node.command(&["consume", "a", "--offset", "5", "-n", "1"], b"");
    assert_eq!(
        (beyond.code, beyond.err.as_str()),
        (Some(1), "tidelog: a-0: OFFSET_OUT_OF_RANGE\n")
    );
    let large = node.command(&["produce", "a"], &vec![b'x'; 2 << 20]);
    assert_eq!(large.code, Some(1));
    assert!(
        large.err.contains("a-0: MESSAGE_TOO_LARGE"),
        "{}",
        large.err
    );
    let deleted = node.command(&["topic", "delete", "b", "absent"], b"");
    assert_eq!(deleted.code, Some(1));
    assert!(
        deleted
            .text()
            .starts_with("TOPIC   STATUS\nb       OK\nabsent  UNKNOWN_TOPIC_OR_PARTITION"),
        "{}",
        deleted.text()
    );
    assert_eq!(
        node.command(&["topic", "list"], b"").ok(),
        "TOPIC  PARTITIONS  REPLICAS\na      1           1\n"
    );
}

#[test]
fn nobody_listens_and_wrong_words_are_told() {
    let nobody = tidelog(&["topic", "list", "-b", "127.0.0.1:1"], b"");
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody
            .err
            .starts_with("tidelog: cannot connect to 127.0.0.1:1: "),
        "{}",
        nobody.err
    );
    for wrong in [
        &["consume", "t", "-f", "%x"][..],
        &["produce", "t", "--acks", "2"],
        &["produce", "t", "-z", "zip"],
    ] {
        assert_eq!(tidelog(wrong, b"").code, Some(2), "{wrong:?}");
    }
    let docs = tidelog(&["config", "docs"], b"").ok();
    assert!(
        docs.starts_with("# Settings\n") && docs.contains("| `retention.ms`"),
        "{}",
        &docs[..200]
    );
}

#[test]
fn records_are_written_and_read_in_the_forms_of_kcat_and_rpk() {
    let node = Node::started();
    let run = |words: &[&str], input: &str| node.command(words, input.as_bytes()).ok();
    run(&["topic", "create", "t", "-p", "1"], "");
    let lines: String = (0..10).map(|n| format!("k{n} v {n}\n")).collect();
    run(
        &["produce", "--topic", "t", "-f", "%k %v\\n", "-H", "a=1"],
        &lines,
    );
    run(&["produce", "t", "-f", "%k"], "gone\n");
    let read = |span: &str| {
        run(
            &["consume", "--topic", "t", "-e", "-o", span, "-f", "%o:%k "],
            "",
        )
    };
    assert_eq!(read("-3"), "8:k8 9:k9 10:gone ");
    assert_eq!(read("+9"), "9:k9 10:gone ");
    assert_eq!(read("2:4"), "2:k2 3:k3 ");
    assert_eq!(read(":2"), "0:k0 1:k1 ");
    assert_eq!(read("@0:@2200-01-01").matches(':').count(), 11);
    assert_eq!(read("@2200-01-01"), "");
    assert_eq!(
        run(
            &["consume", "t", "-o", "1", "-n", "1", "-f", "%s %h\\n"],
            ""
        ),
        "v 1 a=1\n"
    );
    let json = run(&["consume", "t", "-o", "10", "-n", "1", "-f", "json"], "");
    assert!(
        json.contains("\"key\":\"gone\",\"value\":null,\"headers\":[]}\n"),
        "{json}"
    );
}
