//! Log compaction (DESIGN §5.6): of each key only the last record stays.
//!
//! Decisions are plain structs: [`plan`] (which partition, how far, which segments together), [`filter`] (which records
//! survive) with [`offset_map`] and [`cleaned_transactions`], [`throttle`].

pub mod cleaned_transactions;
pub mod filter;
pub mod key_hash;
pub mod offset_map;
pub mod plan;
pub mod throttle;
