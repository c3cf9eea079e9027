//! One producing connection: a task that sends what the accumulator gives and a task that takes the answers.
//!
//! Runs on one executor. Invariant: every record that was taken off the schedule is counted once, as acknowledged or
//! as failed. Nothing is sent twice: a batch whose fate is unknown counts as failed, and its sequence numbers are kept
//! so that a reader does not call it lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use net::messages::ApiKey;
use net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use net::messages::produce::ProduceResponse;
use net::platform::sync::Notify;
use net::platform::{Runtime, WriteHalf};
use net::wire::{Reader, Uuid};

use crate::accumulator::{Accumulator, Batch, Chooser, Due};
use crate::clock::{self, MILLISECOND, SECOND};
use crate::control::Control;
use crate::figures::{Meter, error_name, note};
use crate::link::{self, Frames, Link, LinkError, REQUEST_TIMEOUT};
use crate::plan::{Acks, Produce, Rate};
use crate::random::Random;
use crate::schedule::{Arrivals, Share};
use crate::sealer::{Sealed, Sealer};
use crate::template::Template;

/// A write that takes longer waited for the broker to read, so what was due meanwhile is not the generator's delay.
const WRITE_WAITED: u64 = 2 * MILLISECOND;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Longest sleep, so that the end of the run is noticed.
const NAP: Duration = Duration::from_millis(100);
/// Failed batches whose sequence numbers are kept.
const FAILED_MAX: usize = 1 << 20;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// What one connection is to do. Goes to the executor that does it.
#[derive(Debug, Clone)]
pub(crate) struct ProducerJob {
    /// The workload.
    pub(crate) plan: Arc<Produce>,
    /// Which workload of the phase.
    pub(crate) workload: usize,
    /// Number of the run, for identities.
    pub(crate) run: u32,
    /// Which of the workload's connections.
    pub(crate) share: Share,
    /// The broker.
    pub(crate) address: SocketAddr,
    /// Names and ids of the workload's topics.
    pub(crate) topics: Arc<Vec<(String, Uuid)>>,
    /// Topic and partition of each target.
    pub(crate) targets: Vec<(usize, i32)>,
    /// Agreed version of Produce.
    pub(crate) produce_version: i16,
    /// Agreed version of InitProducerId.
    pub(crate) init_producer_id_version: i16,
    /// Nanoseconds that the schedule runs.
    pub(crate) duration: u64,
    /// How long answers are waited for after that.
    pub(crate) drain: u64,
    /// Draws everything.
    pub(crate) seed: u64,
}

/// What became of the records of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Which run and which of its producers.
    pub(crate) run: u32,
    /// The producer.
    pub(crate) producer: u32,
    /// Topic, partition and number of records given a sequence number, by target.
    pub(crate) written: Vec<(usize, i32, u64)>,
    /// Records whose fate is failure or unknown: target, first sequence, count.
    pub(crate) failed: Vec<(usize, u64, u64)>,
    /// Records that were due and not sent when the schedule ended.
    pub(crate) behind: u64,
}

struct Pending {
    sealed: Sealed,
    sent: u64,
    batch: Batch,
}

/// What sender and receiver share for as long as a connection lasts.
#[derive(Default)]
struct Flight {
    pending: RefCell<VecDeque<Pending>>,
    changed: Notify,
    waiting: Cell<bool>,
    broken: Cell<bool>,
}

/// A producing connection.
pub(crate) struct Producer {
    job: ProducerJob,
    runtime: Runtime,
    control: Arc<Control>,
    meter: Meter,
    template: Rc<Template>,
    sealer: Sealer,
    accumulator: Rc<RefCell<Accumulator>>,
    ledger: Rc<RefCell<Ledger>>,
    /// Nanoseconds on the clock when the phase started.
    start: u64,
    /// Since when nothing but the generator keeps records from being sent.
    free_since: u64,
    behind_noted: bool,
}

impl Producer {
    /// Ready to connect.
    pub(crate) fn new(
        job: ProducerJob,
        runtime: &Runtime,
        control: Arc<Control>,
        meter: Meter,
        template: Rc<Template>,
    ) -> Result<Producer, LinkError> {
        let plan = &job.plan;
        let rate = match plan.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Max => None,
        };
        let arrivals = Arrivals::new(
            plan.arrivals,
            rate,
            job.duration,
            plan.records,
            job.share,
            job.seed,
        );
        let chooser = Chooser::new(
            plan.partitioner,
            plan.keys.clone(),
            job.targets.len(),
            job.share.index as usize,
            Random::new(job.seed ^ 0x5eed, job.share.index),
        );
        let linger = (plan.linger_ms * MILLISECOND as f64) as u64;
        let accumulator = Accumulator::new(
            arrivals,
            chooser,
            template.records_max(),
            linger,
            plan.closed_loop,
        );
        let ledger = Ledger {
            run: job.run,
            producer: job.share.index as u32,
            ..Ledger::default()
        };
        Ok(Producer {
            runtime: runtime.clone(),
            control,
            meter,
            sealer: Sealer::new(&job, template.clone())?,
            template,
            accumulator: Rc::new(RefCell::new(accumulator)),
            ledger: Rc::new(RefCell::new(ledger)),
            start: 0,
            free_since: 0,
            behind_noted: false,
            job,
        })
    }

    /// What is due and not sent can be asked here at any time.
    pub(crate) fn accumulator(&self) -> Rc<RefCell<Accumulator>> {
        self.accumulator.clone()
    }

    /// Connects, and gets a producer id if it needs one.
    pub(crate) async fn connect(&mut self) -> Result<Link, LinkError> {
        let mut link = Link::open(&self.runtime, self.job.address).await?;
        if self.job.plan.idempotent {
            let version = self.job.init_producer_id_version;
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            };
            let asking = link.ask(ApiKey::InitProducerId, version, |writer| {
                request.encode(writer, version)
            });
            let body = asking.await?;
            let answer = InitProducerIdResponse::decode(&mut Reader::new(&body), version)?;
            if answer.error_code != 0 {
                return Err(LinkError::Refused("InitProducerId", answer.error_code));
            }
            self.sealer
                .be_idempotent(answer.producer_id, answer.producer_epoch);
        }
        Ok(link)
    }

    /// Carries the plan out on `link`, and on others when it breaks; `start` is when the schedule begins.
    pub(crate) async fn run(mut self, link: Link, start: u64) -> Ledger {
        (self.start, self.free_since) = (start, start);
        let mut link = Some(link);
        loop {
            if let Some(Link { writer, frames, .. }) = link.take() {
                let flight = Rc::new(Flight::default());
                self.spawn_receiver(frames, flight.clone());
                if self.send(writer, &flight).await {
                    break;
                }
                self.meter.with(|figures| figures.counts.reconnects += 1);
            }
            if self.now() >= self.give_up_at() {
                break;
            }
            self.runtime.sleep(RECONNECT_PAUSE).await;
            match self.connect().await {
                Ok(again) => link = Some(again),
                Err(error) => self
                    .meter
                    .with(|figures| figures.error(&error.to_string(), 0)),
            }
            self.free_since = clock::now();
        }
        self.note_behind(u64::MAX);
        let abandoned = self.accumulator.borrow_mut().abandon();
        if abandoned > 0 {
            self.meter.with(|figures| {
                figures.counts.failed += abandoned;
                figures.error("never sent", abandoned);
            });
        }
        let mut ledger = self.ledger.take();
        ledger.written = self.sealer.records();
        ledger
    }

    fn now(&self) -> u64 {
        clock::now().saturating_sub(self.start)
    }

    fn give_up_at(&self) -> u64 {
        let end = self
            .job
            .duration
            .min(self.control.ended_at().saturating_sub(self.start));
        end.saturating_add(self.job.drain)
    }

    /// Sends until everything is answered (true) or the connection breaks (false).
    async fn send(&mut self, mut writer: WriteHalf, flight: &Rc<Flight>) -> bool {
        let in_flight_max = self.job.plan.in_flight_max();
        let finished = loop {
            if flight.broken.get() {
                break false;
            }
            let now = self.now();
            self.note_behind(now);
            if self.control.is_aborted() || (self.is_saturating() && now >= self.job.duration) {
                self.accumulator.borrow_mut().cut(now);
            }
            if now >= self.give_up_at() {
                break true;
            }
            let late = self.lateness(now);
            let before = self.accumulator.borrow().looked_at();
            self.gather(flight, in_flight_max, now);
            if let Some(late) = late {
                let records = self.accumulator.borrow().looked_at() - before;
                self.meter
                    .with(|figures| note_lateness(&mut figures.lateness, late, records));
            }
            if let Some(bytes) = self.sealer.take() {
                let before = clock::now();
                let writing = writer.write_all(std::slice::from_ref(&bytes));
                let written = self.runtime.timeout(REQUEST_TIMEOUT, writing).await;
                if !matches!(written, Ok(Ok(()))) {
                    break false;
                }
                self.sealer.give_back(bytes);
                let after = clock::now();
                if after - before > WRITE_WAITED {
                    self.free_since = after;
                }
                // The answers' task and the clock's share this core.
                self.runtime.yield_now().await;
                continue;
            }
            let full = flight.pending.borrow().len() >= in_flight_max;
            let next = self.accumulator.borrow().next_event();
            if next.is_none() && flight.pending.borrow().is_empty() {
                break true;
            }
            match next {
                Some(at) if !full => {
                    let pause = Duration::from_nanos(at.saturating_sub(now)).min(NAP);
                    self.runtime.sleep(pause).await;
                }
                _ => {
                    self.wait_for_answers(flight).await;
                    self.free_since = clock::now();
                }
            }
            if flight.is_overdue() {
                self.meter
                    .with(|figures| figures.error("no answer within 30 s", 0));
                break false;
            }
        };
        writer.shutdown();
        self.sealer.clear();
        self.fail_pending(flight);
        finished
    }

    fn is_saturating(&self) -> bool {
        self.job.plan.rate == Rate::Max
    }

    async fn wait_for_answers(&self, flight: &Flight) {
        let changed = flight.changed.notified();
        flight.waiting.set(true);
        // In time or not: the caller looks at everything again.
        let _ = self.runtime.timeout(NAP, changed).await;
        flight.waiting.set(false);
    }

    /// How much later than it could the generator looks at the oldest record that is due.
    fn lateness(&self, now: u64) -> Option<u64> {
        let due = self.accumulator.borrow().next_arrival()?;
        if self.is_saturating() || due > now {
            return None;
        }
        Some((now + self.start).saturating_sub((due + self.start).max(self.free_since)))
    }

    /// Notes once, when the schedule has ended, how far sending is behind it.
    fn note_behind(&mut self, now: u64) {
        if now >= self.job.duration && !self.behind_noted && !self.is_saturating() {
            self.behind_noted = true;
            self.ledger.borrow_mut().behind = self.accumulator.borrow().backlog(now);
        }
    }

    /// Seals batches until nothing is ready, enough is gathered or enough is unanswered.
    fn gather(&mut self, flight: &Rc<Flight>, in_flight_max: usize, now: u64) {
        let mut pending = flight.pending.borrow_mut();
        while pending.len() < in_flight_max && self.sealer.has_room() {
            let Some(batch) = self.accumulator.borrow_mut().take(now) else {
                break;
            };
            let sealed = self.sealer.seal(&batch, self.start);
            let value_bytes = self.template.value_bytes(batch.count);
            let no_answer = self.job.plan.acks == Acks::None;
            self.meter.with(|figures| {
                figures.counts.sent += batch.count as u64;
                figures.counts.requests += 1;
                if no_answer {
                    figures.counts.acked += batch.count as u64;
                    figures.counts.value_bytes += value_bytes;
                    figures.last = now;
                    note_latency(&mut figures.latency, &batch, now);
                }
            });
            if !no_answer {
                let sent = self.start + now;
                pending.push_back(Pending {
                    sealed,
                    sent,
                    batch,
                });
            }
        }
    }

    fn spawn_receiver(&self, frames: Frames, flight: Rc<Flight>) {
        let receiver = Receiver {
            version: self.job.produce_version,
            idempotent: self.job.plan.idempotent,
            meter: self.meter.clone(),
            template: self.template.clone(),
            ledger: self.ledger.clone(),
            start: self.start,
        };
        self.runtime.spawn(async move {
            let ended = receiver.receive(frames, &flight).await;
            if let Err(error) = ended {
                receiver
                    .meter
                    .with(|figures| figures.error(&error.to_string(), 0));
            }
            flight.broken.set(true);
            flight.changed.notify_all();
        });
    }

    /// Nothing unanswered on this connection will be answered any more.
    fn fail_pending(&self, flight: &Flight) {
        let pending = flight.pending.take();
        for lost in pending {
            fail(&self.meter, &self.ledger, &lost, "unanswered");
        }
    }
}

impl Flight {
    fn is_overdue(&self) -> bool {
        let pending = self.pending.borrow();
        pending
            .front()
            .is_some_and(|oldest| oldest.sent_ago() > REQUEST_TIMEOUT)
    }
}

impl Pending {
    fn sent_ago(&self) -> Duration {
        Duration::from_nanos(clock::now().saturating_sub(self.sent))
    }
}

/// The answers' side of a connection.
struct Receiver {
    version: i16,
    idempotent: bool,
    meter: Meter,
    template: Rc<Template>,
    ledger: Rc<RefCell<Ledger>>,
    start: u64,
}

impl Receiver {
    /// Takes answers until the connection ends.
    async fn receive(&self, mut frames: Frames, flight: &Flight) -> Result<(), LinkError> {
        while let Some(frame) = frames.next().await? {
            let (correlation_id, body) = link::body(ApiKey::Produce, self.version, frame)?;
            let answer = ProduceResponse::decode(&mut Reader::new(body), self.version)?;
            let code = answer
                .responses
                .first()
                .and_then(|topic| topic.partition_responses.first())
                .map_or(-1, |partition| partition.error_code);
            let pending = flight
                .pending
                .borrow_mut()
                .pop_front_if(|oldest| oldest.sealed.correlation_id == correlation_id)
                .ok_or_else(|| std::io::Error::other("an answer that nobody asked for"))?;
            self.answered(&pending, code);
            if flight.waiting.get() {
                flight.changed.notify_all();
            }
            if code != 0 && self.idempotent {
                // The sequence has a hole that the broker will not step over: start again with a new producer id.
                return Ok(());
            }
        }
        Ok(())
    }

    fn answered(&self, pending: &Pending, code: i16) {
        if code != 0 && code != DUPLICATE_SEQUENCE_NUMBER {
            return fail(&self.meter, &self.ledger, pending, &error_name(code));
        }
        let batch = &pending.batch;
        let now = clock::now().saturating_sub(self.start);
        let value_bytes = self.template.value_bytes(batch.count);
        self.meter.with(|figures| {
            figures.counts.acked += batch.count as u64;
            figures.counts.value_bytes += value_bytes;
            figures.last = now;
            note_latency(&mut figures.latency, batch, now);
        });
    }
}

fn note_latency(latency: &mut Histogram<u64>, batch: &Batch, now: u64) {
    match &batch.due {
        Due::Same(at) => note(latency, now.saturating_sub(*at), batch.count as u64),
        Due::Each(each) => {
            for due in each {
                note(latency, now.saturating_sub(*due), 1);
            }
        }
    }
}

/// Notes the lateness of `records` that were due one after the other and looked at together, the oldest of them `late`.
/// A stall counts for every record that was due in it, and not for the one time that the generator woke up from it.
fn note_lateness(lateness: &mut Histogram<u64>, late: u64, records: u64) {
    const STEPS: u64 = 16;
    let steps = records.clamp(1, STEPS);
    for step in 0..steps {
        let share = records * (step + 1) / steps - records * step / steps;
        note(lateness, late / steps * (steps - step), share);
    }
}

fn fail(meter: &Meter, ledger: &RefCell<Ledger>, pending: &Pending, error: &str) {
    let count = pending.batch.count as u64;
    meter.with(|figures| {
        figures.counts.failed += count;
        figures.error(error, count);
    });
    let failed = &mut ledger.borrow_mut().failed;
    if failed.len() < FAILED_MAX {
        failed.push((pending.batch.target, pending.sealed.first_sequence, count));
    }
}

/// How long a schedule runs at most, in nanoseconds.
pub(crate) fn nanoseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_of_the_generator_is_late_for_every_record_that_was_due_in_it() {
        let mut lateness = crate::figures::histogram();
        for _ in 0..1500 {
            note_lateness(&mut lateness, MILLISECOND / 10, 1);
        }
        note_lateness(&mut lateness, SECOND, 500);
        assert_eq!(lateness.len(), 2000);
        assert!(lateness.value_at_quantile(0.99) > 900 * MILLISECOND);
        let half = lateness.value_at_quantile(0.875);
        assert!(half.abs_diff(SECOND / 2) < SECOND / 10, "{half}");
        note_lateness(&mut lateness, SECOND, 0);
        assert_eq!(
            lateness.len(),
            2000,
            "what was not looked at is not counted"
        );
    }
}
