//! A real Kafka opened the directory after our clean stop and appended: what it wrote is taken in (STORAGE C12a). After
//! any other stop a longer tail is our own, unacknowledged, and is written over.

use net::records::BatchBuilder;

use std::time::Duration;

use engine::platform::sim::CutMode;

use crate::rig::Machine;

const SEGMENT: &str = "orders-0/00000000000000000000.log";

/// A batch as another broker stamped it.
fn foreign(offset: i64, epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut value = (offset as u64).to_be_bytes().to_vec();
    value.resize(300, 7);
    builder.append(None, Some(&value), &[], 1_000 + offset);
    builder.build(offset, epoch)
}

/// Ten records, a clean stop, and `more` behind them.
fn prepared(more: &[Vec<u8>], clean: bool) -> Machine {
    let mut machine = Machine::new(31, 1, &[]);
    machine.run(async |started| {
        for number in 0..10 {
            started.append(0, number, 500).await.unwrap();
        }
        Machine::stop_clean(&started).await;
    });
    machine.kill();
    let mut content = machine.disk.content(SEGMENT).unwrap();
    content.extend(more.concat());
    machine.overwrite(SEGMENT, content);
    if !clean {
        machine.run_raw(async |_, disk| {
            disk.remove_file(".kafka_cleanshutdown").await.unwrap();
            disk.sync_directory("").await.unwrap();
        });
    }
    machine
}

fn numbers(found: &[(i64, u64)]) -> Vec<u64> {
    found.iter().map(|(_, number)| *number).collect()
}

#[test]
fn what_it_appended_is_served_and_continued() {
    let mut machine = prepared(&[foreign(10, 1), foreign(11, 4)], true);
    machine.overwrite("orders-0/00000000000000000012.log", foreign(12, 4));
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(
            started.report.adopted,
            ["orders-0: offsets 10 to 11", "orders-0: offsets 12 to 12"]
        );
        let found = started.read_all(0, 0).await.unwrap();
        assert_eq!(numbers(&found), (0..13).collect::<Vec<u64>>());
        assert_eq!(started.append(0, 13, 100).await.unwrap().base_offset.0, 13);
    });
    machine.kill();
    machine.run(async |started| {
        let found = started.read_all(0, 0).await.unwrap();
        assert_eq!(numbers(&found), (0..14).collect::<Vec<u64>>());
        assert!(started.report.adopted.is_empty());
    });
}

#[test]
fn after_an_unclean_stop_a_longer_tail_is_written_over() {
    let mut machine = prepared(&[foreign(10, 1)], false);
    machine.run(async |started| {
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 10);
        assert_eq!(started.append(0, 77, 500).await.unwrap().base_offset.0, 10);
        assert_eq!(started.read_all(0, 10).await.unwrap(), [(10, 77)]);
        assert!(started.report.adopted.is_empty());
    });
}

#[test]
fn an_older_epoch_a_torn_batch_and_a_gap_backwards_end_what_is_taken_in() {
    let mut torn = foreign(11, 1);
    torn.truncate(200);
    for bad in [foreign(11, 0), torn, foreign(5, 1)] {
        let mut machine = prepared(&[foreign(10, 1), bad], true);
        machine.run(async |started| {
            assert_eq!(started.report.adopted, ["orders-0: offsets 10 to 10"]);
            assert_eq!(started.report.damage.len(), 1, "{}", started.report);
            assert_eq!(started.read_all(0, 0).await.unwrap().len(), 11);
            assert_eq!(started.append(0, 11, 100).await.unwrap().base_offset.0, 11);
            assert_eq!(started.read_all(0, 11).await.unwrap(), [(11, 11)]);
        });
    }
}

#[test]
fn a_start_that_is_cut_leaves_it_to_the_next_one() {
    let mut between = 0;
    for step in 0..40 {
        let mut machine = prepared(&[foreign(10, 1)], true);
        machine.spawn(async |_| ());
        machine
            .simulation
            .run_for(Duration::from_micros(step * 200));
        let names = machine.disk.names("").unwrap();
        let marked = names.contains(&".kafka_cleanshutdown".to_owned());
        between += u32::from(!marked);
        match step % 2 {
            0 => machine.kill(),
            _ => machine.cut_power(CutMode::Random(0.5)),
        }
        machine.run(async move |started| {
            let found = started.read_all(0, 0).await.unwrap();
            assert_eq!(numbers(&found), (0..11).collect::<Vec<u64>>(), "{step}");
        });
    }
    assert!((4..40).contains(&between), "{between} cuts behind the mark");
}
