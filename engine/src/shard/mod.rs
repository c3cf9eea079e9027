//! A shard: one executor with its storage, its connections and its seat in the mesh.
//!
//! Invariant: what a shard owns never leaves its thread; other shards reach it by [`message::ShardRequest`] only. What
//! all shards know of the cluster is one immutable [`ClusterView`], replaced as a whole.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use net::platform::sync::{Closed, Semaphore, oneshot};
use net::platform::{Listener, Runtime};
use net::server::ReceiveBudget;

pub mod accept;
mod auto_creation;
pub mod connection;
mod control;
pub mod mesh;
pub mod message;
pub mod signal;
mod stall;
pub mod view;

pub use control::ControlEdge;
pub(crate) use control::new_topic_id;
pub use view::{ClusterView, TopicView};

use self::auto_creation::AutoCreation;
use crate::api::fetch_session::{
    self, FetchKind, FetchSessions, PartitionName, SessionAnswer, SessionRequest, Told,
};
use crate::cluster::producer_ids::ProducerIdBlock;
use crate::cluster::{ControlRequest, ControlResponse, MetadataImage, PartitionImage, TopicImage};
use crate::groups::{Coordinator, OFFSETS_TOPIC};
use crate::limits::METRIC_GROUP_OFFSETS_MAX;
use crate::log::compaction::CleanerSettings;
use crate::log::{Generation, RecoveredPartition, Storage, StorageError};
use crate::metrics::{Counters, ShardMetrics};
use crate::node::NodeSettings;
use crate::partition;
use crate::platform::Disk;
use crate::types::{LeaderEpoch, PartitionId, ShardId};
use accept::ConnectionCounts;
use connection::Connection;
use mesh::{Mesh, MeshSeat, ReturnAddress};
use message::{ShardRequest, ShardResponse};
use signal::{Outstanding, Signal};

/// How often connections are looked at for deadlines.
const DEADLINE_LOOK: Duration = Duration::from_secs(1);
/// Partitions that a shard creates at the same time.
const CREATIONS_TOGETHER_MAX: usize = 32;
/// How long after a partition could not be made it is tried again.
const CREATE_AGAIN: Duration = Duration::from_millis(500);
/// How long a stopping shard waits for its connections to finish their requests.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Everything a shard starts from; made on shard 0's executor and sent to the shard's own.
pub struct ShardSeed {
    /// Which shard.
    pub id: ShardId,
    /// Its seat in the mesh.
    pub seat: MeshSeat,
    /// The cluster at start.
    pub view: Arc<ClusterView>,
    /// The generation of its journal.
    pub generation: Generation,
    /// Its partitions as recovery left them.
    pub partitions: Vec<(RecoveredPartition, LeaderEpoch, Arc<tuning::TopicConfig>)>,
    /// The node's settings.
    pub settings: Arc<NodeSettings>,
}

/// A running shard. Cheap to clone, never leaves its executor.
#[derive(Clone)]
pub struct Shard {
    inner: Rc<Inner>,
}

struct Inner {
    id: ShardId,
    runtime: Runtime,
    storage: Storage,
    groups: Coordinator,
    mesh: Mesh,
    settings: Arc<NodeSettings>,
    view: RefCell<Arc<ClusterView>>,
    /// On shard 0 only.
    control: RefCell<Option<Rc<ControlEdge>>>,
    /// On shard 0 only.
    counts: RefCell<Option<ConnectionCounts>>,
    receive_budget: ReceiveBudget,
    fetch_budget: Semaphore,
    fetch_sessions: RefCell<FetchSessions>,
    producer_ids: RefCell<ProducerIdBlock>,
    auto_creation: AutoCreation,
    /// Their own tasks keep them alive.
    connections: RefCell<BTreeMap<u64, Weak<Connection>>>,
    next_connection: Cell<u64>,
    open: Outstanding,
    draining: Signal,
    stopped: Signal,
    counters: Counters,
}

impl Shard {
    /// Opens the shard's journal and starts to answer the mesh.
    pub async fn start(
        runtime: &Runtime,
        disk: &Disk,
        seed: ShardSeed,
    ) -> Result<Shard, StorageError> {
        let ShardSeed {
            id,
            seat,
            view,
            generation,
            partitions,
            settings,
        } = seed;
        let storage = Storage::start(
            runtime,
            disk,
            id,
            generation,
            settings.storage.clone(),
            partitions,
        )
        .await?;
        storage.set_producer_expiration(producer_expiration_ms(&view));
        storage.set_cleaner(CleanerSettings::of_shard(
            &view.image.broker_config,
            settings.shards,
        ));
        let groups = Coordinator::new(runtime, &storage, view.image.clone());
        let (mesh, receiver) = seat.take();
        let shard = Shard {
            inner: Rc::new(Inner {
                id,
                runtime: runtime.clone(),
                storage,
                groups,
                mesh,
                view: RefCell::new(view),
                control: RefCell::default(),
                counts: RefCell::default(),
                receive_budget: ReceiveBudget::new(settings.receive_bytes_max),
                fetch_budget: Semaphore::new(settings.fetch_bytes_max),
                fetch_sessions: RefCell::new(FetchSessions::new(settings.fetch_sessions_max)),
                producer_ids: RefCell::default(),
                auto_creation: AutoCreation::default(),
                connections: RefCell::default(),
                next_connection: Cell::new(0),
                open: Outstanding::default(),
                draining: Signal::default(),
                stopped: Signal::default(),
                counters: Counters::default(),
                settings,
            }),
        };
        let handling = shard.clone();
        let (requests, responses) =
            receiver.into_loops(move |request, back| handling.take_request(request, back));
        shard.spawn_until_stopped(requests);
        shard.spawn_until_stopped(responses);
        shard.spawn_until_stopped(watch_deadlines(shard.clone()));
        shard.spawn_until_stopped(shard.groups().clone().run_timers());
        shard.follow_groups();
        if shard.settings().detect_stalls {
            shard.spawn_until_stopped(stall::watch(shard.clone()));
        }
        Ok(shard)
    }

    /// Starts a task that ends with the shard. Tasks hold the shard, so without this neither would ever go away, nor
    /// the files and locks it holds.
    fn spawn_until_stopped(&self, task: impl Future<Output = ()> + 'static) {
        let shard = self.clone();
        self.runtime().spawn(async move {
            signal::unless(task, shard.stopped().wait()).await;
        });
    }

    /// Gives the metadata log up; no change of metadata is possible any more.
    pub(crate) fn stop_leading(&self) {
        self.inner.control.replace(None);
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.inner.id
    }
    /// Its executor.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }
    /// Its partitions.
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }
    /// The groups of its partitions of the offsets topic.
    pub fn groups(&self) -> &Coordinator {
        &self.inner.groups
    }
    /// The way to the other shards.
    pub fn mesh(&self) -> &Mesh {
        &self.inner.mesh
    }
    /// The node's settings.
    pub fn settings(&self) -> &Arc<NodeSettings> {
        &self.inner.settings
    }
    /// What is known of the cluster now.
    pub fn view(&self) -> Arc<ClusterView> {
        self.inner.view.borrow().clone()
    }
    /// The metadata now.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.inner.view.borrow().image.clone()
    }
    /// The bytes of requests that its connections hold.
    pub fn receive_budget(&self) -> &ReceiveBudget {
        &self.inner.receive_budget
    }
    /// The record bytes that its unsent answers pin.
    pub fn fetch_budget(&self) -> &Semaphore {
        &self.inner.fetch_budget
    }
    /// Takes up a fetch whose session this shard has, or makes.
    pub fn read_session(&self, request: SessionRequest) -> SessionAnswer {
        let now_ms = u64::try_from(self.runtime().monotonic().as_millis()).unwrap_or(u64::MAX);
        let fresh_id = || {
            let raw = i32::try_from(self.runtime().random_u64() >> 33).expect("31 bits");
            fetch_session::id_of(raw, self.id(), self.settings().shards)
        };
        let mut sessions = self.inner.fetch_sessions.borrow_mut();
        sessions.read(now_ms, request, fresh_id)
    }

    /// Notes what the partitions of a session are told; which of them are news.
    pub fn write_session(&self, kind: &FetchKind, told: &[(PartitionName, Told)]) -> Vec<bool> {
        let mut sessions = self.inner.fetch_sessions.borrow_mut();
        told.iter()
            .map(|(name, told)| sessions.write(kind, name, *told))
            .collect()
    }
    /// The producer ids that it may give out.
    pub fn producer_ids(&self) -> &RefCell<ProducerIdBlock> {
        &self.inner.producer_ids
    }
    /// Topics to be created for clients.
    fn auto_creation(&self) -> &AutoCreation {
        &self.inner.auto_creation
    }
    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }
    /// Raised when no further request is taken.
    pub fn draining(&self) -> &Signal {
        &self.inner.draining
    }
    /// Raised when the storage is closed.
    pub fn stopped(&self) -> &Signal {
        &self.inner.stopped
    }

    /// Makes this the shard that changes metadata and counts connections.
    pub fn lead(&self, control: ControlEdge) {
        let settings = self.settings();
        self.inner.control.replace(Some(Rc::new(control)));
        let counts = ConnectionCounts::new(
            settings.shards,
            settings.connections_max,
            settings.connections_per_peer_max,
        );
        self.inner.counts.replace(Some(counts));
    }

    /// Accepts connections of the listener with that index in the settings.
    pub fn accept(&self, listener: Listener, index: usize) {
        self.runtime()
            .spawn(accept::accept(self.clone(), listener, index));
    }

    /// Changes metadata, wherever this is called; resolves when every shard has the result.
    pub async fn control(&self, request: ControlRequest) -> Result<ControlResponse, Closed> {
        match self
            .mesh_call(ShardId(0), ShardRequest::Control(request))
            .await?
        {
            ShardResponse::Control(response) => Ok(response),
            _ => Err(Closed),
        }
    }

    /// Hands a new image to every shard and waits until each of them follows it. On shard 0 only.
    pub(crate) async fn publish(&self, image: Arc<MetadataImage>) -> Result<(), StorageError> {
        let view = Arc::new(self.view().follow(image));
        let pending = self
            .send_to_others(&|| ShardRequest::Publish(view.clone()))
            .await;
        let mut result = self.follow(view.clone()).await;
        for answer in pending {
            if let Ok(ShardResponse::Published(Err(error))) = answer.await {
                result = Err(error);
            }
        }
        // Not before: a member that is given a new partition commits for it on whatever shard its connection is.
        let pending = self.send_to_others(&|| ShardRequest::FollowGroups).await;
        self.follow_groups();
        for answer in pending {
            let _ = answer.await;
        }
        result
    }

    async fn send_to_others(
        &self,
        request: &dyn Fn() -> ShardRequest,
    ) -> Vec<impl Future<Output = Result<ShardResponse, Closed>> + use<>> {
        let mut pending = Vec::new();
        for shard in self.mesh().shards().filter(|shard| *shard != self.id()) {
            pending.push(self.mesh().send(shard, request()).await);
        }
        pending
    }

    /// Adds up all shards' counters.
    pub async fn gather_metrics(&self) -> ShardMetrics {
        let mut sum = self.metrics();
        for shard in self.mesh().shards().filter(|shard| *shard != self.id()) {
            if let Ok(ShardResponse::Metrics(metrics)) =
                self.mesh().call(shard, ShardRequest::Metrics).await
            {
                sum.add(&metrics);
            }
        }
        sum
    }

    /// Takes no further request and waits until those under way are answered, or for too long.
    pub async fn drain(&self) {
        self.draining().raise();
        self.groups().stop();
        for connection in self.connections() {
            connection.drain();
        }
        let _ = self
            .runtime()
            .timeout(DRAIN_MAX, self.inner.open.none())
            .await;
        for connection in self.connections() {
            connection.close();
        }
    }

    /// A call that also works to oneself.
    pub async fn mesh_call(
        &self,
        to: ShardId,
        request: ShardRequest,
    ) -> Result<ShardResponse, Closed> {
        if to == self.id() {
            return Ok(self.serve(request).await);
        }
        self.mesh().call(to, request).await
    }

    fn connections(&self) -> Vec<Rc<Connection>> {
        self.inner
            .connections
            .borrow()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    pub(crate) fn next_connection_number(&self) -> u64 {
        self.inner
            .next_connection
            .replace(self.inner.next_connection.get() + 1)
    }

    fn register(&self, connection: &Rc<Connection>) {
        self.inner.open.add();
        self.inner
            .connections
            .borrow_mut()
            .insert(connection.number(), Rc::downgrade(connection));
        if self.draining().is_raised() {
            connection.drain();
        }
    }

    fn unregister(&self, connection: &Connection) {
        self.inner
            .connections
            .borrow_mut()
            .remove(&connection.number());
        self.inner.open.remove();
    }

    fn admit(&self, peer: IpAddr) -> Option<(ShardId, accept::Ticket)> {
        self.inner.counts.borrow_mut().as_mut()?.admit(peer)
    }

    fn metrics(&self) -> ShardMetrics {
        self.inner.counters.snapshot(
            self.storage().metrics(),
            self.groups().metrics(),
            self.inner.open.count(),
        )
    }

    /// Starts what a shard asks for, in order of arrival; never waits.
    fn take_request(&self, request: ShardRequest, back: ReturnAddress) {
        match request {
            // Appends and reads take their place in the order now; only their completion is waited for.
            ShardRequest::Append(appends) => {
                let appending = partition::append(self.storage(), appends);
                self.runtime()
                    .spawn(async move { back.answer(ShardResponse::Append(appending.await)) });
            }
            ShardRequest::Fetch(fetch) => {
                let fetching = partition::fetch(self.runtime(), self.storage(), fetch);
                self.runtime()
                    .spawn(async move { back.answer(ShardResponse::Fetch(fetching.await)) });
            }
            ShardRequest::Group(call) => {
                self.groups().take(call);
                back.answer(ShardResponse::Done);
            }
            ShardRequest::Connection(accepted) => {
                connection::serve(self, accepted);
                back.answer(ShardResponse::Done);
            }
            other => {
                let shard = self.clone();
                self.runtime()
                    .spawn(async move { back.answer(shard.serve(other).await) });
            }
        }
    }

    async fn serve(&self, request: ShardRequest) -> ShardResponse {
        let storage = self.storage();
        match request {
            ShardRequest::Append(appends) => {
                ShardResponse::Append(partition::append(storage, appends).await)
            }
            ShardRequest::Fetch(fetch) => {
                ShardResponse::Fetch(partition::fetch(self.runtime(), storage, fetch).await)
            }
            ShardRequest::FindOffsets(lookups) => {
                ShardResponse::FindOffsets(partition::find_offsets(storage, lookups).await)
            }
            ShardRequest::EpochEnds(lookups) => {
                ShardResponse::EpochEnds(partition::epoch_ends(storage, &lookups))
            }
            ShardRequest::DeleteRecords(partitions) => {
                ShardResponse::DeleteRecords(partition::delete_records(storage, partitions).await)
            }
            ShardRequest::ReadSession(request) => {
                ShardResponse::SessionRead(self.read_session(request))
            }
            ShardRequest::WriteSession(kind, told) => {
                ShardResponse::SessionWritten(self.write_session(&kind, &told))
            }
            ShardRequest::Sizes(partitions) => ShardResponse::Sizes(
                partitions
                    .into_iter()
                    .map(|id| storage.partition_bytes(id))
                    .collect(),
            ),
            ShardRequest::Producers(partitions) => ShardResponse::Producers(
                partitions
                    .into_iter()
                    .map(|id| partition::producers(storage, id))
                    .collect(),
            ),
            ShardRequest::Control(request) => {
                let control = self.inner.control.borrow().clone();
                match control {
                    Some(control) => ShardResponse::Control(control.handle(self, request).await),
                    None => ShardResponse::Done,
                }
            }
            ShardRequest::Publish(view) => ShardResponse::Published(self.follow(view).await),
            ShardRequest::FollowGroups => {
                self.follow_groups();
                ShardResponse::Done
            }
            ShardRequest::Group(call) => {
                self.groups().take(call);
                ShardResponse::Done
            }
            ShardRequest::Connection(accepted) => {
                connection::serve(self, accepted);
                ShardResponse::Done
            }
            ShardRequest::Metrics => ShardResponse::Metrics(Box::new(self.metrics())),
            ShardRequest::GroupOffsets => {
                let (offsets, left_out) = self.groups().committed(METRIC_GROUP_OFFSETS_MAX);
                ShardResponse::GroupOffsets(offsets, left_out)
            }
            ShardRequest::Drain => {
                self.drain().await;
                ShardResponse::Done
            }
            ShardRequest::Stop => {
                let stopped = storage.stop().await;
                self.stopped().raise();
                ShardResponse::Stopped(Box::new(stopped))
            }
        }
    }

    fn own_partitions<'v>(
        &self,
        view: &'v ClusterView,
    ) -> impl Iterator<Item = (PartitionId, &'v PartitionImage, &'v TopicView)> + use<'v> {
        let me = self.id();
        view.topics().flat_map(move |topic| {
            (0..)
                .map_while(|index| topic.partition(index))
                .filter(move |(_, _, owner)| *owner == me)
                .map(move |(id, partition, _)| (id, partition, topic))
        })
    }

    fn follow_groups(&self) {
        let view = self.view();
        let owned: Vec<PartitionId> = view
            .topic(OFFSETS_TOPIC)
            .into_iter()
            .flat_map(|topic| (0..).map_while(|index| topic.partition(index)))
            .filter(|(_, _, owner)| *owner == self.id())
            .map(|(id, _, _)| id)
            .collect();
        self.groups().follow(&view.image, &owned);
    }

    /// Several at a time: each waits for the disk more than once.
    async fn create_partitions(
        &self,
        created: Vec<(PartitionId, String, LeaderEpoch, Arc<tuning::TopicConfig>)>,
    ) -> Result<(), StorageError> {
        let slots = Semaphore::new(CREATIONS_TOGETHER_MAX);
        let mut pending = Vec::with_capacity(created.len());
        for (id, directory, leader_epoch, config) in created {
            let slot = slots.acquire(1).await;
            let (sender, receiver) = oneshot::channel();
            let shard = self.clone();
            self.runtime().spawn(async move {
                let result = shard.storage().create_partition(id, &directory, leader_epoch, config).await;
                if let Err(error) = &result {
                    tracing::error!(directory, %error, "creating the partition failed; it is tried again");
                    shard.runtime().spawn(create_later(shard.clone(), id));
                }
                drop(slot);
                let _ = sender.send(result);
            });
            pending.push(receiver);
        }
        let mut result = Ok(());
        for created in pending {
            if let Ok(Err(error)) = created.await {
                result = Err(error);
            }
        }
        result
    }

    /// Follows a new view: partitions that became this shard's are created before clients can name them, deleted ones
    /// go after clients can no longer.
    async fn follow(&self, next: Arc<ClusterView>) -> Result<(), StorageError> {
        let before = self.view();
        let mut result = Ok(());
        let mut created = Vec::new();
        for (id, partition, topic) in self.own_partitions(&next) {
            if before.owner(id).is_none() {
                created.push((
                    id,
                    directory(&topic.image, id),
                    partition.leader_epoch,
                    topic.image.config.clone(),
                ));
            } else if before
                .topic_by_id(id.topic_id)
                .is_none_or(|known| known.image.config != topic.image.config)
            {
                self.storage().configure(id, topic.image.config.clone());
            }
        }
        self.storage()
            .set_producer_expiration(producer_expiration_ms(&next));
        self.storage().set_cleaner(CleanerSettings::of_shard(
            &next.image.broker_config,
            self.settings().shards,
        ));
        if let Some(counts) = self.inner.counts.borrow_mut().as_mut() {
            let config = &next.image.broker_config;
            let limit = |value: i32| usize::try_from(value).unwrap_or(0);
            counts.limit(
                limit(config.max_connections()),
                limit(config.max_connections_per_ip()),
            );
        }
        if let Err(error) = self.create_partitions(created).await {
            result = Err(error);
        }
        self.inner.view.replace(next.clone());
        for (id, _, topic) in self.own_partitions(&before) {
            if next.owner(id).is_none()
                && let Err(error) = self.storage().delete_partition(id).await
            {
                tracing::error!(directory = directory(&topic.image, id), %error, "deleting the partition failed");
                result = Err(error);
            }
        }
        result
    }
}

/// What was set at run time counts, too.
fn producer_expiration_ms(view: &ClusterView) -> i64 {
    i64::from(view.image.broker_config.producer_id_expiration_ms())
}

/// A topic is in the metadata and its partition could not be made, for want of space: tries until it is, or until the
/// topic is gone.
async fn create_later(shard: Shard, id: PartitionId) {
    loop {
        shard.runtime().sleep(CREATE_AGAIN).await;
        let view = shard.view();
        let Some((topic, found)) = view
            .topic_by_id(id.topic_id)
            .and_then(|topic| Some((topic, topic.partition(id.index)?)))
        else {
            return;
        };
        if shard.draining().is_raised() {
            return;
        }
        let (config, epoch) = (topic.image.config.clone(), found.1.leader_epoch);
        if shard
            .storage()
            .create_partition(id, &directory(&topic.image, id), epoch, config)
            .await
            .is_err()
        {
            continue;
        }
        match shard.view().topic_by_id(id.topic_id) {
            Some(now) => shard.storage().configure(id, now.image.config.clone()),
            None => drop(shard.storage().delete_partition(id).await),
        }
        return;
    }
}

/// Name of a partition's directory.
pub fn directory(topic: &TopicImage, id: PartitionId) -> String {
    format!("{}-{}", topic.name, id.index)
}

async fn watch_deadlines(shard: Shard) {
    let idle_max = shard.settings().idle_max;
    loop {
        shard.runtime().sleep(DEADLINE_LOOK).await;
        let now = shard.runtime().monotonic();
        for connection in shard.connections() {
            connection.check_deadlines(now, idle_max);
        }
    }
}
