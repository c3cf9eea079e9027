//! Reads Kafka's primitive types from a slice without copying.
//!
//! Invariant: every count and length is checked against the bytes that remain before anything is reserved,
//! and a vector grows only as its elements are really decoded, so a hostile frame cannot make the decoder
//! allocate more than a constant factor of the frame's own size. Any core, no I/O.

use super::{DecodeError, Primitive, RawTaggedField, Records, Uuid};

/// Most elements in one array, and most structures and strings in all arrays of one message together.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// Most tagged fields in one structure.
pub const TAGGED_FIELDS_MAX: usize = 10_000;
/// Longest string (Kafka's limit in both encodings).
const STRING_BYTES_MAX: usize = i16::MAX as usize;

type Decoded<T> = Result<T, DecodeError>;

/// A cursor over one received frame (or one record).
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    elements_left: usize,
}

macro_rules! fixed {
    ($($name:ident -> $type:ty, $what:literal;)*) => {$(
        #[doc = concat!("Reads ", $what, ", big-endian.")]
        pub fn $name(&mut self) -> Decoded<$type> {
            Ok(<$type>::from_be_bytes(self.take_array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            elements_left: ARRAY_ELEMENTS_MAX,
        }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes the next `length` bytes.
    pub fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (head, tail) = self
            .bytes
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    fn take_array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, tail) = self
            .bytes
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    fixed! {
        get_i8 -> i8, "an 8-bit signed integer";
        get_u8 -> u8, "an 8-bit unsigned integer";
        get_i16 -> i16, "a 16-bit signed integer";
        get_u16 -> u16, "a 16-bit unsigned integer";
        get_i32 -> i32, "a 32-bit signed integer";
        get_u32 -> u32, "a 32-bit unsigned integer";
        get_i64 -> i64, "a 64-bit signed integer";
        get_f64 -> f64, "a 64-bit floating-point number";
    }

    /// Reads a byte; anything but zero is true.
    pub fn get_bool(&mut self) -> Decoded<bool> {
        Ok(self.get_u8()? != 0)
    }

    /// Reads 16 bytes.
    pub fn get_uuid(&mut self) -> Decoded<Uuid> {
        Ok(Uuid(self.take_array()?))
    }

    /// Reads an unsigned varint of at most 32 bits.
    pub fn get_unsigned_varint(&mut self) -> Decoded<u32> {
        let value = self.get_unsigned_varlong_of(5)?;
        u32::try_from(value).map_err(|_| DecodeError::VarintTooLong)
    }

    /// Reads a zigzag varint of at most 32 bits (record fields).
    pub fn get_varint(&mut self) -> Decoded<i32> {
        let value = self.get_unsigned_varint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// Reads a zigzag varint of at most 64 bits (record fields).
    pub fn get_varlong(&mut self) -> Decoded<i64> {
        let value = self.get_unsigned_varlong_of(10)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn get_unsigned_varlong_of(&mut self, bytes_max: u32) -> Decoded<u64> {
        let mut value = 0u64;
        for index in 0..bytes_max {
            let byte = self.get_u8()?;
            // The tenth byte has room for one bit only.
            if index == 9 && byte > 1 {
                return Err(DecodeError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A signed length: −1 is null, less is an error.
    fn checked_length(length: i32) -> Decoded<Option<usize>> {
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(DecodeError::NegativeLength(length)),
        }
    }

    /// A compact length: zero is null, else length plus one.
    fn compact_length(&mut self) -> Decoded<Option<usize>> {
        Ok((self.get_unsigned_varint()? as usize).checked_sub(1))
    }

    fn string_length(&mut self, flexible: bool) -> Decoded<Option<usize>> {
        if flexible {
            self.compact_length()
        } else {
            Self::checked_length(self.get_i16()?.into())
        }
    }

    /// The length of bytes, records and arrays.
    fn long_length(&mut self, flexible: bool) -> Decoded<Option<usize>> {
        if flexible {
            self.compact_length()
        } else {
            Self::checked_length(self.get_i32()?)
        }
    }

    /// Reads a string (compact if `flexible`); null is an error unless `nullable`.
    pub fn get_nullable_string(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Decoded<Option<&'a str>> {
        match self.string_length(flexible)? {
            None => or_null(nullable),
            Some(length) if length > STRING_BYTES_MAX => Err(DecodeError::StringTooLong(length)),
            Some(length) => {
                let text = std::str::from_utf8(self.take(length)?);
                text.map(Some).map_err(|_| DecodeError::InvalidUtf8)
            }
        }
    }

    /// Reads a string that cannot be null (compact if `flexible`).
    pub fn get_string(&mut self, flexible: bool) -> Decoded<&'a str> {
        self.get_nullable_string(flexible, false)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads bytes (compact if `flexible`); null is an error unless `nullable`.
    pub fn get_nullable_bytes(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Decoded<Option<&'a [u8]>> {
        match self.long_length(flexible)? {
            None => or_null(nullable),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// Reads bytes that cannot be null (compact if `flexible`).
    pub fn get_bytes(&mut self, flexible: bool) -> Decoded<&'a [u8]> {
        self.get_nullable_bytes(flexible, false)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads record batches as one slice; null is an error unless `nullable`.
    pub fn get_records(&mut self, flexible: bool, nullable: bool) -> Decoded<Option<Records<'a>>> {
        Ok(self
            .get_nullable_bytes(flexible, nullable)?
            .map(Records::Borrowed))
    }

    /// Reads an array count and checks it against the limits and the remaining bytes.
    fn array_count(
        &mut self,
        flexible: bool,
        nullable: bool,
        bytes_min: usize,
    ) -> Decoded<Option<usize>> {
        let Some(count) = self.long_length(flexible)? else {
            return or_null(nullable);
        };
        if count > ARRAY_ELEMENTS_MAX {
            return Err(DecodeError::TooManyElements(count));
        }
        if count * bytes_min > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        Ok(Some(count))
    }

    /// Reads an array of fixed-size values; null is an error unless `nullable`.
    pub fn get_nullable_primitives<T: Primitive>(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Decoded<Option<Vec<T>>> {
        let Some(count) = self.array_count(flexible, nullable, T::SIZE)? else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(T::get(self)?);
        }
        Ok(Some(values))
    }

    /// Reads an array of fixed-size values that cannot be null.
    pub fn get_primitives<T: Primitive>(&mut self, flexible: bool) -> Decoded<Vec<T>> {
        self.get_nullable_primitives(flexible, false)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads an array of strings; null is an error unless `nullable`.
    pub fn get_nullable_strings(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Decoded<Option<Vec<&'a str>>> {
        let bytes_min = if flexible { 1 } else { 2 };
        let decode = if flexible {
            |r: &mut Self, _| r.get_string(true)
        } else {
            |r: &mut Self, _| r.get_string(false)
        };
        self.get_nullable_array(flexible, nullable, bytes_min, 0, decode)
    }

    /// Reads an array of strings that cannot be null.
    pub fn get_strings(&mut self, flexible: bool) -> Decoded<Vec<&'a str>> {
        self.get_nullable_strings(flexible, false)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads an array of structures of at least `bytes_min` bytes each; null is an error unless `nullable`.
    pub fn get_nullable_array<T>(
        &mut self,
        flexible: bool,
        nullable: bool,
        bytes_min: usize,
        version: i16,
        decode: fn(&mut Self, i16) -> Decoded<T>,
    ) -> Decoded<Option<Vec<T>>> {
        let Some(count) = self.array_count(flexible, nullable, bytes_min)? else {
            return Ok(None);
        };
        self.elements_left = self
            .elements_left
            .checked_sub(count)
            .ok_or(DecodeError::TooManyElements(count))?;
        // A structure is larger in memory than on the wire: reserve what the bytes could pay for, then grow.
        let mut elements =
            Vec::with_capacity(count.min(self.remaining() / size_of::<T>().max(1) + 1));
        for _ in 0..count {
            if elements.len() == elements.capacity() {
                // Doubling, but never past the announced count.
                elements.reserve_exact(elements.len().min(count - elements.len()));
            }
            elements.push(decode(self, version)?);
        }
        Ok(Some(elements))
    }

    /// Reads an array of structures that cannot be null.
    pub fn get_array<T>(
        &mut self,
        flexible: bool,
        bytes_min: usize,
        version: i16,
        decode: fn(&mut Self, i16) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        self.get_nullable_array(flexible, false, bytes_min, version, decode)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Reads the marker byte before a nullable structure (−1: null), then the structure.
    pub fn get_nullable_struct<T>(
        &mut self,
        nullable: bool,
        version: i16,
        decode: fn(&mut Self, i16) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if nullable && self.get_i8()? < 0 {
            Ok(None)
        } else {
            decode(self, version).map(Some)
        }
    }

    /// Reads the marker varint before a nullable structure in a tagged field (0: null), then the structure.
    pub fn get_tagged_nullable_struct<T>(
        &mut self,
        version: i16,
        decode: fn(&mut Self, i16) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if self.get_unsigned_varint()? == 0 {
            Ok(None)
        } else {
            decode(self, version).map(Some)
        }
    }

    /// Reads the tagged fields at the end of a structure. `known` decodes a field and says whether it knew
    /// the tag; the others are returned as they are.
    pub fn get_tagged_fields(
        &mut self,
        known: &mut dyn FnMut(u32, &mut Self) -> Decoded<bool>,
    ) -> Decoded<Vec<RawTaggedField<'a>>> {
        let count = self.get_unsigned_varint()? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(DecodeError::TooManyTaggedFields(count));
        }
        if count * 2 > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let mut unknown = Vec::new();
        for _ in 0..count {
            let tag = self.get_unsigned_varint()?;
            let length = self.get_unsigned_varint()? as usize;
            let data = self.take(length)?;
            let after = std::mem::replace(&mut self.bytes, data);
            let is_known = known(tag, self);
            let left = std::mem::replace(&mut self.bytes, after).len();
            match is_known? {
                false => unknown.push(RawTaggedField { tag, data }),
                true if left > 0 => return Err(DecodeError::TaggedFieldLength(tag)),
                true => {}
            }
        }
        Ok(unknown)
    }

    /// Reads the tagged fields of a structure that knows none.
    pub fn get_unknown_tagged_fields(&mut self) -> Decoded<Vec<RawTaggedField<'a>>> {
        self.get_tagged_fields(&mut |_, _| Ok(false))
    }
}

fn or_null<T>(nullable: bool) -> Decoded<Option<T>> {
    if nullable {
        Ok(None)
    } else {
        Err(DecodeError::UnexpectedNull)
    }
}
