//! A record batch as the log holds it in memory: the producer's bytes, untouched, behind a stamped prefix.
//!
//! Base offset and leader epoch lie in the first 21 bytes, outside the batch's CRC. They are stamped on a copy of
//! those bytes; the rest stays the slice of the frame it arrived in, shared and never written to.

use crate::types::{LeaderEpoch, Offset};
use bytes::Bytes;
use net::records::BatchHeader;

/// Bytes of a batch in front of what its CRC protects: base offset (8), batch length (4), partition leader epoch
/// (4), magic (1), CRC (4).
pub const PREFIX_BYTES: usize = net::records::BATCH_PREFIX_BYTES;
/// Bytes of a batch's header.
pub const HEADER_BYTES: usize = net::records::BATCH_HEADER_BYTES;
/// Bytes in front of what `batch_length` counts.
pub const LENGTH_OVERHEAD: usize = 12;

/// One batch with its place in the log.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    /// The first 21 bytes, stamped.
    pub prefix: [u8; PREFIX_BYTES],
    /// Everything behind them.
    pub body: Bytes,
    header: BatchHeader,
}

impl StoredBatch {
    /// Stamps a copy of the prefix of `batch`. `header` is the batch's decoded header, before or after stamping.
    ///
    /// # Panics
    /// If `batch` is shorter than a header: validation let something through.
    pub fn stamp(
        batch: &Bytes,
        mut header: BatchHeader,
        base_offset: Offset,
        epoch: LeaderEpoch,
    ) -> StoredBatch {
        assert!(
            batch.len() >= HEADER_BYTES,
            "a validated batch has a whole header"
        );
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&batch[..PREFIX_BYTES]);
        prefix[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
        prefix[12..16].copy_from_slice(&epoch.0.to_be_bytes());
        header.base_offset = base_offset.0;
        header.partition_leader_epoch = epoch.0;
        StoredBatch {
            prefix,
            body: batch.slice(PREFIX_BYTES..),
            header,
        }
    }

    /// The header as stamped.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.header.last_offset())
    }

    /// Length of prefix and body.
    pub fn size_in_bytes(&self) -> usize {
        PREFIX_BYTES + self.body.len()
    }

    /// The batch as two pieces, for a vectored write. Copies 21 bytes; a read of many batches uses
    /// [`super::TailCache::plan`], which makes one allocation for all their prefixes.
    pub fn chain(&self) -> [Bytes; 2] {
        [Bytes::copy_from_slice(&self.prefix), self.body.clone()]
    }

    /// Checksum of the prefix: what protects the bytes that the batch's own CRC leaves out (DESIGN §5.3).
    pub fn prefix_checksum(&self) -> u32 {
        crc32c::crc32c(&self.prefix)
    }
}
