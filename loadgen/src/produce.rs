//! Produce at a constant rate. One task per connection sends on schedule; one task per request waits for its answer.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use net::client::{Client, ClientError, PendingAnswer};
use net::messages::ApiKey;
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::platform::Runtime;
use net::platform::sync::Semaphore;
use net::records::BatchBuilder;
use net::wire::{Reader, Records};

use crate::Produce;
use crate::schedule::Schedule;

/// Flexible, and served by every broker since Kafka 2.4.
const PRODUCE_VERSION: i16 = 8;
const METADATA_VERSION: i16 = 8;
/// Requests without an answer, per connection; beyond that the generator falls behind and says so.
const IN_FLIGHT_MAX: usize = 1000;
/// Later than this the generator did not hold its own schedule.
const LATENESS_MAX: Duration = Duration::from_millis(10);

/// What a run found.
pub(crate) struct Report {
    /// Latency of acknowledgements from the intended send time, in microseconds.
    latency: Histogram<u64>,
    /// How late requests left, in microseconds.
    lateness: Histogram<u64>,
    records_per_batch: u64,
    record_size: usize,
    acked: u64,
    failed: u64,
    elapsed: Duration,
}

impl Report {
    /// Whether every record was acknowledged and the generator held its schedule for 99 % of the requests.
    pub(crate) fn is_valid(&self) -> bool {
        self.failed == 0 && self.lateness.value_at_quantile(0.99) <= LATENESS_MAX.as_micros() as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.acked * self.records_per_batch;
        let seconds = self.elapsed.as_secs_f64();
        let megabytes = records as f64 * self.record_size as f64 / 1e6;
        writeln!(
            f,
            "records     {records} acknowledged, {} failed",
            self.failed * self.records_per_batch
        )?;
        writeln!(
            f,
            "throughput  {:.0} records/s, {:.1} MB/s",
            records as f64 / seconds,
            megabytes / seconds
        )?;
        let ms = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(
            f,
            "latency ms  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  p99.99 {:.2}  max {:.2}",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            ms(0.9999),
            self.latency.max() as f64 / 1000.0
        )?;
        let late = self.lateness.value_at_quantile(0.99) as f64 / 1000.0;
        let verdict = if self.is_valid() {
            "valid"
        } else {
            "INVALID: records failed, or the generator fell behind"
        };
        write!(f, "schedule    p99 {late:.2} ms late  {verdict}")
    }
}

struct Load {
    plan: Produce,
    batch: Bytes,
    report: RefCell<Report>,
}

/// Runs the plan.
pub(crate) async fn run(runtime: Runtime, plan: Produce) -> Result<Report, ClientError> {
    let (batch, records_per_batch) = make_batch(&plan, runtime.wall_clock_ms());
    let histogram =
        || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are legal");
    let report = Report {
        latency: histogram(),
        lateness: histogram(),
        records_per_batch,
        record_size: plan.record_size,
        acked: 0,
        failed: 0,
        elapsed: Duration::ZERO,
    };
    let mut clients = Vec::new();
    for _ in 0..plan.connections {
        clients.push(Client::connect(&runtime, plan.bootstrap, "loadgen").await?);
    }
    create_topic(&clients[0], &plan.topic).await?;
    let batches_per_second = plan.rate as f64 / records_per_batch as f64;
    let duration = Duration::from_secs(plan.duration);
    let load = Rc::new(Load {
        plan,
        batch,
        report: RefCell::new(report),
    });
    let start = runtime.monotonic() + Duration::from_millis(50);
    let running = Semaphore::new(clients.len());
    for (index, client) in (0..).zip(clients) {
        let schedule = Schedule::new(batches_per_second, duration, load.plan.connections, index);
        let permit = running.acquire(1).await;
        let (load, runtime_here) = (load.clone(), runtime.clone());
        runtime.spawn(async move {
            send(&runtime_here, &load, &client, schedule, start).await;
            drop(permit);
        });
    }
    let connections = load.plan.connections as usize;
    drop(running.acquire(connections).await);
    load.report.borrow_mut().elapsed = runtime.monotonic().saturating_sub(start);
    let load = Rc::into_inner(load).expect("every task has ended");
    Ok(load.report.into_inner())
}

fn make_batch(plan: &Produce, now_ms: i64) -> (Bytes, u64) {
    let value = vec![b'x'; plan.record_size];
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(&value), &[], now_ms);
    while builder.size_in_bytes() + plan.record_size + 16 <= plan.batch_bytes {
        builder.append(None, Some(&value), &[], now_ms);
    }
    let records = u64::from(builder.record_count().unsigned_abs());
    (Bytes::from(builder.build(0, -1)), records)
}

async fn create_topic(client: &Client, topic: &str) -> Result<(), ClientError> {
    let named = MetadataRequestTopic {
        name: Some(topic),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    client
        .call(ApiKey::Metadata, METADATA_VERSION, |writer| {
            request.encode(writer, METADATA_VERSION)
        })
        .await?;
    Ok(())
}

async fn send(
    runtime: &Runtime,
    load: &Rc<Load>,
    client: &Client,
    schedule: Schedule,
    start: Duration,
) {
    let in_flight = Semaphore::new(IN_FLIGHT_MAX);
    for (number, due) in (0..).zip(schedule.due_times()) {
        let due = start + due;
        let now = runtime.monotonic();
        if now < due {
            runtime.sleep(due - now).await;
        }
        let permit = in_flight.acquire(1).await;
        let partition = number % load.plan.partitions;
        let pending = produce(load, client, partition).await;
        let late = runtime.monotonic().saturating_sub(due);
        let _ = load
            .report
            .borrow_mut()
            .lateness
            .record(late.as_micros() as u64);
        let (load, runtime_here) = (load.clone(), runtime.clone());
        runtime.spawn(async move {
            let acked = acknowledged(pending).await;
            let latency = runtime_here.monotonic().saturating_sub(due);
            let mut report = load.report.borrow_mut();
            if acked {
                report.acked += 1;
                let _ = report.latency.record(latency.as_micros() as u64);
            } else {
                report.failed += 1;
            }
            drop(report);
            drop(load);
            drop(permit);
        });
    }
    drop(in_flight.acquire(IN_FLIGHT_MAX).await);
}

async fn produce(
    load: &Load,
    client: &Client,
    partition: i32,
) -> Result<PendingAnswer, ClientError> {
    let records = Some(Records::Chain(vec![load.batch.clone()]));
    let data = PartitionProduceData {
        index: partition,
        records,
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: &load.plan.topic,
        partition_data: vec![data],
        ..Default::default()
    };
    let acks = if load.plan.acks == "1" { 1 } else { -1 };
    let request = ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    client
        .send(ApiKey::Produce, PRODUCE_VERSION, |writer| {
            request.encode(writer, PRODUCE_VERSION)
        })
        .await
}

async fn acknowledged(pending: Result<PendingAnswer, ClientError>) -> bool {
    let Ok(pending) = pending else { return false };
    let Ok(body) = pending.await else {
        return false;
    };
    let Ok(response) = ProduceResponse::decode(&mut Reader::new(&body), PRODUCE_VERSION) else {
        return false;
    };
    let mut partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    partitions.all(|partition| partition.error_code == 0)
}
