//! `tidelog log dump` on files of ours and of real Kafka's, whole and damaged.

mod binary;

use std::fs;
use std::path::Path;

use binary::{Node, golden, tidelog};
use serde_json::Value;

fn dump(path: &Path, more: &[&str]) -> binary::Run {
    let path = path.to_str().expect("UTF-8");
    tidelog(&[&["log", "dump", path][..], more].concat(), b"")
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A stopped node with a topic of one partition, keyed records in three codecs, and a group's offsets.
fn stopped_node() -> Node {
    let mut node = Node::started();
    node.command(&["topic", "create", "t", "-p", "1"], b"").ok();
    for codec in ["none", "zstd", "lz4"] {
        let lines: String = (0..2_000)
            .map(|n| format!("key-{n};{codec} value {n}\n"))
            .collect();
        node.command(&["produce", "t", "-k", ";", "-z", codec], lines.as_bytes())
            .ok();
    }
    node.command(&["group", "seek", "g", "--to", "end", "--topics", "t"], b"")
        .ok();
    node.stop();
    node
}

#[test]
fn everything_that_a_clean_stop_leaves_is_dumped_without_a_complaint() {
    let node = stopped_node();
    let partition = node.path().join("t-0");
    let text = dump(&partition, &["--print-data-log"]).ok();
    for part in [
        "Log starting offset: 0\nbaseOffset: 0 lastOffset: ",
        "compresscodec: zstd",
        "isvalid: true",
        " key: key-1999 payload: lz4 value 1999\n",
        "index passed the sanity check.",
        "timeindex passed the sanity check.",
        "sidecar passed the sanity check.",
        "00000000000000000000.tidx\nbaseOffset: 0 nextOffset: 6000",
    ] {
        assert!(
            text.contains(part),
            "{part}: {}",
            &text[..2_000.min(text.len())]
        );
    }
    let json = objects(
        &dump(
            &partition.join("00000000000000000000.log"),
            &["--print-data-log", "--json"],
        )
        .ok(),
    );
    let records: Vec<&Value> = json.iter().filter(|one| one["kind"] == "record").collect();
    assert_eq!(records.len(), 6_000);
    assert_eq!(
        (&records[2_001]["key"], &records[2_001]["offset"]),
        (&Value::from("key-1"), &Value::from(2_001))
    );
    let quiet = dump(&partition, &["--index-sanity-check"]).ok();
    assert!(!quiet.contains("position: 0 length"), "{quiet}");

    let ours = dump(&node.path().join("tidelog"), &["--print-data-log"]).ok();
    for part in [
        "| t-0 topicId: ",
        "logEnd: 6000",
        "generation: ",
        "| offset: 0 payload: ",
    ] {
        assert!(
            ours.contains(part),
            "{part}: {}",
            &ours[..3_000.min(ours.len())]
        );
    }
    let root = dump(node.path(), &[]).ok();
    assert!(
        root.contains("cluster.id=") && root.contains("t 0 6000"),
        "{root}"
    );

    let groups = fs::read_dir(node.path()).expect("a directory").flatten();
    let mut decoded = String::new();
    for directory in groups.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("__consumer_offsets-")
    }) {
        decoded.push_str(&dump(&directory.path(), &["--print-data-log"]).ok());
    }
    assert!(
        decoded.contains("OffsetCommitKey") && decoded.contains("6000"),
        "{}",
        &decoded[..2_000.min(decoded.len())]
    );
}

#[test]
fn journals_of_a_killed_node_are_readable() {
    let mut node = Node::started();
    node.command(&["topic", "create", "t", "-p", "1"], b"").ok();
    node.command(&["produce", "t"], b"one\ntwo\n").ok();
    node.kill();
    let text = dump(&node.path().join("tidelog"), &[]).ok();
    assert!(
        text.contains("whole: true") && text.contains("| Batch topicId: "),
        "{text}"
    );
    assert!(
        text.contains("offsets: 0..1 segment: 0 position: 0 length: "),
        "{text}"
    );
}

#[test]
fn what_real_kafka_wrote_is_dumped_without_a_complaint() {
    let mut segments = 0;
    for kind in fs::read_dir(golden("")).expect("a directory").flatten() {
        for partition in fs::read_dir(kind.path()).into_iter().flatten().flatten() {
            let clean = kind.file_name() == "clean";
            if !partition.path().is_dir() || !clean {
                continue;
            }
            let run = dump(&partition.path(), &["--print-data-log"]);
            assert_eq!(
                (run.code, run.err.as_str()),
                (Some(0), ""),
                "{:?}: {}",
                partition.path(),
                run.text()
            );
            segments += run.text().matches("Log starting offset").count();
        }
    }
    assert!(segments > 5, "{segments}");
}

#[test]
fn damage_is_named_and_sets_the_exit_code() {
    let node = stopped_node();
    let partition = node.path().join("t-0");
    for (extension, position, complaint) in [
        (
            "log",
            300,
            "the checksum of the batch at position 0 does not hold",
        ),
        ("log", 7, ""),
        ("tidx", 200, "checksum"),
        ("index", 6, "no batch begins"),
        ("snapshot", 3, "hecksum"),
    ] {
        let path = if extension == "snapshot" {
            let files = fs::read_dir(&partition).expect("a directory").flatten();
            let mut files = files
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|one| one == extension));
            match files.next() {
                Some(path) => path,
                None => continue,
            }
        } else {
            partition.join(format!("00000000000000000000.{extension}"))
        };
        let whole = fs::read(&path).expect("it is there");
        let Some(byte) = whole.get(position) else {
            continue;
        };
        let mut damaged = whole.clone();
        damaged[position] = byte ^ 0x10;
        fs::write(&path, &damaged).expect("written");
        let run = dump(&partition, &["--deep-iteration"]);
        assert_eq!(run.code, Some(1), "{extension} {position}: {}", run.text());
        assert!(
            run.text().contains("PROBLEM: ") && run.text().contains(complaint),
            "{extension}: {}",
            run.text()
        );
        fs::write(&path, &whole).expect("written");
    }
    let cut = partition.join("00000000000000000000.log");
    let whole = fs::read(&cut).expect("it is there");
    fs::write(&cut, &whole[..whole.len() - 5]).expect("written");
    let run = dump(&cut, &[]);
    assert!(
        run.code == Some(1) && run.text().contains("is cut off after"),
        "{}",
        run.text()
    );
    fs::write(&cut, [&whole[..], &[0; 4_096]].concat()).expect("written");
    assert!(dump(&cut, &[]).ok().contains("allocated, not written"));
    for wrong in [&["log", "dump"][..], &["log", "dump", "/proc/version"]] {
        assert_ne!(tidelog(wrong, b"").code, Some(0), "{wrong:?}");
    }
}

#[test]
fn readers_step_over_damage_when_the_operator_says_so() {
    let mut node = Node::started();
    node.command(&["topic", "create", "t", "-p", "1"], b"").ok();
    for value in ["one", "two", "three"] {
        node.command(&["produce", "t"], value.as_bytes()).ok();
    }
    node.stop();
    let segment = node.path().join("t-0/00000000000000000000.log");
    let mut bytes = fs::read(&segment).expect("it is there");
    let at = bytes
        .windows(3)
        .position(|three| three == b"two")
        .expect("uncompressed");
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).expect("written");

    node.start();
    let read = ["consume", "t", "-e", "-f", "%o=%v\\n"];
    let refused = node.command(&read, b"");
    assert_eq!(
        (refused.code, refused.text().as_str()),
        (Some(1), "0=one\n"),
        "{}",
        refused.err
    );
    assert!(
        refused.err.contains("KAFKA_STORAGE_ERROR"),
        "{}",
        refused.err
    );
    node.stop();

    let directory = node.log_dirs();
    let quarantine = |words: &[&str]| {
        tidelog(
            &[&["log", "quarantine"], words, &["--set", &directory]].concat(),
            b"",
        )
    };
    let listed = quarantine(&["list"]).ok();
    assert_eq!(
        listed,
        "PARTITION  FIRST  LAST  STATE       LOG-END\nt-0        1      1     not served  3\n"
    );
    let wrong = quarantine(&["step-over", "t", "0", "--offset", "2"]);
    assert_eq!(
        (wrong.code, wrong.err.as_str()),
        (Some(1), "tidelog: t-0: offset 2 is in no damaged range\n")
    );
    assert_eq!(
        quarantine(&["step-over", "t", "0", "--offset", "1"]).ok(),
        "t-0: readers step over offsets 1 to 1\n"
    );
    assert!(quarantine(&["list"]).ok().contains("stepped over"));

    // The decision outlives restarts, also a kill.
    for _ in 0..2 {
        node.start();
        assert_eq!(node.command(&read, b"").ok(), "0=one\n2=three\n");
        node.command(&["produce", "t"], b"").ok();
        node.kill();
    }
    node.start();
    assert_eq!(node.command(&read, b"").ok(), "0=one\n2=three\n");
    let busy = quarantine(&["step-over", "t", "0", "--all"]);
    assert_eq!(busy.code, Some(1), "the node runs");
}
