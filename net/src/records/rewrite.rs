//! The changes that a broker makes to a producer's bytes, all of them.
//!
//! [`stamp`] touches only what the CRC leaves out. Everything else makes a new batch with a new CRC: LogAppendTime,
//! and a topic `compression.type` other than `producer`.

use super::batch::{Batch, BatchError};
use super::builder::seal;
use super::compress::Packer;
use super::decompress::{DecompressError, Unpack};
use super::header::{
    ATTRIBUTES_AT, BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, Compression,
    LOG_APPEND_TIME_BIT, MAX_TIMESTAMP_AT, PARTITION_LEADER_EPOCH_AT, TimestampType,
};
use super::validate::STEP_BYTES;

/// Writes the base offset and the leader epoch into the first 21 bytes of a batch, and nothing else.
#[inline]
pub fn stamp(prefix: &mut [u8; BATCH_PREFIX_BYTES], base_offset: i64, partition_leader_epoch: i32) {
    prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
    prefix[PARTITION_LEADER_EPOCH_AT..PARTITION_LEADER_EPOCH_AT + 4]
        .copy_from_slice(&partition_leader_epoch.to_be_bytes());
}

/// The batch with every record's timestamp set to `now_ms` by the broker: type bit, maximum timestamp and CRC.
///
/// # Panics
/// If `batch` is shorter than a header; only validated batches come here.
pub fn rewrite_for_log_append_time(batch: &[u8], now_ms: i64) -> Vec<u8> {
    rewrite_timestamps(batch, TimestampType::LogAppendTime, now_ms)
}

/// The batch with this timestamp type and maximum timestamp, and the CRC that follows from them.
///
/// # Panics
/// If `batch` is shorter than a header; only validated batches come here.
pub fn rewrite_timestamps(
    batch: &[u8],
    timestamp_type: TimestampType,
    max_timestamp: i64,
) -> Vec<u8> {
    let mut batch = batch.to_vec();
    let header = BatchHeader::parse(&batch).expect("a validated batch has a header");
    let attributes = match timestamp_type {
        TimestampType::CreateTime => header.attributes & !LOG_APPEND_TIME_BIT,
        TimestampType::LogAppendTime => header.attributes | LOG_APPEND_TIME_BIT,
    };
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
    batch[super::header::CRC_AT..BATCH_PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Packs the records of a batch anew, a bounded piece of work per step.
pub struct Recompressor<'a> {
    header: BatchHeader,
    source: Source<'a>,
    packer: Option<Packer>,
    target: Compression,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Packed(Box<Unpack<'a>>),
}

impl<'a> Recompressor<'a> {
    /// `level` is the codec's own (`compression.gzip.level` and so on), `unpacked_bytes_max` the most that the records
    /// may unpack to.
    pub fn new(
        batch: &Batch<'a>,
        target: Compression,
        level: Option<i32>,
        unpacked_bytes_max: usize,
    ) -> Result<Self, BatchError> {
        let source = match batch.header().compression()? {
            Compression::None => Source::Plain(batch.body()),
            codec => Source::Packed(Box::new(Unpack::new(
                codec,
                batch.body(),
                unpacked_bytes_max,
            )?)),
        };
        let packer = Packer::new(target, level, vec![0; BATCH_HEADER_BYTES])
            .expect("packing into memory does not fail");
        Ok(Self {
            header: *batch.header(),
            source,
            packer: Some(packer),
            target,
        })
    }

    /// Packs about 64 KiB more; the new batch once all is done. After that, or after an error, there is nothing more.
    pub fn step(&mut self) -> Result<Option<Vec<u8>>, DecompressError> {
        let packer = self
            .packer
            .as_mut()
            .expect("a recompressor is not stepped again after its end");
        let ended = match &mut self.source {
            Source::Plain(rest) => {
                let (now, later) = rest.split_at(rest.len().min(STEP_BYTES));
                packer
                    .write(now)
                    .expect("packing into memory does not fail");
                *rest = later;
                later.is_empty()
            }
            Source::Packed(unpack) => {
                let mut budget = STEP_BYTES;
                let ended = unpack.step(&mut budget)?;
                let pending = unpack.pending();
                packer
                    .write(pending)
                    .expect("packing into memory does not fail");
                let taken = pending.len();
                unpack.take(taken);
                ended
            }
        };
        if !ended {
            return Ok(None);
        }
        let packer = self.packer.take().expect("it was there above");
        let mut batch = packer.finish().expect("packing into memory does not fail");
        let attributes = self.header.attributes_with(self.target);
        seal(
            &mut batch,
            BatchHeader {
                attributes,
                ..self.header
            },
        );
        Ok(Some(batch))
    }
}

/// The batch packed with another codec, at once; [`Recompressor`] does it in steps. Offsets, timestamps and flags
/// stay as they are.
pub fn recompress(
    batch: &[u8],
    target: Compression,
    level: Option<i32>,
    unpacked_bytes_max: usize,
) -> Result<Vec<u8>, BatchError> {
    let mut recompressor =
        Recompressor::new(&Batch::parse(batch)?, target, level, unpacked_bytes_max)?;
    loop {
        if let Some(batch) = recompressor.step()? {
            return Ok(batch);
        }
    }
}
