//! Snappy, in both forms that Kafka clients write.
//!
//! ```text
//! xerial (Java):    82 'SNAPPY' 00 · version i32 · compatible i32 · ( length i32 · block )*
//! raw (librdkafka): one block
//! block:            unpacked length varint · ( tag · literal bytes or a copy from what came out before )*
//! ```
//!
//! A block may refer to anything that came out of it before, so its output is kept until it ends; the length that it
//! announces is compared with the room before anything is done, and nothing is reserved for it.

use super::output::Output;
use super::{Fault, Progress, STEP_BYTES};

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between blocks of the xerial form.
    Frame,
    /// At a block's announced length.
    BlockStart,
    Tag,
    Literal(usize),
}

#[derive(Debug)]
pub(super) struct Snappy<'a> {
    packed: &'a [u8],
    at: usize,
    framed: bool,
    stage: Stage,
    /// End of the current block in `packed`.
    block_end: usize,
    /// Bytes that the current block announced, and that came out of it.
    announced: usize,
    produced: usize,
}

impl<'a> Snappy<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        let framed = packed.starts_with(&XERIAL_MAGIC);
        let stage = if framed {
            Stage::Frame
        } else {
            Stage::BlockStart
        };
        Self {
            packed,
            at: 0,
            framed,
            stage,
            block_end: packed.len(),
            announced: 0,
            produced: 0,
        }
    }

    pub(super) fn history(&self) -> usize {
        self.produced
    }

    pub(super) fn step(&mut self, out: &mut Output, room: usize) -> Result<Progress, Fault> {
        let (from, target) = (out.len(), out.len() + STEP_BYTES);
        for _ in 0..STEP_BYTES {
            match self.stage {
                Stage::Frame => {
                    if self.at == self.packed.len() {
                        return Ok(Progress::End);
                    }
                    self.frame()?;
                }
                Stage::BlockStart => self.block_start(room - (out.len() - from))?,
                Stage::Tag if self.at == self.block_end => {
                    if self.produced != self.announced {
                        return Err(Fault::Corrupt("a block is shorter than it announces"));
                    }
                    if !self.framed {
                        return Ok(Progress::End);
                    }
                    (self.stage, self.announced, self.produced) = (Stage::Frame, 0, 0);
                }
                Stage::Tag => self.tag(out)?,
                Stage::Literal(left) => {
                    let n = left.min(STEP_BYTES);
                    out.push(&self.packed[self.at..self.at + n]);
                    self.at += n;
                    self.stage = if n == left {
                        Stage::Tag
                    } else {
                        Stage::Literal(left - n)
                    };
                }
            }
            if out.len() >= target {
                break;
            }
        }
        Ok(Progress::More)
    }

    fn frame(&mut self) -> Result<(), Fault> {
        if self.packed[self.at..].starts_with(&XERIAL_MAGIC) {
            // Writers that append to a stream begin anew with the header.
            self.at += XERIAL_HEADER_BYTES;
            return if self.at > self.packed.len() {
                Err(Fault::Truncated)
            } else {
                Ok(())
            };
        }
        let length = self
            .packed
            .get(self.at..self.at + 4)
            .ok_or(Fault::Truncated)?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let length =
            usize::try_from(length).map_err(|_| Fault::Corrupt("a block's length is negative"))?;
        self.at += 4;
        if length > self.packed.len() - self.at {
            return Err(Fault::Truncated);
        }
        self.block_end = self.at + length;
        self.stage = Stage::BlockStart;
        Ok(())
    }

    fn block_start(&mut self, room: usize) -> Result<(), Fault> {
        let mut announced = 0u64;
        for group in 0..5 {
            let byte = self.byte()?;
            announced |= u64::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                if announced > room as u64 {
                    return Err(Fault::TooLarge);
                }
                (self.announced, self.produced, self.stage) = (announced as usize, 0, Stage::Tag);
                return Ok(());
            }
        }
        Err(Fault::Corrupt(
            "a block's announced length has too many bytes",
        ))
    }

    #[inline]
    fn tag(&mut self, out: &mut Output) -> Result<(), Fault> {
        let tag = self.byte()?;
        if tag & 3 == 0 {
            let mut n = usize::from(tag >> 2) + 1;
            if n > 60 {
                n = self.number(n - 60)?.saturating_add(1);
            }
            self.produce(n)?;
            if n > self.block_end - self.at {
                return Err(Fault::Truncated);
            }
            match self.packed[self.at..].first_chunk::<16>() {
                Some(sixteen) if n <= 16 => {
                    out.push_short(sixteen, n);
                    self.at += n;
                }
                _ => self.stage = Stage::Literal(n),
            }
            return Ok(());
        }
        let (n, offset) = match tag & 3 {
            1 => (
                usize::from(tag >> 2 & 7) + 4,
                usize::from(tag >> 5) << 8 | usize::from(self.byte()?),
            ),
            2 => (usize::from(tag >> 2) + 1, self.number(2)?),
            _ => (usize::from(tag >> 2) + 1, self.number(4)?),
        };
        if offset == 0 || offset > self.produced {
            return Err(Fault::Corrupt("a copy begins before its block"));
        }
        self.produce(n)?;
        out.repeat(offset, n);
        Ok(())
    }

    /// `n` bytes are about to come out of the block.
    #[inline]
    fn produce(&mut self, n: usize) -> Result<(), Fault> {
        if n > self.announced - self.produced {
            return Err(Fault::Corrupt("a block is longer than it announces"));
        }
        self.produced += n;
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.block_end {
            return Err(Fault::Truncated);
        }
        self.at += 1;
        Ok(self.packed[self.at - 1])
    }

    #[inline]
    fn number(&mut self, bytes: usize) -> Result<usize, Fault> {
        let mut number = 0;
        for place in 0..bytes {
            number |= usize::from(self.byte()?) << (8 * place);
        }
        Ok(number)
    }
}
