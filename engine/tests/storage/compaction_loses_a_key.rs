//! Compaction keeps the last value of each key whatever cuts it short: kills and power cuts between any two steps of a
//! swap, damage, failing disk operations, readers and deletions at the same time (STORAGE C10).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::log::{AppendError, AppendOrigin, AppendRequest, Isolation, ReadError, ReadRequest};
use engine::platform::sim::{CutMode, DiskFault};
use engine::types::{Offset, PartitionId, TopicId};
use net::records::{BatchBuilder, BatchHeader, Decompressor, split_batches};

use crate::rig::{Machine, Started, batch, partition};

const KEYS: u64 = 10;

fn machine(seed: u64, topic: &[(&str, &str)]) -> Machine {
    let mut all = vec![
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "12000"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    all.extend(topic);
    let mut machine = Machine::new(seed, 1, &all);
    machine.settings.cleaner.backoff_ms = 20;
    machine.settings.checkpoint_interval_ms = 100;
    machine
}

/// A record of about 600 bytes: `number` under `key`.
fn request(started: &Started, key: u64, number: u64) -> AppendRequest {
    let now_ms = started.runtime.wall_clock_ms();
    let mut value = number.to_be_bytes().to_vec();
    value.resize(600, number as u8);
    let mut builder = BatchBuilder::new();
    builder.append(Some(&key.to_be_bytes()), Some(&value), &[], now_ms);
    let batch = Bytes::from(builder.build(0, -1));
    AppendRequest {
        header: BatchHeader::parse(&batch).unwrap(),
        batch,
        max_timestamp: now_ms,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms,
        origin: AppendOrigin::Client,
    }
}

/// Everything a consumer reads from the log start on: (offset, key, number).
async fn read_all(started: &Started) -> Result<Vec<(i64, u64, u64)>, ReadError> {
    let mut found = Vec::new();
    let offsets = started.storage.offsets(partition(0)).unwrap();
    let mut next = offsets.log_start().0;
    let mut decompressor = Decompressor::default();
    loop {
        let request = ReadRequest {
            id: partition(0),
            offset: Offset(next),
            bytes_max: 8 << 10,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let read = match started.storage.plan_read(&request) {
            Ok(plan) => started.storage.execute_read(plan).await,
            Err(error) => Err(error),
        };
        let result = match read {
            Err(ReadError::Quarantined { last, .. }) => {
                next = last.0 + 1;
                continue;
            }
            Err(ReadError::OffsetOutOfRange { log_start, .. }) if log_start.0 > next => {
                next = log_start.0;
                continue;
            }
            result => result?,
        };
        let bytes = result.chain.concat();
        let before = next;
        for batch in split_batches(&bytes) {
            let batch = batch.unwrap();
            assert!(batch.crc_is_valid());
            for record in batch.records(&mut decompressor).unwrap() {
                let record = record.unwrap();
                let number = |bytes: &[u8]| u64::from_be_bytes(bytes[..8].try_into().unwrap());
                if record.offset >= before {
                    let key = number(record.key.unwrap());
                    found.push((record.offset, key, number(record.value.unwrap())));
                }
            }
            next = batch.header().next_offset();
        }
        if next == before {
            return Ok(found);
        }
    }
}

/// What was sent and what was acknowledged.
#[derive(Default)]
struct Model {
    sent: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<i64, (u64, u64)>,
    /// Offsets that may be gone: damaged.
    lost: BTreeSet<i64>,
}

impl Model {
    fn check(&self, found: &[(i64, u64, u64)], range: std::ops::Range<i64>, what: &str) {
        assert!(
            found.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{what}: out of order"
        );
        let mut last_found = BTreeMap::new();
        for (offset, key, number) in found {
            assert_eq!(self.sent.get(number), Some(key), "{what}: never sent");
            if let Some(known) = self.acknowledged.get(offset) {
                assert_eq!(known, &(*key, *number), "{what}: offset {offset} changed");
            }
            last_found.insert(*key, *offset);
        }
        let mut last = BTreeMap::new();
        for (offset, (key, _)) in self.acknowledged.range(range) {
            last.insert(*key, *offset);
        }
        for (key, offset) in last {
            let there = last_found.get(&key).is_some_and(|found| *found >= offset);
            assert!(
                there || self.lost.contains(&offset),
                "{what}: the last value of key {key}, at {offset}, is gone; found {:?}",
                last_found.get(&key)
            );
        }
    }
}

/// Sends one record after the other until told to stop.
async fn produce(started: &Started, model: &RefCell<Model>, running: &Cell<bool>) {
    while running.get() {
        let number = model.borrow().sent.len() as u64;
        let key = started.runtime.random_u64() % KEYS;
        model.borrow_mut().sent.insert(number, key);
        match started
            .storage
            .append(partition(0), request(started, key, number))
            .await
        {
            Ok(appended) => {
                let offset = appended.base_offset.0;
                let before = model
                    .borrow_mut()
                    .acknowledged
                    .insert(offset, (key, number));
                assert_eq!(before, None);
            }
            Err(AppendError::Poisoned(_) | AppendError::Stopping) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn fill(started: &Started, model: &RefCell<Model>, count: usize) {
    for _ in 0..count {
        let number = model.borrow().sent.len() as u64;
        let key = number * 7 % KEYS;
        model.borrow_mut().sent.insert(number, key);
        let appended = started
            .storage
            .append(partition(0), request(started, key, number));
        let offset = appended.await.unwrap().base_offset.0;
        model
            .borrow_mut()
            .acknowledged
            .insert(offset, (key, number));
    }
}

async fn sleep(started: &Started, milliseconds: u64) {
    started
        .runtime
        .sleep(Duration::from_millis(milliseconds))
        .await;
}

async fn names(started: &Started, directory: &str) -> Vec<String> {
    let entries = started.disk.list(directory).await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

async fn check(started: &Started, model: &RefCell<Model>, what: &str) -> Vec<(i64, u64, u64)> {
    // What is acknowledged after the read need not be in it.
    let end = model
        .borrow()
        .acknowledged
        .keys()
        .last()
        .map_or(0, |last| last + 1);
    let found = match read_all(started).await {
        Ok(found) => found,
        Err(error) => panic!("{what}: {error}; {:?}", names(started, "orders-0").await),
    };
    let log_start = started.storage.offsets(partition(0)).unwrap().log_start().0;
    model
        .borrow()
        .check(&found, log_start..end.max(log_start), what);
    found
}

#[test]
fn only_the_last_value_of_each_key_stays() {
    let mut machine = machine(1, &[]);
    let model = Rc::new(RefCell::new(Model::default()));
    let inner = model.clone();
    machine.run(async move |started| {
        fill(&started, &inner, 400).await;
        sleep(&started, 2_000).await;
        let numbers = started.storage.metrics().cleaner;
        assert!(
            numbers.swaps > 0 && numbers.records_removed > 300,
            "{numbers:?}"
        );
        let found = check(&started, &inner, "cleaned").await;
        assert!(found.len() < 40, "{} records of 10 keys", found.len());
        let logs = names(&started, "orders-0").await;
        assert!(!logs.iter().any(|name| name.ends_with(".cleaned")));
        // Of 24 that were written; how many of the last ones a round has seen depends on when it came.
        assert!(
            logs.iter().filter(|name| name.ends_with(".log")).count() <= 12,
            "{logs:?} {numbers:?}"
        );
        assert!(
            !names(&started, "tidelog")
                .await
                .contains(&"swaps-0".to_owned()),
            "settled"
        );
        // The end stays known, and what is below is found where it was.
        assert_eq!(
            started.storage.offsets(partition(0)).unwrap().log_end(),
            Offset(400)
        );
        fill(&started, &inner, 50).await;
        started.storage.stop().await.unwrap();
        let files = names(&started, "orders-0").await;
        let of = |extension: &str| -> BTreeSet<String> {
            let names = files.iter().filter_map(|name| name.strip_suffix(extension));
            names.map(str::to_owned).collect()
        };
        assert_eq!(of(".log"), of(".index"));
        assert_eq!(of(".log"), of(".tidx"));
    });
    machine.kill();
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        check(&started, &model, "after a restart").await;
        let before = started.storage.metrics().cleaner.records_read;
        sleep(&started, 1_000).await;
        assert!(before < 500, "what was clean is not dirty again");
    });
}

#[test]
fn a_table_of_keys_that_is_too_small_takes_several_rounds() {
    let mut machine = machine(2, &[]);
    machine.settings.cleaner.map_bytes = 100;
    machine.run(async move |started| {
        let model = RefCell::new(Model::default());
        fill(&started, &model, 200).await;
        for number in 200..260 {
            model.borrow_mut().sent.insert(number, number);
            let appended = started
                .storage
                .append(partition(0), request(&started, number, number));
            let offset = appended.await.unwrap().base_offset.0;
            model
                .borrow_mut()
                .acknowledged
                .insert(offset, (number, number));
        }
        sleep(&started, 5_000).await;
        assert!(started.storage.metrics().cleaner.partial > 2);
        let found = check(&started, &model, "cleaned").await;
        assert!(found.len() < 110, "{}", found.len());
    });
}

#[test]
fn a_crash_between_any_two_steps_of_a_swap_loses_nothing() {
    let (mut on_record, mut leftovers) = (0, 0);
    for seed in 0..12 {
        let mut machine = machine(100 + seed, &[]);
        let model = Rc::new(RefCell::new(Model::default()));
        for crash in 0..6 {
            let running = Rc::new(Cell::new(true));
            let (shared, go) = (model.clone(), running.clone());
            machine.spawn(async move |started| {
                assert!(started.report.damage.is_empty(), "{}", started.report);
                check(&started, &shared, "after a crash").await;
                let reader = async {
                    while go.get() {
                        check(&started, &shared, "while it is cleaned").await;
                        sleep(&started, 1).await;
                    }
                };
                futures_lite::future::zip(produce(&started, &shared, &go), reader).await;
            });
            machine.run_for(60 + (seed * 37 + crash * 61) % 100);
            machine
                .simulation
                .run_for(Duration::from_micros(seed * 131 + crash * 17));
            running.set(false);
            let files = machine.disk.names("orders-0").unwrap_or_default();
            leftovers += u32::from(files.iter().any(|name| name.ends_with(".cleaned")));
            let records = machine.disk.names("tidelog").unwrap_or_default();
            on_record += u32::from(records.contains(&"swaps-0".to_owned()));
            match crash % 3 {
                0 => machine.kill(),
                1 => machine.cut_power(CutMode::Random(0.5)),
                _ => machine.cut_power(CutMode::Latest(0.5)),
            }
        }
        let shared = model.clone();
        machine.run(async move |started| {
            check(&started, &shared, "at the end").await;
            fill(&started, &shared, 60).await;
            sleep(&started, 1_500).await;
            let found = check(&started, &shared, "cleaned at the end").await;
            assert!(found.len() < 60, "{}", found.len());
        });
    }
    let seen = (on_record, leftovers);
    assert!(
        on_record > 4 && leftovers > 4,
        "crashes hit swaps: {seen:?}"
    );
}

#[test]
fn a_damaged_segment_is_left_as_it_is() {
    let mut machine = machine(3, &[("min.compaction.lag.ms", "1000")]);
    let model = Rc::new(RefCell::new(Model::default()));
    let shared = model.clone();
    machine.run(async move |started| {
        fill(&started, &shared, 200).await;
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    let logs: Vec<String> = machine
        .disk
        .names("orders-0")
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".log"))
        .collect();
    let rotten = format!("orders-0/{}", logs[3]);
    let first: i64 = logs[3].trim_end_matches(".log").parse().unwrap();
    assert!(machine.disk.rot(&rotten, 300, 4).unwrap());
    let before = machine.disk.content(&rotten).unwrap();
    model.borrow_mut().lost.insert(first);
    let shared = model.clone();
    machine.run(async move |started| {
        sleep(&started, 3_000).await;
        let numbers = started.storage.metrics().cleaner;
        assert!(
            numbers.swaps >= 2 && numbers.damaged_segments > 0,
            "{numbers:?}"
        );
        let found = check(&started, &shared, "beside damage").await;
        assert!(found.len() < 80, "{}", found.len());
        assert_eq!(started.storage.metrics().quarantined_ranges, 1);
        assert!(started.storage.is_writable());
    });
    assert_eq!(machine.disk.content(&rotten).unwrap(), before);
}

#[test]
fn a_disk_operation_that_fails_costs_at_most_the_cleaning() {
    let faults = [
        (DiskFault::Write, ".log.cleaned"),
        (DiskFault::Read, "00000000000000000000.log"),
        (DiskFault::Write, ".tidx.cleaned"),
        (DiskFault::Write, ".index.cleaned"),
        (DiskFault::Write, "swaps-0"),
        (DiskFault::Flush, "swaps-0"),
        (DiskFault::Flush, ".log.cleaned"),
    ];
    for (seed, (fault, path)) in faults.into_iter().enumerate() {
        let mut machine = machine(200 + seed as u64, &[]);
        let model = Rc::new(RefCell::new(Model::default()));
        let shared = model.clone();
        machine.disk.fail_next(fault, path);
        machine.run(async move |started| {
            for _ in 0..10 {
                if !started.storage.is_writable() {
                    break;
                }
                fill(&started, &shared, 30).await;
                sleep(&started, 150).await;
                check(&started, &shared, path).await;
            }
        });
        machine.kill();
        let shared = model.clone();
        machine.run(async move |started| {
            check(&started, &shared, path).await;
            fill(&started, &shared, 60).await;
            sleep(&started, 1_500).await;
            let found = check(&started, &shared, path).await;
            assert!(found.len() < 60, "{path}: {}", found.len());
        });
    }
}

#[test]
fn deletions_and_cleanings_meet() {
    for seed in 0..10 {
        let topic = [
            ("cleanup.policy", "compact,delete"),
            ("retention.bytes", "60000"),
        ];
        let mut machine = machine(300 + seed, &topic);
        machine.settings.retention_check_ms = 70;
        let model = Rc::new(RefCell::new(Model::default()));
        for round in 0..4 {
            let running = Rc::new(Cell::new(true));
            let (shared, go) = (model.clone(), running.clone());
            machine.spawn(async move |started| {
                check(&started, &shared, "after a crash").await;
                let others = async {
                    while go.get() {
                        sleep(&started, started.runtime.random_u64() % 60).await;
                        let offsets = started.storage.offsets(partition(0)).unwrap();
                        let span = (offsets.high_watermark().0 - offsets.log_start().0).max(1);
                        let to = offsets.log_start().0
                            + (started.runtime.random_u64() % span as u64) as i64 / 4;
                        let _ = started
                            .storage
                            .delete_records(partition(0), Offset(to))
                            .await;
                        check(&started, &shared, "while it is cut").await;
                    }
                };
                futures_lite::future::zip(produce(&started, &shared, &go), others).await;
            });
            machine.run_for(300 + seed * 13 + round * 71);
            running.set(false);
            match round % 2 {
                0 => machine.kill(),
                _ => machine.cut_power(CutMode::Random(0.5)),
            }
        }
        machine.run(async move |started| {
            check(&started, &model, "at the end").await;
            assert!(started.report.damage.is_empty(), "{}", started.report);
            assert!(!started.storage.stop().await.unwrap().partitions.is_empty());
        });
    }
}

#[test]
fn a_swap_of_a_deleted_topic_takes_nothing_from_the_new_one_of_its_name() {
    let old = PartitionId {
        topic_id: TopicId([9; 16]),
        index: 0,
    };
    let mut machine = Machine::new(9, 1, &[("internal.segment.bytes", "12000")]);
    let known = machine.known.clone();
    let of_old = machine.known.partitions.remove(&partition(0)).unwrap();
    machine.known.partitions.insert(old, of_old);
    machine.run(async move |started| {
        for number in 0..100 {
            let append = started.storage.append(old, batch(number, 500, None));
            append.await.unwrap();
        }
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    machine.known = known;
    machine.run(async |started| {
        for number in 0..100 {
            started.append(0, number, 500).await.unwrap();
        }
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    let names = machine.disk.names("orders-0").unwrap();
    let logs = names.iter().filter_map(|name| name.strip_suffix(".log"));
    let bases: Vec<i64> = logs.map(|base| base.parse().unwrap()).collect();
    let swap = format!(
        "tidelog swaps 1\nCQkJCQkJCQkJCQkJCQkJCQ 0 orders-0 0 600 -1 -1 -1 0 {} {} {}\n",
        bases[2], bases[0], bases[1]
    );
    let checksum = crc32c::crc32c(swap.as_bytes());
    let record = format!("{swap}checksum {checksum:08x}\n");
    machine.overwrite("tidelog/swaps-0", record.into_bytes());
    machine.run(async |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(started.read_all(0, 0).await.unwrap().len(), 100);
    });
}

#[test]
fn a_full_disk_stops_cleaning_only_until_there_is_room() {
    let mut machine = machine(300, &[]);
    let model = Rc::new(RefCell::new(Model::default()));
    let shared = model.clone();
    // The record of a swap finds no room twice: for the swap, and when it is written anew.
    machine.disk.fail_next(DiskFault::Full, "swaps-0");
    machine.disk.fail_next(DiskFault::Full, "swaps-0");
    machine.run(async move |started| {
        fill(&started, &shared, 90).await;
        sleep(&started, 1_500).await;
        let numbers = started.storage.metrics().cleaner;
        assert!(numbers.failures > 0 && numbers.swaps > 0, "{numbers:?}");
        let found = check(&started, &shared, "once there is room").await;
        assert!(found.len() < 90, "{}", found.len());
    });
    machine.kill();
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        check(&started, &model, "after a restart").await;
    });
}

#[test]
fn a_record_of_swaps_that_cannot_be_read_is_kept_aside_and_named() {
    let mut machine = machine(301, &[]);
    let model = Rc::new(RefCell::new(Model::default()));
    let shared = model.clone();
    machine.run(async move |started| {
        fill(&started, &shared, 20).await;
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    for round in 0..2 {
        machine.overwrite("tidelog/swaps-7", b"not a record of swaps".to_vec());
        machine.run(async move |started| {
            let named = started.report.damage.join("; ");
            assert!(named.contains("tidelog/swaps-7: "), "{named}");
            started.storage.stop().await.unwrap();
        });
        machine.kill();
        let aside = format!("tidelog/swaps-7.damaged-{round}");
        let kept = machine.disk.content(&aside).unwrap();
        assert_eq!(kept, b"not a record of swaps");
        assert!(machine.disk.content("tidelog/swaps-7").is_err());
    }
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        check(&started, &model, "beside an unreadable record").await;
    });
}
