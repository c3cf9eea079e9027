//! The decisions on made-up measurements. (A real, short probe is in `tests/disk_probe.rs`.)

use super::*;
use crate::{NamedText, Sources, load};

fn measured(write: f64, read: f64, flush_us: f64) -> Measured {
    let latency = Latency {
        bytes: SMALL_BYTES,
        count: 1_000,
        p50_us: flush_us,
        p90_us: flush_us,
        p99_us: flush_us * 2.0,
        p999_us: flush_us * 3.0,
        max_us: flush_us * 9.0,
    };
    Measured {
        directory: "/data".to_owned(),
        filesystem: Some("xfs".to_owned()),
        kernel: Some("6.8.0".to_owned()),
        file_bytes: 1 << 30,
        write_bytes_per_s: Extents {
            fresh: write / 2.0,
            preallocated: write,
        },
        read_bytes_per_s: read,
        small_per_s: SmallRates {
            random_reads: 1e5,
            random_writes: 1e5,
            sequential_reads: 1e5,
            sequential_writes: 1e5,
        },
        flush: vec![latency],
    }
}

fn value(measured: &Measured, shards: u64, setting: &str) -> u64 {
    let found = recommend(measured, shards)
        .into_iter()
        .find(|one| one.setting == setting);
    found.unwrap().value.replace('_', "").parse().unwrap()
}

#[test]
fn values_follow_from_what_was_measured_and_stay_in_bounds() {
    // 1 GB/s and 500 µs: in the time of a flush the disk writes half a million bytes.
    let nvme = measured(1e9, 2e9, 500.0);
    assert_eq!(value(&nvme, 4, "direct.run.bytes.min"), 499_712);
    assert_eq!(value(&nvme, 4, "journal.file.bytes"), 256 << 20);
    assert_eq!(value(&nvme, 4, "journal.dirty.bytes.max"), 512 << 20);
    assert_eq!(value(&nvme, 1, "journal.dirty.bytes.max"), 1 << 30);
    // A slow one: everything at its lower bound, and two files still fit into the dirty bound.
    let slow = measured(2e7, 2e7, 100.0);
    assert_eq!(value(&slow, 2, "direct.run.bytes.min"), 64 << 10);
    assert_eq!(value(&slow, 2, "journal.file.bytes"), 16 << 20);
    assert_eq!(value(&slow, 2, "journal.dirty.bytes.max"), 64 << 20);
    // A turning one: a flush is dear, a direct run must be worth it.
    assert_eq!(
        value(&measured(2e8, 2e8, 20_000.0), 1, "direct.run.bytes.min"),
        4_001_792
    );
}

#[test]
fn a_written_profile_loads_and_gives_a_reason_for_each_value() {
    for disk in [
        measured(1e9, 2e9, 500.0),
        measured(1.0, 1.0, 1e7),
        measured(1e12, 1e12, 0.1),
    ] {
        for shards in [1, 3, 64] {
            let text = write_profile(&disk, shards).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let mut values = 0;
            for (index, line) in lines.iter().enumerate() {
                if line.contains('=') && !line.starts_with('#') {
                    values += 1;
                    assert!(lines[index - 1].starts_with("# "), "{text}");
                }
            }
            assert_eq!(values, 4, "{text}");
            let profile_file = Some(NamedText {
                name: "p.toml".into(),
                text,
            });
            let (config, warnings) = load(Sources {
                profile_file,
                ..Sources::default()
            })
            .unwrap();
            assert!(warnings.is_empty());
            assert!(config.journal_dirty_bytes_max() >= 2 * config.journal_file_bytes());
        }
    }
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let latency = Latency::of(4_096, (1..=1_000).rev().map(|n| n * 1_000).collect());
    let found = [
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p999_us,
        latency.max_us,
    ];
    assert_eq!(found, [500.0, 900.0, 990.0, 999.0, 1_000.0]);
    let one = Latency::of(4_096, vec![7_000]);
    assert_eq!((one.p50_us, one.max_us, one.count), (7.0, 7.0, 1));
}
