//! A batch ends inside a block; a direct run begins in the same block and is acknowledged. Neither the write-behind of
//! the first nor its replay may zero the head of the run (STORAGE C3).

use engine::platform::sim::{CutMode, SimDiskOptions};

use crate::rig::Machine;

/// Small batches and direct runs in turn, acknowledged one by one; then `cut`, twice.
fn write_and_cut(seed: u64, slow: bool, cut: impl Fn(&mut Machine)) {
    let mut machine = Machine::new(seed, 1, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    if slow {
        let mut options = SimDiskOptions::default();
        (options.short_write, options.latency_tail) = (0.5, 0.3);
        options.latency_tail_max = std::time::Duration::from_millis(20);
        machine.disk.set_options(options);
    }
    let direct_runs = machine.run(async |started| {
        for number in 0..24 {
            let size = if number % 3 == 2 {
                90_000 + number as usize
            } else {
                700
            };
            let appended = started.append(0, number, size).await.unwrap();
            assert_eq!(appended.base_offset.0 as u64, number);
        }
        started.storage.metrics().direct_runs
    });
    assert!(direct_runs >= 8);
    for _ in 0..2 {
        cut(&mut machine);
        machine.run(async |started| {
            assert!(started.report.damage.is_empty(), "{}", started.report);
            let found = started.read_all(0, 0).await.unwrap();
            let expected: Vec<(i64, u64)> = (0..24).map(|number| (number as i64, number)).collect();
            assert_eq!(found, expected);
            assert_eq!(started.storage.metrics().quarantined_ranges, 0);
        });
    }
}

#[test]
fn a_kill_leaves_the_run_whole() {
    for seed in 0..4 {
        write_and_cut(seed, seed % 2 == 1, Machine::kill);
    }
}

#[test]
fn a_power_cut_leaves_the_run_whole() {
    for (seed, mode) in [
        CutMode::Random(0.0),
        CutMode::Random(0.5),
        CutMode::Latest(0.4),
    ]
    .into_iter()
    .enumerate()
    {
        write_and_cut(seed as u64, true, |machine| machine.cut_power(mode));
    }
}
