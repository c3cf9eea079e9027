//! A group that was flushed and is no longer whole is damage, named and kept; it is never taken for the end, costs
//! nothing innocent, and what its segment still has is used (STORAGE C7, C9).

use engine::log::{AppendError, ReadError};

use crate::rig::Machine;

/// Position of the first byte equal to `needle` in the journal file.
fn find(content: &[u8], needle: &[u8]) -> usize {
    content
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}

/// Twenty records on each of two partitions, then quiet long enough for the confirming empty group.
fn prepared(checkpoint_interval_ms: u64) -> Machine {
    let mut machine = Machine::new(11, 2, &[]);
    machine.settings.checkpoint_interval_ms = checkpoint_interval_ms;
    machine.run(async |started| {
        for number in 0..40 {
            started
                .append((number % 2) as i32, number, 1_000)
                .await
                .unwrap();
        }
        started
            .runtime
            .sleep(std::time::Duration::from_millis(50))
            .await;
    });
    machine.kill();
    machine.run_for(20);
    machine
}

fn payload_of(number: u64) -> Vec<u8> {
    let request = crate::rig::batch(number, 1_000, None);
    request.batch[80..120].to_vec()
}

#[test]
fn the_last_acknowledged_group_is_not_taken_for_a_tear() {
    let mut machine = prepared(60_000);
    let content = machine.disk.content("tidelog/journal-0-0").unwrap();
    let position = find(&content, &payload_of(39));
    assert!(
        machine
            .disk
            .rot("tidelog/journal-0-0", position as u64, 4)
            .unwrap()
    );
    machine.run(async |started| {
        assert_eq!(
            (started.report.rotten_groups, started.report.torn_groups),
            (1, 0),
            "{}",
            started.report
        );
        assert!(!started.report.damage.is_empty());
        // The record was not in its segment yet: its offset is kept and not served, those before it are.
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 20);
        let result = started.read_all(1, 19).await;
        assert!(
            matches!(result, Err(ReadError::Quarantined { .. })),
            "{result:?}"
        );
        let appended = started.append(1, 100, 100).await.unwrap();
        assert_eq!(appended.base_offset.0, 20, "the end never falls back");
    });
    machine.kill();
    machine.run(async |started| {
        let result = started.read_all(1, 19).await;
        assert!(
            matches!(result, Err(ReadError::Quarantined { .. })),
            "the quarantine is remembered: {result:?}"
        );
        assert_eq!(started.read_all(1, 20).await.unwrap(), vec![(20, 100)]);
    });
}

#[test]
fn a_rotten_group_in_the_middle_costs_only_its_batch() {
    let mut machine = prepared(60_000);
    let content = machine.disk.content("tidelog/journal-0-0").unwrap();
    let position = find(&content, &payload_of(10));
    machine
        .disk
        .rot("tidelog/journal-0-0", position as u64, 1)
        .unwrap();
    machine.run(async |started| {
        assert_eq!(started.report.rotten_groups, 1, "{}", started.report);
        assert_eq!(
            started.read_all(1, 0).await.unwrap().len(),
            20,
            "the other partition lost nothing"
        );
        let result = started.read_all(0, 5).await;
        assert!(
            matches!(result, Err(ReadError::Quarantined { .. })),
            "{result:?}"
        );
        assert_eq!(started.read_all(0, 6).await.unwrap().len(), 14);
        started.append(0, 100, 10).await.unwrap();
        let names: Vec<String> = started
            .disk
            .list("tidelog")
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert!(
            names
                .iter()
                .any(|name| name.starts_with("journal-0-0.damaged")),
            "the journal is set aside: {names:?}"
        );
    });
}

#[test]
fn a_lost_group_header_is_found_by_its_trailer() {
    let mut machine = prepared(60_000);
    let content = machine.disk.content("tidelog/journal-0-0").unwrap();
    let header = find(&content, &payload_of(10)) / 4096 * 4096;
    machine
        .disk
        .rot("tidelog/journal-0-0", header as u64 + 20, 1)
        .unwrap();
    machine.run(async |started| {
        assert_eq!(started.report.rotten_groups, 1, "{}", started.report);
        assert_eq!(started.report.unproved_partitions, 0, "{}", started.report);
        for index in 0..2 {
            assert_eq!(started.read_all(index, 0).await.unwrap().len(), 20);
            started.append(index, 100, 10).await.unwrap();
        }
    });
}

/// The file that a group begins is known by that group's header only: without it the whole file was passed over, as if
/// the log ended in the file before.
#[test]
fn a_lost_header_at_the_start_of_a_file_does_not_end_the_log() {
    let mut machine = Machine::new(12, 2, &[]);
    machine.settings.checkpoint_interval_ms = 60_000;
    machine.settings.journal_file_bytes = 96 << 10;
    machine.run(async |started| {
        for number in 0..40 {
            let appended = started.append((number % 2) as i32, number, 1_000).await;
            appended.unwrap();
        }
        let quiet = std::time::Duration::from_millis(50);
        started.runtime.sleep(quiet).await;
    });
    machine.kill();
    machine.run_for(20);
    assert!(machine.disk.rot("tidelog/journal-0-1", 20, 1).unwrap());
    machine.run(async |started| {
        assert_eq!(started.report.rotten_groups, 1, "{}", started.report);
        assert_eq!(started.report.unproved_partitions, 0, "{}", started.report);
        for index in 0..2 {
            assert_eq!(started.read_all(index, 0).await.unwrap().len(), 20);
            started.append(index, 100, 10).await.unwrap();
        }
    });
}

#[test]
fn where_the_end_cannot_be_proved_appends_are_refused_and_reads_go_on() {
    let mut machine = prepared(60_000);
    let content = machine.disk.content("tidelog/journal-0-0").unwrap();
    // The last batch's group, header and trailer: nothing says any more whose batch it was.
    let header = (find(&content, &payload_of(39)) / 4096 * 4096) as u64;
    for byte in [20, 4096 - 96 + 20] {
        machine
            .disk
            .rot("tidelog/journal-0-0", header + byte, 1)
            .unwrap();
    }
    machine.run(async |started| {
        assert!(started.report.unproved_partitions > 0, "{}", started.report);
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 20);
        assert_eq!(started.read_all(1, 0).await.unwrap().len(), 19);
        let refused = started.append(1, 100, 10).await;
        assert_eq!(refused, Err(AppendError::Quarantined));
    });
}

#[test]
fn a_batch_that_its_segment_has_is_not_lost() {
    let mut machine = prepared(60_000);
    // A start writes everything behind; the journal of the generation before stays as it is until it is used again, so
    // damage to it costs nothing.
    machine.run(async |started| assert!(started.report.damage.is_empty()));
    machine.kill();
    let content = machine.disk.content("tidelog/journal-0-0").unwrap();
    let position = find(&content, &payload_of(20));
    machine
        .disk
        .rot("tidelog/journal-0-0", position as u64, 1)
        .unwrap();
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 20);
    });
}
