//! The storage of one shard on the simulated disk: one file per failure it guards against.

#![allow(clippy::unwrap_used)]

mod rig;

mod acknowledged_record_survives;
mod another_program_appended;
mod clean_mark_comes_back;
mod compaction_loses_a_key;
mod damaged_file_of_a_stopped_node;
mod dead_process_writes_on;
mod direct_run_behind_a_partial_block;
mod direct_runs_want_checkpoints;
mod flush_interval_ignored;
mod flushed_group_rots;
mod no_space_to_grow;
mod passing_disk_error;
mod planted_bug_unnoticed;
mod producers_expire;
mod random_crashes;
mod read_ahead;
mod record_not_found_by_time;
mod removal_keeps_the_disk_busy;
mod retention_removes_the_right_segments;
mod stale_sidecar;
mod topic_unknown_to_the_metadata;
mod torn_group_then_another_generation;
