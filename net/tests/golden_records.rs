//! Keys and values that Apache Kafka 4.3.1 wrote into its own topics decode, and encode to the same bytes.
//!
//! `golden/records/<topic>.jsonl`: the distinct records of the captured partition directories.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use generator::schema::{self, Message};
use net::messages::{MetadataRecord, recode_data};
use net::wire::{Reader, Writer};
use serde_json::Value;

/// Key and value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

fn records(topic: &str) -> Vec<Record> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/records/{topic}.jsonl"));
    let bytes = |hex: &Value| {
        let hex = hex.as_str()?;
        Some(
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
        )
    };
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(parse)
        .map(|record| (bytes(&record["key"]), bytes(&record["value"])))
        .collect()
}

fn schemas(origin: &str) -> Vec<Message> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let all = schema::load(&folder).unwrap().into_iter();
    all.filter(|(found, _)| found == origin)
        .map(|(_, message)| message)
        .collect()
}

/// A coordinator record: two bytes of version, then the body.
fn check(name: &str, version: i16, bytes: &[u8]) {
    let mut reader = Reader::new(&bytes[2..]);
    let mut writer = Writer::new();
    recode_data(name, version, &mut reader, &mut writer).unwrap();
    assert_eq!(
        (writer.to_vec(), reader.remaining()),
        (bytes[2..].to_vec(), 0),
        "{name} v{version}"
    );
}

fn version(bytes: &[u8]) -> i16 {
    i16::from_be_bytes([bytes[0], bytes[1]])
}

/// Checks every record of a coordinator's topic; returns the names of the schemas met.
fn check_coordinator(topic: &str, origin: &str) -> BTreeSet<String> {
    let schemas = schemas(origin);
    let mut met = BTreeSet::new();
    for (key, value) in records(topic) {
        let key = key.unwrap();
        let of_kind = |kind: &str| {
            let found = schemas
                .iter()
                .find(|schema| schema.kind == kind && schema.api_key == Some(version(&key)));
            found
                .unwrap_or_else(|| panic!("{kind} {}", version(&key)))
                .name
                .clone()
        };
        check(&of_kind("coordinator-key"), 0, &key);
        if let Some(value) = value {
            check(&of_kind("coordinator-value"), version(&value), &value);
            met.insert(of_kind("coordinator-value"));
        }
    }
    met
}

#[test]
fn group_records_keep_their_bytes() {
    let met = check_coordinator("__consumer_offsets", "group-coordinator");
    assert!(
        met.contains("OffsetCommitValue") && met.contains("ConsumerGroupMemberMetadataValue"),
        "{met:?}"
    );
}

#[test]
fn transaction_records_keep_their_bytes() {
    assert!(!check_coordinator("__transaction_state", "transaction-coordinator").is_empty());
}

#[test]
fn share_records_keep_their_bytes() {
    assert!(!check_coordinator("__share_group_state", "share-coordinator").is_empty());
}

#[test]
fn metadata_records_keep_their_bytes() {
    let mut types = BTreeSet::new();
    for (_, value) in records("__cluster_metadata") {
        let value = value.unwrap();
        let mut reader = Reader::new(&value);
        let (record, version) = MetadataRecord::decode_framed(&mut reader).unwrap();
        let mut writer = Writer::new();
        record.encode_framed(&mut writer, version).unwrap();
        assert_eq!(
            (writer.to_vec(), reader.remaining()),
            (value.clone(), 0),
            "{record:?}"
        );
        types.insert(record.api_key());
    }
    assert!(types.len() >= 8, "only record types {types:?}");
}

#[test]
fn control_records_keep_their_bytes() {
    let mut types = BTreeSet::new();
    for (key, value) in records("control") {
        let (key, value) = (key.unwrap(), value.unwrap());
        check("ControlRecordTypeSchema", 0, &key);
        let kind = version(&key[2..]);
        let (name, prefixed) = match kind {
            0 | 1 => ("EndTxnMarker", true),
            2 => ("LeaderChangeMessage", false),
            3 => ("SnapshotHeaderRecord", false),
            4 => ("SnapshotFooterRecord", false),
            5 => ("KRaftVersionRecord", false),
            6 => ("VotersRecord", false),
            other => panic!("control record type {other}"),
        };
        // KRaft's own control records carry their version as their first field.
        let value = if prefixed {
            value
        } else {
            [&[0, 0], &value[..]].concat()
        };
        check(name, version(&value), &value);
        types.insert(kind);
    }
    assert!(types.len() >= 5, "only types {types:?}");
}
