//! [`PartitionLog`] against a plain model: a list of every batch ever planned, with a flag for "durable".
//!
//! The model decides sequences, offsets, visibility and transactions the slow and obvious way, by looking through
//! the whole list. Segment files are byte vectors; batches reach them when write-behind says so, and reads come
//! from the tail cache or from those bytes, as in the real thing.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use bytes::Bytes;
use engine::log::batch::{HEADER_BYTES, PREFIX_BYTES};
use engine::log::index::{IndexBuilder, SegmentIndex};
use engine::log::read::{BatchCut, cut_batches};
use engine::log::*;
use engine::types::*;
use net::records::{BatchBuilder, BatchHeader};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const ID: PartitionId = PartitionId {
    topic_id: TopicId([3; 16]),
    index: 1,
};
const EPOCH: LeaderEpoch = LeaderEpoch(7);

#[derive(Debug, Clone)]
enum Op {
    /// Append as a producer; the sequence is the expected one plus `skip`.
    Append {
        producer: i64,
        epoch_bump: bool,
        records: i32,
        skip: i32,
        transactional: bool,
        timestamp: i64,
    },
    /// Send one of the producer's earlier batches again.
    Resend {
        producer: i64,
        back: usize,
    },
    /// End the producer's transaction.
    Marker {
        producer: i64,
        commit: bool,
    },
    /// The write of one outstanding plan is done.
    Finish {
        which: usize,
    },
    /// Write-behind brings some durable batches to their segments.
    WriteBehind {
        batches: usize,
    },
    Fail,
    Read {
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
        committed: bool,
    },
    DeleteRecords {
        offset: i64,
    },
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let producer = -1..4i64;
    let op = prop_oneof![
        8 => (producer.clone(), prop::bool::weighted(0.05), 1..6i32, prop_oneof![9 => Just(0), 1 => -3..4i32], prop::bool::weighted(0.3), 0..5_000i64).prop_map(
            |(producer, epoch_bump, records, skip, transactional, timestamp)| Op::Append { producer, epoch_bump, records, skip, transactional, timestamp }
        ),
        2 => (0..4i64, 0..7usize).prop_map(|(producer, back)| Op::Resend { producer, back }),
        2 => (0..4i64, any::<bool>()).prop_map(|(producer, commit)| Op::Marker { producer, commit }),
        8 => (0..4usize).prop_map(|which| Op::Finish { which }),
        3 => (0..9usize).prop_map(|batches| Op::WriteBehind { batches }),
        1 => Just(Op::Fail),
        8 => (0..120i64, 0..900usize, any::<bool>(), any::<bool>()).prop_map(|(offset, bytes_max, at_least_one, committed)| Op::Read { offset, bytes_max, at_least_one, committed }),
        1 => (-1..120i64).prop_map(|offset| Op::DeleteRecords { offset }),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..120)
}

#[derive(Debug, Clone)]
struct ModelBatch {
    base: i64,
    last: i64,
    producer: i64,
    epoch: i16,
    first_sequence: i32,
    last_sequence: i32,
    max_timestamp: i64,
    transactional: bool,
    marker: Option<bool>,
    bytes: Vec<u8>,
    segment: Offset,
    position: u32,
    finished: bool,
}

#[derive(Default)]
struct Model {
    batches: Vec<ModelBatch>,
    log_start: i64,
}

const WRAP: i64 = 1 << 31;

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.last + 1)
    }
    fn high_watermark(&self) -> i64 {
        self.batches
            .iter()
            .take_while(|batch| batch.finished)
            .last()
            .map_or(0, |batch| batch.last + 1)
    }
    fn durable(&self) -> impl DoubleEndedIterator<Item = &ModelBatch> {
        self.batches
            .iter()
            .take_while(|batch| batch.finished)
            .collect::<Vec<_>>()
            .into_iter()
    }
    /// Open transactions after everything durable: producer → first offset.
    fn open(&self) -> BTreeMap<i64, i64> {
        let mut open = BTreeMap::new();
        for batch in self.durable() {
            if batch.marker.is_some() {
                open.remove(&batch.producer);
            } else if batch.transactional {
                open.entry(batch.producer).or_insert(batch.base);
            }
        }
        open
    }
    fn last_stable(&self) -> i64 {
        self.open()
            .into_values()
            .min()
            .unwrap_or(i64::MAX)
            .min(self.high_watermark())
            .max(self.log_start)
    }
    /// Batches of the producer's newest epoch, and that epoch.
    fn current(&self, producer: i64) -> Option<(i16, Vec<&ModelBatch>)> {
        let epoch = self
            .batches
            .iter()
            .rfind(|batch| batch.producer == producer)?
            .epoch;
        Some((
            epoch,
            self.batches
                .iter()
                .filter(|batch| {
                    batch.producer == producer && batch.epoch == epoch && batch.marker.is_none()
                })
                .collect(),
        ))
    }
    fn in_transaction(&self, producer: i64) -> bool {
        self.batches
            .iter()
            .rfind(|batch| {
                batch.producer == producer && (batch.marker.is_some() || batch.transactional)
            })
            .is_some_and(|batch| batch.marker.is_none())
    }
    fn next_sequence(&self, producer: i64) -> i64 {
        match self.current(producer) {
            None => WRAP - 5,
            Some((_, batches)) => batches
                .last()
                .map_or(0, |batch| (i64::from(batch.last_sequence) + 1) % WRAP),
        }
    }
}

struct World {
    log: PartitionLog,
    cache: TailCache,
    model: Model,
    files: BTreeMap<Offset, Vec<u8>>,
    unwritten: VecDeque<(Offset, u32, Vec<u8>, i64)>,
    aborted: Vec<(i64, i64, i64)>,
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        segment_ms: 4_000,
        ..LogConfig::default()
    }
}

fn request(batch: Vec<u8>, origin: AppendOrigin) -> AppendRequest {
    let batch = Bytes::from(batch);
    let header = BatchHeader::parse(&batch).unwrap();
    AppendRequest {
        batch,
        header,
        max_timestamp: header.max_timestamp,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms: 1_000,
        origin,
    }
}

fn data_batch(
    producer: i64,
    epoch: i16,
    sequence: i32,
    records: i32,
    transactional: bool,
    timestamp: i64,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new().transactional(transactional);
    if producer >= 0 {
        builder.set_producer(producer, epoch, sequence);
    }
    for index in 0..records {
        builder.append(None, Some(&[index as u8; 17]), &[], timestamp);
    }
    builder.build(0, -1)
}

fn marker_batch(producer: i64, epoch: i16, commit: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .transactional(true)
        .control(true)
        .producer(producer, epoch, -1);
    builder.append(
        Some(&[0, 0, 0, u8::from(commit)]),
        Some(&[0, 0, 0, 0, 0, 1]),
        &[],
        77,
    );
    builder.build(0, -1)
}

impl World {
    fn new() -> World {
        World {
            log: PartitionLog::create(ID, "t-1", EPOCH, config(), ProducerCount::default(), 0),
            cache: TailCache::new(1_500),
            model: Model::default(),
            files: BTreeMap::new(),
            unwritten: VecDeque::new(),
            aborted: Vec::new(),
        }
    }

    fn append(&mut self, request: &AppendRequest) -> Result<(), AppendError> {
        let header = request.header;
        let marker = header
            .is_control()
            .then(|| request.batch[HEADER_BYTES + 8] == 1);
        let place = self.log.place(request);
        match self.log.plan_append(request)? {
            PlanOutcome::Append(plan) => {
                let base = self.model.end();
                assert_eq!(plan.base_offset.0, base, "offsets are given without gaps");
                assert_eq!(
                    plan.last_offset.0,
                    base + i64::from(header.last_offset_delta)
                );
                assert_eq!(
                    (place.segment_base, place.file_position, place.roll),
                    (plan.segment_base, plan.file_position, plan.roll)
                );
                assert!(plan.file_position.0 + plan.size <= config().segment_bytes);
                assert_eq!(plan.roll && base > 0, plan.file_position.0 == 0 && base > 0);
                assert_eq!(plan.appended.base_offset.0, base);
                let chain = plan.batch.chain();
                let bytes = [&chain[0][..], &chain[1][..]].concat();
                assert_eq!(
                    bytes[PREFIX_BYTES..],
                    request.batch[PREFIX_BYTES..],
                    "the producer's bytes are kept"
                );
                let stamped = BatchHeader::parse(&bytes).unwrap();
                assert_eq!(
                    (stamped.base_offset, stamped.partition_leader_epoch),
                    (base, EPOCH.0)
                );
                assert_eq!(stamped.crc, header.crc);
                self.model.batches.push(ModelBatch {
                    base,
                    last: plan.last_offset.0,
                    producer: header.producer_id,
                    epoch: header.producer_epoch,
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    max_timestamp: header.max_timestamp,
                    transactional: header.is_transactional(),
                    marker,
                    bytes,
                    segment: plan.segment_base,
                    position: plan.file_position.0,
                    finished: false,
                });
                self.cache
                    .push(ID, plan.batch, plan.segment_base, plan.file_position);
            }
            PlanOutcome::Duplicate {
                appended,
                durable,
                wait_until,
            } => {
                let original = self
                    .model
                    .batches
                    .iter()
                    .find(|batch| batch.base == appended.base_offset.0)
                    .expect("a duplicate has an original");
                assert_eq!(
                    (
                        original.producer,
                        original.first_sequence,
                        original.last_sequence
                    ),
                    (
                        header.producer_id,
                        header.base_sequence,
                        header.last_sequence()
                    )
                );
                assert_eq!(
                    (original.last, original.max_timestamp),
                    (appended.last_offset.0, appended.log_append_time_ms)
                );
                assert!(appended.duplicate);
                assert_eq!(wait_until.0, original.last + 1);
                assert_eq!(
                    durable,
                    original.last < self.model.high_watermark(),
                    "I11: an answer waits for the first copy"
                );
            }
        }
        Ok(())
    }

    /// What the rules say about a client's batch.
    fn expect(&self, header: &BatchHeader) -> &'static str {
        let Some((epoch, batches)) = self
            .model
            .current(header.producer_id)
            .filter(|_| header.producer_id >= 0)
        else {
            return "append";
        };
        let same = |batch: &&&ModelBatch| {
            batch.first_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        };
        if header.producer_epoch == epoch && batches.iter().rev().take(5).any(|batch| same(&batch))
        {
            return "duplicate";
        }
        if header.producer_epoch < epoch {
            return "epoch";
        }
        let expected = if header.producer_epoch > epoch {
            0
        } else {
            self.model.next_sequence(header.producer_id)
        };
        if i64::from(header.base_sequence) != expected {
            return "sequence";
        }
        if self.model.in_transaction(header.producer_id) && !header.is_transactional() {
            return "transaction";
        }
        "append"
    }

    fn client(&mut self, batch: Vec<u8>) {
        let request = request(batch, AppendOrigin::Client);
        let expected = self.expect(&request.header);
        let before = self.model.batches.len();
        let got = match self.append(&request) {
            Ok(()) if self.model.batches.len() > before => "append",
            Ok(()) => "duplicate",
            Err(AppendError::InvalidProducerEpoch { .. }) => "epoch",
            Err(AppendError::OutOfOrderSequence { .. }) => "sequence",
            Err(AppendError::InvalidTransactionState) => "transaction",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, expected, "{:?}", request.header);
    }

    fn finish(&mut self, which: usize) {
        let pending: Vec<usize> = (0..self.model.batches.len())
            .filter(|index| !self.model.batches[*index].finished)
            .collect();
        let Some(index) = pending.get(which % pending.len().max(1)).copied() else {
            return;
        };
        let before = (self.model.high_watermark(), self.model.last_stable());
        let visible_before = self.model.durable().count();
        self.model.batches[index].finished = true;
        let applied = self
            .log
            .apply_append(Offset(self.model.batches[index].base));
        let after = (self.model.high_watermark(), self.model.last_stable());
        assert_eq!((applied.high_watermark.0, applied.last_stable.0), after);
        assert_eq!(applied.moved, before != after);
        assert_eq!(
            applied.batches,
            self.model.durable().count() - visible_before
        );
        let newly: Vec<ModelBatch> = self.model.durable().skip(visible_before).cloned().collect();
        for batch in newly {
            self.unwritten.push_back((
                batch.segment,
                batch.position,
                batch.bytes.clone(),
                batch.last,
            ));
            if batch.marker == Some(false) {
                let first = self
                    .model
                    .batches
                    .iter()
                    .take_while(|other| other.base < batch.base)
                    .filter(|other| other.producer == batch.producer);
                // The open transaction's first batch: behind the producer's marker before this one.
                let mut begin = None;
                for other in first {
                    if other.marker.is_some() {
                        begin = None;
                    } else if other.transactional && begin.is_none() {
                        begin = Some(other.base);
                    }
                }
                if let Some(begin) = begin {
                    self.aborted.push((batch.producer, begin, batch.base));
                }
            }
        }
    }

    fn write_behind(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some((segment, position, bytes, last)) = self.unwritten.pop_front() else {
                return;
            };
            let file = self.files.entry(segment).or_default();
            assert_eq!(
                file.len(),
                position as usize,
                "batches lie one behind the other"
            );
            file.extend(bytes);
            self.cache.unpin(ID, Offset(last));
        }
    }

    fn fail(&mut self) {
        self.log.fail_pending();
        let high_watermark = self.model.high_watermark();
        self.model
            .batches
            .retain(|batch| batch.base < high_watermark);
        self.cache.truncate(ID, Offset(high_watermark));
    }

    fn read(&self, offset: i64, bytes_max: usize, at_least_one: bool, committed: bool) {
        let isolation = if committed {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        };
        let mut request = ReadRequest {
            id: ID,
            offset: Offset(offset),
            bytes_max,
            at_least_one,
            isolation,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let planned = self.log.plan_read(&request, &self.cache);
        if offset < self.model.log_start || offset > self.model.end() {
            assert!(matches!(planned, Err(ReadError::OffsetOutOfRange { .. })));
            return;
        }
        let upper = if committed {
            self.model.last_stable()
        } else {
            self.model.high_watermark()
        };
        let mut plan = planned.unwrap();
        assert_eq!(
            (
                plan.high_watermark.0,
                plan.last_stable_offset.0,
                plan.log_start_offset.0
            ),
            (
                self.model.high_watermark(),
                self.model.last_stable(),
                self.model.log_start
            )
        );
        let expected_aborted: Vec<_> = self
            .aborted
            .iter()
            .filter(|(_, first, last)| {
                committed && offset < upper && *last >= offset && *first < upper
            })
            .copied()
            .collect();
        let got_aborted: Vec<_> = plan
            .aborted
            .iter()
            .map(|entry| {
                (
                    entry.producer_id.0,
                    entry.first_offset.0,
                    entry.last_offset.0,
                )
            })
            .collect();
        assert_eq!(got_aborted, expected_aborted);

        let mut bytes = self.execute(&plan);
        while let (None, Some(next)) = (&bytes, plan.next_segment_base) {
            request.offset = next;
            plan = self.log.plan_read(&request, &self.cache).unwrap();
            bytes = self.execute(&plan);
        }
        let bytes = bytes.unwrap_or_default();
        let all: Vec<&ModelBatch> = self
            .model
            .durable()
            .filter(|batch| batch.last >= offset && batch.last < upper)
            .collect();
        let mut expected: Vec<u8> = Vec::new();
        for (index, batch) in all.iter().enumerate() {
            if expected.len() + batch.bytes.len() > bytes_max && !(index == 0 && at_least_one) {
                break;
            }
            expected.extend(&batch.bytes);
        }
        // A read ends at its segment's end, or where the cached run begins; otherwise it is as long as it may be.
        assert!(
            expected.starts_with(&bytes),
            "offset {offset}: only what is visible, in order"
        );
        assert_eq!(
            expected.is_empty(),
            bytes.is_empty(),
            "offset {offset}: a read makes progress"
        );
        if matches!(plan.source, ReadSource::Cached { .. }) {
            assert_eq!(bytes, expected);
        }
    }

    /// `None`: nothing in this segment reaches the offset.
    fn execute(&self, plan: &ReadPlan) -> Option<Vec<u8>> {
        match &plan.source {
            ReadSource::Empty => Some(Vec::new()),
            ReadSource::Cached { chain, bytes } => {
                let all = chain.concat();
                assert_eq!(all.len(), *bytes);
                Some(all)
            }
            ReadSource::Segment { segment_base, end } => {
                let file = self
                    .files
                    .get(segment_base)
                    .map_or(&[][..], |file| &file[..end.0 as usize]);
                let index = SegmentIndex::Building(self.index(*segment_base, file));
                let (first, begin, behind) = index.read_range(plan.offset, plan.bytes_max, *end)?;
                let bytes = &file[begin.0 as usize..behind.0 as usize];
                index.verify(first, bytes).unwrap();
                match cut_batches(
                    bytes,
                    true,
                    plan.offset,
                    plan.upper_bound,
                    plan.bytes_max,
                    plan.at_least_one,
                ) {
                    BatchCut::Found { start, end } => Some(bytes[start..end].to_vec()),
                    BatchCut::Exhausted => None,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn index(&self, base: Offset, file: &[u8]) -> IndexBuilder {
        let mut builder = IndexBuilder::new(base, 0, 150);
        for batch in net::records::split_batches(file) {
            let batch = batch.unwrap();
            builder.push(batch.bytes().first_chunk().unwrap(), batch.header());
        }
        builder
    }

    fn restart(&mut self) {
        self.fail();
        self.write_behind(1 << 20);
        let checkpoint = self.log.snapshot();
        assert_eq!(checkpoint.end_offset.0, self.model.high_watermark());
        for segment in &checkpoint.segments {
            assert_eq!(
                self.files.get(&segment.base_offset).map_or(0, Vec::len),
                segment.size as usize
            );
        }
        self.cache.remove(ID);
        assert_eq!(
            (self.cache.bytes_pinned(), self.cache.bytes_unpinned()),
            (0, 0)
        );
        self.log =
            PartitionLog::restore(checkpoint.clone(), config(), ProducerCount::default()).unwrap();
        assert_eq!(self.log.snapshot(), checkpoint);
    }

    fn check(&self) {
        let offsets = self.log.offsets();
        let got = (
            offsets.log_start().0,
            offsets.last_stable().0,
            offsets.high_watermark().0,
            offsets.log_end().0,
        );
        assert_eq!(
            got,
            (
                self.model.log_start,
                self.model.last_stable(),
                self.model.high_watermark(),
                self.model.end()
            )
        );
        let durable: u64 = self
            .log
            .durable_segments()
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum();
        let first = self.log.segments().as_slice()[0].base_offset.0;
        assert_eq!(
            durable,
            self.model
                .durable()
                .filter(|batch| batch.base >= first)
                .map(|batch| batch.bytes.len() as u64)
                .sum::<u64>()
        );
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Append {
                producer,
                epoch_bump,
                records,
                skip,
                transactional,
                timestamp,
            } => {
                let epoch = self.model.current(producer).map_or(0, |(epoch, _)| epoch)
                    + i16::from(epoch_bump && producer >= 0);
                let next = if epoch_bump {
                    0
                } else {
                    self.model.next_sequence(producer)
                };
                let sequence = (next + i64::from(skip)).rem_euclid(WRAP) as i32;
                self.client(data_batch(
                    producer,
                    epoch,
                    sequence,
                    records,
                    transactional && producer >= 0,
                    timestamp,
                ));
            }
            Op::Resend { producer, back } => {
                let batches: Vec<ModelBatch> = self
                    .model
                    .batches
                    .iter()
                    .filter(|batch| batch.producer == producer && batch.marker.is_none())
                    .cloned()
                    .collect();
                if let Some(batch) = batches.iter().rev().nth(back) {
                    self.client(batch.bytes.clone());
                }
            }
            Op::Marker { producer, commit } => {
                let epoch = self.model.current(producer).map_or(0, |(epoch, _)| epoch);
                let request = request(
                    marker_batch(producer, epoch, commit),
                    AppendOrigin::Coordinator,
                );
                self.append(&request).unwrap();
            }
            Op::Finish { which } => self.finish(which),
            Op::WriteBehind { batches } => self.write_behind(batches),
            Op::Fail => self.fail(),
            Op::Read {
                offset,
                bytes_max,
                at_least_one,
                committed,
            } => self.read(offset, bytes_max, at_least_one, committed),
            Op::DeleteRecords { offset } => match self.log.plan_delete_records(Offset(offset)) {
                Ok(start) => {
                    let expected = if offset == -1 {
                        self.model.high_watermark()
                    } else {
                        offset.max(self.model.log_start)
                    };
                    assert_eq!(start.0, expected);
                    self.log.apply_log_start(start);
                    self.model.log_start = start.0;
                    self.aborted.retain(|(_, _, last)| *last >= start.0);
                }
                Err(_) => assert!(offset > self.model.high_watermark()),
            },
            Op::Restart => self.restart(),
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_log_agrees_with_a_list_of_batches(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
    }
}
