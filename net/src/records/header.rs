//! The 61 bytes in front of every record batch.
//!
//! ```text
//!  0 base_offset            i64     not covered by the CRC, written by the broker
//!  8 batch_length           i32     counts from byte 12 to the end of the batch
//! 12 partition_leader_epoch i32     not covered by the CRC, written by the broker
//! 16 magic                  i8      2
//! 17 crc                    u32     CRC-32C of byte 21 to the end of the batch
//! 21 attributes             i16     bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23 last_offset_delta      i32
//! 27 base_timestamp         i64     the delete horizon where bit 6 is set
//! 35 max_timestamp          i64
//! 43 producer_id            i64
//! 51 producer_epoch         i16
//! 53 base_sequence          i32
//! 57 record_count           i32
//! ```
//!
//! All numbers are big-endian. Source: `DefaultRecordBatch` of Apache Kafka.

use super::NO_PRODUCER_ID;

/// Length of a batch's header; no batch is shorter.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The part of the header that Kafka's CRC leaves out: base offset, length, leader epoch, magic and the CRC itself.
pub const BATCH_PREFIX_BYTES: usize = 21;
/// Base offset and length: what stands before the bytes that `batch_length` counts.
pub(super) const LOG_OVERHEAD_BYTES: usize = 12;

pub(super) const PARTITION_LEADER_EPOCH_AT: usize = 12;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;

const COMPRESSION_MASK: i16 = 0b111;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
pub(super) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(super) const CONTROL_BIT: i16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// One gzip stream.
    Gzip = 1,
    /// Snappy in the frames of xerial's Java library, or one raw block as librdkafka writes it.
    Snappy = 2,
    /// One LZ4 frame with independent blocks.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

/// A codec number that Kafka does not define (5 to 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "compression codec {0} does not exist; Kafka defines 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) and 4 (zstd)"
)]
pub struct UnknownCompression(pub u8);

impl TryFrom<u8> for Compression {
    type Error = UnknownCompression;

    fn try_from(codec: u8) -> Result<Self, UnknownCompression> {
        match codec {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            unknown => Err(UnknownCompression(unknown)),
        }
    }
}

impl Compression {
    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name; `uncompressed` is Kafka's second name for `none`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" | "uncompressed" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Who set the timestamps of a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The broker: every record has the batch's maximum timestamp.
    LogAppendTime,
}

/// The header of a batch, decoded. It says what the batch claims; only a [`super::Validator`] knows whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the batch after this field.
    pub batch_length: i32,
    /// Leader epoch under which the batch was appended, -1 before that.
    pub partition_leader_epoch: i32,
    /// Format version.
    pub magic: i8,
    /// CRC-32C of everything behind the prefix.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Offset of the last record, relative to the base offset.
    pub last_offset_delta: i32,
    /// What record timestamps are relative to, in ms since 1970.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records, in ms since 1970.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records. Compaction leaves fewer than the offsets span.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` if fewer than 61 bytes are there. Values are not judged.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        Some(Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, PARTITION_LEADER_EPOCH_AT)),
            magic: i8::from_be_bytes(field(bytes, 16)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// Writes the header in its wire form.
    pub fn write_to(&self, bytes: &mut [u8; BATCH_HEADER_BYTES]) {
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// The codec, or its number if Kafka does not define it.
    pub fn compression(&self) -> Result<Compression, UnknownCompression> {
        Compression::try_from((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME_BIT != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch carries control records, which no consumer application sees.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether compaction has set a delete horizon; it then stands in `base_timestamp` (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence number of the last record; numbers wrap from 2^31-1 to 0. -1 if the batch has none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    /// Bytes of the whole batch, including base offset and length. 0 if `batch_length` is negative beyond sense.
    pub fn size_in_bytes(&self) -> usize {
        usize::try_from(i64::from(self.batch_length) + LOG_OVERHEAD_BYTES as i64).unwrap_or(0)
    }

    pub(super) fn attributes_with(&self, compression: Compression) -> i16 {
        (self.attributes & !COMPRESSION_MASK) | i16::from(compression as u8)
    }
}

#[inline]
fn field<const N: usize>(bytes: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_writing_and_parsing() {
        let header = BatchHeader {
            base_offset: 0x0102_0304_0506_0708,
            batch_length: 0x1112_1314,
            partition_leader_epoch: 0x2122_2324,
            magic: 2,
            crc: 0xf1f2_f3f4,
            attributes: 0x0031,
            last_offset_delta: 0x3132_3334,
            base_timestamp: 0x4142_4344_4546_4748,
            max_timestamp: 0x5152_5354_5556_5758,
            producer_id: 0x6162_6364_6566_6768,
            producer_epoch: 0x7172,
            base_sequence: 0x7132_3334,
            record_count: 0x0142_4344,
        };
        let mut bytes = [0; BATCH_HEADER_BYTES];
        header.write_to(&mut bytes);
        assert_eq!(BatchHeader::parse(&bytes), Some(header));
        assert_eq!(BatchHeader::parse(&bytes[..60]), None);
        assert_eq!(header.compression(), Ok(Compression::Gzip));
        assert!(header.is_transactional() && header.is_control());
    }

    #[test]
    fn the_last_sequence_wraps_to_zero() {
        let mut header = BatchHeader::parse(&[0; 61]).expect("61 bytes");
        (header.base_sequence, header.last_offset_delta) = (i32::MAX - 1, 3);
        assert_eq!(header.last_sequence(), 1);
        header.base_sequence = -1;
        assert_eq!(header.last_sequence(), -1);
    }
}
