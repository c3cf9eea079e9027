//! Checks whole runs of a segment against what its index says of them. On any core.
//!
//! Invariant: one flipped bit anywhere in a run is seen, and where it can be told, only its batch is named as damaged.

use super::Run;
use crate::log::batch::{HEADER_BYTES, LENGTH_OVERHEAD, PREFIX_BYTES};
use crate::types::FilePosition;

/// Bytes of a segment that are not what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where the damaged batch (or, where it cannot be told, run) begins.
    pub position: FilePosition,
    /// How many bytes it has.
    pub length: u32,
    /// How it shows.
    pub kind: DamageKind,
}

/// How damage shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The segment ends too early.
    Short,
    /// A length or magic that cannot be.
    Structure,
    /// A batch's CRC does not match.
    BatchChecksum,
    /// The bytes in front of the CRC changed.
    PrefixChecksum,
}

pub(super) fn verify_run(run: &Run, bytes: &[u8]) -> Result<(), Damage> {
    let damage = |position: usize, length: usize, kind| Damage {
        position: FilePosition(run.position.0 + position as u32),
        length: length as u32,
        kind,
    };
    let mut position = 0;
    let mut checksum = 0;
    let mut batches = 0;
    while position < bytes.len() {
        let rest = &bytes[position..];
        let Some(size) = batch_size(rest).filter(|size| *size <= rest.len()) else {
            return Err(damage(position, rest.len(), DamageKind::Structure));
        };
        let stored = u32::from_be_bytes([rest[17], rest[18], rest[19], rest[20]]);
        if crc32c::crc32c(&rest[PREFIX_BYTES..size]) != stored {
            return Err(damage(position, size, DamageKind::BatchChecksum));
        }
        checksum = crc32c::crc32c_append(checksum, &rest[..PREFIX_BYTES]);
        batches += 1;
        position += size;
    }
    if batches == run.batches && checksum == run.prefix_checksum {
        return Ok(());
    }
    let (position, length) =
        locate_flipped_bit(bytes, checksum ^ run.prefix_checksum).unwrap_or((0, bytes.len()));
    Err(damage(position, length, DamageKind::PrefixChecksum))
}

/// Length of the batch at the front, if its header can be one.
fn batch_size(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER_BYTES || bytes[16] != 2 {
        return None;
    }
    let length = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let size = usize::try_from(length).ok()? + LENGTH_OVERHEAD;
    (size >= HEADER_BYTES).then_some(size)
}

/// Which batch of a run has one flipped bit in its prefix, so that only that batch is lost to readers. CRC-32C is
/// linear: the difference of the checksums is the checksum of the difference, whatever the other bytes are.
fn locate_flipped_bit(bytes: &[u8], difference: u32) -> Option<(usize, usize)> {
    let mut batches = Vec::new();
    let mut position = 0;
    while let Some(size) =
        batch_size(&bytes[position..]).filter(|size| *size <= bytes.len() - position)
    {
        batches.push((position, size));
        position += size;
    }
    // The checksum without its initial and final inversion, fed with one more byte.
    let feed = |register: u32, byte: u8| !crc32c::crc32c_append(!register, &[byte]);
    let mut bits: [u32; 8] = std::array::from_fn(|bit| feed(0, 1 << bit));
    for batch in batches.iter().rev() {
        for _ in 0..PREFIX_BYTES {
            if bits.contains(&difference) {
                return Some(*batch);
            }
            bits = bits.map(|register| feed(register, 0));
        }
    }
    None
}
