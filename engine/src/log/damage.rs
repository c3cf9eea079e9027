//! Tells damaged bytes of a segment from the good ones around them. Pure; runs on the shard's core.
//!
//! Invariant: a byte counts as good only if its batch's CRC holds and, unless another batch of its run is damaged, its
//! run's header checksum does; whoever reads damaged bytes costs as few good ones as the bytes themselves can prove.

use std::ops::Range;

use net::records::BatchHeader;

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use super::index::{Damage, SegmentIndex};
use super::journal::replay::batch_crc_holds;
use super::leader_epochs::LeaderEpochs;
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

/// Whether a batch that leaves offsets out in front of it says so only because a bit of its base offset, which its
/// checksum does not cover, has flipped: then the one behind it begins among the offsets that it left out or claims.
pub(crate) fn overlaps(header: &BatchHeader, behind: &BatchHeader, next: Offset) -> bool {
    (next.0..header.next_offset()).contains(&behind.base_offset)
}

/// No checksum of the batch's own covers its leader epoch; the partition's history says what it must be.
pub(crate) fn has_its_epoch(header: &BatchHeader, epochs: &LeaderEpochs) -> bool {
    let expected = epochs.epoch_of(Offset(header.base_offset));
    expected.is_none_or(|epoch| epoch.0 == header.partition_leader_epoch)
}

/// Divides bytes that were read from `start` of a segment and begin with run `first`. `epochs` gives the partition's
/// history, which is asked only for a damaged run.
pub(crate) fn divide(
    index: &SegmentIndex,
    first: usize,
    start: FilePosition,
    bytes: &[u8],
    wanted: usize,
    epochs: impl FnOnce() -> LeaderEpochs,
) -> Division {
    let mut division = Division::default();
    let mut epochs = Some(epochs);
    let mut history = LeaderEpochs::default();
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
            Err(damage) => {
                if let Some(epochs) = epochs.take() {
                    history = epochs();
                }
                let read = ReadRun { start, at, slice };
                division.add_damaged_run(index, number, &read, damage, &history);
            }
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

/// A run as it was read.
struct ReadRun<'a> {
    /// Where what was read begins in the segment.
    start: FilePosition,
    /// Where the run begins in what was read.
    at: usize,
    slice: &'a [u8],
}

impl Division {
    /// Whether all of so many bytes are good.
    pub(crate) fn is_good(&self, length: usize) -> bool {
        self.damaged.is_empty() && self.good.iter().map(ExactSizeIterator::len).eq([length])
    }

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
        read: &ReadRun<'_>,
        damage: Damage,
        epochs: &LeaderEpochs,
    ) {
        let ReadRun { start, at, slice } = *read;
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
            // Its checksum leaves the front of a header out: the run's own covers that, and does not hold.
            let fits = |header: &BatchHeader, size: usize| {
                let behind = slice.get(position + size..).and_then(good_batch);
                let leaves_out = header.base_offset > next.0;
                !named
                    && header.base_offset >= next.0
                    && header.next_offset() <= run_end.0
                    && has_its_epoch(header, epochs)
                    && !(leaves_out
                        && behind.is_some_and(|(behind, _)| overlaps(header, &behind, next)))
            };
            if let Some((header, size)) = batch.filter(|(header, size)| fits(header, *size)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::PREFIX_BYTES;
    use crate::log::index::{IndexBuilder, RUN_INTERVAL_BYTES};
    use crate::types::LeaderEpoch;
    use net::records::BatchBuilder;

    const BATCHES: i64 = 4;

    /// Which of four one-record batches of one run, all of epoch 5, are good after the flips of (batch, byte, bits).
    fn good_after(flips: &[(usize, usize, u8)]) -> Vec<usize> {
        let mut builder = IndexBuilder::new(Offset(0), 0, RUN_INTERVAL_BYTES);
        let mut bytes = Vec::new();
        for base in 0..BATCHES {
            let mut batch = BatchBuilder::new();
            batch.append(None, Some(b"value"), &[], 1);
            let batch = batch.build(base, 5);
            let prefix: &[u8; PREFIX_BYTES] = batch.first_chunk().unwrap();
            builder.push(prefix, &BatchHeader::parse(&batch).unwrap());
            bytes.extend_from_slice(&batch);
        }
        let size = bytes.len() / BATCHES as usize;
        for (batch, byte, bits) in flips {
            bytes[batch * size + byte] ^= bits;
        }
        let mut epochs = LeaderEpochs::default();
        epochs.assign(LeaderEpoch(5), Offset(0));
        let index = SegmentIndex::Building(builder);
        let wanted = bytes.len();
        let division = divide(&index, 0, FilePosition(0), &bytes, wanted, || epochs);
        let lost: i64 = division
            .damaged
            .iter()
            .map(|(range, _)| range.last.0 - range.first.0 + 1)
            .sum();
        let good = division.good.into_iter();
        let good: Vec<usize> = good
            .flat_map(|range| (range.start..range.end).step_by(size))
            .map(|start| start / size)
            .collect();
        assert_eq!(good.len() as i64 + lost, BATCHES, "all are accounted for");
        good
    }

    #[test]
    fn a_header_that_no_checksum_proves_is_not_believed_beside_another_damaged_batch() {
        const EPOCH: usize = 15;
        const BASE_OFFSET: usize = 7;
        const VALUE: usize = 66;
        assert_eq!(good_after(&[]), [0, 1, 2, 3]);
        assert_eq!(good_after(&[(2, VALUE, 1)]), [0, 1, 3]);
        assert_eq!(good_after(&[(0, EPOCH, 1)]), [1, 2, 3]);
        assert_eq!(good_after(&[(0, EPOCH, 1), (2, VALUE, 1)]), [1, 3]);
        // 1 becomes 3, into which the next one runs.
        assert_eq!(good_after(&[(1, BASE_OFFSET, 2), (3, VALUE, 1)]), [0, 2]);
    }
}
