//! Makes batches: for clients, coordinators, control records and tests.
//!
//! Records are encoded as they are appended, behind room for the header, so an uncompressed batch is finished
//! without another copy.

use super::compress::Packer;
use super::header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, CONTROL_BIT, Compression,
    LOG_APPEND_TIME_BIT, LOG_OVERHEAD_BYTES, TRANSACTIONAL_BIT, TimestampType,
};
use super::record::Header;
use super::{MAGIC_V2, NO_PRODUCER_ID, NO_TIMESTAMP, varint};

/// Builds one batch after the other. [`BatchBuilder::build`] leaves it empty, with its settings and its memory.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    flags: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,

    bytes: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An uncompressed batch without a producer id, timestamps by its creator.
    pub fn new() -> Self {
        Self {
            compression: Compression::None,
            level: None,
            flags: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
            bytes: vec![0; BATCH_HEADER_BYTES],
            count: 0,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// Codec, and its own level where it has levels.
    pub fn compression(mut self, compression: Compression, level: Option<i32>) -> Self {
        (self.compression, self.level) = (compression, level);
        self
    }

    /// The idempotent producer and the sequence number of the first record.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.set_producer(producer_id, producer_epoch, base_sequence);
        self
    }

    /// As [`Self::producer`], for a builder that is used again.
    pub fn set_producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        (self.producer_id, self.producer_epoch, self.base_sequence) =
            (producer_id, producer_epoch, base_sequence);
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self, transactional: bool) -> Self {
        self.set_flag(TRANSACTIONAL_BIT, transactional);
        self
    }

    /// Marks the records as control records.
    pub fn control(mut self, control: bool) -> Self {
        self.set_flag(CONTROL_BIT, control);
        self
    }

    /// Who sets the timestamps.
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.set_flag(
            LOG_APPEND_TIME_BIT,
            timestamp_type == TimestampType::LogAppendTime,
        );
        self
    }

    /// Appends a record with a timestamp in ms since 1970.
    ///
    /// # Panics
    /// If a field, the record or the number of records exceeds 2^31-1.
    pub fn append(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        timestamp: i64,
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let headers_size: usize = headers
            .iter()
            .map(|(name, value)| size_of_bytes(Some(name)) + size_of_bytes(*value))
            .sum();
        let size = 1
            + varint::size_i64(timestamp_delta)
            + varint::size_i32(self.count)
            + size_of_bytes(key)
            + size_of_bytes(value)
            + varint::size_i32(length(headers.len()))
            + headers_size;
        let out = &mut self.bytes;
        varint::write_i32(out, length(size));
        out.push(0);
        varint::write_i64(out, timestamp_delta);
        varint::write_i32(out, self.count);
        write_bytes(out, key);
        write_bytes(out, value);
        varint::write_i32(out, length(headers.len()));
        for (name, value) in headers {
            write_bytes(out, Some(name));
            write_bytes(out, *value);
        }
        self.count = self
            .count
            .checked_add(1)
            .expect("a batch holds at most 2^31-1 records");
    }

    /// Number of records appended.
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, header included, before compression.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The batch; the builder is then empty and keeps its settings. Producers leave the base offset 0 and the
    /// epoch -1.
    ///
    /// # Panics
    /// If the batch exceeds 2^31-1 bytes.
    pub fn build(&mut self, base_offset: i64, partition_leader_epoch: i32) -> Vec<u8> {
        let mut batch = match self.compression {
            Compression::None => self.bytes.clone(),
            codec => {
                let pack = || {
                    let mut packer = Packer::new(codec, self.level, vec![0; BATCH_HEADER_BYTES])?;
                    packer.write(&self.bytes[BATCH_HEADER_BYTES..])?;
                    packer.finish()
                };
                pack().expect("packing into memory does not fail")
            }
        };
        let header = BatchHeader {
            base_offset,
            batch_length: 0,
            partition_leader_epoch,
            magic: MAGIC_V2,
            crc: 0,
            attributes: self.flags | i16::from(self.compression as u8),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        };
        seal(&mut batch, header);
        self.clear();
        batch
    }

    /// Drops the records and keeps the settings.
    pub fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER_BYTES);
        (self.count, self.base_timestamp, self.max_timestamp) = (0, NO_TIMESTAMP, NO_TIMESTAMP);
    }

    fn set_flag(&mut self, bit: i16, on: bool) {
        self.flags = if on {
            self.flags | bit
        } else {
            self.flags & !bit
        };
    }
}

/// Writes `header` over the first 61 bytes of `batch`, with the length and CRC that the bytes have.
pub(super) fn seal(batch: &mut [u8], mut header: BatchHeader) {
    header.batch_length = length(batch.len() - LOG_OVERHEAD_BYTES);
    let place = batch
        .first_chunk_mut::<BATCH_HEADER_BYTES>()
        .expect("room for the header was left");
    header.write_to(place);
    header.crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
    batch[super::header::CRC_AT..BATCH_PREFIX_BYTES].copy_from_slice(&header.crc.to_be_bytes());
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("lengths in a batch are at most 2^31-1")
}

fn size_of_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varint::size_i32(-1), |bytes| {
        varint::size_i32(length(bytes.len())) + bytes.len()
    })
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}
