//! Retention and DeleteRecords take exactly the segments they should, whatever is cut short; a clock that jumps takes none.

mod clock;
mod cut_short;

use std::collections::BTreeSet;
use std::time::Duration;

use engine::log::{AppendError, Isolation, ReadError, ReadRequest};
use engine::platform::sim::{CutMode, SimDiskOptions};
use engine::types::Offset;

use crate::rig::{Machine, Started, batch, partition, topic_config};

/// Ten records of 10,000 bytes fill a segment.
const SEGMENT: (&str, &str) = ("internal.segment.bytes", "105000");
const MINUTE: u64 = 60_000;
/// The wall clock when a simulation starts is far above these record times.
const HOUR: i64 = 3_600_000;

fn machine(seed: u64, topic: &[(&str, &str)]) -> Machine {
    let mut topic = topic.to_vec();
    topic.push(SEGMENT);
    let mut machine = Machine::new(seed, 1, &topic);
    machine.settings.retention_check_ms = 1_000;
    machine
}

async fn fill(started: &Started, numbers: std::ops::Range<u64>) {
    fill_at(started, numbers, started.runtime.wall_clock_ms()).await;
}

async fn fill_at(started: &Started, numbers: std::ops::Range<u64>, now_ms: i64) {
    for number in numbers {
        let mut request = batch(number, 10_000, None);
        request.max_timestamp = now_ms;
        request.now_ms = now_ms;
        started.storage.append(partition(0), request).await.unwrap();
    }
}

async fn sleep(started: &Started, milliseconds: u64) {
    started
        .runtime
        .sleep(Duration::from_millis(milliseconds))
        .await;
}

async fn files(started: &Started) -> Vec<String> {
    started
        .disk
        .list("orders-0")
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

async fn logs(started: &Started) -> Vec<String> {
    let logs = files(started)
        .await
        .into_iter()
        .filter_map(|name| name.strip_suffix(".log").map(str::to_owned));
    logs.map(|stem| stem.trim_start_matches('0').to_owned())
        .collect()
}

fn log_start(started: &Started) -> i64 {
    started.storage.offsets(partition(0)).unwrap().log_start().0
}

#[test]
fn size_takes_the_oldest_segments_and_their_files_after_a_delay() {
    let topic = [
        ("retention.bytes", "250000"),
        ("retention.ms", "-1"),
        ("file.delete.delay.ms", "60000"),
    ];
    machine(1, &topic).run(async |started| {
        fill(&started, 0..55).await;
        assert_eq!(logs(&started).await, ["", "10", "20", "30", "40", "50"]);
        sleep(&started, 2_000).await;
        assert_eq!(log_start(&started), 30, "two and a half segments stay");
        assert_eq!(logs(&started).await, ["30", "40", "50"]);
        let waiting: BTreeSet<String> = files(&started)
            .await
            .into_iter()
            .filter(|name| name.ends_with(".deleted"))
            .collect();
        for base in [0, 10, 20] {
            for extension in ["log", "tidx", "index", "timeindex"] {
                assert!(
                    waiting.contains(&format!("{base:020}.{extension}.deleted")),
                    "{waiting:?}"
                );
            }
        }
        assert!(matches!(
            started.read_all(0, 29).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
        assert_eq!(started.read_all(0, 30).await.unwrap().len(), 25);
        sleep(&started, 61_000).await;
        assert!(
            files(&started)
                .await
                .iter()
                .all(|name| !name.ends_with(".deleted"))
        );
        sleep(&started, 10 * MINUTE).await;
        assert_eq!(log_start(&started), 30, "and no more than that");
    });
}

#[test]
fn age_takes_everything_and_appends_go_on_in_a_new_segment() {
    let mut machine = machine(
        2,
        &[("retention.ms", "600000"), ("file.delete.delay.ms", "0")],
    );
    machine.run(async |started| {
        fill(&started, 0..15).await;
        sleep(&started, 9 * MINUTE).await;
        assert_eq!(log_start(&started), 0);
        sleep(&started, MINUTE + 5_000).await;
        assert_eq!(
            log_start(&started),
            15,
            "the active segment is closed and goes without an append"
        );
        assert_eq!(logs(&started).await, Vec::<String>::new());
        fill(&started, 15..18).await;
        assert_eq!(logs(&started).await, ["15"]);
        assert_eq!(
            started.read_all(0, 15).await.unwrap(),
            [(15, 15), (16, 16), (17, 17)]
        );
        started.storage.stop().await.unwrap();
    });
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(log_start(&started), 15);
        assert_eq!(
            started.read_all(0, 15).await.unwrap(),
            [(15, 15), (16, 16), (17, 17)]
        );
    });
}

#[test]
fn a_changed_retention_holds_from_the_next_look_on() {
    machine(3, &[("retention.ms", "-1")]).run(async |started| {
        fill(&started, 0..25).await;
        sleep(&started, 30 * MINUTE).await;
        assert_eq!(log_start(&started), 0);
        started.storage.configure(
            partition(0),
            topic_config(&[SEGMENT, ("retention.ms", "60000")]),
        );
        sleep(&started, 2_000).await;
        assert_eq!(log_start(&started), 25);
    });
}

#[test]
fn segments_below_deleted_records_go() {
    let mut machine = machine(6, &[("retention.ms", "-1"), ("file.delete.delay.ms", "0")]);
    machine.run(async |started| {
        fill(&started, 0..45).await;
        assert_eq!(
            started
                .storage
                .delete_records(partition(0), Offset(33))
                .await
                .unwrap(),
            Offset(33)
        );
        sleep(&started, 100).await;
        assert_eq!(logs(&started).await, ["30", "40"]);
        assert_eq!(started.read_all(0, 33).await.unwrap().len(), 12);
        assert_eq!(
            started
                .storage
                .delete_records(partition(0), Offset(-1))
                .await
                .unwrap(),
            Offset(45)
        );
        sleep(&started, 100).await;
        assert_eq!(
            logs(&started).await,
            ["40"],
            "the active segment stays, as in Kafka"
        );
    });
    machine.kill();
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(log_start(&started), 45);
        fill(&started, 45..47).await;
        assert_eq!(started.read_all(0, 45).await.unwrap(), [(45, 45), (46, 46)]);
    });
}

#[test]
fn a_reader_whose_segment_goes_is_out_of_range() {
    machine(10, &[("retention.ms", "-1"), ("file.delete.delay.ms", "0")]).run(async |started| {
        fill(&started, 0..45).await;
        let request = |offset| ReadRequest {
            id: partition(0),
            offset: Offset(offset),
            bytes_max: 1 << 20,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        // By then a checkpoint has had everything written, and the oldest batches have left the cache.
        sleep(&started, 2_000).await;
        let (gone, stays) = (
            started.storage.plan_read(&request(3)).unwrap(),
            started.storage.plan_read(&request(33)).unwrap(),
        );
        started
            .storage
            .delete_records(partition(0), Offset(30))
            .await
            .unwrap();
        sleep(&started, 100).await;
        let read = started
            .storage
            .execute_read(gone)
            .await
            .map(|result| result.bytes);
        assert!(
            matches!(
                read,
                Err(ReadError::OffsetOutOfRange {
                    log_start: Offset(30),
                    ..
                })
            ),
            "{read:?}"
        );
        assert!(started.storage.execute_read(stays).await.unwrap().bytes > 0);
    });
}

#[test]
fn a_quarantined_range_goes_with_its_segment() {
    let mut machine = machine(
        11,
        &[("retention.ms", "600000"), ("file.delete.delay.ms", "0")],
    );
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        fill(&started, 0..25).await;
        sleep(&started, 2_000).await;
        assert!(
            disk.rot("orders-0/00000000000000000000.log", 25_000, 1)
                .unwrap()
        );
        assert!(matches!(
            started.read_all(0, 2).await,
            Err(ReadError::Quarantined { .. })
        ));
        assert_eq!(started.storage.metrics().quarantined_ranges, 1);
        sleep(&started, 10 * MINUTE).await;
        assert_eq!(log_start(&started), 25);
        assert_eq!(started.storage.metrics().quarantined_ranges, 0);
        fill(&started, 25..27).await;
        assert_eq!(started.read_all(0, 25).await.unwrap().len(), 2);
    });
}

#[test]
fn what_goes_is_written_first_and_does_not_stay_in_memory() {
    // Nothing is written behind before retention asks for it.
    let mut machine = machine(
        7,
        &[
            ("retention.ms", "10000"),
            ("file.delete.delay.ms", "0"),
            ("internal.segment.bytes", "25000"),
        ],
    );
    machine.settings.checkpoint_interval_ms = 1 << 40;
    machine.settings.journal_dirty_bytes_max = 16 << 20;
    machine.run(async |started| {
        fill(&started, 0..9).await;
        sleep(&started, 40_000).await;
        assert_eq!(log_start(&started), 9);
        sleep(&started, 1_000).await;
        assert!(
            started.storage.is_writable(),
            "{:?}",
            started.storage.failure()
        );
        assert_eq!(started.storage.metrics().journal_dirty_bytes, 0);
        assert_eq!(logs(&started).await, Vec::<String>::new());
        fill(&started, 9..12).await;
    });
}

#[test]
fn a_deleted_topic_waits_for_the_removal_of_its_segments() {
    machine(
        8,
        &[("retention.ms", "10000"), ("file.delete.delay.ms", "1000")],
    )
    .run(async |started| {
        fill(&started, 0..45).await;
        started
            .storage
            .delete_records(partition(0), Offset(40))
            .await
            .unwrap();
        started
            .storage
            .delete_partition(partition(0))
            .await
            .unwrap();
        let mut other = partition(0);
        other.topic_id = engine::types::TopicId([9; 16]);
        let config = topic_config(&[SEGMENT, ("retention.ms", "-1")]);
        started
            .storage
            .create_partition(other, "orders-0", started.epoch, config)
            .await
            .unwrap();
        started
            .storage
            .append(other, batch(1, 100, None))
            .await
            .unwrap();
        sleep(&started, 5_000).await;
        assert!(
            started.storage.is_writable(),
            "{:?}",
            started.storage.failure()
        );
        assert_eq!(logs(&started).await, [""], "the namesake's segment stays");
    });
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers_by_retention() {
    let mut machine = machine(9, &[("retention.ms", "-1"), ("file.delete.delay.ms", "0")]);
    let disk = machine.disk.clone();
    let acknowledged = machine.run(async move |started| {
        // Room for the journal and the checkpoints, and for some segments.
        disk.set_options(SimDiskOptions {
            quota_bytes: Some(6 << 20),
            ..SimDiskOptions::default()
        });
        let mut number = 0;
        let refused = loop {
            match started.append(0, number, 10_000).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
            assert!(number < 2_000, "the quota holds");
        };
        assert_eq!(refused, AppendError::OutOfSpace);
        assert!(number > 20);
        assert!(started.storage.is_writable(), "full is not broken");
        assert_eq!(
            started.read_all(0, 0).await.unwrap().len() as u64,
            number,
            "reads go on"
        );
        // Checkpoints and log starts go on.
        let before = started.storage.metrics().checkpoints;
        started
            .storage
            .delete_records(partition(0), Offset(number as i64 / 2))
            .await
            .unwrap();
        sleep(&started, 3_000).await;
        assert!(started.storage.metrics().checkpoints > before);
        let appended = started
            .append(0, number, 10_000)
            .await
            .expect("the deleted segments made room");
        assert_eq!(
            appended.base_offset.0, number as i64,
            "what was refused left no gap"
        );
        number + 1
    });
    machine.cut_power(CutMode::Random(0.5));
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        let start = log_start(&started);
        assert_eq!(
            started.read_all(0, start).await.unwrap().last().unwrap().1,
            acknowledged - 1
        );
    });
}
