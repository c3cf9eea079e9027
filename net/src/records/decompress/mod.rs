//! Unpacking the records of a batch: four codecs, one shape.
//!
//! Each decoder appends at most about 64 KiB to an [`Output`] per step and does a bounded amount of work for it, so a
//! caller can yield in between. Memory grows with what has really come out and never with what the stream
//! announces; a stream that announces or yields more than it may is refused at that point (N8).

mod gzip;
mod lz4;
mod output;
mod snappy;
mod zstd;

use super::header::Compression;
use super::validate::STEP_BYTES;
use output::Output;

/// Why a compressed stream cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The stream does not follow its format.
    #[error("the {codec} stream is damaged: {what}")]
    Corrupt {
        /// The codec's name.
        codec: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The stream ends before its end mark.
    #[error("the {codec} stream is cut off")]
    Truncated {
        /// The codec's name.
        codec: &'static str,
    },
    /// More comes out than is allowed.
    #[error("the records unpack to more than {limit} bytes; send smaller batches")]
    TooLarge {
        /// Bytes that are allowed for this batch.
        limit: usize,
    },
    /// Bytes follow the end of the stream.
    #[error("{bytes} bytes are left over behind the {codec} stream")]
    Leftover {
        /// The codec's name.
        codec: &'static str,
        /// How many.
        bytes: usize,
    },
}

/// Why a decoder stopped; the codec's name and the limit are added where they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Corrupt(&'static str),
    Truncated,
    /// More is announced than there is room for.
    TooLarge,
}

/// What a decoder's step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Call again, also if nothing came out this time.
    More,
    /// The stream is complete.
    End,
}

#[derive(Debug)]
enum Decoder<'a> {
    Gzip(gzip::Gzip<'a>),
    Snappy(snappy::Snappy<'a>),
    Lz4(lz4::Lz4<'a>),
    Zstd(zstd::Zstd<'a>),
}

impl<'a> Decoder<'a> {
    fn new(codec: Compression, packed: &'a [u8]) -> Result<Self, Fault> {
        match codec {
            Compression::None => Err(Fault::Corrupt("uncompressed records need no decoder")),
            Compression::Gzip => Ok(Self::Gzip(gzip::Gzip::new(packed))),
            Compression::Snappy => Ok(Self::Snappy(snappy::Snappy::new(packed))),
            Compression::Lz4 => Ok(Self::Lz4(lz4::Lz4::new(packed))),
            Compression::Zstd => Ok(Self::Zstd(zstd::Zstd::new(packed)?)),
        }
    }

    /// Appends at most about [`STEP_BYTES`], and never more than `room`, to `out`.
    fn step(&mut self, out: &mut Output, room: usize) -> Result<Progress, Fault> {
        match self {
            Self::Gzip(decoder) => decoder.step(out, room),
            Self::Snappy(decoder) => decoder.step(out, room),
            Self::Lz4(decoder) => decoder.step(out, room),
            Self::Zstd(decoder) => decoder.step(out, room),
        }
    }

    /// Bytes at the end of the output that the decoder will still read.
    fn history(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Zstd(_) => 0,
            Self::Snappy(decoder) => decoder.history(),
            Self::Lz4(decoder) => decoder.history(),
        }
    }

    /// Bytes of the input behind the stream's end.
    fn leftover(&self) -> usize {
        match self {
            Self::Gzip(decoder) => decoder.leftover(),
            Self::Snappy(_) | Self::Zstd(_) => 0,
            Self::Lz4(decoder) => decoder.leftover(),
        }
    }
}

/// One stream on its way out, consumed as it comes.
#[derive(Debug)]
pub(super) struct Unpack<'a> {
    codec: Compression,
    decoder: Decoder<'a>,
    out: Output,
    taken: usize,
    produced: usize,
    limit: usize,
}

impl<'a> Unpack<'a> {
    pub(super) fn new(
        codec: Compression,
        packed: &'a [u8],
        limit: usize,
    ) -> Result<Self, DecompressError> {
        Self::over(Output::default(), codec, packed, limit)
    }

    fn over(
        out: Output,
        codec: Compression,
        packed: &'a [u8],
        limit: usize,
    ) -> Result<Self, DecompressError> {
        let decoder = Decoder::new(codec, packed).map_err(|fault| name(fault, codec, limit))?;
        Ok(Self {
            codec,
            decoder,
            out,
            taken: 0,
            produced: 0,
            limit,
        })
    }

    /// One step; `true` at the end of the stream. Takes what it did from `budget`, at least 1.
    pub(super) fn step(&mut self, budget: &mut usize) -> Result<bool, DecompressError> {
        self.forget();
        let before = self.out.len();
        let room = self.limit - self.produced;
        let progress = self
            .decoder
            .step(&mut self.out, room)
            .map_err(|fault| name(fault, self.codec, self.limit))?;
        let came = self.out.len() - before;
        self.produced += came;
        // A step costs something also where little comes out: end marks, empty blocks, checksums.
        *budget = budget.saturating_sub(came.max(STEP_BYTES / 16));
        if progress == Progress::More {
            return Ok(false);
        }
        match self.decoder.leftover() {
            0 => Ok(true),
            bytes => Err(DecompressError::Leftover {
                codec: self.codec.name(),
                bytes,
            }),
        }
    }

    /// What came out and was not taken yet.
    pub(super) fn pending(&self) -> &[u8] {
        &self.out.bytes()[self.taken..]
    }

    /// The first `bytes` of what is pending are done with.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Lets go of what was taken and is not history, once it is worth moving the rest.
    fn forget(&mut self) {
        let droppable = self
            .taken
            .min(self.out.len().saturating_sub(self.decoder.history()));
        if droppable >= 2 * STEP_BYTES || droppable == self.out.len() {
            self.out.discard(droppable);
            self.taken -= droppable;
        }
    }
}

fn name(fault: Fault, codec: Compression, limit: usize) -> DecompressError {
    let codec = codec.name();
    match fault {
        Fault::Corrupt(what) => DecompressError::Corrupt { codec, what },
        Fault::Truncated => DecompressError::Truncated { codec },
        Fault::TooLarge => DecompressError::TooLarge { limit },
    }
}

/// Unpacks whole batches for readers, into one buffer that is used again and again.
#[derive(Debug)]
pub struct Decompressor {
    out: Output,
    limit: usize,
}

impl Default for Decompressor {
    /// With a limit of 64 MiB for a batch.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Decompressor {
    /// `limit` bytes are the most that one batch may unpack to.
    pub fn new(limit: usize) -> Self {
        Self {
            out: Output::default(),
            limit,
        }
    }

    pub(super) fn unpack(
        &mut self,
        codec: Compression,
        packed: &[u8],
    ) -> Result<&[u8], DecompressError> {
        let mut out = std::mem::take(&mut self.out);
        out.discard(out.len());
        let mut unpack = Unpack::over(out, codec, packed, self.limit)?;
        let mut budget = usize::MAX;
        while !unpack.step(&mut budget)? {}
        self.out = unpack.out;
        Ok(self.out.bytes())
    }
}
