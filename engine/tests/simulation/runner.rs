//! Runs seeds on threads of their own and reports failures with what led to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::run::{self, Outcome};
use crate::shared::Shared;

thread_local! {
    /// Of the run on this thread.
    static SHARED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// A number from the environment.
pub fn environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
    )
}

/// Runs one seed on this thread; the failure comes with its seed and the last lines.
pub fn run_seed(seed: u64) -> Result<Outcome, String> {
    let log = tracing_subscriber::fmt()
        .with_writer(|| Noted)
        .with_ansi(false)
        .without_time()
        .with_target(false);
    let _log = tracing::subscriber::set_default(log.with_max_level(tracing::Level::INFO).finish());
    let result = catch_unwind(AssertUnwindSafe(|| {
        run::run(seed, |shared| SHARED.set(Some(shared.clone())))
    }));
    let shared = SHARED.take();
    result.map_err(|cause| {
        let cause = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let tail = shared.map(|shared| shared.tail()).unwrap_or_default();
        format!(
            "SEED={seed}: {}\n{tail}SEED={seed}",
            cause.unwrap_or_else(|| "a panic".to_owned())
        )
    })
}

/// Runs all seeds on as many threads as there are cores; panics with the first failure. The sum of all counters.
pub fn run_seeds(seeds: Range<u64>) -> BTreeMap<String, u64> {
    let next = AtomicU64::new(seeds.start);
    let sum: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run_seed(seed) {
                        Ok(outcome) => {
                            let mut sum = sum.lock().expect("no panic under the lock");
                            outcome
                                .counters
                                .into_iter()
                                .for_each(|(name, count)| *sum.entry(name).or_default() += count);
                            *sum.entry("seeds".to_owned()).or_default() += 1;
                        }
                        Err(failure) => {
                            if environment("TIDELOG_KEEP_GOING").is_none() {
                                next.store(seeds.end, Ordering::Relaxed);
                            }
                            failures
                                .lock()
                                .expect("no panic under the lock")
                                .push(failure);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic under the lock");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    sum.into_inner().expect("no panic under the lock")
}

/// Takes the broker's own log lines into the run's.
struct Noted;

impl std::io::Write for Noted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        SHARED.with_borrow(|shared| {
            if let Some(shared) = shared {
                shared.note(String::from_utf8_lossy(bytes).trim_end());
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
