//! Tells damaged bytes of a segment from the good ones around them. Pure; runs on the shard's core.
//!
//! Invariant: a byte counts as good only if its batch's CRC holds and, unless another batch of its run is damaged, its
//! run's header checksum does; whoever reads damaged bytes costs as few good ones as the bytes themselves can prove.

use std::ops::Range;

use net::records::BatchHeader;

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use super::index::{Damage, SegmentIndex};
use super::journal::replay::batch_crc_holds;
use super::quarantine::QuarantinedRange;
use crate::types::{FilePosition, Offset};

/// What was read, divided.
#[derive(Debug, Default)]
pub(crate) struct Division {
    /// Whole good batches, in order; neighbours are one range.
    pub(crate) good: Vec<Range<usize>>,
    /// Which offsets are lost, and what was seen.
    pub(crate) damaged: Vec<(QuarantinedRange, Damage)>,
}

/// Length of the whole batch at the front whose CRC holds.
pub(crate) fn good_batch(bytes: &[u8]) -> Option<(BatchHeader, usize)> {
    let header = BatchHeader::parse(bytes).filter(|header| header.magic == 2)?;
    let size = usize::try_from(header.batch_length)
        .ok()?
        .checked_add(LENGTH_OVERHEAD)?;
    let batch = bytes.get(..size).filter(|_| size >= HEADER_BYTES)?;
    batch_crc_holds(batch).then_some((header, size))
}

/// Where the next good batch with records at or above `offset` begins, at `from` or behind.
pub(crate) fn next_good_batch(
    bytes: &[u8],
    from: usize,
    offset: Offset,
) -> Option<(usize, BatchHeader)> {
    (from..bytes.len().saturating_sub(HEADER_BYTES - 1)).find_map(|at| {
        // The magic byte alone rules out almost every place.
        let (header, _) = (bytes[at + 16] == 2)
            .then(|| good_batch(&bytes[at..]))
            .flatten()?;
        (header.base_offset >= offset.0).then_some((at, header))
    })
}

/// Divides bytes that were read from `start` of a segment and begin with run `first`.
pub(crate) fn divide(
    index: &SegmentIndex,
    first: usize,
    start: FilePosition,
    bytes: &[u8],
    wanted: usize,
) -> Division {
    let mut division = Division::default();
    let mut number = first;
    let mut at = 0;
    while at < wanted && number < index.run_count() {
        let run = index.run(number);
        let end = (at + run.length as usize).min(wanted);
        let slice = &bytes[at.min(bytes.len())..end.min(bytes.len())];
        match index
            .verify(number, slice)
            .and_then(|()| whole(&run, slice))
        {
            Ok(()) => division.add_good(at..end),
            Err(damage) => division.add_damaged_run(index, number, start, at, slice, damage),
        }
        at = end;
        number += 1;
    }
    division
}

/// A run that the file ends in front of has no batch to be wrong, and is damaged all the same.
fn whole(run: &super::index::Run, slice: &[u8]) -> Result<(), Damage> {
    if slice.len() == run.length as usize {
        return Ok(());
    }
    Err(Damage {
        position: run.position,
        length: run.length,
        kind: super::index::DamageKind::Short,
    })
}

impl Division {
    fn add_good(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.good.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => self.good.push(range),
        }
    }

    /// Batch by batch through a run of which some batch is damaged.
    fn add_damaged_run(
        &mut self,
        index: &SegmentIndex,
        number: usize,
        start: FilePosition,
        at: usize,
        slice: &[u8],
        damage: Damage,
    ) {
        let run = index.run(number);
        let run_end = index.run_next_offset(number);
        let suspect = (damage.position.0.saturating_sub(start.0) as usize).saturating_sub(at);
        let mut next = run.base_offset;
        let mut position = 0;
        while position < slice.len() {
            let batch = good_batch(&slice[position..]);
            // The header checksum named this batch although its CRC, which leaves the header out, holds.
            let named =
                position == suspect && damage.kind == super::index::DamageKind::PrefixChecksum;
            if let Some((header, size)) = batch.filter(|(header, _)| {
                !named && header.base_offset >= next.0 && header.next_offset() <= run_end.0
            }) {
                self.add_good(at + position..at + position + size);
                next = Offset(header.next_offset());
                position += size;
                continue;
            }
            let behind = next_good_batch(slice, position + HEADER_BYTES, Offset(next.0 + 1))
                .filter(|(_, header)| header.next_offset() <= run_end.0);
            let (to, offset) = behind.map_or((slice.len(), run_end), |(to, header)| {
                (to, Offset(header.base_offset))
            });
            self.add_damage(next, offset, damage);
            (position, next) = (to, offset);
        }
        self.add_damage(next, run_end, damage);
    }

    fn add_damage(&mut self, from: Offset, to: Offset, damage: Damage) {
        if from < to {
            self.damaged.push((
                QuarantinedRange {
                    first: from,
                    last: Offset(to.0 - 1),
                },
                damage,
            ));
        }
    }
}
