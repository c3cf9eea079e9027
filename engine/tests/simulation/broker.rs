//! One life of the broker in the simulator: how it starts, is watched, and ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::log::{RecoveryReport, StorageSettings};
use engine::metrics::ShardMetrics;
use engine::node::{Executors, ListenerSettings, Node, NodeSettings};
use engine::platform::sim::SimDisk;
use net::platform::sim::{Node as Process, Simulation};

use crate::consumer_groups;
use crate::shared::Shared;
use crate::wire::BROKER;

/// A broker process.
pub struct Broker {
    pub process: Process,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    started: Option<Result<(), String>>,
    node: Option<Node>,
    stopped: Option<Result<(), String>>,
    report: Option<RecoveryReport>,
    metrics: ShardMetrics,
}

impl State {
    fn listens(&mut self, node: Node) {
        self.report = Some(node.report().clone());
        self.node = Some(node);
        self.started = Some(Ok(()));
    }
}

fn settings(shared: &Shared, shards: u16) -> NodeSettings {
    let session_ms = consumer_groups::SESSION_MS.to_string();
    let pairs = [
        ("auto.create.topics.enable", "false"),
        ("offsets.topic.num.partitions", "3"),
        ("group.initial.rebalance.delay.ms", "50"),
        ("group.min.session.timeout.ms", "500"),
        ("group.consumer.min.session.timeout.ms", "500"),
        ("group.consumer.session.timeout.ms", &session_ms),
        ("group.consumer.min.heartbeat.interval.ms", "50"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.assignment.interval.ms", "100"),
        ("log.cleaner.backoff.ms", "40"),
        ("log.message.timestamp.after.max.ms", "9223372036854775807"),
    ];
    let broker = tuning::BrokerConfig::from_pairs(&pairs).expect("a valid configuration");
    let address = BROKER.parse().expect("a constant");
    NodeSettings {
        broker: Arc::new(broker),
        shards,
        pinned: false,
        listeners: vec![ListenerSettings {
            name: "PLAINTEXT".to_owned(),
            address,
            advertised_host: "127.0.0.1".to_owned(),
            advertised_port: 9092,
        }],
        metrics_listener: None,
        request_bytes_max: 4 << 20,
        receive_bytes_max: shared.pick(&[256 << 10, 8 << 20]),
        fetch_bytes_max: shared.pick(&[128 << 10, 8 << 20]),
        fetch_response_bytes_max: 1 << 20,
        fetch_sessions_max: shared.pick(&[0, 1, 100]),
        idle_max: Duration::from_secs(600),
        connections_max: 1_000,
        connections_per_peer_max: 1_000,
        detect_stalls: false,
        directory_id: [0; 16],
        storage: storage_settings(shared),
    }
}

/// Everything small, so that everything happens often.
fn storage_settings(shared: &Shared) -> StorageSettings {
    StorageSettings {
        journal_file_bytes: shared.pick(&[96 << 10, 128 << 10, 256 << 10]),
        journal_files_max: shared.pick(&[3, 4, 8]),
        journal_dirty_bytes_max: shared.pick(&[64 << 10, 256 << 10, 4 << 20]),
        cache_bytes: shared.pick(&[0, 20_000, 1 << 20]),
        direct_run_bytes_min: shared.pick(&[16 << 10, 24 << 10, 64 << 10]),
        checkpoint_interval_ms: shared.pick(&[50, 300, 3_000]),
        written_bytes_before_checkpoint: shared.pick(&[20_000, 200_000, 256 << 20]),
        removal_step_bytes: 16 << 10,
        retention_check_ms: shared.pick(&[100, 500]),
        segment_files_max: shared.pick(&[2, 8, 64]),
        reserve_bytes: 64 << 10,
        ..StorageSettings::default()
    }
}

impl Broker {
    /// Begins to start a broker over `disk`.
    pub fn start(sim: &Simulation, disk: &SimDisk, shared: &Shared, shards: u16) -> Broker {
        let process = sim.node("broker");
        let state = Rc::new(RefCell::new(State::default()));
        let runtime = process.runtime();
        let (disk, settings, slot) = (disk.disk(&runtime), settings(shared, shards), state.clone());
        shared.note(format!(
            "a broker with {shards} shards starts: {:?}",
            settings.storage
        ));
        let (own, shared) = (runtime.clone(), shared.clone());
        runtime.spawn(async move {
            match Node::start(&own, &disk, Executors::Here, settings).await {
                Ok(node) => {
                    let shard = node.shard().clone();
                    shared.note(format!("the broker listens; {}", node.report()));
                    slot.borrow_mut().listens(node);
                    loop {
                        own.sleep(Duration::from_millis(20)).await;
                        let metrics = shard.gather_metrics().await;
                        slot.borrow_mut().metrics = metrics;
                    }
                }
                Err(error) => {
                    shared.note(format!("the broker does not start: {error}"));
                    slot.borrow_mut().started = Some(Err(error.to_string()));
                }
            }
        });
        Broker { process, state }
    }

    /// `None` while it starts.
    pub fn started(&self) -> Option<Result<(), String>> {
        self.state.borrow().started.clone()
    }

    /// Whether its storage takes appends.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().metrics.storage.is_ready()
    }

    /// Begins a clean stop.
    pub fn begin_stop(&self) {
        let node = self
            .state
            .borrow_mut()
            .node
            .take()
            .expect("only a running broker is stopped");
        let slot = self.state.clone();
        self.process.runtime().spawn(async move {
            let result = node.stop().await.map_err(|error| error.to_string());
            slot.borrow_mut().stopped = Some(result);
        });
    }

    /// What the clean stop came to.
    pub fn stopped(&self) -> Option<Result<(), String>> {
        self.state.borrow().stopped.clone()
    }

    /// Adds what this life did to the coverage.
    pub fn count(&self, shared: &Shared) {
        let state = self.state.borrow();
        state.metrics.storage.for_each(|name, _, value| {
            if name.ends_with("_total") || name == "tidelog_quarantined_ranges" {
                shared.count(name, value);
            }
        });
        if let Some(report) = &state.report {
            shared.count("torn groups discarded", report.torn_groups);
            shared.count("rotten groups", report.rotten_groups);
            shared.count("quarantined ranges", report.quarantined_ranges);
            shared.count("recoveries", u64::from(!report.fresh && !report.clean));
            shared.count("clean starts", u64::from(report.clean));
            shared.count("batches replayed", report.batches_replayed);
        }
    }

    /// The process is gone: what it held is dropped.
    pub fn forget(&self) {
        let node = self.state.borrow_mut().node.take();
        drop(node);
    }
}
