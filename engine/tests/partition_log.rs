//! Single rules of [`PartitionLog`], each with the story it guards against; the general behaviour is judged by
//! `partition_log_model/`.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use bytes::Bytes;
use engine::log::*;
use engine::types::*;
use net::records::{BatchBuilder, BatchHeader};

const ID: PartitionId = PartitionId {
    topic_id: TopicId([3; 16]),
    index: 1,
};

fn log(config: LogConfig) -> PartitionLog {
    PartitionLog::create(
        ID,
        "t-1",
        LeaderEpoch(4),
        config,
        ProducerCount::default(),
        0,
    )
}

fn request(records: usize, timestamp: i64) -> AppendRequest {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.append(None, Some(&[1; 50]), &[], timestamp);
    }
    let batch = Bytes::from(builder.build(0, -1));
    let header = BatchHeader::parse(&batch).unwrap();
    AppendRequest {
        batch,
        header,
        max_timestamp: timestamp,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms: timestamp,
        origin: AppendOrigin::Client,
    }
}

fn plan(log: &mut PartitionLog, request: &AppendRequest) -> PlannedAppend {
    match log.plan_append(request).unwrap() {
        PlanOutcome::Append(plan) => plan,
        PlanOutcome::Duplicate { .. } => panic!("a batch without a producer is no duplicate"),
    }
}

fn append(log: &mut PartitionLog, records: usize, timestamp: i64) -> PlannedAppend {
    let plan = plan(log, &request(records, timestamp));
    log.apply_append(plan.base_offset);
    plan
}

fn read_request(offset: i64) -> ReadRequest {
    ReadRequest {
        id: ID,
        offset: Offset(offset),
        bytes_max: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

#[test]
fn a_wrong_leader_epoch_is_refused_on_both_paths() {
    let mut log = log(LogConfig::default());
    let cache = TailCache::new(0);
    for (epoch, old) in [(3, true), (5, false)] {
        let append = AppendRequest {
            current_leader_epoch: Some(LeaderEpoch(epoch)),
            ..request(1, 0)
        };
        let read = ReadRequest {
            current_leader_epoch: Some(LeaderEpoch(epoch)),
            ..read_request(0)
        };
        let (append, read) = (
            log.plan_append(&append).unwrap_err(),
            log.plan_read(&read, &cache).unwrap_err(),
        );
        assert_eq!(matches!(append, AppendError::FencedLeaderEpoch { .. }), old);
        assert_eq!(matches!(read, ReadError::FencedLeaderEpoch { .. }), old);
        assert_eq!(
            matches!(append, AppendError::UnknownLeaderEpoch { .. }),
            !old
        );
        assert_eq!(matches!(read, ReadError::UnknownLeaderEpoch { .. }), !old);
    }
    assert_eq!(log.offsets().log_end(), Offset(0));
}

#[test]
fn nothing_is_readable_before_it_is_durable_and_in_order() {
    let mut log = log(LogConfig::default());
    let mut cache = TailCache::new(1 << 20);
    let plans: Vec<_> = (0..3).map(|_| plan(&mut log, &request(2, 0))).collect();
    for plan in &plans {
        cache.push(
            ID,
            plan.batch.clone(),
            plan.segment_base,
            plan.file_position,
        );
    }
    let visible = |log: &PartitionLog| {
        log.plan_read(&read_request(0), &cache)
            .unwrap()
            .bytes_available()
            / plans[0].size as usize
    };
    assert!(!log.apply_append(Offset(4)).moved);
    assert!(!log.apply_append(Offset(2)).moved);
    assert_eq!(
        (visible(&log), log.offsets().high_watermark()),
        (0, Offset(0))
    );
    let applied = log.apply_append(Offset(0));
    assert_eq!(
        (applied.batches, applied.high_watermark, visible(&log)),
        (3, Offset(6), 3)
    );
}

#[test]
fn records_of_a_later_year_begin_a_new_segment() {
    let mut log = log(LogConfig::default());
    append(&mut log, 1, 1_700_000_000_000);
    let plan = append(&mut log, 1, 1_795_000_000_000);
    assert_eq!(
        (plan.roll, plan.segment_base, plan.file_position),
        (true, Offset(1), FilePosition(0))
    );
    assert_eq!(plan.segment_base, log.segments().active().base_offset);
}

#[test]
fn a_batch_beyond_the_segment_size_is_refused_and_leaves_no_trace() {
    let mut log = log(LogConfig {
        segment_bytes: 200,
        ..LogConfig::default()
    });
    let before = log.snapshot();
    assert!(matches!(
        log.plan_append(&request(9, 0)),
        Err(AppendError::BatchLargerThanSegment { .. })
    ));
    assert_eq!(log.snapshot(), before);
}

#[test]
fn failed_plans_give_their_offsets_and_segments_back() {
    let mut log = log(LogConfig {
        segment_bytes: 250,
        ..LogConfig::default()
    });
    append(&mut log, 1, 0);
    let before = log.snapshot();
    for _ in 0..5 {
        plan(&mut log, &request(1, 0));
    }
    assert!(log.segments().as_slice().len() > 2);
    assert_eq!(
        log.snapshot(),
        before,
        "a checkpoint knows nothing of plans"
    );
    log.fail_pending();
    assert_eq!(log.snapshot(), before);
    assert_eq!(log.segments().as_slice(), before.segments);
    assert_eq!(plan(&mut log, &request(1, 0)).base_offset, Offset(1));
}

#[test]
fn a_reader_stops_before_damage_and_goes_on_behind_it() {
    let mut log = log(LogConfig::default());
    for _ in 0..10 {
        append(&mut log, 1, 0);
    }
    let cache = TailCache::new(0);
    log.quarantine(QuarantinedRange {
        first: Offset(4),
        last: Offset(5),
    });
    assert_eq!(
        log.plan_read(&read_request(0), &cache).unwrap().upper_bound,
        Offset(4)
    );
    for offset in [4, 5] {
        let error = log.plan_read(&read_request(offset), &cache).unwrap_err();
        assert_eq!(
            error,
            ReadError::Quarantined {
                first: Offset(4),
                last: Offset(5)
            }
        );
    }
    assert_eq!(
        log.plan_read(&read_request(6), &cache).unwrap().upper_bound,
        Offset(10)
    );
    log.set_end_unproved(true);
    assert_eq!(
        log.plan_append(&request(1, 0)).unwrap_err(),
        AppendError::Quarantined
    );
    let restored = PartitionLog::restore(
        log.snapshot(),
        LogConfig::default(),
        ProducerCount::default(),
    )
    .unwrap();
    assert_eq!(
        restored.snapshot(),
        log.snapshot(),
        "a restart forgets no damage"
    );
}

#[test]
fn a_follower_with_another_history_is_told_where_to_cut() {
    let mut log = log(LogConfig::default());
    append(&mut log, 5, 0);
    log.become_leader(LeaderEpoch(6));
    append(&mut log, 5, 0);
    let cache = TailCache::new(0);
    let ask = |offset, epoch| {
        log.plan_read(
            &ReadRequest {
                last_fetched_epoch: Some(LeaderEpoch(epoch)),
                ..read_request(offset)
            },
            &cache,
        )
    };
    assert_eq!(
        ask(8, 4).unwrap().diverging,
        Some((LeaderEpoch(4), Offset(5)))
    );
    assert_eq!(
        ask(5, 5).unwrap().diverging,
        Some((LeaderEpoch(4), Offset(5)))
    );
    assert_eq!(ask(5, 4).unwrap().diverging, None);
    assert_eq!(ask(10, 6).unwrap().diverging, None);
    assert!(matches!(ask(5, 9), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(
        log.end_offset_of_epoch(LeaderEpoch(4), None),
        Ok((LeaderEpoch(4), Offset(5)))
    );
}

#[test]
fn log_start_takes_whole_segments_and_never_the_active_one() {
    let mut log = log(LogConfig {
        segment_bytes: 250,
        ..LogConfig::default()
    });
    for _ in 0..6 {
        append(&mut log, 1, 0);
    }
    let bases: Vec<i64> = log
        .segments()
        .as_slice()
        .iter()
        .map(|segment| segment.base_offset.0)
        .collect();
    assert_eq!(bases, [0, 2, 4]);
    let start = log.plan_delete_records(Offset(3)).unwrap();
    assert_eq!(
        log.apply_log_start(start).len(),
        1,
        "offset 3 still stands in the second"
    );
    assert!(matches!(
        log.plan_delete_records(Offset(7)),
        Err(ReadError::OffsetOutOfRange { .. })
    ));
    let start = log.plan_delete_records(Offset(-1)).unwrap();
    assert_eq!(start, Offset(6));
    assert_eq!(log.apply_log_start(start).len(), 1);
    assert_eq!(log.segments().as_slice().len(), 1);
    assert_eq!(log.apply_log_start(Offset(2)).len(), 0);
    assert_eq!(
        log.offsets().log_start(),
        Offset(6),
        "the log start never moves back"
    );
    assert_eq!(log.plan_delete_records(Offset(2)), Ok(Offset(6)));
}

#[test]
fn replay_rebuilds_what_was_there_and_refuses_what_does_not_fit() {
    let mut log = log(LogConfig {
        segment_bytes: 250,
        ..LogConfig::default()
    });
    let empty = log.snapshot();
    let plans: Vec<_> = (0..6)
        .map(|number| append(&mut log, 1, 10 * number))
        .collect();
    let mut again = PartitionLog::restore(empty, *log.config(), ProducerCount::default()).unwrap();
    for plan in &plans {
        let batch = ReplayedBatch {
            header: plan.batch.header(),
            marker: None,
            segment_base: plan.segment_base,
            file_position: plan.file_position,
            size: plan.size,
            now_ms: 0,
        };
        assert!(
            again
                .replay_batch(&ReplayedBatch {
                    file_position: FilePosition(plan.file_position.0 + 1),
                    ..batch
                })
                .is_err()
        );
        again.replay_batch(&batch).unwrap();
        assert!(again.replay_batch(&batch).is_err(), "no offset twice");
    }
    let (mut left, mut right) = (again.snapshot(), log.snapshot());
    for segment in left.segments.iter_mut().chain(&mut right.segments) {
        segment.created_ms = 0;
    }
    assert_eq!(left, right);
}

/// A thousand idle partitions must not show in the node's memory (DESIGN §6: goal 8 KiB each, everything counted).
#[test]
fn an_idle_partition_is_small() {
    assert!(
        size_of::<PartitionLog>() <= 512,
        "{} bytes",
        size_of::<PartitionLog>()
    );
    assert_eq!(log(LogConfig::default()).segments().as_slice().len(), 1);
}
