//! Why a batch was not accepted, in the terms of Kafka's Produce answer.

use std::fmt;

/// The error of a Produce answer. The numbers are Kafka's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum RejectionKind {
    /// The bytes were damaged on the way: CRC, lengths, compressed stream.
    CorruptMessage = 2,
    /// Larger than `max.message.bytes`, or would unpack to more than the broker is ready to walk through.
    MessageTooLarge = 10,
    /// Larger than a segment.
    RecordListTooLarge = 18,
    /// A record's timestamp is outside what the topic allows.
    InvalidTimestamp = 32,
    /// The codec is unknown, or too new for the request's version.
    UnsupportedCompressionType = 76,
    /// The batch was made wrongly.
    InvalidRecord = 87,
}

impl RejectionKind {
    /// Kafka's error code.
    pub fn code(self) -> i16 {
        self as i16
    }
}

/// A refused batch: code, words for a person, and the records at fault where single ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which error.
    pub kind: RejectionKind,
    /// What is wrong and what to do about it; the answer's `error_message` from Produce v8 on.
    pub message: String,
    /// Position in the batch and reason, for the answer's `record_errors` from Produce v8 on. At most
    /// [`Self::RECORD_ERRORS_MAX`] of them; `message` says how many there were.
    pub record_errors: Vec<(i32, Option<String>)>,
}

impl Rejection {
    /// Bound of [`Self::record_errors`]: a batch of a million key-less records must not make an answer of 100 MB.
    pub const RECORD_ERRORS_MAX: usize = 100;

    pub(super) fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            record_errors: Vec::new(),
        }
    }

    /// Kafka's error code.
    pub fn error_code(&self) -> i16 {
        self.kind.code()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:?}, error code {})",
            self.message,
            self.kind,
            self.kind.code()
        )
    }
}

impl std::error::Error for Rejection {}
