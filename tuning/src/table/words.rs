//! The words that settings with a fixed vocabulary accept.

pub(super) const CLEANUP: &[&str] = &["compact", "delete"];
pub(super) const COMPRESSION: &[&str] =
    &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const DURABILITY: &[&str] = &["flush", "os"];
pub(super) const ISOLATION: &[&str] = &["read_committed", "read_uncommitted"];
pub(super) const MIGRATION: &[&str] = &["disabled", "downgrade", "upgrade", "bidirectional"];
pub(super) const PROTOCOLS: &[&str] = &["classic", "consumer", "streams", "share"];
pub(super) const ROLES: &[&str] = &["broker", "controller"];
pub(super) const TIMESTAMP: &[&str] = &["CreateTime", "LogAppendTime"];
