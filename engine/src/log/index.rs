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
//! The file is read in place: fixed-size little-endian rkyv archives without pointers and without alignment, each
//! passed through checked access. Layout in `engine/FORMAT.md`. Plain values, usable on any core.

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD, PREFIX_BYTES};
use super::error::FormatError;
use super::segment::SegmentInfo;
use crate::types::{FilePosition, Offset};
use bytes::Bytes;
use net::records::BatchHeader;
use rkyv::bytecheck::CheckBytes;
use rkyv::rend::unaligned::{i64_ule, u32_ule};
use rkyv::{Portable, rancor};
use std::cell::Cell;

/// Extension of the sidecar's file name.
pub const SIDECAR_EXTENSION: &str = "tidx";
/// A run is closed by the first batch that makes it longer than this, in bytes.
pub const RUN_INTERVAL_BYTES: u32 = 32 * 1024;

const FILE: &str = "sidecar index";
const MAGIC: [u8; 8] = *b"TIDELIDX";
const VERSION: u32 = 1;
/// Magic (8), version (4), checksum (4).
const PREAMBLE_BYTES: usize = 16;
const SUMMARY_BYTES: usize = size_of::<ArchivedSummary>();
const ENTRY_BYTES: usize = size_of::<ArchivedRun>();
const _: () = assert!(SUMMARY_BYTES == 64 && ENTRY_BYTES == 40);

/// What the file says of the whole segment.
#[derive(Portable, CheckBytes, Clone, Copy)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct ArchivedSummary {
    segment_base: i64_ule,
    next_offset: i64_ule,
    max_timestamp: i64_ule,
    offset_of_max_timestamp: i64_ule,
    first_timestamp: i64_ule,
    created_ms: i64_ule,
    segment_bytes: u32_ule,
    segment_checksum: u32_ule,
    runs: u32_ule,
    interval: u32_ule,
}

/// One run in the file.
#[derive(Portable, CheckBytes, Clone, Copy)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct ArchivedRun {
    base_offset: i64_ule,
    max_timestamp: i64_ule,
    position: u32_ule,
    length: u32_ule,
    first_batch_delta: u32_ule,
    max_timestamp_delta: u32_ule,
    batches: u32_ule,
    prefix_checksum: u32_ule,
}

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

    /// The whole runs that a read of `bytes_max` bytes from `offset` has to cover, as the first run's number and the
    /// byte range to read. `end` is the position up to which the segment may be read. The last run grows no more
    /// after this, so that [`Self::verify`] finds it as it was although the segment went on in the meantime.
    pub fn read_range(
        &self,
        offset: Offset,
        bytes_max: usize,
        end: FilePosition,
    ) -> Option<(usize, FilePosition, FilePosition)> {
        if let SegmentIndex::Building(builder) = self {
            builder.close_run();
        }
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

fn verify_run(run: &Run, bytes: &[u8]) -> Result<(), Damage> {
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

/// Builds the index of a segment, batch by batch.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    info: SegmentInfo,
    next_offset: Offset,
    interval: u32,
    runs: Vec<Run>,
    /// Whether the last run may still grow. A read ends that: a run that was handed out stays as it is.
    run_is_open: Cell<bool>,
    segment_checksum: u32,
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

/// A sidecar file in memory, read in place.
#[derive(Debug, Clone)]
pub struct LoadedIndex {
    file: Bytes,
    run_count: usize,
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

    fn run(&self, number: usize) -> Run {
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
