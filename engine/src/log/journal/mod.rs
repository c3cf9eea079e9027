//! The journal of one shard: the durability point (DESIGN §5.2).
//!
//! `format` holds the bytes, `group` assembles a group, `replay` judges groups at start and `chain` follows them,
//! `files` owns the preallocated files and their recycling, `commit` is the loop that writes, flushes and acknowledges.

pub mod chain;
pub mod commit;
pub mod files;
pub mod format;
pub mod group;
pub mod replay;
#[cfg(test)]
mod tests;
