//! Fetch: reads for consumers, waits when there is too little.
//!
//! Runs on the connection's core, which owns the wait: the owners read, or register and report once (DESIGN §3).
//! Record bytes travel from the owner's cache or disk to the socket as shared slices. Invariant: an answer holds
//! records up to the high watermark (or last stable offset) only, and at least one batch if there is one (F2, F8).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use net::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use net::platform::sync::remote_oneshot;
use net::wire::Records;

use super::fetch_session::{FetchKind, PartitionName, SessionFields, Told, Wish};
use super::{ErrorCode, RequestContext};
use crate::log::{Isolation, ReadError, ReadRequest, ReadResult};
use crate::metrics::count;
use crate::partition::{
    FetchOutcome, PartitionFetch, PlannedFetch, RemoteWatcher, any_watch, execute_reads, plan_fetch,
};
use crate::shard::ClusterView;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::shard::signal::unless;
use crate::types::{LeaderEpoch, Offset, ShardId};

/// One partition's answer.
type Found = Result<ReadResult, ErrorCode>;

/// Limits of one request.
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
    isolation: Isolation,
}

/// The reads for one owner, and which of the wanted partitions each is for.
#[derive(Default)]
struct OwnerReads {
    reads: Vec<ReadRequest>,
    positions: Vec<usize>,
}

type Wake = Pin<Box<dyn Future<Output = ()>>>;

pub(super) async fn handle(context: &RequestContext, request: FetchRequest<'_>) -> Outgoing {
    let fields = SessionFields {
        id: request.session_id,
        epoch: request.session_epoch,
    };
    let (wishes, forgotten) = wishes(&request);
    let now_ms = u64::try_from(context.runtime().monotonic().as_millis()).unwrap_or(u64::MAX);
    let fresh_id = || i32::try_from(context.runtime().random_u64() >> 33).expect("31 bits");
    let read = context
        .shard()
        .fetch_sessions()
        .borrow_mut()
        .read(now_ms, fields, wishes, &forgotten, fresh_id);
    let (kind, wanted) = match read {
        Ok(read) => read,
        Err(code) => return fail(context, code),
    };
    let Some(isolation) = isolation(request.isolation_level) else {
        let found = wanted
            .iter()
            .map(|_| Err(ErrorCode::UnknownServerError))
            .collect();
        return respond(
            context,
            &kind,
            ErrorCode::UnknownServerError,
            &wanted,
            found,
            false,
        );
    };
    let limits = limits(context, &request, isolation);
    let follower = request.replica_id >= 0;
    let found = fetch(context, &wanted, &limits, follower, request.max_bytes < 0).await;
    let bytes: usize = found.iter().flatten().map(|read| read.bytes).sum();
    let permit = context.shard().fetch_budget().acquire(bytes).await;
    count(&context.shard().counters().bytes_out, bytes);
    let committed = limits.isolation == Isolation::ReadCommitted;
    let mut outgoing = respond(context, &kind, ErrorCode::None, &wanted, found, committed);
    outgoing.permits.1 = Some(permit);
    outgoing
}

/// What is wanted and what is no longer. Of a partition named twice the last wish counts, at the first one's place.
fn wishes(request: &FetchRequest<'_>) -> (Vec<(PartitionName, Wish)>, Vec<PartitionName>) {
    let mut wishes: Vec<(PartitionName, Wish)> = Vec::new();
    let mut positions: BTreeMap<PartitionName, usize> = BTreeMap::new();
    let several = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum::<usize>()
        > 1;
    for topic in &request.topics {
        let topic_name: Arc<str> = topic.topic.into();
        for partition in &topic.partitions {
            let name = PartitionName {
                topic: topic_name.clone(),
                index: partition.partition,
            };
            let wish = Wish {
                offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            match positions.get(&name) {
                Some(position) => wishes[*position].1 = wish,
                None => {
                    if several {
                        positions.insert(name.clone(), wishes.len());
                    }
                    wishes.push((name, wish));
                }
            }
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_name: Arc<str> = topic.topic.into();
        forgotten.extend(topic.partitions.iter().map(|index| PartitionName {
            topic: topic_name.clone(),
            index: *index,
        }));
    }
    (wishes, forgotten)
}

fn isolation(level: i8) -> Option<Isolation> {
    match level {
        0 => Some(Isolation::ReadUncommitted),
        1 => Some(Isolation::ReadCommitted),
        _ => None,
    }
}

fn limits(context: &RequestContext, request: &FetchRequest<'_>, isolation: Isolation) -> Limits {
    let asked = usize::try_from(request.max_bytes).unwrap_or(0);
    let allowed = asked.min(context.settings().fetch_response_bytes_max);
    Limits {
        // What unsent answers leave of the shard's budget; with nothing left there is still one batch.
        bytes_max: allowed.min(context.shard().fetch_budget().available()),
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(allowed),
        wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        isolation,
    }
}

/// Finds what is wanted, waiting for it if need be.
async fn fetch(
    context: &RequestContext,
    wanted: &[(PartitionName, Wish)],
    limits: &Limits,
    follower: bool,
    refused: bool,
) -> Vec<Found> {
    let mut found: Vec<Option<Found>> = wanted.iter().map(|_| None).collect();
    let mut owners: BTreeMap<ShardId, OwnerReads> = BTreeMap::new();
    let view = context.shard().view();
    for (position, (name, wish)) in wanted.iter().enumerate() {
        match read_request(&view, name, wish, limits, follower, refused) {
            Ok((owner, read)) => {
                let owner = owners.entry(owner).or_default();
                owner.reads.push(read);
                owner.positions.push(position);
            }
            Err(code) => found[position] = Some(Err(code)),
        }
    }
    drop(view);
    let has_error = found.iter().any(Option::is_some);
    let may_wait = !limits.wait.is_zero() && !has_error && !owners.is_empty();
    let deadline = context.runtime().monotonic() + limits.wait;
    let mut bytes_min = if may_wait { limits.bytes_min } else { 0 };
    let results = loop {
        match attempt(context, &owners, limits, bytes_min).await {
            Ok(results) => break results,
            Err(wakes) => {
                let left = deadline.saturating_sub(context.runtime().monotonic());
                let over = futures_lite::future::or(
                    context.runtime().sleep(left),
                    context.connection().ending(),
                );
                if left.is_zero() || unless(any_wake(wakes), over).await.is_none() {
                    bytes_min = 0;
                }
            }
        }
    };
    for (reads, results) in owners.values().zip(results) {
        for (position, result) in reads.positions.iter().zip(results) {
            found[*position] = Some(result.map_err(|error| ErrorCode::from(&error)));
        }
    }
    let mut found: Vec<Found> = found
        .into_iter()
        .map(|one| one.unwrap_or(Err(ErrorCode::NotLeaderOrFollower)))
        .collect();
    if owners.len() > 1 {
        trim(&mut found, limits.bytes_max);
    }
    found
}

fn read_request(
    view: &ClusterView,
    name: &PartitionName,
    wish: &Wish,
    limits: &Limits,
    follower: bool,
    refused: bool,
) -> Result<(ShardId, ReadRequest), ErrorCode> {
    let topic = view
        .topic(&name.topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let (id, _, owner) = topic
        .partition(name.index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if follower {
        // A node of one has no followers.
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let bytes_max = usize::try_from(wish.bytes_max).ok().filter(|_| !refused);
    let epoch = |epoch: i32| (epoch >= 0).then_some(LeaderEpoch(epoch));
    let read = ReadRequest {
        id,
        offset: Offset(wish.offset),
        bytes_max: bytes_max.ok_or(ErrorCode::UnknownServerError)?,
        at_least_one: true,
        isolation: limits.isolation,
        current_leader_epoch: epoch(wish.current_leader_epoch),
        last_fetched_epoch: epoch(wish.last_fetched_epoch),
    };
    Ok((owner, read))
}

type OwnerResults = Vec<Result<ReadResult, ReadError>>;

/// Asks every owner once: their results, or what to wait for if all of them together have too little.
async fn attempt(
    context: &RequestContext,
    owners: &BTreeMap<ShardId, OwnerReads>,
    limits: &Limits,
    bytes_min: usize,
) -> Result<Vec<OwnerResults>, Vec<Wake>> {
    let mut waiting = Vec::new();
    let mut results = Vec::with_capacity(owners.len());
    let mut available = 0;
    for (owner, reads) in owners {
        match ask(context, *owner, reads, limits, bytes_min).await {
            Ok(read) => results.push(Some(read)),
            Err((wake, bytes)) => {
                available += bytes;
                waiting.push(wake);
                results.push(None);
            }
        }
    }
    let enough = available >= bytes_min || results.iter().any(Option::is_some);
    if !enough {
        return Err(waiting);
    }
    let mut all = Vec::with_capacity(owners.len());
    for ((owner, reads), result) in owners.iter().zip(results) {
        all.push(match result {
            Some(result) => result,
            // Nothing to wait for any more: this owner gives what it has.
            None => ask(context, *owner, reads, limits, 0)
                .await
                .unwrap_or_default(),
        });
    }
    Ok(all)
}

/// Asks one owner: its results, or something to wait for and the bytes it has.
async fn ask(
    context: &RequestContext,
    owner: ShardId,
    reads: &OwnerReads,
    limits: &Limits,
    bytes_min: usize,
) -> Result<OwnerResults, (Wake, usize)> {
    let shard = context.shard();
    if owner == shard.id() {
        return match plan_fetch(shard.storage(), &reads.reads, limits.bytes_max, bytes_min) {
            PlannedFetch::Read(plans) => Ok(execute_reads(shard.storage(), plans).await),
            PlannedFetch::Wait(watches, available) => {
                Err((Box::pin(any_watch(watches)), available))
            }
        };
    }
    let (notify, notified) = remote_oneshot::channel();
    let (over_guard, over) = remote_oneshot::channel();
    let fetch = PartitionFetch {
        reads: reads.reads.clone(),
        bytes_max: limits.bytes_max,
        bytes_min,
        watcher: (bytes_min > 0).then_some(RemoteWatcher { notify, over }),
    };
    match shard.mesh().call(owner, ShardRequest::Fetch(fetch)).await {
        Ok(ShardResponse::Fetch(FetchOutcome::Read(results))) => Ok(results),
        Ok(ShardResponse::Fetch(FetchOutcome::Waiting { bytes_available })) => {
            let wake = async move {
                let _ = notified.await;
                drop(over_guard);
            };
            Err((Box::pin(wake), bytes_available))
        }
        _ => Ok(reads
            .reads
            .iter()
            .map(|_| Err(ReadError::UnknownPartition))
            .collect()),
    }
}

async fn any_wake(mut wakes: Vec<Wake>) {
    std::future::poll_fn(|task| {
        let woken = wakes
            .iter_mut()
            .any(|wake| wake.as_mut().poll(task).is_ready());
        if woken {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Several owners had the whole of `bytes_max` each: keeps partitions in order until it is spent.
fn trim(found: &mut [Found], bytes_max: usize) {
    let mut kept = 0;
    for read in found.iter_mut().flatten() {
        if kept > 0 && kept + read.bytes > bytes_max {
            read.chain.clear();
            read.bytes = 0;
        }
        kept += read.bytes;
    }
}

fn fail(context: &RequestContext, code: ErrorCode) -> Outgoing {
    let response = FetchResponse {
        error_code: code.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn respond(
    context: &RequestContext,
    kind: &FetchKind,
    code: ErrorCode,
    wanted: &[(PartitionName, Wish)],
    found: Vec<Found>,
    committed: bool,
) -> Outgoing {
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let mut sessions = context.shard().fetch_sessions().borrow_mut();
    let mut failures = 0;
    for ((name, _), found) in wanted.iter().zip(found) {
        failures += usize::from(found.is_err());
        if !sessions.write(kind, name, told(&found)) {
            continue;
        }
        let partition = partition_data(name.index, found, committed);
        match responses.last_mut() {
            Some(topic) if topic.topic == &*name.topic => topic.partitions.push(partition),
            _ => responses.push(FetchableTopicResponse {
                topic: &name.topic,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    drop(sessions);
    count(&context.shard().counters().failed_fetch, failures);
    let (FetchKind::Full(session_id) | FetchKind::Incremental(session_id)) = *kind;
    let response = FetchResponse {
        error_code: code.code(),
        session_id,
        responses,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn told(found: &Found) -> Told {
    match found {
        Ok(read) => Told {
            failed: false,
            has_records: read.bytes > 0,
            diverges: read.diverging.is_some(),
            high_watermark: read.high_watermark.0,
            log_start_offset: read.log_start_offset.0,
        },
        Err(_) => Told {
            failed: true,
            has_records: false,
            diverges: false,
            high_watermark: -1,
            log_start_offset: -1,
        },
    }
}

fn partition_data(index: i32, found: Found, committed: bool) -> PartitionData<'static> {
    let read = match found {
        Ok(read) => read,
        Err(code) => {
            return PartitionData {
                partition_index: index,
                error_code: code.code(),
                high_watermark: -1,
                last_stable_offset: -1,
                log_start_offset: -1,
                aborted_transactions: Some(Vec::new()),
                preferred_read_replica: -1,
                records: Some(Records::Chain(Vec::new())),
                ..Default::default()
            };
        }
    };
    let aborted = |one: &crate::log::AbortedTransaction| AbortedTransaction {
        producer_id: one.producer_id.0,
        first_offset: one.first_offset.0,
        ..Default::default()
    };
    PartitionData {
        partition_index: index,
        high_watermark: read.high_watermark.0,
        last_stable_offset: read.last_stable_offset.0,
        log_start_offset: read.log_start_offset.0,
        diverging_epoch: read
            .diverging
            .map_or_else(EpochEndOffset::default, |(epoch, end)| EpochEndOffset {
                epoch: epoch.0,
                end_offset: end.0,
                ..Default::default()
            }),
        aborted_transactions: committed.then(|| read.aborted.iter().map(aborted).collect()),
        preferred_read_replica: -1,
        records: Some(Records::Chain(read.chain)),
        ..Default::default()
    }
}
