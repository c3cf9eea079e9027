//! What says that old segments were replaced by a cleaned one: the point from which a swap is finished and before
//! which it never happened (STORAGE C10).
//!
//! A swap is written down, durably, in the shard's file `tidelog/swaps-<shard>` once the cleaned files are flushed and
//! before the first rename. It stays there until both checkpoints were taken after it, since until then the newest
//! readable checkpoint may name the old segments; recovery then puts the new one in their place. One line per swap,
//! with a checksum over all of them. Pure; the files are moved by [`super::swap_files`].

use std::fmt::Write;

use crate::log::error::FormatError;
use crate::log::kafka_files::{decode_topic_id, encode_topic_id};
use crate::log::partition_checkpoint::PartitionCheckpoint;
use crate::log::segment::SegmentInfo;
use crate::types::{Offset, PartitionId, ShardId};

/// Swaps that one file may hold: a round settles what it did before that.
pub(crate) const SWAPS_MAX: usize = 64;
/// The file is smaller: the longest line names every segment of a group.
pub(crate) const SWAPS_BYTES_MAX: usize = 64 << 20;

const FILE: &str = "swaps";
const TITLE: &str = "tidelog swaps 1";

/// One swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Swap {
    /// Whose segments.
    pub(crate) id: PartitionId,
    /// Its directory's name.
    pub(crate) directory: String,
    /// Base offsets of the old segments, ascending; the first is that of the new one.
    pub(crate) replaced: Vec<Offset>,
    /// Base offset of the segment behind them.
    pub(crate) end: Offset,
    /// The new segment.
    pub(crate) segment: SegmentInfo,
    /// Whether it has aborted transactions, and so a `.txnindex`.
    pub(crate) has_aborted: bool,
}

/// `tidelog/swaps-<shard>`.
pub(crate) fn swaps_name(shard: ShardId) -> String {
    format!("swaps-{}", shard.0)
}

/// Whether a file of the directory `tidelog` holds swaps.
pub(crate) fn is_swaps_name(name: &str) -> bool {
    name.strip_prefix("swaps-")
        .is_some_and(|shard| shard.parse::<u16>().is_ok())
}

/// The file's content.
pub(crate) fn encode_swaps(swaps: &[Swap]) -> String {
    let mut text = format!("{TITLE}\n");
    for swap in swaps {
        let segment = &swap.segment;
        write!(
            text,
            "{} {} {} {} {} {} {} {} {} {}",
            encode_topic_id(swap.id.topic_id),
            swap.id.index,
            swap.directory,
            u8::from(swap.has_aborted),
            segment.size,
            segment.max_timestamp,
            segment.offset_of_max_timestamp,
            segment.first_timestamp,
            segment.created_ms,
            swap.end,
        )
        .expect("writing to a string succeeds");
        for base in &swap.replaced {
            write!(text, " {base}").expect("writing to a string succeeds");
        }
        text.push('\n');
    }
    let checksum = crc32c::crc32c(text.as_bytes());
    writeln!(text, "checksum {checksum:08x}").expect("writing to a string succeeds");
    text
}

/// Reads the file back.
pub(crate) fn decode_swaps(file: &[u8]) -> Result<Vec<Swap>, FormatError> {
    let malformed = |problem: &str| FormatError::Malformed {
        file: FILE,
        problem: problem.to_owned(),
    };
    let text = std::str::from_utf8(file).map_err(|_| malformed("not text"))?;
    let (content, last) = text
        .rfind("checksum ")
        .map(|at| text.split_at(at))
        .ok_or_else(|| malformed("no checksum"))?;
    let expected = format!("checksum {:08x}\n", crc32c::crc32c(content.as_bytes()));
    if last != expected {
        return Err(malformed("its checksum does not match"));
    }
    let mut lines = content.lines();
    if lines.next() != Some(TITLE) {
        return Err(malformed("an unknown version"));
    }
    lines
        .map(|line| {
            decode_swap(line).ok_or_else(|| malformed(&format!("unreadable line {line:?}")))
        })
        .collect()
}

fn decode_swap(line: &str) -> Option<Swap> {
    let mut words = line.split(' ');
    let topic_id = decode_topic_id(words.next()?)?;
    let index = words.next()?.parse().ok()?;
    let directory = words.next()?.to_owned();
    let has_aborted = words.next()? == "1";
    let size = words.next()?.parse().ok()?;
    let max_timestamp = words.next()?.parse().ok()?;
    let offset_of_max_timestamp = Offset(words.next()?.parse().ok()?);
    let first_timestamp = words.next()?.parse().ok()?;
    let created_ms = words.next()?.parse().ok()?;
    let end = Offset(words.next()?.parse().ok()?);
    let replaced: Vec<Offset> = words
        .map(|word| word.parse().ok().map(Offset))
        .collect::<Option<_>>()?;
    let base_offset = *replaced.first()?;
    Some(Swap {
        id: PartitionId { topic_id, index },
        directory,
        replaced,
        end,
        segment: SegmentInfo {
            base_offset,
            size,
            max_timestamp,
            offset_of_max_timestamp,
            first_timestamp,
            created_ms,
        },
        has_aborted,
    })
}

impl Swap {
    /// Where the old segments stand in the list: its first and last index. `None` if the list has others there. They
    /// may be the end of it: the segment behind them is begun after a checkpoint that reaches up to it.
    fn position(&self, checkpoint: &PartitionCheckpoint) -> Option<(usize, usize)> {
        let segments = &checkpoint.segments;
        let first = segments
            .iter()
            .position(|segment| segment.base_offset == self.replaced[0])?;
        let last = first + self.replaced.len() - 1;
        let bases = segments.get(first..=last)?.iter();
        let behind = segments
            .get(last + 1)
            .map_or(checkpoint.end_offset, |behind| behind.base_offset);
        let same = bases
            .map(|info| info.base_offset)
            .eq(self.replaced.iter().copied());
        (same && behind == self.end).then_some((first, last))
    }

    /// Puts the new segment in the place of the old ones in what a checkpoint says. False if it says neither of them:
    /// then the log start has moved past all of them, or the swap is of another life of the directory.
    pub(crate) fn apply(&self, checkpoint: &mut PartitionCheckpoint) -> bool {
        let position = self.position(checkpoint);
        let segments = &mut checkpoint.segments;
        if let Some((first, last)) = position {
            segments.splice(first..=last, [self.segment]);
            if first + 1 == segments.len() {
                // A cleaned segment is closed: what the journal brings back stands in the one behind it.
                segments.push(SegmentInfo::empty(self.end, self.segment.created_ms));
            }
            return true;
        }
        segments.windows(2).any(|pair| {
            pair[0].base_offset == self.segment.base_offset
                && pair[0].size == self.segment.size
                && pair[1].base_offset == self.end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, TopicId};

    fn swap(replaced: &[i64], end: i64) -> Swap {
        Swap {
            id: PartitionId {
                topic_id: TopicId([7; 16]),
                index: 3,
            },
            directory: "orders.v1_x-3".to_owned(),
            replaced: replaced.iter().copied().map(Offset).collect(),
            end: Offset(end),
            segment: SegmentInfo {
                size: 600,
                max_timestamp: -1,
                created_ms: 12,
                ..SegmentInfo::empty(Offset(replaced[0]), 12)
            },
            has_aborted: true,
        }
    }

    fn checkpoint(bases: &[(i64, u32)]) -> PartitionCheckpoint {
        PartitionCheckpoint {
            segments: bases
                .iter()
                .map(|(base, size)| SegmentInfo {
                    size: *size,
                    ..SegmentInfo::empty(Offset(*base), 0)
                })
                .collect(),
            ..PartitionCheckpoint::empty(swap(&[0], 1).id, "orders.v1_x-3", LeaderEpoch(0), 0)
        }
    }

    fn listed(checkpoint: &PartitionCheckpoint) -> Vec<(i64, u32)> {
        let segments = checkpoint.segments.iter();
        segments
            .map(|segment| (segment.base_offset.0, segment.size))
            .collect()
    }

    #[test]
    fn swaps_survive_writing_and_a_flipped_bit_is_seen() {
        let swaps = vec![swap(&[0, 7, 14], 20), swap(&[20], 33)];
        let file = encode_swaps(&swaps).into_bytes();
        assert_eq!(decode_swaps(&file).unwrap(), swaps);
        assert_eq!(decode_swaps(encode_swaps(&[]).as_bytes()).unwrap(), []);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(decode_swaps(&damaged).is_err(), "byte {at}");
            assert!(decode_swaps(&file[..at]).is_err());
        }
    }

    #[test]
    fn a_checkpoint_of_either_side_comes_to_the_same_list() {
        let swap = swap(&[0, 7], 14);
        let mut old = checkpoint(&[(0, 500), (7, 400), (14, 100)]);
        assert!(swap.apply(&mut old));
        assert_eq!(listed(&old), [(0, 600), (14, 100)]);
        let again = old.clone();
        assert!(swap.apply(&mut old), "twice is as good as once");
        assert_eq!(old, again);
    }

    /// A checkpoint was taken, then the log rolled without a further record, and the closed segment was cleaned: its
    /// file had the new length, the checkpoint the old one. The swap was not finished at the next start, and the end of
    /// the segment was called damaged, for good.
    #[test]
    fn a_checkpoint_that_ends_where_the_next_segment_begins_takes_the_swap() {
        let swap = swap(&[0, 7], 14);
        let mut old = checkpoint(&[(0, 500), (7, 400)]);
        old.end_offset = Offset(14);
        assert!(swap.apply(&mut old));
        assert_eq!(listed(&old), [(0, 600), (14, 0)]);
        let again = old.clone();
        assert!(swap.apply(&mut old), "twice is as good as once");
        assert_eq!(old, again);
    }

    #[test]
    fn a_list_without_those_segments_stays_as_it_is() {
        let swap = swap(&[0, 7], 14);
        for list in [
            &[(14, 100)][..],
            &[(7, 400), (14, 100)],
            &[(0, 500), (7, 400), (13, 9)],
            &[(0, 500), (7, 400)],
            &[(0, 500), (14, 100)],
        ] {
            let mut other = checkpoint(list);
            assert!(!swap.apply(&mut other));
            assert_eq!(listed(&other), list);
        }
    }
}
