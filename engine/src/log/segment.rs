//! The segments of a partition: where each begins, how far it reaches, when the next one starts.
//!
//! A partition always has at least one segment; the last is the active one and the only one that grows. Lives on
//! the partition's core.

use super::config::LogConfig;
use crate::types::{FilePosition, Offset, PartitionId};

/// Bytes a segment may have at most: positions are `i32` in Kafka's offset index.
pub const SEGMENT_BYTES_LIMIT: u32 = i32::MAX as u32;

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Offset that names the file; no record in it is below.
    pub base_offset: Offset,
    /// Bytes planned so far, which for the active segment includes what is not durable yet.
    pub size: u32,
    /// Largest timestamp of its records; −1 if there is none.
    pub max_timestamp: i64,
    /// First record that carries it; −1 if there is none.
    pub offset_of_max_timestamp: Offset,
    /// Largest timestamp of its first batch, from which `segment.ms` counts (golden 10); −1 if it has none.
    pub first_timestamp: i64,
    /// Wall-clock time it was started at; `segment.ms` counts from here if its first batch has no timestamp.
    pub created_ms: i64,
}

impl SegmentInfo {
    /// A segment without a batch.
    pub fn empty(base_offset: Offset, created_ms: i64) -> SegmentInfo {
        SegmentInfo {
            base_offset,
            size: 0,
            max_timestamp: -1,
            offset_of_max_timestamp: Offset(-1),
            first_timestamp: -1,
            created_ms,
        }
    }

    /// Adds a batch at the end.
    pub fn append(&mut self, size: u32, max_timestamp: i64, offset_of_max_timestamp: Offset) {
        if self.size == 0 {
            self.first_timestamp = max_timestamp;
        }
        self.size += size;
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.offset_of_max_timestamp = offset_of_max_timestamp;
        }
    }

    /// Name of one of its files, for example `file_name("log")`.
    pub fn file_name(&self, extension: &str) -> String {
        segment_file_name(self.base_offset, extension)
    }
}

/// `00000000000000000042.log` for offset 42 and extension `log`.
pub fn segment_file_name(base_offset: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base_offset.0)
}

/// The offset and extension of a segment's file; `None` for any other name.
pub fn parse_segment_file_name(name: &str) -> Option<(Offset, &str)> {
    let (stem, extension) = name.split_once('.')?;
    if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset(stem.parse().ok()?), extension))
}

/// The batch for which room is looked for.
#[derive(Debug, Clone, Copy)]
pub struct RollQuestion {
    /// Its bytes.
    pub size: u32,
    /// Its largest timestamp; −1 for none.
    pub max_timestamp: i64,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Wall-clock time.
    pub now_ms: i64,
}

/// All segments, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentList {
    segments: Vec<SegmentInfo>,
}

impl SegmentList {
    /// A list with one empty segment.
    pub fn new(base_offset: Offset, created_ms: i64) -> SegmentList {
        SegmentList {
            segments: vec![SegmentInfo::empty(base_offset, created_ms)],
        }
    }

    /// Segments read back; `None` unless there is one and base offsets ascend.
    pub fn restore(segments: Vec<SegmentInfo>) -> Option<SegmentList> {
        let ascending = segments
            .windows(2)
            .all(|pair| pair[0].base_offset < pair[1].base_offset);
        (ascending && !segments.is_empty()).then_some(SegmentList { segments })
    }

    /// The segments, oldest first.
    pub fn as_slice(&self) -> &[SegmentInfo] {
        &self.segments
    }

    /// The segment that grows.
    pub fn active(&self) -> &SegmentInfo {
        self.segments
            .last()
            .expect("a partition always has a segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut SegmentInfo {
        self.segments
            .last_mut()
            .expect("a partition always has a segment")
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum()
    }

    /// Index of the segment that holds `offset`, or of the first one if `offset` is below it.
    pub fn index_of(&self, offset: Offset) -> usize {
        self.segments
            .partition_point(|segment| segment.base_offset <= offset)
            .saturating_sub(1)
    }

    /// The segment that holds `offset`.
    pub fn containing(&self, offset: Offset) -> &SegmentInfo {
        &self.segments[self.index_of(offset)]
    }

    /// Base offset of the segment behind the one at `index`; `None` for the active one.
    pub fn next_base(&self, index: usize) -> Option<Offset> {
        self.segments
            .get(index + 1)
            .map(|segment| segment.base_offset)
    }

    /// Where the active segment's next batch goes.
    pub fn end_position(&self) -> FilePosition {
        FilePosition(self.active().size)
    }

    /// Whether the batch begins a new segment, as Kafka's `LogSegment.shouldRoll` decides: the active one would
    /// pass `segment.bytes`, has been filled for longer than `segment.ms` less its jitter (by record timestamps:
    /// golden 10), or could not express the offset relative to its base in 31 bits.
    pub fn should_roll(
        &self,
        id: PartitionId,
        config: &LogConfig,
        question: &RollQuestion,
    ) -> bool {
        let active = self.active();
        if active.size == 0 {
            return false;
        }
        let bytes_max = config.segment_bytes.min(SEGMENT_BYTES_LIMIT);
        let waited = if active.first_timestamp >= 0 {
            question
                .max_timestamp
                .saturating_sub(active.first_timestamp)
        } else {
            question.now_ms.saturating_sub(active.created_ms)
        };
        u64::from(active.size) + u64::from(question.size) > u64::from(bytes_max)
            || waited
                > config.segment_ms_max().saturating_sub(roll_jitter_ms(
                    id,
                    active.base_offset,
                    config,
                ))
            || question.last_offset.0 - active.base_offset.0 > i64::from(i32::MAX)
    }

    /// Starts a new active segment.
    ///
    /// # Panics
    /// If the active one is empty or `base_offset` is not above its base.
    pub fn roll(&mut self, base_offset: Offset, created_ms: i64) {
        assert!(
            self.active().size > 0 && self.active().base_offset < base_offset,
            "only a filled segment is rolled"
        );
        self.segments
            .push(SegmentInfo::empty(base_offset, created_ms));
    }

    /// Takes off the oldest segment, which must not be the active one.
    pub fn remove_first(&mut self) -> SegmentInfo {
        assert!(self.segments.len() > 1, "the active segment stays");
        self.segments.remove(0)
    }

    /// Takes off the newest segment, which must not be the only one.
    pub fn remove_last(&mut self) -> SegmentInfo {
        assert!(self.segments.len() > 1, "the only segment stays");
        self.segments.pop().expect("there are two")
    }

    /// Replaces everything by one empty segment.
    pub fn reset(&mut self, base_offset: Offset, created_ms: i64) -> Vec<SegmentInfo> {
        std::mem::replace(
            &mut self.segments,
            vec![SegmentInfo::empty(base_offset, created_ms)],
        )
    }

    /// Gives the empty active segment another base offset.
    pub(super) fn reset_active(&mut self, base_offset: Offset, created_ms: i64) {
        assert_eq!(self.active().size, 0, "only an empty segment is renamed");
        *self.active_mut() = SegmentInfo::empty(base_offset, created_ms);
    }

    /// Puts `segment` in the place of those from its base offset up to `end`, where one that stays begins.
    pub fn splice(&mut self, segment: SegmentInfo, end: Offset) {
        let first = self.index_of(segment.base_offset);
        let behind = self.index_of(end);
        assert!(
            self.segments[first].base_offset == segment.base_offset
                && self.segments[behind].base_offset == end
                && first < behind,
            "whole segments are replaced, never the active one"
        );
        self.segments.splice(first..behind, [segment]);
    }

    /// Replaces what is known of one segment, found by its base offset.
    pub fn replace(&mut self, info: SegmentInfo) {
        let index = self.index_of(info.base_offset);
        assert_eq!(
            self.segments[index].base_offset, info.base_offset,
            "the segment exists"
        );
        self.segments[index] = info;
    }
}

/// How much earlier than `segment.ms` this segment is rolled. Kafka draws a random number so that partitions do not
/// roll at once; here it follows from the segment's identity, so that a replay decides the same.
fn roll_jitter_ms(id: PartitionId, base: Offset, config: &LogConfig) -> i64 {
    let span = config.segment_jitter_ms.min(config.segment_ms_max());
    if span <= 0 {
        return 0;
    }
    let seed = crc32c::crc32c_append(
        crc32c::crc32c(&id.topic_id.0),
        &[id.index.to_le_bytes().as_slice(), &base.0.to_le_bytes()].concat(),
    );
    i64::from(seed) % span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    const ID: PartitionId = PartitionId {
        topic_id: TopicId([7; 16]),
        index: 0,
    };

    fn question(size: u32, max_timestamp: i64, last_offset: i64) -> RollQuestion {
        RollQuestion {
            size,
            max_timestamp,
            last_offset: Offset(last_offset),
            now_ms: 5_000,
        }
    }

    #[test]
    fn segments_roll_by_bytes_record_time_and_offset_span() {
        let config = LogConfig {
            segment_bytes: 1000,
            segment_ms: 100,
            ..LogConfig::default()
        };
        let mut list = SegmentList::new(Offset(0), 0);
        assert!(
            !list.should_roll(ID, &config, &question(2000, 9, 1)),
            "an empty segment takes anything"
        );
        list.active_mut().append(600, 1_000, Offset(0));
        assert!(!list.should_roll(ID, &config, &question(400, 1_000, 1)));
        assert!(list.should_roll(ID, &config, &question(401, 1_000, 1)));
        assert!(!list.should_roll(ID, &config, &question(1, 1_100, 1)));
        assert!(
            list.should_roll(ID, &config, &question(1, 1_101, 1)),
            "record time, not the clock"
        );
        assert!(list.should_roll(ID, &config, &question(1, 1_000, 1 << 31)));
        assert!(!list.should_roll(ID, &config, &question(1, 1_000, (1 << 31) - 1)));
    }

    #[test]
    fn a_segment_without_timestamps_rolls_by_its_creation() {
        let config = LogConfig {
            segment_ms: 100,
            ..LogConfig::default()
        };
        let mut list = SegmentList::new(Offset(0), 4_950);
        list.active_mut().append(600, -1, Offset(0));
        assert!(!list.should_roll(ID, &config, &question(1, -1, 1)));
        list.active_mut().created_ms = 4_899;
        assert!(list.should_roll(ID, &config, &question(1, -1, 1)));
    }

    #[test]
    fn jitter_stays_within_its_bound_and_is_repeatable() {
        let config = LogConfig {
            segment_ms: 1000,
            segment_jitter_ms: 50,
            ..LogConfig::default()
        };
        let jitters: Vec<i64> = (0..100)
            .map(|base| roll_jitter_ms(ID, Offset(base), &config))
            .collect();
        assert!(jitters.iter().all(|jitter| (0..50).contains(jitter)));
        assert!(jitters.iter().any(|jitter| *jitter != jitters[0]));
        assert_eq!(jitters[3], roll_jitter_ms(ID, Offset(3), &config));
    }

    #[test]
    fn names_are_twenty_digits() {
        assert_eq!(
            segment_file_name(Offset(42), "log"),
            "00000000000000000042.log"
        );
        assert_eq!(
            parse_segment_file_name("00000000000000000042.timeindex"),
            Some((Offset(42), "timeindex"))
        );
        assert_eq!(parse_segment_file_name("leader-epoch-checkpoint"), None);
        assert_eq!(parse_segment_file_name("0000000000000000042.log"), None);
    }

    #[test]
    fn offsets_find_their_segment() {
        let list = SegmentList::restore(vec![
            SegmentInfo::empty(Offset(5), 0),
            SegmentInfo::empty(Offset(9), 0),
            SegmentInfo::empty(Offset(20), 0),
        ])
        .unwrap();
        let found = |offset| list.containing(Offset(offset)).base_offset.0;
        assert_eq!(
            [
                found(3),
                found(5),
                found(8),
                found(9),
                found(19),
                found(20),
                found(99)
            ],
            [5, 5, 5, 9, 9, 20, 20]
        );
    }
}
