//! An acknowledged record is there after a kill, a power cut and a clean stop, at its offset, once.

use engine::platform::sim::CutMode;

use crate::rig::Machine;

fn write_and_cut(cut: impl Fn(&mut Machine), size: usize) {
    let mut machine = Machine::new(1, 3, &[]);
    let acknowledged = machine.run(async move |started| {
        let mut acknowledged = Vec::new();
        for number in 0..60 {
            let index = (number % 3) as i32;
            let appended = started.append(index, number, size).await.unwrap();
            acknowledged.push((index, appended.base_offset.0, number));
        }
        for index in 0..3 {
            assert_eq!(started.read_all(index, 0).await.unwrap().len(), 20);
        }
        acknowledged
    });
    cut(&mut machine);
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        for index in 0..3 {
            let found = started.read_all(index, 0).await.unwrap();
            let expected: Vec<(i64, u64)> = acknowledged
                .iter()
                .filter(|(other, ..)| *other == index)
                .map(|(_, offset, number)| (*offset, *number))
                .collect();
            assert_eq!(found, expected, "partition {index}");
            let appended = started.append(index, 1000, 100).await.unwrap();
            assert_eq!(appended.base_offset.0, 20);
        }
    });
}

#[test]
fn a_kill_loses_nothing_acknowledged() {
    write_and_cut(Machine::kill, 500);
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    for mode in [
        CutMode::Random(0.0),
        CutMode::Random(0.5),
        CutMode::Earliest(0.5),
        CutMode::Latest(0.5),
    ] {
        write_and_cut(|machine| machine.cut_power(mode), 500);
    }
}

#[test]
fn a_power_cut_loses_no_direct_run() {
    for mode in [
        CutMode::Random(0.0),
        CutMode::Random(0.5),
        CutMode::Latest(0.5),
    ] {
        write_and_cut(|machine| machine.cut_power(mode), 100_000);
    }
}

#[test]
fn a_clean_stop_loses_nothing_and_leaves_nothing_to_replay() {
    let mut machine = Machine::new(3, 2, &[("segment.bytes", "1048576")]);
    machine.run(async |started| {
        for number in 0..100 {
            started
                .append((number % 2) as i32, number, 30_000)
                .await
                .unwrap();
        }
        let stopped = started.storage.stop().await.unwrap();
        assert!(stopped.complete);
        assert!(started.storage.metrics().segment_rolls > 0);
    });
    machine.kill();
    machine.run(async |started| {
        assert_eq!(started.report.batches_replayed, 0);
        assert!(started.report.damage.is_empty(), "{}", started.report);
        for index in 0..2 {
            let found = started.read_all(index, 0).await.unwrap();
            assert_eq!(found.len(), 50);
            assert!(
                found
                    .iter()
                    .enumerate()
                    .all(|(at, (offset, number))| *offset == at as i64
                        && *number == (at as u64) * 2 + index as u64)
            );
        }
    });
}
