//! The journal names a topic that the metadata does not know: the entries are kept aside, never dropped and never taken
//! for another topic's. A directory belongs to the id in it: a deleted topic's goes, anybody else's is moved aside
//! (STORAGE C11).

use std::time::Duration;

use engine::types::{LeaderEpoch, PartitionId, TopicId};

use crate::rig::{Machine, batch, topic_config};

const OTHER: PartitionId = PartitionId {
    topic_id: TopicId([8; 16]),
    index: 0,
};

/// A topic that is made and written to, and killed before any checkpoint names it.
fn prepared() -> Machine {
    let mut machine = Machine::new(41, 1, &[]);
    machine.settings.checkpoint_interval_ms = 600_000;
    machine.run(async |started| {
        let config = topic_config(&[]);
        let made = started
            .storage
            .create_partition(OTHER, "late-0", LeaderEpoch(1), config);
        made.await.unwrap();
        for number in 0..5 {
            started.append(0, number, 400).await.unwrap();
            started
                .storage
                .append(OTHER, batch(number, 400, None))
                .await
                .unwrap();
        }
    });
    machine.kill();
    machine
}

fn set_aside(machine: &Machine) -> usize {
    let names = machine.disk.names("tidelog").unwrap();
    names
        .iter()
        .filter(|name| name.contains(".damaged-"))
        .count()
}

#[test]
fn its_entries_are_kept_aside_once_and_cost_nobody_else_anything() {
    let mut machine = prepared();
    for life in 0..2 {
        machine.run(async move |started| {
            let named = started
                .report
                .damage
                .iter()
                .any(|line| line.contains("neither known nor deleted"));
            assert_eq!(named, life == 0, "{}", started.report);
            assert_eq!(started.report.stray_directories, ["late-0"]);
            assert_eq!(
                started.read_all(0, 0).await.unwrap().len(),
                5 + life as usize
            );
            started.append(0, 5 + life, 400).await.unwrap();
        });
        assert_eq!(set_aside(&machine), 1);
        machine.kill();
    }
}

#[test]
fn a_deleted_topics_entries_and_directory_go_without_a_word() {
    let mut machine = prepared();
    machine.known.removed.insert(OTHER.topic_id);
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert!(started.report.stray_directories.is_empty());
        // Its files go in the background.
        started.runtime.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(set_aside(&machine), 0);
    let names = machine.disk.names("").unwrap();
    assert!(
        !names.iter().any(|name| name.starts_with("late-0")),
        "{names:?}"
    );
}

#[test]
fn a_new_topic_of_that_name_gets_a_directory_of_its_own() {
    for removed in [true, false] {
        let mut machine = prepared();
        if removed {
            machine.known.removed.insert(OTHER.topic_id);
        }
        let config = topic_config(&[]);
        let directory = "late-0".to_owned();
        let id = PartitionId {
            topic_id: TopicId([9; 16]),
            index: 0,
        };
        let partition = engine::log::KnownPartition { directory, config };
        machine.known.partitions.insert(id, partition);
        machine.run(async move |started| {
            assert_eq!(started.storage.offsets(id).unwrap().log_end().0, 0);
            let appended = started
                .storage
                .append(id, batch(1, 100, None))
                .await
                .unwrap();
            assert_eq!(appended.base_offset.0, 0);
        });
        let names = machine.disk.names("").unwrap();
        let aside = names.iter().filter(|name| name.ends_with("-stray")).count();
        assert_eq!(aside, usize::from(!removed), "{names:?}");
    }
}
