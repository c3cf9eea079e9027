//! Kafka's 128-bit ids, shown as Kafka shows them: 22 characters of url-safe base64. Any core.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic, directory or cluster id: 16 bytes, most significant first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// All zero: "no id".
    pub const ZERO: Self = Self([0; 16]);
    /// Kafka's `METADATA_TOPIC_ID` and `ONE_UUID`: a reserved id.
    pub const ONE: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Whether this is [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for index in 0..22u32 {
            // 21 groups of six bits from the top, then the last two bits followed by four zero bits.
            let six = if index < 21 {
                bits >> (122 - 6 * index)
            } else {
                bits << 4
            };
            fmt::Write::write_char(formatter, char::from(ALPHABET[(six & 63) as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The text is not 22 characters of url-safe base64 (two `=` may follow).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Kafka uuid (22 characters of url-safe base64)")]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let text = text.strip_suffix("==").unwrap_or(text).as_bytes();
        if text.len() != 22 {
            return Err(ParseUuidError);
        }
        let mut bits = 0u128;
        for (index, character) in text.iter().enumerate() {
            let six = ALPHABET
                .iter()
                .position(|known| known == character)
                .ok_or(ParseUuidError)? as u128;
            bits = if index < 21 {
                bits << 6 | six
            } else {
                bits << 2 | six >> 4
            };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_shown_and_read_as_kafka_does() {
        // From Kafka's own output: cluster ids and the reserved id.
        assert_eq!(Uuid::ONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id: Uuid = "vduv3mgtRJmgwN-vcmar6A".parse().unwrap();
        assert_eq!(id.0[..4], [0xbd, 0xdb, 0xaf, 0xde]);
        assert_eq!(id.to_string(), "vduv3mgtRJmgwN-vcmar6A");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ==".parse(), Ok(Uuid::ONE));
        assert_eq!("short".parse::<Uuid>(), Err(ParseUuidError));
        assert_eq!(
            "AAAAAAAAAAAAAAAAAAAA+Q".parse::<Uuid>(),
            Err(ParseUuidError)
        );
    }
}
