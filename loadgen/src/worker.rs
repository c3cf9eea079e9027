//! One executor's part of a phase: it connects, waits for the common start, runs its connections and reports what they
//! counted, second by second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use net::platform::Runtime;
use net::platform::sync::Semaphore;

use crate::accumulator::Accumulator;
use crate::clock::{self, SECOND};
use crate::consumer::{Consumer, ConsumerJob, ReadBack};
use crate::control::Control;
use crate::figures::{Figures, Meter};
use crate::link::{Link, LinkError};
use crate::producer::{Ledger, Producer, ProducerJob};
use crate::template::Template;

/// Unknown partition, no leader, not the leader, coordinator loading, not available or elsewhere.
const TRANSIENT: [i16; 6] = [3, 5, 6, 14, 15, 16];
const CONNECT_PATIENCE: u64 = 30 * SECOND;

/// What an executor is to do.
#[derive(Debug, Default)]
pub(crate) struct WorkerJob {
    /// Workloads of the phase, whether or not this executor has a part in them.
    pub(crate) workloads: usize,
    /// Connections that produce.
    pub(crate) producers: Vec<ProducerJob>,
    /// Connections that consume.
    pub(crate) consumers: Vec<ConsumerJob>,
}

/// What executors tell the thread that watches over them.
#[derive(Debug)]
pub(crate) enum Message {
    /// Every connection is made.
    Ready,
    /// Which executor, which second, and what was counted in it, by workload.
    Second(usize, u64, Vec<Figures>),
    /// Which executor, and everything it knows at the end.
    Finished(usize, Box<Finished>),
    /// It cannot go on.
    Failed(String),
}

/// What an executor knows when it has ended.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// What producers wrote, with their workload.
    pub(crate) ledgers: Vec<(usize, Ledger)>,
    /// What consumers found, with their workload.
    pub(crate) read_back: Vec<(usize, ReadBack)>,
    /// Nanoseconds of CPU that its thread used between start and end.
    pub(crate) cpu: u64,
    /// When it ended, nanoseconds from the start.
    pub(crate) ended: u64,
}

struct Worker {
    index: usize,
    runtime: Runtime,
    control: Arc<Control>,
    out: mpsc::Sender<Message>,
    meters: Vec<Meter>,
    backlogs: Vec<(usize, Rc<RefCell<Accumulator>>)>,
}

/// The body of executor number `index`.
pub(crate) async fn work(
    index: usize,
    runtime: Runtime,
    job: WorkerJob,
    control: Arc<Control>,
    out: mpsc::Sender<Message>,
) {
    let meters = (0..job.workloads).map(|_| Meter::default()).collect();
    let worker = Worker {
        index,
        runtime,
        control,
        out,
        meters,
        backlogs: Vec::new(),
    };
    let out = worker.out.clone();
    let message = match worker.run(job).await {
        Ok(finished) => Message::Finished(index, Box::new(finished)),
        Err(error) => Message::Failed(error),
    };
    // Whoever watched may have given up.
    let _ = out.send(message);
}

impl Worker {
    async fn run(mut self, job: WorkerJob) -> Result<Finished, String> {
        let mut consumers = Vec::new();
        for job in job.consumers {
            let workload = job.workload;
            let meter = self.meters[workload].clone();
            let mut consumer = Consumer::new(job, &self.runtime, self.control.clone(), meter);
            let link = consumer
                .connect()
                .await
                .map_err(|error| error.to_string())?;
            consumers.push((workload, consumer, link));
        }
        let mut producers = Vec::new();
        let mut templates: BTreeMap<usize, Rc<Template>> = BTreeMap::new();
        for job in job.producers {
            let workload = job.workload;
            let plan = job.plan.clone();
            let template = templates.entry(workload).or_insert_with(|| {
                let (keys, batch) = (plan.keys.as_ref(), plan.batch_bytes);
                Rc::new(Template::new(&plan.value, keys, batch, job.seed))
            });
            let meter = self.meters[workload].clone();
            let (control, template) = (self.control.clone(), template.clone());
            let mut producer = Producer::new(job, &self.runtime, control, meter, template)
                .map_err(|error| error.to_string())?;
            let link = self.patiently(async || producer.connect().await).await?;
            self.backlogs.push((workload, producer.accumulator()));
            producers.push((workload, producer, link));
        }
        let _ = self.out.send(Message::Ready);
        let start = loop {
            if let Some(start) = self.control.start() {
                break start;
            }
            if self.control.is_aborted() {
                return Err("stopped before the start".into());
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        };
        let wait = start.saturating_sub(clock::now());
        self.runtime.sleep(Duration::from_nanos(wait)).await;
        let cpu_before = thread_cpu();

        let tasks = producers.len() + consumers.len();
        let running = Semaphore::new(tasks.max(1));
        let ledgers = Rc::new(RefCell::new(Vec::new()));
        for (workload, producer, link) in producers {
            let permit = running.acquire(1).await;
            let (ledgers, control) = (ledgers.clone(), self.control.clone());
            self.runtime.spawn(async move {
                let ledger = producer.run(link, start).await;
                control.producer_ended();
                ledgers.borrow_mut().push((workload, ledger));
                drop(permit);
            });
        }
        let read_back = Rc::new(RefCell::new(Vec::new()));
        for (workload, consumer, link) in consumers {
            let permit = running.acquire(1).await;
            let read_back = read_back.clone();
            self.runtime.spawn(async move {
                let found = consumer.run(link, start).await;
                read_back
                    .borrow_mut()
                    .extend(found.into_iter().map(|found| (workload, found)));
                drop(permit);
            });
        }
        let second = self.tick(start, &running, tasks).await;
        let cpu = thread_cpu().saturating_sub(cpu_before);
        self.send_second(start, second);
        let ended = clock::now().saturating_sub(start);
        Ok(Finished {
            ledgers: ledgers.take(),
            read_back: read_back.take(),
            cpu,
            ended,
        })
    }

    /// Connects; a broker that is still making up its mind is asked again.
    async fn patiently(
        &self,
        mut connect: impl AsyncFnMut() -> Result<Link, LinkError>,
    ) -> Result<Link, String> {
        let give_up = clock::now() + CONNECT_PATIENCE;
        loop {
            match connect().await {
                Ok(link) => return Ok(link),
                Err(LinkError::Refused(_, code))
                    if TRANSIENT.contains(&code) && clock::now() < give_up =>
                {
                    self.runtime.sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Reports every second until all tasks have ended; the second that has begun then.
    async fn tick(&self, start: u64, running: &Semaphore, tasks: usize) -> u64 {
        let mut second = 0;
        let mut ended = std::pin::pin!(running.acquire(tasks));
        loop {
            let next = start + (second + 1) * SECOND;
            let pause = Duration::from_nanos(next.saturating_sub(clock::now()));
            match self.runtime.timeout(pause, ended.as_mut()).await {
                Ok(_) => return second,
                Err(_) => {
                    self.send_second(start, second);
                    second += 1;
                }
            }
        }
    }

    fn send_second(&self, start: u64, second: u64) {
        let mut figures: Vec<Figures> = self.meters.iter().map(Meter::take).collect();
        let now = clock::now().saturating_sub(start);
        for (workload, accumulator) in &self.backlogs {
            figures[*workload].counts.backlog += accumulator.borrow().backlog(now);
        }
        let _ = self.out.send(Message::Second(self.index, second, figures));
    }
}

/// CPU time of the calling thread, in nanoseconds.
fn thread_cpu() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call, which writes it whole.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every thread has a CPU clock");
    time.tv_sec.unsigned_abs() * SECOND + time.tv_nsec.unsigned_abs()
}
