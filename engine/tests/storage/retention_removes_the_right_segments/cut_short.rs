//! Retention that a kill or a power cut interrupts, anywhere.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use engine::log::ReadError;
use engine::platform::sim::CutMode;

use super::{files, fill, log_start, logs, machine, sleep};
use crate::rig::{batch, partition};

/// Kills or cuts at every few hundred microseconds around a retention that takes everything.
#[test]
fn retention_cut_short_anywhere_is_finished_by_the_next_start() {
    let modes = [
        None,
        Some(CutMode::Random(0.5)),
        Some(CutMode::Earliest(0.5)),
        Some(CutMode::Latest(0.5)),
    ];
    let mut seen = BTreeSet::new();
    for step in 0..120u64 {
        let topic = [("retention.ms", "20000"), ("file.delete.delay.ms", "2")];
        let mut machine = machine(100 + step, &topic);
        machine.settings.retention_check_ms = 40_000;
        machine.settings.checkpoint_interval_ms = if step % 2 == 0 { 400 } else { 1 << 40 };
        // Direct runs, too: their bytes are only in the segments.
        machine.settings.direct_run_bytes_min = if step % 3 == 0 { 9_000 } else { 1 << 20 };
        let goes_on = step % 5 == 0;
        machine.spawn(async move |started| {
            fill(&started, 0..15).await;
            sleep(&started, 29_900 + step).await;
            if goes_on {
                fill(&started, 15..u64::MAX).await;
            }
        });
        machine.run_for(30_000);
        // Virtual time: the check comes 30 s after the start.
        machine
            .simulation
            .run_for(Duration::from_micros(60 + 700 * (step % 60)));
        match modes[(step / 7) as usize % 4] {
            None => machine.kill(),
            Some(mode) => machine.cut_power(mode),
        }
        let is_there = |name: &str| {
            machine
                .disk
                .content(&format!("orders-0/{:020}.{name}", 10))
                .is_ok()
        };
        let (named, renamed) = (is_there("log"), is_there("log.deleted"));
        let taken = machine.run(async move |started| {
            assert!(
                started.report.damage.is_empty(),
                "step {step}: {}",
                started.report
            );
            let start = log_start(&started);
            assert!(goes_on || start == 0 || start == 15, "step {step}: {start}");
            let found = started.read_all(0, start).await.unwrap();
            let end = started.storage.offsets(partition(0)).unwrap().log_end().0;
            assert!(end >= 15, "step {step}: {end}");
            let expected: Vec<(i64, u64)> =
                (start..end).map(|offset| (offset, offset as u64)).collect();
            assert_eq!(found, expected, "step {step}");
            let names = files(&started).await;
            assert!(
                names.iter().all(|name| !name.ends_with(".deleted")),
                "step {step}: {names:?}"
            );
            let below = logs(&started)
                .await
                .iter()
                .filter(|stem| stem.parse::<i64>().unwrap_or(0) < start)
                .count();
            assert_eq!(below, 0, "step {step}: {names:?}");
            fill(&started, end as u64..end as u64 + 3).await;
            assert_eq!(started.read_all(0, end).await.unwrap().len(), 3);
            start > 0
        });
        seen.insert((taken, named, renamed));
    }
    for state in [
        (false, true, false),
        (true, true, false),
        (true, false, true),
        (true, false, false),
    ] {
        assert!(seen.contains(&state), "{state:?} was not hit: {seen:?}");
    }
}

/// Life after life with retention always at work: what stays is a whole suffix, and a log start never goes back.
#[test]
fn retention_under_random_crashes_leaves_a_whole_suffix() {
    for seed in 0..16u64 {
        let delay = (seed % 4 * 7).to_string();
        let topic = [
            ("retention.bytes", "150000"),
            ("retention.ms", "700"),
            ("file.delete.delay.ms", delay.as_str()),
        ];
        let mut machine = machine(1_000 + seed, &topic);
        machine.settings.retention_check_ms = 5 + seed % 40;
        machine.settings.direct_run_bytes_min = if seed % 2 == 0 { 20_000 } else { 1 << 20 };
        machine.settings.checkpoint_interval_ms = 20 + 13 * (seed % 9);
        let acknowledged = Rc::new(Cell::new(0));
        let mut log_start_before = 0;
        for life in 0..8u64 {
            let (end, step) = (acknowledged.clone(), seed * 31 + life * 17);
            let found = machine.run(async move |started| {
                assert!(
                    started.report.damage.is_empty(),
                    "seed {seed} life {life}: {}",
                    started.report
                );
                let offsets = started.storage.offsets(partition(0)).unwrap();
                let (start, log_end) = (offsets.log_start().0, offsets.log_end().0);
                assert!(
                    start >= log_start_before,
                    "seed {seed} life {life}: {start} after {log_start_before}"
                );
                assert!(
                    log_end >= end.get(),
                    "seed {seed} life {life}: {log_end} of {}",
                    end.get()
                );
                let expected: Vec<(i64, u64)> = (start..log_end)
                    .map(|offset| (offset, offset as u64))
                    .collect();
                // Retention may pass while this reads.
                match started.read_all(0, start).await {
                    Ok(found) => assert_eq!(found, expected, "seed {seed} life {life}"),
                    Err(error) => assert!(
                        matches!(error, ReadError::OffsetOutOfRange { .. }),
                        "{error:?}"
                    ),
                }
                end.set(log_end);
                let storage = started.storage.clone();
                started.runtime.clone().spawn(async move {
                    for number in log_end.. {
                        let now_ms = started.runtime.wall_clock_ms();
                        let size = 100 + (number as usize * 7_919 + step as usize) % 40_000;
                        let mut request = batch(number as u64, size, None);
                        (request.max_timestamp, request.now_ms) = (now_ms, now_ms);
                        let appended = storage.append(partition(0), request).await.unwrap();
                        assert_eq!(appended.base_offset.0, number);
                        end.set(number + 1);
                        if number % 50 == 0 {
                            sleep(&started, 1_000 * (step % 3)).await;
                        }
                    }
                });
                (start, log_end)
            });
            let (start, first_of_life) = found;
            log_start_before = start;
            machine
                .simulation
                .run_for(Duration::from_micros(100_000 + step * 7_919 % 400_000));
            match step % 4 {
                0 => machine.kill(),
                1 => machine.cut_power(CutMode::Earliest(0.5)),
                2 => machine.cut_power(CutMode::Latest(0.5)),
                _ => machine.cut_power(CutMode::Random(0.5)),
            }
            assert!(
                acknowledged.get() > first_of_life,
                "seed {seed} life {life}: it got somewhere"
            );
        }
        assert!(
            log_start_before > 0,
            "seed {seed}: retention took something"
        );
    }
}
