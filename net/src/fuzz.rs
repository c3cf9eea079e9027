//! One plain function per decoder family, for property tests and coverage-guided fuzzers (`net/fuzz`).
//!
//! Each takes any bytes and must come back. What a decoder accepts must be writable again, and what was
//! written must decode and write to the same bytes once more. Any core, no I/O.

use crate::messages::{
    ApiKey, DATA, MetadataRecord, RecodeError, Request, RequestHeader, Response, ResponseHeader,
    recode_data,
};
use crate::wire::{DecodeError, Reader, Writer};

/// Reads `bytes` with `recode` (which decodes and writes again) and checks that the result is stable.
fn check(
    bytes: &[u8],
    recode: &dyn Fn(&mut Reader<'_>, &mut Writer) -> Result<(), DecodeError>,
) -> bool {
    let mut writer = Writer::new();
    if recode(&mut Reader::new(bytes), &mut writer).is_err() {
        return false;
    }
    let first = writer.to_vec();
    writer.clear();
    let mut reader = Reader::new(&first);
    recode(&mut reader, &mut writer).expect("what was written can be read");
    assert_eq!(reader.remaining(), 0, "what was written is read to its end");
    assert_eq!(writer.to_vec(), first, "writing again gives the same bytes");
    true
}

/// Key and version from the first four bytes, the body behind them. Says whether the body decoded.
fn selected(data: &[u8]) -> Option<(ApiKey, i16, &[u8])> {
    let mut reader = Reader::new(data);
    let key = ApiKey::from_code(reader.get_i16().ok()?)?;
    Some((key, reader.get_i16().ok()?, reader.rest()))
}

/// A request body after two bytes of API key and two of version. Says whether it decoded.
pub fn request(data: &[u8]) -> bool {
    let Some((key, version, body)) = selected(data) else {
        return false;
    };
    check(body, &|reader, writer| {
        let request = Request::decode(key, version, reader)?;
        request
            .encode(writer, version)
            .expect("what was read can be written");
        Ok(())
    })
}

/// A response body after two bytes of API key and two of version. Says whether it decoded.
pub fn response(data: &[u8]) -> bool {
    let Some((key, version, body)) = selected(data) else {
        return false;
    };
    check(body, &|reader, writer| {
        let response = Response::decode(key, version, reader)?;
        response
            .encode(writer, version)
            .expect("what was read can be written");
        Ok(())
    })
}

/// A request header and a response header, of each version.
pub fn header(data: &[u8]) -> bool {
    let mut any = false;
    for version in RequestHeader::VERSIONS {
        any |= check(data, &|reader, writer| {
            let header = RequestHeader::decode(reader, version)?;
            header
                .encode(writer, version)
                .expect("what was read can be written");
            Ok(())
        });
    }
    for version in ResponseHeader::VERSIONS {
        any |= check(data, &|reader, writer| {
            let header = ResponseHeader::decode(reader, version)?;
            header
                .encode(writer, version)
                .expect("what was read can be written");
            Ok(())
        });
    }
    any
}

/// A framed record of the metadata log. Says whether it decoded.
pub fn metadata_record(data: &[u8]) -> bool {
    check(data, &|reader, writer| {
        let (record, version) = MetadataRecord::decode_framed(reader)?;
        record
            .encode_framed(writer, version)
            .expect("what was read can be written");
        Ok(())
    })
}

/// A coordinator key or value, control record or embedded structure, by schema name. Says whether it decoded.
pub fn data(name: &str, version: i16, data: &[u8]) -> bool {
    check(
        data,
        &|reader, writer| match recode_data(name, version, reader, writer) {
            Err(RecodeError::Decode(error)) => Err(error),
            Err(RecodeError::Encode(error)) => {
                panic!("what was read can be written: {error}")
            }
            Ok(()) => Ok(()),
        },
    )
}

/// A coordinator key or value, control record or embedded structure: the first byte chooses which, the second
/// the version. Says whether it decoded.
pub fn any_data(bytes: &[u8]) -> bool {
    let [choice, version, body @ ..] = bytes else {
        return false;
    };
    let Some((name, low, high)) = DATA.get(usize::from(*choice)) else {
        return false;
    };
    data(name, low + i16::from(*version) % (high - low + 1), body)
}
