//! Why bytes are not a message, and why a message cannot become bytes. Plain values, any core.

/// The received bytes are not a message of the stated version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the message does, or an announced count or length cannot fit into what remains.
    #[error("message is truncated, or announces more than it carries")]
    Truncated,
    /// A length or array count below the null marker.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A string longer than Kafka allows (32,767 bytes).
    #[error("string of {0} bytes is too long")]
    StringTooLong(usize),
    /// An array (or all arrays of structures in one message) beyond [`super::ARRAY_ELEMENTS_MAX`].
    #[error("too many array elements ({0})")]
    TooManyElements(usize),
    /// More tagged fields in one structure than [`super::TAGGED_FIELDS_MAX`].
    #[error("too many tagged fields ({0})")]
    TooManyTaggedFields(usize),
    /// A known tagged field does not fill the length that was announced for it.
    #[error("tagged field {0} is longer than its content")]
    TaggedFieldLength(u32),
    /// A string is not UTF-8.
    #[error("string is not valid UTF-8")]
    InvalidUtf8,
    /// Null in a field that cannot be null in this version.
    #[error("null in a field that is not nullable")]
    UnexpectedNull,
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// No message has this API key (or record type).
    #[error("unknown api key {0}")]
    UnknownApiKey(i16),
    /// The frame version of a metadata record is not one we know.
    #[error("unknown record frame version {0}")]
    UnknownFrameVersion(u32),
    /// A varint with more bytes or bits than its type has.
    #[error("varint is too long")]
    VarintTooLong,
}

/// The message cannot be written in the stated version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that this version lacks and that may not be dropped has a value other than its default.
    #[error("{field} is set but does not exist in version {version}")]
    FieldNotInVersion {
        /// `Structure.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Null in a field that cannot be null in this version.
    #[error("null in a field that is not nullable")]
    UnexpectedNull,
    /// A string, byte field or array is longer than its length field can say.
    #[error("length {0} does not fit its length field")]
    TooLong(usize),
}

impl EncodeError {
    /// Refuses when `is_set`: `field` does not exist in `version` and must not be lost silently.
    pub(crate) fn refuse_if(is_set: bool, field: &'static str, version: i16) -> Result<(), Self> {
        if is_set {
            Err(Self::FieldNotInVersion { field, version })
        } else {
            Ok(())
        }
    }
}
