//! Packing records: the forms that Java's producer writes.

use std::io::{self, Write};

use super::header::Compression;

/// Java's `SnappyOutputStream` packs this much at a time.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
const XERIAL_HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const GZIP_LEVEL_MAX: i32 = 9;

/// Takes record bytes in pieces and appends their packed form to a vector.
pub(super) enum Packer {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy { out: Vec<u8>, block: Vec<u8> },
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// Packs behind what `out` already holds. `level` is the codec's own; outside its range the nearest is taken, and
    /// codecs without levels ignore it.
    pub(super) fn new(
        codec: Compression,
        level: Option<i32>,
        mut out: Vec<u8>,
    ) -> io::Result<Self> {
        Ok(match codec {
            Compression::None => Self::None(out),
            Compression::Gzip => {
                let level = match level {
                    Some(level @ 0..=GZIP_LEVEL_MAX) => flate2::Compression::new(level as u32),
                    Some(level) if level > GZIP_LEVEL_MAX => flate2::Compression::best(),
                    _ => flate2::Compression::default(),
                };
                Self::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            Compression::Snappy => {
                out.extend_from_slice(&XERIAL_HEADER);
                Self::Snappy {
                    out,
                    block: Vec::with_capacity(SNAPPY_BLOCK_BYTES),
                }
            }
            Compression::Lz4 => {
                // Java's consumers read nothing but independent blocks.
                let frame = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(
                    frame, out,
                )))
            }
            Compression::Zstd => {
                let range = zstd::compression_level_range();
                let level = level
                    .unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)
                    .clamp(*range.start(), *range.end());
                Self::Zstd(zstd::stream::write::Encoder::new(out, level)?)
            }
        })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None(out) => out.extend_from_slice(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes)?,
            Self::Snappy { out, block } => {
                while !bytes.is_empty() {
                    let (now, later) =
                        bytes.split_at(bytes.len().min(SNAPPY_BLOCK_BYTES - block.len()));
                    block.extend_from_slice(now);
                    bytes = later;
                    if block.len() == SNAPPY_BLOCK_BYTES {
                        flush_block(out, block)?;
                    }
                }
            }
            Self::Lz4(encoder) => encoder.write_all(bytes)?,
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy { mut out, mut block } => {
                if !block.is_empty() {
                    flush_block(&mut out, &mut block)?;
                }
                Ok(out)
            }
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

fn flush_block(out: &mut Vec<u8>, block: &mut Vec<u8>) -> io::Result<()> {
    let packed = snap::raw::Encoder::new()
        .compress_vec(block)
        .map_err(io::Error::other)?;
    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    out.extend_from_slice(&packed);
    block.clear();
    Ok(())
}
