//! A machine with a disk and one shard's storage, that can be killed, cut off its power, and started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::log::{
    AppendError, AppendOrigin, AppendRequest, Appended, Isolation, KnownPartition, KnownPartitions,
    ReadError, ReadRequest, RecoveryReport, Storage, StorageError, StorageSettings, recover,
};
use engine::platform::sim::{CutMode, SimDisk, SimDiskOptions};
use engine::platform::{Disk, OpenMode};
use engine::types::{LeaderEpoch, Offset, PartitionId, ShardId, TopicId};
use net::platform::Runtime;
use net::platform::sim::{Node, Simulation};
use net::records::{BatchBuilder, BatchHeader};
use tuning::{BrokerConfig, TopicConfig};

/// The machine.
pub(crate) struct Machine {
    pub(crate) simulation: Simulation,
    pub(crate) disk: SimDisk,
    pub(crate) node: Node,
    pub(crate) settings: StorageSettings,
    pub(crate) known: KnownPartitions,
    pub(crate) starts: i32,
    /// The shard that owns every partition.
    pub(crate) shard: ShardId,
}

/// A started storage.
pub(crate) struct Started {
    pub(crate) runtime: Runtime,
    pub(crate) disk: Disk,
    pub(crate) storage: Storage,
    pub(crate) report: RecoveryReport,
    pub(crate) epoch: LeaderEpoch,
}

/// Small files, so that everything happens often.
pub(crate) fn small_settings() -> StorageSettings {
    StorageSettings {
        journal_file_bytes: 256 << 10,
        journal_files_max: 8,
        journal_dirty_bytes_max: 4 << 20,
        cache_bytes: 64 << 10,
        direct_run_bytes_min: 48 << 10,
        removal_step_bytes: 8 << 10,
        checkpoint_interval_ms: 400,
        segment_files_max: 4,
        reserve_bytes: 64 << 10,
        ..StorageSettings::default()
    }
}

pub(crate) fn topic_config(pairs: &[(&str, &str)]) -> Arc<TopicConfig> {
    let broker = BrokerConfig::from_pairs(&[]).unwrap();
    let overrides: BTreeMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    Arc::new(TopicConfig::resolve(&broker, &overrides).unwrap())
}

pub(crate) fn partition(index: i32) -> PartitionId {
    PartitionId {
        topic_id: TopicId([7; 16]),
        index,
    }
}

impl Machine {
    /// A machine with `partitions` partitions of one topic.
    pub(crate) fn new(seed: u64, partitions: i32, topic: &[(&str, &str)]) -> Machine {
        let simulation = Simulation::new(seed);
        let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
        let node = simulation.node("broker");
        let config = topic_config(topic);
        let known = (0..partitions).map(|index| {
            (
                partition(index),
                KnownPartition {
                    directory: format!("orders-{index}"),
                    config: config.clone(),
                },
            )
        });
        let known = KnownPartitions {
            partitions: known.collect(),
            removed: Default::default(),
        };
        Machine {
            simulation,
            disk,
            node,
            settings: small_settings(),
            known,
            starts: 0,
            shard: ShardId(0),
        }
    }

    /// Starts storage and runs `body` with it, to its end.
    pub(crate) fn run<T: 'static>(&mut self, body: impl AsyncFnOnce(Started) -> T + 'static) -> T {
        let start = self.start();
        self.simulation
            .block_on(&self.node, async move { body(start.await.unwrap()).await })
    }

    /// Runs `body` with the bare disk.
    pub(crate) fn run_raw<T: 'static>(
        &mut self,
        body: impl AsyncFnOnce(Runtime, Disk) -> T + 'static,
    ) -> T {
        let runtime = self.node.runtime();
        let disk = self.disk.disk(&runtime);
        self.simulation
            .block_on(&self.node, async move { body(runtime, disk).await })
    }

    pub(crate) fn start(
        &mut self,
    ) -> impl Future<Output = Result<Started, StorageError>> + 'static {
        let runtime = self.node.runtime();
        let disk = self.disk.disk(&runtime);
        self.starts += 1;
        start(
            runtime,
            disk,
            self.settings.clone(),
            self.known.clone(),
            LeaderEpoch(self.starts),
            self.shard,
        )
    }

    /// Lets the machine run on, in the background.
    pub(crate) fn spawn(&mut self, body: impl AsyncFnOnce(Started) + 'static) {
        let start = self.start();
        self.node
            .runtime()
            .spawn(async move { body(start.await.unwrap()).await });
    }

    /// Stops `started` as a node does: the clean mark last.
    pub(crate) async fn stop_clean(started: &Started) {
        started.storage.stop().await.unwrap();
        let mark = b"{\"version\":0,\"brokerEpoch\":1}";
        let written = started.disk.write_small(".kafka_cleanshutdown", mark).await;
        written.unwrap();
    }

    /// Replaces what a file holds, durably, as another program or a damage does.
    pub(crate) fn overwrite(&mut self, path: &str, content: Vec<u8>) {
        let path = path.to_owned();
        self.run_raw(async move |_, disk| {
            let exists = disk.exists(&path).await.unwrap();
            let mode = if exists {
                OpenMode::Write
            } else {
                OpenMode::Create
            };
            let file = disk.open(&path, mode).await.unwrap();
            let mut buffer = disk.allocate_buffer(content.len());
            buffer[..content.len()].copy_from_slice(&content);
            file.write_at(buffer, 0).await.unwrap();
            file.truncate(content.len() as u64).await.unwrap();
            file.fdatasync().await.unwrap();
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            disk.sync_directory(directory).await.unwrap();
        });
    }

    pub(crate) fn kill(&mut self) {
        self.simulation.kill(&self.node);
        self.node = self.simulation.node("broker");
    }

    pub(crate) fn cut_power(&mut self, mode: CutMode) {
        self.simulation.power_off(&self.node);
        self.disk.cut_power(mode);
        self.node = self.simulation.node("broker");
    }

    pub(crate) fn run_for(&self, milliseconds: u64) {
        self.simulation.run_for(Duration::from_millis(milliseconds));
    }
}

async fn start(
    runtime: Runtime,
    disk: Disk,
    settings: StorageSettings,
    known: KnownPartitions,
    epoch: LeaderEpoch,
    shard: ShardId,
) -> Result<Started, StorageError> {
    let recovered = recover(&runtime, &disk, &settings, &known).await?;
    let partitions = recovered.partitions.into_iter().map(|found| {
        let config = known.partitions[&found.id()].config.clone();
        (found, epoch, config)
    });
    let storage = Storage::start(
        &runtime,
        &disk,
        shard,
        recovered.generation,
        settings,
        partitions.collect(),
    )
    .await?;
    Ok(Started {
        runtime,
        disk,
        storage,
        report: recovered.report,
        epoch,
    })
}

/// A batch with one record of `size` bytes that carries `number`.
pub(crate) fn batch(number: u64, size: usize, producer: Option<(i64, i32)>) -> AppendRequest {
    let mut value = number.to_be_bytes().to_vec();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while value.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    value.truncate(size.max(8));
    let mut builder = BatchBuilder::new();
    if let Some((producer_id, sequence)) = producer {
        builder = builder.producer(producer_id, 0, sequence);
    }
    builder.append(None, Some(&value), &[], 1_000 + number as i64);
    let bytes = Bytes::from(builder.build(0, -1));
    let header = BatchHeader::parse(&bytes).unwrap();
    AppendRequest {
        batch: bytes,
        header,
        max_timestamp: 1_000 + number as i64,
        offset_of_max_timestamp_delta: 0,
        current_leader_epoch: None,
        now_ms: 1_000,
        origin: AppendOrigin::Client,
    }
}

impl Started {
    pub(crate) async fn append(
        &self,
        index: i32,
        number: u64,
        size: usize,
    ) -> Result<Appended, AppendError> {
        self.storage
            .append(partition(index), batch(number, size, None))
            .await
    }

    /// Everything a consumer can read from `from` on, up to a damaged range: (offset, number of the record).
    pub(crate) async fn read_all(
        &self,
        index: i32,
        from: i64,
    ) -> Result<Vec<(i64, u64)>, ReadError> {
        let mut found = Vec::new();
        let mut next = from;
        loop {
            let request = ReadRequest {
                id: partition(index),
                offset: Offset(next),
                bytes_max: 64 << 10,
                at_least_one: true,
                isolation: Isolation::ReadUncommitted,
                current_leader_epoch: None,
                last_fetched_epoch: None,
            };
            let (high_watermark, result) = match self.storage.plan_read(&request) {
                Ok(plan) => (plan.high_watermark, self.storage.execute_read(plan).await),
                Err(error) => (Offset(0), Err(error)),
            };
            let result = match result {
                Err(ReadError::Quarantined { .. }) if !found.is_empty() => return Ok(found),
                result => result?,
            };
            let bytes = result.chain.concat();
            assert_eq!(bytes.len(), result.bytes);
            let before = next;
            for batch in net::records::split_batches(&bytes) {
                let batch = batch.unwrap();
                assert!(batch.crc_is_valid(), "a damaged batch was served");
                let body = batch.body();
                assert!(batch.header().base_offset < high_watermark.0);
                // One record without a key: lengths and deltas, then the value.
                let number = record_number(body);
                if batch.header().base_offset >= from {
                    found.push((batch.header().base_offset, number));
                }
                next = batch.header().next_offset();
            }
            if next == before {
                return Ok(found);
            }
        }
    }
}

/// The number in the one record of a batch made by [`batch`].
fn record_number(body: &[u8]) -> u64 {
    let skip_varint = |mut at: usize| {
        while body[at] & 0x80 != 0 {
            at += 1;
        }
        at + 1
    };
    // Length, attributes, timestamp delta, offset delta, key length, value length.
    let mut at = skip_varint(0) + 1;
    for _ in 0..4 {
        at = skip_varint(at);
    }
    u64::from_be_bytes(body[at..at + 8].try_into().unwrap())
}
