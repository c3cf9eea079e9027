//! Runs a plan: makes the topics, then phase after phase starts one pinned executor per core, watches over them and
//! adds up what they counted. Runs on the main thread, which sends no load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use net::platform::{Placement, block_on, spawn_executor};

use crate::clock::{self, MILLISECOND, SECOND};
use crate::consumer::ReadBack;
use crate::control::Control;
use crate::figures::{Counts, Figures};
use crate::plan::{Phase, Plan};
use crate::process::{Sample, Watched};
use crate::producer::Ledger;
use crate::settle::settle;
use crate::topics::{self, Layout, SetupError};
use crate::worker::{Message, work};

/// Between the last connection and the first record.
const HEAD_START: u64 = 50 * MILLISECOND;
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);

/// One workload in one second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Seconds from the start.
    pub(crate) second: u64,
    /// What was counted.
    pub(crate) counts: Counts,
    /// p50, p99 and maximum of the latency, nanoseconds.
    pub(crate) latency: [u64; 3],
    /// The same from the intended send time to reading.
    pub(crate) end_to_end: [u64; 3],
}

impl Point {
    fn new(second: u64, figures: &Figures) -> Point {
        let three = |histogram: &hdrhistogram::Histogram<u64>| {
            [
                histogram.value_at_quantile(0.5),
                histogram.value_at_quantile(0.99),
                histogram.max(),
            ]
        };
        Point {
            second,
            counts: figures.counts,
            latency: three(&figures.latency),
            end_to_end: three(&figures.end_to_end),
        }
    }
}

/// What a workload came to.
#[derive(Debug)]
pub(crate) struct WorkloadResult {
    /// Its name.
    pub(crate) name: String,
    /// Whether it wrote.
    pub(crate) produces: bool,
    /// Without the warm-up.
    pub(crate) measured: Figures,
    /// With the warm-up.
    pub(crate) counts: Counts,
    /// Second by second.
    pub(crate) series: Vec<Point>,
    /// Histogram of each second of the measured latency, for HDR logs.
    pub(crate) log: Vec<(u64, hdrhistogram::Histogram<u64>)>,
    /// Records due and not sent when the schedule ended.
    pub(crate) behind: u64,
    /// Partitions that were to be read to their end and were not; each copy counts.
    pub(crate) fell_short: usize,
}

/// What a phase came to.
#[derive(Debug)]
pub(crate) struct PhaseResult {
    /// The plan.
    pub(crate) plan: Phase,
    /// Producers, then consumers.
    pub(crate) workloads: Vec<WorkloadResult>,
    /// CPU share of each executor, 0 to 1.
    pub(crate) busy: Vec<f64>,
    /// The broker's process, if its id was given.
    pub(crate) broker: Vec<Sample>,
    /// When it began on the wall clock, ms since 1970.
    pub(crate) began_ms: i64,
    /// Whether it was ended early.
    pub(crate) aborted: bool,
}

/// What a plan came to.
#[derive(Debug)]
pub(crate) struct RunResult {
    /// What was learned of the cluster.
    pub(crate) layout: Layout,
    /// The phases that ran.
    pub(crate) phases: Vec<PhaseResult>,
}

/// Is told of every second.
pub(crate) trait Observer {
    /// A phase begins.
    fn phase(&mut self, phase: &Phase);
    /// One second of all workloads: name, figures.
    fn second(&mut self, second: u64, workloads: &[(String, Figures)]);
}

/// Options of a run that are not part of the plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// Set when the run is to end early.
    pub(crate) abort: Arc<AtomicBool>,
    /// The broker's process.
    pub(crate) broker_pid: Option<u32>,
    /// Keep a histogram of every second.
    pub(crate) keep_log: bool,
}

/// Runs every phase.
pub(crate) fn execute(
    plan: &Plan,
    watch: &Watch,
    observer: &mut dyn Observer,
) -> Result<RunResult, SetupError> {
    let preparing = plan.clone();
    let layout = block_on(move |runtime| topics::prepare(runtime, preparing))?;
    let mut phases = Vec::new();
    for phase in &plan.phases {
        observer.phase(phase);
        let result = run_phase(plan, phase, &layout, watch, observer)?;
        let aborted = result.aborted;
        phases.push(result);
        if aborted {
            break;
        }
    }
    if plan.delete_topics {
        let removing = plan.clone();
        block_on(move |runtime| topics::remove(runtime, removing))?;
    }
    Ok(RunResult { layout, phases })
}

fn run_phase(
    plan: &Plan,
    phase: &Phase,
    layout: &Layout,
    watch: &Watch,
    observer: &mut dyn Observer,
) -> Result<PhaseResult, SetupError> {
    let producers: usize = phase
        .produce
        .iter()
        .map(|produce| produce.connections as usize)
        .sum();
    let connections = producers + crate::jobs::consumers(phase);
    let cores = crate::process::allowed_cores();
    let executors = match plan.threads {
        0 => cores.len().min(connections),
        threads => threads.min(connections),
    };
    let jobs = crate::jobs::deal(plan, phase, layout, executors)?;
    let control = Arc::new(Control::new(watch.abort.clone(), producers));
    let (sender, receiver) = mpsc::channel();
    let mut handles = Vec::new();
    for (index, job) in jobs.into_iter().enumerate() {
        // From the last core down: the first one has most interrupts, and often the broker.
        let core = cores[cores.len() - 1 - index % cores.len()];
        let placement = match executors <= cores.len() {
            true => Placement::Core(core),
            false => Placement::Unpinned,
        };
        let (control, sender) = (control.clone(), sender.clone());
        let name = format!("load-{index}");
        let body = move |runtime| work(index, runtime, job, control, sender);
        let handle = spawn_executor(&name, placement, body)
            .map_err(|error| SetupError::Connection(format!("no executor: {error}")))?;
        handles.push(handle);
    }
    drop(sender);
    let mut watcher = Watcher {
        phase,
        timeline: BTreeMap::new(),
        reported: vec![0; executors],
        workloads: blank_results(phase),
        observer,
        keep_log: watch.keep_log,
        broker: watch.broker_pid.map(Watched::new),
        busy: Vec::new(),
        ledgers: Vec::new(),
        read_back: Vec::new(),
        start: 0,
    };
    watcher.wait_until_ready(&receiver, executors)?;
    watcher.start = clock::now() + HEAD_START;
    let began_ms = clock::wall_us(watcher.start) / 1000;
    control.start_at(watcher.start);
    watcher.watch(&receiver)?;
    for handle in handles {
        handle
            .join()
            .map_err(|error| SetupError::Connection(format!("an executor failed: {error}")))?;
    }
    Ok(watcher.finish(began_ms, control.is_aborted()))
}

fn blank_results(phase: &Phase) -> Vec<WorkloadResult> {
    let produce = phase
        .produce
        .iter()
        .map(|produce| (produce.name.clone(), true));
    let consume = phase
        .consume
        .iter()
        .map(|consume| (consume.name.clone(), false));
    produce
        .chain(consume)
        .map(|(name, produces)| WorkloadResult {
            name,
            produces,
            measured: Figures::default(),
            counts: Counts::default(),
            series: Vec::new(),
            log: Vec::new(),
            behind: 0,
            fell_short: 0,
        })
        .collect()
}

/// Puts together what the executors of one phase say.
struct Watcher<'a> {
    phase: &'a Phase,
    /// Seconds that not every executor has reported yet.
    timeline: BTreeMap<u64, Vec<Figures>>,
    /// How many seconds each executor has reported, each of them once; all of them when it has ended.
    reported: Vec<u64>,
    workloads: Vec<WorkloadResult>,
    observer: &'a mut dyn Observer,
    keep_log: bool,
    broker: Option<Watched>,
    busy: Vec<f64>,
    ledgers: Vec<(usize, Ledger)>,
    read_back: Vec<(usize, ReadBack)>,
    start: u64,
}

impl Watcher<'_> {
    fn wait_until_ready(
        &mut self,
        receiver: &mpsc::Receiver<Message>,
        executors: usize,
    ) -> Result<(), SetupError> {
        for _ in 0..executors {
            match receiver.recv_timeout(CONNECT_PATIENCE) {
                Ok(Message::Ready) => {}
                Ok(Message::Failed(error)) => return Err(SetupError::Connection(error)),
                other => {
                    let what = format!("an executor did not connect: {other:?}");
                    return Err(SetupError::Connection(what));
                }
            }
        }
        Ok(())
    }

    fn watch(&mut self, receiver: &mpsc::Receiver<Message>) -> Result<(), SetupError> {
        let wait = self.start.saturating_sub(clock::now());
        std::thread::sleep(Duration::from_nanos(wait));
        self.sample_broker();
        while self.reported.iter().any(|seconds| *seconds < u64::MAX) {
            match receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Second(index, second, figures)) => self.report(index, second, figures),
                Ok(Message::Finished(index, finished)) => {
                    self.reported[index] = u64::MAX;
                    let ended = finished.ended.max(1);
                    self.busy.push(finished.cpu as f64 / ended as f64);
                    self.ledgers.extend(finished.ledgers);
                    self.read_back.extend(finished.read_back);
                    self.sample_broker();
                    self.fold_complete();
                }
                Ok(Message::Failed(error)) => return Err(SetupError::Connection(error)),
                Ok(Message::Ready) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SetupError::Connection(
                        "an executor ended without a word".into(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, index: usize, second: u64, figures: Vec<Figures>) {
        let blank = || vec![Figures::default(); figures.len()];
        let merged = self.timeline.entry(second).or_insert_with(blank);
        for (all, one) in merged.iter_mut().zip(&figures) {
            all.add(one);
        }
        self.reported[index] = second + 1;
        self.fold_complete();
    }

    /// Takes the seconds that nobody will add to.
    fn fold_complete(&mut self) {
        let complete = self.reported.iter().copied().min().unwrap_or(u64::MAX);
        while let Some(entry) = self.timeline.first_entry()
            && *entry.key() < complete
        {
            let (second, figures) = entry.remove_entry();
            self.sample_broker();
            self.fold(second, figures);
        }
    }

    fn fold(&mut self, second: u64, figures: Vec<Figures>) {
        let mut named = Vec::new();
        for (result, figures) in self.workloads.iter_mut().zip(figures) {
            let backlog = figures.counts.backlog;
            result.counts.add(&figures.counts);
            result.counts.backlog = backlog;
            result.series.push(Point::new(second, &figures));
            if second >= self.phase.warmup {
                result.measured.add(&figures);
                result.measured.counts.backlog = backlog;
                if self.keep_log {
                    let log = if result.produces {
                        &figures.latency
                    } else {
                        &figures.end_to_end
                    };
                    result.log.push((second, log.clone()));
                }
            } else {
                // What went wrong counts whenever it happened.
                for (error, count) in &figures.errors {
                    result.measured.error(error, *count);
                }
            }
            named.push((result.name.clone(), figures));
        }
        self.observer.second(second, &named);
    }

    fn sample_broker(&mut self) {
        let at = clock::now().saturating_sub(self.start);
        if let Some(broker) = &mut self.broker {
            broker.sample(at);
        }
    }

    fn finish(mut self, began_ms: i64, aborted: bool) -> PhaseResult {
        for (workload, ledger) in &self.ledgers {
            self.workloads[*workload].behind += ledger.behind;
        }
        for (workload, read) in &self.read_back {
            self.workloads[*workload].fell_short += usize::from(read.fell_short);
        }
        for (workload, lost) in settle(self.phase, &self.ledgers, &self.read_back) {
            self.workloads[workload].counts.lost += lost;
        }
        PhaseResult {
            plan: self.phase.clone(),
            workloads: self.workloads,
            busy: self.busy,
            broker: self.broker.map(Watched::into_samples).unwrap_or_default(),
            began_ms,
            aborted,
        }
    }
}

impl WorkloadResult {
    /// Seconds between the end of the warm-up and the last record.
    pub(crate) fn seconds(&self, warmup: u64) -> f64 {
        let begun = warmup * SECOND;
        self.measured.last.saturating_sub(begun).max(1) as f64 / SECOND as f64
    }
}
