//! The storage of one shard on the simulated disk: one file per failure it guards against.

#![allow(clippy::unwrap_used)]

mod rig;

mod acknowledged_record_survives;
mod compaction_loses_a_key;
mod damaged_file_of_a_stopped_node;
mod flushed_group_rots;
mod passing_disk_error;
mod planted_bug_unnoticed;
mod producers_expire;
mod random_crashes;
mod record_not_found_by_time;
mod retention_removes_the_right_segments;
mod stale_sidecar;
