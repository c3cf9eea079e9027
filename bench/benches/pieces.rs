//! The pieces of the data path that compute and do no I/O: codec, checksums and validation, planning an append, the
//! journal's group, looking an offset up. `cargo bench -p bench --bench pieces`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::log::index::{IndexBuilder, LoadedIndex, SegmentIndex};
use engine::log::{
    AppendOrigin, AppendRequest, LogConfig, PartitionLog, PlanOutcome, ProducerCount, StoredBatch,
};
use engine::types::{LeaderEpoch, Offset, PartitionId, TopicId};
use net::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use net::records::{BatchBuilder, BatchHeader, Compression, ValidationLimits, validate};
use net::wire::{Reader, Records, Writer};

const PARTITION: PartitionId = PartitionId {
    topic_id: TopicId([7; 16]),
    index: 0,
};

fn batch(compression: Compression, record_bytes: usize, batch_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new().compression(compression, None);
    for number in 0..(batch_bytes / record_bytes).max(1) {
        let value: Vec<u8> = (0..record_bytes)
            .map(|byte| ((byte * 7 + number) % 61) as u8)
            .collect();
        builder.append(None, Some(&value), &[], 0);
    }
    Bytes::from(builder.build(0, -1))
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let records = batch(Compression::None, 1024, 16 << 10);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "orders",
            partition_data: vec![PartitionProduceData {
                index: 3,
                records: Some(Records::Borrowed(&records)),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let mut writer = Writer::new();
    request.encode(&mut writer, 9).expect("the version exists");
    let frame = writer.to_vec();
    group.bench_function("decode Produce, one 16 KiB batch", |bencher| {
        bencher.iter(|| {
            let request = ProduceRequest::decode(&mut Reader::new(black_box(&frame)), 9);
            black_box(request.is_ok())
        });
    });
    let response = ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: "orders",
            partition_responses: vec![PartitionProduceResponse::default()],
            ..TopicProduceResponse::default()
        }],
        ..ProduceResponse::default()
    };
    group.bench_function("encode the answer to Produce", |bencher| {
        bencher.iter(|| {
            let mut writer = Writer::new();
            black_box(&response)
                .encode(&mut writer, 9)
                .expect("the version exists");
            black_box(writer.take_chain())
        });
    });
    group.finish();
}

fn validation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("validation");
    let limits = ValidationLimits::default();
    for (record_bytes, batch_bytes) in [(1024, 16 << 10), (1024, 512 << 10), (100, 16 << 10)] {
        let batch = batch(Compression::None, record_bytes, batch_bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        let name = format!("{record_bytes} B records, {} KiB batch", batch_bytes >> 10);
        group.bench_function(name, |bencher| {
            bencher.iter(|| validate(black_box(&batch), &limits, 0).expect("the batch is valid"));
        });
        let name = format!("CRC-32C alone, {} KiB batch", batch_bytes >> 10);
        group.bench_function(format!("{name}, {record_bytes} B records"), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&batch)));
        });
    }
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let batch = batch(codec, 1024, 64 << 10);
        // Rates count the bytes of the records, not those of the packed batch.
        group.throughput(Throughput::Bytes(64 << 10));
        let name = format!("1 KiB records, 64 KiB unpacked, {}", codec.name());
        group.bench_function(name, |bencher| {
            bencher.iter(|| validate(black_box(&batch), &limits, 0).expect("the batch is valid"));
        });
    }
    group.finish();
}

fn request(batch: &Bytes) -> AppendRequest {
    AppendRequest {
        batch: batch.clone(),
        header: BatchHeader::parse(batch).expect("it was just built"),
        max_timestamp: 0,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms: 0,
        origin: AppendOrigin::Client,
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    let mut log = PartitionLog::create(
        PARTITION,
        "orders-0",
        LeaderEpoch(1),
        LogConfig::default(),
        ProducerCount::new(1000),
        0,
    );
    let request = request(&batch(Compression::None, 1024, 16 << 10));
    group.bench_function("plan and apply", |bencher| {
        bencher.iter(|| match log.plan_append(black_box(&request)) {
            Ok(PlanOutcome::Append(planned)) => log.apply_append(planned.base_offset),
            _ => panic!("a batch without a producer is always taken"),
        });
    });
    group.finish();
}

fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    let source = batch(Compression::None, 1024, 16 << 10);
    let header = BatchHeader::parse(&source).expect("it was just built");
    let mut builder = IndexBuilder::new(Offset(0), 0, 64 << 10);
    let mut next = Offset(0);
    // A segment of 1 GiB.
    for _ in 0..(1 << 30) / source.len() {
        let stored = StoredBatch::stamp(&source, header, next, LeaderEpoch(1));
        builder.push(&stored.prefix, stored.header());
        next = Offset(stored.last_offset().0 + 1);
    }
    let file = Bytes::from(builder.encode());
    let loaded = LoadedIndex::open(file.clone()).expect("just encoded");
    group.bench_function("open the sidecar of 1 GiB", |bencher| {
        bencher.iter(|| LoadedIndex::open(black_box(file.clone())).is_ok());
    });
    let loaded = SegmentIndex::Loaded(loaded);
    let mut offset = 0;
    group.bench_function("look an offset up in 1 GiB", |bencher| {
        bencher.iter(|| {
            offset = (offset + 7919) % next.0;
            black_box(loaded.run_of_offset(Offset(offset)))
        });
    });
    group.finish();
}

criterion_group!(pieces, codec, validation, append, index);
criterion_main!(pieces);
