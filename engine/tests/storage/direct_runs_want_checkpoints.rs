//! Direct runs hardly fill the journal, so its length asks for no checkpoint. Without another reason for one, the next start
//! read again what was written within the interval, up to ten seconds of it: 7 to 9 s for a node that had just taken 10 GB.

use crate::rig::Machine;

#[test]
fn what_was_written_to_segments_asks_for_a_checkpoint() {
    let mut machine = Machine::new(31, 1, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    machine.settings.written_bytes_before_checkpoint = 500_000;
    machine.run(async |started| {
        let before = started.storage.metrics();
        for number in 0..24 {
            started.append(0, number, 100_000).await.unwrap();
        }
        let after = started.storage.metrics();
        assert_eq!(after.direct_runs - before.direct_runs, 24);
        assert!(after.journal_bytes - before.journal_bytes < 500_000);
        let checkpoints = after.checkpoints - before.checkpoints;
        assert!((3..=5).contains(&checkpoints), "{checkpoints}");
    });
    machine.kill();
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert!(started.report.batches_replayed < 12, "{}", started.report);
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 24);
    });
}
