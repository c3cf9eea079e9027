//! The sidecar index of a segment (`.tidx`): where offsets and timestamps lie, and a checksum over those header bytes
//! that a batch's own CRC leaves out.
//!
//! A segment is divided into **runs** of whole batches; each run is a bit longer than `interval` bytes, except where
//! a reader or the writer closed one early. One entry per run gives its first offset, its position and length, the largest
//! timestamp so far, and the CRC-32C of the 21-byte prefixes of its batches, one after the other. A read from disk
//! covers whole runs, checks each batch's CRC and each run's prefixes, and then cuts out what was asked for; so a
//! flipped bit anywhere is seen (DESIGN §5.3).
//!
//! The same rule as Kafka's offset index decides where runs begin, so Kafka's `.index` and `.timeindex` follow from
//! these entries without looking at the segment again.
//!
//! Here is what both kinds of index answer. `builder` grows with its segment, `loaded` is a file in memory, `layout`
//! the file's bytes, and `verify` checks what was read of the segment. Plain values, usable on any core.

mod builder;
mod layout;
mod loaded;
mod verify;

pub use builder::IndexBuilder;
pub use loaded::LoadedIndex;
pub use verify::{Damage, DamageKind};

use super::segment::SegmentInfo;
use crate::types::{FilePosition, Offset};
use verify::verify_run;

/// Extension of the sidecar's file name.
pub const SIDECAR_EXTENSION: &str = "tidx";
/// A run is closed by the first batch that makes it longer than this, in bytes.
pub const RUN_INTERVAL_BYTES: u32 = 32 * 1024;

/// Batches that are checked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Where it begins in the segment.
    pub position: FilePosition,
    /// Its bytes.
    pub length: u32,
    /// How many batches it has.
    pub batches: u32,
    /// Last offset of its first batch, relative to `base_offset`; Kafka's index names batches by it.
    pub first_batch_delta: u32,
    /// Largest timestamp in the segment up to and including this run's **first** batch; −1 if none.
    pub max_timestamp: i64,
    /// Last offset of the first batch that carries it, relative to the segment's base.
    pub max_timestamp_delta: u32,
    /// CRC-32C over the first 21 bytes of each of its batches.
    pub prefix_checksum: u32,
}

impl Run {
    /// The position behind it.
    pub fn end(&self) -> FilePosition {
        FilePosition(self.position.0 + self.length)
    }
}

/// The index of one segment: being built for the active one, or read from its file.
#[derive(Debug, Clone)]
pub enum SegmentIndex {
    /// Grows with its segment.
    Building(IndexBuilder),
    /// A sidecar file's bytes.
    Loaded(LoadedIndex),
}

impl SegmentIndex {
    /// Number of runs.
    pub fn run_count(&self) -> usize {
        match self {
            SegmentIndex::Building(builder) => builder.runs.len(),
            SegmentIndex::Loaded(loaded) => loaded.run_count,
        }
    }

    /// A run by its number.
    pub fn run(&self, number: usize) -> Run {
        match self {
            SegmentIndex::Building(builder) => builder.runs[number],
            SegmentIndex::Loaded(loaded) => loaded.run(number),
        }
    }

    /// What the index says of its segment as a whole. Unlike a [`SegmentInfo`] that saw the records, it names the
    /// largest timestamp's **batch** (by its last offset), as Kafka's time index does.
    pub fn info(&self) -> SegmentInfo {
        match self {
            SegmentIndex::Building(builder) => builder.info,
            SegmentIndex::Loaded(loaded) => loaded.info(),
        }
    }

    /// Bytes of the segment that the index covers.
    pub fn covered(&self) -> FilePosition {
        self.run_count()
            .checked_sub(1)
            .map_or(FilePosition(0), |last| self.run(last).end())
    }

    /// The number of the run that holds `offset`, or would hold it; `None` only for an index without runs.
    pub fn run_of_offset(&self, offset: Offset) -> Option<usize> {
        self.search(|run| run.base_offset <= offset)
    }

    /// The number of the run that holds the byte at `position`.
    pub fn run_of_position(&self, position: FilePosition) -> Option<usize> {
        self.search(|run| run.position <= position)
    }

    /// Where to look for the first record with at least this timestamp: in this run, or in the first batch of the
    /// next one. Every batch before it is older.
    pub fn run_of_timestamp(&self, timestamp: i64) -> Option<usize> {
        self.search(|run| run.max_timestamp < timestamp)
    }

    /// The last run for which `below` holds, else the first one.
    fn search(&self, below: impl Fn(&Run) -> bool) -> Option<usize> {
        let (mut low, mut high) = (0, self.run_count());
        while low < high {
            let middle = low.midpoint(high);
            if below(&self.run(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (self.run_count() > 0).then(|| low.saturating_sub(1))
    }

    /// Ends the last run of a segment that grows, so that it stays as it is while it is read.
    pub fn close_run(&self) {
        if let SegmentIndex::Building(builder) = self {
            builder.close_run();
        }
    }

    /// The whole runs that a read of `bytes_max` bytes from `offset` has to cover, as the first run's number and the
    /// byte range to read. `end` is the position up to which the segment may be read. The last run grows no more
    /// after this, so that [`Self::verify`] finds it as it was although the segment went on in the meantime.
    pub fn read_range(
        &self,
        offset: Offset,
        bytes_max: usize,
        end: FilePosition,
    ) -> Option<(usize, FilePosition, FilePosition)> {
        self.close_run();
        let first = self.run_of_offset(offset)?;
        let start = self.run(first).position;
        let wanted = u64::from(self.run(first).end().0)
            .saturating_add(bytes_max as u64)
            .min(u64::from(end.0));
        let mut last = self.run_of_position(FilePosition(wanted.saturating_sub(1) as u32))?;
        while last > first && self.run(last).end() > end {
            last -= 1;
        }
        (self.run(last).end() <= end).then(|| (first, start, self.run(last).end()))
    }

    /// Checks bytes read from the segment, which begin with run `first` and hold whole runs.
    pub fn verify(&self, first: usize, bytes: &[u8]) -> Result<(), Damage> {
        let mut rest = bytes;
        let mut number = first;
        while !rest.is_empty() {
            let run = self.run(number);
            let Some((run_bytes, tail)) = rest.split_at_checked(run.length as usize) else {
                return Err(Damage {
                    position: run.position,
                    length: run.length,
                    kind: DamageKind::Short,
                });
            };
            verify_run(&run, run_bytes)?;
            rest = tail;
            number += 1;
        }
        Ok(())
    }

    /// The offset behind the last record of the run.
    pub fn run_next_offset(&self, number: usize) -> Offset {
        if number + 1 < self.run_count() {
            return self.run(number + 1).base_offset;
        }
        match self {
            SegmentIndex::Building(builder) => builder.next_offset,
            SegmentIndex::Loaded(loaded) => loaded.next_offset(),
        }
    }
}
