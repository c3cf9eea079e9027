//! Log compaction (DESIGN §5.6): of each key only the last record stays.
//!
//! Decisions are plain structs: [`plan`] (which partition, how far, which segments together), [`filter`] (which records
//! survive) with [`offset_map`] and [`cleaned_transactions`], [`throttle`], `swap_record` (what recovery makes of a swap
//! that was cut). The edge: [`cleaner`] is the loop, `cleaning` one cleaning of one partition with `source` and
//! `cleaned_file`, `swap` and `swap_files` put its segments in place.

pub(crate) mod cleaned_file;
pub(crate) mod cleaned_offsets;
pub mod cleaned_transactions;
pub mod cleaner;
pub(crate) mod cleaning;
pub mod filter;
pub mod key_hash;
pub mod offset_map;
pub mod plan;
pub(crate) mod source;
pub(crate) mod swap;
pub(crate) mod swap_files;
pub(crate) mod swap_record;
pub mod throttle;

pub use cleaner::{CleanerNumbers, CleanerSettings};
