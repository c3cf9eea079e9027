//! A generation ends in a torn group and the next one goes on. Whichever checkpoint is lost, no replay crosses from one
//! generation into the other, and a change of the shard that owns a partition puts nothing out of order (STORAGE C6).

use engine::platform::sim::CutMode;
use engine::types::ShardId;

use crate::rig::{Machine, batch, partition};

/// Acknowledged records of partition 0, then a tear, then five more by the next generation, and a kill.
fn prepared(seed: u64) -> (Machine, Vec<(i64, u64)>) {
    let mut machine = Machine::new(seed, 1, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    machine.run(async |started| {
        for number in 0..8 {
            started.append(0, number, 900).await.unwrap();
        }
        for number in 100..110 {
            drop(
                started
                    .storage
                    .append(partition(0), batch(number, 9_000, None)),
            );
        }
        started
            .runtime
            .sleep(std::time::Duration::from_micros(200))
            .await;
    });
    machine.cut_power(CutMode::Random(0.5));
    let expected = machine.run(async |started| {
        for number in 200..205 {
            started.append(0, number, 900).await.unwrap();
        }
        started.read_all(0, 0).await.unwrap()
    });
    machine.kill();
    assert!(expected.len() >= 13 && expected[..8].iter().map(|(_, number)| *number).eq(0..8));
    (machine, expected)
}

#[test]
fn a_lost_checkpoint_of_either_file_costs_nothing() {
    let mut torn = 0;
    for seed in 0..8 {
        for copy in ["a", "b"] {
            for position in [12, 4096 + 30] {
                let (mut machine, expected) = prepared(seed);
                let path = format!("tidelog/checkpoint-start-{copy}");
                assert!(machine.disk.rot(&path, position, 1).unwrap());
                let report = machine.run(async move |started| {
                    assert_eq!(
                        started.read_all(0, 0).await.unwrap(),
                        expected,
                        "{}",
                        started.report
                    );
                    assert!(started.report.damage.is_empty(), "{}", started.report);
                    assert_eq!(started.report.unfinished.len(), 1, "{}", started.report);
                    started.report
                });
                torn += report.torn_groups;
            }
        }
    }
    // The tear belongs to the generation before: this one must not see it again.
    assert_eq!(torn, 0);
}

#[test]
fn a_partition_that_changes_its_shard_keeps_its_order() {
    let mut machine = Machine::new(5, 3, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    for life in 0..6_u64 {
        machine.shard = ShardId((life % 3) as u16);
        machine.run(async move |started| {
            assert!(started.report.damage.is_empty(), "{}", started.report);
            for index in 0..3 {
                let found = started.read_all(index, 0).await.unwrap();
                assert!(
                    found.iter().map(|(_, number)| *number).eq(0..life * 10),
                    "{found:?}"
                );
                for number in life * 10..life * 10 + 10 {
                    started.append(index, number, 1_500).await.unwrap();
                }
            }
        });
        match life % 2 {
            0 => machine.kill(),
            _ => machine.cut_power(CutMode::Random(0.3)),
        }
    }
}
