//! [`PartitionLog`] against a plain model: a list of every batch ever planned, with a flag for "durable".
//!
//! The model decides sequences, offsets, visibility and transactions the slow and obvious way, by looking through
//! the whole list. Segment files are byte vectors; batches reach them when write-behind says so, and reads come
//! from the tail cache or from those bytes, as in the real thing.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

mod appends;
mod model;
mod reads;

use bytes::Bytes;
use engine::log::*;
use engine::types::*;
use model::{Model, ModelBatch, WRAP};
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

    fn fail(&mut self) {
        self.log.fail_pending();
        let high_watermark = self.model.high_watermark();
        self.model
            .batches
            .retain(|batch| batch.base < high_watermark);
        self.cache.truncate(ID, Offset(high_watermark));
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
