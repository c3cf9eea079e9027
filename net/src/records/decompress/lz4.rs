//! The LZ4 frame format, as far as Kafka allows it: independent blocks, no dictionary.
//!
//! ```text
//! magic u32 · flags u8 · block size u8 · [content size u64] · header checksum u8
//! · ( size u32, top bit: stored as it is · bytes · [checksum u32] )* · 0u32 · [content checksum u32]
//! ```
//!
//! Java's reader refuses blocks that refer to earlier ones, so they are refused here too: accepted, they would be
//! records that no Java consumer can read. The content checksum is not looked at, as in Java: the batch has a CRC.

use super::output::Output;
use super::{Fault, Progress, STEP_BYTES};

const MAGIC: u32 = 0x184D_2204;
const FLAGS_VERSION: u8 = 0b0100_0000;
const FLAGS_VERSION_MASK: u8 = 0b1100_0000;
const FLAG_INDEPENDENT: u8 = 1 << 5;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAGS_RESERVED: u8 = 0b11;
const STORED_BIT: u32 = 1 << 31;

/// How far back a match can reach.
const WINDOW_BYTES: usize = 65_535;
const MATCH_BYTES_MIN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FrameHeader,
    BlockHeader,
    Stored(usize),
    Token,
    Literals { left: usize, match_code: usize },
    Match { left: usize, offset: usize },
    End,
}

#[derive(Debug)]
pub(super) struct Lz4<'a> {
    packed: &'a [u8],
    at: usize,
    stage: Stage,
    block_bytes_max: usize,
    block_checksum: bool,
    content_checksum: bool,
    /// End of the current block in `packed`, and what came out of it.
    block_end: usize,
    produced: usize,
}

impl<'a> Lz4<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self {
            packed,
            at: 0,
            stage: Stage::FrameHeader,
            block_bytes_max: 0,
            block_checksum: false,
            content_checksum: false,
            block_end: 0,
            produced: 0,
        }
    }

    pub(super) fn history(&self) -> usize {
        self.produced.min(WINDOW_BYTES)
    }

    pub(super) fn leftover(&self) -> usize {
        self.packed.len() - self.at
    }

    pub(super) fn step(&mut self, out: &mut Output, room: usize) -> Result<Progress, Fault> {
        let from = out.len();
        for _ in 0..STEP_BYTES {
            let came = out.len() - from;
            if came >= STEP_BYTES {
                break;
            }
            match self.stage {
                Stage::FrameHeader => self.frame_header()?,
                Stage::BlockHeader => self.block_header()?,
                Stage::Stored(left) => {
                    let n = left.min(STEP_BYTES - came);
                    self.copy(out, n, room - came)?;
                    self.stage = Stage::Stored(left - n);
                    if n == left {
                        self.end_block();
                    }
                }
                Stage::Token => self.token()?,
                Stage::Literals { left, match_code } => {
                    let n = left.min(STEP_BYTES - came);
                    self.copy(out, n, room - came)?;
                    self.stage = Stage::Literals {
                        left: left - n,
                        match_code,
                    };
                    if n == left {
                        self.end_literals(match_code)?;
                    }
                }
                Stage::Match { left, offset } => {
                    let n = left.min(STEP_BYTES - came);
                    self.produce(n, room - came)?;
                    out.repeat(offset, n);
                    self.stage = if n == left {
                        Stage::Token
                    } else {
                        Stage::Match {
                            left: left - n,
                            offset,
                        }
                    };
                }
                Stage::End => return Ok(Progress::End),
            }
        }
        Ok(Progress::More)
    }

    fn frame_header(&mut self) -> Result<(), Fault> {
        if self.u32()? != MAGIC {
            return Err(Fault::Corrupt("it does not begin like an LZ4 frame"));
        }
        let start = self.at;
        let (flags, size) = (self.byte()?, self.byte()?);
        if flags & FLAGS_VERSION_MASK != FLAGS_VERSION || flags & FLAGS_RESERVED != 0 {
            return Err(Fault::Corrupt(
                "its version, a dictionary or reserved flags are not supported",
            ));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(Fault::Corrupt(
                "its blocks depend on each other, which Kafka's consumers cannot read; have the producer write independent blocks",
            ));
        }
        self.block_bytes_max = match size {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(Fault::Corrupt("its block size does not exist")),
        };
        self.block_checksum = flags & FLAG_BLOCK_CHECKSUM != 0;
        self.content_checksum = flags & FLAG_CONTENT_CHECKSUM != 0;
        if flags & FLAG_CONTENT_SIZE != 0 {
            self.at += 8;
        }
        let descriptor = self.packed.get(start..self.at).ok_or(Fault::Truncated)?;
        if self.byte()? != (xxh32(descriptor) >> 8) as u8 {
            return Err(Fault::Corrupt("its header's checksum is wrong"));
        }
        self.stage = Stage::BlockHeader;
        Ok(())
    }

    fn block_header(&mut self) -> Result<(), Fault> {
        let word = self.u32()?;
        if word == 0 {
            if self.content_checksum {
                self.u32()?;
            }
            self.stage = Stage::End;
            return Ok(());
        }
        let size = (word & !STORED_BIT) as usize;
        if size > self.block_bytes_max {
            return Err(Fault::Corrupt("a block is larger than the frame allows"));
        }
        self.block_end = self.at + size;
        let block = self
            .packed
            .get(self.at..self.block_end)
            .ok_or(Fault::Truncated)?;
        if self.block_checksum {
            let stored = self
                .packed
                .get(self.block_end..self.block_end + 4)
                .ok_or(Fault::Truncated)?;
            if u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]) != xxh32(block) {
                return Err(Fault::Corrupt("a block's checksum is wrong"));
            }
        }
        self.produced = 0;
        self.stage = if word & STORED_BIT != 0 {
            Stage::Stored(size)
        } else {
            Stage::Token
        };
        Ok(())
    }

    #[inline]
    fn token(&mut self) -> Result<(), Fault> {
        if self.at == self.block_end {
            self.end_block();
            return Ok(());
        }
        let token = usize::from(self.block_byte()?);
        let mut literals = token >> 4;
        if literals == 15 {
            literals = self.long_length(literals)?;
        }
        if literals > self.block_end - self.at {
            return Err(Fault::Corrupt("literals run over their block's end"));
        }
        self.stage = Stage::Literals {
            left: literals,
            match_code: token & 15,
        };
        Ok(())
    }

    /// A match follows the literals, except at the end of the block.
    #[inline]
    fn end_literals(&mut self, match_code: usize) -> Result<(), Fault> {
        if self.at == self.block_end {
            self.end_block();
            return Ok(());
        }
        let offset = usize::from(self.block_byte()?) | usize::from(self.block_byte()?) << 8;
        let code = if match_code == 15 {
            self.long_length(match_code)?
        } else {
            match_code
        };
        if offset == 0 || offset > self.produced {
            return Err(Fault::Corrupt("a match begins before its block"));
        }
        self.stage = Stage::Match {
            left: code + MATCH_BYTES_MIN,
            offset,
        };
        Ok(())
    }

    fn end_block(&mut self) {
        self.at = self.block_end + if self.block_checksum { 4 } else { 0 };
        self.produced = 0;
        self.stage = Stage::BlockHeader;
    }

    /// Lengths of 15 and more go on in bytes of up to 255.
    fn long_length(&mut self, mut length: usize) -> Result<usize, Fault> {
        loop {
            let byte = self.block_byte()?;
            length += usize::from(byte);
            if byte < 255 {
                return Ok(length);
            }
            if length > self.block_bytes_max {
                return Err(Fault::Corrupt(
                    "a block unpacks to more than the frame allows",
                ));
            }
        }
    }

    /// Copies `n` bytes of the block to the output; the caller knows that the block has them.
    #[inline]
    fn copy(&mut self, out: &mut Output, n: usize, room: usize) -> Result<(), Fault> {
        self.produce(n, room)?;
        match self.packed[self.at..].first_chunk::<16>() {
            Some(sixteen) if n <= 16 => out.push_short(sixteen, n),
            _ => out.push(&self.packed[self.at..self.at + n]),
        }
        self.at += n;
        Ok(())
    }

    /// `n` bytes are about to come out of the block.
    #[inline]
    fn produce(&mut self, n: usize, room: usize) -> Result<(), Fault> {
        if n > room {
            return Err(Fault::TooLarge);
        }
        self.produced += n;
        if self.produced > self.block_bytes_max {
            return Err(Fault::Corrupt(
                "a block unpacks to more than the frame allows",
            ));
        }
        Ok(())
    }

    #[inline]
    fn block_byte(&mut self) -> Result<u8, Fault> {
        if self.at >= self.block_end {
            return Err(Fault::Corrupt("a block ends in the middle"));
        }
        self.at += 1;
        Ok(self.packed[self.at - 1])
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.packed.get(self.at).ok_or(Fault::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self
            .packed
            .get(self.at..self.at + 4)
            .ok_or(Fault::Truncated)?;
        self.at += 4;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

const PRIMES: [u32; 5] = [
    0x9E37_79B1,
    0x85EB_CA77,
    0xC2B2_AE3D,
    0x27D4_EB2F,
    0x1656_67B1,
];

/// xxHash-32 with seed 0 (xxHash specification 0.1.1).
fn xxh32(bytes: &[u8]) -> u32 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let mut stripes = bytes.chunks_exact(16);
    let mut hash = if bytes.len() < 16 {
        p5
    } else {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, 0u32.wrapping_sub(p1)];
        for stripe in &mut stripes {
            for (place, lane) in lanes.iter_mut().enumerate() {
                let mixed = lane.wrapping_add(word(stripe, 4 * place).wrapping_mul(p2));
                *lane = mixed.rotate_left(13).wrapping_mul(p1);
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let mut words = stripes.remainder().chunks_exact(4);
    for four in &mut words {
        hash = hash
            .wrapping_add(word(four, 0).wrapping_mul(p3))
            .rotate_left(17)
            .wrapping_mul(p4);
    }
    for byte in words.remainder() {
        hash = hash
            .wrapping_add(u32::from(*byte).wrapping_mul(p5))
            .rotate_left(11)
            .wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(p3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_gives_the_published_values() {
        assert_eq!(xxh32(b""), 0x02CC_5D05);
        assert_eq!(xxh32(b"abc"), 0x32D1_53FF);
        assert_eq!(
            xxh32(b"Nobody inspects the spammish repetition"),
            0xE229_3B2F
        );
    }
}
