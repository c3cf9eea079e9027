//! The judge of what a producer sends for one partition (RELIABILITY §2.1 P1 to P7, N8).
//!
//! Stateless towards the log: no offset, sequence number or topic name is known here. It runs on the connection's
//! core and does a bounded piece of work per [`Validator::step`], so that one large batch stalls nobody.
//!
//! The order of the checks is Kafka's: the request's shape (`ProduceRequest.validateRecords`), base offset and size
//! (before the CRC is paid for), CRC, the header's numbers, then record by record (`LogValidator`).

use super::decompress::{DecompressError, Unpack};
use super::header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, Compression, LOG_OVERHEAD_BYTES,
    TimestampType,
};
use super::rejection::{Rejection, RejectionKind};
use super::walk::{Walk, Walked};
use super::{MAGIC_V2, NO_TIMESTAMP};

/// Bytes that one step may decompress (N8).
pub(super) const STEP_BYTES: usize = 64 * 1024;
/// How much cheaper than decompressing a byte it is to run the CRC over one, and to walk over one.
const CRC_BYTES_PER_UNIT: usize = 8;
const WALK_BYTES_PER_UNIT: usize = 4;

/// `LegacyRecord.RECORD_OVERHEAD_V0`: Kafka takes a smaller length field for damage, whatever the magic.
const LENGTH_MIN: i32 = 14;
const MAGIC_AT: usize = 16;
/// The first Produce version whose consumers are known to read zstd (KIP-110).
const ZSTD_PRODUCE_VERSION_MIN: i16 = 7;

/// What a topic and the broker allow. Names and meanings are those of Kafka's configs where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationLimits {
    /// `max.message.bytes`: bytes of the whole batch as sent.
    pub max_message_bytes: usize,
    /// Bytes that the records of one batch may unpack to.
    pub decompressed_bytes_max: usize,
    /// How many times larger than its compressed form a batch may become. It binds only beyond `max_message_bytes`:
    /// what would have been accepted uncompressed is never refused for being compressed well.
    pub ratio_max: usize,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// Whether `cleanup.policy` contains `compact`: then every record needs a key.
    pub compacted: bool,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// Version of the Produce request.
    pub produce_version: i16,
}

impl Default for ValidationLimits {
    /// Kafka's defaults, for the newest Produce version; unpacked at most 4 × `max.message.bytes` and 1000-fold (N8).
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            decompressed_bytes_max: 4 * 1_048_588,
            ratio_max: 1000,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            timestamp_type: TimestampType::CreateTime,
            compacted: false,
            segment_bytes: 1 << 30,
            produce_version: i16::MAX,
        }
    }
}

impl ValidationLimits {
    /// Bytes that a batch of `packed` bytes may unpack to.
    fn unpacked_bytes_max(&self, packed: usize) -> usize {
        let by_ratio = packed
            .saturating_mul(self.ratio_max)
            .max(self.max_message_bytes);
        by_ratio.min(self.decompressed_bytes_max)
    }
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// The header as sent.
    pub header: BatchHeader,
    /// Bytes of the batch. Kafka tolerates a few stray bytes behind it: append `bytes[..size]`, nothing else.
    pub size: usize,
    /// The greatest timestamp that the records really have, -1 if none has one; `now_ms` under LogAppendTime.
    pub max_timestamp: i64,
    /// Offset, relative to the base offset, of the *first* record that has it: what ListOffsets -3 answers.
    /// -1 where no record has a timestamp.
    pub offset_delta_of_max_timestamp: i32,
    /// The topic demands LogAppendTime: store what [`super::rewrite_for_log_append_time`] makes of the batch.
    pub log_append_time: bool,
    /// The header's `max_timestamp` and timestamp type are the topic's and the records' own. Where they are not,
    /// Kafka corrects the header ([`super::rewrite_timestamps`] does the same).
    pub timestamps_match: bool,
}

/// What one call of [`Validator::step`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More is to be done; let others run, then call again.
    Yield,
    /// The judgement. The validator must not be stepped again.
    Done(Result<ValidatedBatch, Rejection>),
}

/// Judges the record bytes of one partition of a Produce request. Null records are judged like empty ones.
#[derive(Debug)]
pub struct Validator<'a> {
    bytes: &'a [u8],
    limits: ValidationLimits,
    now_ms: i64,
    stage: Stage<'a>,
}

#[derive(Debug)]
enum Stage<'a> {
    Shape,
    Crc {
        header: BatchHeader,
        done: usize,
        crc: u32,
    },
    Plain {
        header: BatchHeader,
        walk: Walk,
        at: usize,
    },
    Packed {
        header: BatchHeader,
        walk: Walk,
        unpack: Box<Unpack<'a>>,
    },
    Over,
}

impl<'a> Validator<'a> {
    /// `bytes` is the partition's whole record set, `now_ms` the broker's wall clock.
    pub fn new(bytes: &'a [u8], limits: &ValidationLimits, now_ms: i64) -> Self {
        Self {
            bytes,
            limits: *limits,
            now_ms,
            stage: Stage::Shape,
        }
    }

    /// Works for about as long as decompressing 64 KiB takes. Uncompressed batches of 128 KiB need one step.
    ///
    /// # Panics
    /// If called after it said [`Step::Done`].
    pub fn step(&mut self) -> Step {
        let mut budget = STEP_BYTES;
        while budget > 0 {
            match self.advance(&mut budget) {
                Ok(None) => {}
                Ok(Some(validated)) => return Step::Done(Ok(validated)),
                Err(rejection) => return Step::Done(Err(rejection)),
            }
        }
        Step::Yield
    }

    fn advance(&mut self, budget: &mut usize) -> Result<Option<ValidatedBatch>, Rejection> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Shape => {
                let header = self.check_shape()?;
                self.stage = Stage::Crc {
                    header,
                    done: BATCH_PREFIX_BYTES,
                    crc: 0,
                };
            }
            Stage::Crc { header, done, crc } => {
                let size = header.size_in_bytes();
                let next = size.min(done.saturating_add(*budget * CRC_BYTES_PER_UNIT));
                let crc = crc32c::crc32c_append(crc, &self.bytes[done..next]);
                *budget = budget.saturating_sub((next - done).div_ceil(CRC_BYTES_PER_UNIT));
                self.stage = if next < size {
                    Stage::Crc {
                        header,
                        done: next,
                        crc,
                    }
                } else {
                    check_crc(&header, crc)?;
                    self.enter_records(header)?
                };
            }
            Stage::Plain {
                header,
                mut walk,
                mut at,
            } => {
                let size = header.size_in_bytes();
                let piece_end =
                    size.min(at.saturating_add((*budget * WALK_BYTES_PER_UNIT).max(STEP_BYTES)));
                let piece = &self.bytes[at..piece_end];
                let understood = walk.feed(piece)?;
                *budget = budget.saturating_sub(piece.len().div_ceil(WALK_BYTES_PER_UNIT));
                at += understood;
                if piece_end == size {
                    return Ok(Some(self.accept(&header, walk.finish(size - at)?)));
                }
                self.stage = Stage::Plain { header, walk, at };
            }
            Stage::Packed {
                header,
                mut walk,
                mut unpack,
            } => {
                let ended = unpack.step(budget).map_err(refuse_stream)?;
                let understood = walk.feed(unpack.pending())?;
                unpack.take(understood);
                if ended {
                    let walked = walk.finish(unpack.pending().len())?;
                    return Ok(Some(self.accept(&header, walked)));
                }
                self.stage = Stage::Packed {
                    header,
                    walk,
                    unpack,
                };
            }
            Stage::Over => panic!("a validator is not stepped again after its judgement"),
        }
        Ok(None)
    }

    /// Everything that can be said before the CRC.
    fn check_shape(&self) -> Result<BatchHeader, Rejection> {
        let Some(size) = whole_batch(self.bytes)? else {
            return Err(invalid(format!(
                "the partition's {} bytes hold no whole record batch; Produce takes exactly one batch for a partition",
                self.bytes.len()
            )));
        };
        let (batch, rest) = self.bytes.split_at(size);
        let magic = batch[MAGIC_AT] as i8;
        if magic != MAGIC_V2 {
            return Err(invalid(format!(
                "the batch has magic {magic}; Produce from version 3 on takes only magic 2"
            )));
        }
        let Some(header) = BatchHeader::parse(batch) else {
            return Err(Rejection::new(
                RejectionKind::CorruptMessage,
                format!("the batch has {size} bytes, below the {BATCH_HEADER_BYTES} of its header"),
            ));
        };
        let version = self.limits.produce_version;
        if header.compression() == Ok(Compression::Zstd) && version < ZSTD_PRODUCE_VERSION_MIN {
            return Err(Rejection::new(
                RejectionKind::UnsupportedCompressionType,
                format!(
                    "zstd needs Produce version {ZSTD_PRODUCE_VERSION_MIN}, the request has {version}; use a newer client or another codec"
                ),
            ));
        }
        if whole_batch(rest)?.is_some() {
            return Err(invalid(
                "the partition holds more than one record batch; Produce takes exactly one"
                    .to_owned(),
            ));
        }
        if header.base_offset != 0 {
            return Err(invalid(format!(
                "the batch has base offset {}; a producer must leave it 0",
                header.base_offset
            )));
        }
        self.check_size(size)?;
        Ok(header)
    }

    fn check_size(&self, size: usize) -> Result<(), Rejection> {
        let ValidationLimits {
            max_message_bytes,
            segment_bytes,
            ..
        } = self.limits;
        if size > max_message_bytes {
            return Err(Rejection::new(
                RejectionKind::MessageTooLarge,
                format!(
                    "the batch has {size} bytes, the topic's max.message.bytes is {max_message_bytes}; send smaller batches or raise it"
                ),
            ));
        }
        if size > segment_bytes {
            return Err(Rejection::new(
                RejectionKind::RecordListTooLarge,
                format!(
                    "the batch has {size} bytes, the topic's segment.bytes is {segment_bytes}; send smaller batches or raise it"
                ),
            ));
        }
        Ok(())
    }

    /// The header's numbers, now that the CRC vouches for them.
    fn enter_records(&self, header: BatchHeader) -> Result<Stage<'a>, Rejection> {
        let BatchHeader {
            last_offset_delta,
            record_count,
            producer_id,
            base_sequence,
            ..
        } = header;
        if record_count <= 0 || i64::from(last_offset_delta) + 1 != i64::from(record_count) {
            return Err(invalid(format!(
                "the batch announces {record_count} records and a last offset delta of {last_offset_delta}; \
                 there must be at least one record, and the delta must be one less than their number"
            )));
        }
        if header.is_control() {
            return Err(invalid(
                "the batch has the control bit; only the broker writes control records".to_owned(),
            ));
        }
        if header.has_producer_id() && base_sequence < 0 {
            return Err(invalid(format!(
                "the batch has producer id {producer_id} and base sequence {base_sequence}; sequences start at 0"
            )));
        }
        let codec = header.compression().map_err(|unknown| {
            Rejection::new(
                RejectionKind::UnsupportedCompressionType,
                unknown.to_string(),
            )
        })?;
        let walk = Walk::new(&header, &self.limits, self.now_ms);
        if codec == Compression::None {
            return Ok(Stage::Plain {
                header,
                walk,
                at: BATCH_HEADER_BYTES,
            });
        }
        let bytes: &'a [u8] = self.bytes;
        let packed = &bytes[BATCH_HEADER_BYTES..header.size_in_bytes()];
        let unpack = Unpack::new(codec, packed, self.limits.unpacked_bytes_max(packed.len()))
            .map_err(refuse_stream)?;
        Ok(Stage::Packed {
            header,
            walk,
            unpack: Box::new(unpack),
        })
    }

    fn accept(&self, header: &BatchHeader, walked: Walked) -> ValidatedBatch {
        let log_append_time = self.limits.timestamp_type == TimestampType::LogAppendTime;
        let (max_timestamp, offset_delta_of_max_timestamp) = if log_append_time {
            (self.now_ms, 0)
        } else {
            (walked.max_timestamp, walked.offset_delta_of_max_timestamp)
        };
        ValidatedBatch {
            header: *header,
            size: header.size_in_bytes(),
            max_timestamp,
            offset_delta_of_max_timestamp,
            log_append_time,
            timestamps_match: !log_append_time
                && header.timestamp_type() == TimestampType::CreateTime
                && header.max_timestamp.max(NO_TIMESTAMP) == max_timestamp,
        }
    }
}

/// The whole judgement at once, for callers that need not yield.
pub fn validate(
    bytes: &[u8],
    limits: &ValidationLimits,
    now_ms: i64,
) -> Result<ValidatedBatch, Rejection> {
    let mut validator = Validator::new(bytes, limits, now_ms);
    loop {
        if let Step::Done(judgement) = validator.step() {
            return judgement;
        }
    }
}

/// Bytes of the batch at the start of `bytes`, if a whole one is there. Kafka's `ByteBufferLogInputStream.nextBatch`:
/// a tail that is cut off is no batch, a length or magic that cannot be is damage.
fn whole_batch(bytes: &[u8]) -> Result<Option<usize>, Rejection> {
    let Some(length) = bytes.get(8..LOG_OVERHEAD_BYTES) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    if length < LENGTH_MIN {
        return Err(Rejection::new(
            RejectionKind::CorruptMessage,
            format!(
                "the batch length {length} is below {LENGTH_MIN}, the least that any format has"
            ),
        ));
    }
    let Some(magic) = bytes.get(MAGIC_AT) else {
        return Ok(None);
    };
    if !(0..=MAGIC_V2).contains(&(*magic as i8)) {
        return Err(Rejection::new(
            RejectionKind::CorruptMessage,
            format!("the batch has magic {}, which does not exist", *magic as i8),
        ));
    }
    let size = length as usize + LOG_OVERHEAD_BYTES;
    Ok((size <= bytes.len()).then_some(size))
}

fn check_crc(header: &BatchHeader, crc: u32) -> Result<(), Rejection> {
    if crc == header.crc {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::CorruptMessage,
        format!(
            "the batch's CRC-32C is {crc:#010x}, its header says {:#010x}; it was damaged on the way, send it again",
            header.crc
        ),
    ))
}

/// N8. Kafka answers -1 to a bad compressed stream; 2 says what it is. What unpacks to too much gets 10, on which
/// producers split the batch and try again.
fn refuse_stream(error: DecompressError) -> Rejection {
    let kind = match &error {
        DecompressError::TooLarge { .. } => RejectionKind::MessageTooLarge,
        DecompressError::Leftover { .. } => RejectionKind::InvalidRecord,
        DecompressError::Corrupt { .. } | DecompressError::Truncated { .. } => {
            RejectionKind::CorruptMessage
        }
    };
    Rejection::new(kind, error.to_string())
}

fn invalid(message: String) -> Rejection {
    Rejection::new(RejectionKind::InvalidRecord, message)
}
