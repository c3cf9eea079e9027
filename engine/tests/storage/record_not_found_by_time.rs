//! A timestamp finds the first record at or after it, in the cache, in segments, after a restart; the largest timestamp
//! finds the record that carries it.

use engine::log::OffsetQuery;

use crate::rig::{Machine, Started, partition};

async fn check(started: &Started, numbers: u64) {
    for wanted in [0, 1_000, 1_001, 1_017, 1_000 + numbers as i64 - 1] {
        let found = started
            .storage
            .find_offset(partition(0), OffsetQuery::Timestamp(wanted))
            .await
            .unwrap();
        assert_eq!(
            (found.offset, found.timestamp),
            ((wanted - 1_000).max(0), wanted.max(1_000)),
            "wanted {wanted}"
        );
        assert!(found.leader_epoch >= 0);
    }
    let late = started
        .storage
        .find_offset(partition(0), OffsetQuery::Timestamp(1_000 + numbers as i64))
        .await
        .unwrap();
    assert_eq!((late.offset, late.timestamp), (-1, -1));
    let newest = started
        .storage
        .find_offset(partition(0), OffsetQuery::MaxTimestamp)
        .await
        .unwrap();
    assert_eq!(
        (newest.offset, newest.timestamp),
        (numbers as i64 - 1, 1_000 + numbers as i64 - 1)
    );
}

#[test]
fn timestamps_are_found_in_cache_and_segments_and_after_a_crash() {
    let mut machine = Machine::new(5, 1, &[("internal.segment.bytes", "100000")]);
    machine.run(async |started| {
        for number in 0..60 {
            started.append(0, number, 5_000).await.unwrap();
        }
        check(&started, 60).await;
    });
    machine.kill();
    machine.run(async |started| {
        check(&started, 60).await;
        for number in 60..80 {
            started.append(0, number, 5_000).await.unwrap();
        }
        check(&started, 80).await;
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    machine.run(async |started| check(&started, 80).await);
}
