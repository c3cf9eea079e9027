//! Frames captured from Apache Kafka 4.3.1 and real clients decode, and encode to the same bytes.
//!
//! `golden/wire/*.jsonl`: one frame per line, recorded between clients and an unmodified broker.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use net::messages::{
    ApiKey, Request, RequestHeader, Response, ResponseHeader, request_header_version,
    response_header_version,
};
use net::wire::{Reader, Writer};
use serde_json::Value;

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn check(frame: &Value) {
    let number = |key: &str| frame[key].as_i64().unwrap() as i16;
    let key = ApiKey::from_code(number("api_key")).unwrap();
    assert_eq!(key.name(), frame["api_name"]);
    let bytes = from_hex(frame["hex"].as_str().unwrap());
    let version = number("api_version");
    let mut reader = Reader::new(&bytes);
    let mut writer = Writer::new();
    if frame["direction"] == "request" {
        let header_version = request_header_version(key, version);
        assert_eq!(header_version, number("header_version"));
        let header = RequestHeader::decode(&mut reader, header_version).unwrap();
        assert_eq!(
            (header.request_api_key, header.request_api_version),
            (key.code(), version)
        );
        assert_eq!(
            i64::from(header.correlation_id),
            frame["correlation_id"].as_i64().unwrap()
        );
        assert_eq!(header.client_id, frame["client_id"].as_str());
        let body = Request::decode(key, version, &mut reader).unwrap();
        header.encode(&mut writer, header_version).unwrap();
        body.encode(&mut writer, version).unwrap();
    } else {
        let header_version = response_header_version(key, version);
        assert_eq!(header_version, number("header_version"));
        let header = ResponseHeader::decode(&mut reader, header_version).unwrap();
        assert_eq!(
            i64::from(header.correlation_id),
            frame["correlation_id"].as_i64().unwrap()
        );
        let body = Response::decode(key, version, &mut reader).unwrap();
        header.encode(&mut writer, header_version).unwrap();
        body.encode(&mut writer, version).unwrap();
    }
    assert_eq!(reader.remaining(), 0);
    assert_eq!(writer.to_vec(), bytes);
}

#[test]
fn every_captured_frame_keeps_its_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    let mut frames = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            let place = format!(
                "{} seq {} {} v{}",
                path.display(),
                frame["seq"],
                frame["api_name"],
                frame["api_version"]
            );
            let outcome = std::panic::catch_unwind(|| check(&frame));
            assert!(outcome.is_ok(), "{place}");
            frames += 1;
        }
    }
    assert_eq!(frames, 1835);
}
