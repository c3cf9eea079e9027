//! The bound on producers, their expiry, fenced coordinators, and sequences at the wrap.

use super::entry::sequence_minus;
use super::*;
use crate::types::Sequence;
use net::records::BatchBuilder;

fn header(producer: i64, epoch: i16, sequence: i32) -> BatchHeader {
    let mut builder = BatchBuilder::new().producer(producer, epoch, sequence);
    builder.append(None, None, &[], 10);
    BatchHeader::parse(&builder.build(0, -1)).unwrap()
}

fn check(
    state: &mut ProducerState,
    producer: i64,
    now_ms: i64,
) -> Result<ProducerCheck, AppendError> {
    state.check(
        &header(producer, 0, 0),
        None,
        AppendOrigin::Client,
        Offset(50),
        now_ms,
    )
}

fn append(state: &mut ProducerState, producer: i64, offset: i64, now_ms: i64) {
    let append = ProducerAppend::of(
        &header(producer, 0, 0),
        Offset(offset),
        Offset(offset),
        now_ms,
        None,
    )
    .unwrap();
    state.plan(&append);
    state.apply(&append);
}

#[test]
fn at_the_bound_only_a_long_silent_producer_makes_room() {
    let count = ProducerCount::new(2);
    let mut state = ProducerState::new(count.clone());
    append(&mut state, 1, 0, 1_000);
    append(&mut state, 2, 1, 2_000);
    assert_eq!(
        check(&mut state, 3, 2_000 + PRODUCER_IDLE_EVICTION_MS - 1_001),
        Err(AppendError::TooManyProducers { max: 2 })
    );
    assert!(
        matches!(check(&mut state, 1, 3_000), Ok(ProducerCheck::Duplicate(_))),
        "known producers go on"
    );
    assert_eq!(
        check(&mut state, 3, 1_000 + PRODUCER_IDLE_EVICTION_MS),
        Ok(ProducerCheck::Accept)
    );
    assert_eq!(state.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2]);
    let other = ProducerState::restore(
        count.clone(),
        [(ProducerId(7), ProducerEntry::new(ProducerEpoch(0)))],
    );
    assert_eq!(count.in_use(), 2, "the bound is the shard's");
    drop((state, other));
    assert_eq!(count.in_use(), 0);
}

#[test]
fn expiry_counts_from_the_append_and_not_from_the_records_time() {
    let mut state = ProducerState::new(ProducerCount::default());
    append(&mut state, 1, 0, 1_000_000);
    assert_eq!(state.iter().next().unwrap().1.last_timestamp, 10);
    assert_eq!(state.expire(1_000_099, 100), 0);
    assert_eq!(state.expire(1_000_100, 100), 1);
    assert!(state.is_empty());
}

#[test]
fn the_time_a_node_was_down_is_not_its_producers_silence() {
    let mut state = ProducerState::new(ProducerCount::default());
    append(&mut state, 1, 0, 1_000);
    state.touch_all(9_000);
    assert_eq!(state.expire(9_099, 100), 0);
    assert_eq!(state.expire(9_100, 100), 1);
}

#[test]
fn an_open_transaction_never_expires() {
    let mut state = ProducerState::new(ProducerCount::default());
    let mut builder = BatchBuilder::new().producer(1, 0, 0).transactional(true);
    builder.append(None, None, &[], 10);
    let header = BatchHeader::parse(&builder.build(0, -1)).unwrap();
    state.replay(&ProducerAppend::of(&header, Offset(4), Offset(4), 0, None).unwrap());
    assert_eq!(state.expire(i64::MAX, 100), 0);
    assert_eq!(state.first_open_transaction(), Some(Offset(4)));
}

#[test]
fn markers_fence_older_coordinators() {
    let mut state = ProducerState::new(ProducerCount::default());
    append(&mut state, 1, 0, 0);
    let marker = |coordinator_epoch| {
        Some(TransactionMarker {
            result: TransactionResult::Commit,
            coordinator_epoch,
        })
    };
    let header = header(1, 0, -1);
    state.replay(&ProducerAppend::of(&header, Offset(1), Offset(1), 0, marker(5)).unwrap());
    let mut ask = |epoch| {
        state.check(
            &header,
            marker(epoch),
            AppendOrigin::Coordinator,
            Offset(2),
            0,
        )
    };
    assert_eq!(
        ask(4),
        Err(AppendError::TransactionCoordinatorFenced { current: 5, got: 4 })
    );
    assert_eq!(ask(5), Ok(ProducerCheck::Accept));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_plus(i32::MAX, 1), 0);
    assert_eq!(sequence_plus(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_minus(Sequence(1), 3), Sequence(i32::MAX - 1));
    assert_eq!(sequence_minus(Sequence(0), i32::MAX), Sequence(1));
    assert_eq!(
        sequence_plus(-1, 1),
        0,
        "without a batch the first sequence is 0"
    );
}
