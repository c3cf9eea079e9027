//! One partition's promises: one value per offset for ever, nothing acknowledged is lost, nothing twice, nothing that
//! was never sent.

use std::collections::BTreeMap;

use net::records::Batch;

use super::Floor;

/// Names a batch by everything in it that the broker never changes: without what LogAppendTime writes, which is checked
/// by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(u64);

/// The bit of the attributes' second byte that says who set the largest timestamp, which stands in bytes 35 to 42.
const LOG_APPEND_TIME: u8 = 1 << 3;

impl BatchId {
    /// Of a whole batch.
    pub fn of(batch: &[u8]) -> BatchId {
        let attributes = [batch[21], batch[22] & !LOG_APPEND_TIME];
        let parts = [&attributes, &batch[23..35], &batch[43..]];
        let checksum = |seed| {
            parts
                .iter()
                .fold(seed, |sum, part| crc32c::crc32c_append(sum, part))
        };
        let (low, high) = (checksum(0), checksum(0x5eed));
        BatchId(u64::from(high) << 32 | u64::from(low))
    }
}

/// What became of a batch, as its producer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It may be in the log or may come into it.
    Unknown,
    /// It is in the log, for good, first at this offset.
    Acknowledged(i64),
    /// It was refused and is not in the log.
    Refused,
}

#[derive(Debug)]
struct Sent {
    producer: String,
    /// Its place among the batches of that producer for this partition, if that is kept.
    order: Option<u64>,
    records: i32,
    bytes: usize,
    max_timestamp: i64,
    attempts: u32,
    fate: Fate,
    offsets: Vec<i64>,
}

/// What is known about one partition.
pub struct PartitionModel {
    name: String,
    sent: BTreeMap<BatchId, Sent>,
    /// Batches by base offset; each is known for good.
    log: BTreeMap<i64, (BatchId, i64)>,
    /// Offsets of ordered producers' batches.
    orders: BTreeMap<String, BTreeMap<u64, i64>>,
    /// Leader epochs by base offset.
    epochs: BTreeMap<i64, i32>,
    floor: Floor,
    /// The log may start at most here, unless retention is on.
    log_start_max: i64,
    /// Retention may take what is old.
    pub retention: bool,
    /// The broker sets the timestamps.
    pub stamped: bool,
    /// When the batches were appended, by base offset, where the broker sets the timestamps.
    append_times: BTreeMap<i64, i64>,
    /// Offsets that may be unreadable because somebody damaged the disk: first and last.
    damaged: Vec<(i64, i64)>,
}

impl PartitionModel {
    pub(super) fn new(name: String) -> PartitionModel {
        PartitionModel {
            name,
            sent: BTreeMap::new(),
            log: BTreeMap::new(),
            orders: BTreeMap::new(),
            epochs: BTreeMap::new(),
            floor: Floor {
                high_watermark: 0,
                log_start: 0,
            },
            log_start_max: 0,
            retention: false,
            stamped: false,
            append_times: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }

    /// A new, empty log of the same name. What was sent more often than it was seen may still arrive.
    pub(super) fn begin_again(&mut self) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.retain(|_, sent| sent.attempts as usize > sent.offsets.len());
        for sent in sent.values_mut() {
            sent.attempts -= sent.offsets.len() as u32;
            sent.offsets.clear();
            sent.fate = Fate::Unknown;
        }
        *self = PartitionModel {
            sent,
            ..PartitionModel::new(std::mem::take(&mut self.name))
        };
    }

    /// What is known now.
    pub fn floor(&self) -> Floor {
        self.floor
    }

    /// The batch leaves (again) for the broker. An `order` promises that it lands behind all lower ones, once.
    pub fn sends(&mut self, id: BatchId, producer: &str, order: Option<u64>, batch: &Batch<'_>) {
        let sent = self.sent.entry(id).or_insert_with(|| Sent {
            producer: producer.to_owned(),
            order,
            records: batch.header().record_count,
            bytes: batch.bytes().len(),
            max_timestamp: batch.header().max_timestamp,
            attempts: 0,
            fate: Fate::Unknown,
            offsets: Vec::new(),
        });
        sent.attempts += 1;
        if sent.fate == Fate::Refused {
            sent.fate = Fate::Unknown;
        }
    }

    /// The producer was told that the batch is durable at `base_offset`.
    pub fn acknowledged(&mut self, id: BatchId, base_offset: i64) {
        self.place(id, base_offset, "acknowledged");
        let sent = self.sent.get_mut(&id).expect("just placed");
        if !matches!(sent.fate, Fate::Acknowledged(_)) {
            sent.fate = Fate::Acknowledged(base_offset);
        }
        let end = base_offset + i64::from(sent.records);
        self.floor.high_watermark = self.floor.high_watermark.max(end);
    }

    /// The producer was told when the batch at `base_offset` was appended (P13, P14).
    pub fn append_time(&mut self, base_offset: i64, time: i64) {
        if self.stamped {
            let known = *self.append_times.entry(base_offset).or_insert(time);
            assert_eq!(
                known, time,
                "{}: the batch at {base_offset} has two append times",
                self.name
            );
        }
    }

    /// The producer was told that the batch will not come into the log.
    pub fn refused(&mut self, id: BatchId) {
        let name = self.name.clone();
        let sent = self
            .sent
            .get_mut(&id)
            .expect("only what was sent is answered");
        if sent.attempts == 1 {
            assert!(
                sent.offsets.is_empty(),
                "{name}: a batch was refused and is in the log at {:?}",
                sent.offsets
            );
            sent.fate = Fate::Refused;
        }
    }

    /// DeleteRecords up to `before` may have happened.
    pub fn may_delete_below(&mut self, before: i64) {
        self.log_start_max = self.log_start_max.max(before);
    }

    /// Offsets that need not be readable any more.
    pub fn may_be_damaged(&mut self, first: i64, last: i64) {
        self.damaged.push((first, last));
    }

    /// The end of the damaged range at `offset`.
    pub fn behind_damage(&self, offset: i64) -> Option<i64> {
        let around = self
            .damaged
            .iter()
            .filter(|(first, last)| (*first..=*last).contains(&offset));
        around.map(|(_, last)| last + 1).max()
    }

    /// The broker named its high watermark, asked when `floor` was known.
    pub fn high_watermark(&mut self, offset: i64, floor: Floor) {
        let (name, known) = (&self.name, floor.high_watermark);
        assert!(
            offset >= known,
            "{name}: the high watermark fell from {known} to {offset}"
        );
        self.floor.high_watermark = self.floor.high_watermark.max(offset);
    }

    /// The broker named its log start offset, asked when `floor` was known.
    pub fn log_start(&mut self, offset: i64, floor: Floor) {
        let (name, known) = (&self.name, floor.log_start);
        assert!(
            offset >= known,
            "{name}: the log start fell from {known} to {offset}"
        );
        let most = self.log_start_max;
        assert!(
            self.retention || offset <= most,
            "{name}: the log starts at {offset}; nobody deleted above {most}"
        );
        self.floor.log_start = self.floor.log_start.max(offset);
    }

    /// Whether the broker may say that `offset` is out of range, asked when `floor` was known.
    pub fn out_of_range(&self, offset: i64, floor: Floor) {
        let below = offset < self.floor.log_start || offset < self.log_start_max || self.retention;
        let above = offset > floor.high_watermark;
        let name = &self.name;
        assert!(
            below || above,
            "{name}: offset {offset} out of range, though the log is {:?}",
            self.floor
        );
    }

    /// Takes in what a fetch at `offset` gave; returns the next offset.
    pub fn read(&mut self, offset: i64, high_watermark: i64, mut records: &[u8]) -> i64 {
        let mut next = offset;
        let mut first = true;
        while !records.is_empty() {
            let batch = Batch::parse(records)
                .unwrap_or_else(|error| panic!("{}: half a batch: {error}", self.name));
            records = &records[batch.bytes().len()..];
            assert!(
                batch.crc_is_valid(),
                "{}: a batch with a wrong CRC was served at {next}",
                self.name
            );
            let header = batch.header();
            let (base, last) = (header.base_offset, header.last_offset());
            let fits = if first {
                (base..=last).contains(&next)
            } else {
                base == next
            };
            assert!(fits, "{}: read at {next}, got {base} to {last}", self.name);
            assert!(
                last < high_watermark,
                "{}: {last} served above the high watermark {high_watermark}",
                self.name
            );
            let id = BatchId::of(batch.bytes());
            self.place(id, base, "served");
            let by_broker = batch.bytes()[22] & LOG_APPEND_TIME != 0;
            let time = header.max_timestamp;
            assert!(
                by_broker == self.stamped && (by_broker || time == self.sent[&id].max_timestamp),
                "{}: the batch at {base} is of {time}, set by the broker: {by_broker}",
                self.name
            );
            self.append_time(base, time);
            self.epoch(base, header.partition_leader_epoch);
            next = last + 1;
            first = false;
        }
        next
    }

    /// Leader epochs in the log never fall, and one offset keeps its epoch.
    fn epoch(&mut self, base: i64, epoch: i32) {
        let known = *self.epochs.entry(base).or_insert(epoch);
        assert_eq!(
            known, epoch,
            "{}: the batch at {base} changed its leader epoch",
            self.name
        );
        let below = self
            .epochs
            .range(..base)
            .next_back()
            .is_none_or(|(_, other)| *other <= epoch);
        let above = self
            .epochs
            .range(base + 1..)
            .next()
            .is_none_or(|(_, other)| *other >= epoch);
        assert!(
            below && above,
            "{}: leader epochs fall around {base}",
            self.name
        );
    }

    /// The newest leader epoch that was read.
    pub fn newest_epoch(&self) -> i32 {
        self.epochs.last_key_value().map_or(0, |(_, epoch)| *epoch)
    }

    /// The broker named the newest leader epoch not above `asked` and where it ends, (−1, −1) if it has none as new as
    /// that; asked when `floor` was known. For a log of which nothing was deleted.
    pub fn epoch_end(&self, asked: i32, (epoch, end): (i32, i64), floor: Floor) {
        let name = &self.name;
        assert!(
            epoch <= asked && (epoch < 0) == (end < 0),
            "{name}: asked for the end of epoch {asked}, got that of {epoch} at {end}"
        );
        for (base, written_in) in &self.epochs {
            let fits = if end < 0 {
                *base >= floor.high_watermark || *written_in < asked
            } else if *written_in > asked {
                *base >= end
            } else {
                *base < end || *base >= floor.high_watermark
            };
            assert!(
                fits,
                "{name}: epoch {asked} ends at {end}, but the batch at {base} is of {written_in}"
            );
        }
    }

    /// The batch is at that offset: for good, and it alone.
    fn place(&mut self, id: BatchId, base: i64, how: &str) {
        let name = self.name.clone();
        let sent = self
            .sent
            .get_mut(&id)
            .unwrap_or_else(|| panic!("{name}: {how} at {base}, but never sent"));
        assert_ne!(
            sent.fate,
            Fate::Refused,
            "{name}: {how} at {base}, but was refused"
        );
        let last = base + i64::from(sent.records) - 1;
        if let Some(known) = self.log.get(&base) {
            assert_eq!(
                *known,
                (id, last),
                "{name}: offset {base} has two values ({how})"
            );
            return;
        }
        if let Some((below, (_, end))) = self.log.range(..base).next_back() {
            assert!(
                *end < base,
                "{name}: {how} at {base}, inside the batch at {below} to {end}"
            );
        }
        if let Some((above, _)) = self.log.range(base..).next() {
            assert!(
                last < *above,
                "{name}: {how} at {base} to {last}, over the batch at {above}"
            );
        }
        sent.offsets.push(base);
        let copies = if sent.order.is_some() {
            1
        } else {
            sent.attempts as usize
        };
        let (offsets, producer) = (&sent.offsets, &sent.producer);
        assert!(
            offsets.len() <= copies,
            "{name}: {producer}'s batch stands at {offsets:?}, sent {} times",
            sent.attempts
        );
        if let Some(order) = sent.order {
            let orders = self.orders.entry(producer.clone()).or_default();
            orders.insert(order, base);
            let below = orders
                .range(..order)
                .next_back()
                .is_none_or(|(_, other)| *other < base);
            let above = orders
                .range(order + 1..)
                .next()
                .is_none_or(|(_, other)| *other > base);
            assert!(
                below && above,
                "{name}: {producer}'s batches changed their order around {base}: {orders:?}"
            );
        }
        self.log.insert(base, (id, last));
    }

    /// Everything was read from the log start to the high watermark: then every acknowledged batch was among it.
    pub fn complete(&self, log_start: i64, high_watermark: i64) {
        let mut next = log_start;
        while next < high_watermark {
            if let Some(behind) = self.behind_damage(next) {
                next = behind;
                continue;
            }
            let holding = self
                .log
                .range(..=next)
                .next_back()
                .filter(|(_, (_, last))| *last >= next);
            let Some((_, (_, last))) = holding else {
                panic!("{}: nobody read offset {next}", self.name)
            };
            next = last + 1;
        }
        for sent in self.sent.values() {
            if let Fate::Acknowledged(base) = sent.fate {
                let end = base + i64::from(sent.records);
                assert!(
                    end <= high_watermark,
                    "{}: the acknowledged batch at {base} is lost",
                    self.name
                );
            }
        }
    }

    /// Bytes of the batches known at or above an offset.
    pub fn bytes_from(&self, offset: i64) -> usize {
        self.log
            .range(offset..)
            .filter_map(|(_, (id, _))| self.sent.get(id))
            .map(|sent| sent.bytes)
            .sum()
    }
}
