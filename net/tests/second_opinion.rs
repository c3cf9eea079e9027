//! The `kafka-protocol` crate reads what we write, and writes the same bytes: every API and version it has.

#![allow(clippy::unwrap_used)]

mod samples;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use net::messages::{ApiKey, Request, Response};
use net::wire::{Reader, Writer};
use samples::{Shape, sample_with, schemas};

/// Our decode and encode of `bytes`.
fn ours(kind: &str, key: ApiKey, version: i16, bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut reader = Reader::new(bytes);
    match kind {
        "request" => Request::decode(key, version, &mut reader)
            .unwrap()
            .encode(&mut writer, version)
            .unwrap(),
        _ => Response::decode(key, version, &mut reader)
            .unwrap()
            .encode(&mut writer, version)
            .unwrap(),
    }
    writer.to_vec()
}

/// Their decode and encode of `bytes`.
fn theirs(kind: &str, key: TheirKey, version: i16, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut input = Bytes::copy_from_slice(bytes);
    let mut output = BytesMut::new();
    let result = match kind {
        "request" => RequestKind::decode(key, &mut input, version)
            .and_then(|body| body.encode(&mut output, version)),
        _ => ResponseKind::decode(key, &mut input, version)
            .and_then(|body| body.encode(&mut output, version)),
    };
    match result {
        Ok(()) if input.is_empty() => Ok(output.to_vec()),
        Ok(()) => Err(format!("{} bytes left", input.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// What their tables list but their code does not have (version 0.18).
const THEY_LACK: [(&str, i16); 3] = [
    ("InitProducerIdRequest", 6),
    ("OffsetCommitRequest", 10),
    ("OffsetFetchRequest", 10),
];

#[test]
fn kafka_protocol_agrees_byte_for_byte() {
    let mut pairs = 0;
    let mut disagreements = Vec::new();
    for schema in schemas() {
        if schema.kind != "request" && schema.kind != "response" {
            continue;
        }
        let key = ApiKey::from_code(schema.api_key.unwrap()).unwrap();
        let Ok(their_key) = TheirKey::try_from(key.code()) else {
            continue;
        };
        let range = their_key.valid_versions();
        for version in schema.versions.low.max(range.min)..=schema.versions.high.min(range.max) {
            if THEY_LACK.contains(&(schema.name.as_str(), version)) {
                continue;
            }
            pairs += 1;
            for seed in 0..12 {
                let shape = [Shape::Least, Shape::Full, Shape::Random][(seed as usize).min(2)];
                let bytes = sample_with(&schema, version, shape, seed, false);
                let written = ours(&schema.kind, key, version, &bytes);
                let answer = theirs(&schema.kind, their_key, version, &written);
                if answer.as_ref() != Ok(&written) {
                    disagreements.push(format!(
                        "{} v{version} {shape:?} {seed}: {:?}",
                        schema.name,
                        answer.err()
                    ));
                    break;
                }
            }
        }
    }
    assert_eq!(disagreements, Vec::<String>::new());
    assert!(
        pairs > 500,
        "only {pairs} (message, version) pairs compared"
    );
}
