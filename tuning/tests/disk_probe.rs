//! A probe of the disk that runs the tests: short and small, for what it leaves behind and in which order it goes.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use std::time::Duration;

use tuning::disk::{PHASES, Plan, ProbeError, measure};

#[test]
fn a_probe_measures_every_phase_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = Plan {
        directory: directory.path().to_owned(),
        phase: Duration::from_millis(20),
        file_bytes_max: 16 << 20,
    };
    let mut finished = Vec::new();
    let measured = measure(&plan, |progress| {
        if progress.done >= 1.0 && finished.last() != Some(&progress.phase) {
            finished.push(progress.phase);
        }
    });
    let measured = measured.unwrap();
    assert_eq!(finished, (0..PHASES.len()).collect::<Vec<_>>());
    assert_eq!(measured.file_bytes, 16 << 20);
    for rate in [
        measured.write_bytes_per_s.fresh,
        measured.write_bytes_per_s.preallocated,
        measured.read_bytes_per_s,
        measured.small_per_s.random_reads,
        measured.small_per_s.random_writes,
        measured.small_per_s.sequential_reads,
        measured.small_per_s.sequential_writes,
    ] {
        assert!(rate.is_finite() && rate > 0.0, "{measured:?}");
    }
    assert_eq!(
        measured
            .flush
            .iter()
            .map(|flush| flush.bytes)
            .collect::<Vec<_>>(),
        [4_096, 65_536, 524_288]
    );
    assert!(
        measured
            .flush
            .iter()
            .all(|flush| flush.count > 0 && flush.p50_us <= flush.max_us)
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let absent = Plan {
        directory: directory.path().join("absent"),
        ..plan.clone()
    };
    assert!(matches!(
        measure(&absent, |_| ()),
        Err(ProbeError::Io { .. })
    ));
    let small = Plan {
        file_bytes_max: 1 << 20,
        ..plan
    };
    assert!(matches!(
        measure(&small, |_| ()),
        Err(ProbeError::NoSpace { .. })
    ));
}
