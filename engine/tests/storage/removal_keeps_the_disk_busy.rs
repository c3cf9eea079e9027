//! Gigabytes that go at once keep a disk busy that is told of every freed block, and whoever produces meanwhile waits. So
//! long files go step by step, and what a step leaves is nobody's damage.

use std::time::Duration;

use engine::log::ReadError;
use engine::platform::sim::{SimDisk, SimDiskOptions};
use engine::types::Offset;

use crate::rig::{Machine, Started, partition};

const SEGMENT_BYTES: u64 = 400_000;
const RECORD_BYTES: usize = 10_000;
const RECORDS: u64 = 90;
const TOPIC: &[(&str, &str)] = &[
    ("internal.segment.bytes", "400000"),
    ("file.delete.delay.ms", "0"),
];

async fn fill(started: &Started) {
    for number in 0..RECORDS {
        started.append(0, number, RECORD_BYTES).await.unwrap();
    }
    // Into the segments, so that nothing else changes the space while files go.
    started.runtime.sleep(Duration::from_secs(2)).await;
}

fn leftovers(disk: &SimDisk) -> usize {
    let names = disk.names("").unwrap();
    names
        .iter()
        .filter(|name| name.ends_with("-delete"))
        .count()
}

/// Looks until `is_done`: the largest part that went at once, and how often something went.
async fn watch(started: &Started, disk: &SimDisk, is_done: impl Fn() -> bool) -> (u64, usize) {
    let (mut largest, mut steps) = (0, 0);
    let mut used = disk.used_bytes();
    while !is_done() {
        started.runtime.sleep(Duration::from_micros(1)).await;
        let now = disk.used_bytes();
        if now < used {
            largest = largest.max(used - now);
            steps += 1;
        }
        used = now;
    }
    (largest, steps)
}

#[test]
fn a_deleted_topic_goes_step_by_step() {
    let mut machine = Machine::new(61, 1, TOPIC);
    let step = machine.settings.removal_step_bytes;
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        fill(&started).await;
        let before = disk.used_bytes();
        started
            .storage
            .delete_partition(partition(0))
            .await
            .unwrap();
        let (largest, steps) = watch(&started, &disk, || leftovers(&disk) == 0).await;
        assert!(largest <= step, "{largest}");
        let bytes = RECORDS * RECORD_BYTES as u64;
        assert!(before - disk.used_bytes() >= bytes);
        assert!(steps as u64 >= bytes / step, "{steps}");
    });
}

/// How long the files of these partitions took to go.
async fn time_to_delete(started: &Started, disk: &SimDisk, indexes: &[i32]) -> Duration {
    let begun = started.runtime.monotonic();
    for index in indexes {
        started
            .storage
            .delete_partition(partition(*index))
            .await
            .unwrap();
    }
    watch(started, disk, || leftovers(disk) == 0).await;
    started.runtime.monotonic() - begun
}

#[test]
fn several_deletions_take_turns_and_nobody_rests_on_a_full_disk() {
    let mut machine = Machine::new(65, 6, TOPIC);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        for index in 0..6 {
            for number in 0..RECORDS {
                started.append(index, number, RECORD_BYTES).await.unwrap();
            }
        }
        started.runtime.sleep(Duration::from_secs(2)).await;
        let one = time_to_delete(&started, &disk, &[0]).await;
        let three = time_to_delete(&started, &disk, &[1, 2, 3]).await;
        assert!(three > one * 5 / 2, "{one:?}, {three:?}");
        disk.set_options(SimDiskOptions {
            quota_bytes: Some(disk.used_bytes()),
            ..SimDiskOptions::default()
        });
        let mut number = RECORDS;
        while started.append(4, number, RECORD_BYTES).await.is_ok() {
            number += 1;
        }
        let full = time_to_delete(&started, &disk, &[5]).await;
        assert!(full < one / 2, "{one:?}, {full:?}");
    });
}

#[test]
fn space_allocated_ahead_goes_step_by_step_too() {
    let mut machine = Machine::new(62, 1, &[]);
    let step = machine.settings.removal_step_bytes;
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        started.append(0, 0, 100).await.unwrap();
        let ahead = started
            .disk
            .allocated_bytes("orders-0/00000000000000000000.log")
            .await;
        assert!(ahead.unwrap() > 10 * step);
        started
            .storage
            .delete_partition(partition(0))
            .await
            .unwrap();
        let (largest, _) = watch(&started, &disk, || leftovers(&disk) == 0).await;
        assert!(largest <= step, "{largest}");
    });
}

#[test]
fn a_stop_does_not_wait_for_it_and_the_next_start_goes_on() {
    let mut machine = Machine::new(63, 1, TOPIC);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        fill(&started).await;
        started
            .storage
            .delete_partition(partition(0))
            .await
            .unwrap();
        started.runtime.sleep(Duration::from_millis(2)).await;
        let begun = started.runtime.monotonic();
        Machine::stop_clean(&started).await;
        assert!(started.runtime.monotonic() - begun < Duration::from_millis(20));
        assert_eq!(leftovers(&disk), 1);
    });
    machine.kill();
    machine.known.partitions.clear();
    machine.known.removed.insert(partition(0).topic_id);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        let (_, steps) = watch(&started, &disk, || leftovers(&disk) == 0).await;
        assert!(steps > 20, "{steps}");
    });
}

#[test]
fn a_reader_whose_segment_gets_shorter_finds_no_damage() {
    let mut out_of_range = 0;
    for seed in 0..40 {
        let mut machine = Machine::new(6_400 + seed, 1, TOPIC);
        machine.settings.cache_bytes = 0;
        let disk = machine.disk.clone();
        out_of_range += machine.run(async move |started| {
            fill(&started).await;
            // Some reads take longer than the way of their segment's files to the last of them.
            disk.set_options(SimDiskOptions {
                latency_tail: 0.1,
                latency_tail_max: Duration::from_millis(100),
                ..SimDiskOptions::default()
            });
            let first = SEGMENT_BYTES as i64 / RECORD_BYTES as i64;
            let storage = started.storage.clone();
            started.runtime.spawn(async move {
                storage
                    .delete_records(partition(0), Offset(80))
                    .await
                    .unwrap();
            });
            let mut out_of_range = 0;
            for look in 0..400 {
                match started
                    .read_all(0, (look * 7 + seed as i64) % (2 * first))
                    .await
                {
                    Ok(found) => assert!(
                        found
                            .iter()
                            .all(|(offset, number)| *offset == *number as i64)
                    ),
                    Err(ReadError::OffsetOutOfRange { .. }) => out_of_range += 1,
                    Err(error) => panic!("seed {seed}: {error:?}"),
                }
            }
            assert_eq!(started.storage.metrics().quarantined_ranges, 0);
            out_of_range
        });
    }
    assert!(out_of_range > 0);
}
