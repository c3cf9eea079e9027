//! Segments: batch after batch, in the words of Kafka's DumpLogSegments.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use net::records::{BATCH_HEADER_BYTES, Batch, BatchHeader, Decompressor, TimestampType};
use serde_json::json;

use super::{Meaning, Outcome, Problem, Report, values};
use crate::cluster::record::decode_batches;
use crate::types::Offset;

/// Bytes that are read at once when zeros are looked for.
const READ_BYTES: usize = 1 << 20;

/// What of a segment is printed.
pub(super) struct Options {
    pub(super) records: bool,
    /// Look into the batches.
    pub(super) deep: bool,
    /// Print what a record has besides key and value.
    pub(super) metadata: bool,
    pub(super) meaning: Meaning,
    pub(super) bytes_max: u64,
}

/// A batch's header and its place.
pub(super) struct Found {
    pub(super) header: BatchHeader,
    pub(super) position: u64,
}

/// What the walk over a segment comes to after the last whole batch.
pub(super) enum End {
    /// The file's end, or the given limit.
    Complete,
    /// Zeros to the file's end: space that is allocated and not yet written.
    Zeros(u64),
    /// Bytes that are no batch.
    Broken(u64, String),
}

/// Walks the headers of a segment's batches.
pub(super) fn walk(
    file: &File,
    bytes_max: u64,
    mut take: impl FnMut(&Found, &File) -> Result<(), Problem>,
) -> Result<End, Problem> {
    let length = file.metadata()?.len();
    let mut position = 0;
    while position < length.min(bytes_max) {
        let mut start = [0; BATCH_HEADER_BYTES];
        let left = length - position;
        let Some(header) = read_header(file, position, left, &mut start)? else {
            return end(file, position, length, "fewer bytes than a batch's header");
        };
        let size = header.size_in_bytes() as u64;
        if header.magic != 2 || size < BATCH_HEADER_BYTES as u64 {
            return end(file, position, length, "no batch begins here");
        }
        if size > left {
            let what = format!("a batch of {size} bytes is cut off after {left}");
            return end(file, position, length, &what);
        }
        take(&Found { header, position }, file)?;
        position += size;
    }
    Ok(End::Complete)
}

fn read_header(
    file: &File,
    position: u64,
    left: u64,
    start: &mut [u8; BATCH_HEADER_BYTES],
) -> io::Result<Option<BatchHeader>> {
    if left < BATCH_HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(start, position)?;
    Ok(BatchHeader::parse(&start[..]))
}

/// Tells zeros from damage.
fn end(file: &File, position: u64, length: u64, what: &str) -> Result<End, Problem> {
    let mut at = position;
    while at < length {
        let piece = usize::try_from(length - at)
            .unwrap_or(READ_BYTES)
            .min(READ_BYTES);
        let mut bytes = vec![0; piece];
        file.read_exact_at(&mut bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(End::Broken(position, what.to_owned()));
        }
        at += piece as u64;
    }
    Ok(End::Zeros(position))
}

/// Dumps a segment.
pub(super) fn dump(
    path: &Path,
    base: Offset,
    options: &Options,
    report: &mut Report,
) -> Result<(), Problem> {
    let file = File::open(path)?;
    let start = format!("Log starting offset: {}", base.0);
    report.say("segment", &start, json!({"base_offset": base.0}))?;
    let mut decompressor = Decompressor::default();
    let mut next = base.0;
    let ended = walk(&file, options.bytes_max, |found, file| {
        let size = found.header.size_in_bytes();
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, found.position)?;
        if found.header.base_offset < next {
            let what = format!(
                "the batch at position {} begins with offset {}, below {next}",
                found.position, found.header.base_offset
            );
            report.problem(&what)?;
        }
        next = found.header.next_offset();
        batch(found, &bytes, options, &mut decompressor, report)
    })?;
    match ended {
        End::Complete => {}
        End::Zeros(position) => {
            let text = format!("from position {position}: allocated, not written");
            report.say("unwritten", &text, json!({"position": position}))?;
        }
        End::Broken(position, what) => {
            report.problem(&format!("at position {position}: {what}"))?
        }
    }
    Ok(())
}

fn batch(
    found: &Found,
    bytes: &[u8],
    options: &Options,
    decompressor: &mut Decompressor,
    report: &mut Report,
) -> Result<(), Problem> {
    let Found { header, position } = found;
    let parsed = Batch::parse(bytes);
    let valid = parsed.as_ref().is_ok_and(Batch::crc_is_valid);
    describe(header, *position, valid, report)?;
    if !valid {
        report.problem(&format!(
            "the checksum of the batch at position {position} does not hold"
        ))?;
        return Ok(());
    }
    let Ok(parsed) = parsed else { return Ok(()) };
    if options.meaning == Meaning::Metadata && options.records && !header.is_control() {
        return metadata(&parsed, report).map_err(Problem::from);
    }
    if !options.deep {
        return Ok(());
    }
    let records = match parsed.records(decompressor) {
        Ok(records) => records,
        Err(error) => {
            report.problem(&format!("the batch at position {position}: {error}"))?;
            return Ok(());
        }
    };
    for record in records {
        match record {
            Ok(record) if options.records => {
                values::record(header, &record, options, report)?;
            }
            Ok(_) => {}
            Err(error) => report.problem(&format!("the batch at position {position}: {error}"))?,
        }
    }
    Ok(())
}

fn describe(header: &BatchHeader, position: u64, valid: bool, report: &mut Report) -> Outcome<()> {
    let codec = header.compression().map_or("unknown", |codec| codec.name());
    let kind = match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    // KIP-534: with a delete horizon, that is what stands in the base timestamp.
    let horizon = header.has_delete_horizon().then_some(header.base_timestamp);
    let shown = horizon.map_or("OptionalLong.empty".to_owned(), |at| {
        format!("OptionalLong[{at}]")
    });
    let (last_offset, last_sequence) = (header.last_offset(), header.last_sequence());
    let (transactional, control) = (header.is_transactional(), header.is_control());
    let size = header.size_in_bytes();
    let text = format!(
        "baseOffset: {} lastOffset: {last_offset} count: {} baseSequence: {} lastSequence: {last_sequence} \
         producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {transactional} \
         isControl: {control} deleteHorizonMs: {shown} position: {position} {kind}: {} size: {size} magic: {} \
         compresscodec: {codec} crc: {} isvalid: {valid}",
        header.base_offset,
        header.record_count,
        header.base_sequence,
        header.producer_id,
        header.producer_epoch,
        header.partition_leader_epoch,
        header.max_timestamp,
        header.magic,
        header.crc,
    );
    let fields = json!({
        "base_offset": header.base_offset,
        "last_offset": last_offset,
        "count": header.record_count,
        "base_sequence": header.base_sequence,
        "last_sequence": last_sequence,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "leader_epoch": header.partition_leader_epoch,
        "transactional": transactional,
        "control": control,
        "delete_horizon_ms": horizon,
        "position": position,
        "timestamp_type": kind,
        "max_timestamp": header.max_timestamp,
        "size": size,
        "magic": header.magic,
        "codec": codec,
        "crc": header.crc,
        "valid": valid,
    });
    report.say("batch", &text, fields)
}

/// The records of a metadata log, typed.
fn metadata(batch: &Batch<'_>, report: &mut Report) -> Outcome<()> {
    match decode_batches(batch.bytes()) {
        Ok(records) => {
            for (index, record) in records.iter().enumerate() {
                let offset = batch.header().base_offset + index as i64;
                let text = format!("{record:?}");
                let line = format!("| offset: {offset} payload: {text}");
                report.say("record", &line, json!({"offset": offset, "metadata": text}))?;
            }
            Ok(())
        }
        Err(error) => report.problem(&error.to_string()),
    }
}
