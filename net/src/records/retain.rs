//! Takes records out of a stored batch, as compaction does, and leaves the rest as it was.
//!
//! What stays keeps its offset, timestamp, key, value and headers; the batch keeps its base offset, its last offset
//! and so its producer's last sequence, its codec and its leader epoch. Source: `MemoryRecords.filterTo` of Apache
//! Kafka; the result is the same to the byte where the codec is deterministic or absent.

use super::batch::{Batch, BatchError};
use super::builder::seal;
use super::compress::Packer;
use super::decompress::Unpack;
use super::header::{
    BATCH_HEADER_BYTES, BatchHeader, CONTROL_BIT, Compression, DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT, TimestampType,
};
use super::validate::STEP_BYTES;
use super::varint::{self, VarintError};
use super::{MAGIC_V2, NO_TIMESTAMP};

/// Flags that are carried over; unknown bits are not, as in Kafka.
const FLAGS: i16 = LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT;
/// Uncompressed bytes walked or written per step.
const WALK_BYTES: usize = 2 * STEP_BYTES;

/// A record that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp in ms since 1970.
    pub timestamp: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Whether it has a value; without one it is a tombstone.
    pub has_value: bool,
}

/// What stayed of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The batch that takes the place of the old one.
    pub batch: RetainedBatch,
    /// How many records it has.
    pub records: usize,
    /// How many the old one had.
    pub records_before: usize,
    /// The greatest timestamp of its records, -1 if there is none.
    pub max_timestamp: i64,
    /// Offset of the first record that has it, -1 if there is none.
    pub offset_of_max_timestamp: i64,
}

/// The bytes of what stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetainedBatch {
    /// No record stayed.
    Nothing,
    /// The old batch, byte for byte.
    Unchanged,
    /// A new batch.
    Rewritten(Vec<u8>),
}

/// What decides beside the single records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetainRules {
    /// From when on tombstones may go, in ms since 1970: written into a batch that keeps some and has no such time
    /// yet (KIP-534). `None` leaves batches without one as they are.
    pub delete_horizon_ms: Option<i64>,
    /// The batch is the end mark of a transaction of which nothing else is left: it gets a horizon like a tombstone.
    pub marker_of_empty_transaction: bool,
}

/// A record that stays: where it lies in the unpacked body.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Behind the timestamp delta: offset delta, key, value, headers.
    start: usize,
    end: usize,
    timestamp: i64,
}

#[derive(Debug)]
struct Walk {
    at: usize,
    index: i32,
    kept: Vec<Kept>,
    tombstones: bool,
    max_timestamp: i64,
    offset_of_max_timestamp: i64,
}

enum Stage<'a> {
    Unpack(Box<Unpack<'a>>),
    Walk,
    Write(Box<Writing>),
    Over,
}

struct Writing {
    packer: Packer,
    next: usize,
    scratch: Vec<u8>,
    base_timestamp: i64,
    horizon: bool,
}

/// Goes through a batch, a bounded piece of work per [`Retainer::step`].
pub struct Retainer<'a> {
    batch: Batch<'a>,
    rules: RetainRules,
    compression: Compression,
    unpacked: Vec<u8>,
    walk: Walk,
    stage: Stage<'a>,
}

impl<'a> Retainer<'a> {
    /// `unpacked_bytes_max` is the most that the records may unpack to.
    pub fn new(
        batch: &Batch<'a>,
        rules: RetainRules,
        unpacked_bytes_max: usize,
    ) -> Result<Self, BatchError> {
        let compression = batch.header().compression()?;
        let stage = match compression {
            Compression::None => Stage::Walk,
            codec => Stage::Unpack(Box::new(Unpack::new(
                codec,
                batch.body(),
                unpacked_bytes_max,
            )?)),
        };
        Ok(Self {
            batch: *batch,
            rules,
            compression,
            unpacked: Vec::new(),
            walk: Walk {
                at: 0,
                index: 0,
                kept: Vec::new(),
                tombstones: false,
                max_timestamp: NO_TIMESTAMP,
                offset_of_max_timestamp: -1,
            },
            stage,
        })
    }

    /// Unpacks, asks about or writes about 128 KiB; the result once all is done, after which there is nothing more.
    /// `keep` is asked once about each record, in order.
    ///
    /// # Panics
    /// If called after it gave a result or an error.
    pub fn step(
        &mut self,
        keep: &mut impl FnMut(&StoredRecord<'_>) -> bool,
    ) -> Result<Option<Retained>, BatchError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Unpack(mut unpack) => {
                let mut budget = STEP_BYTES;
                let ended = unpack.step(&mut budget)?;
                let pending = unpack.pending();
                self.unpacked.extend_from_slice(pending);
                let taken = pending.len();
                unpack.take(taken);
                self.stage = if ended {
                    Stage::Walk
                } else {
                    Stage::Unpack(unpack)
                };
                Ok(None)
            }
            Stage::Walk => {
                if !self.walk(keep)? {
                    self.stage = Stage::Walk;
                    return Ok(None);
                }
                Ok(self.judge())
            }
            Stage::Write(mut writing) => {
                if self.write(&mut writing) {
                    return Ok(Some(self.finish(*writing)));
                }
                self.stage = Stage::Write(writing);
                Ok(None)
            }
            Stage::Over => panic!("a retainer is not stepped again after its end"),
        }
    }

    fn body(&self) -> &[u8] {
        match self.compression {
            Compression::None => self.batch.body(),
            _ => &self.unpacked,
        }
    }

    /// Whether all records are walked over.
    fn walk(
        &mut self,
        keep: &mut impl FnMut(&StoredRecord<'_>) -> bool,
    ) -> Result<bool, BatchError> {
        let header = *self.batch.header();
        let mut walk = std::mem::replace(&mut self.walk, Walk::empty());
        let body = self.body();
        let until = walk.at.saturating_add(WALK_BYTES);
        let mut result = Ok(true);
        while walk.index < header.record_count {
            if walk.at >= until {
                result = Ok(false);
                break;
            }
            match read_record(&header, body, walk.at) {
                Ok((record, kept)) => {
                    walk.at = kept.end;
                    walk.index += 1;
                    if keep(&record) {
                        walk.keep(&record, kept);
                    }
                }
                Err(what) => {
                    let index = walk.index;
                    result = Err(BatchError::Record { index, what });
                    break;
                }
            }
        }
        self.walk = walk;
        result
    }

    /// All records were asked about.
    fn judge(&mut self) -> Option<Retained> {
        let header = self.batch.header();
        let walk = &self.walk;
        if walk.kept.is_empty() {
            return Some(self.result(RetainedBatch::Nothing));
        }
        let wants_horizon = walk.tombstones || self.rules.marker_of_empty_transaction;
        let new_horizon = self
            .rules
            .delete_horizon_ms
            .filter(|_| wants_horizon && !header.has_delete_horizon());
        if walk.kept.len() == walk.index as usize && new_horizon.is_none() {
            return Some(self.result(RetainedBatch::Unchanged));
        }
        let old_horizon = header.has_delete_horizon().then_some(header.base_timestamp);
        let horizon = new_horizon.or(old_horizon);
        let packer = Packer::new(self.compression, None, vec![0; BATCH_HEADER_BYTES])
            .expect("packing into memory does not fail");
        self.stage = Stage::Write(Box::new(Writing {
            packer,
            next: 0,
            scratch: Vec::new(),
            base_timestamp: horizon.unwrap_or(walk.kept[0].timestamp),
            horizon: horizon.is_some(),
        }));
        None
    }

    /// Whether all records are written.
    fn write(&self, writing: &mut Writing) -> bool {
        let body = self.body();
        writing.scratch.clear();
        while writing.next < self.walk.kept.len() && writing.scratch.len() < WALK_BYTES {
            let kept = &self.walk.kept[writing.next];
            let delta = kept.timestamp.wrapping_sub(writing.base_timestamp);
            let rest = &body[kept.start..kept.end];
            let length = 1 + varint::size_i64(delta) + rest.len();
            varint::write_i32(
                &mut writing.scratch,
                i32::try_from(length).expect("a record of a batch is below 2 GiB"),
            );
            writing.scratch.push(0);
            varint::write_i64(&mut writing.scratch, delta);
            writing.scratch.extend_from_slice(rest);
            writing.next += 1;
        }
        writing
            .packer
            .write(&writing.scratch)
            .expect("packing into memory does not fail");
        writing.next == self.walk.kept.len()
    }

    fn finish(&self, writing: Writing) -> Retained {
        let header = self.batch.header();
        let mut batch = writing
            .packer
            .finish()
            .expect("packing into memory does not fail");
        let horizon = if writing.horizon {
            DELETE_HORIZON_BIT
        } else {
            0
        };
        seal(
            &mut batch,
            BatchHeader {
                attributes: (header.attributes & FLAGS)
                    | i16::from(self.compression as u8)
                    | horizon,
                base_timestamp: writing.base_timestamp,
                max_timestamp: match header.timestamp_type() {
                    TimestampType::CreateTime => self.walk.max_timestamp,
                    TimestampType::LogAppendTime => header.max_timestamp,
                },
                record_count: self.walk.kept.len() as i32,
                ..*header
            },
        );
        self.result(RetainedBatch::Rewritten(batch))
    }

    fn result(&self, batch: RetainedBatch) -> Retained {
        Retained {
            batch,
            records: self.walk.kept.len(),
            records_before: self.walk.index as usize,
            max_timestamp: self.walk.max_timestamp,
            offset_of_max_timestamp: self.walk.offset_of_max_timestamp,
        }
    }
}

impl Walk {
    fn empty() -> Walk {
        Walk {
            at: 0,
            index: 0,
            kept: Vec::new(),
            tombstones: false,
            max_timestamp: NO_TIMESTAMP,
            offset_of_max_timestamp: -1,
        }
    }

    fn keep(&mut self, record: &StoredRecord<'_>, kept: Kept) {
        self.tombstones |= !record.has_value;
        if record.timestamp > self.max_timestamp {
            self.max_timestamp = record.timestamp;
            self.offset_of_max_timestamp = record.offset;
        }
        self.kept.push(kept);
    }
}

/// The batch without its records: what is kept of a producer's last batch so that its sequence is known (Kafka's
/// `DefaultRecordBatch.writeEmptyHeader`).
pub fn empty_batch(header: &BatchHeader) -> Vec<u8> {
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    seal(
        &mut batch,
        BatchHeader {
            attributes: header.attributes & FLAGS,
            magic: MAGIC_V2,
            base_timestamp: NO_TIMESTAMP,
            record_count: 0,
            ..*header
        },
    );
    batch
}

fn read_record<'b>(
    header: &BatchHeader,
    body: &'b [u8],
    mut at: usize,
) -> Result<(StoredRecord<'b>, Kept), &'static str> {
    let length = varint::read_i32(body, &mut at).map_err(say)?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length))
        .filter(|end| *end <= body.len())
        .ok_or("its bytes are cut off")?;
    let record = &body[..end];
    at += 1; // attributes: no bit is in use
    let timestamp_delta = varint::read_i64(record, &mut at).map_err(say)?;
    let start = at;
    let offset_delta = varint::read_i32(record, &mut at).map_err(say)?;
    let key_length = varint::read_i32(record, &mut at).map_err(say)?;
    let key = match usize::try_from(key_length) {
        Ok(length) => {
            let key = record
                .get(at..)
                .and_then(|rest| rest.get(..length))
                .ok_or("its key runs over its end")?;
            at += length;
            Some(key)
        }
        Err(_) => None,
    };
    let value_length = varint::read_i32(record, &mut at).map_err(say)?;
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    let view = StoredRecord {
        offset: header.base_offset.wrapping_add(i64::from(offset_delta)),
        timestamp,
        key,
        has_value: value_length >= 0,
    };
    let kept = Kept {
        start,
        end,
        timestamp,
    };
    Ok((view, kept))
}

fn say(error: VarintError) -> &'static str {
    match error {
        VarintError::Short => "it ends inside a number",
        VarintError::Long => "a number in it has too many bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Decompressor, Record};

    fn retain(
        batch: &[u8],
        rules: RetainRules,
        mut keep: impl FnMut(&StoredRecord<'_>) -> bool,
    ) -> Retained {
        let view = Batch::parse(batch).unwrap();
        let mut retainer = Retainer::new(&view, rules, 1 << 24).unwrap();
        loop {
            if let Some(retained) = retainer.step(&mut keep).unwrap() {
                return retained;
            }
        }
    }

    fn rewritten(retained: Retained) -> Vec<u8> {
        match retained.batch {
            RetainedBatch::Rewritten(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn builder(codec: Compression) -> BatchBuilder {
        let mut builder = BatchBuilder::new()
            .compression(codec, None)
            .producer(7, 2, 40);
        for number in 0..2000u32 {
            let key = number.to_be_bytes();
            let value = [number as u8; 150];
            let value = (number % 3 != 0).then_some(&value[..]);
            builder.append(Some(&key), value, &[(b"h", None)], 1000 + i64::from(number));
        }
        builder
    }

    fn records(batch: &[u8]) -> Vec<(i64, i64, Vec<u8>, bool)> {
        let mut decompressor = Decompressor::default();
        let view = Batch::parse(batch).unwrap();
        assert!(view.crc_is_valid());
        let records = view.records(&mut decompressor).unwrap();
        records
            .map(|record| {
                let Record {
                    offset,
                    timestamp,
                    key,
                    value,
                    headers,
                    ..
                } = record.unwrap();
                assert_eq!(headers, [(&b"h"[..], None)]);
                (offset, timestamp, key.unwrap().to_vec(), value.is_some())
            })
            .collect()
    }

    #[test]
    fn what_stays_is_as_it_was_in_every_codec() {
        for codec in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let batch = builder(codec).build(100, 5);
            let all = records(&batch);
            let retained = retain(&batch, RetainRules::default(), |record| {
                record.offset % 7 == 3
            });
            assert_eq!(
                (retained.records_before, retained.max_timestamp),
                (2000, 2996)
            );
            assert_eq!(retained.offset_of_max_timestamp, 2096);
            let after = rewritten(retained);
            let expected: Vec<_> = all
                .iter()
                .filter(|record| record.0 % 7 == 3)
                .cloned()
                .collect();
            assert_eq!(records(&after), expected, "{codec:?}");
            let (old, new) = (
                BatchHeader::parse(&batch).unwrap(),
                BatchHeader::parse(&after).unwrap(),
            );
            assert_eq!(new.compression(), Ok(codec));
            assert_eq!((new.base_offset, new.last_offset_delta), (100, 1999));
            assert_eq!(new.last_sequence(), old.last_sequence());
            assert_eq!(new.partition_leader_epoch, 5);
            assert_eq!((new.base_timestamp, new.max_timestamp), (1001, 2996));
        }
    }

    #[test]
    fn tombstones_get_a_horizon_once_and_keep_their_time() {
        let batch = builder(Compression::None).build(0, 0);
        let rules = RetainRules {
            delete_horizon_ms: Some(90_000),
            ..RetainRules::default()
        };
        let with_horizon = rewritten(retain(&batch, rules, |_| true));
        let header = BatchHeader::parse(&with_horizon).unwrap();
        assert!(header.has_delete_horizon());
        assert_eq!(
            (header.base_timestamp, header.max_timestamp),
            (90_000, 2999)
        );
        assert_eq!(records(&with_horizon), records(&batch));
        let again = RetainRules {
            delete_horizon_ms: Some(100_000),
            ..rules
        };
        assert_eq!(
            retain(&with_horizon, again, |_| true).batch,
            RetainedBatch::Unchanged
        );
        let fewer = rewritten(retain(&with_horizon, again, |record| record.offset > 5));
        assert_eq!(BatchHeader::parse(&fewer).unwrap().base_timestamp, 90_000);
        assert_eq!(records(&fewer), records(&batch)[6..]);
        let values = retain(&batch, rules, |record| record.has_value);
        let header = BatchHeader::parse(&rewritten(values)).unwrap();
        assert!(!header.has_delete_horizon(), "no tombstone, no horizon");
    }

    #[test]
    fn nothing_and_everything() {
        let batch = builder(Compression::Zstd).build(0, 0);
        let rules = RetainRules::default();
        assert_eq!(
            retain(&batch, rules, |_| true).batch,
            RetainedBatch::Unchanged
        );
        let nothing = retain(&batch, rules, |_| false);
        assert_eq!(
            (nothing.batch, nothing.records),
            (RetainedBatch::Nothing, 0)
        );
        let empty = empty_batch(&BatchHeader::parse(&batch).unwrap());
        let view = Batch::parse(&empty).unwrap();
        assert!(view.crc_is_valid());
        assert_eq!((empty.len(), view.header().record_count), (61, 0));
        assert_eq!(
            (view.header().producer_id, view.header().last_sequence()),
            (7, 2039)
        );
        assert_eq!(view.header().max_timestamp, 2999);
    }

    #[test]
    fn damaged_records_are_an_error_and_never_a_panic() {
        let batch = builder(Compression::None).build(0, 0);
        for at in (BATCH_HEADER_BYTES..400).chain([batch.len() - 1]) {
            let mut batch = batch.clone();
            batch[at] ^= 0x41;
            let view = Batch::parse(&batch).unwrap();
            let mut retainer = Retainer::new(&view, RetainRules::default(), 1 << 20).unwrap();
            while let Ok(None) = retainer.step(&mut |_| true) {}
        }
    }
}
