//! The sidecar file's bytes: a preamble, a summary of the segment, one entry per run.
//!
//! The file is read in place: fixed-size little-endian rkyv archives without pointers and without alignment, each
//! passed through checked access. Layout in `engine/FORMAT.md`. Plain values, usable on any core.

use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;
use rkyv::rend::unaligned::{i64_ule, u32_ule};

pub(super) const FILE: &str = "sidecar index";
pub(super) const MAGIC: [u8; 8] = *b"TIDELIDX";
pub(super) const VERSION: u32 = 1;
/// Magic (8), version (4), checksum (4).
pub(super) const PREAMBLE_BYTES: usize = 16;
pub(super) const SUMMARY_BYTES: usize = size_of::<ArchivedSummary>();
pub(super) const ENTRY_BYTES: usize = size_of::<ArchivedRun>();
const _: () = assert!(SUMMARY_BYTES == 64 && ENTRY_BYTES == 40);

/// What the file says of the whole segment.
#[derive(Portable, CheckBytes, Clone, Copy)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub(super) struct ArchivedSummary {
    pub(super) segment_base: i64_ule,
    pub(super) next_offset: i64_ule,
    pub(super) max_timestamp: i64_ule,
    pub(super) offset_of_max_timestamp: i64_ule,
    pub(super) first_timestamp: i64_ule,
    pub(super) created_ms: i64_ule,
    pub(super) segment_bytes: u32_ule,
    pub(super) segment_checksum: u32_ule,
    pub(super) runs: u32_ule,
    pub(super) interval: u32_ule,
}

/// One run in the file.
#[derive(Portable, CheckBytes, Clone, Copy)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub(super) struct ArchivedRun {
    pub(super) base_offset: i64_ule,
    pub(super) max_timestamp: i64_ule,
    pub(super) position: u32_ule,
    pub(super) length: u32_ule,
    pub(super) first_batch_delta: u32_ule,
    pub(super) max_timestamp_delta: u32_ule,
    pub(super) batches: u32_ule,
    pub(super) prefix_checksum: u32_ule,
}
