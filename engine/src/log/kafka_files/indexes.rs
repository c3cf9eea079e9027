//! `.index` (offset → position), `.timeindex` (timestamp → offset) and `.txnindex` (aborted transactions).
//!
//! All numbers are big-endian, entries have a fixed size, files have no header:
//! `.index` relative offset (4) position (4); `.timeindex` timestamp (8) relative offset (4);
//! `.txnindex` version (2) producer id (8) first, last and last stable offset (8 each).

use crate::log::error::FormatError;
use crate::log::index::SegmentIndex;
use crate::log::transactions::AbortedTransaction;
use crate::types::{FilePosition, Offset, ProducerId};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;
const TRANSACTION_ENTRY_BYTES: usize = 34;
const TRANSACTION_VERSION: i16 = 0;

/// Entry of `.index`: the batch that begins at `position` ends with `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch.
    pub offset: Offset,
    /// Where the batch begins.
    pub position: FilePosition,
}

/// Entry of `.timeindex`: no record before `offset`'s batch has a timestamp above `timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp so far, in milliseconds.
    pub timestamp: i64,
    /// Last offset of the first batch that carries it.
    pub offset: Offset,
}

/// Entry of `.txnindex`.
pub type AbortedEntry = AbortedTransaction;

/// What Kafka would have in `.index` and `.timeindex` of a segment, had its index interval been ours.
pub fn kafka_indexes(index: &SegmentIndex) -> (Vec<OffsetEntry>, Vec<TimeEntry>) {
    let info = index.info();
    let mut offsets = Vec::new();
    let mut times: Vec<TimeEntry> = Vec::new();
    let mut add_time = |timestamp: i64, offset: Offset| {
        // TimeIndex.maybeAppend: only a timestamp above the last one makes an entry.
        if timestamp > times.last().map_or(-1, |last| last.timestamp) {
            times.push(TimeEntry { timestamp, offset });
        }
    };
    // Kafka makes no entry for a segment's first batch: a look-up that finds none starts there anyway.
    for number in 1..index.run_count() {
        let run = index.run(number);
        offsets.push(OffsetEntry {
            offset: Offset(run.base_offset.0 + i64::from(run.first_batch_delta)),
            position: run.position,
        });
        add_time(
            run.max_timestamp,
            Offset(info.base_offset.0 + i64::from(run.max_timestamp_delta)),
        );
    }
    add_time(info.max_timestamp, info.offset_of_max_timestamp);
    (offsets, times)
}

/// `.index`.
pub fn encode_offset_index(base: Offset, entries: &[OffsetEntry]) -> Vec<u8> {
    let mut file = Vec::with_capacity(entries.len() * OFFSET_ENTRY_BYTES);
    for entry in entries {
        file.extend_from_slice(&relative(entry.offset, base).to_be_bytes());
        file.extend_from_slice(&entry.position.0.to_be_bytes());
    }
    file
}

/// `.timeindex`.
pub fn encode_time_index(base: Offset, entries: &[TimeEntry]) -> Vec<u8> {
    let mut file = Vec::with_capacity(entries.len() * TIME_ENTRY_BYTES);
    for entry in entries {
        file.extend_from_slice(&entry.timestamp.to_be_bytes());
        file.extend_from_slice(&relative(entry.offset, base).to_be_bytes());
    }
    file
}

/// `.txnindex`.
pub fn encode_transaction_index<'a>(
    entries: impl IntoIterator<Item = &'a AbortedTransaction>,
) -> Vec<u8> {
    let mut file = Vec::new();
    for entry in entries {
        file.extend_from_slice(&TRANSACTION_VERSION.to_be_bytes());
        for number in [
            entry.producer_id.0,
            entry.first_offset.0,
            entry.last_offset.0,
            entry.last_stable_offset.0,
        ] {
            file.extend_from_slice(&number.to_be_bytes());
        }
    }
    file
}

/// Reads `.index`. A file that was not closed is preallocated: the first entry that does not ascend ends it.
pub fn decode_offset_index(base: Offset, file: &[u8]) -> Result<Vec<OffsetEntry>, FormatError> {
    let mut entries: Vec<OffsetEntry> = Vec::new();
    for entry in whole_entries(".index", file, OFFSET_ENTRY_BYTES)? {
        let offset = Offset(base.0.saturating_add(i64::from(int(entry, 0))));
        let position = FilePosition(int(entry, 4) as u32);
        let ascends = entries
            .last()
            .is_none_or(|last| last.offset < offset && last.position < position);
        if int(entry, 4) <= 0 || int(entry, 0) < 0 || !ascends {
            break;
        }
        entries.push(OffsetEntry { offset, position });
    }
    Ok(entries)
}

/// Reads `.timeindex`; as for `.index`, what does not ascend ends it.
pub fn decode_time_index(base: Offset, file: &[u8]) -> Result<Vec<TimeEntry>, FormatError> {
    let mut entries: Vec<TimeEntry> = Vec::new();
    for entry in whole_entries(".timeindex", file, TIME_ENTRY_BYTES)? {
        let timestamp = long(entry, 0);
        let offset = Offset(base.0.saturating_add(i64::from(int(entry, 8))));
        let ascends = entries
            .last()
            .is_none_or(|last| last.timestamp < timestamp && last.offset <= offset);
        if timestamp <= 0 || int(entry, 8) < 0 || !ascends {
            break;
        }
        entries.push(TimeEntry { timestamp, offset });
    }
    Ok(entries)
}

/// Reads `.txnindex`.
pub fn decode_transaction_index(file: &[u8]) -> Result<Vec<AbortedTransaction>, FormatError> {
    let mut entries = Vec::new();
    for entry in whole_entries(".txnindex", file, TRANSACTION_ENTRY_BYTES)? {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        if version != TRANSACTION_VERSION {
            return Err(FormatError::UnknownVersion {
                file: ".txnindex",
                version: i64::from(version),
            });
        }
        entries.push(AbortedTransaction {
            producer_id: ProducerId(long(entry, 2)),
            first_offset: Offset(long(entry, 10)),
            last_offset: Offset(long(entry, 18)),
            last_stable_offset: Offset(long(entry, 26)),
        });
    }
    Ok(entries)
}

fn whole_entries<'a>(
    name: &'static str,
    file: &'a [u8],
    entry_bytes: usize,
) -> Result<std::slice::ChunksExact<'a, u8>, FormatError> {
    let entries = file.chunks_exact(entry_bytes);
    if entries.remainder().is_empty() {
        Ok(entries)
    } else {
        Err(FormatError::WrongLength {
            file: name,
            length: file.len(),
        })
    }
}

fn relative(offset: Offset, base: Offset) -> i32 {
    i32::try_from(offset.0 - base.0).expect("a segment spans fewer than 2^31 offsets")
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
