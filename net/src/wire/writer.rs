//! Writes Kafka's primitive types into one growing buffer, with record bytes beside it.
//!
//! Invariant: `len()` is always the number of bytes that `take_chain()` will return, in wire order. The
//! buffer is reused once the slices taken from it are dropped. Any core, no I/O.

use bytes::{BufMut, Bytes, BytesMut};

use super::{EncodeError, Primitive, RawTaggedField, Records, Uuid};

/// Record slices up to this size are copied into the buffer: a separate slice would cost the socket more.
const COPIED_SLICE_BYTES_MAX: usize = 256;

type Encoded = Result<(), EncodeError>;

/// A frame (or several) being written.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Slices that belong between the buffer's bytes: (buffer position before which it goes, slice).
    slices: Vec<(usize, Bytes)>,
    slices_bytes: usize,
}

/// Where a frame's length field stands; see [`Writer::begin_frame`].
#[derive(Debug)]
#[must_use]
pub struct FrameMark {
    position: usize,
    length_before: usize,
}

/// Where a tagged field's length stands; see [`Writer::begin_tagged`].
#[derive(Debug)]
#[must_use]
pub struct TaggedMark {
    position: usize,
    slices: usize,
}

macro_rules! fixed {
    ($($name:ident($type:ty), $what:literal;)*) => {$(
        #[doc = concat!("Writes ", $what, ", big-endian.")]
        pub fn $name(&mut self, value: $type) {
            self.buffer.$name(value);
        }
    )*};
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes written since the last take, record slices included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.slices_bytes
    }

    /// Whether nothing was written since the last take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was written, keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.slices.clear();
        self.slices_bytes = 0;
    }

    /// Takes everything written, in wire order and without copying; the writer is empty afterwards.
    pub fn take_chain(&mut self) -> Vec<Bytes> {
        let buffer = self.buffer.split().freeze();
        let mut chain = Vec::with_capacity(2 * self.slices.len() + 1);
        let mut position = 0;
        for (at, slice) in self.slices.drain(..) {
            if at > position {
                chain.push(buffer.slice(position..at));
                position = at;
            }
            chain.push(slice);
        }
        if position < buffer.len() {
            chain.push(buffer.slice(position..));
        }
        self.slices_bytes = 0;
        chain
    }

    /// As [`Writer::take_chain`], for a writer that is not needed any more.
    #[must_use]
    pub fn into_chain(mut self) -> Vec<Bytes> {
        self.take_chain()
    }

    /// Copies everything written into one vector.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        let mut position = 0;
        for (at, slice) in &self.slices {
            all.extend_from_slice(&self.buffer[position..*at]);
            all.extend_from_slice(slice);
            position = *at;
        }
        all.extend_from_slice(&self.buffer[position..]);
        all
    }

    /// Writes room for a frame's 4-byte length.
    pub fn begin_frame(&mut self) -> FrameMark {
        let position = self.buffer.len();
        self.put_i32(0);
        FrameMark {
            position,
            length_before: self.len(),
        }
    }

    /// Fills in the length of all that was written since `mark`.
    pub fn end_frame(&mut self, mark: FrameMark) -> Encoded {
        let length = self.len() - mark.length_before;
        let length = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        self.buffer[mark.position..mark.position + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fixed! {
        put_i8(i8), "an 8-bit signed integer";
        put_u8(u8), "an 8-bit unsigned integer";
        put_i16(i16), "a 16-bit signed integer";
        put_u16(u16), "a 16-bit unsigned integer";
        put_i32(i32), "a 32-bit signed integer";
        put_u32(u32), "a 32-bit unsigned integer";
        put_i64(i64), "a 64-bit signed integer";
        put_f64(f64), "a 64-bit floating-point number";
    }

    /// Writes one byte, 0 or 1.
    pub fn put_bool(&mut self, value: bool) {
        self.put_u8(value.into());
    }

    /// Writes 16 bytes.
    pub fn put_uuid(&mut self, value: Uuid) {
        self.put_slice(&value.0);
    }

    /// Writes bytes as they are, without a length.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes an unsigned varint.
    pub fn put_unsigned_varint(&mut self, value: u32) {
        self.put_unsigned_varlong(value.into());
    }

    /// Writes a zigzag varint (record fields).
    pub fn put_varint(&mut self, value: i32) {
        self.put_unsigned_varint((value << 1 ^ value >> 31) as u32);
    }

    /// Writes a zigzag varint of 64 bits (record fields).
    pub fn put_varlong(&mut self, value: i64) {
        self.put_unsigned_varlong((value << 1 ^ value >> 63) as u64);
    }

    fn put_unsigned_varlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    /// A compact length: zero is null, else length plus one.
    fn put_compact_length(&mut self, length: Option<usize>) -> Encoded {
        let length = length.map_or(0, |length| length as u64 + 1);
        // Kafka reads lengths into a signed 32-bit integer.
        if length > i32::MAX as u64 {
            return Err(EncodeError::TooLong(length as usize - 1));
        }
        self.put_unsigned_varint(length as u32);
        Ok(())
    }

    fn put_long_length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        if length.is_none() && !nullable {
            return Err(EncodeError::UnexpectedNull);
        }
        if flexible {
            return self.put_compact_length(length);
        }
        let length = length.map_or(Ok(-1), |length| {
            i32::try_from(length).map_err(|_| EncodeError::TooLong(length))
        })?;
        self.put_i32(length);
        Ok(())
    }

    /// Writes a string (compact if `flexible`); null is an error unless `nullable`.
    pub fn put_nullable_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        if value.is_none() && !nullable {
            return Err(EncodeError::UnexpectedNull);
        }
        let length = value.map_or(Ok(-1), |text| {
            i16::try_from(text.len()).map_err(|_| EncodeError::TooLong(text.len()))
        })?;
        if flexible {
            self.put_compact_length(value.map(str::len))?;
        } else {
            self.put_i16(length);
        }
        self.put_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Writes a string (compact if `flexible`).
    pub fn put_string(&mut self, value: &str, flexible: bool) -> Encoded {
        self.put_nullable_string(Some(value), flexible, false)
    }

    /// Writes bytes (compact if `flexible`); null is an error unless `nullable`.
    pub fn put_nullable_bytes(
        &mut self,
        value: Option<&[u8]>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        self.put_long_length(value.map(<[u8]>::len), flexible, nullable)?;
        self.put_slice(value.unwrap_or_default());
        Ok(())
    }

    /// Writes bytes (compact if `flexible`).
    pub fn put_bytes(&mut self, value: &[u8], flexible: bool) -> Encoded {
        self.put_nullable_bytes(Some(value), flexible, false)
    }

    /// Writes record batches: shared slices stay slices of the chain. Null is an error unless `nullable`.
    pub fn put_records(
        &mut self,
        value: Option<&Records<'_>>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        self.put_long_length(value.map(Records::len), flexible, nullable)?;
        match value {
            None => {}
            Some(Records::Borrowed(slice)) => self.put_slice(slice),
            Some(Records::Chain(chain)) => chain.iter().for_each(|slice| self.put_shared(slice)),
        }
        Ok(())
    }

    /// Appends a shared slice without copying it (small ones are copied).
    pub fn put_shared(&mut self, slice: &Bytes) {
        if slice.len() <= COPIED_SLICE_BYTES_MAX {
            self.put_slice(slice);
        } else {
            self.slices_bytes += slice.len();
            self.slices.push((self.buffer.len(), slice.clone()));
        }
    }

    /// Writes an array of fixed-size values; null is an error unless `nullable`.
    pub fn put_nullable_primitives<T: Primitive>(
        &mut self,
        values: Option<&[T]>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        self.put_long_length(values.map(<[T]>::len), flexible, nullable)?;
        for value in values.unwrap_or_default() {
            value.put(self);
        }
        Ok(())
    }

    /// Writes an array of fixed-size values.
    pub fn put_primitives<T: Primitive>(&mut self, values: &[T], flexible: bool) -> Encoded {
        self.put_nullable_primitives(Some(values), flexible, false)
    }

    /// Writes an array of strings; null is an error unless `nullable`.
    pub fn put_nullable_strings(
        &mut self,
        values: Option<&[&str]>,
        flexible: bool,
        nullable: bool,
    ) -> Encoded {
        self.put_long_length(values.map(<[&str]>::len), flexible, nullable)?;
        for value in values.unwrap_or_default() {
            self.put_string(value, flexible)?;
        }
        Ok(())
    }

    /// Writes an array of strings.
    pub fn put_strings(&mut self, values: &[&str], flexible: bool) -> Encoded {
        self.put_nullable_strings(Some(values), flexible, false)
    }

    /// Writes an array of structures; null is an error unless `nullable`.
    pub fn put_nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        nullable: bool,
        version: i16,
        encode: fn(&T, &mut Self, i16) -> Encoded,
    ) -> Encoded {
        self.put_long_length(elements.map(<[T]>::len), flexible, nullable)?;
        for element in elements.unwrap_or_default() {
            encode(element, self, version)?;
        }
        Ok(())
    }

    /// Writes an array of structures.
    pub fn put_array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        version: i16,
        encode: fn(&T, &mut Self, i16) -> Encoded,
    ) -> Encoded {
        self.put_nullable_array(Some(elements), flexible, false, version, encode)
    }

    /// Writes the marker byte before a nullable structure (−1: null), then the structure.
    pub fn put_nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        nullable: bool,
        version: i16,
        encode: fn(&T, &mut Self, i16) -> Encoded,
    ) -> Encoded {
        if nullable {
            self.put_i8(if value.is_some() { 1 } else { -1 });
        } else if value.is_none() {
            return Err(EncodeError::UnexpectedNull);
        }
        value.map_or(Ok(()), |value| encode(value, self, version))
    }

    /// Writes the marker varint before a nullable structure in a tagged field (0: null), then the structure.
    pub fn put_tagged_nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        version: i16,
        encode: fn(&T, &mut Self, i16) -> Encoded,
    ) -> Encoded {
        self.put_unsigned_varint(value.is_some().into());
        value.map_or(Ok(()), |value| encode(value, self, version))
    }

    /// Writes a known tagged field's tag and room for its length.
    pub fn begin_tagged(&mut self, tag: u32) -> TaggedMark {
        self.put_unsigned_varint(tag);
        self.put_u8(0);
        TaggedMark {
            position: self.buffer.len(),
            slices: self.slices.len(),
        }
    }

    /// Fills in the length of the tagged field that began at `mark`.
    pub fn end_tagged(&mut self, mark: TaggedMark) -> Encoded {
        assert_eq!(
            mark.slices,
            self.slices.len(),
            "no schema has records inside a tagged field"
        );
        let length = self.buffer.len() - mark.position;
        let value = u32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        let mut varint = Self::new();
        varint.put_unsigned_varint(value);
        let extra = varint.len() - 1;
        if extra > 0 {
            self.buffer.put_bytes(0, extra);
            self.buffer
                .copy_within(mark.position..mark.position + length, mark.position + extra);
        }
        self.buffer[mark.position - 1..mark.position + extra].copy_from_slice(&varint.buffer);
        Ok(())
    }

    /// Writes how many tagged fields follow: `known` and all of `unknown`.
    pub fn put_tagged_count(&mut self, known: usize, unknown: &[RawTaggedField<'_>]) {
        self.put_unsigned_varint((known + unknown.len()) as u32);
    }

    /// Writes the unknown tagged fields at the head of `fields` whose tag is below `tag`; returns the rest.
    pub fn put_tagged_below<'f, 'a>(
        &mut self,
        fields: &'f [RawTaggedField<'a>],
        tag: u32,
    ) -> Result<&'f [RawTaggedField<'a>], EncodeError> {
        let count = fields.iter().take_while(|field| field.tag < tag).count();
        let (below, rest) = fields.split_at(count);
        self.put_raw_tagged(below)?;
        Ok(rest)
    }

    /// Writes unknown tagged fields as they came, without a count.
    pub fn put_raw_tagged(&mut self, fields: &[RawTaggedField<'_>]) -> Encoded {
        for field in fields {
            self.put_unsigned_varint(field.tag);
            let length = u32::try_from(field.data.len())
                .map_err(|_| EncodeError::TooLong(field.data.len()))?;
            self.put_unsigned_varint(length);
            self.put_slice(field.data);
        }
        Ok(())
    }

    /// Writes the tagged fields of a structure that knows none.
    pub fn put_unknown_tagged_fields(&mut self, fields: &[RawTaggedField<'_>]) -> Encoded {
        self.put_tagged_count(0, fields);
        self.put_raw_tagged(fields)
    }
}
