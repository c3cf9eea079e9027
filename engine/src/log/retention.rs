//! Which old segments go, by time and by size, and when the clock may be believed.
//!
//! Decisions only: the caller makes the new log start durable first, then removes files (DESIGN §5.6).

use super::partition_log::PartitionLog;
use crate::types::Offset;

/// What retention wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Where the log will start: first offset of the oldest segment that stays.
    pub log_start: Offset,
    /// The active segment goes too, so a new one must be started first.
    pub roll_active: bool,
    /// Segments that fall to `retention.ms`.
    pub by_time: usize,
    /// Segments that fall to `retention.bytes`.
    pub by_size: usize,
}

/// What to delete now, as Kafka's `UnifiedLog.deleteOldSegments` decides; `None` if nothing.
///
/// A segment goes by time when its **largest record timestamp** is older than `retention.ms`; without timestamps its
/// creation counts. A timestamp in the future never expires. Only what is durable and readable (below the high
/// watermark) goes, from the oldest on, until the first segment that stays. `believed_now_ms` is `None` while the
/// clock is in doubt ([`RetentionClock`]): then nothing goes by time.
pub fn plan_retention(log: &PartitionLog, believed_now_ms: Option<i64>) -> Option<RetentionPlan> {
    let config = log.config();
    let segments = log.segments().as_slice();
    if !config.delete {
        return None;
    }
    let next_offset = |index: usize| {
        log.segments()
            .next_base(index)
            .unwrap_or(log.offsets().log_end())
    };
    // Kafka never deletes an empty active segment, and nothing above the high watermark.
    let settled = |index: usize| {
        next_offset(index) <= log.offsets().high_watermark()
            && (index + 1 < segments.len() || (segments[index].size > 0 && !log.has_pending()))
    };

    let mut by_time = 0;
    if let (Some(now_ms), true) = (believed_now_ms, config.retention_ms >= 0) {
        let expired = |index: usize| {
            let segment = &segments[index];
            let newest = if segment.max_timestamp >= 0 {
                segment.max_timestamp
            } else {
                segment.created_ms
            };
            now_ms.saturating_sub(newest) > config.retention_ms
        };
        while by_time < segments.len() && settled(by_time) && expired(by_time) {
            by_time += 1;
        }
    }

    let mut by_size = 0;
    if config.retention_bytes >= 0 {
        let kept: u64 = segments[by_time..]
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum();
        let mut excess = kept.saturating_sub(config.retention_bytes as u64);
        while by_time + by_size < segments.len() {
            let index = by_time + by_size;
            let size = u64::from(segments[index].size);
            if excess < size || !settled(index) || size == 0 && index + 1 == segments.len() {
                break;
            }
            excess -= size;
            by_size += 1;
        }
    }

    let gone = by_time + by_size;
    (gone > 0).then(|| RetentionPlan {
        log_start: next_offset(gone - 1),
        roll_active: gone == segments.len(),
        by_time,
        by_size,
    })
}

/// How far the wall clock may be ahead of what the monotonic clock explains before it is doubted, in milliseconds.
pub const CLOCK_JUMP_MS: i64 = 5 * 60 * 1000;
/// How long a jump ahead must last before it is believed, in milliseconds.
pub const CLOCK_TRUST_MS: i64 = 60 * 60 * 1000;

/// Decides whether the wall clock may be used to delete (RELIABILITY R10).
///
/// A wall clock that runs with the monotonic clock is believed. One that jumped ahead is believed after an hour, so
/// that an operator (or NTP) can put it right before anything is lost. One that jumped back is believed at once:
/// that only deletes later.
#[derive(Debug, Clone, Copy)]
pub struct RetentionClock {
    believed_wall_ms: i64,
    believed_monotonic_ms: i64,
    doubted_since_monotonic_ms: Option<i64>,
}

impl RetentionClock {
    /// A clock at start. `last_seen_wall_ms` is the time of the last checkpoint, if known: a start much later than
    /// that may be a long stop or a wrong clock, so it is doubted for an hour.
    pub fn new(wall_ms: i64, monotonic_ms: i64, last_seen_wall_ms: Option<i64>) -> RetentionClock {
        let believed_wall_ms = last_seen_wall_ms.unwrap_or(wall_ms);
        RetentionClock {
            believed_wall_ms,
            believed_monotonic_ms: monotonic_ms,
            doubted_since_monotonic_ms: None,
        }
    }

    /// The time to delete by, or `None` while the clock is in doubt.
    pub fn believe(&mut self, wall_ms: i64, monotonic_ms: i64) -> Option<i64> {
        let expected = self
            .believed_wall_ms
            .saturating_add(monotonic_ms.saturating_sub(self.believed_monotonic_ms));
        if wall_ms.saturating_sub(expected) > CLOCK_JUMP_MS {
            let since = *self.doubted_since_monotonic_ms.get_or_insert(monotonic_ms);
            if monotonic_ms.saturating_sub(since) < CLOCK_TRUST_MS {
                return None;
            }
        }
        self.doubted_since_monotonic_ms = None;
        self.believed_wall_ms = wall_ms;
        self.believed_monotonic_ms = monotonic_ms;
        Some(wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::config::LogConfig;
    use crate::log::partition_checkpoint::PartitionCheckpoint;
    use crate::log::producer_state::ProducerCount;
    use crate::log::segment::SegmentInfo;
    use crate::types::{LeaderEpoch, PartitionId, TopicId};

    const HOUR: i64 = 3_600_000;

    /// Segments of ten offsets each: (bytes, largest timestamp).
    fn log(segments: &[(u32, i64)], config: LogConfig) -> PartitionLog {
        let id = PartitionId {
            topic_id: TopicId([1; 16]),
            index: 0,
        };
        let checkpoint = PartitionCheckpoint {
            end_offset: Offset(10 * segments.len() as i64),
            segments: segments
                .iter()
                .enumerate()
                .map(|(index, (size, max_timestamp))| SegmentInfo {
                    size: *size,
                    max_timestamp: *max_timestamp,
                    ..SegmentInfo::empty(Offset(10 * index as i64), 500)
                })
                .collect(),
            ..PartitionCheckpoint::empty(id, "t-0", LeaderEpoch(0), 0)
        };
        PartitionLog::restore(checkpoint, config, ProducerCount::default()).unwrap()
    }

    #[test]
    fn time_takes_segments_up_to_the_first_young_one() {
        let config = LogConfig {
            retention_ms: 100,
            ..LogConfig::default()
        };
        let log = log(&[(9, 1_000), (9, 1_050), (9, 2_000), (9, 1_000)], config);
        assert_eq!(plan_retention(&log, Some(1_100)), None);
        let plan = plan_retention(&log, Some(1_151)).unwrap();
        assert_eq!(
            (plan.log_start, plan.by_time, plan.roll_active),
            (Offset(20), 2, false)
        );
        let plan = plan_retention(&log, Some(9_999)).unwrap();
        assert_eq!(
            (plan.log_start, plan.by_time, plan.roll_active),
            (Offset(40), 4, true)
        );
        assert_eq!(
            plan_retention(&log, None),
            None,
            "a doubted clock deletes nothing"
        );
    }

    #[test]
    fn size_keeps_at_least_retention_bytes() {
        let config = LogConfig {
            retention_ms: -1,
            retention_bytes: 25,
            ..LogConfig::default()
        };
        let sizes = |sizes: &[u32]| sizes.iter().map(|size| (*size, 1_000)).collect::<Vec<_>>();
        assert_eq!(
            plan_retention(&log(&sizes(&[10, 10, 10]), config), Some(i64::MAX)),
            None
        );
        assert_eq!(
            plan_retention(&log(&sizes(&[10, 10, 15]), config), None)
                .unwrap()
                .log_start,
            Offset(10)
        );
        let all = LogConfig {
            retention_bytes: 0,
            ..config
        };
        assert!(
            plan_retention(&log(&sizes(&[10, 10]), all), None)
                .unwrap()
                .roll_active
        );
    }

    #[test]
    fn other_policies_and_missing_timestamps() {
        let keep = LogConfig {
            delete: false,
            retention_ms: 1,
            ..LogConfig::default()
        };
        assert_eq!(plan_retention(&log(&[(9, 1)], keep), Some(1 << 40)), None);
        let config = LogConfig {
            retention_ms: 100,
            ..LogConfig::default()
        };
        assert_eq!(
            plan_retention(&log(&[(9, -1), (9, 9_000)], config), Some(600)),
            None,
            "created at 500"
        );
        assert_eq!(
            plan_retention(&log(&[(9, -1), (9, 9_000)], config), Some(601))
                .unwrap()
                .by_time,
            1
        );
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_after_an_hour() {
        let mut clock = RetentionClock::new(1_000, 0, None);
        assert_eq!(clock.believe(61_000, 60_000), Some(61_000));
        let jumped = 1_000_000_000;
        assert_eq!(clock.believe(jumped, 120_000), None);
        assert_eq!(clock.believe(jumped + HOUR - 1, 120_000 + HOUR - 1), None);
        assert_eq!(
            clock.believe(jumped + HOUR, 120_000 + HOUR),
            Some(jumped + HOUR)
        );
        assert_eq!(
            clock.believe(5_000, 130_000 + HOUR),
            Some(5_000),
            "back is harmless"
        );
    }

    #[test]
    fn a_jump_that_is_put_right_leaves_no_trace() {
        let mut clock = RetentionClock::new(1_000, 0, Some(900));
        assert_eq!(clock.believe(1 << 40, 1_000), None);
        assert_eq!(clock.believe(3_000, 2_000), Some(3_000));
        assert_eq!(
            clock.believe(1 << 40, 2_000 + HOUR),
            None,
            "the doubt begins anew"
        );
    }
}
