//! Compaction's decisions against a plain model, and against what Kafka 4.3.1's cleaner left of the same logs.
//!
//! The golden logs `s-compact` (`delete.retention.ms` one day) and `s-compact-del` (0) were cleaned by Kafka in several
//! rounds; the times of those rounds follow from the delete horizons it wrote.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use engine::log::compaction::cleaned_transactions::CleanedTransactions;
use engine::log::compaction::filter::{Filter, LastOfProducer, MapBuilder, Verdict};
use engine::log::compaction::offset_map::OffsetMap;
use engine::log::{AbortedTransaction, TransactionMarker};
use engine::types::{Offset, ProducerId};
use net::records::{
    Batch, BatchBuilder, BatchHeader, Compression, Decompressor, RetainedBatch, Retainer,
    StoredRecord, empty_batch, split_batches,
};
use proptest::prelude::*;

/// One cleaning of a whole log, as the edge does it but in memory.
struct Round {
    first_dirty: i64,
    end: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    map_bytes: u64,
}

struct Cleaned {
    batches: Vec<Vec<u8>>,
    first_dirty: i64,
    aborted: Vec<AbortedTransaction>,
}

fn header(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).unwrap()
}

fn retain(
    batch: &[u8],
    rules: net::records::RetainRules,
    mut keep: impl FnMut(&StoredRecord<'_>) -> bool,
) -> RetainedBatch {
    let view = Batch::parse(batch).unwrap();
    let mut retainer = Retainer::new(&view, rules, 1 << 24).unwrap();
    loop {
        if let Some(retained) = retainer.step(&mut keep).unwrap() {
            return retained.batch;
        }
    }
}

/// What a broker remembers of producers after these batches.
fn producers(batches: &[Vec<u8>]) -> BTreeMap<ProducerId, LastOfProducer> {
    let mut producers = BTreeMap::new();
    for batch in batches {
        let header = header(batch);
        if header.producer_id < 0 {
            continue;
        }
        let last = producers
            .entry(ProducerId(header.producer_id))
            .or_insert(LastOfProducer {
                last_data_offset: None,
                epoch: header.producer_epoch,
            });
        if last.epoch != header.producer_epoch {
            *last = LastOfProducer {
                last_data_offset: None,
                epoch: header.producer_epoch,
            };
        }
        if !header.is_control() {
            last.last_data_offset = Some(Offset(header.last_offset()));
        }
    }
    producers
}

fn clean(
    batches: &[Vec<u8>],
    producers: &BTreeMap<ProducerId, LastOfProducer>,
    aborted: &[AbortedTransaction],
    round: &Round,
) -> Cleaned {
    let dirty = aborted
        .iter()
        .filter(|entry| entry.last_offset.0 >= round.first_dirty);
    let mut builder = MapBuilder::new(
        OffsetMap::new(round.map_bytes, 0.9, u64::MAX, [5, 6]),
        CleanedTransactions::new(dirty.copied()),
        Offset(round.first_dirty),
    );
    for batch in batches {
        let header = header(batch);
        if header.base_offset >= round.end || header.last_offset() < round.first_dirty {
            continue;
        }
        if builder.begin_batch(&header, batch) {
            retain(batch, net::records::RetainRules::default(), |record| {
                builder.add(record);
                true
            });
        }
        if !builder.end_batch(&header) {
            break;
        }
    }
    builder.end_segment(Offset(round.end));
    let mut filter = Filter {
        map: &builder.map,
        transactions: CleanedTransactions::new(aborted.iter().copied()),
        producers: producers.clone(),
        now_ms: Some(round.now_ms),
        delete_retention_ms: round.delete_retention_ms,
        round_end: Offset(round.end),
    };
    let mut cleaned = Vec::new();
    for batch in batches {
        let header = header(batch);
        if header.base_offset >= round.end || header.base_offset > builder.map.latest().0 {
            cleaned.push(batch.clone());
            continue;
        }
        match filter.judge(&header, batch) {
            Verdict::Drop => {}
            Verdict::Empty => cleaned.push(empty_batch(&header)),
            Verdict::Ask { keep_empty, rules } => {
                match retain(batch, rules, |record| filter.keeps(&header, record)) {
                    RetainedBatch::Unchanged => cleaned.push(batch.clone()),
                    RetainedBatch::Rewritten(batch) => cleaned.push(batch),
                    RetainedBatch::Nothing if keep_empty => cleaned.push(empty_batch(&header)),
                    RetainedBatch::Nothing => {}
                }
            }
        }
    }
    let mut kept: BTreeSet<i64> = aborted
        .iter()
        .filter(|entry| entry.last_offset.0 >= round.end)
        .map(|entry| entry.last_offset.0)
        .collect();
    kept.extend(
        filter
            .transactions
            .take_needed()
            .iter()
            .map(|entry| entry.last_offset.0),
    );
    Cleaned {
        batches: cleaned,
        first_dirty: builder.map.latest().0 + 1,
        aborted: aborted
            .iter()
            .filter(|entry| kept.contains(&entry.last_offset.0))
            .copied()
            .collect(),
    }
}

fn golden(set: &str, topic: &str, base: i64) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/segments")
        .join(set)
        .join(topic)
        .join(format!("{base:020}.log"));
    let bytes = std::fs::read(path).unwrap();
    split_batches(&bytes)
        .map(|batch| batch.unwrap().bytes().to_vec())
        .collect()
}

/// A record `roll` as the golden program sent it with a producer of its own.
fn roll(value: &str, producer: i64, timestamp: i64, offset: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new().producer(producer, 0, 0);
    builder.append(Some(b"roll"), Some(value.as_bytes()), &[], timestamp);
    builder.build(offset, 2)
}

#[test]
fn the_survivors_are_kafkas_to_the_byte() {
    for (topic, delete_retention_ms, rolls) in [
        ("s-compact-0", 86_400_000, [344_487, 350_160]),
        ("s-compact-del-0", 0, [344_635, 350_188]),
    ] {
        let mut log: Vec<Vec<u8>> = [0, 7, 14]
            .into_iter()
            .flat_map(|base| golden("clean", topic, base))
            .collect();
        for (index, timestamp) in rolls.into_iter().enumerate() {
            let index = index as i64;
            log.push(roll(
                &format!("r{index}"),
                1000 + index,
                1_795_432_000_000 + timestamp,
                18 + index,
            ));
        }
        let expected = golden("compacted", topic, 0);
        let r2 = expected.last().unwrap().clone();
        assert_eq!(header(&r2).base_offset, 20);
        log.push(r2);
        log.extend(golden("compacted", topic, 21));

        let mut aborted = vec![AbortedTransaction {
            producer_id: ProducerId(header(&log[log.len() - 5]).producer_id),
            first_offset: Offset(16),
            last_offset: Offset(17),
            last_stable_offset: Offset(18),
        }];
        let mut first_dirty = 0;
        for (end, now) in [(18, 349_204), (19, 350_383), (20, 354_000), (21, 358_000)] {
            let known: Vec<Vec<u8>> = log
                .iter()
                .filter(|batch| header(batch).base_offset <= end)
                .cloned()
                .collect();
            let rest = log.split_off(known.len());
            // What was cleaned away earlier was once the last of its producer.
            let round = Round {
                first_dirty,
                end,
                now_ms: 1_795_432_000_000 + now,
                delete_retention_ms,
                map_bytes: 1 << 20,
            };
            let cleaned = clean(&known, &producers(&known), &aborted, &round);
            log = cleaned.batches;
            log.extend(rest);
            (first_dirty, aborted) = (cleaned.first_dirty, cleaned.aborted);
            assert_eq!(first_dirty, end);
        }
        assert!(aborted.is_empty(), "nothing of it is left");
        let active = log.pop().unwrap();
        assert_eq!(header(&active).base_offset, 21);
        let offsets = |log: &[Vec<u8>]| -> Vec<i64> {
            log.iter().map(|batch| header(batch).base_offset).collect()
        };
        assert_eq!(offsets(&log), offsets(&expected), "{topic}");
        for (ours, theirs) in log.iter().zip(&expected) {
            assert_eq!(header(ours), header(theirs), "{topic}");
            assert_eq!(ours, theirs, "{topic}");
        }
    }
}

/// A step of a generated history.
#[derive(Debug, Clone)]
enum Step {
    /// Records of a batch: key and value (none is a tombstone).
    Batch {
        producer: Option<u8>,
        transactional: bool,
        codec: u8,
        records: Vec<(u8, Option<u8>)>,
    },
    /// The end mark of a producer's transaction.
    Marker { producer: u8, commit: bool },
    /// A cleaning of everything so far.
    Clean { map_slots: u8, hours: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..12u8, prop::option::weighted(0.8, any::<u8>()));
    prop_oneof![
        8 => (
            prop::option::of(0..3u8),
            any::<bool>(),
            0..5u8,
            prop::collection::vec(record, 1..6),
        )
            .prop_map(|(producer, transactional, codec, records)| Step::Batch {
                producer,
                transactional: transactional && producer.is_some(),
                codec,
                records,
            }),
        3 => (0..3u8, any::<bool>())
            .prop_map(|(producer, commit)| Step::Marker { producer, commit }),
        2 => (16..40u8, 0..30u8).prop_map(|(map_slots, hours)| Step::Clean { map_slots, hours }),
    ]
}

const HOUR_MS: i64 = 3_600_000;
const DELETE_RETENTION_MS: i64 = 24 * HOUR_MS;

/// A log being written, cleaned and read.
#[derive(Default)]
struct History {
    batches: Vec<Vec<u8>>,
    /// Every batch ever appended.
    all: Vec<Vec<u8>>,
    aborted: Vec<AbortedTransaction>,
    open: BTreeMap<u8, i64>,
    sequences: BTreeMap<u8, i32>,
    end: i64,
    first_dirty: i64,
    now_ms: i64,
    /// When a record was first seen by a cleaning: tombstones stay at least a day after that.
    seen: BTreeMap<i64, i64>,
}

impl History {
    fn append(&mut self, batch: Vec<u8>) {
        self.end = header(&batch).next_offset();
        self.batches.push(batch.clone());
        self.all.push(batch);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Batch {
                producer,
                transactional,
                codec,
                records,
            } => {
                let codec = Compression::try_from(*codec).unwrap();
                let mut builder = BatchBuilder::new().compression(codec, None);
                if let Some(producer) = producer {
                    // A producer inside a transaction writes nothing outside it.
                    let transactional = *transactional || self.open.contains_key(producer);
                    let sequence = self.sequences.entry(*producer).or_insert(0);
                    builder = builder
                        .producer(i64::from(*producer), 0, *sequence)
                        .transactional(transactional);
                    *sequence += records.len() as i32;
                    if transactional {
                        self.open.entry(*producer).or_insert(self.end);
                    }
                }
                for (key, value) in records {
                    let value = value.map(|value| [value; 20]);
                    let value = value.as_ref().map(|value| &value[..]);
                    builder.append(Some(&[*key]), value, &[], self.now_ms + self.end);
                }
                let batch = builder.build(self.end, 0);
                self.append(batch);
            }
            Step::Marker { producer, commit } => {
                let Some(first) = self.open.remove(producer) else {
                    return;
                };
                let mut builder = BatchBuilder::new()
                    .producer(i64::from(*producer), 0, -1)
                    .transactional(true)
                    .control(true);
                let key = [0, 0, 0, u8::from(*commit)];
                builder.append(Some(&key), Some(&[0; 6]), &[], self.now_ms);
                let batch = builder.build(self.end, 0);
                assert!(TransactionMarker::parse(&batch).unwrap().is_some());
                if !commit {
                    self.aborted.push(AbortedTransaction {
                        producer_id: ProducerId(i64::from(*producer)),
                        first_offset: Offset(first),
                        last_offset: Offset(self.end),
                        last_stable_offset: Offset(first),
                    });
                }
                self.append(batch);
            }
            Step::Clean { map_slots, hours } => self.clean(*map_slots, *hours),
        }
    }

    fn clean(&mut self, map_slots: u8, hours: u8) {
        self.now_ms += i64::from(hours) * HOUR_MS;
        // The last batch is the active segment.
        let active = self
            .batches
            .last()
            .map_or(0, |last| header(last).base_offset);
        let stable = self.open.values().copied().min().unwrap_or(i64::MAX);
        let end = self
            .batches
            .iter()
            .map(|batch| header(batch).base_offset)
            .filter(|base| *base <= stable.min(active))
            .max()
            .unwrap_or(0);
        if end <= self.first_dirty {
            return;
        }
        let before = self.visible();
        let round = Round {
            first_dirty: self.first_dirty,
            end,
            now_ms: self.now_ms,
            delete_retention_ms: DELETE_RETENTION_MS,
            map_bytes: u64::from(map_slots) * 24,
        };
        let cleaned = clean(&self.batches, &producers(&self.all), &self.aborted, &round);
        assert!(
            cleaned.first_dirty > self.first_dirty,
            "every round gets on"
        );
        self.batches = cleaned.batches;
        self.aborted = cleaned.aborted;
        self.first_dirty = cleaned.first_dirty;
        self.check(&before);
    }

    /// What a read_committed consumer sees below the first open transaction: offset, key, value, timestamp.
    fn visible(&self) -> Vec<(i64, u8, Option<Vec<u8>>, i64)> {
        let stable = self.open.values().copied().min().unwrap_or(i64::MAX);
        let mut decompressor = Decompressor::default();
        let mut records = Vec::new();
        for bytes in &self.batches {
            let batch = Batch::parse(bytes).unwrap();
            assert!(batch.crc_is_valid());
            let header = *batch.header();
            let aborted = self.aborted.iter().any(|entry| {
                header.is_transactional()
                    && entry.producer_id.0 == header.producer_id
                    && (entry.first_offset.0..=entry.last_offset.0).contains(&header.base_offset)
            });
            if header.is_control() || aborted || header.base_offset >= stable {
                continue;
            }
            for record in batch.records(&mut decompressor).unwrap() {
                let record = record.unwrap();
                records.push((
                    record.offset,
                    record.key.unwrap()[0],
                    record.value.map(<[u8]>::to_vec),
                    record.timestamp,
                ));
            }
        }
        records
    }

    fn check(&mut self, before: &[(i64, u8, Option<Vec<u8>>, i64)]) {
        let after = self.visible();
        let last_value = |records: &[(i64, u8, Option<Vec<u8>>, i64)]| {
            let mut last = BTreeMap::new();
            for record in records {
                match &record.2 {
                    Some(value) => drop(last.insert(record.1, (record.0, value.clone()))),
                    None => drop(last.remove(&record.1)),
                }
            }
            last
        };
        assert_eq!(
            last_value(&after),
            last_value(before),
            "the last value of each key"
        );
        assert!(after.is_sorted(), "offsets ascend");
        for record in &after {
            assert!(before.contains(record), "nothing is changed");
        }
        // Below what was looked at, each key stands once; a tombstone that is its key's last stays a day.
        let looked_at = |record: &&(i64, u8, Option<Vec<u8>>, i64)| record.0 < self.first_dirty;
        let keys: Vec<u8> = after
            .iter()
            .filter(looked_at)
            .map(|record| record.1)
            .collect();
        let unique: BTreeSet<u8> = keys.iter().copied().collect();
        assert_eq!(keys.len(), unique.len(), "one record for each key");
        for (offset, key, value, _) in before.iter().filter(looked_at) {
            let last = before
                .iter()
                .rev()
                .find(|record| record.1 == *key)
                .unwrap()
                .0
                == *offset;
            let since = *self.seen.entry(*offset).or_insert(self.now_ms);
            if last && value.is_none() && self.now_ms < since + DELETE_RETENTION_MS {
                assert!(after.iter().any(|record| record.0 == *offset), "too early");
            }
        }
        // The newest batch of each producer is there with its last sequence.
        let newest = producers(&self.all);
        for (producer, last) in newest {
            let Some(offset) = last.last_data_offset else {
                continue;
            };
            let known = self
                .batches
                .iter()
                .map(|batch| header(batch))
                .find(|header| {
                    header.producer_id == producer.0 && header.last_offset() == offset.0
                });
            let expected = self.sequences[&(producer.0 as u8)] - 1;
            assert_eq!(known.unwrap().last_sequence(), expected);
        }
        // A marker stands behind every batch of a transaction that has ended.
        for batch in &self.batches {
            let header = header(batch);
            if !header.is_transactional() || header.is_control() || header.record_count == 0 {
                continue;
            }
            let open = self.open.get(&(header.producer_id as u8));
            let ended = open.is_none_or(|first| header.base_offset < *first);
            let marked = self
                .batches
                .iter()
                .map(|batch| BatchHeader::parse(batch).unwrap())
                .any(|other| {
                    other.is_control()
                        && other.producer_id == header.producer_id
                        && other.base_offset > header.base_offset
                        && other.record_count > 0
                });
            assert!(
                !ended || marked,
                "the transaction at {} stays ended",
                header.base_offset
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_last_value_of_each_key_survives_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let mut history = History { now_ms: 1_700_000_000_000, ..History::default() };
        for step in &steps {
            history.apply(step);
        }
        history.apply(&Step::Clean { map_slots: 40, hours: 1 });
    }
}
