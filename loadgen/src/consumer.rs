//! One consuming connection: fetches its partitions, checks every record, and sends the next fetch before it looks into
//! the records of the last.
//!
//! Runs on one executor. Invariant: a partition's position moves only past whole batches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use net::messages::ApiKey;
use net::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use net::platform::Runtime;
use net::records::{Batch, BatchError, Decompressor, split_batches};
use net::wire::{Reader, Records, Uuid};

use crate::clock;
use crate::control::Control;
use crate::figures::{Figures, Meter, error_name, note};
use crate::identity::{Found, Identity};
use crate::link::{self, Link, LinkError};
use crate::plan::{Consume, Start};
use crate::request;
use crate::verify::{Partition, Verdict};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const PAUSE: Duration = Duration::from_millis(100);
/// Records of one batch may unpack to this much.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// What one connection is to do. Goes to the executor that does it.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerJob {
    /// The workload.
    pub(crate) plan: Arc<Consume>,
    /// Which workload of the phase.
    pub(crate) workload: usize,
    /// The broker.
    pub(crate) address: SocketAddr,
    /// Names and ids of the workload's topics.
    pub(crate) topics: Arc<Vec<(String, Uuid)>>,
    /// Topic and partition of each target.
    pub(crate) targets: Vec<(usize, i32)>,
    /// Agreed version of Fetch.
    pub(crate) fetch_version: i16,
    /// Agreed version of ListOffsets.
    pub(crate) list_offsets_version: i16,
    /// Whether the phase has producers, whose last record is waited for.
    pub(crate) follows: bool,
    /// Nanoseconds that the phase lasts.
    pub(crate) duration: u64,
    /// How long unread records are waited for after that.
    pub(crate) drain: u64,
    /// Runs that this phase's producers write.
    pub(crate) runs: Arc<Vec<u32>>,
    /// Records read by all connections of the workload.
    pub(crate) total: Arc<AtomicU64>,
}

/// What was read from one partition.
#[derive(Debug)]
pub(crate) struct ReadBack {
    /// Topic and partition.
    pub(crate) topic: String,
    /// Its index.
    pub(crate) partition: i32,
    /// What was found in it.
    pub(crate) found: Partition,
    /// Whether everything written was to be read: it began before the producers, or it reached the end.
    pub(crate) complete: bool,
    /// Whether it was to be read to its end, and was not when time was over.
    pub(crate) fell_short: bool,
}

struct Target {
    topic: usize,
    partition: i32,
    position: i64,
    /// Where reading ends, once that is known.
    end: Option<i64>,
    /// Whether reading began with the partition's first record.
    from_start: bool,
    found: Partition,
}

impl Target {
    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

/// A consuming connection.
pub(crate) struct Consumer {
    job: ConsumerJob,
    runtime: Runtime,
    control: Arc<Control>,
    meter: Meter,
    targets: Vec<Target>,
    decompressor: Decompressor,
    start: u64,
    next_correlation_id: i32,
}

impl Consumer {
    /// Ready to connect.
    pub(crate) fn new(
        job: ConsumerJob,
        runtime: &Runtime,
        control: Arc<Control>,
        meter: Meter,
    ) -> Self {
        let targets = job
            .targets
            .iter()
            .map(|&(topic, partition)| Target {
                topic,
                partition,
                position: 0,
                end: None,
                from_start: false,
                found: Partition::default(),
            })
            .collect();
        Self {
            runtime: runtime.clone(),
            control,
            meter,
            targets,
            decompressor: Decompressor::new(UNPACKED_BYTES_MAX),
            start: 0,
            next_correlation_id: 0,
            job,
        }
    }

    /// Connects and finds out where to begin.
    pub(crate) async fn connect(&mut self) -> Result<Link, LinkError> {
        let mut link = Link::open(&self.runtime, self.job.address).await?;
        let from_earliest = self.job.plan.from == Start::Earliest;
        let timestamp = if from_earliest { EARLIEST } else { LATEST };
        let begins = self.offsets(&mut link, timestamp).await?;
        let ends = match self.job.plan.until_end {
            true => Some(self.offsets(&mut link, LATEST).await?),
            false => None,
        };
        for (index, target) in self.targets.iter_mut().enumerate() {
            target.position = begins[index];
            target.end = ends.as_ref().map(|ends| ends[index]);
            target.from_start = from_earliest && begins[index] == 0;
        }
        Ok(link)
    }

    /// Reads until the plan is done; what was found.
    pub(crate) async fn run(mut self, link: Link, start: u64) -> Vec<ReadBack> {
        self.start = start;
        let mut link = Some(link);
        let mut complete = false;
        while !self.is_over() {
            let Some(open) = &mut link else {
                self.runtime.sleep(PAUSE).await;
                let again = Link::open(&self.runtime, self.job.address).await;
                link = again.map_err(|error| self.count_error(&error)).ok();
                continue;
            };
            match self.read(open).await {
                Ok(done) if done => {
                    complete = true;
                    break;
                }
                Ok(_) => break,
                Err(error) => {
                    self.count_error(&error);
                    self.meter.with(|figures| figures.counts.reconnects += 1);
                    link = None;
                }
            }
        }
        let tails = self.job.follows && self.job.plan.from == Start::Latest;
        let names = self.job.topics.clone();
        let bounded = self.job.plan.records.is_some() || self.control.is_aborted();
        let to_the_end = self.job.follows || self.job.plan.until_end;
        self.targets
            .into_iter()
            .map(|target| ReadBack {
                fell_short: to_the_end && !bounded && !target.is_at_end(),
                topic: names[target.topic].0.clone(),
                partition: target.partition,
                found: target.found,
                complete: complete || (tails && !bounded),
            })
            .collect()
    }

    fn count_error(&self, error: &LinkError) {
        self.meter
            .with(|figures| figures.error(&error.to_string(), 0));
    }

    fn now(&self) -> u64 {
        clock::now().saturating_sub(self.start)
    }

    /// Whether reading ends even though not everything was read.
    fn is_over(&self) -> bool {
        let enough = self
            .job
            .plan
            .records
            .is_some_and(|most| self.job.total.load(Ordering::Relaxed) >= most);
        let now = self.now();
        let drained = now >= self.job.duration.saturating_add(self.job.drain);
        let timed_out = now >= self.job.duration && !self.job.follows && !self.job.plan.until_end;
        let stopped = self.control.is_aborted() && !self.control.producers_run();
        enough || drained || timed_out || (stopped && !self.job.follows)
    }

    /// Whether every partition was read to its end.
    fn is_complete(&self) -> bool {
        self.targets.iter().all(Target::is_at_end)
    }

    /// Fetches on one connection until everything is read (true) or the time is over (false).
    async fn read(&mut self, link: &mut Link) -> Result<bool, LinkError> {
        let mut sent_at = clock::now();
        self.send_fetch(link).await?;
        loop {
            let frame = link.frames.answer(&self.runtime).await?;
            let arrived = clock::now();
            let version = self.job.fetch_version;
            let (_, body) = link::body(ApiKey::Fetch, version, frame)?;
            let answer = FetchResponse::decode(&mut Reader::new(body), version)?;
            if answer.error_code != 0 {
                return Err(LinkError::Refused("Fetch", answer.error_code));
            }
            let from = self.advance(&answer);
            let paused = from.iter().any(|(_, _, data)| data.error_code != 0);
            let over = self.is_complete() || self.is_over();
            if paused {
                self.runtime.sleep(PAUSE).await;
            }
            // At the end of the producers' work the end of the log is looked up, with nothing else under way.
            let look_up = self.needs_ends();
            let fetched_at = sent_at;
            if !over && !look_up {
                sent_at = clock::now();
                let frame = self.fetch_frame()?;
                link.writer.write_all(&[frame]).await?;
            }
            self.take(&from, arrived, fetched_at);
            if over {
                return Ok(self.is_complete());
            }
            if look_up {
                let ends = self.offsets(link, LATEST).await?;
                for (target, end) in self.targets.iter_mut().zip(ends) {
                    target.end = Some(end);
                }
                if self.is_complete() {
                    return Ok(true);
                }
                sent_at = clock::now();
                self.send_fetch(link).await?;
            }
            // Answers that are there already must not keep the others of this core waiting.
            self.runtime.yield_now().await;
        }
    }

    fn needs_ends(&self) -> bool {
        self.job.follows
            && !self.control.producers_run()
            && self.targets.iter().any(|target| target.end.is_none())
    }

    async fn send_fetch(&mut self, link: &mut Link) -> Result<(), LinkError> {
        link.write(self.fetch_frame()?).await
    }

    fn fetch_frame(&mut self) -> Result<Bytes, LinkError> {
        let version = self.job.fetch_version;
        let plan = &self.job.plan;
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        let mut last = usize::MAX;
        for target in &self.targets {
            if target.is_at_end() {
                continue;
            }
            if target.topic != last {
                let (name, id) = &self.job.topics[target.topic];
                topics.push(FetchTopic {
                    topic: name,
                    topic_id: *id,
                    ..Default::default()
                });
                last = target.topic;
            }
            let topic = topics.last_mut().expect("pushed above");
            topic.partitions.push(FetchPartition {
                partition: target.partition,
                fetch_offset: target.position,
                partition_max_bytes: plan.partition_bytes_max,
                ..Default::default()
            });
        }
        let request = FetchRequest {
            max_wait_ms: plan.fetch_wait_ms,
            min_bytes: plan.fetch_bytes_min,
            max_bytes: plan.fetch_bytes_max,
            topics,
            ..Default::default()
        };
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let frame = request::frame(ApiKey::Fetch, version, correlation_id, |writer| {
            request.encode(writer, version)
        })?;
        Ok(Bytes::from(frame))
    }

    /// Moves every position past what came; the pieces to look into, with the positions they were asked for.
    fn advance<'a>(
        &mut self,
        answer: &'a FetchResponse<'a>,
    ) -> Vec<(usize, i64, &'a PartitionData<'a>)> {
        let mut pieces = Vec::new();
        for topic in &answer.responses {
            let by_id = self.job.fetch_version >= 13;
            let named = self.job.topics.iter().position(|(name, id)| match by_id {
                true => *id == topic.topic_id,
                false => name == topic.topic,
            });
            let Some(named) = named else { continue };
            for data in &topic.partitions {
                let Some(index) = self.target(named, data.partition_index) else {
                    continue;
                };
                let target = &mut self.targets[index];
                let asked = target.position;
                if data.error_code == OFFSET_OUT_OF_RANGE {
                    target.position = data.log_start_offset.max(0);
                }
                for batch in split_batches(records(data)).flatten() {
                    let header = batch.header();
                    target.position = header.base_offset + i64::from(header.last_offset_delta) + 1;
                }
                pieces.push((index, asked, data));
            }
        }
        pieces
    }

    /// Looks into everything that one answer brought.
    fn take(&mut self, pieces: &[(usize, i64, &PartitionData<'_>)], arrived: u64, fetched_at: u64) {
        let meter = self.meter.clone();
        meter.with(|figures| {
            let before = figures.counts.read;
            for (index, asked, data) in pieces {
                if data.error_code != 0 {
                    figures.error(&error_name(data.error_code), 0);
                }
                for batch in split_batches(records(data)) {
                    match batch {
                        Ok(batch) => self.take_batch(figures, *index, *asked, &batch, arrived),
                        // A fetch may end within a batch; the next one brings it whole.
                        Err(BatchError::Truncated { .. }) => {}
                        Err(error) => {
                            figures.counts.corrupt += 1;
                            figures.error(&error.to_string(), 1);
                        }
                    }
                }
            }
            let read = figures.counts.read - before;
            if read > 0 {
                figures.counts.requests += 1;
                figures.last = arrived.saturating_sub(self.start);
                note(&mut figures.latency, arrived.saturating_sub(fetched_at), 1);
                self.job.total.fetch_add(read, Ordering::Relaxed);
            }
        });
    }

    fn take_batch(
        &mut self,
        figures: &mut Figures,
        index: usize,
        asked: i64,
        batch: &Batch<'_>,
        arrived: u64,
    ) {
        let header = batch.header();
        // At least one: what a damaged header says of its records may be damaged too.
        let count = u64::from(header.record_count.unsigned_abs()).max(1);
        if self.job.plan.verify && !batch.crc_is_valid() {
            figures.counts.corrupt += count;
            figures.error("wrong CRC of a batch", count);
            return;
        }
        if header.is_control() {
            return;
        }
        if !self.job.plan.verify {
            figures.counts.read += count;
            figures.counts.read_bytes += batch.body().len() as u64;
            return;
        }
        let records = match batch.records(&mut self.decompressor) {
            Ok(records) => records,
            Err(error) => {
                figures.counts.corrupt += count;
                return figures.error(&error.to_string(), count);
            }
        };
        let arrived_us = clock::wall_us(arrived);
        let tails = self.job.plan.from == Start::Latest;
        for record in records {
            let record = match record {
                Ok(record) if record.offset < asked => continue,
                Ok(record) => record,
                Err(error) => {
                    figures.counts.corrupt += 1;
                    figures.error(&error.to_string(), 1);
                    continue;
                }
            };
            let value = record.value.unwrap_or_default();
            figures.counts.read += 1;
            figures.counts.read_bytes += value.len() as u64;
            match Identity::read(value) {
                Found::Foreign => figures.counts.foreign += 1,
                Found::Corrupt => {
                    figures.counts.corrupt += 1;
                    figures.error("wrong checksum of a record", 1);
                }
                Found::Record(identity) => {
                    let target = &mut self.targets[index];
                    let Identity {
                        run,
                        producer,
                        sequence,
                        ..
                    } = identity;
                    let from_start = target.from_start || self.job.runs.contains(&run);
                    match target.found.take(run, producer, sequence, from_start) {
                        Verdict::InOrder => {}
                        Verdict::Reordered => figures.counts.reordered += 1,
                        Verdict::Duplicated => figures.counts.duplicated += 1,
                        Verdict::Unknown => figures.counts.foreign += 1,
                    }
                    if tails {
                        let waited_us = (arrived_us - identity.due_us).max(0).cast_unsigned();
                        note(&mut figures.end_to_end, waited_us * 1000, 1);
                    }
                }
            }
        }
    }

    /// The target that is this partition; targets are in order.
    fn target(&self, topic: usize, partition: i32) -> Option<usize> {
        let wanted = (topic, partition);
        self.targets
            .binary_search_by_key(&wanted, |target| (target.topic, target.partition))
            .ok()
    }

    /// The earliest or latest offset of every target.
    async fn offsets(&mut self, link: &mut Link, timestamp: i64) -> Result<Vec<i64>, LinkError> {
        let version = self.job.list_offsets_version;
        let mut topics: Vec<ListOffsetsTopic<'_>> = Vec::new();
        let mut last = usize::MAX;
        for target in &self.targets {
            if target.topic != last {
                let (name, _) = &self.job.topics[target.topic];
                topics.push(ListOffsetsTopic {
                    name,
                    ..Default::default()
                });
                last = target.topic;
            }
            let topic = topics.last_mut().expect("pushed above");
            topic.partitions.push(ListOffsetsPartition {
                partition_index: target.partition,
                timestamp,
                ..Default::default()
            });
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics,
            ..Default::default()
        };
        let asking = link.ask(ApiKey::ListOffsets, version, |writer| {
            request.encode(writer, version)
        });
        let body = asking.await?;
        let answer = ListOffsetsResponse::decode(&mut Reader::new(&body), version)?;
        let mut offsets = vec![0; self.targets.len()];
        for topic in &answer.topics {
            let named = self
                .job
                .topics
                .iter()
                .position(|(name, _)| name == topic.name);
            let Some(named) = named else { continue };
            for partition in &topic.partitions {
                if partition.error_code != 0 {
                    return Err(LinkError::Refused("ListOffsets", partition.error_code));
                }
                if let Some(index) = self.target(named, partition.partition_index) {
                    offsets[index] = partition.offset;
                }
            }
        }
        Ok(offsets)
    }
}

/// The batches that came for a partition.
fn records<'a>(data: &'a PartitionData<'_>) -> &'a [u8] {
    match &data.records {
        Some(Records::Borrowed(bytes)) => bytes,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Payload, Plan};
    use crate::producer::Ledger;
    use crate::settle::settle;
    use crate::template::{Stamp, Template};

    const RECORDS: u64 = 10;

    /// What one partition gives back when ten batches of ten records were written and `harm` befell them.
    fn counts_after(harm: impl FnOnce(&mut Vec<Vec<u8>>)) -> [u64; 5] {
        let text =
            "[[phase]]\n[[phase.produce]]\ntopic='t'\nrate=1\n[[phase.consume]]\ntopic='t'\n";
        let phase = Plan::parse(text).unwrap().phases.remove(0);
        let template = Template::new(&Payload::default(), None, 16_384, 1);
        let mut batches: Vec<Vec<u8>> = (0..10)
            .map(|number| {
                let stamp = Stamp {
                    run: 7,
                    producer: 0,
                    first_sequence: number * RECORDS,
                    idempotence: (-1, -1, -1),
                    timestamp_ms: 0,
                };
                let mut batch = Vec::new();
                template.seal_into(&mut batch, RECORDS as usize, &stamp, |_| 0, &[]);
                batch[..8].copy_from_slice(&(number * RECORDS).to_be_bytes());
                batch
            })
            .collect();
        harm(&mut batches);
        let job = ConsumerJob {
            plan: Arc::new(phase.consume[0].clone()),
            workload: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            topics: Arc::new(vec![("t".into(), Uuid::default())]),
            targets: vec![(0, 0)],
            fetch_version: 12,
            list_offsets_version: 1,
            follows: true,
            duration: 0,
            drain: 0,
            runs: Arc::new(vec![7]),
            total: Arc::new(AtomicU64::new(0)),
        };
        let figures = net::platform::block_on(move |runtime| async move {
            let control = Arc::new(Control::new(Arc::default(), 0));
            let meter = Meter::default();
            let mut consumer = Consumer::new(job, &runtime, control, meter.clone());
            for bytes in &batches {
                let data = PartitionData {
                    records: Some(Records::Borrowed(bytes)),
                    ..Default::default()
                };
                consumer.take(&[(0, 0, &data)], 0, 0);
            }
            let found = std::mem::take(&mut consumer.targets[0].found);
            (meter.take().counts, found)
        });
        let (counts, found) = figures;
        let ledger = Ledger {
            run: 7,
            written: vec![(0, 0, 10 * RECORDS)],
            ..Ledger::default()
        };
        let read_back = ReadBack {
            topic: "t".into(),
            partition: 0,
            found,
            complete: true,
            fell_short: false,
        };
        let lost = settle(&phase, &[(0, ledger)], &[(1, read_back)])[&1];
        [
            counts.read,
            lost,
            counts.duplicated,
            counts.reordered,
            counts.corrupt,
        ]
    }

    #[test]
    fn every_harm_that_a_batch_can_come_to_is_counted() {
        assert_eq!(counts_after(|_| {}), [100, 0, 0, 0, 0]);
        let dropped = counts_after(|batches| drop(batches.remove(4)));
        assert_eq!(dropped, [90, 10, 0, 0, 0]);
        let tail = counts_after(|batches| drop(batches.pop()));
        assert_eq!(tail, [90, 10, 0, 0, 0]);
        let doubled = counts_after(|batches| batches.push(batches[4].clone()));
        assert_eq!(doubled, [110, 0, 10, 0, 0]);
        let swapped = counts_after(|batches| batches.swap(4, 5));
        assert_eq!(swapped, [100, 0, 0, 10, 0]);
    }

    #[test]
    fn a_flipped_bit_is_corrupt_wherever_it_is_behind_the_checksum() {
        // Attributes (a control batch is never looked into), the number of records, an identity, the last value.
        for (at, bit) in [(22, 5), (60, 1), (90, 0), (500, 7)] {
            let [read, lost, duplicated, reordered, corrupt] =
                counts_after(|batches| batches[4][at] ^= 1 << bit);
            assert_eq!((read, lost, duplicated, reordered), (90, 10, 0, 0), "{at}");
            assert!(corrupt > 0, "byte {at}, bit {bit}");
        }
        let [.., corrupt] = counts_after(|batches| batches[4][57..61].fill(0));
        assert_eq!(corrupt, 1, "a damaged count does not hide the batch");
    }
}
