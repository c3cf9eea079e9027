//! What goes into a read and what comes out, and the cutting of bytes read from a segment into whole batches.

use super::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use super::transactions::AbortedTransaction;
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId};
use bytes::Bytes;

/// Which records a consumer wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything up to the high watermark.
    #[default]
    ReadUncommitted,
    /// Everything up to the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

/// One partition's part of a fetch.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Which partition.
    pub id: PartitionId,
    /// The first offset wanted; batches are returned whole, so the first may begin below it.
    pub offset: Offset,
    /// At most so many bytes.
    pub bytes_max: usize,
    /// The first batch comes even if it is larger than `bytes_max` (RELIABILITY F8).
    pub at_least_one: bool,
    /// Which records count.
    pub isolation: Isolation,
    /// The leader epoch the reader believes in; `None` is not checked.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// Epoch of the last record the reader has, to find where its log departs from ours (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// Where the bytes of a planned read are.
#[derive(Debug, Clone)]
pub enum ReadSource {
    /// Nothing to read (yet).
    Empty,
    /// In the tail cache; here by reference.
    Cached {
        /// Prefix and body of each batch, in order.
        chain: Vec<Bytes>,
        /// Sum of their lengths.
        bytes: usize,
    },
    /// In one segment file. Look `offset` up in the segment's sidecar for the position to start from.
    Segment {
        /// The segment's base offset.
        segment_base: Offset,
        /// Bytes of the segment that may be read: what lies beyond is not written yet.
        end: FilePosition,
    },
}

/// A read that was decided; carrying it out may need the disk, but no further decision.
#[derive(Debug, Clone)]
pub struct ReadPlan {
    /// Which partition.
    pub id: PartitionId,
    /// The first offset wanted.
    pub offset: Offset,
    /// The first offset that must not be returned.
    pub upper_bound: Offset,
    /// At most so many bytes.
    pub bytes_max: usize,
    /// The first batch comes even if it is larger.
    pub at_least_one: bool,
    /// Where the bytes are.
    pub source: ReadSource,
    /// Estimate of what `source` gives, never above `bytes_max` unless one batch is.
    pub bytes_estimate: usize,
    /// The next segment, or the cached rest of this one. If the bytes named in `source` turn out to hold nothing at
    /// or above `offset` (compaction took their end), plan again from here.
    pub next_segment_base: Option<Offset>,
    /// Read at the moment of the plan.
    pub high_watermark: Offset,
    /// Read at the moment of the plan.
    pub last_stable_offset: Offset,
    /// Read at the moment of the plan.
    pub log_start_offset: Offset,
    /// Aborted transactions that overlap `offset..upper_bound`; empty for read_uncommitted.
    pub aborted: Vec<AbortedTransaction>,
    /// The reader's log departs from ours: our end offset of the newest epoch not above its own.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

impl ReadPlan {
    /// Bytes a fetch that waits for `min_bytes` may count on.
    pub fn bytes_available(&self) -> usize {
        self.bytes_estimate
    }

    /// Whether carrying it out reads a segment.
    pub fn needs_disk(&self) -> bool {
        matches!(self.source, ReadSource::Segment { .. })
    }
}

/// What a read gives.
#[derive(Debug, Clone)]
pub struct ReadResult {
    /// Whole batches, in pieces.
    pub chain: Vec<Bytes>,
    /// Sum of their lengths.
    pub bytes: usize,
    /// The high watermark when the read was planned.
    pub high_watermark: Offset,
    /// The last stable offset when the read was planned.
    pub last_stable_offset: Offset,
    /// The log start when the read was planned.
    pub log_start_offset: Offset,
    /// For read_committed: the aborted transactions in the range.
    pub aborted: Vec<AbortedTransaction>,
    /// The reader must truncate to this (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// Which offset a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first record with at least this timestamp, in milliseconds.
    Timestamp(i64),
    /// The log start.
    Earliest,
    /// The high watermark or the last stable offset.
    Latest(Isolation),
    /// The first record that carries the partition's largest timestamp.
    MaxTimestamp,
    /// The first offset on local disk: the log start, since nothing is tiered.
    EarliestLocal,
    /// The last tiered offset: none.
    LatestTiered,
    /// The first offset waiting to be tiered: none.
    EarliestPendingUpload,
}

/// Answer to an [`OffsetQuery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// Timestamp of the record, −1 where Kafka answers −1.
    pub timestamp: i64,
    /// The offset, −1 if there is none.
    pub offset: i64,
    /// Leader epoch of the record, −1 if unknown.
    pub leader_epoch: i32,
}

impl FoundOffset {
    /// No such record.
    pub const NONE: FoundOffset = FoundOffset {
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    };
}

/// Result of [`cut_batches`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchCut {
    /// `bytes[start..end]` is the answer; empty if the next batch is too large or not to be seen.
    Found {
        /// First byte of the first batch.
        start: usize,
        /// Behind the last.
        end: usize,
        /// The offset behind the last record, where a reader goes on.
        next_offset: Offset,
    },
    /// The segment holds no batch that reaches `offset`: go on with [`ReadPlan::next_segment_base`].
    Exhausted,
    /// Read on: at least this many bytes from the same position are needed to decide.
    NeedMore {
        /// Length to read.
        length: usize,
    },
    /// A header in `bytes` cannot be one: damage.
    Damaged {
        /// Where it begins.
        position: usize,
    },
}

/// Picks the whole batches for a reader out of bytes read from a segment, which begin at some batch at or before
/// `offset`. `at_end` says that the segment has no more. CRCs are not looked at here.
pub fn cut_batches(
    bytes: &[u8],
    at_end: bool,
    offset: Offset,
    upper_bound: Offset,
    bytes_max: usize,
    at_least_one: bool,
) -> BatchCut {
    let mut position = 0;
    let mut start = None;
    let mut next_offset = offset;
    loop {
        let rest = &bytes[position..];
        let begin = start.unwrap_or(position);
        if rest.len() < HEADER_BYTES {
            return match (start, at_end) {
                (Some(start), _) => BatchCut::Found {
                    start,
                    end: position,
                    next_offset,
                },
                (None, true) => BatchCut::Exhausted,
                (None, false) => BatchCut::NeedMore {
                    length: position + HEADER_BYTES,
                },
            };
        }
        let base = i64::from_be_bytes(rest[0..8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
        let delta = i32::from_be_bytes(rest[23..27].try_into().expect("four bytes"));
        if rest[16] != 2 || length < (HEADER_BYTES - LENGTH_OVERHEAD) as i32 || delta < 0 {
            return BatchCut::Damaged { position };
        }
        let size = LENGTH_OVERHEAD + length as usize;
        let last = base.saturating_add(i64::from(delta));
        if last < offset.0 {
            if size > rest.len() {
                return if at_end {
                    BatchCut::Damaged { position }
                } else {
                    BatchCut::NeedMore {
                        length: position + size + HEADER_BYTES,
                    }
                };
            }
            position += size;
            continue;
        }
        let first = start.is_none();
        if last >= upper_bound.0
            || (position + size - begin > bytes_max && !(first && at_least_one))
        {
            return BatchCut::Found {
                start: begin,
                end: position,
                next_offset,
            };
        }
        if size > rest.len() {
            return if at_end {
                BatchCut::Damaged { position }
            } else if first {
                BatchCut::NeedMore {
                    length: position + size,
                }
            } else {
                BatchCut::Found {
                    start: begin,
                    end: position,
                    next_offset,
                }
            };
        }
        start = Some(begin);
        position += size;
        next_offset = Offset(last + 1);
        if first && size > bytes_max {
            return BatchCut::Found {
                start: begin,
                end: position,
                next_offset,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::BatchBuilder;
    use proptest::prelude::*;

    /// Batches of the given record counts, one offset missing between them, as compaction leaves them.
    fn segment(counts: &[u8]) -> Vec<(i64, i64, Vec<u8>)> {
        let mut base = 10;
        counts
            .iter()
            .map(|count| {
                let mut builder = BatchBuilder::new();
                for _ in 0..*count {
                    builder.append(None, Some(b"value"), &[], 1);
                }
                let batch = (base, base + i64::from(*count) - 1, builder.build(base, 3));
                base = batch.1 + 2;
                batch
            })
            .collect()
    }

    /// Reads as an edge does: a little more each time it is told to.
    fn read(
        bytes: &[u8],
        mut length: usize,
        offset: i64,
        upper: i64,
        bytes_max: usize,
        at_least_one: bool,
    ) -> BatchCut {
        loop {
            let window = &bytes[..length.min(bytes.len())];
            let at_end = window.len() == bytes.len();
            match cut_batches(
                window,
                at_end,
                Offset(offset),
                Offset(upper),
                bytes_max,
                at_least_one,
            ) {
                BatchCut::NeedMore { length: wanted } => {
                    assert!(
                        !at_end && wanted > length,
                        "more is asked for only where there is more"
                    );
                    length = wanted;
                }
                other => return other,
            }
        }
    }

    proptest! {
        #[test]
        fn a_cut_is_the_whole_batches_that_fit(
            counts in prop::collection::vec(1..5u8, 0..8),
            offset in 0..50i64,
            upper in 0..60usize,
            bytes_max in 0..500usize,
            at_least_one: bool,
            first_read in 0..300usize,
        ) {
            let batches = segment(&counts);
            let bytes: Vec<u8> = batches.iter().flat_map(|(_, _, bytes)| bytes.clone()).collect();
            // The upper bound is always some batch's first offset.
            let upper = batches.get(upper % (batches.len() + 1)).map_or(i64::MAX, |(base, _, _)| *base);
            let mut expected = Vec::new();
            for (_, _, batch) in batches.iter().filter(|(_, last, _)| *last >= offset && *last < upper) {
                if expected.len() + batch.len() > bytes_max && !(expected.is_empty() && at_least_one) {
                    break;
                }
                expected.extend(batch);
            }
            let exhausted = batches.iter().all(|(_, last, _)| *last < offset);
            match read(&bytes, first_read, offset, upper, bytes_max, at_least_one) {
                BatchCut::Exhausted => prop_assert!(exhausted),
                BatchCut::Found { start, end, next_offset } => {
                    prop_assert!(!exhausted);
                    let got = &bytes[start..end];
                    let last = batches.iter().rfind(|(_, _, batch)| got.ends_with(batch)).map(|(_, last, _)| *last);
                    prop_assert_eq!(next_offset.0, last.map_or(offset, |last| last + 1), "a reader goes on behind it");
                    prop_assert!(expected.starts_with(got), "whole batches from the first wanted one");
                    prop_assert_eq!(got.is_empty(), expected.is_empty(), "a read makes progress");
                    if first_read >= bytes.len() {
                        prop_assert_eq!(got, &expected[..]);
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at_end: bool, offset in 0..50i64) {
            let _ = cut_batches(&bytes, at_end, Offset(offset), Offset(60), 100, true);
        }
    }

    #[test]
    fn a_header_that_cannot_be_is_damage() {
        let mut bytes: Vec<u8> = segment(&[1, 2])
            .into_iter()
            .flat_map(|(_, _, bytes)| bytes)
            .collect();
        bytes[16] = 1;
        assert_eq!(
            cut_batches(&bytes, true, Offset(0), Offset(99), 1 << 20, true),
            BatchCut::Damaged { position: 0 }
        );
    }
}
