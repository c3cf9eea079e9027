//! The index of a segment that grows. On the core of whoever writes the segment.
//!
//! Invariant: runs lie one behind the other from the segment's begin, and one that was handed out to a reader grows no
//! more.

use super::Run;
use super::layout::{ENTRY_BYTES, MAGIC, PREAMBLE_BYTES, SUMMARY_BYTES, VERSION};
use crate::log::batch::{LENGTH_OVERHEAD, PREFIX_BYTES};
use crate::log::segment::SegmentInfo;
use crate::types::{FilePosition, Offset};
use net::records::BatchHeader;
use std::cell::Cell;

/// Builds the index of a segment, batch by batch.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    pub(super) info: SegmentInfo,
    pub(super) next_offset: Offset,
    pub(super) interval: u32,
    pub(super) runs: Vec<Run>,
    /// Whether the last run may still grow. A read ends that: a run that was handed out stays as it is.
    pub(super) run_is_open: Cell<bool>,
    pub(super) segment_checksum: u32,
}

impl IndexBuilder {
    /// An index of an empty segment. `interval` is [`RUN_INTERVAL_BYTES`] except in tests.
    pub fn new(segment_base: Offset, created_ms: i64, interval: u32) -> IndexBuilder {
        IndexBuilder {
            info: SegmentInfo::empty(segment_base, created_ms),
            next_offset: segment_base,
            interval,
            runs: Vec::new(),
            run_is_open: Cell::new(false),
            segment_checksum: 0,
        }
    }

    /// What is known of the segment.
    pub fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// The offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Adds the batch that stands behind the last one.
    ///
    /// # Panics
    /// If its offset goes back.
    pub fn push(&mut self, prefix: &[u8; PREFIX_BYTES], header: &BatchHeader) {
        let base_offset = Offset(header.base_offset);
        let last_offset = Offset(header.base_offset + i64::from(header.last_offset_delta));
        let size = header.batch_length as u32 + LENGTH_OVERHEAD as u32;
        assert!(
            base_offset >= self.next_offset,
            "batches are indexed in offset order"
        );
        let position = FilePosition(self.info.size);
        // Kafka's time index names the last offset of the batch that carries the timestamp. A batch that compaction
        // emptied still has one, but no record that carries it.
        let max_timestamp = if header.record_count > 0 {
            header.max_timestamp
        } else {
            -1
        };
        self.info.append(size, max_timestamp, last_offset);
        self.next_offset = Offset(last_offset.0 + 1);
        self.segment_checksum = crc32c::crc32c_append(self.segment_checksum, prefix);
        match self
            .runs
            .last_mut()
            .filter(|run| self.run_is_open.get() && run.length <= self.interval)
        {
            Some(run) => {
                run.length += size;
                run.batches += 1;
                run.prefix_checksum = crc32c::crc32c_append(run.prefix_checksum, prefix);
            }
            None => {
                self.runs.push(Run {
                    base_offset,
                    position,
                    length: size,
                    batches: 1,
                    first_batch_delta: header.last_offset_delta as u32,
                    max_timestamp: self.info.max_timestamp,
                    max_timestamp_delta: relative(
                        self.info.offset_of_max_timestamp,
                        self.info.base_offset,
                    ),
                    prefix_checksum: crc32c::crc32c(prefix),
                });
                self.run_is_open.set(true);
            }
        }
    }

    /// Ends the present run, so that it can be read and checked while the segment grows.
    pub fn close_run(&self) {
        self.run_is_open.set(false);
    }

    /// Length of the sidecar file.
    pub fn encoded_bytes(&self) -> usize {
        PREAMBLE_BYTES + SUMMARY_BYTES + self.runs.len() * ENTRY_BYTES
    }

    /// The sidecar file's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.encoded_bytes());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        let info = &self.info;
        for number in [
            info.base_offset.0,
            self.next_offset.0,
            info.max_timestamp,
            info.offset_of_max_timestamp.0,
            info.first_timestamp,
            info.created_ms,
        ] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            info.size,
            self.segment_checksum,
            self.runs.len() as u32,
            self.interval,
        ] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        for run in &self.runs {
            file.extend_from_slice(&run.base_offset.0.to_le_bytes());
            file.extend_from_slice(&run.max_timestamp.to_le_bytes());
            for number in [
                run.position.0,
                run.length,
                run.first_batch_delta,
                run.max_timestamp_delta,
                run.batches,
                run.prefix_checksum,
            ] {
                file.extend_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = crc32c::crc32c(&file[PREAMBLE_BYTES..]);
        file[12..16].copy_from_slice(&checksum.to_le_bytes());
        file
    }
}

/// A relative offset; −1 (no timestamp) becomes 0.
fn relative(offset: Offset, base: Offset) -> u32 {
    u32::try_from(offset.0 - base.0).unwrap_or(0)
}
