//! Zstandard, through libzstd's streaming decoder.
//!
//! libzstd reserves a window as large as a frame announces, up to 128 MiB. A frame of which no more than the room may
//! come out never needs a larger window than that, so a larger announcement is lowered on its way to the decoder.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::output::Output;
use super::{Fault, Progress, STEP_BYTES};

const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SINGLE_SEGMENT: u8 = 1 << 5;
/// The largest window that libzstd, and so Java's consumers, decode: 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;
/// Windows below this are left as they are: it is the largest block, which limits what a frame may contain.
const WINDOW_LOG_KEPT: u32 = 17;

pub(super) struct Zstd<'a> {
    rest: &'a [u8],
    decoder: Decoder<'static>,
    between_frames: bool,
}

impl std::fmt::Debug for Zstd<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd")
            .field("rest", &self.rest.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Zstd<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Result<Self, Fault> {
        let no_memory = |_| Fault::Corrupt("no decoder could be set up");
        let mut decoder = Decoder::new().map_err(no_memory)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(no_memory)?;
        if packed.is_empty() {
            return Err(Fault::Truncated);
        }
        Ok(Self {
            rest: packed,
            decoder,
            between_frames: true,
        })
    }

    pub(super) fn step(&mut self, out: &mut Output, room: usize) -> Result<Progress, Fault> {
        if self.between_frames {
            if self.rest.is_empty() {
                return Ok(Progress::End);
            }
            if let Some((header, read)) = lowered_header(self.rest, room)? {
                self.rest = &self.rest[read..];
                self.run(&header, out, room)?;
                return Ok(Progress::More);
            }
        }
        let piece = &self.rest[..self.rest.len().min(STEP_BYTES)];
        let (read, wrote) = self.run(piece, out, room)?;
        self.rest = &self.rest[read..];
        if read == 0 && wrote == 0 && !(self.between_frames && self.rest.is_empty()) {
            return Err(Fault::Truncated);
        }
        Ok(Progress::More)
    }

    fn run(
        &mut self,
        piece: &[u8],
        out: &mut Output,
        room: usize,
    ) -> Result<(usize, usize), Fault> {
        // One byte more than there is room for: whether that comes is how too much shows.
        let mut input = InBuffer::around(piece);
        let mut output = OutBuffer::around(out.room(STEP_BYTES.min(room.saturating_add(1))));
        let hint = self
            .decoder
            .run(&mut input, &mut output)
            .map_err(|_| Fault::Corrupt("the frame makes no sense"))?;
        let (read, wrote) = (input.pos(), output.pos());
        if wrote > room {
            return Err(Fault::TooLarge);
        }
        out.wrote(wrote);
        self.between_frames = hint == 0;
        Ok((read, wrote))
    }
}

/// If the frame at the start of `bytes` announces a larger window than `room` can fill: the start of its header with
/// a window that suffices, and how many bytes it replaces. An announced content above `room` is refused.
fn lowered_header(bytes: &[u8], room: usize) -> Result<Option<([u8; 6], usize)>, Fault> {
    let Some([m0, m1, m2, m3, descriptor, window]) = bytes.first_chunk::<6>().copied() else {
        return Ok(None);
    };
    if [m0, m1, m2, m3] != FRAME_MAGIC {
        return Ok(None);
    }
    let single_segment = descriptor & SINGLE_SEGMENT != 0;
    let content_at = 5 + usize::from(!single_segment) + [0, 1, 2, 4][usize::from(descriptor & 3)];
    if announced_content(bytes, content_at, descriptor).is_some_and(|content| content > room as u64)
    {
        return Err(Fault::TooLarge);
    }
    let wanted = (usize::BITS - room.saturating_sub(1).leading_zeros())
        .clamp(WINDOW_LOG_KEPT, WINDOW_LOG_MAX);
    let window_log = 10 + u32::from(window >> 3);
    if single_segment || window_log > WINDOW_LOG_MAX || window_log <= wanted {
        return Ok(None);
    }
    Ok(Some((
        [m0, m1, m2, m3, descriptor, ((wanted - 10) << 3) as u8],
        6,
    )))
}

/// The content size that the frame header announces, if it does and all of it is there.
fn announced_content(bytes: &[u8], at: usize, descriptor: u8) -> Option<u64> {
    let little_endian = |n: usize| {
        let field = bytes.get(at..at + n)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0u64, |value, byte| value << 8 | u64::from(*byte)),
        )
    };
    match descriptor >> 6 {
        0 if descriptor & SINGLE_SEGMENT != 0 => little_endian(1),
        0 => None,
        1 => little_endian(2).map(|content| content + 256),
        2 => little_endian(4),
        _ => little_endian(8),
    }
}
