//! The records inside a batch, read one by one from contiguous bytes.
//!
//! ```text
//! length varint · attributes i8 · timestamp_delta varlong · offset_delta varint
//! · key length varint (-1 null), key · value length varint (-1 null), value
//! · header count varint · per header: key length varint, key, value length varint (-1 null), value
//! ```

use super::batch::BatchError;
use super::header::{BatchHeader, TimestampType};
use super::varint::{self, VarintError};

/// A record header: name and value. Names are UTF-8 by convention only, so they are bytes here.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// One record, borrowed from its batch or from the decompressor that unpacked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp in ms since 1970, -1 if it has none; the append time where the broker sets timestamps.
    pub timestamp: i64,
    /// Its sequence number, -1 without an idempotent producer and in control batches.
    pub sequence: i32,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, in order, with duplicates.
    pub headers: Vec<Header<'a>>,
}

/// Iterator over the records of a batch. It ends after the announced number, or after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    body: &'a [u8],
    at: usize,
    index: i32,
}

impl<'a> Records<'a> {
    pub(super) fn new(header: &BatchHeader, body: &'a [u8]) -> Self {
        Self {
            header: *header,
            body,
            at: 0,
            index: 0,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| "its length is negative")?;
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.body.len())
            .ok_or("its bytes are cut off")?;
        let mut fields = Fields {
            bytes: &self.body[..end],
            at: self.at,
        };
        let record = fields.record(&self.header)?;
        if fields.at != end {
            return Err("its length does not match its fields");
        }
        self.at = end;
        Ok(record)
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        varint::read_i32(self.body, &mut self.at).map_err(say)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        self.index += 1;
        Some(self.read().map_err(|what| {
            self.index = self.header.record_count;
            BatchError::Record { index, what }
        }))
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn record(&mut self, header: &BatchHeader) -> Result<Record<'a>, &'static str> {
        self.at += 1; // attributes: no bit is in use
        let timestamp_delta = varint::read_i64(self.bytes, &mut self.at).map_err(say)?;
        let offset_delta = self.varint()?;
        let key = self.bytes_or_null()?;
        let value = self.bytes_or_null()?;
        let headers = self.headers()?;
        Ok(Record {
            offset: header.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: match header.timestamp_type() {
                TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
                TimestampType::LogAppendTime => header.max_timestamp,
            },
            sequence: sequence_of(header, offset_delta),
            key,
            value,
            headers,
        })
    }

    fn headers(&mut self) -> Result<Vec<Header<'a>>, &'static str> {
        let count =
            usize::try_from(self.varint()?).map_err(|_| "its number of headers is negative")?;
        // A header takes at least two bytes: nothing is reserved for more than can be there.
        if count > (self.bytes.len() - self.at) / 2 {
            return Err("it announces more headers than it has bytes for");
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.bytes_or_null()?.ok_or("a header has no name")?;
            headers.push((key, self.bytes_or_null()?));
        }
        Ok(headers)
    }

    fn bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let length = match self.varint()? {
            -1 => return Ok(None),
            length => usize::try_from(length).map_err(|_| "a length is below -1")?,
        };
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..length))
            .ok_or("a field runs over its end")?;
        self.at += length;
        Ok(Some(bytes))
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        varint::read_i32(self.bytes, &mut self.at).map_err(say)
    }
}

/// Kafka's `DefaultRecordBatch`: sequence numbers follow the offset deltas and wrap from 2^31-1 to 0.
fn sequence_of(header: &BatchHeader, offset_delta: i32) -> i32 {
    if header.base_sequence < 0 {
        return -1;
    }
    (i64::from(header.base_sequence) + i64::from(offset_delta)).wrapping_rem(1 << 31) as i32
}

fn say(error: VarintError) -> &'static str {
    match error {
        VarintError::Short => "it ends inside a number",
        VarintError::Long => "a number in it has too many bytes",
    }
}
