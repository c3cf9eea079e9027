//! The commit loop: gather what arrived, one aligned write that is durable when it completes, acknowledge
//! everybody in it (DESIGN §5.2).
//! Runs on the shard's core, one task per shard.
//!
//! Invariant: nobody hears of a group before its flush returned, and after any failed write or flush nobody hears of
//! anything any more: the journal is poisoned, for good.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use net::platform::Runtime;
use net::platform::sync::{Notify, oneshot};

use super::files::{JournalFile, JournalFiles, create_journal_file};
use super::format::Generation;
use super::group::{ChainEnd, Entry, GroupPlace, assemble, group_bytes};
use crate::log::append::Appended;
use crate::log::error::AppendError;
use crate::platform::{Disk, OpenMode};
use crate::types::ShardId;

/// After a flush without a successor, the time until an empty group says that it is flushed (C7).
const CONFIRM_AFTER: Duration = Duration::from_millis(10);
/// A journal that was idle for so long counts as such.
const BUSY_FOR: Duration = Duration::from_millis(10);
/// How often a loop that can go on only when somebody else acts looks again.
const RECHECK: Duration = Duration::from_millis(100);
/// How many such looks after a journal file could not be made until it is tried again.
const GROWTH_RETRY_CHECKS: u32 = 10;

/// What to do when an entry is durable.
pub enum Ticket {
    /// Answer a producer.
    Append {
        /// What it gets.
        appended: Appended,
        /// Who waits.
        waiter: oneshot::Sender<Result<Appended, AppendError>>,
    },
    /// Answer somebody inside the shard.
    Control(oneshot::Sender<Result<(), AppendError>>),
    /// Nobody waits.
    None,
}

/// An entry on its way into the journal.
pub struct Pending {
    /// The entry.
    pub entry: Entry,
    /// What its durability brings about.
    pub ticket: Ticket,
    /// The batch as planned, for the write-behind; none for other kinds.
    pub planned: Option<Rc<crate::log::append::PlannedAppend>>,
}

/// The shard around the journal.
pub trait JournalOwner {
    /// Takes from the front of `queue` what goes into the next group, about `bytes_max`; may divert entries.
    fn take_group(&self, queue: &mut VecDeque<Pending>, bytes_max: usize) -> Vec<Pending>;
    /// The group that ends at `end` is flushed.
    fn group_durable(&self, end: ChainEnd, entries: Vec<Pending>);
    /// These entries will never be durable; the journal has failed with `cause`.
    fn group_failed(&self, cause: &str, entries: Vec<Pending>);
    /// Journal files run short: a checkpoint would free some.
    fn checkpoint_wanted(&self);
}

/// Bounds of one journal.
#[derive(Debug, Clone, Copy)]
pub struct JournalSettings {
    /// Length of a file made from now on.
    pub file_bytes: u64,
    /// A group takes about this many bytes at most.
    pub group_bytes_max: usize,
    /// Whether a flush precedes the acknowledgement.
    pub flush: bool,
}

impl JournalSettings {
    /// How the journal's files are opened: so that every write is its own flush, if each group needs one.
    pub fn open_mode(&self) -> OpenMode {
        if self.flush && !crate::planted::is(crate::planted::Bug::AckBeforeFlush) {
            OpenMode::WriteThrough
        } else {
            OpenMode::Write
        }
    }
}

/// Counters for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalCounters {
    /// Groups flushed, empty ones included.
    pub groups: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// One shard's journal.
pub struct Journal {
    runtime: Runtime,
    disk: Disk,
    shard: ShardId,
    generation: Generation,
    settings: JournalSettings,
    queue: RefCell<VecDeque<Pending>>,
    files: RefCell<JournalFiles>,
    /// The last group that was written and flushed.
    end: Cell<ChainEnd>,
    /// The highest group number that the journal itself says is flushed.
    confirmed: Cell<u64>,
    poison: RefCell<Option<Rc<str>>>,
    stopping: Cell<bool>,
    stopped: Cell<bool>,
    counters: Cell<JournalCounters>,
    /// When the last group was done; `None` while one is written.
    idle_since: Cell<Option<Duration>>,
    /// Files with groups that are not flushed, where not every group is.
    unflushed: RefCell<Vec<JournalFile>>,
    work: Notify,
    files_changed: Notify,
    /// The loop that makes files has something to look at.
    growth: Notify,
}

impl Journal {
    /// A journal without a group yet.
    pub fn new(
        runtime: Runtime,
        disk: Disk,
        shard: ShardId,
        generation: Generation,
        settings: JournalSettings,
        files: JournalFiles,
    ) -> Journal {
        Journal {
            runtime,
            disk,
            shard,
            generation,
            settings,
            queue: RefCell::default(),
            files: RefCell::new(files),
            end: Cell::new(ChainEnd {
                group_number: 0,
                checksum: 0,
                file_number: 0,
                position: 0,
            }),
            confirmed: Cell::new(0),
            poison: RefCell::new(None),
            stopping: Cell::new(false),
            stopped: Cell::new(false),
            counters: Cell::default(),
            idle_since: Cell::new(Some(Duration::ZERO)),
            unflushed: RefCell::default(),
            work: Notify::new(),
            files_changed: Notify::new(),
            growth: Notify::new(),
        }
    }

    /// Queues an entry behind all others.
    pub fn submit(&self, pending: Pending) {
        self.queue.borrow_mut().push_back(pending);
        self.work.notify_one();
    }

    /// Queues entries in front of all others, in their order.
    pub fn submit_first(&self, entries: Vec<Pending>) {
        let mut queue = self.queue.borrow_mut();
        for pending in entries.into_iter().rev() {
            queue.push_front(pending);
        }
        drop(queue);
        self.work.notify_one();
    }

    /// Why nothing can be appended any more.
    pub fn poison(&self) -> Option<Rc<str>> {
        self.poison.borrow().clone()
    }

    /// Gives up for good; the first cause stays.
    pub fn poison_with(&self, cause: &str) {
        let mut poison = self.poison.borrow_mut();
        if poison.is_none() {
            tracing::error!(
                shard = self.shard.0,
                cause,
                "the journal failed: this shard takes no more appends"
            );
            *poison = Some(Rc::from(cause));
        }
        drop(poison);
        self.work.notify_one();
        self.files_changed.notify_all();
        self.growth.notify_one();
    }

    /// Whether somebody waits for groups, now or probably soon.
    pub fn is_busy(&self) -> bool {
        self.idle_since
            .get()
            .is_none_or(|since| self.runtime.monotonic().saturating_sub(since) < BUSY_FOR)
    }

    /// The last flushed group.
    pub fn end(&self) -> ChainEnd {
        self.end.get()
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Numbers for the metrics.
    pub fn counters(&self) -> JournalCounters {
        self.counters.get()
    }

    /// How often a file was freed for use again.
    pub fn recycled_files(&self) -> u64 {
        self.files.borrow().recycled()
    }

    /// Groups up to `group_number` are in both checkpoints.
    pub fn release(&self, group_number: u64) {
        self.files.borrow_mut().release(group_number);
        self.files_changed.notify_all();
    }

    /// Files that hold groups some checkpoint still needs.
    pub fn live_files(&self) -> usize {
        self.files.borrow().live_files()
    }

    /// Lets the loop finish what is queued and end.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.work.notify_one();
        self.files_changed.notify_all();
    }

    /// Whether the loop has ended.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// The loop. Ends after [`Journal::stop`] or a failure; entries that come after a failure are failed at once.
    pub async fn run(&self, owner: &impl JournalOwner) {
        loop {
            let work = self.work.notified();
            if let Some(cause) = self.poison() {
                self.fail_all(owner, &cause);
                if self.stopping.get() {
                    break;
                }
                work.await;
                continue;
            }
            let entries =
                owner.take_group(&mut self.queue.borrow_mut(), self.settings.group_bytes_max);
            let confirm = entries.is_empty();
            if confirm {
                if self.stopping.get() {
                    break;
                }
                let unconfirmed =
                    self.confirmed.get() < self.end.get().group_number && self.settings.flush;
                if !unconfirmed {
                    work.await;
                    continue;
                }
                if self.runtime.timeout(CONFIRM_AFTER, work).await.is_ok() {
                    continue;
                }
            } else {
                drop(work);
            }
            self.idle_since.set(None);
            self.commit(owner, entries, confirm).await;
            self.idle_since.set(Some(self.runtime.monotonic()));
        }
        self.stopped.set(true);
        self.growth.notify_one();
    }

    async fn commit(&self, owner: &impl JournalOwner, mut entries: Vec<Pending>, confirm: bool) {
        match self.write_group(owner, &mut entries).await {
            Ok(end) => {
                let flushed_before = end.group_number - 1;
                // An empty group's own flush needs no further word; it said all there is.
                self.confirmed.set(if confirm {
                    end.group_number
                } else {
                    flushed_before
                });
                self.end.set(end);
                // A direct run may have failed meanwhile, and with it all that its partition had planned.
                match self.poison() {
                    None => owner.group_durable(end, entries),
                    Some(cause) => owner.group_failed(&cause, entries),
                }
            }
            Err(error) => {
                self.poison_with(&format!("journal of shard {}: {error}", self.shard));
                let cause = self.poison().expect("just poisoned");
                owner.group_failed(&cause, entries);
            }
        }
    }

    async fn write_group(
        &self,
        owner: &impl JournalOwner,
        entries: &mut [Pending],
    ) -> io::Result<ChainEnd> {
        let bytes = group_bytes(
            entries
                .iter()
                .map(|pending| pending.entry.journal_bytes())
                .sum(),
        );
        let (file, position) = self.place(owner, bytes as u64).await?;
        let previous = self.end.get();
        let place = GroupPlace {
            generation: self.generation,
            shard: self.shard.0,
            previous,
            known_flushed: if self.settings.flush {
                previous.group_number
            } else {
                0
            },
            file_number: file.number,
            position,
        };
        let mut buffer = self.disk.allocate_buffer_to_fill(bytes);
        let count = entries.len();
        let end = assemble(
            &place,
            entries.iter_mut().map(|pending| &mut pending.entry),
            count,
            &mut buffer,
        );
        // Opened so that this is also the flush, if each group needs one.
        file.file.write_at(buffer, position).await?;
        if !self.settings.flush {
            self.flush_if_asked(file, entries).await?;
        }
        let mut counters = self.counters.get();
        counters.groups += 1;
        counters.bytes += bytes as u64;
        self.counters.set(counters);
        Ok(end)
    }

    /// Without a flush per group one batch may still ask for its own. Replay reaches a group only through those in front
    /// of it, so every file since the last flush is flushed.
    async fn flush_if_asked(&self, written: JournalFile, entries: &[Pending]) -> io::Result<()> {
        {
            let mut unflushed = self.unflushed.borrow_mut();
            unflushed.retain(|file| file.number != written.number);
            unflushed.push(written);
        }
        let asked = entries.iter().any(|pending| {
            pending
                .planned
                .as_ref()
                .is_some_and(|planned| planned.flush)
        });
        if asked && !crate::planted::is(crate::planted::Bug::AckBeforeFlush) {
            for file in self.unflushed.take() {
                file.file.fdatasync().await?;
            }
        }
        Ok(())
    }

    /// The place for the next group. Waits for a free file.
    async fn place(&self, owner: &impl JournalOwner, bytes: u64) -> io::Result<(JournalFile, u64)> {
        loop {
            let changed = self.files_changed.notified();
            let placed = self.files.borrow_mut().place(bytes, &self.end.get());
            if self.should_grow() {
                self.growth.notify_one();
            }
            if let Some(placed) = placed {
                return Ok(placed);
            }
            if let Some(cause) = self.poison() {
                return Err(io::Error::other(cause.to_string()));
            }
            self.growth.notify_one();
            owner.checkpoint_wanted();
            let _ = self.runtime.timeout(RECHECK, changed).await;
        }
    }

    /// The loop that makes files ahead of need, so that no group waits for one to be filled. Ends with the
    /// other loop, or after a failure.
    pub async fn grow_ahead(&self) {
        loop {
            let wanted = self.growth.notified();
            if self.stopped.get() || self.poison().is_some() {
                return;
            }
            // A failure to grow is not a failed write: a checkpoint frees files without new space.
            if self.should_grow()
                && let Err(error) = self.grow(Some(&self.runtime)).await
            {
                tracing::warn!(shard = self.shard.0, %error, "no space for another journal file");
                // Every group asks; a full disk is tried, and told of, now and then.
                for _ in 0..GROWTH_RETRY_CHECKS {
                    if !self.stopped.get() && self.poison().is_none() {
                        self.runtime.sleep(RECHECK).await;
                    }
                }
            }
            wanted.await;
        }
    }

    /// Makes one more file, up to the bound; with a runtime at half the disk's speed, for the sake of the groups that are
    /// written meanwhile.
    async fn grow(&self, gently: Option<&Runtime>) -> io::Result<()> {
        let Some(number) = self.files.borrow().next_number() else {
            return Ok(());
        };
        let made = create_journal_file(
            &self.disk,
            self.shard,
            number,
            self.settings.file_bytes,
            self.settings.open_mode(),
            gently,
        )
        .await?;
        self.files.borrow_mut().add(made);
        self.files_changed.notify_all();
        Ok(())
    }

    /// Whether the next change of file would have to wait, and making one more is allowed.
    fn should_grow(&self) -> bool {
        let files = self.files.borrow();
        files.free_files() == 0 && files.next_number().is_some()
    }

    /// Makes the first file, if there is none.
    pub async fn prepare(&self) -> io::Result<()> {
        if self.files.borrow().free_files() == 0 {
            self.grow(None).await?;
        }
        Ok(())
    }

    /// Whether the next change of file has to wait for a checkpoint.
    pub fn is_short(&self) -> bool {
        let files = self.files.borrow();
        files.free_files() == 0 && files.next_number().is_none()
    }

    fn fail_all(&self, owner: &impl JournalOwner, cause: &str) {
        let entries: Vec<Pending> = self.queue.borrow_mut().drain(..).collect();
        if !entries.is_empty() {
            owner.group_failed(cause, entries);
        }
    }
}

/// Drives all futures together; the first error wins, after all have ended.
pub async fn join_all<T: std::future::Future<Output = io::Result<()>>>(
    futures: Vec<T>,
) -> io::Result<()> {
    let mut futures: Vec<std::pin::Pin<Box<T>>> = futures.into_iter().map(Box::pin).collect();
    let mut result = Ok(());
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(done) => {
                if let (Err(error), true) = (done, result.is_ok()) {
                    result = Err(error);
                }
                false
            }
            std::task::Poll::Pending => true,
        });
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    result
}
