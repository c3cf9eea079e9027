//! Batches that Apache Kafka 4.3.1 wrote, and its judgement of batches that were made wrongly.
//!
//! `golden/records/*.log` are segment files of a real broker, `segments.json` what its own reader says is in them;
//! `produce.jsonl` are record sets that were sent to a real broker, with the error code it answered.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use net::records::*;
use serde_json::Value;

/// The broker's clock when `produce.jsonl` was recorded.
const CAPTURE_MS: i64 = 1_795_432_553_500;

fn golden(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/records", name]
        .iter()
        .collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex_or_null(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(hex)
}

fn segments() -> BTreeMap<String, Value> {
    serde_json::from_slice(&golden("segments.json")).unwrap()
}

#[test]
fn every_golden_segment_reads_as_kafka_reads_it() {
    let mut batches_seen = BTreeMap::new();
    let mut decompressor = Decompressor::default();
    for (name, expected) in segments() {
        let bytes = golden(&name);
        let expected = expected["batches"].as_array().unwrap();
        let batches: Vec<Batch<'_>> = split_batches(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(batches.len(), expected.len(), "{name}");
        assert_eq!(
            batches
                .iter()
                .map(|batch| batch.bytes().len())
                .sum::<usize>(),
            bytes.len(),
            "{name}"
        );
        for (batch, expected) in batches.iter().zip(expected) {
            let header = batch.header();
            let codec = header.compression().unwrap();
            *batches_seen.entry(codec.name()).or_insert(0) += 1;
            let seen = serde_json::json!({
                "baseOffset": header.base_offset, "lastOffset": header.last_offset(),
                "sizeInBytes": header.size_in_bytes(), "leaderEpoch": header.partition_leader_epoch,
                "magic": header.magic, "crc": header.crc, "crcValid": batch.crc_is_valid(), "compression": codec.name(),
                "timestampType": format!("{:?}", header.timestamp_type()), "maxTimestamp": header.max_timestamp,
                "producerId": header.producer_id, "producerEpoch": header.producer_epoch,
                "baseSequence": header.base_sequence, "lastSequence": header.last_sequence(),
                "count": header.record_count, "isTransactional": header.is_transactional(),
                "isControl": header.is_control(),
            });
            for (field, value) in seen.as_object().unwrap() {
                assert_eq!(
                    &expected[field], value,
                    "{name} at {}: {field}",
                    header.base_offset
                );
            }
            let records = expected["records"].as_array().unwrap();
            let seen: Vec<Record<'_>> = batch
                .records(&mut decompressor)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(
                seen.len(),
                records.len(),
                "{name} at {}",
                header.base_offset
            );
            for (record, expected) in seen.iter().zip(records) {
                assert_same(record, expected, &name);
            }
            assert_a_producer_could_have_sent(batch, &seen, &name);
        }
    }
    let codecs: Vec<_> = batches_seen.keys().copied().collect();
    assert_eq!(
        codecs,
        ["gzip", "lz4", "none", "snappy", "zstd"],
        "every codec was seen: {batches_seen:?}"
    );
}

fn assert_same(record: &Record<'_>, expected: &Value, name: &str) {
    assert_eq!(record.offset, expected["offset"], "{name}");
    assert_eq!(
        record.timestamp, expected["timestamp"],
        "{name} offset {}",
        record.offset
    );
    assert_eq!(
        record.sequence, expected["sequence"],
        "{name} offset {}",
        record.offset
    );
    assert_eq!(
        record.key,
        hex_or_null(&expected["key"]).as_deref(),
        "{name} offset {}",
        record.offset
    );
    assert_eq!(
        record.value,
        hex_or_null(&expected["value"]).as_deref(),
        "{name} offset {}",
        record.offset
    );
    let headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = expected["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| {
            (
                header["key"].as_str().unwrap().as_bytes().to_vec(),
                hex_or_null(&header["value"]),
            )
        })
        .collect();
    let seen: Vec<_> = record
        .headers
        .iter()
        .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
        .collect();
    assert_eq!(seen, headers, "{name} offset {}", record.offset);
}

/// With base offset 0 the validator takes every batch that a producer wrote, and finds the same greatest timestamp.
fn assert_a_producer_could_have_sent(batch: &Batch<'_>, records: &[Record<'_>], name: &str) {
    let header = batch.header();
    let compacted_away = header.record_count != header.last_offset_delta + 1;
    let mut bytes = batch.bytes().to_vec();
    stamp(bytes.first_chunk_mut().unwrap(), 0, -1);
    let judgement = validate(&bytes, &ValidationLimits::default(), CAPTURE_MS);
    if header.is_control() || compacted_away {
        assert_eq!(
            judgement.unwrap_err().kind,
            RejectionKind::InvalidRecord,
            "{name}"
        );
        return;
    }
    let validated = judgement.unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
    let newest = records.iter().map(|record| record.timestamp).max().unwrap();
    let first = records
        .iter()
        .find(|record| record.timestamp == newest)
        .unwrap();
    assert_eq!(validated.max_timestamp, newest, "{name}");
    assert_eq!(
        i64::from(validated.offset_delta_of_max_timestamp),
        first.offset - header.base_offset,
        "{name}"
    );
    assert_eq!(
        validated.timestamps_match,
        header.timestamp_type() == TimestampType::CreateTime,
        "{name}"
    );
}

fn limits_of(topic: &str, version: i16) -> ValidationLimits {
    let mut limits = ValidationLimits {
        produce_version: version,
        ..ValidationLimits::default()
    };
    match topic {
        "err-compact" => limits.compacted = true,
        "err-lat" => limits.timestamp_type = TimestampType::LogAppendTime,
        "err-ts" => {
            (
                limits.timestamp_before_max_ms,
                limits.timestamp_after_max_ms,
            ) = (60_000, 60_000)
        }
        "err-small" => limits.max_message_bytes = 1000,
        _ => {}
    }
    limits
}

/// Where our answer is another than Kafka's, on purpose: the case, ours, and why.
const STRICTER: &[(&str, i16, &str)] = &[
    ("produce null records", 87, "Kafka never answers"),
    ("produce null records v13", 87, "Kafka never answers"),
    (
        "produce batchLength 2147483647",
        87,
        "too long by any amount is the same mistake; Kafka overflows",
    ),
    (
        "produce record offset deltas 0,0",
        87,
        "two records would share an offset in Kafka's eyes and in no one else's",
    ),
    ("produce record offset deltas 1,2", 87, "as above"),
    ("produce record offset deltas 1,0", 87, "as above"),
    (
        "produce codec 5",
        76,
        "the codec does not exist; -1 says nothing",
    ),
    ("produce codec 6", 76, "as above"),
    ("produce codec 7", 76, "as above"),
    (
        "produce gzip flags byte 0xff",
        2,
        "a damaged stream is a corrupt message; -1 says nothing",
    ),
    ("produce gzip wrong CRC32 trailer", 2, "as above"),
    ("produce gzip body not gzip", 2, "as above"),
    ("produce gzip truncated", 2, "as above"),
    ("produce snappy body garbage", 2, "as above"),
    ("produce lz4 body garbage", 2, "as above"),
    ("produce zstd body garbage", 2, "as above"),
    ("produce lz4 bad frame checksum", 2, "as above"),
];

#[test]
fn wrongly_made_batches_get_kafkas_error_code() {
    let mut wrong = Vec::new();
    let mut argued: BTreeMap<&str, i16> = STRICTER
        .iter()
        .map(|(case, code, _)| (*case, *code))
        .collect();
    let text = golden("produce.jsonl");
    let cases: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert!(cases.len() > 120);
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let version = i16::try_from(case["version"].as_i64().unwrap()).unwrap();
        let limits = limits_of(case["topic"].as_str().unwrap(), version);
        let expected = argued
            .remove(name)
            .map_or(case["error_code"].as_i64(), |ours| Some(i64::from(ours)));
        let records = hex(case["records"].as_str().unwrap());
        let judgement = validate(&records, &limits, CAPTURE_MS);
        let code = judgement.as_ref().map_or_else(Rejection::error_code, |_| 0);
        if Some(i64::from(code)) != expected {
            wrong.push(format!(
                "{name}: {code}, expected {expected:?}: {judgement:?}"
            ));
        }
        if let Err(rejection) = judgement {
            assert!(!rejection.message.is_empty(), "{name}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(argued.is_empty(), "cases that do not exist: {argued:?}");
}

#[test]
fn size_is_judged_on_the_whole_batch_before_the_crc() {
    let limits = ValidationLimits {
        max_message_bytes: 1000,
        ..ValidationLimits::default()
    };
    let of_size = |size: usize| {
        let mut builder = BatchBuilder::new();
        builder.append(Some(b"k"), Some(&vec![b'x'; size - 71]), &[], CAPTURE_MS);
        let batch = builder.build(0, -1);
        assert_eq!(batch.len(), size);
        batch
    };
    assert!(validate(&of_size(1000), &limits, CAPTURE_MS).is_ok());
    let mut too_large = of_size(1001);
    too_large[18] ^= 1;
    assert_eq!(
        validate(&too_large, &limits, CAPTURE_MS).unwrap_err().kind,
        RejectionKind::MessageTooLarge
    );
    let limits = ValidationLimits {
        segment_bytes: 999,
        ..limits
    };
    assert_eq!(
        validate(&of_size(1000), &limits, CAPTURE_MS)
            .unwrap_err()
            .kind,
        RejectionKind::RecordListTooLarge
    );
}
