//! Writes journaled batches to their segments, behind the acknowledgement, in large aligned runs (DESIGN §5.2). On the
//! shard's core: one loop, and one task per run.
//!
//! Invariant (C3): a partition has at most one run in flight, so a block never has two writes in flight; a run whose
//! first block is shared carries the bytes that were written before. A batch leaves memory only after its write.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::append::PlannedAppend;
use super::sealing;
use super::segment_indexes::ActiveIndex;
use super::storage_shard::{Partition, Shard};
use crate::platform::BLOCK_BYTES;
use crate::types::{FilePosition, Offset, PartitionId};

/// A partition with this many unwritten bytes is written without waiting for need.
const RUN_BYTES_READY: u64 = 512 << 10;
/// A run takes at most this many bytes, or one batch.
const RUN_BYTES_MAX: u64 = 2 << 20;
/// Runs in flight per shard while nobody waits for them: a journal's flush waits for what the disk already has, so that
/// more of them together would be felt by every producer.
const WRITES_IN_FLIGHT_CALM: usize = 2;
/// Runs in flight per shard when memory runs short.
const WRITES_IN_FLIGHT_MAX: usize = 8;

struct WriteItem {
    planned: Rc<PlannedAppend>,
    group: u64,
}

/// What is written of a partition's active segment.
struct Tail {
    segment_base: Offset,
    /// Behind the last byte written.
    position: u64,
    /// The bytes of the last block up to `position`; not known until the first write after a start.
    block: Option<Vec<u8>>,
}

/// The unwritten batches of one partition and the state of its segments' ends.
pub(crate) struct Writer {
    queue: VecDeque<WriteItem>,
    queued_bytes: u64,
    in_flight: bool,
    /// Write without waiting for a long run, up to this offset.
    urgent_up_to: Offset,
    tail: Tail,
    /// Segments that may grow, with the end of their allocated space.
    rooms: Vec<(Offset, u64)>,
    /// Everything below is in segments.
    written_end: Offset,
}

/// A run taken from a queue.
struct Run {
    items: Vec<Rc<PlannedAppend>>,
    bytes: u64,
    directory: Rc<str>,
    segment_base: Offset,
    position: u64,
    head: Option<Vec<u8>>,
    /// A segment that the run leaves behind, complete.
    sealed: Option<Offset>,
}

impl Writer {
    /// A writer for a log whose segments hold everything up to `end`.
    pub(crate) fn new(segment_base: Offset, position: FilePosition, end: Offset) -> Writer {
        let position = u64::from(position.0);
        let block = position.is_multiple_of(BLOCK_BYTES as u64).then(Vec::new);
        Writer {
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight: false,
            urgent_up_to: Offset(-1),
            tail: Tail {
                segment_base,
                position,
                block,
            },
            rooms: Vec::new(),
            written_end: end,
        }
    }

    /// Adds a durable batch. Says which group is the oldest unwritten one if the partition has to be listed for it.
    pub(crate) fn push(&mut self, planned: Rc<PlannedAppend>, group: u64) -> Option<u64> {
        self.queued_bytes += u64::from(planned.size);
        self.queue.push_back(WriteItem { planned, group });
        (self.queue.len() == 1 && !self.in_flight).then_some(group)
    }

    /// Whether a run should start now.
    pub(crate) fn is_ready(&self) -> bool {
        let urgent = self
            .queue
            .front()
            .is_some_and(|item| item.planned.base_offset <= self.urgent_up_to);
        !self.in_flight && (self.queued_bytes >= RUN_BYTES_READY || urgent)
    }

    /// Everything up to `last` is to be written soon.
    pub(crate) fn hurry(&mut self, last: Offset) {
        self.urgent_up_to = self.urgent_up_to.max(last);
    }

    /// The offset below which everything is in segments.
    pub(crate) fn written_end(&self) -> Offset {
        self.written_end
    }

    /// Whether nothing is queued or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.in_flight
    }

    /// The group of the oldest unwritten batch.
    pub(crate) fn oldest_group(&self) -> Option<u64> {
        self.queue.front().map(|item| item.group)
    }

    /// Whether the segment's file is open for growth.
    pub(crate) fn knows(&self, base: Offset) -> bool {
        self.rooms.iter().any(|(room, _)| *room == base)
    }

    /// Whether the bytes are allocated.
    pub(crate) fn has_room(&self, base: Offset, position: FilePosition, size: u32) -> bool {
        let end = u64::from(position.0) + u64::from(size);
        self.rooms
            .iter()
            .any(|(room, allocated)| *room == base && end <= *allocated)
    }

    /// Space is allocated up to there.
    pub(crate) fn set_allocated(&mut self, base: Offset, end: u64) {
        match self.rooms.iter_mut().find(|(room, _)| *room == base) {
            Some((_, allocated)) => *allocated = (*allocated).max(end),
            None => self.rooms.push((base, end)),
        }
    }

    fn take_run(&mut self, directory: Rc<str>) -> Option<Run> {
        let front = self.queue.front().filter(|_| !self.in_flight)?;
        let segment_base = front.planned.segment_base;
        let position = u64::from(front.planned.file_position.0);
        let mut sealed = None;
        if segment_base != self.tail.segment_base {
            sealed = Some(self.tail.segment_base);
            self.rooms.retain(|(room, _)| *room >= segment_base);
            self.tail = Tail {
                segment_base,
                position: 0,
                block: Some(Vec::new()),
            };
        }
        assert_eq!(
            position, self.tail.position,
            "runs continue where the last one ended"
        );
        let mut items = Vec::new();
        let mut bytes = 0;
        for item in &self.queue {
            let size = u64::from(item.planned.size);
            if item.planned.segment_base != segment_base
                || (bytes > 0 && bytes + size > RUN_BYTES_MAX)
            {
                break;
            }
            bytes += size;
            items.push(item.planned.clone());
        }
        self.in_flight = true;
        Some(Run {
            items,
            bytes,
            directory,
            segment_base,
            position,
            head: self.tail.block.take(),
            sealed,
        })
    }

    /// The run is in the segment. Returns the last offset written.
    fn finish(&mut self, count: usize, bytes: u64, tail_block: Vec<u8>) -> Offset {
        let mut last = self.written_end;
        for item in self.queue.drain(..count) {
            last = item.planned.last_offset;
        }
        self.in_flight = false;
        self.queued_bytes -= bytes;
        self.tail.position += bytes;
        self.tail.block = Some(tail_block);
        self.written_end = Offset(last.0 + 1);
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        last
    }
}

/// The loop: starts runs while there is need and room for them.
pub(crate) async fn run(shard: &Rc<Shard>) {
    loop {
        let work = shard.write_work.notified();
        while shard.writes_in_flight.get() < writes_in_flight_max(shard)
            && shard.journal.poison().is_none()
            && let Some(id) = next(shard)
        {
            start(shard, id);
        }
        if shard.stopping.get() && shard.journal.is_stopped() && shard.writes_in_flight.get() == 0 {
            let done = shard.unwritten.borrow().is_empty() || shard.journal.poison().is_some();
            if done {
                shard.written.notify_all();
                return;
            }
        }
        work.await;
    }
}

fn is_pressed(shard: &Shard) -> bool {
    shard.dirty_bytes.get() > shard.settings.journal_dirty_bytes_max / 2
}

fn writes_in_flight_max(shard: &Shard) -> usize {
    if is_pressed(shard) {
        WRITES_IN_FLIGHT_MAX
    } else {
        WRITES_IN_FLIGHT_CALM
    }
}

/// The partition to write next: one with a long run, or the one with the oldest batch if memory or a checkpoint asks.
fn next(shard: &Shard) -> Option<PartitionId> {
    while let Some(id) = shard.write_ready.borrow_mut().pop_front() {
        if shard.with_partition(id, |partition| partition.writer.is_ready()) == Some(true) {
            return Some(id);
        }
    }
    let (group, id) = *shard.unwritten.borrow().first()?;
    (is_pressed(shard) || group <= shard.write_up_to.get()).then_some(id)
}

fn start(shard: &Rc<Shard>, id: PartitionId) {
    let run = shard.with_partition(id, |partition| {
        let oldest = partition.writer.oldest_group();
        if let Some(oldest) = oldest {
            shard.unwritten.borrow_mut().remove(&(oldest, id));
        }
        partition.writer.take_run(partition.directory.clone())
    });
    let Some(run) = run.flatten() else { return };
    if let Some(sealed) = run.sealed {
        turn_index(shard, id, sealed, run.segment_base);
    }
    shard.writes_in_flight.set(shard.writes_in_flight.get() + 1);
    let task = shard.clone();
    shard.runtime.spawn(async move {
        let count = run.items.len();
        let result = write(&task, id, &run).await;
        task.writes_in_flight.set(task.writes_in_flight.get() - 1);
        match result {
            Ok(tail_block) => finish(&task, id, &run, count, tail_block),
            Err(error) => task
                .journal
                .poison_with(&format!("writing a segment of {}: {error}", run.directory)),
        }
        task.written.notify_all();
        task.write_work.notify_one();
    });
}

/// A new segment is begun: the index of the one before goes where those of closed segments are.
fn turn_index(shard: &Shard, id: PartitionId, sealed: Offset, base: Offset) {
    let now_ms = shard.runtime.wall_clock_ms();
    shard.with_partition(id, |partition| {
        let (old, index) = std::mem::replace(
            &mut partition.index,
            (base, ActiveIndex::of_new_segment(base, now_ms)),
        );
        if let (ActiveIndex::Ready(index), true) = (index, old == sealed) {
            shard.indexes.keep(id, sealed, index);
        }
    });
}

fn finish(shard: &Rc<Shard>, id: PartitionId, run: &Run, count: usize, tail_block: Vec<u8>) {
    shard.release_dirty(run.bytes);
    let written = shard.written_since_checkpoint.get() + run.bytes;
    shard.written_since_checkpoint.set(written);
    if written >= shard.settings.written_bytes_before_checkpoint {
        shard.checkpoint_work.notify_one();
    }
    shard.with_partition(id, |partition: &mut Partition| {
        let last = partition.writer.finish(count, run.bytes, tail_block);
        for planned in &run.items {
            partition
                .index
                .1
                .push(&planned.batch.prefix, planned.batch.header());
        }
        shard.cache.borrow_mut().unpin(id, last);
        if let Some(oldest) = partition.writer.oldest_group() {
            shard.unwritten.borrow_mut().insert((oldest, id));
        }
        if partition.writer.is_ready() {
            shard.write_ready.borrow_mut().push_back(id);
        }
    });
    if let Some(sealed) = run.sealed {
        sealing::start(shard, id, run.directory.clone(), sealed);
    }
}

/// Writes the run and returns the bytes of its last, partial block.
async fn write(shard: &Shard, id: PartitionId, run: &Run) -> io::Result<Vec<u8>> {
    let file = shard
        .files
        .writable(&shard.disk, id, &run.directory, run.segment_base)
        .await?;
    let in_block = (run.position % BLOCK_BYTES as u64) as usize;
    let block_start = run.position - in_block as u64;
    let mut buffer = shard
        .disk
        .allocate_buffer_to_fill(in_block + run.bytes as usize);
    if in_block > 0 {
        match &run.head {
            Some(head) => buffer[..in_block].copy_from_slice(&head[..in_block]),
            None => {
                let head = file.read_at(block_start, in_block).await?;
                if head.len() != in_block {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the segment is shorter than its log",
                    ));
                }
                buffer[..in_block].copy_from_slice(&head);
            }
        }
    }
    let mut cursor = in_block;
    for planned in &run.items {
        for piece in [planned.batch.prefix.as_slice(), &planned.batch.body] {
            buffer[cursor..cursor + piece.len()].copy_from_slice(piece);
            cursor += piece.len();
        }
    }
    let tail_start = cursor - cursor % BLOCK_BYTES;
    let tail_block = buffer[tail_start..cursor].to_vec();
    file.write_at(buffer, block_start).await?;
    Ok(tail_block)
}
