//! A whole node: the order in which it starts, and the order in which it stops.
//!
//! Runs on shard 0's executor and works on either platform backend. Invariants: nothing is written before the data
//! directory is known to be ours; every partition's leader epoch is raised durably before it is served (DESIGN §7);
//! the clean mark is written last and never after a failure (STORAGE C12b).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use net::platform::sync::remote_oneshot;
use net::platform::{ExecutorHandle, Listener, Placement, Runtime, spawn_executor};
use tracing::{error, info, warn};
use tuning::BrokerConfig;

use crate::cluster::{Controller, MetadataImage, MetadataStore, StoreError, controller};
use crate::data_directory::{self, DataDirectoryError, MetaProperties};
use crate::limits::RECEIVE_BYTES_MAX;
use crate::log::compaction::CleanerSettings;
use crate::log::{
    self, KnownPartition, KnownPartitions, RecoveredPartition, RecoveryReport, StoppedShard,
    StorageError, StorageSettings,
};
use crate::platform::Disk;
use crate::shard::mesh::MeshSeat;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::shard::{ClusterView, ControlEdge, Shard, ShardSeed, directory};
use crate::types::ShardId;

/// What `connections.max.idle.ms` below 0 means.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// A partition is given a leader this many times at most, to reach the epoch that its log has.
const EPOCHS_MAX: usize = 100_000;

/// What a node is started with; decided before any executor runs.
pub struct NodeSettings {
    /// Everything the settings table knows.
    pub broker: Arc<BrokerConfig>,
    /// Number of shards.
    pub shards: u16,
    /// Whether shard n runs on core n only.
    pub pinned: bool,
    /// Where clients connect.
    pub listeners: Vec<ListenerSettings>,
    /// Where metrics are served, if anywhere.
    pub metrics_listener: Option<SocketAddr>,
    /// Largest request frame.
    pub request_bytes_max: usize,
    /// Received request bytes per shard.
    pub receive_bytes_max: usize,
    /// Record bytes in unsent answers per shard.
    pub fetch_bytes_max: usize,
    /// Record bytes of one answer.
    pub fetch_response_bytes_max: usize,
    /// Fetch sessions per shard.
    pub fetch_sessions_max: usize,
    /// How long a connection may be silent.
    pub idle_max: Duration,
    /// Connections of the node.
    pub connections_max: usize,
    /// Connections of one address.
    pub connections_per_peer_max: usize,
    /// Whether tasks that keep their core are looked for (not in the simulator, whose clock is not a thread's).
    pub detect_stalls: bool,
    /// For the journals, segments and caches.
    pub storage: StorageSettings,
    /// Id of the data directory, known once it is open.
    pub directory_id: [u8; 16],
}

impl NodeSettings {
    /// What the configuration says, for `shards` unpinned shards, without metrics over HTTP or a look-out for stalls.
    #[must_use]
    pub fn new(
        config: BrokerConfig,
        shards: u16,
        listeners: Vec<ListenerSettings>,
    ) -> NodeSettings {
        let positive = |value: i32| usize::try_from(value).unwrap_or(0);
        NodeSettings {
            shards,
            pinned: false,
            listeners,
            metrics_listener: None,
            request_bytes_max: positive(config.socket_request_max_bytes()),
            receive_bytes_max: RECEIVE_BYTES_MAX,
            fetch_bytes_max: usize::try_from(config.fetch_bytes_max()).unwrap_or(usize::MAX),
            fetch_response_bytes_max: positive(config.fetch_response_bytes_max()),
            fetch_sessions_max: positive(config.max_incremental_fetch_session_cache_slots()),
            idle_max: u64::try_from(config.connections_max_idle_ms())
                .map_or(NEVER, Duration::from_millis),
            connections_max: positive(config.max_connections()),
            connections_per_peer_max: positive(config.max_connections_per_ip()),
            detect_stalls: false,
            storage: StorageSettings {
                cleaner: CleanerSettings::of_shard(&config, shards),
                ..StorageSettings::from_broker(&config)
            },
            directory_id: [0; 16],
            broker: Arc::new(config),
        }
    }

    /// The data directory as Kafka would name it, from the root.
    #[must_use]
    pub fn data_directory(&self) -> String {
        let path = self.broker.data_directory();
        let absolute = std::path::absolute(&path).unwrap_or(path);
        absolute.to_string_lossy().into_owned()
    }
}

/// One address for clients.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Kafka's listener name.
    pub name: String,
    /// What to listen on; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Host that clients are told.
    pub advertised_host: String,
    /// Port that clients are told; 0 is the one that the system chose.
    pub advertised_port: u16,
}

/// Where the other shards run.
pub enum Executors {
    /// Each on a thread of its own, over this data directory.
    Threads(PathBuf),
    /// All beside shard 0, on its executor and disk.
    Here,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The metadata log cannot be used.
    #[error(transparent)]
    Metadata(#[from] StoreError),
    /// The metadata log contradicts itself.
    #[error("the metadata log does not fit together: {0}")]
    Replay(String),
    /// The logs cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A shard's executor does not start.
    #[error("shard {shard} does not start: {reason}")]
    Shard {
        /// Which.
        shard: u16,
        /// Why.
        reason: String,
    },
}

/// A running node, as its first shard holds it.
pub struct Node {
    shard: Shard,
    disk: Disk,
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    report: Rc<RecoveryReport>,
    executors: Vec<ExecutorHandle<()>>,
}

impl Node {
    /// Starts a node over `disk`; resolves when it listens.
    ///
    /// # Errors
    /// What keeps it from starting, in words for the operator. Nothing is left listening then.
    pub async fn start(
        runtime: &Runtime,
        disk: &Disk,
        executors: Executors,
        mut settings: NodeSettings,
    ) -> Result<Node, StartError> {
        let listeners = listen(runtime, &mut settings).await?;
        let metrics = match settings.metrics_listener {
            Some(address) => Some(listen_on(runtime, address).await?),
            None => None,
        };
        let identity = data_directory::open(disk, runtime, &settings.broker).await?;
        settings.directory_id = identity.directory_id_bytes();
        let (mut store, image, findings) =
            open_metadata(runtime, disk, &settings.broker, &identity).await?;
        let mut recovered =
            log::recover(runtime, disk, &settings.storage, &known_partitions(&image)).await?;
        info!("recovery: {}", recovered.report.phases);
        recovered.report.damage.extend(identity.findings);
        // An append that a crash cut leaves a finding too.
        let unclean = !recovered.report.clean;
        let list = match unclean {
            true => &mut recovered.report.unfinished,
            false => &mut recovered.report.damage,
        };
        list.extend(findings);
        data_directory::remove_clean_mark(disk).await?;
        let image =
            take_the_lead(runtime, &mut store, image, &settings, &recovered.partitions).await?;

        let settings = Arc::new(settings);
        let view =
            ClusterView::empty(Arc::new(image.clone()), settings.shards).follow(Arc::new(image));
        let controller = Controller::new(view.image.clone());
        let report = Rc::new(recovered.report.clone());
        let mut seeds = seeds(&settings, Arc::new(view), recovered).into_iter();
        let first = seeds.next().expect("a node has a shard");
        let threads = start_others(runtime, disk, &executors, seeds, settings.pinned).await?;
        let shard = Shard::start(runtime, disk, first).await?;
        shard.lead(ControlEdge::new(controller, store));
        let mut addresses = Vec::new();
        for (index, (listener, address)) in listeners.into_iter().enumerate() {
            addresses.push(address);
            shard.accept(listener, index);
        }
        let metrics_address = metrics.map(|(listener, address)| {
            runtime.spawn(crate::metrics_http::serve(
                shard.clone(),
                listener,
                report.clone(),
            ));
            address
        });
        Ok(Node {
            shard,
            disk: disk.clone(),
            addresses,
            metrics_address,
            report,
            executors: threads,
        })
    }

    /// The addresses it listens on, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address at which metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What recovery found.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Its first shard.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Stops: no new connection, requests under way are answered, everything is written behind, and the clean mark
    /// comes last.
    ///
    /// # Errors
    /// A shard's storage failed; the node is down, its directory is not marked clean.
    pub async fn stop(self) -> Result<(), StorageError> {
        let Node {
            shard,
            disk,
            executors,
            ..
        } = self;
        shard.draining().raise();
        let others: Vec<ShardId> = shard
            .mesh()
            .shards()
            .filter(|other| *other != shard.id())
            .collect();
        let mut draining = Vec::new();
        for other in &others {
            draining.push(shard.mesh().send(*other, ShardRequest::Drain).await);
        }
        shard.drain().await;
        for drained in draining {
            let _ = drained.await;
        }
        let mut results = Vec::new();
        // This shard last: it takes the others' answers.
        for other in others.iter().copied().chain([shard.id()]) {
            match shard.mesh_call(other, ShardRequest::Stop).await {
                Ok(ShardResponse::Stopped(result)) => results.push(*result),
                _ => error!(shard = other.0, "the shard was gone before it was stopped"),
            }
        }
        shard.stop_leading();
        let all_answered = results.len() == others.len() + 1;
        let stopped = results
            .into_iter()
            .collect::<Result<Vec<StoppedShard>, StorageError>>()?;
        // STORAGE C12b: the mark says that every segment has its exact length.
        if all_answered && stopped.iter().all(|shard| shard.complete) {
            let image = shard.image();
            data_directory::mark_clean(&disk, &image, &stopped).await?;
        }
        // Their executors end by themselves once their storage is closed.
        let joined = shard.runtime().run_blocking(move || {
            executors
                .into_iter()
                .map(ExecutorHandle::join)
                .collect::<Result<Vec<()>, _>>()
        });
        if let Err(error) = joined.await {
            warn!(%error, "a shard's executor ended badly");
        }
        Ok(())
    }
}

/// Listens first: a port that is taken is found before anything is written. Connections wait in the kernel's queue.
async fn listen(
    runtime: &Runtime,
    settings: &mut NodeSettings,
) -> Result<Vec<(Listener, SocketAddr)>, StartError> {
    let mut listeners = Vec::new();
    for listener in &mut settings.listeners {
        let (socket, address) = listen_on(runtime, listener.address).await?;
        if listener.advertised_port == 0 {
            listener.advertised_port = address.port();
        }
        listeners.push((socket, address));
    }
    Ok(listeners)
}

async fn listen_on(
    runtime: &Runtime,
    address: SocketAddr,
) -> Result<(Listener, SocketAddr), StartError> {
    let fail = |source| StartError::Listen { address, source };
    let listener = runtime.listen(address).await.map_err(fail)?;
    let local = listener.local_address().map_err(fail)?;
    Ok((listener, local))
}

/// The metadata log, the image that its records make, and what was repaired; a new log gets its first records.
pub(crate) async fn open_metadata(
    runtime: &Runtime,
    disk: &Disk,
    broker: &Arc<BrokerConfig>,
    identity: &MetaProperties,
) -> Result<(MetadataStore, MetadataImage, Vec<String>), StartError> {
    let (mut store, found) = MetadataStore::open(disk).await?;
    let mut image = MetadataImage::empty(&identity.cluster_id, broker.clone());
    image.offset = found.first_offset - 1;
    image.metadata_epoch = store.leader_epoch();
    apply(&mut image, &found.records)?;
    if found.records.is_empty() {
        let records = controller::first_records();
        store.append(&records, runtime.wall_clock_ms()).await?;
        apply(&mut image, &records)?;
    }
    Ok((store, image, found.findings))
}

fn apply(image: &mut MetadataImage, records: &[crate::cluster::Record]) -> Result<(), StartError> {
    records
        .iter()
        .try_for_each(|record| image.apply(record))
        .map_err(|error| StartError::Replay(error.to_string()))
}

/// What recovery is told of the partitions.
pub(crate) fn known_partitions(image: &MetadataImage) -> KnownPartitions {
    let known = |(id, topic, _): (_, &Arc<crate::cluster::TopicImage>, _)| {
        (
            id,
            KnownPartition {
                directory: directory(topic, id),
                config: topic.config.clone(),
            },
        )
    };
    KnownPartitions {
        partitions: image.partitions().map(known).collect(),
        removed: image.removed_topics.clone(),
    }
}

/// Registers this start and raises every partition's leader epoch, in one durable append.
async fn take_the_lead(
    runtime: &Runtime,
    store: &mut MetadataStore,
    mut image: MetadataImage,
    settings: &NodeSettings,
    recovered: &[RecoveredPartition],
) -> Result<MetadataImage, StartError> {
    let listener = settings.listeners.first().expect("a node has a listener");
    let mut records =
        controller::start_records(&image, &listener.advertised_host, listener.advertised_port);
    for partition in recovered {
        // What another program appended after a clean stop may have epochs that were never ours (STORAGE C12a).
        let id = partition.id();
        let known = image.topic_by_id(id.topic_id);
        let known = known.and_then(|topic| topic.partitions.get(usize::try_from(id.index).ok()?));
        let ahead = known.map_or(0, |known| {
            partition.state().leader_epoch.0 - known.leader_epoch.0
        });
        let more = std::iter::repeat_n((), usize::try_from(ahead).unwrap_or(0).min(EPOCHS_MAX));
        records.extend(more.map(|()| crate::cluster::Record::NewLeader {
            topic_id: id.topic_id,
            index: id.index,
            leader: image.node_id,
        }));
    }
    store.append(&records, runtime.wall_clock_ms()).await?;
    apply(&mut image, &records)?;
    Ok(image)
}

/// Gives every partition to its owner.
fn seeds(
    settings: &Arc<NodeSettings>,
    view: Arc<ClusterView>,
    recovered: log::Recovered,
) -> Vec<ShardSeed> {
    let mut seeds: Vec<ShardSeed> = MeshSeat::for_shards(settings.shards)
        .into_iter()
        .zip(0..)
        .map(|(seat, shard)| ShardSeed {
            id: ShardId(shard),
            seat,
            view: view.clone(),
            generation: recovered.generation,
            partitions: Vec::new(),
            settings: settings.clone(),
        })
        .collect();
    for partition in recovered.partitions {
        let id = partition.id();
        let found = view
            .topic_by_id(id.topic_id)
            .and_then(|topic| Some((topic, topic.partition(id.index)?)));
        let Some((topic, (_, known, owner))) = found else {
            error!(
                ?id,
                "recovery returned a partition that the metadata does not know"
            );
            continue;
        };
        let config = topic.image.config.clone();
        seeds[usize::from(owner.0)]
            .partitions
            .push((partition, known.leader_epoch, config));
    }
    seeds
}

async fn start_others(
    runtime: &Runtime,
    disk: &Disk,
    executors: &Executors,
    seeds: impl Iterator<Item = ShardSeed>,
    pinned: bool,
) -> Result<Vec<ExecutorHandle<()>>, StartError> {
    let mut handles = Vec::new();
    let mut ready = BTreeMap::new();
    for seed in seeds {
        let id = seed.id;
        let (sender, receiver) = remote_oneshot::channel();
        ready.insert(id, receiver);
        match executors {
            Executors::Here => {
                let (runtime, disk) = (runtime.clone(), disk.clone());
                runtime
                    .clone()
                    .spawn(async move { run_shard(&runtime, &disk, seed, sender).await });
            }
            Executors::Threads(data_directory) => {
                let data_directory = data_directory.clone();
                let placement = if pinned {
                    Placement::Core(usize::from(id.0))
                } else {
                    Placement::Unpinned
                };
                let body = move |runtime: Runtime| async move {
                    match Disk::open_data_directory(&runtime, &data_directory).await {
                        Ok(disk) => run_shard(&runtime, &disk, seed, sender).await,
                        Err(error) => drop(sender.send(Err(error.to_string()))),
                    }
                };
                let handle = spawn_executor(&format!("shard-{}", id.0), placement, body);
                handles.push(handle.map_err(|error| StartError::Shard {
                    shard: id.0,
                    reason: error.to_string(),
                })?);
            }
        }
    }
    for (id, receiver) in ready {
        let fail = |reason| StartError::Shard {
            shard: id.0,
            reason,
        };
        receiver
            .await
            .map_err(|_| fail("its executor ended".to_owned()))?
            .map_err(fail)?;
    }
    info!(shards = handles.len() + 1, "shards run");
    Ok(handles)
}

async fn run_shard(
    runtime: &Runtime,
    disk: &Disk,
    seed: ShardSeed,
    ready: remote_oneshot::Sender<Result<(), String>>,
) {
    match Shard::start(runtime, disk, seed).await {
        Ok(shard) => {
            let _ = ready.send(Ok(()));
            shard.stopped().wait().await;
        }
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
        }
    }
}
