//! Every message at every version: bytes made from the schema alone decode, and encode to the same bytes.

#![allow(clippy::unwrap_used)]

mod samples;

use net::messages::{self, ApiKey, Request, RequestHeader, Response, ResponseHeader};
use net::wire::{DecodeError, Reader, Writer};
use samples::{Shape, sample, schemas};

/// Decodes and encodes the message that `schema` defines.
fn recode(
    schema: &generator::schema::Message,
    version: i16,
    bytes: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut writer = Writer::new();
    let key = schema.api_key.and_then(ApiKey::from_code);
    match schema.kind.as_str() {
        "request" => Request::decode(key.unwrap(), version, &mut reader)?
            .encode(&mut writer, version)
            .unwrap(),
        "response" => Response::decode(key.unwrap(), version, &mut reader)?
            .encode(&mut writer, version)
            .unwrap(),
        "header" if schema.name == "RequestHeader" => {
            RequestHeader::decode(&mut reader, version)?
                .encode(&mut writer, version)
                .unwrap();
        }
        "header" => ResponseHeader::decode(&mut reader, version)?
            .encode(&mut writer, version)
            .unwrap(),
        _ => match messages::recode_data(&schema.name, version, &mut reader, &mut writer) {
            Err(messages::RecodeError::Decode(error)) => return Err(error),
            other => other.unwrap(),
        },
    }
    assert_eq!(
        reader.remaining(),
        0,
        "{} v{version} leaves bytes",
        schema.name
    );
    assert_eq!(writer.len(), writer.to_vec().len());
    Ok(writer.to_vec())
}

#[test]
fn every_message_keeps_its_bytes_at_every_version() {
    let mut pairs = 0;
    for schema in schemas() {
        for version in schema.versions.low..=schema.versions.high {
            pairs += 1;
            for seed in 0..24 {
                let shape = [Shape::Least, Shape::Full, Shape::Random][(seed as usize).min(2)];
                let bytes = sample(&schema, version, shape, seed);
                assert_eq!(
                    recode(&schema, version, &bytes).as_ref(),
                    Ok(&bytes),
                    "{} v{version} {shape:?} {seed}",
                    schema.name
                );
            }
        }
    }
    assert!(pairs > 700, "only {pairs} (message, version) pairs");
}

#[test]
fn every_truncation_of_every_message_is_an_error() {
    for schema in schemas() {
        for version in schema.versions.low..=schema.versions.high {
            let bytes = sample(&schema, version, Shape::Full, 1);
            for length in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
                let result = recode(&schema, version, &bytes[..length]);
                assert!(
                    result.is_err(),
                    "{} v{version} decodes {length} of {} bytes",
                    schema.name,
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for schema in schemas() {
        for version in [
            schema.versions.low - 1,
            schema.versions.high + 1,
            i16::MIN,
            i16::MAX,
        ] {
            let result = recode(&schema, version, &[0; 64]);
            assert!(
                matches!(result, Err(DecodeError::UnsupportedVersion { .. })),
                "{} v{version}",
                schema.name
            );
        }
    }
}
