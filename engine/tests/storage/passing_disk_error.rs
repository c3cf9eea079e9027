//! A disk error that is gone the next time costs nothing for good: found by the simulator, where a single EIO at start
//! moved a partition's directory aside, let partitions refuse appends for ever, or dropped recovered records unseen.

use std::time::Duration;

use engine::log::AppendError;
use engine::platform::sim::{DiskFault, SimDiskOptions};
use futures_lite::future::zip;

use crate::rig::{Machine, Started, batch, partition};

/// Killed with journaled batches, and a direct run between them, of which no checkpoint knows.
fn killed() -> Machine {
    let mut machine = Machine::new(21, 2, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    machine.run(async |started| {
        for number in 0..30 {
            let size = if number % 10 == 4 { 60_000 } else { 700 };
            started
                .append((number % 2) as i32, number, size)
                .await
                .unwrap();
        }
        assert!(started.storage.metrics().direct_runs > 0);
    });
    machine.kill();
    machine
}

async fn nothing_is_lost(started: &Started) {
    assert_eq!(started.report.quarantined_ranges, 0, "{}", started.report);
    assert_eq!(started.report.unproved_partitions, 0, "{}", started.report);
    for index in 0..2 {
        let numbers: Vec<u64> = started
            .read_all(index, 0)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        let sent: Vec<u64> = (0..30)
            .filter(|number| number % 2 == index as u64)
            .collect();
        assert_eq!(numbers, sent, "partition {index}");
        started.append(index, 100, 10).await.unwrap();
    }
}

fn one_error_at_start(fault: DiskFault, path: &str) {
    for skipped in 0..4 {
        let mut machine = killed();
        // The first starts meet the error, if they are unlucky; they may refuse, but not make it worse.
        for _ in 0..=skipped {
            machine.disk.fail_next(fault, path);
        }
        for _ in 0..=skipped {
            let start = machine.start();
            machine
                .simulation
                .block_on(&machine.node, async move { drop(start.await) });
            machine.kill();
        }
        machine.disk.forget_planned_faults();
        machine.run(async |started| nothing_is_lost(&started).await);
    }
}

#[test]
fn a_read_error_of_a_partitions_own_metadata_moves_nothing_aside() {
    one_error_at_start(DiskFault::Read, "partition.metadata");
}

#[test]
fn a_read_error_of_the_journal_is_neither_its_end_nor_its_rot() {
    one_error_at_start(DiskFault::Read, "journal-");
}

#[test]
fn a_read_error_of_a_segment_costs_no_direct_run() {
    one_error_at_start(DiskFault::Read, ".log");
}

#[test]
fn a_write_error_in_recovery_is_not_swallowed() {
    one_error_at_start(DiskFault::Write, ".log");
}

/// The newest checkpoint was cut while it was written, and its twin cannot be read: what neither shows is not in the
/// journal any more, so a start without them takes acknowledged records for lost.
#[test]
fn a_read_error_of_the_one_whole_checkpoint_costs_nothing() {
    for (torn, unread) in [("a", "b"), ("b", "a")] {
        for errors in [1, 40] {
            let mut machine = Machine::new(23, 2, &[("internal.segment.bytes", "40000")]);
            machine.settings.journal_file_bytes = 128 << 10;
            machine.settings.journal_files_max = 3;
            machine.settings.checkpoint_interval_ms = 100;
            machine.run(async |started| {
                for number in 0..300 {
                    started
                        .append((number % 2) as i32, number, 3_000)
                        .await
                        .unwrap();
                }
                assert!(started.storage.metrics().journal_recycled_files > 3);
                // No checkpoint is being written at the kill: one copy is to be torn here, and no more.
                started.runtime.sleep(Duration::from_secs(1)).await;
            });
            machine.kill();
            let path = format!("tidelog/checkpoint-0-{torn}");
            assert!(machine.disk.rot(&path, 4_100, 1).unwrap());
            for _ in 0..errors {
                let path = format!("tidelog/checkpoint-0-{unread}");
                machine.disk.fail_next(DiskFault::Read, &path);
            }
            let start = machine.start();
            let started = machine
                .simulation
                .block_on(&machine.node, async move { start.await.is_ok() });
            assert_eq!(started, errors == 1, "{errors} errors");
            machine.kill();
            machine.disk.forget_planned_faults();
            machine.run(async |started| {
                assert_eq!(started.report.quarantined_ranges, 0, "{}", started.report);
                for index in 0..2 {
                    let found = started.read_all(index, 0).await.unwrap();
                    assert_eq!(found.len(), 150, "partition {index}");
                }
            });
        }
    }
}

/// A group with extents is under way when a checkpoint's flush fails: it is never acknowledged, but the next start finds
/// it in the journal. The segment that its extents are in, finished meanwhile, must not have been cut behind the last
/// acknowledged batch.
#[test]
fn a_segment_finished_after_the_journal_failed_keeps_what_was_under_way() {
    let mut taken_back = 0;
    for seed in 0..60 {
        let mut machine = Machine::new(seed, 1, &[("internal.segment.bytes", "150000")]);
        machine.settings.checkpoint_interval_ms = 5;
        let disk = machine.disk.clone();
        let acknowledged = machine.run(async move |started| {
            started.append(0, 0, 700).await.unwrap();
            disk.fail_next(DiskFault::Flush, "tidelog/flush-0");
            // Several at a time, so that the next run follows the one before it at once.
            let (started, mut acknowledged, mut failed) = (&started, 1, false);
            for first in (1..400).step_by(4) {
                let send = |number| started.append(0, number, 50_000);
                let one = zip(send(first), send(first + 1));
                let other = zip(send(first + 2), send(first + 3));
                let ((a, b), (c, d)) = zip(one, other).await;
                for result in [a, b, c, d] {
                    failed |= result.is_err();
                    acknowledged += u64::from(result.is_ok());
                }
            }
            assert!(failed, "the flush did not fail");
            started.runtime.sleep(Duration::from_millis(50)).await;
            acknowledged
        });
        machine.kill();
        machine.run(async move |started| {
            assert_eq!(
                started.report.quarantined_ranges, 0,
                "seed {seed}: {}",
                started.report
            );
        });
        machine.kill();
        taken_back += machine.run(async move |started| {
            let found = started.read_all(0, 0).await.unwrap();
            assert!(found.len() as u64 >= acknowledged, "seed {seed}");
            u64::from(found.len() as u64 > acknowledged)
        });
    }
    assert!(taken_back > 0, "no group was under way at the failure");
}

#[test]
fn what_follows_a_batch_refused_for_want_of_space_does_not_take_its_place() {
    let mut machine = Machine::new(22, 1, &[]);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        started.append(0, 0, 100).await.unwrap();
        let options = SimDiskOptions {
            quota_bytes: Some(disk.used_bytes()),
            ..disk.options()
        };
        disk.set_options(options.clone());
        let send = |number, size, sequence| {
            started
                .storage
                .append(partition(0), batch(number, size, Some((5, sequence))))
        };
        let first = send(1, 600_000, 0).await;
        assert!(matches!(first, Err(AppendError::OutOfSpace)), "{first:?}");
        // It was on its way when the first was refused, and would fit.
        let second = send(2, 10, 1).await;
        assert!(
            matches!(
                second,
                Err(AppendError::OutOfOrderSequence {
                    expected: 0,
                    got: 1,
                    ..
                })
            ),
            "{second:?}"
        );
        disk.set_options(SimDiskOptions {
            quota_bytes: None,
            ..options
        });
        send(1, 600_000, 0).await.unwrap();
        send(2, 10, 1).await.unwrap();
    });
}
