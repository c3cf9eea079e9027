//! Writes that a process submitted before kill -9 may land after the next process has started. Its files are locked until
//! they have, and the next process waits for that (STORAGE C5): nothing lands over what it writes.

use std::time::Duration;

use engine::platform::sim::SimDiskOptions;

use crate::rig::{Machine, partition};

#[test]
fn nothing_of_a_dead_process_lands_over_what_the_next_one_acknowledged() {
    for seed in 0..6 {
        let mut machine = Machine::new(seed, 2, &[]);
        machine.settings.checkpoint_interval_ms = 600_000;
        machine.spawn(async |started| {
            for number in 0..40 {
                let size = if number % 7 == 0 { 60_000 } else { 2_000 };
                // Not awaited: what is in flight at the kill is the point.
                drop(started.storage.append(
                    partition((number % 2) as i32),
                    crate::rig::batch(900 + number, size, None),
                ));
            }
        });
        // Started, nothing written yet: from now on every operation takes long.
        while machine.disk.content("tidelog/journal-0-0").is_err() {
            machine.run_for(1);
        }
        machine.run_for(5);
        let mut slow = SimDiskOptions::default();
        (slow.latency_tail, slow.latency_tail_max) = (1.0, Duration::from_secs(3));
        machine.disk.set_options(slow);
        machine.run_for(40);
        assert!(machine.disk.operations_in_flight() > 0, "seed {seed}");
        machine.kill();
        machine.disk.set_options(SimDiskOptions::default());
        let before = machine.run(async |started| {
            let mut ends = Vec::new();
            for index in 0..2 {
                ends.push(started.read_all(index, 0).await.unwrap());
                for number in 0..10 {
                    started.append(index, number, 3_000).await.unwrap();
                }
            }
            // Whatever is still under way has landed after this.
            started.runtime.sleep(Duration::from_secs(5)).await;
            ends
        });
        assert_eq!(machine.disk.operations_in_flight(), 0);
        machine.kill();
        for _ in 0..2 {
            let before = before.clone();
            machine.run(async move |started| {
                assert!(started.report.damage.is_empty(), "{}", started.report);
                for (index, mut expected) in before.into_iter().enumerate() {
                    let first = expected.len() as i64;
                    expected.extend((0..10).map(|number| (first + number, number as u64)));
                    assert_eq!(
                        started.read_all(index as i32, 0).await.unwrap(),
                        expected,
                        "seed {seed}"
                    );
                }
            });
            machine.kill();
        }
    }
}
