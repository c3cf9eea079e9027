//! What must have happened over many seeds, or the simulator proves nothing.

use std::collections::BTreeMap;

/// Each has to be above zero.
const DEMANDED: &[&str] = &[
    "fault kill",
    "fault power_off",
    "fault clock_jump",
    "fault net_reset",
    "fault net_half_open",
    "fault net_stall",
    "fault disk_power_cut",
    "fault disk_torn_block",
    "fault disk_lost_sector",
    "fault disk_lost_name",
    "fault disk_lost_length",
    "fault disk_read_error",
    "fault disk_write_error",
    "fault disk_flush_error",
    "fault disk_short_write",
    "fault disk_short_read",
    "fault disk_full",
    "fault disk_latency_tail",
    "fault disk_bit_rot",
    "kills with operations in flight",
    "cuts that keep only the latest writes",
    "crashes while starting",
    "crashes while stopping",
    "starts that failed",
    "clean stops",
    "clean starts",
    "recoveries",
    "batches replayed",
    "torn groups discarded",
    "tidelog_quarantined_ranges",
    "journals poisoned",
    "bits flipped in segments",
    "bits flipped in a copy",
    "bits flipped in a checkpoint",
    "bits flipped in a journal",
    "bits flipped in a sidecar",
    "reads refused",
    "ends of epochs told",
    "corrupt batches refused",
    "session fetches",
    "topics created",
    "topics deleted",
    "partitions created",
    "group assignments",
    "group members left",
    "offsets committed",
    "committed offsets read",
    "consumer assignments",
    "consumer revocations",
    "consumers fenced",
    "consumers left",
    "static consumers left for a while",
    "instance ids not released",
    "consumer leases ended",
    "offsets committed at a member epoch",
    "offsets of consumers read",
    "compacted logs read",
    "superseded records gone",
    "answered out of order",
    "tidelog_checkpoints_total",
    "tidelog_journal_recycled_files_total",
    "tidelog_direct_runs_total",
    "tidelog_segment_rolls_total",
    "tidelog_cache_hits_total",
    "tidelog_cache_misses_total",
    "tidelog_read_ahead_hits_total",
    "tidelog_cleaner_cleanings_total",
    "tidelog_cleaner_records_removed_total",
    "tidelog_cleaner_swaps_total",
];

/// Prints all counters.
pub fn print(counters: &BTreeMap<String, u64>) {
    for (name, count) in counters {
        println!("{count:>12} {name}");
    }
}

/// Panics with the names of what never happened.
pub fn demand(counters: &BTreeMap<String, u64>) {
    let missing: Vec<&&str> = DEMANDED
        .iter()
        .filter(|name| counters.get(**name).copied().unwrap_or(0) == 0)
        .collect();
    assert!(
        missing.is_empty(),
        "never happened over all seeds: {missing:?}"
    );
}
