//! Takes appends in: checks that their segment bytes are allocated and that they may be pinned, plans them, and queues
//! them for the journal (DESIGN §5.2, Space). On the shard's core.
//!
//! Invariant: per partition first come, first planned; nothing is planned whose segment bytes are not allocated. The
//! usual case takes no await; otherwise one task per partition works off the waiting ones in order.

use std::rc::Rc;
use std::time::Duration;

use net::platform::sync::oneshot;

use super::append::{AppendRequest, Appended, PlanOutcome, PlannedAppend};
use super::error::AppendError;
use super::journal::commit::{Pending, Ticket};
use super::journal::format::{EntryHeader, EntryKind};
use super::journal::group::{Entry, Payload};
use super::segment_files::Room;
use super::storage_shard::{AppendWaiter, DuplicateWaiter, Partition, Shard};
use crate::types::{FilePosition, Offset, PartitionId};

/// Appends that find no space are told of at most so often per shard.
const NO_SPACE_WARNING_EVERY: Duration = Duration::from_secs(10);

/// An append that is not planned yet.
pub(crate) struct Waiting {
    request: AppendRequest,
    pub(crate) waiter: AppendWaiter,
}

/// Takes the append in, now if possible.
pub(crate) fn admit(
    shard: &Rc<Shard>,
    id: PartitionId,
    request: AppendRequest,
    waiter: AppendWaiter,
) {
    if let Some(cause) = shard.journal.poison() {
        return drop(waiter.send(Err(AppendError::Poisoned(cause.to_string()))));
    }
    let mut partitions = shard.partitions.borrow_mut();
    let Some(partition) = partitions
        .get_mut(&id)
        .filter(|partition| !partition.closing)
    else {
        return drop(waiter.send(Err(AppendError::UnknownPartition)));
    };
    if shard.stopping.get() {
        return drop(waiter.send(Err(AppendError::Stopping)));
    }
    if partition.waiting.is_empty()
        && !partition.admitting
        && obstacle(shard, partition, &request).is_none()
    {
        return plan(shard, partition, request, waiter);
    }
    partition.waiting.push_back(Waiting { request, waiter });
    if !partition.admitting {
        partition.admitting = true;
        let task = shard.clone();
        shard
            .runtime
            .spawn(async move { work_off(&task, id).await });
    }
}

/// What must happen before the request can be planned.
enum Obstacle {
    /// Too much is pinned.
    Dirty,
    /// Its bytes are not allocated in this segment.
    Room {
        segment_base: Offset,
        position: FilePosition,
        size: u32,
        new: bool,
    },
}

fn obstacle(shard: &Shard, partition: &Partition, request: &AppendRequest) -> Option<Obstacle> {
    let lacking = lacking(shard, partition, request)?;
    // A resend of what is in the log writes nothing. Refused, it would soon not be remembered any more, as smaller
    // batches behind it are taken in, and its producer could never go on (RELIABILITY I2).
    (!partition.log.is_duplicate(request)).then_some(lacking)
}

/// What the request's bytes lack, if they are to be written.
fn lacking(shard: &Shard, partition: &Partition, request: &AppendRequest) -> Option<Obstacle> {
    let size = request.batch.len() as u32;
    let place = partition.log.place(request);
    if !partition
        .writer
        .has_room(place.segment_base, place.file_position, size)
    {
        let new = place.roll && !partition.writer.knows(place.segment_base);
        return Some(Obstacle::Room {
            segment_base: place.segment_base,
            position: place.file_position,
            size,
            new,
        });
    }
    (!shard.dirty_fits(u64::from(size))).then_some(Obstacle::Dirty)
}

async fn work_off(shard: &Rc<Shard>, id: PartitionId) {
    loop {
        let changed = shard.written.notified();
        let next = shard.with_partition(id, |partition| {
            let Some(front) = partition.waiting.front() else {
                partition.admitting = false;
                return Step::Done;
            };
            if partition.closing {
                return Step::Refuse(AppendError::UnknownPartition);
            }
            match obstacle(shard, partition, &front.request) {
                None => Step::Plan,
                Some(Obstacle::Dirty) => Step::Wait,
                Some(Obstacle::Room {
                    segment_base,
                    position,
                    size,
                    new,
                }) => {
                    let segment_bytes_max = partition.log.config().segment_bytes;
                    Step::Allocate(Room {
                        directory: partition.directory.clone(),
                        id,
                        segment_base,
                        position,
                        size,
                        new,
                        segment_bytes_max,
                    })
                }
            }
        });
        match next {
            None | Some(Step::Done) => return,
            Some(Step::Plan) => {
                shard.with_partition(id, |partition| {
                    let Some(front) = partition.waiting.pop_front() else {
                        return;
                    };
                    plan(shard, partition, front.request, front.waiter);
                });
            }
            Some(Step::Refuse(error)) => refuse_front(shard, id, error),
            Some(Step::Wait) => {
                shard.write_work.notify_one();
                changed.await;
            }
            Some(Step::Allocate(room)) => match shard.files.make_room(shard, &room).await {
                Ok(allocated) => {
                    shard.with_partition(id, |partition| {
                        partition.writer.set_allocated(room.segment_base, allocated)
                    });
                }
                Err(error) => {
                    let refusal = if is_out_of_space(&error) {
                        warn_of_no_space(shard, &room.directory);
                        AppendError::OutOfSpace
                    } else {
                        shard.journal.poison_with(&format!(
                            "allocating a segment of {}: {error}",
                            room.directory
                        ));
                        AppendError::Poisoned(error.to_string())
                    };
                    refuse_front(shard, id, refusal);
                }
            },
        }
    }
}

/// On a full disk every append comes here: the log hears of the first one, then of how many there were.
fn warn_of_no_space(shard: &Shard, directory: &str) {
    let now = shard.runtime.monotonic();
    let (warned, refused) = shard.no_space.get();
    if warned.is_some_and(|warned| now.saturating_sub(warned) < NO_SPACE_WARNING_EVERY) {
        return shard.no_space.set((warned, refused + 1));
    }
    shard.no_space.set((Some(now), 0));
    tracing::warn!(
        shard = shard.id.0,
        directory,
        refused_since_last_told = refused,
        "no space for a segment: appends are refused until there is some"
    );
}

enum Step {
    Done,
    Plan,
    Wait,
    Refuse(AppendError),
    Allocate(Room),
}

fn refuse_front(shard: &Shard, id: PartitionId, error: AppendError) {
    let front = shard.with_partition(id, |partition| {
        let front = partition.waiting.pop_front()?;
        if matches!(error, AppendError::OutOfSpace) {
            partition.log.note_refused(&front.request);
        }
        Some(front)
    });
    if let Some(front) = front.flatten() {
        drop(front.waiter.send(Err(error)));
    }
}

/// Whether the error only says that the file system is full.
pub(crate) fn is_out_of_space(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
        || error.kind() == std::io::ErrorKind::StorageFull
}

fn plan(shard: &Shard, partition: &mut Partition, request: AppendRequest, waiter: AppendWaiter) {
    if let Some(cause) = shard.journal.poison() {
        return drop(waiter.send(Err(AppendError::Poisoned(cause.to_string()))));
    }
    match partition.log.plan_append(&request) {
        Err(error) => drop(waiter.send(Err(error))),
        Ok(PlanOutcome::Duplicate {
            appended,
            durable: true,
            ..
        }) => drop(waiter.send(Ok(appended))),
        Ok(PlanOutcome::Duplicate {
            appended,
            wait_until,
            ..
        }) => {
            partition.duplicates.push_back(DuplicateWaiter {
                wait_until,
                appended,
                waiter,
            });
        }
        Ok(PlanOutcome::Append(planned)) => {
            if planned.roll {
                shard.count(|counters| counters.segment_rolls += 1);
            }
            shard
                .dirty_bytes
                .set(shard.dirty_bytes.get() + u64::from(planned.size));
            let id = partition.log.id();
            shard.cache.borrow_mut().push(
                id,
                planned.batch.clone(),
                planned.segment_base,
                planned.file_position,
            );
            let base_offset = planned.base_offset;
            shard.journal.submit(to_pending(id, planned, waiter));
            if crate::planted::is(crate::planted::Bug::HighWatermarkAhead) {
                partition.log.apply_append(base_offset);
                shard.partition_moved(partition);
            }
        }
    }
}

fn to_pending(id: PartitionId, planned: PlannedAppend, waiter: AppendWaiter) -> Pending {
    let header = EntryHeader {
        kind: EntryKind::Batch,
        partition: id,
        leader_epoch: planned.leader_epoch,
        base_offset: planned.base_offset,
        last_offset: planned.last_offset,
        segment_base_offset: planned.segment_base,
        file_position: u64::from(planned.file_position.0),
        length: planned.size,
        payload_position: 0,
        payload_bytes: planned.size,
    };
    let payload = Payload::Batch {
        prefix: planned.batch.prefix,
        body: planned.batch.body.clone(),
    };
    let ticket = Ticket::Append {
        appended: planned.appended,
        waiter,
    };
    Pending {
        entry: Entry { header, payload },
        ticket,
        planned: Some(Rc::new(planned)),
    }
}

/// A future for what the waiter gets.
pub(crate) fn channel() -> (
    AppendWaiter,
    oneshot::Receiver<Result<Appended, AppendError>>,
) {
    oneshot::channel()
}
