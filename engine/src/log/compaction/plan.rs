//! Which partition is cleaned, how far, and which segments become one (Kafka's `LogCleanerManager` and
//! `groupSegmentsBySize`).
//!
//! Decisions only. What may be replaced ends below the active segment, the last stable offset, what is younger than
//! `min.compaction.lag.ms`, and the cut of both checkpoints (STORAGE C10).

use crate::log::config::LogConfig;
use crate::log::segment::{SEGMENT_BYTES_LIMIT, SegmentInfo};
use crate::types::Offset;

/// What is known of a partition when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct LogFacts<'a> {
    /// Its settings.
    pub config: &'a LogConfig,
    /// All segments, the active one last.
    pub segments: &'a [SegmentInfo],
    /// Where the log starts.
    pub log_start: Offset,
    /// Where no transaction is open yet.
    pub last_stable: Offset,
    /// Where the log ends.
    pub log_end: Offset,
    /// Everything below was cleaned before.
    pub first_dirty: Offset,
    /// Everything below is in segments and below the cut of both checkpoints.
    pub settled_end: Offset,
    /// Wall-clock time; `None` while it is in doubt.
    pub now_ms: Option<i64>,
}

/// A partition that is to be cleaned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleanable {
    /// First offset of the dirty part.
    pub first_dirty: Offset,
    /// First offset that is not cleaned: a segment's base offset.
    pub end: Offset,
    /// How far it could be cleaned if both checkpoints were past it.
    pub wanted_end: Offset,
    /// Share of the bytes below `wanted_end` that are dirty.
    pub dirty_ratio: f64,
    /// `max.compaction.lag.ms` has passed for something dirty.
    pub overdue: bool,
}

impl Cleanable {
    /// Whether a checkpoint has to be taken before everything can be cleaned that should be.
    pub fn waits_for_checkpoint(&self) -> bool {
        self.end < self.wanted_end
    }
}

/// Decides whether the partition is to be cleaned.
pub fn plan_cleaning(facts: &LogFacts<'_>) -> Option<Cleanable> {
    let config = facts.config;
    if !config.compact {
        return None;
    }
    let known = facts.log_start..=facts.log_end;
    let first_dirty = if known.contains(&facts.first_dirty) {
        facts.first_dirty
    } else {
        facts.log_start
    };
    let (_, closed) = facts.segments.split_last()?;
    let wanted_end = first_uncleanable(facts, closed, first_dirty)?;
    // Whole segments only.
    let end = base_at_or_below(facts.segments, facts.settled_end).min(wanted_end);

    let mut clean_bytes = 0;
    let mut dirty_bytes = 0;
    let mut oldest_dirty_ms = i64::MAX;
    for (index, segment) in closed.iter().enumerate() {
        if segment.base_offset >= wanted_end {
            break;
        }
        if facts.segments[index + 1].base_offset <= first_dirty {
            clean_bytes += u64::from(segment.size);
        } else {
            dirty_bytes += u64::from(segment.size);
            if segment.first_timestamp > 0 {
                oldest_dirty_ms = oldest_dirty_ms.min(segment.first_timestamp);
            }
        }
    }
    if dirty_bytes == 0 {
        return None;
    }
    let dirty_ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes) as f64;
    let overdue = facts.now_ms.is_some_and(|now| {
        oldest_dirty_ms < now.saturating_sub(config.max_compaction_lag_ms.max(0))
    });
    let due = overdue || dirty_ratio > config.min_cleanable_dirty_ratio;
    due.then_some(Cleanable {
        first_dirty,
        end,
        wanted_end,
        dirty_ratio,
        overdue,
    })
}

/// The base offset of the first segment that must stay as it is; `None` if nothing can be said.
fn first_uncleanable(
    facts: &LogFacts<'_>,
    closed: &[SegmentInfo],
    first_dirty: Offset,
) -> Option<Offset> {
    let active = facts.segments.last()?.base_offset;
    let mut bound = facts.last_stable.min(active);
    let lag = facts.config.min_compaction_lag_ms.max(0);
    if lag > 0 {
        // A clock in doubt says of nothing that it is old enough.
        let youngest = facts.now_ms?.saturating_sub(lag);
        let dirty = closed.iter().enumerate().find(|(index, segment)| {
            facts.segments[index + 1].base_offset > first_dirty && segment.max_timestamp > youngest
        });
        bound = dirty.map_or(bound, |(_, segment)| bound.min(segment.base_offset));
    }
    Some(base_at_or_below(facts.segments, bound))
}

/// The largest base offset that is not above `offset`; the first one if there is none.
fn base_at_or_below(segments: &[SegmentInfo], offset: Offset) -> Offset {
    let index = segments.partition_point(|segment| segment.base_offset <= offset);
    segments[index.saturating_sub(1)].base_offset
}

/// Whether the active segment has to be closed so that it can be cleaned in time (`max.compaction.lag.ms`).
pub fn is_overdue_for_roll(facts: &LogFacts<'_>) -> bool {
    let (Some(now_ms), Some(active)) = (facts.now_ms, facts.segments.last()) else {
        return false;
    };
    let lag = facts.config.max_compaction_lag_ms;
    facts.config.compact
        && lag < i64::MAX
        && active.size > 0
        && active.first_timestamp > 0
        && active.first_timestamp < now_ms.saturating_sub(lag.max(0))
}

/// Divides neighbouring segments into groups that fit into one segment each. `segments` lie one behind the other
/// and `end` is the offset behind the last one.
pub fn group_segments(
    segments: &[SegmentInfo],
    end: Offset,
    segment_bytes: u32,
) -> Vec<Vec<SegmentInfo>> {
    let bytes_max = u64::from(segment_bytes.min(SEGMENT_BYTES_LIMIT));
    let mut groups: Vec<Vec<SegmentInfo>> = Vec::new();
    let mut bytes = 0u64;
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1).map_or(end, |next| next.base_offset);
        let fits = groups.last().is_some_and(|group| {
            let span = next.0 - 1 - group[0].base_offset.0;
            bytes + u64::from(segment.size) <= bytes_max && span <= i64::from(i32::MAX)
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => group.push(*segment),
            None => {
                groups.push(vec![*segment]);
                bytes = 0;
            }
        }
        bytes += u64::from(segment.size);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of ten offsets each: (bytes, first and largest timestamp); the last one is active.
    fn segments(list: &[(u32, i64)]) -> Vec<SegmentInfo> {
        list.iter()
            .enumerate()
            .map(|(index, (size, timestamp))| SegmentInfo {
                size: *size,
                max_timestamp: *timestamp,
                first_timestamp: *timestamp,
                ..SegmentInfo::empty(Offset(10 * index as i64), 0)
            })
            .collect()
    }

    fn config() -> LogConfig {
        LogConfig {
            compact: true,
            ..LogConfig::default()
        }
    }

    fn facts<'a>(config: &'a LogConfig, segments: &'a [SegmentInfo]) -> LogFacts<'a> {
        let log_end = Offset(10 * segments.len() as i64);
        LogFacts {
            config,
            segments,
            log_start: Offset(0),
            last_stable: log_end,
            log_end,
            first_dirty: Offset(0),
            settled_end: log_end,
            now_ms: Some(10_000),
        }
    }

    #[test]
    fn everything_below_the_active_segment_is_cleaned_when_enough_is_dirty() {
        let config = config();
        let list = segments(&[(100, 1), (100, 2), (100, 3), (50, 4)]);
        let all = plan_cleaning(&facts(&config, &list)).unwrap();
        assert_eq!((all.first_dirty, all.end), (Offset(0), Offset(30)));
        assert_eq!((all.dirty_ratio, all.waits_for_checkpoint()), (1.0, false));
        let third = LogFacts {
            first_dirty: Offset(20),
            ..facts(&config, &list)
        };
        assert_eq!(plan_cleaning(&third), None, "a third is below one half");
        let eager = LogConfig {
            min_cleanable_dirty_ratio: 0.3,
            ..config
        };
        let some = LogFacts {
            config: &eager,
            ..third
        };
        assert!(plan_cleaning(&some).is_some());
        let done = LogFacts {
            first_dirty: Offset(30),
            ..some
        };
        assert_eq!(plan_cleaning(&done), None, "nothing but the active one");
        let delete = LogConfig {
            compact: false,
            ..config
        };
        assert_eq!(plan_cleaning(&facts(&delete, &list)), None);
    }

    #[test]
    fn a_first_dirty_offset_outside_the_log_begins_anew() {
        let config = config();
        let list = segments(&[(100, 1), (100, 2), (50, 4)]);
        for first_dirty in [Offset(4), Offset(31)] {
            let facts = LogFacts {
                log_start: Offset(5),
                first_dirty,
                ..facts(&config, &list)
            };
            assert_eq!(plan_cleaning(&facts).unwrap().first_dirty, Offset(5));
        }
    }

    #[test]
    fn open_transactions_young_records_and_checkpoints_are_bounds() {
        let config = config();
        let list = segments(&[(100, 1_000), (100, 9_500), (100, 2_000), (50, 9_900)]);
        let open = LogFacts {
            last_stable: Offset(25),
            ..facts(&config, &list)
        };
        assert_eq!(plan_cleaning(&open).unwrap().wanted_end, Offset(20));
        let lag = LogConfig {
            min_compaction_lag_ms: 600,
            ..config
        };
        let young = facts(&lag, &list);
        assert_eq!(plan_cleaning(&young).unwrap().wanted_end, Offset(10));
        assert_eq!(
            first_uncleanable(&young, &list[..3], Offset(20)),
            Some(Offset(30)),
            "what was cleaned once is not looked at"
        );
        let doubtful = LogFacts {
            now_ms: None,
            ..young
        };
        assert_eq!(plan_cleaning(&doubtful), None);
        let unsettled = LogFacts {
            settled_end: Offset(19),
            ..facts(&config, &list)
        };
        let plan = plan_cleaning(&unsettled).unwrap();
        assert_eq!((plan.end, plan.wanted_end), (Offset(10), Offset(30)));
        assert!(plan.waits_for_checkpoint());
    }

    #[test]
    fn what_is_overdue_is_cleaned_however_little_it_is() {
        let config = LogConfig {
            max_compaction_lag_ms: 500,
            min_cleanable_dirty_ratio: 0.99,
            ..config()
        };
        let list = segments(&[(100, 9_000), (1, 9_400), (50, 9_600)]);
        let part = LogFacts {
            first_dirty: Offset(10),
            ..facts(&config, &list)
        };
        let plan = plan_cleaning(&part).unwrap();
        assert!(plan.overdue && plan.dirty_ratio < 0.02);
        let earlier = LogFacts {
            now_ms: Some(9_900),
            ..part
        };
        assert_eq!(plan_cleaning(&earlier), None);
        assert!(!is_overdue_for_roll(&part));
        let later = LogFacts {
            now_ms: Some(10_101),
            ..part
        };
        assert!(is_overdue_for_roll(&later));
    }

    #[test]
    fn groups_fit_into_a_segment() {
        let list = segments(&[(40, 0), (50, 0), (20, 0), (0, 0), (90, 0), (200, 0), (1, 0)]);
        let bases = |end, bytes| -> Vec<Vec<i64>> {
            let groups = group_segments(&list, Offset(end), bytes);
            let bases = |group: &Vec<SegmentInfo>| {
                group.iter().map(|segment| segment.base_offset.0).collect()
            };
            groups.iter().map(bases).collect()
        };
        assert_eq!(
            bases(70, 100),
            [vec![0, 10], vec![20, 30], vec![40], vec![50], vec![60]]
        );
        let far = i64::from(i32::MAX) + 1;
        assert_eq!(bases(far, 1000), [vec![0, 10, 20, 30, 40, 50, 60]]);
        assert_eq!(
            bases(far + 1, 1000),
            [vec![0, 10, 20, 30, 40, 50], vec![60]]
        );
    }
}
