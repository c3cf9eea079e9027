//! What a shard does by the clock: retention, the deletion of what lies below a log start, the expiry of producers.
//! Decisions are in `retention` and `producer_state`. On the shard's core, one task per shard.
//!
//! Invariant: a log start is durable before a byte below it goes, and a wall clock that jumped deletes nothing and
//! forgets nobody until it is believed (RELIABILITY R10).

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::journal::files::TIDELOG_DIRECTORY;
use super::read_again::read_again;
use super::retention::{RetentionClock, plan_retention};
use super::segment_removal;
use super::storage::move_log_start;
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};

/// After a start, retention waits at least this long, as Kafka's does.
const FIRST_CHECK_MS: u64 = 30_000;
/// Producers are looked at this often, as in Kafka (`producer.id.expiration.check.interval.ms`).
const PRODUCER_CHECK_MS: u64 = 600_000;
/// The time that passes between two marks of the clock on disk.
const CLOCK_MARK_MS: u64 = 60_000;
/// Name of a mark, before the shard's number.
const CLOCK_MARK_PREFIX: &str = "clock-";
/// What is taken for the time of a mark that cannot be read: a clock that says more is in doubt.
const LONG_AGO_MS: i64 = 0;
/// A mark is one decimal number.
const CLOCK_MARK_BYTES_MAX: usize = 32;
/// Partitions looked at before others run.
const PARTITIONS_AT_ONCE: usize = 64;

/// When a thing that is done again and again is due, by the monotonic clock.
struct Every {
    period_ms: u64,
    due_ms: u64,
}

impl Every {
    fn new(now_ms: u64, first_ms: u64, period_ms: u64) -> Every {
        let period_ms = period_ms.max(1);
        Every {
            period_ms,
            due_ms: now_ms + first_ms.min(period_ms),
        }
    }

    /// Whether it is due; then the next time is set.
    fn take(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.due_ms;
        if due {
            self.due_ms = now_ms + self.period_ms;
        }
        due
    }
}

/// The loop. Ends when the shard stops, or its journal has failed.
pub(crate) async fn run(shard: &Rc<Shard>) {
    work(shard).await;
    shard.task_ended();
}

async fn work(shard: &Rc<Shard>) {
    // Both clocks at one moment: reading the mark takes time, in which one of them may jump.
    let (start_ms, wall_ms) = (monotonic_ms(shard), shard.runtime.wall_clock_ms());
    let marked_ms = read_mark(shard).await;
    let mut clock = RetentionClock::new(wall_ms, start_ms as i64, marked_ms);
    shard.retention_clock.set(Some(clock));
    let mut retention = Every::new(start_ms, FIRST_CHECK_MS, shard.settings.retention_check_ms);
    let mut producers = Every::new(start_ms, PRODUCER_CHECK_MS, PRODUCER_CHECK_MS);
    let mut mark = Every::new(start_ms, 0, CLOCK_MARK_MS);
    loop {
        let now_ms = monotonic_ms(shard);
        // Expiry follows its own setting if that is shorter than the time between two looks.
        let expiration_ms = u64::try_from(shard.producer_expiration_ms.get()).unwrap_or(0);
        producers.period_ms = PRODUCER_CHECK_MS.min(expiration_ms.max(1));
        producers.due_ms = producers.due_ms.min(now_ms + producers.period_ms);
        let next_ms = retention.due_ms.min(producers.due_ms).min(mark.due_ms);
        let wait_ms = next_ms.saturating_sub(now_ms).clamp(1, CLOCK_MARK_MS);
        shard.pause(Duration::from_millis(wait_ms)).await;
        if shard.stopping.get() || shard.journal.poison().is_some() {
            return;
        }
        let now_ms = monotonic_ms(shard);
        let believed_ms = clock.believe(shard.runtime.wall_clock_ms(), now_ms as i64);
        shard.retention_clock.set(Some(clock));
        if mark.take(now_ms)
            && let Some(believed_ms) = believed_ms
        {
            write_mark(shard, believed_ms).await;
        }
        if retention.take(now_ms) {
            if believed_ms.is_none() {
                tracing::warn!(
                    shard = shard.id.0,
                    "the wall clock jumped ahead: for now nothing is deleted by age"
                );
            }
            look_at_all(shard, believed_ms).await;
        }
        if producers.take(now_ms)
            && let Some(believed_ms) = believed_ms
        {
            expire_producers(shard, believed_ms).await;
        }
    }
}

fn monotonic_ms(shard: &Shard) -> u64 {
    u64::try_from(shard.runtime.monotonic().as_millis()).unwrap_or(u64::MAX)
}

fn partitions(shard: &Shard) -> Vec<PartitionId> {
    shard.partitions.borrow().keys().copied().collect()
}

async fn look_at_all(shard: &Rc<Shard>, believed_ms: Option<i64>) {
    for (count, id) in partitions(shard).into_iter().enumerate() {
        if count % PARTITIONS_AT_ONCE == PARTITIONS_AT_ONCE - 1 {
            shard.runtime.yield_now().await;
        }
        if shard.stopping.get() || shard.journal.poison().is_some() {
            return;
        }
        look_at(shard, id, believed_ms).await;
    }
}

/// One partition: what retention takes, and what an earlier log start left because appends were outstanding.
async fn look_at(shard: &Rc<Shard>, id: PartitionId, believed_ms: Option<i64>) {
    let wall_ms = shard.runtime.wall_clock_ms();
    let log_start = shard.with_partition(id, |partition| {
        if partition.closing {
            return None;
        }
        segment_removal::remove_below_log_start(shard, partition);
        let plan = plan_retention(&partition.log, believed_ms)?;
        if plan.roll_active {
            // What is appended from here on is not what was judged. An end that cannot be proved is not moved.
            let rolled = if partition.log.end_is_unproved() {
                None
            } else {
                partition.log.roll(wall_ms)
            };
            rolled?;
            shard.count(|counters| counters.segment_rolls += 1);
        }
        tracing::info!(
            directory = &*partition.directory,
            log_start = plan.log_start.0,
            by_time = plan.by_time,
            by_size = plan.by_size,
            "retention takes segments"
        );
        Some(plan.log_start)
    });
    let Some(log_start) = log_start.flatten() else {
        return;
    };
    move_start(shard, id, log_start).await;
}

async fn move_start(shard: &Rc<Shard>, id: PartitionId, log_start: Offset) {
    if let Err(error) = move_log_start(shard, id, log_start).await {
        tracing::warn!(%error, log_start = log_start.0, "retention could not move a log start; it tries again");
    }
}

async fn expire_producers(shard: &Rc<Shard>, believed_ms: i64) {
    let expiration_ms = shard.producer_expiration_ms.get();
    for (count, id) in partitions(shard).into_iter().enumerate() {
        if count % PARTITIONS_AT_ONCE == PARTITIONS_AT_ONCE - 1 {
            shard.runtime.yield_now().await;
        }
        shard.with_partition(id, |partition| {
            partition.log.expire_producers(believed_ms, expiration_ms)
        });
    }
}

fn mark_path(shard: &Shard) -> String {
    format!("{TIDELOG_DIRECTORY}/{CLOCK_MARK_PREFIX}{}", shard.id.0)
}

/// The last believed time that a run of this shard wrote down, or else one of any shard: the number of shards may have
/// grown. None only where no run wrote one: what is there and cannot be read leaves the clock in doubt.
async fn read_mark(shard: &Shard) -> Option<i64> {
    let own = mark_at(shard, &mark_path(shard)).await;
    if let Ok(Some(marked_ms)) = own {
        return Some(marked_ms);
    }
    let mut in_doubt = own.is_err();
    let mut newest = None;
    match read_again(|| shard.disk.list(TIDELOG_DIRECTORY)).await {
        Ok(entries) => {
            for entry in entries {
                let number = entry.name.strip_prefix(CLOCK_MARK_PREFIX);
                if number.is_none_or(|number| number.parse::<u16>().is_err()) {
                    continue;
                }
                match mark_at(shard, &format!("{TIDELOG_DIRECTORY}/{}", entry.name)).await {
                    Ok(marked_ms) => newest = newest.max(marked_ms),
                    Err(_) => in_doubt = true,
                }
            }
        }
        Err(_) => in_doubt = true,
    }
    newest.or(in_doubt.then_some(LONG_AGO_MS))
}

/// What a mark says; `None` if it is not there.
async fn mark_at(shard: &Shard, path: &str) -> io::Result<Option<i64>> {
    let content = match read_again(|| shard.disk.read_small(path, CLOCK_MARK_BYTES_MAX)).await {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let marked_ms = std::str::from_utf8(&content).map(|text| text.trim().parse());
    match marked_ms {
        Ok(Ok(marked_ms)) => Ok(Some(marked_ms)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Without space for it, the next start believes an older mark, and so waits before it deletes by age.
async fn write_mark(shard: &Shard, believed_ms: i64) {
    let written = shard
        .disk
        .write_small(&mark_path(shard), format!("{believed_ms}\n").as_bytes())
        .await;
    if let Err(error) = written {
        tracing::debug!(shard = shard.id.0, %error, "the time was not written down");
    }
}

#[cfg(test)]
mod tests {
    use super::Every;

    #[test]
    fn something_periodic_is_due_at_its_period_and_first_no_later() {
        let mut every = Every::new(1_000, 30_000, 5_000);
        assert!(!every.take(5_999));
        assert!(every.take(6_000) && !every.take(6_000));
        assert!(!every.take(10_999));
        assert!(
            every.take(99_000) && !every.take(103_999) && every.take(104_000),
            "no catching up"
        );
        assert!(Every::new(1_000, 0, 5_000).take(1_000));
    }
}
