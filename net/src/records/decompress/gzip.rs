//! gzip (RFC 1952): members one after the other, each with its CRC-32 and length checked.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::output::Output;
use super::{Fault, Progress, STEP_BYTES};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const DEFLATE: u8 = 8;

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Deflate,
    Trailer,
    End,
}

pub(super) struct Gzip<'a> {
    rest: &'a [u8],
    stage: Stage,
    inflate: Decompress,
    crc: Crc,
}

impl std::fmt::Debug for Gzip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gzip")
            .field("rest", &self.rest.len())
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl<'a> Gzip<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self {
            rest: packed,
            stage: Stage::Header,
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    pub(super) fn leftover(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn step(&mut self, out: &mut Output, room: usize) -> Result<Progress, Fault> {
        match self.stage {
            Stage::Header => {
                self.rest = &self.rest[header_bytes(self.rest)?..];
                self.stage = Stage::Deflate;
            }
            Stage::Deflate => self.inflate(out, room)?,
            Stage::Trailer => self.check_trailer()?,
            Stage::End => {}
        }
        Ok(if self.stage == Stage::End {
            Progress::End
        } else {
            Progress::More
        })
    }

    fn inflate(&mut self, out: &mut Output, room: usize) -> Result<(), Fault> {
        // One byte more than there is room for: whether that comes is how too much shows.
        let target = out.room(STEP_BYTES.min(room.saturating_add(1)));
        let piece = &self.rest[..self.rest.len().min(STEP_BYTES)];
        let (read_before, wrote_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(piece, target, FlushDecompress::None)
            .map_err(|_| Fault::Corrupt("the deflate data make no sense"))?;
        let read = (self.inflate.total_in() - read_before) as usize;
        let wrote = (self.inflate.total_out() - wrote_before) as usize;
        self.crc.update(&target[..wrote]);
        self.rest = &self.rest[read..];
        if wrote > room {
            return Err(Fault::TooLarge);
        }
        out.wrote(wrote);
        if status == Status::StreamEnd {
            self.stage = Stage::Trailer;
        } else if read == 0 && wrote == 0 {
            return Err(Fault::Truncated);
        }
        Ok(())
    }

    fn check_trailer(&mut self) -> Result<(), Fault> {
        let (trailer, rest) = self
            .rest
            .split_first_chunk::<TRAILER_BYTES>()
            .ok_or(Fault::Truncated)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
        if u32::from_le_bytes([c0, c1, c2, c3]) != self.crc.sum() {
            return Err(Fault::Corrupt("the CRC-32 of the data is another"));
        }
        if u32::from_le_bytes([l0, l1, l2, l3]) != self.crc.amount() {
            return Err(Fault::Corrupt("the length of the data is another"));
        }
        self.rest = rest;
        if rest.starts_with(&MAGIC) {
            self.inflate.reset(false);
            self.crc.reset();
            self.stage = Stage::Header;
        } else {
            self.stage = Stage::End;
        }
        Ok(())
    }
}

/// Bytes of the member header at the start of `bytes`.
fn header_bytes(bytes: &[u8]) -> Result<usize, Fault> {
    let fixed = bytes
        .first_chunk::<HEADER_BYTES>()
        .ok_or(Fault::Truncated)?;
    if fixed[..2] != MAGIC || fixed[2] != DEFLATE {
        return Err(Fault::Corrupt("it does not begin like a gzip file"));
    }
    let flags = fixed[3];
    if flags & FLAGS_RESERVED != 0 {
        return Err(Fault::Corrupt("reserved flags are set"));
    }
    let mut at = HEADER_BYTES;
    if flags & FLAG_EXTRA != 0 {
        let length = bytes.get(at..at + 2).ok_or(Fault::Truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [FLAG_NAME, FLAG_COMMENT] {
        if flags & text != 0 {
            let rest = bytes.get(at..).ok_or(Fault::Truncated)?;
            at += rest
                .iter()
                .position(|byte| *byte == 0)
                .ok_or(Fault::Truncated)?
                + 1;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        at += 2;
    }
    if at > bytes.len() {
        Err(Fault::Truncated)
    } else {
        Ok(at)
    }
}
