//! Partition directories of a real Kafka, taken in by `tidelog log import` and served: every record as Kafka has it,
//! also after kill -9, and nothing of ours touched where an import is refused.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

mod binary;

use std::path::Path;

use binary::{Node, golden};

const FORMAT: &str = "%o %T %K:%k %V:%v %h\\n";

/// Directories, and the names under which they are taken in.
const DIRECTORIES: [(&str, &str); 17] = [
    ("clean/s-none-0", "none"),
    ("clean/s-txn-0", "txn"),
    ("clean/s-roll-0", "roll"),
    ("clean/s-idem-0", "idem"),
    ("clean/s-lz4-0", "lz4"),
    ("clean/s-logappend-0", "logappend"),
    ("clean/s-gzip-0", "gzip"),
    ("clean/s-snappy-0", "snappy"),
    ("clean/s-zstd-0", "zstd"),
    ("clean/s-recompress-0", "recompress"),
    ("clean/s-share-0", "share"),
    ("compacted/s-compact-0", "compact"),
    ("kill9/s-none-0", "killed-none"),
    ("kill9/s-gzip-0", "killed-gzip"),
    ("kill9/s-zstd-0", "killed-zstd"),
    ("kill9/s-txn-0", "killed-txn"),
    ("kill9/s-idem-0", "killed-idem"),
];

fn bytes_of(hex: &serde_json::Value) -> Option<Vec<u8>> {
    let hex = hex.as_str()?;
    Some(
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
    )
}

/// What `consume` has to print of a directory, by what Kafka's own tools found in it, from `log_start` on.
fn expected(directory: &Path, log_start: i64) -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.join("expected.json")).unwrap()).unwrap();
    let mut names: Vec<&String> = json
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.ends_with(".log"))
        .collect();
    names.sort_unstable();
    let mut out = Vec::new();
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64);
    for segment in names.into_iter().map(|name| &json[name]) {
        let mut end = 0;
        for batch in segment["batches"].as_array().unwrap() {
            // What Kafka's recovery would cut ends a segment; control records are nobody's.
            let Some(size) = batch["sizeInBytes"].as_i64() else {
                break;
            };
            end += size;
            if segment["validBytes"]
                .as_i64()
                .is_some_and(|valid| end > valid)
                || batch["crcValid"] == false
            {
                break;
            }
            if batch["isControl"] == true {
                continue;
            }
            for record in batch["records"].as_array().unwrap() {
                if record["offset"].as_i64().unwrap() < log_start {
                    continue;
                }
                let (key, value) = (bytes_of(&record["key"]), bytes_of(&record["value"]));
                out.extend(
                    format!(
                        "{} {} {}:",
                        record["offset"],
                        record["timestamp"],
                        length(&key)
                    )
                    .bytes(),
                );
                out.extend(key.unwrap_or_default());
                out.extend(format!(" {}:", length(&value)).bytes());
                out.extend(value.unwrap_or_default());
                out.push(b' ');
                for (index, header) in record["headers"].as_array().unwrap().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    let name = header.get("key").unwrap_or(&header[0]);
                    let value = header.get("value").unwrap_or(&header[1]);
                    out.extend(name.as_str().unwrap().bytes());
                    out.push(b'=');
                    out.extend(bytes_of(value).unwrap_or_default());
                }
                out.push(b'\n');
            }
        }
    }
    out
}

fn check_all(node: &Node) {
    for (directory, topic) in DIRECTORIES {
        let found = node.command(&["consume", topic, "--until-end", "-f", FORMAT], b"");
        assert_eq!((found.code, found.err.as_str()), (Some(0), ""), "{topic}");
        let log_start = if topic == "lz4" { 2 } else { 0 };
        let expected = expected(&golden(directory), log_start);
        let (found, expected) = (
            String::from_utf8_lossy(&found.out),
            String::from_utf8_lossy(&expected),
        );
        assert_eq!(found, expected, "{topic}");
    }
}

#[test]
fn every_record_of_kafkas_directories_is_served_after_any_stop() {
    let mut node = Node::stopped();
    for (directory, topic) in DIRECTORIES {
        let told = node.import(&golden(directory), topic, "0").ok();
        let cut = ["killed-none", "killed-gzip", "killed-zstd"].contains(&topic);
        assert_eq!(told.contains("left out: the last "), cut, "{told}");
    }
    node.start();
    check_all(&node);
    node.kill();
    node.start();
    check_all(&node);
    // New records stand behind the imported ones, in a higher epoch.
    node.command(&["produce", "roll"], b"ours\n").ok();
    node.stop();
    node.start();
    let last = node
        .command(
            &[
                "consume",
                "roll",
                "--until-end",
                "--offset",
                "130",
                "-f",
                "%o %v\\n",
            ],
            b"",
        )
        .ok();
    assert_eq!(last, "130 ours\n");
    node.stop();
}

#[test]
fn partitions_are_taken_in_one_by_one_and_into_empty_ones() {
    let mut node = Node::started();
    node.command(&["topic", "create", "made", "-p", "2"], b"")
        .ok();
    node.stop();
    for (topic, partition) in [
        ("made", "1"),
        ("made", "0"),
        ("made", "2"),
        ("new", "0"),
        ("new", "1"),
    ] {
        node.import(&golden("clean/s-idem-0"), topic, partition)
            .ok();
    }
    node.start();
    let expected = expected(&golden("clean/s-idem-0"), 0);
    for (topic, partition) in [
        ("made", "0"),
        ("made", "1"),
        ("made", "2"),
        ("new", "0"),
        ("new", "1"),
    ] {
        let found = node.command(
            &[
                "consume",
                topic,
                "-p",
                partition,
                "--until-end",
                "-f",
                FORMAT,
            ],
            b"",
        );
        assert_eq!(found.out, expected, "{topic}-{partition}");
    }
}

#[test]
fn what_cannot_be_taken_in_changes_nothing() {
    let mut node = Node::started();
    node.command(&["produce", "used"], b"mine\n").ok();
    let source = golden("clean/s-none-0");
    let running = node.import(&source, "new", "0");
    assert_eq!(running.code, Some(1));
    assert!(
        running.err.contains("is used by another process"),
        "{}",
        running.err
    );
    node.stop();

    let used = node.import(&source, "used", "0");
    assert!(
        used.err.contains("used-0 holds or held records"),
        "{}",
        used.err
    );
    let gap = node.import(&source, "used", "2");
    assert!(gap.err.contains("the next one is 1"), "{}", gap.err);
    let first = node.import(&source, "new", "1");
    assert!(first.err.contains("the next one is 0"), "{}", first.err);
    let name = node.import(&source, "a/b", "0");
    assert!(name.err.contains("Topic name is invalid"), "{}", name.err);
    let nothing = tempfile::tempdir().unwrap();
    let empty = node.import(nothing.path(), "new", "0");
    assert!(
        empty.err.contains("the directory holds no segment"),
        "{}",
        empty.err
    );
    // A flipped bit before good segments: Kafka would delete everything behind it.
    let rotten = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("clean/s-roll-0")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, rotten.path().join(path.file_name().unwrap())).unwrap();
    }
    let second = rotten.path().join("00000000000000000013.log");
    let mut bytes = std::fs::read(&second).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&second, bytes).unwrap();
    let damaged = node.import(rotten.path(), "new", "0");
    assert!(
        damaged.err.contains("segment 13 is damaged"),
        "{}",
        damaged.err
    );
    for refused in [used, gap, first, name, empty, damaged] {
        assert_eq!((refused.code, refused.out.as_slice()), (Some(1), &b""[..]));
    }

    node.start();
    assert_eq!(
        node.command(&["topic", "list"], b"").ok(),
        "TOPIC  PARTITIONS  REPLICAS\nused   1           1\n"
    );
    assert_eq!(
        node.command(&["consume", "used", "--until-end"], b"").ok(),
        "mine\n"
    );
}
