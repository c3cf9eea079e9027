//! One seed from the first start of a broker to the last reading of everything.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::platform::sim::{SimDisk, SimDiskOptions};
use net::platform::Runtime;
use net::platform::sim::{NetworkOptions, Simulation};

use crate::administrator;
use crate::broker::Broker;
use crate::churn;
use crate::compaction;
use crate::consumer::{Consumer, read_all};
use crate::consumer_groups;
use crate::consumer_offsets;
use crate::faults::{self, DiskErrors, End, Plan};
use crate::groups;
use crate::growth;
use crate::oracle::PartitionKey;
use crate::producer::{Producer, Style};
use crate::rot::Rot;
use crate::shared::Shared;
use crate::topics::{self, KEEP, PLAIN, TRIM};
use crate::wire::Wire;

/// Requests that a run sends at least.
pub const OPERATIONS_MIN: u64 = 2_000;
/// Crashes of a run at least.
pub const CRASHES_MIN: u64 = 3;
/// How long a broker may take to start, and everybody to finish on a healthy one.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a run leaves.
pub struct Outcome {
    pub trace_hash: u64,
    pub counters: BTreeMap<String, u64>,
}

struct Run {
    sim: Simulation,
    disk: SimDisk,
    shared: Shared,
    rot: Rot,
    crashes: u64,
}

/// Runs one seed. `shared` is handed out first, for the report of a failure.
pub fn run(seed: u64, hand_out: impl FnOnce(&Shared)) -> Outcome {
    let sim = Simulation::new(seed);
    let shared = Shared::new(sim.handle());
    hand_out(&shared);
    let disk = SimDisk::new(&sim.handle(), faults::calm_disk());
    let rot = Rot::new(&shared, &disk);
    let mut run = Run {
        sim,
        disk,
        shared,
        rot,
        crashes: 0,
    };
    run.start_clients();
    let lives = 4 + run.shared.below(4);
    let mut life = 0;
    while life < lives || run.crashes < CRASHES_MIN || run.shared.operations() < OPERATIONS_MIN {
        run.live(OPERATIONS_MIN / lives);
        life += 1;
        assert!(
            life < 40,
            "the workload does not come forward: {} requests",
            run.shared.operations()
        );
    }
    run.heal();
    let mut counters = run.shared.counters().clone();
    for (fault, count) in run.sim.faults() {
        counters.insert(format!("fault {fault}"), count);
    }
    counters.insert("operations".to_owned(), run.shared.operations());
    counters.insert("acknowledged".to_owned(), run.shared.oracle().acknowledged);
    Outcome {
        trace_hash: run.sim.trace_hash(),
        counters,
    }
}

impl Run {
    fn start_clients(&self) {
        let shared = &self.shared;
        let (everything, main) = (topics::all_keys(), [PLAIN.keys(), TRIM.keys()].concat());
        let styles = [
            (Style::Idempotent, everything.clone()),
            (Style::Idempotent, main.clone()),
            (
                Style::Plain {
                    acks: -1,
                    again: true,
                },
                everything.clone(),
            ),
            (
                Style::Plain {
                    acks: 1,
                    again: false,
                },
                main,
            ),
            (
                Style::Plain {
                    acks: 0,
                    again: false,
                },
                PLAIN.keys(),
            ),
        ];
        let setup = self.sim.node("setup").runtime();
        let nodes: Vec<Runtime> = (0..3)
            .map(|number| self.sim.node(&format!("client-{number}")).runtime())
            .collect();
        let members = groups::MEMBERS + consumer_groups::MEMBERS;
        let clients = styles.len() + 8 + members + compaction::PRODUCERS;
        for _ in 0..clients {
            shared.client_began();
        }
        let shared = shared.clone();
        setup.clone().spawn(async move {
            administrator::make_topics(&shared, &setup).await;
            for (number, (style, keys)) in styles.into_iter().enumerate() {
                let runtime = nodes[number % nodes.len()].clone();
                runtime
                    .clone()
                    .spawn(Producer::new(&shared, runtime, number, style, keys).run());
            }
            let reader = Consumer::new(&shared, nodes[1].clone(), everything.clone());
            nodes[1].spawn(reader.read_anywhere());
            let follower = Consumer::new(&shared, nodes[2].clone(), everything);
            nodes[2].spawn(follower.follow());
            nodes[0].spawn(administrator::run(shared.clone(), nodes[0].clone()));
            nodes[1].spawn(churn::run(shared.clone(), nodes[1].clone()));
            nodes[2].spawn(growth::run(shared.clone(), nodes[2].clone()));
            for number in 0..groups::MEMBERS {
                let runtime = &nodes[number % nodes.len()];
                runtime.spawn(groups::member(shared.clone(), runtime.clone(), number));
            }
            nodes[2].spawn(groups::audit(shared.clone(), nodes[2].clone()));
            for number in 0..consumer_groups::MEMBERS {
                let runtime = &nodes[number % nodes.len()];
                let member = consumer_groups::member(shared.clone(), runtime.clone(), number);
                runtime.spawn(member);
            }
            for number in 0..compaction::PRODUCERS {
                let runtime = &nodes[number % nodes.len()];
                runtime.spawn(compaction::produce(shared.clone(), runtime.clone(), number));
            }
            nodes[2].spawn(compaction::read(shared.clone(), nodes[2].clone()));
            nodes[0].spawn(consumer_offsets::audit(shared.clone(), nodes[0].clone()));
        });
    }

    /// One life of the broker, from start to end.
    fn live(&mut self, operations: u64) {
        let plan = Plan::draw(&self.shared);
        self.shared.next_life();
        self.shared
            .note(format!("life {}: {plan:?}", self.shared.life()));
        self.shared.oracle().read_errors_allowed = false;
        self.disk.set_options(faults::calm_disk());
        let errors_from_start = plan.disk_errors.is_some() && self.shared.chance(0.3);
        if errors_from_start {
            faults::begin(&plan, &self.sim, &self.disk, &self.shared);
        }
        self.rot.start_begins();
        let broker = Broker::start(&self.sim, &self.disk, &self.shared, plan.shards);
        if let Some(after) = plan.crash_in_start {
            self.sim.run_for(after);
            if broker.started().is_none() {
                self.shared.count("crashes while starting", 1);
            }
            return self.crash(&broker, &plan);
        }
        if self.wait_for_start(&broker, errors_from_start).is_err() {
            self.shared.count("starts that failed", 1);
            return self.crash(&broker, &plan);
        }
        self.rot.healed();
        if !errors_from_start {
            self.work(operations / 4);
            faults::begin(&plan, &self.sim, &self.disk, &self.shared);
        }
        if let Some(jump) = plan.clock_jump_ms {
            broker.process.jump_wall_clock(jump);
        }
        if plan.disk_full {
            self.fill_disk(&broker);
        }
        self.work(operations);
        if matches!(plan.disk_errors, Some(DiskErrors::Once(..))) {
            self.work(operations / 8);
        }
        if !broker.is_ready() {
            self.shared.count("journals poisoned", 1);
        }
        self.end(broker, &plan);
    }

    fn wait_for_start(&self, broker: &Broker, may_fail: bool) -> Result<(), String> {
        let limit = self.sim.now() + PATIENCE;
        loop {
            match broker.started() {
                Some(Err(reason)) if may_fail => return Err(reason),
                Some(result) => {
                    result.unwrap_or_else(|reason| panic!("the broker does not start: {reason}"));
                    return Ok(());
                }
                None => assert!(self.sim.now() < limit, "the broker does not come up"),
            }
            self.sim.run_for(Duration::from_millis(1));
        }
    }

    /// Lets so many more requests happen, or a minute pass.
    fn work(&self, operations: u64) {
        let (end, limit) = (
            self.shared.operations() + operations,
            self.sim.now() + Duration::from_secs(60),
        );
        while self.shared.operations() < end && self.sim.now() < limit {
            self.sim.run_for(Duration::from_millis(1));
        }
        self.sim.run_for(self.shared.up_to_ms(3));
    }

    /// The disk takes nothing more for a while; then it does, and appends go on by themselves.
    fn fill_disk(&self, broker: &Broker) {
        let room = self.shared.below(40_000);
        let quota = self.disk.used_bytes() + room;
        self.disk.set_options(SimDiskOptions {
            quota_bytes: Some(quota),
            ..faults::calm_disk()
        });
        self.work(150);
        self.disk.set_options(faults::calm_disk());
        self.shared.note("the disk has space again");
        let (before, limit) = (
            self.shared.oracle().acknowledged,
            self.sim.now() + Duration::from_secs(30),
        );
        while self.shared.oracle().acknowledged < before + 5 {
            assert!(broker.is_ready(), "a full disk poisoned a journal");
            assert!(
                self.sim.now() < limit,
                "appends do not go on after the disk had space again"
            );
            self.sim.run_for(Duration::from_millis(5));
        }
    }

    fn end(&mut self, broker: Broker, plan: &Plan) {
        if !matches!(plan.end, End::Stop) {
            return self.crash(&broker, plan);
        }
        broker.begin_stop();
        let impatient = self
            .shared
            .chance(0.3)
            .then(|| self.sim.now() + self.shared.up_to_ms(50));
        let limit = self.sim.now() + PATIENCE;
        while broker.stopped().is_none() && impatient.is_none_or(|until| self.sim.now() < until) {
            assert!(self.sim.now() < limit, "the broker does not stop");
            self.sim.run_for(Duration::from_micros(500));
        }
        match broker.stopped() {
            None => self.shared.count("crashes while stopping", 1),
            Some(Ok(())) => self.shared.count("clean stops", 1),
            Some(Err(reason)) => {
                let failing = plan.disk_errors.is_some();
                assert!(failing, "the broker does not stop cleanly: {reason}");
            }
        }
        self.gone(&broker);
    }

    fn crash(&mut self, broker: &Broker, plan: &Plan) {
        self.crashes += 1;
        match plan.end {
            End::PowerCut(mode) => {
                self.sim.power_off(&broker.process);
                let report = self.disk.cut_power(mode);
                self.shared
                    .note(format!("the power goes: {mode:?}, {report:?}"));
                let kept = matches!(mode, engine::platform::sim::CutMode::Latest(_))
                    && report.sectors_kept > 0;
                self.shared
                    .count("cuts that keep only the latest writes", u64::from(kept));
            }
            End::Kill | End::Stop => {
                self.shared.note("kill -9");
                let late = self.disk.operations_in_flight() > 0;
                self.shared
                    .count("kills with operations in flight", u64::from(late));
                self.sim.kill(&broker.process);
            }
        }
        self.gone(broker);
    }

    fn gone(&mut self, broker: &Broker) {
        broker.count(&self.shared);
        if broker.process.is_alive() {
            self.sim.kill(&broker.process);
        }
        broker.forget();
        self.disk.set_options(faults::calm_disk());
        self.disk.forget_planned_faults();
        self.rot.strike();
        if self.shared.chance(0.5) {
            self.sim.run_for(self.shared.up_to_ms(200));
        }
    }

    /// No fault any more: everybody finishes, and everything is read.
    fn heal(&mut self) {
        self.shared.next_life();
        self.shared.note("all is healed");
        self.sim.set_network(NetworkOptions::default());
        self.disk.set_options(faults::calm_disk());
        self.shared.oracle().read_errors_allowed = false;
        for clean in [false, true] {
            let shards = self.shared.pick(&[1, 2, 3]);
            let broker = Broker::start(&self.sim, &self.disk, &self.shared, shards);
            self.wait_for_start(&broker, false)
                .expect("it may not fail");
            if !clean {
                self.work(200);
                self.shared.finish();
                let limit = self.sim.now() + PATIENCE;
                while self.shared.working() > 0 {
                    assert!(
                        self.sim.now() < limit,
                        "{} clients do not finish on a healthy broker",
                        self.shared.working()
                    );
                    self.sim.run_for(Duration::from_millis(5));
                }
            }
            self.verify();
            broker.begin_stop();
            let limit = self.sim.now() + PATIENCE;
            while broker.stopped().is_none() {
                assert!(self.sim.now() < limit, "the broker does not stop");
                self.sim.run_for(Duration::from_millis(1));
            }
            broker
                .stopped()
                .expect("it has")
                .expect("a healthy broker stops cleanly");
            broker.count(&self.shared);
            self.sim.kill(&broker.process);
            broker.forget();
            self.shared.next_life();
        }
    }

    /// Reads everything, which must be complete, and appends to every partition.
    fn verify(&self) {
        let (node, shared) = (self.sim.node("verifier"), self.shared.clone());
        let runtime = node.runtime();
        self.sim.block_on(&node, async move {
            let mut wire = Wire::connect(&shared, &runtime)
                .await
                .expect("a healthy network");
            administrator::metadata(&shared, &mut wire)
                .await
                .expect("a healthy network");
            for key in topics::all_keys() {
                verify_partition(&shared, &mut wire, &key).await;
            }
            for key in topics::COMPACT.keys() {
                let read = compaction::read_to_end(&shared, &mut wire, &key, 0, true).await;
                let whole = read.expect("a healthy network");
                assert!(whole, "{key:?} cannot be read on a healthy broker");
            }
        });
    }
}

async fn verify_partition(shared: &Shared, wire: &mut Wire, key: &PartitionKey) {
    let told = administrator::find_start(shared, wire, key)
        .await
        .expect("a healthy network");
    assert!(told, "{key:?}: no start offset on a healthy broker");
    let read = read_all(shared, wire, key).await;
    let (start, end) =
        read.unwrap_or_else(|_| panic!("{key:?} cannot be read on a healthy broker"));
    shared.note(format!(
        "{}-{} is whole from {start} to {end}",
        key.0, key.1
    ));
    let mut oracle = shared.oracle();
    let model = oracle.partition(key);
    model.complete(start, end);
    if key.0 == KEEP.name && start > 0 {
        // A segment goes only while the rest still holds the smallest retention.bytes of the workload.
        assert!(
            model.bytes_from(start) >= 100_000,
            "{key:?}: retention took too much"
        );
    }
}
