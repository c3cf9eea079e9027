//! Notices when a shard's tasks kept its thread for too long without yielding.
//!
//! A task wakes now and then; if it comes late and the thread burned CPU meanwhile, somebody held the core. CPU time
//! of the thread is measured, not the wall clock, so a shared machine does not count as a stall (DESIGN §6).

use std::time::Duration;

use super::Shard;

/// Longest run without yielding that is not counted.
const STALL_MAX: Duration = Duration::from_millis(50);
/// How often is looked while the shard is busy, and while it is idle.
const LOOK_BUSY: Duration = Duration::from_millis(25);
const LOOK_IDLE: Duration = Duration::from_millis(500);

/// Looks until the executor ends.
pub(super) async fn watch(shard: Shard) {
    let mut pause = LOOK_IDLE;
    let mut cpu_before = thread_cpu_time();
    loop {
        let start = shard.runtime().monotonic();
        shard.runtime().sleep(pause).await;
        let late = (shard.runtime().monotonic() - start).saturating_sub(pause);
        let cpu = thread_cpu_time();
        let burned = cpu.saturating_sub(cpu_before);
        cpu_before = cpu;
        if late > STALL_MAX && burned > STALL_MAX {
            shard
                .counters()
                .stalls
                .set(shard.counters().stalls.get() + 1);
            tracing::warn!(shard = shard.id().0, ?late, "the shard did not yield");
        }
        pause = if burned > pause / 10 {
            LOOK_BUSY
        } else {
            LOOK_IDLE
        };
    }
}

fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has a per-thread CPU clock");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
