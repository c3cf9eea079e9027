//! What may be seen of a compacted partition: the last acknowledged value of each key, or what came after it; every
//! record as it was sent, at its own offset for ever. Superseded records may be there or not, and so may tombstones
//! once they did their work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use net::records::{Batch, Decompressor};

/// The header that names a record; a tombstone has no value to be known by.
pub const ID_HEADER: &[u8] = b"id";
/// `delete.retention.ms` of the topic: a reader that needs less never misses a tombstone that it needs.
pub const TOMBSTONES_STAY: Duration = Duration::from_millis(300);
/// No record of the workload is larger, unpacked.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A record as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    pub key: String,
    /// A tombstone has none.
    pub value: Option<Vec<u8>>,
    /// Who sends it: an idempotent producer under one identity, whose records land once and in their order.
    pub exactly_once: Option<String>,
}

struct Sent {
    record: Keyed,
    attempts: usize,
    offsets: BTreeSet<i64>,
}

impl Sent {
    /// Whether it may come into the log, or be there unseen.
    fn is_outstanding(&self) -> bool {
        let most = match self.record.exactly_once {
            Some(_) => 1,
            None => self.attempts,
        };
        self.offsets.len() < most
    }
}

/// What is known about one partition.
pub struct CompactedModel {
    name: String,
    /// By id, which grows in the order of sending.
    sent: BTreeMap<u64, Sent>,
    /// Ids by offset, each known for good.
    log: BTreeMap<i64, u64>,
    /// Offsets of the records that land once, by who sends them and id.
    orders: BTreeMap<String, BTreeMap<u64, i64>>,
    /// The highest acknowledged offset of each key.
    acknowledged: BTreeMap<String, i64>,
    high_watermark: i64,
}

/// One reading of the partition from some offset to its end.
pub struct Reading {
    /// Where it began.
    start: i64,
    began: Duration,
    /// What was acknowledged of each key when it began.
    acknowledged: BTreeMap<String, i64>,
    high_watermark: i64,
    /// The last record of each key.
    last: BTreeMap<String, i64>,
    next: i64,
    records: u64,
}

impl Reading {
    /// The offset to read at.
    pub fn next(&self) -> i64 {
        self.next
    }
}

impl CompactedModel {
    /// Nothing is known yet.
    pub fn new(name: String) -> CompactedModel {
        CompactedModel {
            name,
            sent: BTreeMap::new(),
            log: BTreeMap::new(),
            orders: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            high_watermark: 0,
        }
    }

    /// Where the log ends at least.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// A new record; its id.
    pub fn makes(&mut self, record: Keyed) -> u64 {
        let id = self.sent.len() as u64;
        let sent = Sent {
            record,
            attempts: 0,
            offsets: BTreeSet::new(),
        };
        self.sent.insert(id, sent);
        id
    }

    /// The records leave (again) for the broker.
    pub fn sends(&mut self, ids: &[u64]) {
        for id in ids {
            self.sent.get_mut(id).expect("it was made").attempts += 1;
        }
    }

    /// The producer was told that the records are durable from `base` on.
    pub fn acknowledged(&mut self, ids: &[u64], base: i64) {
        for (offset, id) in (base..).zip(ids) {
            self.place(*id, offset, "acknowledged");
            let key = self.sent[id].record.key.clone();
            let highest = self.acknowledged.entry(key).or_insert(offset);
            *highest = offset.max(*highest);
            self.high_watermark = self.high_watermark.max(offset + 1);
        }
    }

    /// Begins to read at `start`.
    pub fn begin_reading(&self, start: i64, now: Duration) -> Reading {
        let acknowledged = self.acknowledged.iter();
        Reading {
            start,
            began: now,
            acknowledged: acknowledged
                .filter(|(_, offset)| **offset >= start)
                .map(|(key, offset)| (key.clone(), *offset))
                .collect(),
            high_watermark: self.high_watermark,
            last: BTreeMap::new(),
            next: start,
            records: 0,
        }
    }

    /// Takes in what a fetch of the reading gave.
    pub fn read(&mut self, reading: &mut Reading, high_watermark: i64, mut records: &[u8]) {
        assert!(
            high_watermark >= reading.high_watermark,
            "{}: the high watermark fell from {} to {high_watermark}",
            self.name,
            reading.high_watermark
        );
        self.high_watermark = self.high_watermark.max(high_watermark);
        reading.high_watermark = high_watermark;
        assert!(
            !records.is_empty() || reading.next >= high_watermark,
            "{}: nothing at {}, though {high_watermark} is durable",
            self.name,
            reading.next
        );
        let mut decompressor = Decompressor::new(BATCH_BYTES_MAX);
        while !records.is_empty() {
            let batch = Batch::parse(records)
                .unwrap_or_else(|error| panic!("{}: half a batch: {error}", self.name));
            records = &records[batch.bytes().len()..];
            let header = batch.header();
            let (base, last) = (header.base_offset, header.last_offset());
            let fits = batch.crc_is_valid() && last >= reading.next && last < high_watermark;
            assert!(
                fits && (base >= reading.next || reading.next == reading.start),
                "{}: read at {}, got {base} to {last} of {high_watermark}, CRC valid: {}",
                self.name,
                reading.next,
                batch.crc_is_valid()
            );
            let mut above = base - 1;
            let inside = batch
                .records(&mut decompressor)
                .unwrap_or_else(|error| panic!("{}: records at {base}: {error}", self.name));
            for record in inside {
                let record = record
                    .unwrap_or_else(|error| panic!("{}: a record at {base}: {error}", self.name));
                let offset = record.offset;
                assert!(
                    (above + 1..=last).contains(&offset),
                    "{}: {offset} behind {above} in the batch from {base} to {last}",
                    self.name
                );
                above = offset;
                self.served(reading, offset, &record);
            }
            reading.next = last + 1;
        }
    }

    fn served(&mut self, reading: &mut Reading, offset: i64, record: &net::records::Record<'_>) {
        let name = record.headers.iter().find(|(name, _)| *name == ID_HEADER);
        let id = name
            .and_then(|(_, id)| Some(u64::from_be_bytes((*id)?.try_into().ok()?)))
            .unwrap_or_else(|| panic!("{}: {offset} is a record without its name", self.name));
        self.place(id, offset, "served");
        let made = &self.sent[&id].record;
        assert!(
            record.key == Some(made.key.as_bytes()) && record.value == made.value.as_deref(),
            "{}: the record at {offset} was sent as another",
            self.name
        );
        if offset >= reading.start {
            reading.last.insert(made.key.clone(), offset);
            reading.records += 1;
        }
    }

    /// The record is at that offset: for good, and it alone.
    fn place(&mut self, id: u64, offset: i64, how: &str) {
        let name = &self.name;
        let sent = self
            .sent
            .get_mut(&id)
            .unwrap_or_else(|| panic!("{name}: {id} {how} at {offset}, but never made"));
        let known = *self.log.entry(offset).or_insert(id);
        assert_eq!(known, id, "{name}: offset {offset} has two values ({how})");
        if !sent.offsets.insert(offset) {
            return;
        }
        let most = match sent.record.exactly_once {
            Some(_) => sent.attempts.min(1),
            None => sent.attempts,
        };
        assert!(
            sent.offsets.len() <= most,
            "{name}: record {id} stands at {:?}, sent {} times",
            sent.offsets,
            sent.attempts
        );
        if let Some(producer) = &sent.record.exactly_once {
            let orders = self.orders.entry(producer.clone()).or_default();
            orders.insert(id, offset);
            let below = orders.range(..id).next_back();
            let above = orders.range(id + 1..).next();
            assert!(
                below.is_none_or(|(_, other)| *other < offset)
                    && above.is_none_or(|(_, other)| *other > offset),
                "{name}: {producer}'s records changed their order around {offset}"
            );
        }
    }

    /// The reading came to the end. `calm` says that nothing disturbed it and no clock jumped: then no older value may
    /// stand for a key whose tombstone is gone. How many acknowledged records it did not meet.
    pub fn complete(&self, reading: &Reading, now: Duration, calm: bool) -> u64 {
        let calm = calm && now < reading.began + TOMBSTONES_STAY;
        for (key, acknowledged) in &reading.acknowledged {
            let found = reading.last.get(key).copied();
            if found.is_some_and(|found| found >= *acknowledged) {
                continue;
            }
            let id = self.log[acknowledged];
            let above = self.log.range(acknowledged + 1..).map(|(_, id)| id);
            let outstanding = self.sent.iter().filter(|(_, sent)| sent.is_outstanding());
            // What may have come after it: tombstones, which go in the end, and values that this reading came too
            // early to see.
            let later = above.chain(outstanding.map(|(id, _)| id)).any(|id| {
                let sent = &self.sent[id];
                let unseen = sent.is_outstanding() || sent.offsets.last() >= Some(&reading.next);
                sent.record.key == *key && (sent.record.value.is_none() || unseen)
            });
            let deleted = self.sent[&id].record.value.is_none() || later;
            assert!(
                deleted && (found.is_none() || !calm),
                "{}: {key} was acknowledged at {acknowledged}; read from {} to {}, the last of it is at {found:?}",
                self.name,
                reading.start,
                reading.next
            );
        }
        let acknowledged = self.log.range(reading.start..reading.next).count() as u64;
        acknowledged.saturating_sub(reading.records)
    }
}
