//! Reads a segment in order: chunk by chunk of whole runs, the next ones on their way while one is looked at, and for a
//! reader that goes on where its last read ended also between its reads (DESIGN §5.3). On the shard's core.
//!
//! Invariant: a chunk that was read for later is used only with the index that cut it, and only if no compaction gave the
//! segment's name another file since. What a shard holds of such chunks is bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::platform::sync::oneshot;

use super::index::SegmentIndex;
use super::segment_indexes::{SharedIndex, SwapState};
use super::storage_shard::Shard;
use crate::platform::File;
use crate::types::{FilePosition, Offset, PartitionId};

/// Bytes of runs that are read together; a longer run is read alone.
const CHUNK_BYTES: u64 = 256 << 10;
/// A reader asks for another chunk while it has less than this on its way …
const ON_THE_WAY_BYTES: u64 = 1 << 20;
/// … or less than this while producers wait for the journal: its next write waits behind what the disk has to read.
const ON_THE_WAY_BYTES_BESIDE_PRODUCERS: u64 = 256 << 10;
/// A longer run is not read before it is asked for.
const AHEAD_RUN_BYTES_MAX: u64 = 1 << 20;
/// Chunks of one shard; beyond this, nothing is read that was not asked for.
const CHUNKS_BYTES_MAX: u64 = 8 << 20;
/// Readers of one shard that are known when they come again.
const READERS_MAX: usize = 16;
/// A reader that has not come again for so long is forgotten when another one leaves.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The readers of a shard that may go on.
#[derive(Default)]
pub(crate) struct SegmentReaders {
    /// Least recently used first.
    known: RefCell<VecDeque<SegmentReader>>,
    /// Bytes of the chunks of all readers, also of those at work.
    chunk_bytes: Rc<Cell<u64>>,
}

/// The segment that is read, as it is at that moment.
pub(crate) struct SegmentView {
    pub(crate) id: PartitionId,
    pub(crate) base: Offset,
    pub(crate) swap: SwapState,
    pub(crate) index: SharedIndex,
}

/// Somebody who reads a segment in order.
pub(crate) struct SegmentReader {
    view: SegmentView,
    /// It came again where it had ended: worth reading ahead for.
    is_sequential: bool,
    /// Where it will go on.
    next_offset: Offset,
    /// When it was last here.
    used: Duration,
    /// In the order of the file, one behind the other.
    chunks: VecDeque<Chunk>,
    /// The run behind them.
    next_run: usize,
}

/// Whole runs, read or on their way.
pub(crate) struct Chunk {
    pub(crate) first_run: usize,
    pub(crate) start: FilePosition,
    pub(crate) length: usize,
    /// It was read for later: what seems wrong with it is looked at once more.
    pub(crate) is_ahead: bool,
    content: Content,
    _share: Share,
}

enum Content {
    OnTheWay(oneshot::Receiver<io::Result<Bytes>>),
    Read(Bytes),
    /// And found good as a whole.
    Good(Bytes),
}

/// A chunk's part of its shard's bytes.
struct Share {
    bytes: u64,
    all: Rc<Cell<u64>>,
}

impl Share {
    fn new(bytes: u64, all: &Rc<Cell<u64>>) -> Share {
        all.set(all.get() + bytes);
        Share {
            bytes,
            all: all.clone(),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.bytes);
    }
}

impl SegmentReaders {
    /// The reader that ended its last read of this segment at `offset`, or a new one.
    pub(crate) fn take(&self, view: SegmentView, offset: Offset) -> SegmentReader {
        let mut known = self.known.borrow_mut();
        let place = known
            .iter()
            .position(|reader| reader.next_offset == offset && reader.view.is_same(&view));
        match place.and_then(|place| known.remove(place)) {
            Some(reader) => SegmentReader {
                is_sequential: true,
                ..reader
            },
            None => {
                let next_run = view.index.borrow().run_of_offset(offset).unwrap_or(0);
                SegmentReader {
                    view,
                    is_sequential: false,
                    next_offset: offset,
                    used: Duration::ZERO,
                    chunks: VecDeque::new(),
                    next_run,
                }
            }
        }
    }

    /// Knows the reader when it comes again at `next_offset`.
    pub(crate) fn keep(&self, mut reader: SegmentReader, next_offset: Offset, now: Duration) {
        if reader.view.swap.is_renaming {
            return;
        }
        reader.next_offset = next_offset;
        reader.used = now;
        for chunk in &mut reader.chunks {
            chunk.is_ahead = true;
        }
        let mut known = self.known.borrow_mut();
        known.retain(|other| now.saturating_sub(other.used) < IDLE_MAX);
        if known.len() == READERS_MAX {
            known.pop_front();
        }
        known.push_back(reader);
    }

    pub(crate) fn forget(&self, id: PartitionId, base: Offset) {
        let mut known = self.known.borrow_mut();
        known.retain(|reader| (reader.view.id, reader.view.base) != (id, base));
    }

    pub(crate) fn forget_partition(&self, id: PartitionId) {
        self.known
            .borrow_mut()
            .retain(|reader| reader.view.id != id);
    }

    pub(crate) fn forget_all(&self) {
        self.known.borrow_mut().clear();
    }
}

impl SegmentView {
    fn is_same(&self, other: &SegmentView) -> bool {
        (self.id, self.base, self.swap) == (other.id, other.base, other.swap)
            && Rc::ptr_eq(&self.index, &other.index)
    }
}

impl SegmentReader {
    /// Whether something was read, or asked for, before this read came.
    pub(crate) fn has_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Offset of the first record that [`Self::next`] may bring.
    pub(crate) fn next_base_offset(&self) -> Option<Offset> {
        let index = self.view.index.borrow();
        let run = self
            .chunks
            .front()
            .map_or(self.next_run, |chunk| chunk.first_run);
        (run < index.run_count()).then(|| index.run(run).base_offset)
    }

    /// The next chunk; `None` at the end of what the segment has. The read that this is for ends at `until`: behind it only
    /// readers who go on read ahead, and whoever has to.
    pub(crate) async fn next(
        &mut self,
        shard: &Shard,
        file: &File,
        until: FilePosition,
    ) -> io::Result<Option<Chunk>> {
        loop {
            self.ask(shard, file, until, self.chunks.is_empty());
            let Some(mut chunk) = self.chunks.pop_front() else {
                return Ok(None);
            };
            if let Content::OnTheWay(coming) = &mut chunk.content {
                match coming.await {
                    Ok(Ok(bytes)) => chunk.content = Content::Read(bytes),
                    _ if chunk.is_ahead => {
                        self.read_again(&chunk);
                        continue;
                    }
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(io::Error::other("the shard stops")),
                }
            }
            // The disk goes on while this one is looked at.
            self.ask(shard, file, until, false);
            return Ok(Some(chunk));
        }
    }

    /// Gives back a chunk that was found good and of which a part is left.
    pub(crate) fn put_back(&mut self, mut chunk: Chunk) {
        if let Content::Read(bytes) = chunk.content {
            chunk.content = Content::Good(bytes);
        }
        self.chunks.push_front(chunk);
    }

    /// Has the chunk that came last, and all behind it, read once more.
    pub(crate) fn read_again(&mut self, chunk: &Chunk) {
        self.chunks.clear();
        self.next_run = chunk.first_run;
    }

    /// Asks the disk for chunks until enough are on their way; for one at least if `is_needed` and there is one.
    fn ask(&mut self, shard: &Shard, file: &File, until: FilePosition, mut is_needed: bool) {
        let on_the_way = |chunk: &Chunk| match chunk.content {
            Content::OnTheWay(_) => chunk.length as u64,
            Content::Read(_) | Content::Good(_) => 0,
        };
        let mut coming: u64 = self.chunks.iter().map(on_the_way).sum();
        let index = self.view.index.borrow();
        index.close_run();
        let all = &shard.readers.chunk_bytes;
        let enough = match shard.journal.is_busy() {
            true => ON_THE_WAY_BYTES_BESIDE_PRODUCERS,
            false => ON_THE_WAY_BYTES,
        };
        while is_needed || coming < enough {
            let mut limits = Limits {
                until,
                ahead_bytes: 0,
                is_needed,
            };
            if self.is_sequential {
                limits.ahead_bytes = CHUNKS_BYTES_MAX.saturating_sub(all.get());
            }
            let Some(runs) = next_chunk(&index, self.next_run, &limits) else {
                return;
            };
            let start = index.run(runs.start).position;
            let length = (index.run(runs.end - 1).end().0 - start.0) as usize;
            self.next_run = runs.end;
            self.chunks.push_back(Chunk {
                first_run: runs.start,
                start,
                length,
                is_ahead: false,
                content: Content::OnTheWay(read(shard, file, start, length)),
                _share: Share::new(length as u64, all),
            });
            coming += length as u64;
            is_needed = false;
        }
    }
}

impl Chunk {
    /// What was read, and whether all of it is known to be good.
    pub(crate) fn bytes(&self) -> (Bytes, bool) {
        match &self.content {
            Content::OnTheWay(_) => unreachable!("a reader gives out what has come"),
            Content::Read(bytes) => (bytes.clone(), false),
            Content::Good(bytes) => (bytes.clone(), true),
        }
    }
}

/// How far a chunk may go.
struct Limits {
    /// The end of what is asked for.
    until: FilePosition,
    /// Bytes that may lie behind that.
    ahead_bytes: u64,
    /// Whoever asks cannot do without the first run.
    is_needed: bool,
}

/// The runs from `first` on that are read together.
fn next_chunk(index: &SegmentIndex, first: usize, limits: &Limits) -> Option<Range<usize>> {
    let mut length = 0;
    let mut end = first;
    while end < index.run_count() {
        let run = index.run(end);
        let run_bytes = u64::from(run.length);
        let is_first = end == first;
        let is_asked_for = run.end() <= limits.until || (is_first && limits.is_needed);
        let may_be_ahead =
            run_bytes <= AHEAD_RUN_BYTES_MAX && length + run_bytes <= limits.ahead_bytes;
        let fits = is_first || length + run_bytes <= CHUNK_BYTES;
        if !fits || !(is_asked_for || may_be_ahead) {
            break;
        }
        length += run_bytes;
        end += 1;
    }
    (end > first).then_some(first..end)
}

/// Starts a read that goes on also while nobody waits for it.
fn read(
    shard: &Shard,
    file: &File,
    start: FilePosition,
    length: usize,
) -> oneshot::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = oneshot::channel();
    let file = file.clone();
    shard.count(|counters| counters.segment_read_bytes += length as u64);
    shard.runtime.spawn(async move {
        if !sender.is_closed() {
            // Whoever asked may have gone meanwhile.
            let _ = sender.send(file.read_at(u64::from(start.0), length).await);
        }
    });
    receiver
}
