//! `.snapshot`: the producers of a partition at an offset, which is the file's name.
//!
//! Version (2; 1), CRC-32C of everything behind it (4), number of entries (4), then per producer: id (8), epoch (2),
//! last sequence (4), last offset (8), offset delta (4), timestamp (8), coordinator epoch (4), first offset of the
//! open transaction or −1 (8). Big-endian. Only the newest batch is in it, where we remember five (RELIABILITY I8):
//! good for Kafka and for imports, never our own way to restart.

use crate::log::error::FormatError;
use crate::log::producer_state::{ProducerBatch, ProducerEntry};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence};

const FILE: &str = ".snapshot";
const VERSION: i16 = 1;
const CHECKED_FROM: usize = 6;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// The file for these producers, in the order given.
pub fn encode_snapshot<'a>(
    producers: impl IntoIterator<Item = (ProducerId, &'a ProducerEntry)>,
) -> Vec<u8> {
    let mut file = Vec::from(VERSION.to_be_bytes());
    file.resize(HEADER_BYTES, 0);
    let mut count = 0i32;
    for (id, entry) in producers {
        let newest = entry.batches().last();
        file.extend_from_slice(&id.0.to_be_bytes());
        file.extend_from_slice(&entry.epoch.0.to_be_bytes());
        file.extend_from_slice(
            &newest
                .map_or(-1, |batch| batch.last_sequence.0)
                .to_be_bytes(),
        );
        file.extend_from_slice(&newest.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
        file.extend_from_slice(&newest.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        file.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        file.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        file.extend_from_slice(
            &entry
                .transaction_first_offset
                .map_or(-1, |offset| offset.0)
                .to_be_bytes(),
        );
        count += 1;
    }
    file[CHECKED_FROM..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
    let checksum = crc32c::crc32c(&file[CHECKED_FROM..]);
    file[2..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    file
}

/// Reads the file. `now_ms` counts as the producers' last sign of life.
pub fn decode_snapshot(
    file: &[u8],
    now_ms: i64,
) -> Result<Vec<(ProducerId, ProducerEntry)>, FormatError> {
    if file.len() < HEADER_BYTES {
        return Err(FormatError::TooShort {
            file: FILE,
            length: file.len(),
        });
    }
    let version = i16::from_be_bytes([file[0], file[1]]);
    if version != VERSION {
        return Err(FormatError::UnknownVersion {
            file: FILE,
            version: i64::from(version),
        });
    }
    let stored = u32::from_be_bytes([file[2], file[3], file[4], file[5]]);
    let computed = crc32c::crc32c(&file[CHECKED_FROM..]);
    if stored != computed {
        return Err(FormatError::Checksum {
            file: FILE,
            stored,
            computed,
        });
    }
    let count = i32::from_be_bytes([file[6], file[7], file[8], file[9]]);
    let content = &file[HEADER_BYTES..];
    if usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(ENTRY_BYTES))
        != Some(content.len())
    {
        return Err(FormatError::WrongLength {
            file: FILE,
            length: file.len(),
        });
    }
    Ok(content
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| decode_entry(entry, now_ms))
        .collect())
}

fn decode_entry(entry: &[u8], now_ms: i64) -> (ProducerId, ProducerEntry) {
    let int = |at: usize| i32::from_be_bytes(entry[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
    let (last_offset, timestamp, transaction_first) = (long(14), long(26), long(38));
    let newest = ProducerBatch {
        last_sequence: Sequence(int(10)),
        last_offset: Offset(last_offset),
        offset_delta: int(22),
        timestamp,
    };
    // ProducerStateManager.readSnapshot: without a last offset there is no batch.
    let batches = if last_offset >= 0 {
        std::slice::from_ref(&newest)
    } else {
        &[]
    };
    let transaction_first = (transaction_first >= 0).then_some(Offset(transaction_first));
    let epoch = ProducerEpoch(i16::from_be_bytes([entry[8], entry[9]]));
    (
        ProducerId(long(0)),
        ProducerEntry::restore(
            epoch,
            int(34),
            timestamp,
            now_ms,
            transaction_first,
            batches,
        ),
    )
}
