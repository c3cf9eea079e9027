//! A node on real threads and a real directory: what the binary, and tests beside it, start and stop.
//!
//! Everything of the operating system that a node needs and the platform seam does not cover: the lock on the data
//! directory, the number of cores, names to addresses. Runs on the caller's thread; the node has its own.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use net::platform::sync::remote_oneshot;
use net::platform::{ExecutorHandle, Placement, Runtime, spawn_executor};
use tuning::{BrokerConfig, Durability};

use crate::node::{Executors, ListenerSettings, Node, NodeSettings};
use crate::platform::Disk;
use crate::preflight;

/// Held while a node uses a data directory (RELIABILITY R11).
const LOCK_FILE: &str = ".lock";

/// A node that runs on threads of its own.
pub struct RunningNode {
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    stop: remote_oneshot::Sender<()>,
    executor: ExecutorHandle<Result<(), String>>,
    summary: Summary,
    _lock: File,
}

struct Summary {
    shards: u16,
    durability: Durability,
    data_directory: PathBuf,
    recovery: String,
}

struct Started {
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    recovery: String,
}

impl RunningNode {
    /// Starts a node and waits until it listens. `may_pin`: shards may be bound to cores.
    ///
    /// # Errors
    /// Why it does not start, in words for the operator.
    pub fn start(config: BrokerConfig, may_pin: bool) -> Result<RunningNode, String> {
        let data_directory = config.data_directory();
        std::fs::create_dir_all(&data_directory)
            .map_err(|error| format!("cannot create {}: {error}", data_directory.display()))?;
        let lock = lock(&data_directory)?;
        let durability = config.durability();
        let settings = settings(config, may_pin)?;
        let (shards, pinned) = (settings.shards, settings.pinned);
        let (started_sender, started) = mpsc::channel();
        let (stop, stopping) = remote_oneshot::channel();
        let root = data_directory.clone();
        let placement = if pinned {
            Placement::Core(0)
        } else {
            Placement::Unpinned
        };
        let body = move |runtime: Runtime| async move {
            run(&runtime, root, settings, started_sender, stopping).await
        };
        let executor =
            spawn_executor("shard-0", placement, body).map_err(|error| error.to_string())?;
        match started.recv() {
            Ok(Started {
                addresses,
                metrics_address,
                recovery,
            }) => {
                let summary = Summary {
                    shards,
                    durability,
                    data_directory,
                    recovery,
                };
                Ok(RunningNode {
                    addresses,
                    metrics_address,
                    stop,
                    executor,
                    summary,
                    _lock: lock,
                })
            }
            // The executor ended before the node listened: its result says why.
            Err(mpsc::RecvError) => Err(match executor.join() {
                Ok(Err(reason)) => reason,
                Ok(Ok(())) => "the node ended while it started".to_owned(),
                Err(error) => format!("no executor could be started: {error}"),
            }),
        }
    }

    /// The addresses it listens on, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address at which metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops it cleanly and waits until it has ended.
    ///
    /// # Errors
    /// Storage failed; the directory is not marked clean.
    pub fn stop(self) -> Result<(), String> {
        let _ = self.stop.send(());
        self.executor.join().map_err(|error| error.to_string())?
    }
}

impl fmt::Display for RunningNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        let Summary {
            shards,
            durability,
            data_directory,
            recovery,
        } = &self.summary;
        writeln!(formatter, "Tidelog listens on {}", addresses.join(", "))?;
        if let Some(address) = self.metrics_address {
            writeln!(formatter, "  metrics     http://{address}/metrics")?;
        }
        writeln!(formatter, "  shards      {shards}")?;
        let meaning = match durability {
            Durability::Flush => "flush (a record is acknowledged once it is on stable storage)",
            Durability::Os => "os (a power cut loses acknowledged records)",
        };
        writeln!(formatter, "  durability  {meaning}")?;
        write!(formatter, "  data        {}", data_directory.display())?;
        if !recovery.is_empty() {
            write!(formatter, "\n  recovery    {recovery}")?;
        }
        Ok(())
    }
}

async fn run(
    runtime: &Runtime,
    root: PathBuf,
    settings: NodeSettings,
    started: mpsc::Sender<Started>,
    stopping: remote_oneshot::Receiver<()>,
) -> Result<(), String> {
    let disk = Disk::open_data_directory(runtime, &root)
        .await
        .map_err(|error| format!("data directory {}: {error}", root.display()))?;
    let node = Node::start(runtime, &disk, Executors::Threads(root), settings)
        .await
        .map_err(|e| e.to_string())?;
    let recovery = node.report().to_string();
    let told = Started {
        addresses: node.addresses().to_vec(),
        metrics_address: node.metrics_address(),
        recovery,
    };
    let _ = started.send(told);
    drop(started);
    // An error means that the owner went away without a word: stop as well.
    let _ = stopping.await;
    node.stop().await.map_err(|error| error.to_string())
}

/// Segment files that a shard keeps open, whatever the limit of descriptors: at least and at most.
const SEGMENT_FILES_MIN: u64 = 128;
const SEGMENT_FILES_MAX: u64 = 32_768;

/// Number of shards: as configured, else one per core this process may use.
pub fn shard_count(config: &BrokerConfig) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(config.shards().unwrap_or(cores))
        .unwrap_or(u16::MAX)
        .max(1)
}

fn settings(config: BrokerConfig, may_pin: bool) -> Result<NodeSettings, String> {
    let shards = shard_count(&config);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let listeners = listeners(&config)?;
    let metrics_listener = match config.metrics_listener() {
        Some(address) => Some(resolve(&address)?),
        None => None,
    };
    let mut settings = NodeSettings::new(config, shards, listeners);
    settings.pinned = may_pin && usize::from(shards) <= cores;
    settings.metrics_listener = metrics_listener;
    settings.detect_stalls = true;
    settings.storage.segment_files_max = segment_files_max(preflight::descriptors(), shards);
    Ok(settings)
}

/// Half of the descriptors are for segment files, so that a partition that is written now and then need not be opened
/// again each time; connections have the other half.
fn segment_files_max(descriptors: Option<u64>, shards: u16) -> usize {
    let share = descriptors.map_or(SEGMENT_FILES_MAX, |limit| limit / 2 / u64::from(shards));
    share.clamp(SEGMENT_FILES_MIN, SEGMENT_FILES_MAX) as usize
}

fn listeners(config: &BrokerConfig) -> Result<Vec<ListenerSettings>, String> {
    let mut listeners = Vec::new();
    for listener in config.listeners() {
        let advertised = config
            .advertised_listeners()
            .iter()
            .find(|other| other.name == listener.name);
        let advertised = advertised.unwrap_or(listener);
        listeners.push(ListenerSettings {
            name: listener.name.clone(),
            address: resolve_pair(&listener.host, listener.port)?,
            advertised_host: advertised.host.clone(),
            advertised_port: advertised.port,
        });
    }
    Ok(listeners)
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| format!("{address} is not of the form host:port"))?;
    let port = port
        .parse()
        .map_err(|_| format!("{address}: {port} is not a port"))?;
    resolve_pair(host.trim_matches(['[', ']']), port)
}

fn resolve_pair(host: &str, port: u16) -> Result<SocketAddr, String> {
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("{host}:{port}: {error}"))?;
    found.next().ok_or_else(|| format!("{host} has no address"))
}

/// Holds the data directory for as long as the file is open.
pub(crate) fn lock(data_directory: &Path) -> Result<File, String> {
    let path = data_directory.join(LOCK_FILE);
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(|error| format!("{}: {error}", path.display()))?;
    // SAFETY: the descriptor is open for the whole call.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(format!(
            "{} is used by another process",
            data_directory.display()
        ));
    }
    Ok(file)
}
