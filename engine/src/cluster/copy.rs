//! One copy of the metadata log as found on disk: how far it is good, and what lies behind.
//!
//! Pure over bytes. The log is a run of Kafka record batches without gaps in offsets, then zeros to the end of the
//! file.

use net::records::{BATCH_HEADER_BYTES, Batch};

use super::record::prefix_checksum;

/// What follows the last good batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Only zeros: the log ends here.
    Clean,
    /// Bytes that no good batch follows: an append that was cut off before it was answered.
    Torn,
    /// A bad batch with a good one behind it: damage to what was answered.
    Rotten,
}

/// The good part of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Bytes of good batches from the start of the file.
    pub(super) good_bytes: usize,
    /// Offset after the last good batch.
    pub(super) next_offset: i64,
    /// Leader epoch of the last good batch; −1 if there is none.
    pub(super) leader_epoch: i32,
    /// What lies behind.
    pub(super) tail: Tail,
}

/// Walks the good batches from the start of `bytes`.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan {
        good_bytes: 0,
        next_offset: 0,
        leader_epoch: -1,
        tail: Tail::Clean,
    };
    while let Some((length, base_offset, next_offset, leader_epoch)) =
        good_batch(&bytes[scan.good_bytes..])
    {
        let first = scan.good_bytes == 0;
        if (!first && base_offset != scan.next_offset) || leader_epoch < scan.leader_epoch {
            break;
        }
        scan.good_bytes += length;
        scan.next_offset = next_offset;
        scan.leader_epoch = leader_epoch;
    }
    scan.tail = tail(&bytes[scan.good_bytes..], scan.next_offset);
    scan
}

fn good_batch(bytes: &[u8]) -> Option<(usize, i64, i64, i32)> {
    let batch = Batch::parse(bytes).ok()?;
    let header = batch.header();
    let checksum = prefix_checksum(header.base_offset, header.partition_leader_epoch);
    let sound = batch.crc_is_valid() && header.base_sequence == checksum && header.record_count > 0;
    sound.then(|| {
        (
            batch.bytes().len(),
            header.base_offset,
            header.next_offset(),
            header.partition_leader_epoch,
        )
    })
}

fn tail(bytes: &[u8], next_offset: i64) -> Tail {
    if bytes.iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    let starts = 1..bytes.len().saturating_sub(BATCH_HEADER_BYTES - 1);
    let good_behind = starts.into_iter().any(|start| {
        // The magic byte sorts out nearly every position before the checksum has to.
        bytes[start + 16] == 2
            && good_batch(&bytes[start..]).is_some_and(|(_, base, ..)| base > next_offset)
    });
    if good_behind {
        Tail::Rotten
    } else {
        Tail::Torn
    }
}
