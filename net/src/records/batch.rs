//! A view over the bytes of one whole batch, and the walk from batch to batch.
//!
//! A [`Batch`] borrows exactly one batch whose length, size and magic fit; it says nothing about the CRC or
//! the records inside until asked.

use super::decompress::{DecompressError, Decompressor};
use super::header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, LOG_OVERHEAD_BYTES, UnknownCompression,
};
use super::record::Records;
use super::{Compression, MAGIC_V2};

/// What keeps bytes from being a batch, or a batch from being read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does: a torn tail, or a fetch that was cut at a byte limit.
    #[error("{available} bytes are left of a batch of {needed}")]
    Truncated {
        /// Bytes of the whole batch; the header's size where not even that is there.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length field is below what the header alone takes.
    #[error("batch length {0} is below the header's 49 bytes")]
    Length(i32),
    /// Not magic 2.
    #[error("batch magic {0}, only 2 is supported")]
    Magic(i8),
    /// The codec is not one of Kafka's.
    #[error(transparent)]
    Compression(#[from] UnknownCompression),
    /// The compressed records cannot be unpacked.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record does not have the form that its lengths announce.
    #[error("record {index}: {what}")]
    Record {
        /// Position of the record in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// One whole batch, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let truncated = |needed| BatchError::Truncated {
            needed,
            available: bytes.len(),
        };
        // The length is judged as soon as it is there, so that a bad one is not taken for a torn tail.
        if let Some(length) = bytes.get(8..12) {
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            if length < (BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
                return Err(BatchError::Length(length));
            }
        }
        let header = BatchHeader::parse(bytes).ok_or_else(|| truncated(BATCH_HEADER_BYTES))?;
        if header.magic != MAGIC_V2 {
            return Err(BatchError::Magic(header.magic));
        }
        let size = header.size_in_bytes();
        let bytes = bytes.get(..size).ok_or_else(|| truncated(size))?;
        Ok(Self { header, bytes })
    }

    /// The decoded header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they lie in the batch: compressed where the header says so.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// Whether the stored CRC-32C is that of the bytes behind the prefix.
    pub fn crc_is_valid(&self) -> bool {
        crc32c::crc32c(&self.bytes[BATCH_PREFIX_BYTES..]) == self.header.crc
    }

    /// The records, in order. Compressed ones are unpacked into the decompressor first, within its limit.
    pub fn records<'s>(&self, decompressor: &'s mut Decompressor) -> Result<Records<'s>, BatchError>
    where
        'a: 's,
    {
        let body = match self.header.compression()? {
            Compression::None => self.body(),
            codec => decompressor.unpack(codec, self.body())?,
        };
        Ok(Records::new(&self.header, body))
    }
}

/// Walks from batch to batch through `bytes`. The iterator ends after the last whole batch, or after the first error;
/// a torn tail is [`BatchError::Truncated`].
pub fn split_batches(bytes: &[u8]) -> SplitBatches<'_> {
    SplitBatches { rest: bytes }
}

/// Iterator of [`split_batches`].
#[derive(Clone, Debug)]
pub struct SplitBatches<'a> {
    rest: &'a [u8],
}

impl<'a> SplitBatches<'a> {
    /// The bytes not yet walked over. After an error it is empty.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for SplitBatches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => &self.rest[batch.bytes.len()..],
            Err(_) => &[],
        };
        Some(batch)
    }
}
