//! The edge around a shard's group partitions: moves requests in, records to the log, and answers out.
//!
//! One per shard, never leaves its executor. Order for each request: decide, replay, append; answers leave when
//! everything appended before them is durable, also answers that changed nothing, so nobody is told what a crash could
//! take back. When an append fails, the partition's memory is dropped, whoever waits is sent away, and the log is read
//! again. Requests meanwhile are answered "loading".

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::platform::Runtime;
use net::platform::sync::{Notify, Semaphore, remote_oneshot};
use net::records::{BatchBuilder, BatchHeader};

use super::OFFSETS_TOPIC;
use super::error::GroupError;
use super::load;
use super::partition::GroupPartition;
use super::request::{GroupCall, GroupReply};
use super::settings::GroupSettings;
use super::turn::{Effects, Now, Token};
use crate::cluster::MetadataImage;
use crate::limits::{GROUP_BATCH_BYTES, GROUP_LOADS_TOGETHER_MAX};
use crate::log::{AppendOrigin, AppendRequest, PendingAppend, Storage};
use crate::types::{PartitionId, TopicId};

/// How long after a first failed append or read the log is read again …
const LOAD_AGAIN: Duration = Duration::from_millis(500);
/// … and how long after one of many in a row, at most.
const LOAD_AGAIN_MAX: Duration = Duration::from_secs(16);
/// Timers that fire together before other tasks get their turn.
const FIRE_TOGETHER_MAX: usize = 64;

type ReplySender = remote_oneshot::Sender<GroupReply>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    inner: Rc<Inner>,
}

struct Inner {
    runtime: Runtime,
    storage: Storage,
    image: RefCell<Arc<MetadataImage>>,
    settings: RefCell<Rc<GroupSettings>>,
    seats: RefCell<BTreeMap<i32, Rc<Seat>>>,
    loads: Semaphore,
    /// The deadline that the timer task sleeps until.
    sleeping_until: Cell<i64>,
    earlier: Notify,
    stopped: Cell<bool>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    loads: Cell<u64>,
    records: Cell<u64>,
    commits: Cell<u64>,
    append_failures: Cell<u64>,
}

/// Plain numbers of one shard's groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupMetrics {
    /// Groups of either protocol.
    pub groups: u64,
    /// Their members.
    pub members: u64,
    /// Committed offsets kept.
    pub offsets: u64,
    /// Requests that wait for other members.
    pub waiting: u64,
    /// Partitions whose log is being read.
    pub loading: u64,
    /// Times that a partition's log was read.
    pub loads: u64,
    /// Records appended.
    pub records: u64,
    /// Offsets committed.
    pub commits: u64,
    /// Appends that failed.
    pub append_failures: u64,
}

impl GroupMetrics {
    /// Adds another shard's.
    pub fn add(&mut self, other: &GroupMetrics) {
        self.groups += other.groups;
        self.members += other.members;
        self.offsets += other.offsets;
        self.waiting += other.waiting;
        self.loading += other.loading;
        self.loads += other.loads;
        self.records += other.records;
        self.commits += other.commits;
        self.append_failures += other.append_failures;
    }

    /// Each number by its name on the metrics page, and whether it only grows. The first two are Kafka's.
    pub fn for_each(&self, mut put: impl FnMut(&str, bool, u64)) {
        put(
            "kafka_coordinator_group_groupmetadatamanager_numgroups",
            false,
            self.groups,
        );
        put(
            "kafka_coordinator_group_groupmetadatamanager_numoffsets",
            false,
            self.offsets,
        );
        put("tidelog_groups", false, self.groups);
        put("tidelog_group_members", false, self.members);
        put("tidelog_group_offsets", false, self.offsets);
        put("tidelog_group_requests_waiting", false, self.waiting);
        put("tidelog_group_partitions_loading", false, self.loading);
        put("tidelog_group_loads_total", true, self.loads);
        put("tidelog_group_records_total", true, self.records);
        put("tidelog_group_offsets_committed_total", true, self.commits);
        put(
            "tidelog_group_append_failures_total",
            true,
            self.append_failures,
        );
    }
}

/// What a group committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupOffset {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The topic's incarnation; all zero if it is not known.
    pub topic_id: TopicId,
    /// The next offset to read.
    pub offset: i64,
}

/// One partition of the offsets topic.
struct Seat {
    id: PartitionId,
    /// `None` while its log is read, and after it went away.
    state: RefCell<Option<GroupPartition>>,
    /// Callers whose answer is not decided yet.
    parked: RefCell<BTreeMap<Token, ReplySender>>,
    next_token: Cell<u64>,
    /// Appends that are not durable yet, each with the answers that wait for it.
    in_flight: RefCell<VecDeque<InFlight>>,
    releasing: Cell<bool>,
    failed: Cell<bool>,
    /// Appends and reads that failed since an append last went well; the first of them is named in the log.
    failures: Cell<u32>,
    gone: Cell<bool>,
}

struct InFlight {
    append: Option<PendingAppend>,
    replies: Vec<(ReplySender, GroupReply)>,
}

impl Coordinator {
    /// The coordinator of a shard that owns no partition of the offsets topic yet.
    #[must_use]
    pub fn new(runtime: &Runtime, storage: &Storage, image: Arc<MetadataImage>) -> Coordinator {
        let settings = Rc::new(GroupSettings::of_image(&image));
        Coordinator {
            inner: Rc::new(Inner {
                runtime: runtime.clone(),
                storage: storage.clone(),
                image: RefCell::new(image),
                settings: RefCell::new(settings),
                seats: RefCell::default(),
                loads: Semaphore::new(GROUP_LOADS_TOGETHER_MAX),
                sleeping_until: Cell::new(i64::MAX),
                earlier: Notify::new(),
                stopped: Cell::new(false),
                counters: Counters::default(),
            }),
        }
    }

    /// Fires deadlines; ends with the shard.
    pub async fn run_timers(self) {
        loop {
            let inner = &self.inner;
            let now = inner.now();
            let mut fired = 0;
            let seats: Vec<Rc<Seat>> = inner.seats.borrow().values().cloned().collect();
            for seat in &seats {
                fired += inner.fire_due(seat, now);
            }
            if inner.stopped.get() {
                return;
            }
            if fired > 0 {
                inner.runtime.yield_now().await;
                continue;
            }
            let next = seats
                .iter()
                .filter_map(|seat| seat.state.borrow().as_ref()?.next_deadline())
                .min();
            inner.sleeping_until.set(next.unwrap_or(i64::MAX));
            let earlier = inner.earlier.notified();
            match next {
                None => earlier.await,
                Some(next) => {
                    let wait = u64::try_from(next - now.monotonic_ms).unwrap_or(0).max(1);
                    let _ = inner
                        .runtime
                        .timeout(Duration::from_millis(wait), earlier)
                        .await;
                }
            }
        }
    }

    /// Follows the cluster: `owned` are the partitions of the offsets topic that this shard keeps; those that are new are
    /// read, those that went away are dropped, offsets of deleted topics are removed.
    pub fn follow(&self, image: &Arc<MetadataImage>, owned: &[PartitionId]) {
        let inner = &self.inner;
        let before = inner.image.replace(image.clone());
        inner
            .settings
            .replace(Rc::new(GroupSettings::of_image(image)));
        let known: Vec<Rc<Seat>> = inner.seats.borrow().values().cloned().collect();
        for seat in known {
            if !owned.contains(&seat.id) {
                inner.seats.borrow_mut().remove(&seat.id.index);
                seat.gone.set(true);
                seat.state.borrow_mut().take();
                seat.dismiss(GroupError::NotCoordinator);
            }
        }
        let removed: BTreeMap<Arc<str>, TopicId> = before
            .topics()
            .filter(|topic| image.topic_by_id(topic.id).is_none())
            .map(|topic| (topic.name.clone(), topic.id))
            .collect();
        let staying: Vec<Rc<Seat>> = inner.seats.borrow().values().cloned().collect();
        if !removed.is_empty() && inner.storage.is_writable() {
            for seat in staying {
                let now = inner.now();
                let settings = inner.settings();
                let effects = seat
                    .state
                    .borrow_mut()
                    .as_mut()
                    .map(|partition| partition.topics_changed(now, &settings, image, &removed));
                if let Some(effects) = effects {
                    inner.carry_out(&seat, effects);
                }
            }
        }
        for id in owned {
            if inner.seats.borrow().contains_key(&id.index) {
                continue;
            }
            let seat = Rc::new(Seat::new(*id));
            inner.seats.borrow_mut().insert(id.index, seat.clone());
            if load::is_empty(&inner.storage, *id) {
                inner.let_in(&seat, GroupPartition::default());
            } else {
                inner.runtime.spawn(load_seat(self.inner.clone(), seat));
            }
        }
    }

    /// Takes a request up. Never waits: the answer goes its own way.
    pub fn take(&self, call: GroupCall) {
        let inner = &self.inner;
        let GroupCall {
            partition,
            request,
            reply,
        } = call;
        let seat = inner.seats.borrow().get(&partition).cloned();
        let refusal = match &seat {
            _ if inner.stopped.get() => Some(GroupError::NotAvailable),
            None => Some(GroupError::NotCoordinator),
            Some(seat) if seat.state.borrow().is_none() => Some(GroupError::Loading),
            Some(_) if request.writes() && !inner.storage.is_writable() => {
                Some(GroupError::NotAvailable)
            }
            Some(_) => None,
        };
        let (Some(seat), None) = (seat, refusal) else {
            let error = refusal.unwrap_or(GroupError::NotCoordinator);
            let _ = reply.send(GroupReply::Failed(error));
            return;
        };
        let token = seat.park(reply);
        let (now, settings, image) = (inner.now(), inner.settings(), inner.image());
        let effects = seat
            .state
            .borrow_mut()
            .as_mut()
            .map(|partition| partition.handle(now, &settings, &image, token, request));
        if let Some(effects) = effects {
            inner.carry_out(&seat, effects);
        }
    }

    /// Takes no further request, sends away who waits, and lets no deadline pass any more.
    pub fn stop(&self) {
        self.inner.stopped.set(true);
        self.inner.earlier.notify_all();
        let seats: Vec<Rc<Seat>> = self.inner.seats.borrow().values().cloned().collect();
        for seat in seats {
            seat.dismiss(GroupError::NotAvailable);
        }
    }

    /// The first `count_max` of its committed offsets, partition by partition, and how many there are beyond.
    #[must_use]
    pub fn committed(&self, count_max: usize) -> (Vec<GroupOffset>, u64) {
        let (mut found, mut all) = (Vec::new(), 0);
        for seat in self.inner.seats.borrow().values() {
            let state = seat.state.borrow();
            let Some(partition) = state.as_ref() else {
                continue;
            };
            all += partition.offsets.len();
            for group in partition.offsets.groups() {
                if found.len() >= count_max {
                    break;
                }
                let left = count_max - found.len();
                let offsets = partition.offsets.of_group(group).take(left);
                found.extend(offsets.map(|(topic, index, committed)| GroupOffset {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: index,
                    topic_id: committed.topic_id,
                    offset: committed.offset,
                }));
            }
        }
        let left_out = all - found.len();
        (found, left_out as u64)
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> GroupMetrics {
        let counters = &self.inner.counters;
        let mut metrics = GroupMetrics {
            loads: counters.loads.get(),
            records: counters.records.get(),
            commits: counters.commits.get(),
            append_failures: counters.append_failures.get(),
            ..GroupMetrics::default()
        };
        for seat in self.inner.seats.borrow().values() {
            metrics.waiting += seat.parked.borrow().len() as u64;
            match seat.state.borrow().as_ref() {
                None => metrics.loading += 1,
                Some(partition) => {
                    metrics.groups += partition.groups.len() as u64;
                    metrics.members += partition.member_count() as u64;
                    metrics.offsets += partition.offsets.len() as u64;
                }
            }
        }
        metrics
    }
}

impl Inner {
    fn now(&self) -> Now {
        Now {
            monotonic_ms: i64::try_from(self.runtime.monotonic().as_millis()).unwrap_or(i64::MAX),
            wall_ms: self.runtime.wall_clock_ms(),
        }
    }

    fn settings(&self) -> Rc<GroupSettings> {
        self.settings.borrow().clone()
    }

    fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    /// The log was read: requests are taken from now on.
    fn let_in(self: &Rc<Self>, seat: &Rc<Seat>, mut partition: GroupPartition) {
        let loads = &self.counters.loads;
        loads.set(loads.get() + 1);
        if !self.storage.is_writable() {
            // It never will be again: what was committed can be read, and nothing is decided any more.
            seat.state.replace(Some(partition));
            return;
        }
        let (now, settings, image) = (self.now(), self.settings(), self.image());
        let effects = partition.loaded(now, &settings, &image);
        seat.state.replace(Some(partition));
        self.carry_out(seat, effects);
    }

    fn fire_due(self: &Rc<Self>, seat: &Rc<Seat>, now: Now) -> usize {
        if !self.storage.is_writable() {
            // No deadline is let pass, or each would fail to be written and have the log read again.
            if let Some(partition) = seat.state.borrow_mut().as_mut() {
                partition.forget_deadlines();
            }
            seat.dismiss(GroupError::NotAvailable);
            return 0;
        }
        let (settings, image) = (self.settings(), self.image());
        let mut fired = 0;
        while fired < FIRE_TOGETHER_MAX && !self.stopped.get() {
            let effects = seat
                .state
                .borrow_mut()
                .as_mut()
                .and_then(|partition| partition.poll_timers(now, &settings, &image));
            let Some(effects) = effects else {
                break;
            };
            self.carry_out(seat, effects);
            fired += 1;
        }
        fired
    }

    fn send(&self, replies: Vec<(ReplySender, GroupReply)>) {
        let commits = &self.counters.commits;
        for (sender, reply) in replies {
            if let GroupReply::Committed(results) = &reply {
                let committed = results.iter().filter(|result| result.is_ok()).count();
                commits.set(commits.get() + committed as u64);
            }
            // The caller may have gone.
            let _ = sender.send(reply);
        }
    }

    /// Appends what a decision recorded and sends its answers, or lets them wait.
    fn carry_out(self: &Rc<Self>, seat: &Rc<Seat>, mut effects: Effects) {
        let replies = seat.take_parked(std::mem::take(&mut effects.replies));
        let records = &self.counters.records;
        records.set(records.get() + effects.records.len() as u64);
        for request in batches(&effects, self.runtime.wall_clock_ms()) {
            let append = self.storage.append(seat.id, request);
            seat.in_flight.borrow_mut().push_back(InFlight {
                append: Some(append),
                replies: Vec::new(),
            });
        }
        let waiting = match seat.in_flight.borrow_mut().back_mut() {
            Some(last) => {
                last.replies.extend(replies);
                true
            }
            None => {
                self.send(replies);
                false
            }
        };
        if waiting && !seat.releasing.replace(true) {
            self.runtime.spawn(release(self.clone(), seat.clone()));
        }
        let next = seat
            .state
            .borrow()
            .as_ref()
            .and_then(GroupPartition::next_deadline);
        if next.is_some_and(|next| next < self.sleeping_until.get()) {
            self.earlier.notify_all();
        }
    }
}

impl Seat {
    fn new(id: PartitionId) -> Seat {
        Seat {
            id,
            state: RefCell::new(None),
            parked: RefCell::default(),
            next_token: Cell::new(0),
            in_flight: RefCell::default(),
            releasing: Cell::new(false),
            failed: Cell::new(false),
            failures: Cell::new(0),
            gone: Cell::new(false),
        }
    }

    fn park(&self, reply: ReplySender) -> Token {
        let token = Token(self.next_token.replace(self.next_token.get() + 1));
        self.parked.borrow_mut().insert(token, reply);
        token
    }

    fn take_parked(&self, replies: Vec<(Token, GroupReply)>) -> Vec<(ReplySender, GroupReply)> {
        let mut parked = self.parked.borrow_mut();
        replies
            .into_iter()
            .filter_map(|(token, reply)| Some((parked.remove(&token)?, reply)))
            .collect()
    }

    /// Waits, the longer the more often it failed, before the log is read again.
    async fn wait_after_failure(&self, runtime: &Runtime) {
        let before = self.failures.get();
        self.failures.set(before.saturating_add(1));
        runtime.sleep(pause_after(before)).await;
    }

    /// Sends everybody away whose answer is not decided.
    fn dismiss(&self, error: GroupError) {
        let parked = std::mem::take(&mut *self.parked.borrow_mut());
        for reply in parked.into_values() {
            let _ = reply.send(GroupReply::Failed(error));
        }
    }
}

/// Sends answers as the appends before them become durable; ends when none is left.
async fn release(inner: Rc<Inner>, seat: Rc<Seat>) {
    loop {
        let append = match seat.in_flight.borrow_mut().front_mut() {
            Some(front) => front.append.take().expect("taken once, by this task"),
            None => break,
        };
        let result = append.await;
        let done = seat.in_flight.borrow_mut().pop_front();
        let replies = done.map(|done| done.replies).unwrap_or_default();
        if let Err(error) = &result
            && !seat.failed.replace(true)
        {
            if seat.failures.get() == 0 {
                tracing::error!(partition = seat.id.index, %error, "what groups decided could not be written; their log is read again");
            }
            let failures = &inner.counters.append_failures;
            failures.set(failures.get() + 1);
            seat.state.borrow_mut().take();
            seat.dismiss(GroupError::NotAvailable);
        }
        if seat.failed.get() {
            // What they say may rest on what was lost.
            for (sender, _) in replies {
                let _ = sender.send(GroupReply::Failed(GroupError::NotAvailable));
            }
        } else {
            seat.failures.set(0);
            inner.send(replies);
        }
    }
    seat.releasing.set(false);
    if seat.failed.get() && !inner.stopped.get() {
        seat.wait_after_failure(&inner.runtime).await;
        seat.failed.set(false);
        load_seat(inner, seat).await;
    }
}

/// Reads the partition's log until it could be read, then lets requests in. A log that cannot be read waits without
/// keeping others from being read.
async fn load_seat(inner: Rc<Inner>, seat: Rc<Seat>) {
    loop {
        let turn = inner.loads.acquire(1).await;
        if seat.gone.get() || inner.stopped.get() {
            return;
        }
        match load::load(&inner.runtime, &inner.storage, seat.id).await {
            Ok(partition) => {
                drop(turn);
                if !seat.gone.get() && !inner.stopped.get() {
                    inner.let_in(&seat, partition);
                }
                return;
            }
            Err(error) => {
                drop(turn);
                if seat.failures.get() == 0 {
                    tracing::error!(topic = OFFSETS_TOPIC, partition = seat.id.index, %error, "the log of groups cannot be read; tried again");
                }
                seat.wait_after_failure(&inner.runtime).await;
            }
        }
    }
}

/// How long to wait after a failure that `before` others came before.
fn pause_after(before: u32) -> Duration {
    let doubled = LOAD_AGAIN.checked_mul(1 << before.min(16));
    doubled.map_or(LOAD_AGAIN_MAX, |pause| pause.min(LOAD_AGAIN_MAX))
}

/// The records as batches, in order: one, unless the decision says that each first part of them can stand alone.
fn batches(effects: &Effects, now_ms: i64) -> Vec<AppendRequest> {
    let mut requests = Vec::new();
    let mut builder = BatchBuilder::new();
    for record in &effects.records {
        let is_full = builder.size_in_bytes() + record.bytes() > GROUP_BATCH_BYTES;
        if effects.divisible && is_full && !builder.is_empty() {
            requests.push(request(&mut builder, now_ms));
        }
        builder.append(Some(&record.key), record.value.as_deref(), &[], now_ms);
    }
    if !builder.is_empty() {
        requests.push(request(&mut builder, now_ms));
    }
    requests
}

fn request(builder: &mut BatchBuilder, now_ms: i64) -> AppendRequest {
    let batch = Bytes::from(builder.build(0, -1));
    let header = BatchHeader::parse(&batch).expect("just built");
    AppendRequest {
        batch,
        header,
        max_timestamp: now_ms,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms,
        origin: AppendOrigin::Coordinator,
    }
}

#[cfg(test)]
mod tests {
    use super::super::offsets::tombstone;
    use super::*;

    fn effects(divisible: bool) -> Effects {
        let mut effects = Effects {
            divisible,
            ..Effects::default()
        };
        let topic = "t".repeat(200);
        for partition in 0..8_000 {
            effects.record(&tombstone("g", &topic, partition));
        }
        effects
    }

    #[test]
    fn a_decision_is_one_batch_unless_its_first_parts_can_stand_alone() {
        let whole = batches(&effects(false), 0);
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].header.record_count, 8_000);
        let parts = batches(&effects(true), 0);
        assert_eq!(parts.len(), 2);
        assert!(
            parts
                .iter()
                .all(|part| part.batch.len() <= GROUP_BATCH_BYTES)
        );
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses: Vec<_> = (0..7)
            .map(|before| pause_after(before).as_millis())
            .collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000]);
        assert_eq!(pause_after(u32::MAX), LOAD_AGAIN_MAX);
    }
}
