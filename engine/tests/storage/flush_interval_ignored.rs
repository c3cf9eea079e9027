//! `durability = os` acknowledges before a flush, but a topic with `flush.messages` or `flush.ms` asked for flushes: its
//! records survive a power cut all the same, also behind groups of other topics that nobody flushed.

use engine::platform::sim::CutMode;
use tuning::Durability;

use crate::rig::{Machine, partition, topic_config};

/// Records that survive a cut of each partition; the second one has `settings`.
fn survivors(settings: &[(&str, &str)], size: usize) -> (usize, usize) {
    let mut machine = Machine::new(3, 2, &[]);
    machine.settings.durability = Durability::Os;
    machine.settings.checkpoint_interval_ms = 3_600_000;
    let known = machine.known.partitions.get_mut(&partition(1)).unwrap();
    known.config = topic_config(settings);
    machine.run(async move |started| {
        for number in 0..30 {
            started.append(0, number, size).await.unwrap();
            started.append(1, number, size).await.unwrap();
        }
        for number in 30..60 {
            started.append(0, number, size).await.unwrap();
        }
    });
    machine.cut_power(CutMode::Random(0.0));
    machine.run(async move |started| {
        // Of a direct run that nobody flushed the journal may know although its bytes are gone: those are quarantined.
        let mut counts = [0, 0];
        for (index, count) in (0..).zip(&mut counts) {
            *count = started.read_all(index, 0).await.map_or(0, |all| all.len());
        }
        (counts[0], counts[1])
    })
}

#[test]
fn a_topic_with_a_flush_interval_keeps_what_it_acknowledged() {
    for size in [500, 60_000] {
        for settings in [("flush.messages", "10"), ("flush.ms", "5000")] {
            let (plain, flushed) = survivors(&[settings], size);
            assert_eq!(flushed, 30, "{settings:?}, {size} bytes");
            assert!(plain < 60, "the other topic was not flushed");
        }
        assert!(survivors(&[], size).1 < 30, "nobody asked for a flush");
    }
}
