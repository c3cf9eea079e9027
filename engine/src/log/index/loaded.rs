//! A sidecar file in memory. Plain values, usable on any core.
//!
//! Invariant: what was opened has the checksum it names, and its runs lie one behind the other and fill the segment.

use super::layout::{
    ArchivedRun, ArchivedSummary, ENTRY_BYTES, FILE, MAGIC, PREAMBLE_BYTES, SUMMARY_BYTES, VERSION,
};
use super::{IndexBuilder, Run};
use crate::log::error::FormatError;
use crate::log::segment::SegmentInfo;
use crate::types::{FilePosition, Offset};
use bytes::Bytes;
use rkyv::rancor;
use std::cell::Cell;

/// A sidecar file in memory, read in place.
#[derive(Debug, Clone)]
pub struct LoadedIndex {
    file: Bytes,
    pub(super) run_count: usize,
}

impl LoadedIndex {
    /// Checks a sidecar file. Whether it belongs to its segment, compare [`Self::info`] with the segment's length
    /// (STORAGE C10); on any doubt rebuild it.
    pub fn open(file: Bytes) -> Result<LoadedIndex, FormatError> {
        let short = FormatError::TooShort {
            file: FILE,
            length: file.len(),
        };
        let (preamble, content) = file.split_at_checked(PREAMBLE_BYTES).ok_or(short.clone())?;
        if preamble[..8] != MAGIC {
            return Err(FormatError::Malformed {
                file: FILE,
                problem: "it does not begin as one".to_owned(),
            });
        }
        let number = |at: usize| {
            u32::from_le_bytes([
                preamble[at],
                preamble[at + 1],
                preamble[at + 2],
                preamble[at + 3],
            ])
        };
        if number(8) != VERSION {
            return Err(FormatError::UnknownVersion {
                file: FILE,
                version: i64::from(number(8)),
            });
        }
        let (stored, computed) = (number(12), crc32c::crc32c(content));
        if stored != computed {
            return Err(FormatError::Checksum {
                file: FILE,
                stored,
                computed,
            });
        }
        let summary = content.get(..SUMMARY_BYTES).ok_or(short)?;
        let summary = rkyv::access::<ArchivedSummary, rancor::Error>(summary)
            .map_err(|error| malformed(&error))?;
        let run_count = summary.runs.to_native() as usize;
        if content.len() - SUMMARY_BYTES != run_count.saturating_mul(ENTRY_BYTES) {
            return Err(FormatError::WrongLength {
                file: FILE,
                length: file.len(),
            });
        }
        let index = LoadedIndex { file, run_count };
        index.check_order()?;
        Ok(index)
    }

    /// Runs lie one behind the other and fill the segment.
    fn check_order(&self) -> Result<(), FormatError> {
        let mut position = 0u64;
        let mut offset = self.summary().segment_base.to_native();
        for number in 0..self.run_count {
            let run = self.run(number);
            if u64::from(run.position.0) != position
                || run.base_offset.0 < offset
                || run.length == 0
            {
                return Err(FormatError::Malformed {
                    file: FILE,
                    problem: format!("run {number} is out of order"),
                });
            }
            position += u64::from(run.length);
            offset = run.base_offset.0;
        }
        if position != u64::from(self.summary().segment_bytes.to_native())
            || self.next_offset().0 < offset
        {
            return Err(FormatError::Malformed {
                file: FILE,
                problem: "its runs do not fill the segment".to_owned(),
            });
        }
        Ok(())
    }

    fn summary(&self) -> &ArchivedSummary {
        let bytes = &self.file[PREAMBLE_BYTES..PREAMBLE_BYTES + SUMMARY_BYTES];
        rkyv::access::<ArchivedSummary, rancor::Error>(bytes).expect("checked when opened")
    }

    pub(super) fn run(&self, number: usize) -> Run {
        let begin = PREAMBLE_BYTES + SUMMARY_BYTES + number * ENTRY_BYTES;
        let entry =
            rkyv::access::<ArchivedRun, rancor::Error>(&self.file[begin..begin + ENTRY_BYTES])
                .expect("every bit pattern is a run");
        Run {
            base_offset: Offset(entry.base_offset.to_native()),
            position: FilePosition(entry.position.to_native()),
            length: entry.length.to_native(),
            batches: entry.batches.to_native(),
            first_batch_delta: entry.first_batch_delta.to_native(),
            max_timestamp: entry.max_timestamp.to_native(),
            max_timestamp_delta: entry.max_timestamp_delta.to_native(),
            prefix_checksum: entry.prefix_checksum.to_native(),
        }
    }

    /// The offset behind the segment's last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.summary().next_offset.to_native())
    }

    /// The segment as it was when the index was written.
    pub fn info(&self) -> SegmentInfo {
        let summary = self.summary();
        SegmentInfo {
            base_offset: Offset(summary.segment_base.to_native()),
            size: summary.segment_bytes.to_native(),
            max_timestamp: summary.max_timestamp.to_native(),
            offset_of_max_timestamp: Offset(summary.offset_of_max_timestamp.to_native()),
            first_timestamp: summary.first_timestamp.to_native(),
            created_ms: summary.created_ms.to_native(),
        }
    }

    /// CRC-32C over the prefixes of all batches, which name the CRCs of all batches: the identity of the segment's
    /// content (STORAGE C10).
    pub fn segment_checksum(&self) -> u32 {
        self.summary().segment_checksum.to_native()
    }

    /// Goes on building where the file ends, for a segment that grows again.
    pub fn into_builder(self) -> IndexBuilder {
        IndexBuilder {
            info: self.info(),
            next_offset: self.next_offset(),
            interval: self.summary().interval.to_native(),
            runs: (0..self.run_count).map(|number| self.run(number)).collect(),
            run_is_open: Cell::new(false),
            segment_checksum: self.segment_checksum(),
        }
    }
}

fn malformed(error: &rancor::Error) -> FormatError {
    FormatError::Malformed {
        file: FILE,
        problem: error.to_string(),
    }
}
