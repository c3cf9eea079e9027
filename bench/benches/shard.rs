//! What needs executors and a disk: a hop over the mesh, a journal's commit, a recovery.
//! `cargo bench -p bench --bench shard`; the disk is that of `TMPDIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::log::{
    AppendOrigin, AppendRequest, KnownPartition, KnownPartitions, Storage, StorageSettings, recover,
};
use engine::platform::Disk;
use engine::shard::mesh::MeshSeat;
use engine::shard::message::{ShardRequest, ShardResponse};
use engine::types::{LeaderEpoch, PartitionId, ShardId, TopicId};
use net::platform::{Placement, Runtime, block_on, spawn_executor};
use net::records::{BatchBuilder, BatchHeader};
use tuning::{BrokerConfig, TopicConfig};

const PARTITION: PartitionId = PartitionId {
    topic_id: TopicId([7; 16]),
    index: 0,
};

fn request(bytes: usize) -> AppendRequest {
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(&vec![b'x'; bytes]), &[], 0);
    let batch = Bytes::from(builder.build(0, -1));
    AppendRequest {
        header: BatchHeader::parse(&batch).expect("it was just built"),
        batch,
        max_timestamp: 0,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms: 0,
        origin: AppendOrigin::Client,
    }
}

fn topic_config() -> Arc<TopicConfig> {
    let broker = BrokerConfig::from_pairs(&[]).expect("the defaults are valid");
    Arc::new(TopicConfig::resolve(&broker, &BTreeMap::new()).expect("no overrides"))
}

fn settings() -> StorageSettings {
    StorageSettings {
        journal_file_bytes: 16 << 20,
        ..StorageSettings::default()
    }
}

/// Starts storage as a node would; `known` says whether the partition was there before.
async fn start(runtime: &Runtime, directory: &Path, known: bool) -> Storage {
    let disk = Disk::open_data_directory(runtime, directory)
        .await
        .expect("the directory exists");
    let mut partitions = KnownPartitions::default();
    if known {
        partitions.partitions.insert(
            PARTITION,
            KnownPartition {
                directory: "orders-0".to_owned(),
                config: topic_config(),
            },
        );
    }
    let recovered = recover(runtime, &disk, &settings(), &partitions)
        .await
        .expect("nothing is damaged");
    let found = recovered
        .partitions
        .into_iter()
        .map(|partition| (partition, LeaderEpoch(2), topic_config()))
        .collect();
    let storage = Storage::start(
        runtime,
        &disk,
        ShardId(0),
        recovered.generation,
        settings(),
        found,
    )
    .await
    .expect("storage starts");
    if !known {
        storage
            .create_partition(PARTITION, "orders-0", LeaderEpoch(1), topic_config())
            .await
            .expect("there is space");
    }
    storage
}

fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(10);
    for together in [1, 64] {
        let name = format!("commit, {together} of 1 KiB together");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let path = directory.path().to_owned();
                block_on(move |runtime| async move {
                    let storage = start(&runtime, &path, false).await;
                    let request = request(1024);
                    let begun = Instant::now();
                    for _ in 0..iterations {
                        let pending: Vec<_> = (0..together)
                            .map(|_| storage.append(PARTITION, request.clone()))
                            .collect();
                        for append in pending {
                            append.await.expect("the append is durable");
                        }
                    }
                    let elapsed = begun.elapsed();
                    storage.stop().await.expect("storage stops");
                    elapsed
                })
            });
        });
    }
    group.finish();
}

/// A start on what a directory holds while its storage runs, as after the end of its process, with 4 MiB that only the journal has.
fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function("4 MiB of journal, 1 partition", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| recover_once()).sum());
    });
    group.finish();
}

fn recover_once() -> Duration {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, killed) = (
        directory.path().join("node"),
        directory.path().join("killed"),
    );
    let copy = killed.clone();
    block_on(move |runtime| async move {
        std::fs::create_dir(&path).expect("a temporary directory");
        let storage = start(&runtime, &path, false).await;
        for _ in 0..64 {
            let pending: Vec<_> = (0..4)
                .map(|_| storage.append(PARTITION, request(16 << 10)))
                .collect();
            for append in pending {
                append.await.expect("the append is durable");
            }
        }
        // Files stay locked while their process lives: what the end of it would leave is what lies there now.
        copy_folder(&path, &copy);
        storage.stop().await.expect("storage stops");
    });
    block_on(move |runtime| async move {
        let begun = Instant::now();
        let storage = start(&runtime, &killed, true).await;
        let elapsed = begun.elapsed();
        storage.stop().await.expect("storage stops");
        elapsed
    })
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a temporary directory");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let path = entry.expect("it is there").path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        match path.is_dir() {
            true => copy_folder(&path, &copy),
            false => drop(std::fs::copy(&path, &copy).expect("there is space")),
        }
    }
}

/// One call from an executor to another and back, one at a time and 64 at a time.
fn mesh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh");
    group.sample_size(20);
    for together in [1, 64] {
        group.bench_function(format!("hop and back, {together} together"), |bencher| {
            bencher.iter_custom(|iterations| hops(iterations, together));
        });
    }
    group.finish();
}

fn hops(iterations: u64, together: usize) -> Duration {
    let mut seats = MeshSeat::for_shards(2).into_iter();
    let (caller, callee) = (seats.next().expect("two"), seats.next().expect("two"));
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let answering = spawn_executor("callee", Placement::Core(0), move |runtime| async move {
        let (_mesh, receiver) = callee.take();
        let (requests, responses) = receiver.into_loops(|request, back| {
            if let ShardRequest::Sizes(partitions) = request {
                back.answer(ShardResponse::Sizes(vec![0; partitions.len()]));
            }
        });
        runtime.spawn(requests);
        runtime.spawn(responses);
        while !ended.load(Ordering::Relaxed) {
            runtime.sleep(Duration::from_millis(1)).await;
        }
    })
    .expect("an executor starts");
    let calling = spawn_executor("caller", Placement::Core(1), move |runtime| async move {
        let (mesh, receiver) = caller.take();
        let (requests, responses) = receiver.into_loops(|_, _| {});
        runtime.spawn(requests);
        runtime.spawn(responses);
        let begun = Instant::now();
        for _ in 0..iterations {
            let mut pending = Vec::with_capacity(together);
            for _ in 0..together {
                let request = ShardRequest::Sizes(vec![PARTITION]);
                pending.push(mesh.send(ShardId(1), request).await);
            }
            for answer in pending {
                let _ = answer.await;
            }
        }
        begun.elapsed()
    })
    .expect("an executor starts");
    let elapsed = calling.join().expect("the caller ends");
    over.store(true, Ordering::Relaxed);
    answering.join().expect("the callee ends");
    elapsed
}

criterion_group!(shard, mesh, journal, recovery);
criterion_main!(shard);
