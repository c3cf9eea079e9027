//! The owner's side of the data path: what a shard does for requests that name its partitions.
//!
//! Runs on the core that owns the partition. Each function decides what it can before its first await, so that the
//! order in which requests arrive is the order in which they take effect.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use net::platform::Runtime;
use net::platform::sync::remote_oneshot;

use crate::log::producer_state::ProducerEntry;
use crate::log::{
    AppendError, AppendRequest, Appended, FoundOffset, Isolation, OffsetQuery, PendingAppend,
    ReadError, ReadPlan, ReadRequest, ReadResult, Storage, Watch,
};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};

/// A batch for a partition.
pub struct PartitionAppend {
    /// Where it goes.
    pub id: PartitionId,
    /// The validated batch.
    pub request: AppendRequest,
}

/// Reads that one owner serves for one fetch.
pub struct PartitionFetch {
    /// In the order of the fetch.
    pub reads: Vec<ReadRequest>,
    /// At most so many bytes together; only a first batch may exceed it.
    pub bytes_max: usize,
    /// Whether nothing was found elsewhere yet, so that a first batch is given whatever its size.
    pub is_first: bool,
    /// Below so many bytes, and without an error, nothing is read.
    pub bytes_min: usize,
    /// Who to tell when reading again is worth while; without it, whatever is there is read.
    pub watcher: Option<RemoteWatcher>,
}

/// How an owner tells another core's fetch that something moved.
pub struct RemoteWatcher {
    /// Told once.
    pub notify: remote_oneshot::Sender<()>,
    /// Resolves when the fetch is over and nobody wants to know any more.
    pub over: remote_oneshot::Receiver<()>,
}

/// What a fetch found at one owner.
pub enum FetchOutcome {
    /// The reads' results.
    Read(Vec<Result<ReadResult, ReadError>>),
    /// Too little is there; the watcher is registered.
    Waiting {
        /// Bytes there are.
        bytes_available: usize,
    },
}

/// A ListOffsets query.
pub struct OffsetLookup {
    /// Which partition.
    pub id: PartitionId,
    /// What is asked.
    pub query: OffsetQuery,
    /// The leader epoch the client believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
}

/// An OffsetForLeaderEpoch query.
pub struct EpochLookup {
    /// Which partition.
    pub id: PartitionId,
    /// The epoch whose end is asked.
    pub epoch: LeaderEpoch,
    /// The leader epoch the client believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
}

/// What a partition remembers of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerDescription {
    /// Which producer.
    pub id: ProducerId,
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// Sequence of the newest record; −1 if none is remembered.
    pub last_sequence: i32,
    /// Timestamp of the newest batch.
    pub last_timestamp: i64,
    /// Epoch of the coordinator that ended its last transaction; −1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction began.
    pub transaction_first_offset: Option<Offset>,
}

/// What the partition remembers of its producers, by id; `None` if it is not here.
pub fn producers(storage: &Storage, id: PartitionId) -> Option<Vec<ProducerDescription>> {
    let describe = |(id, entry): (ProducerId, ProducerEntry)| ProducerDescription {
        id,
        epoch: entry.epoch,
        last_sequence: entry
            .batches()
            .last()
            .map_or(-1, |batch| batch.last_sequence.0),
        last_timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        transaction_first_offset: entry.transaction_first_offset,
    };
    Some(storage.producers(id)?.into_iter().map(describe).collect())
}

/// Queues all appends in order, at once; the future collects their results.
pub fn append(
    storage: &Storage,
    appends: Vec<PartitionAppend>,
) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + 'static + use<> {
    let pending: Vec<PendingAppend> = appends
        .into_iter()
        .map(|append| storage.append(append.id, append.request))
        .collect();
    async move {
        let mut results = Vec::with_capacity(pending.len());
        for append in pending {
            results.push(append.await);
        }
        results
    }
}

/// A fetch whose plans are made; see [`plan_fetch`].
pub enum PlannedFetch {
    /// Carry the plans out.
    Read(Vec<Result<ReadPlan, ReadError>>),
    /// Too little is there: wait for one of these. With the bytes there are.
    Wait(Vec<Watch>, usize),
}

/// Plans the reads and, if there is too little, registers for what may change that: one step, no await between.
///
/// Kafka's rule for `bytes_max`: as long as nothing was found, a partition gives its first batch whatever its size;
/// after that each gives what still fits (KIP-74).
pub fn plan_fetch(
    storage: &Storage,
    reads: &[ReadRequest],
    bytes_max: usize,
    is_first: bool,
    bytes_min: usize,
) -> PlannedFetch {
    let mut plans = Vec::with_capacity(reads.len());
    let mut available = 0;
    let mut news = false;
    for read in reads {
        let left = bytes_max.saturating_sub(available);
        let fitting = ReadRequest {
            bytes_max: read.bytes_max.min(left),
            at_least_one: is_first && available == 0,
            ..read.clone()
        };
        let plan = storage.plan_read(&fitting);
        match &plan {
            Ok(plan) => {
                available += plan.bytes_available();
                news |= plan.diverging.is_some();
            }
            Err(_) => news = true,
        }
        plans.push(plan);
    }
    if news || available >= bytes_min {
        return PlannedFetch::Read(plans);
    }
    let bound = |plan: &ReadPlan, read: &ReadRequest| match read.isolation {
        Isolation::ReadUncommitted => plan.high_watermark,
        Isolation::ReadCommitted => plan.last_stable_offset,
    };
    let watches = plans
        .iter()
        .flatten()
        .zip(reads)
        .map(|(plan, read)| storage.watch(plan.id, bound(plan, read)))
        .collect();
    PlannedFetch::Wait(watches, available)
}

/// Reads of one fetch that wait for the disk together.
const READS_TOGETHER: usize = 16;

/// Carries plans out; those that need the disk, a few at a time.
pub async fn execute_reads(
    storage: &Storage,
    plans: Vec<Result<ReadPlan, ReadError>>,
) -> Vec<Result<ReadResult, ReadError>> {
    let mut results: Vec<Option<Result<ReadResult, ReadError>>> = Vec::with_capacity(plans.len());
    let mut reading = Vec::new();
    for (index, plan) in plans.into_iter().enumerate() {
        results.push(match plan {
            Ok(plan) if plan.needs_disk() => {
                let read = storage.execute_read(plan);
                reading.push(Box::pin(async move { (index, read.await) }));
                None
            }
            Ok(plan) => Some(storage.execute_read(plan).await),
            Err(error) => Some(Err(error)),
        });
        if reading.len() == READS_TOGETHER {
            finish_reads(&mut reading, &mut results).await;
        }
    }
    finish_reads(&mut reading, &mut results).await;
    let read = |result: Option<_>| result.expect("every read was finished");
    results.into_iter().map(read).collect()
}

/// Waits for all of `reading` and puts each result in its place.
async fn finish_reads<F: Future<Output = (usize, Result<ReadResult, ReadError>)> + Unpin>(
    reading: &mut Vec<F>,
    results: &mut [Option<Result<ReadResult, ReadError>>],
) {
    poll_fn(|context| {
        reading.retain_mut(|read| match Pin::new(read).poll(context) {
            Poll::Ready((index, result)) => {
                results[index] = Some(result);
                false
            }
            Poll::Pending => true,
        });
        if reading.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Resolves when the first of `watches` does; never if there are none.
pub async fn any_watch(watches: Vec<Watch>) {
    let mut watches: Vec<_> = watches.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        let moved = watches
            .iter_mut()
            .any(|watch| watch.as_mut().poll(context).is_ready());
        if moved {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Serves another core's fetch: plans at once, then reads or watches.
pub fn fetch(
    runtime: &Runtime,
    storage: &Storage,
    fetch: PartitionFetch,
) -> impl Future<Output = FetchOutcome> + 'static + use<> {
    let bytes_min = if fetch.watcher.is_some() {
        fetch.bytes_min
    } else {
        0
    };
    let planned = plan_fetch(
        storage,
        &fetch.reads,
        fetch.bytes_max,
        fetch.is_first,
        bytes_min,
    );
    let storage = storage.clone();
    let runtime = runtime.clone();
    async move {
        match (planned, fetch.watcher) {
            (PlannedFetch::Read(plans), _) => {
                FetchOutcome::Read(execute_reads(&storage, plans).await)
            }
            (PlannedFetch::Wait(watches, bytes_available), Some(watcher)) => {
                runtime.spawn(async move {
                    let over = async {
                        let _ = watcher.over.await;
                    };
                    futures_lite::future::or(any_watch(watches), over).await;
                    let _ = watcher.notify.send(());
                });
                FetchOutcome::Waiting { bytes_available }
            }
            (PlannedFetch::Wait(_, bytes_available), None) => {
                FetchOutcome::Waiting { bytes_available }
            }
        }
    }
}

/// Refuses a request that names another leader epoch than the partition's (RELIABILITY F4).
pub fn check_epoch(
    storage: &Storage,
    id: PartitionId,
    believed: Option<LeaderEpoch>,
) -> Result<(), ReadError> {
    let current = storage
        .leader_epoch(id)
        .ok_or(ReadError::UnknownPartition)?;
    match believed {
        Some(requested) if requested < current => {
            Err(ReadError::FencedLeaderEpoch { requested, current })
        }
        Some(requested) if requested > current => {
            Err(ReadError::UnknownLeaderEpoch { requested, current })
        }
        _ => Ok(()),
    }
}

/// Answers ListOffsets queries one after the other.
pub async fn find_offsets(
    storage: &Storage,
    lookups: Vec<OffsetLookup>,
) -> Vec<Result<FoundOffset, ReadError>> {
    let mut results = Vec::with_capacity(lookups.len());
    for lookup in lookups {
        results.push(
            match check_epoch(storage, lookup.id, lookup.current_leader_epoch) {
                Ok(()) => storage.find_offset(lookup.id, lookup.query).await,
                Err(error) => Err(error),
            },
        );
    }
    results
}

/// Answers OffsetForLeaderEpoch queries.
pub fn epoch_ends(
    storage: &Storage,
    lookups: &[EpochLookup],
) -> Vec<Result<(LeaderEpoch, Offset), ReadError>> {
    let end = |lookup: &EpochLookup| {
        check_epoch(storage, lookup.id, lookup.current_leader_epoch)?;
        storage.end_offset_of_epoch(lookup.id, lookup.epoch)
    };
    lookups.iter().map(end).collect()
}

/// Moves log starts up, one after the other.
pub async fn delete_records(
    storage: &Storage,
    partitions: Vec<(PartitionId, Offset)>,
) -> Vec<Result<Offset, ReadError>> {
    let mut results = Vec::with_capacity(partitions.len());
    for (id, before) in partitions {
        results.push(storage.delete_records(id, before).await);
    }
    results
}
