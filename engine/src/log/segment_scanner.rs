//! Walks through a segment's bytes as Kafka's recovery does: batch by batch from the front, up to the first that is
//! torn, damaged or out of order. What lies before it is the segment's valid part.
//!
//! Gives the sidecar index along the way, so it also rebuilds a missing or doubtful one (RELIABILITY R4). The caller
//! reads the file in pieces of its choice. Plain computation; whoever runs it on a shard yields between pieces.

use super::batch::PREFIX_BYTES;
use super::index::IndexBuilder;
use crate::types::{FilePosition, Offset};
use net::records::{Batch, BatchError};

/// Why the valid part ends before the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanEnd {
    /// The last batch is not whole: a write was cut.
    Torn,
    /// A length or magic that no batch has.
    Structure,
    /// A batch's CRC does not match.
    Checksum,
    /// A batch's offsets lie below what came before, or do not fit the segment.
    Offsets,
}

/// What a call of [`SegmentScanner::feed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// Call again with the file's bytes from [`SegmentScanner::position`], at least `length` of them (fewer only if
    /// the file has changed).
    More {
        /// How many bytes the next batch needs.
        length: usize,
    },
    /// The whole file is valid.
    Complete,
    /// The rest of the file is not part of the segment.
    Ended(ScanEnd),
}

/// Scan of one segment.
#[derive(Debug)]
pub struct SegmentScanner {
    index: IndexBuilder,
    file_length: u64,
    end: Option<ScanEnd>,
}

/// How much to read if nothing is known of the next batch.
const READ_AHEAD_BYTES: usize = 512 * 1024;

impl SegmentScanner {
    /// Scans the segment that begins at `base` in a file of `file_length` bytes. `interval` is
    /// [`super::index::RUN_INTERVAL_BYTES`].
    pub fn new(base: Offset, file_length: u64, created_ms: i64, interval: u32) -> SegmentScanner {
        SegmentScanner {
            index: IndexBuilder::new(base, created_ms, interval),
            file_length,
            end: None,
        }
    }

    /// Where the next bytes have to come from: the end of the valid part so far.
    pub fn position(&self) -> FilePosition {
        FilePosition(self.index.info().size)
    }

    /// Why the scan ended, if it has.
    pub fn end(&self) -> Option<ScanEnd> {
        self.end
    }

    /// The index of the valid part.
    pub fn into_index(self) -> IndexBuilder {
        self.index
    }

    /// Takes bytes of the file from [`Self::position`] on and calls `on_batch` for each good batch with its position.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on_batch: impl FnMut(&Batch<'_>, FilePosition),
    ) -> Fed {
        loop {
            if let Some(end) = self.end {
                return Fed::Ended(end);
            }
            let left = self
                .file_length
                .saturating_sub(u64::from(self.position().0));
            if left == 0 {
                return Fed::Complete;
            }
            let batch = match Batch::parse(bytes) {
                Ok(batch) => batch,
                Err(BatchError::Truncated { needed, .. }) if needed as u64 <= left => {
                    return Fed::More {
                        length: needed
                            .max(READ_AHEAD_BYTES)
                            .min(usize::try_from(left).unwrap_or(usize::MAX)),
                    };
                }
                Err(BatchError::Truncated { .. }) => return self.ended(ScanEnd::Torn),
                Err(_) => return self.ended(ScanEnd::Structure),
            };
            if !batch.crc_is_valid() {
                return self.ended(ScanEnd::Checksum);
            }
            if !self.offsets_fit(&batch) {
                return self.ended(ScanEnd::Offsets);
            }
            on_batch(&batch, self.position());
            let prefix: &[u8; PREFIX_BYTES] =
                batch.bytes().first_chunk().expect("a batch has a prefix");
            self.index.push(prefix, batch.header());
            bytes = &bytes[batch.bytes().len()..];
        }
    }

    fn offsets_fit(&self, batch: &Batch<'_>) -> bool {
        let header = batch.header();
        let base = self.index.info().base_offset.0;
        let last = header
            .base_offset
            .checked_add(i64::from(header.last_offset_delta));
        header.base_offset >= self.index.next_offset().0
            && header.last_offset_delta >= 0
            && last.is_some_and(|last| last - base <= i64::from(i32::MAX))
            && u64::from(self.position().0) + batch.bytes().len() as u64 <= i32::MAX as u64
    }

    fn ended(&mut self, end: ScanEnd) -> Fed {
        self.end = Some(end);
        Fed::Ended(end)
    }
}
