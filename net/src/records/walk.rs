//! The walk over a batch's records, fed with pieces of any size.
//!
//! Nothing is kept of a record but what is still to be skipped, so a record may be far larger than the pieces it
//! comes in. A piece may end anywhere: the walk says how far it understood it, and the caller brings the rest
//! (never more than [`CARRY_BYTES_MAX`]) again in front of the next piece.

use super::NO_TIMESTAMP;
use super::header::{BatchHeader, TimestampType};
use super::rejection::{Rejection, RejectionKind};
use super::validate::ValidationLimits;
use super::varint::{VarintError, read_i32, read_i64};

/// The longest stretch that must lie in one piece to be understood: attributes, timestamp, offset and key length.
pub(super) const CARRY_BYTES_MAX: usize = 1 + 10 + 5 + 5;

/// The smallest record: attributes, timestamp, offset, key length, value length and header count, a byte each.
const RECORD_BYTES_MIN: i32 = 6;

/// Which field comes next, once `skip` bytes are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Length,
    Head,
    Value,
    HeaderCount,
    HeaderKey,
    HeaderValue,
}

enum Stop {
    Short,
    Wrong(&'static str),
}

impl From<VarintError> for Stop {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Short => Self::Short,
            VarintError::Long => Self::Wrong("a number has too many bytes"),
        }
    }
}

/// What a walk found when it reached the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    pub(super) max_timestamp: i64,
    pub(super) offset_delta_of_max_timestamp: i32,
}

#[derive(Debug)]
pub(super) struct Walk {
    count: i32,
    base_timestamp: i64,
    batch_timestamp: Option<i64>,
    rules: Rules,

    index: i32,
    next: Field,
    skip: usize,
    record_left: usize,
    headers_left: usize,

    walked: Walked,
    faults: Faults,
}

/// What single records are judged by.
#[derive(Debug)]
struct Rules {
    earliest: i64,
    latest: i64,
    append_time_from_client: bool,
    key_required: bool,
}

#[derive(Debug, Default)]
struct Faults {
    list: Vec<(i32, Option<String>)>,
    total: u64,
    any_timestamp: bool,
}

impl Walk {
    pub(super) fn new(header: &BatchHeader, limits: &ValidationLimits, now_ms: i64) -> Self {
        let from_client = header.timestamp_type();
        let judged = limits.timestamp_type == TimestampType::CreateTime;
        let clamp = |value: i128| value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let (now, before, after) = (
            i128::from(now_ms),
            i128::from(limits.timestamp_before_max_ms),
            i128::from(limits.timestamp_after_max_ms),
        );
        Self {
            count: header.record_count,
            base_timestamp: header.base_timestamp,
            batch_timestamp: (from_client == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
            rules: Rules {
                earliest: if judged {
                    clamp(now - before)
                } else {
                    i64::MIN
                },
                latest: if judged { clamp(now + after) } else { i64::MAX },
                append_time_from_client: !judged && from_client == TimestampType::LogAppendTime,
                key_required: limits.compacted,
            },
            index: 0,
            next: Field::Length,
            skip: 0,
            record_left: 0,
            headers_left: 0,
            walked: Walked {
                max_timestamp: NO_TIMESTAMP,
                offset_delta_of_max_timestamp: -1,
            },
            faults: Faults::default(),
        }
    }

    /// Walks through `piece` and says how many of its bytes were understood.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<usize, Rejection> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let passed = self.skip.min(piece.len() - at);
                (at, self.skip) = (at + passed, self.skip - passed);
                if self.skip > 0 {
                    return Ok(at);
                }
            }
            let start = at;
            match self.field(piece, &mut at) {
                Ok(()) => {}
                Err(Stop::Short) => {
                    debug_assert!(
                        piece.len() - start < CARRY_BYTES_MAX,
                        "a field is understood within its longest form"
                    );
                    return Ok(start);
                }
                Err(Stop::Wrong(what)) => return Err(self.malformed(what)),
            }
        }
    }

    /// The records have ended; `carried` bytes of the last piece were not understood.
    pub(super) fn finish(self, carried: usize) -> Result<Walked, Rejection> {
        if self.skip > 0 || self.next != Field::Length || carried > 0 {
            return Err(self.malformed("its bytes are cut off"));
        }
        if self.index != self.count {
            return Err(invalid(format!(
                "the batch announces {} records and holds {}; the producer must count them rightly",
                self.count, self.index
            )));
        }
        self.faults.judge()?;
        Ok(self.walked)
    }

    #[inline]
    fn field(&mut self, piece: &[u8], at: &mut usize) -> Result<(), Stop> {
        let start = *at;
        match self.next {
            Field::Length => {
                if self.index == self.count {
                    return Err(if start < piece.len() {
                        Stop::Wrong("bytes are left over behind the last record")
                    } else {
                        Stop::Short
                    });
                }
                let length = read_i32(piece, at)?;
                if length < RECORD_BYTES_MIN {
                    return Err(Stop::Wrong("its length is below that of an empty record"));
                }
                self.record_left = length as usize;
                self.next = Field::Head;
            }
            Field::Head => {
                *at += 1; // attributes: no bit is in use, and Kafka ignores them all
                let timestamp_delta = read_i64(piece, at)?;
                let offset_delta = read_i32(piece, at)?;
                let key_length = read_i32(piece, at)?;
                self.spend(*at - start)?;
                if offset_delta != self.index {
                    return Err(Stop::Wrong(
                        "its offset delta is not its position in the batch (0, 1, 2 ...)",
                    ));
                }
                self.pass_over(key_length)?;
                self.judge(timestamp_delta, key_length >= 0);
                self.next = Field::Value;
            }
            Field::Value => {
                let length = read_i32(piece, at)?;
                self.spend(*at - start)?;
                self.pass_over(length)?;
                self.next = Field::HeaderCount;
            }
            Field::HeaderCount => {
                let count = read_i32(piece, at)?;
                self.spend(*at - start)?;
                self.headers_left = usize::try_from(count)
                    .map_err(|_| Stop::Wrong("its number of headers is negative"))?;
                if self.headers_left > self.record_left / 2 {
                    return Err(Stop::Wrong(
                        "it announces more headers than it has bytes for",
                    ));
                }
                self.next_header()?;
            }
            Field::HeaderKey => {
                let length = read_i32(piece, at)?;
                self.spend(*at - start)?;
                if length < 0 {
                    return Err(Stop::Wrong("a header has no name"));
                }
                self.pass_over(length)?;
                self.next = Field::HeaderValue;
            }
            Field::HeaderValue => {
                let length = read_i32(piece, at)?;
                self.spend(*at - start)?;
                self.pass_over(length)?;
                self.headers_left -= 1;
                self.next_header()?;
            }
        }
        Ok(())
    }

    #[inline]
    fn next_header(&mut self) -> Result<(), Stop> {
        if self.headers_left > 0 {
            self.next = Field::HeaderKey;
            return Ok(());
        }
        if self.record_left != 0 {
            return Err(Stop::Wrong("its length does not match its fields"));
        }
        self.index += 1;
        self.next = Field::Length;
        Ok(())
    }

    /// `bytes` of the record were read.
    #[inline]
    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        self.record_left = self
            .record_left
            .checked_sub(bytes)
            .ok_or(Stop::Wrong("a field runs over its end"))?;
        Ok(())
    }

    /// A key or value of `length` bytes follows, or none if it is -1.
    #[inline]
    fn pass_over(&mut self, length: i32) -> Result<(), Stop> {
        if length < 0 {
            return if length == -1 {
                Ok(())
            } else {
                Err(Stop::Wrong("a length is below -1"))
            };
        }
        self.skip = length as usize;
        self.spend(length as usize)
    }

    #[inline]
    fn judge(&mut self, timestamp_delta: i64, has_key: bool) {
        let timestamp = self
            .batch_timestamp
            .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta));
        // The first record that has the greatest timestamp is the one ListOffsets answers.
        if timestamp > self.walked.max_timestamp {
            self.walked = Walked {
                max_timestamp: timestamp,
                offset_delta_of_max_timestamp: self.index,
            };
        }
        let in_time = timestamp == NO_TIMESTAMP
            || (self.rules.earliest..=self.rules.latest).contains(&timestamp);
        if !in_time || self.rules.append_time_from_client || (self.rules.key_required && !has_key) {
            self.fault(timestamp, in_time);
        }
    }

    #[cold]
    fn fault(&mut self, timestamp: i64, in_time: bool) {
        let Rules {
            earliest,
            latest,
            append_time_from_client,
            ..
        } = self.rules;
        let reason = if !in_time {
            format!(
                "timestamp {timestamp} is outside {earliest} to {latest} (ms since 1970); set the producer's clock right, \
                 or widen message.timestamp.before.max.ms or message.timestamp.after.max.ms"
            )
        } else if append_time_from_client {
            "the producer set the timestamp type to LogAppendTime, which only the broker may do"
                .to_owned()
        } else {
            "a compacted topic takes no record without a key".to_owned()
        };
        self.faults
            .add(self.index, !in_time || append_time_from_client, reason);
    }

    #[cold]
    fn malformed(&self, what: &str) -> Rejection {
        invalid(format!(
            "record {} of the batch is malformed: {what}",
            self.index
        ))
    }
}

impl Faults {
    fn add(&mut self, index: i32, timestamp: bool, reason: String) {
        self.total += 1;
        self.any_timestamp |= timestamp;
        if self.list.len() < Rejection::RECORD_ERRORS_MAX {
            self.list.push((index, Some(reason)));
        }
    }

    /// Kafka's `LogValidator.processRecordErrors`: a wrong timestamp anywhere decides the code.
    fn judge(self) -> Result<(), Rejection> {
        let Some((index, Some(reason))) = self.list.first() else {
            return Ok(());
        };
        let kind = if self.any_timestamp {
            RejectionKind::InvalidTimestamp
        } else {
            RejectionKind::InvalidRecord
        };
        let message = format!(
            "{} of the batch's records are refused; the first, record {index}: {reason}",
            self.total
        );
        Err(Rejection {
            kind,
            message,
            record_errors: self.list,
        })
    }
}

fn invalid(message: String) -> Rejection {
    Rejection::new(RejectionKind::InvalidRecord, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::BatchBuilder;

    /// Feeds `body` in pieces of `size`, bringing again what was not understood.
    fn walk(header: &BatchHeader, body: &[u8], size: usize) -> Result<Walked, Rejection> {
        let mut walk = Walk::new(header, &ValidationLimits::default(), 1000);
        let (mut at, mut end) = (0, 0);
        while end < body.len() {
            end = (end + size).min(body.len());
            at += walk.feed(&body[at..end])?;
        }
        walk.finish(body.len() - at)
    }

    #[test]
    fn pieces_of_any_size_come_to_the_same_judgement() {
        let mut builder = BatchBuilder::new();
        builder.append(
            None,
            Some(&[1; 300]),
            &[(b"a", None), (b"", Some(&[2; 70]))],
            1000,
        );
        builder.append(Some(b"key"), None, &[], i64::MAX / 2);
        builder.append(
            Some(&[3; 9000]),
            Some(b""),
            &[(b"name", Some(b"value"))],
            -5,
        );
        let batch = builder.build(0, -1);
        let header = BatchHeader::parse(&batch).expect("61 bytes");
        let body = &batch[crate::records::BATCH_HEADER_BYTES..];
        for at in 0..body.len() {
            // The records as they are, and damaged at every place that is not inside the long runs.
            if at > 400 && body[at] == 3 {
                continue;
            }
            let mut body = body.to_vec();
            body[at] = body[at].wrapping_add(u8::from(at > 0) * 2);
            let whole = walk(&header, &body, body.len());
            for size in (1..30).chain([255, 256, 4096]) {
                assert_eq!(
                    walk(&header, &body, size),
                    whole,
                    "damaged at {at}, pieces of {size}"
                );
            }
        }
    }
}
