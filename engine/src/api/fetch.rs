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
    LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use net::platform::sync::remote_oneshot;
use net::wire::{Records, Uuid};

use super::fetch_session::{
    self, FetchKind, PartitionName, SessionAnswer, SessionFields, SessionRequest, Told, Wish,
};
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
use crate::types::{LeaderEpoch, Offset, ShardId, TopicId};

/// First version that names topics by id (KIP-516).
const VERSION_WITH_IDS: i16 = 13;
/// First version that says where a partition's leader is found (KIP-951).
const VERSION_WITH_ENDPOINTS: i16 = 16;

/// One partition's answer.
type Found = Result<ReadResult, ErrorCode>;

/// Limits of one request.
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
    isolation: Isolation,
    uses_ids: bool,
}

/// The reads for one owner, and which of the wanted partitions each is for.
struct OwnerReads {
    owner: ShardId,
    reads: Vec<ReadRequest>,
    positions: Vec<usize>,
}

type Wake = Pin<Box<dyn Future<Output = ()>>>;

pub(super) async fn handle(context: &RequestContext, request: FetchRequest<'_>) -> Outgoing {
    let (wishes, forgotten) = wishes(&request);
    let read = SessionRequest {
        fields: SessionFields {
            id: request.session_id,
            epoch: request.session_epoch,
            uses_ids: context.version() >= VERSION_WITH_IDS,
        },
        wishes,
        forgotten,
    };
    let (kind, wanted) = match read_session(context, read).await {
        Ok(read) => read,
        Err(code) => return fail(context, code),
    };
    let Some(isolation) = isolation(request.isolation_level) else {
        let found = wanted
            .iter()
            .map(|_| Err(ErrorCode::UnknownServerError))
            .collect();
        let code = ErrorCode::UnknownServerError;
        return respond(context, &kind, code, &wanted, found, false).await;
    };
    let limits = limits(context, &request, isolation);
    // From version 15 on the replica's id stands in a structure of its own.
    let follower = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
    let found = fetch(context, &wanted, &limits, follower, request.max_bytes < 0).await;
    let bytes: usize = found.iter().flatten().map(|read| read.bytes).sum();
    let permit = context.shard().fetch_budget().acquire(bytes).await;
    count(&context.shard().counters().bytes_out, bytes);
    let committed = limits.isolation == Isolation::ReadCommitted;
    let mut outgoing = respond(context, &kind, ErrorCode::None, &wanted, found, committed).await;
    outgoing.permits.1 = Some(permit);
    outgoing
}

/// Asks the shard that has the session; a new one is made here.
async fn read_session(context: &RequestContext, request: SessionRequest) -> SessionAnswer {
    let shard = context.shard();
    let fields = request.fields;
    let owner = fetch_session::owner(fields.id, context.settings().shards);
    if fields.id == 0 || owner == shard.id() {
        return shard.read_session(request);
    }
    let away = |request| shard.mesh().call(owner, ShardRequest::ReadSession(request));
    if fields.is_initial() {
        // The one that is given up is there, the new one here.
        let end = SessionRequest {
            fields: fields.ended(),
            wishes: Vec::new(),
            forgotten: Vec::new(),
        };
        drop(away(end).await);
        return shard.read_session(request);
    }
    match away(request).await {
        Ok(ShardResponse::SessionRead(answer)) => answer,
        _ => Err(ErrorCode::FetchSessionIdNotFound),
    }
}

/// Tells the shard that has the session what its partitions are told; which of them are news.
async fn write_session(
    context: &RequestContext,
    kind: &FetchKind,
    told: Vec<(PartitionName, Told)>,
) -> Vec<bool> {
    let (FetchKind::Full(id) | FetchKind::Incremental(id)) = *kind;
    let shard = context.shard();
    let owner = fetch_session::owner(id, context.settings().shards);
    let count = told.len();
    if id == 0 {
        return vec![true; count];
    }
    if owner == shard.id() {
        return shard.write_session(kind, &told);
    }
    let request = ShardRequest::WriteSession(kind.clone(), told);
    match shard.mesh().call(owner, request).await {
        Ok(ShardResponse::SessionWritten(news)) => news,
        _ => vec![true; count],
    }
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
                id: TopicId(topic.topic_id.0),
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
            id: TopicId(topic.topic_id.0),
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
        uses_ids: context.version() >= VERSION_WITH_IDS,
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
    // In the order of what they have first: nobody's partitions always come last.
    let mut owners: Vec<OwnerReads> = Vec::new();
    let view = context.shard().view();
    for (position, (name, wish)) in wanted.iter().enumerate() {
        match read_request(&view, name, wish, limits, follower, refused) {
            Ok((owner, read)) => {
                let known = owners.iter().position(|known| known.owner == owner);
                let at = known.unwrap_or_else(|| {
                    owners.push(OwnerReads {
                        owner,
                        reads: Vec::new(),
                        positions: Vec::new(),
                    });
                    owners.len() - 1
                });
                owners[at].reads.push(read);
                owners[at].positions.push(position);
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
    for (reads, results) in owners.iter().zip(results) {
        for (position, result) in reads.positions.iter().zip(results) {
            found[*position] = Some(result.map_err(|error| ErrorCode::from(&error)));
        }
    }
    found
        .into_iter()
        .map(|one| one.unwrap_or(Err(ErrorCode::NotLeaderOrFollower)))
        .collect()
}

fn read_request(
    view: &ClusterView,
    name: &PartitionName,
    wish: &Wish,
    limits: &Limits,
    follower: bool,
    refused: bool,
) -> Result<(ShardId, ReadRequest), ErrorCode> {
    let topic = if limits.uses_ids {
        view.topic_by_id(name.id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        view.topic(&name.topic)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
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

/// Asks every owner once: their results, or what to wait for if all of them together have too little. What one found
/// is taken off what the next may give, so that the answer as a whole keeps its limit.
async fn attempt(
    context: &RequestContext,
    owners: &[OwnerReads],
    limits: &Limits,
    bytes_min: usize,
) -> Result<Vec<OwnerResults>, Vec<Wake>> {
    let mut waiting = Vec::new();
    let mut results: Vec<Option<OwnerResults>> = Vec::with_capacity(owners.len());
    let (mut available, mut found) = (0, 0);
    for reads in owners {
        let nothing_yet = results.iter().all(Option::is_none);
        let bytes_min = if nothing_yet { bytes_min } else { 0 };
        match ask(context, reads, limits, found, bytes_min).await {
            Ok(read) => {
                found += bytes_of(&read);
                results.push(Some(read));
            }
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
    for (reads, result) in owners.iter().zip(results) {
        all.push(match result {
            Some(result) => result,
            // Nothing to wait for any more: this owner gives what it has.
            None => {
                let read = ask(context, reads, limits, found, 0)
                    .await
                    .unwrap_or_default();
                found += bytes_of(&read);
                read
            }
        });
    }
    Ok(all)
}

fn bytes_of(results: &OwnerResults) -> usize {
    results.iter().flatten().map(|read| read.bytes).sum()
}

/// Asks one owner, when `found` bytes were found at others: its results, or something to wait for and the bytes it has.
async fn ask(
    context: &RequestContext,
    reads: &OwnerReads,
    limits: &Limits,
    found: usize,
    bytes_min: usize,
) -> Result<OwnerResults, (Wake, usize)> {
    let shard = context.shard();
    let (bytes_max, is_first) = (limits.bytes_max.saturating_sub(found), found == 0);
    if reads.owner == shard.id() {
        let planned = plan_fetch(
            shard.storage(),
            &reads.reads,
            bytes_max,
            is_first,
            bytes_min,
        );
        return match planned {
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
        bytes_max,
        is_first,
        bytes_min,
        watcher: (bytes_min > 0).then_some(RemoteWatcher { notify, over }),
    };
    let request = ShardRequest::Fetch(fetch);
    match shard.mesh().call(reads.owner, request).await {
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

fn fail(context: &RequestContext, code: ErrorCode) -> Outgoing {
    let response = FetchResponse {
        error_code: code.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

async fn respond(
    context: &RequestContext,
    kind: &FetchKind,
    code: ErrorCode,
    wanted: &[(PartitionName, Wish)],
    found: Vec<Found>,
    committed: bool,
) -> Outgoing {
    let told = wanted
        .iter()
        .zip(&found)
        .map(|((name, _), found)| (name.clone(), told(found)));
    let news = write_session(context, kind, told.collect()).await;
    let view = context.shard().view();
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let (mut failures, mut hinted) = (0, false);
    for (((name, _), found), news) in wanted.iter().zip(found).zip(news) {
        failures += usize::from(found.is_err());
        if !news {
            continue;
        }
        let mut partition = partition_data(name.index, found, committed);
        if context.version() >= VERSION_WITH_ENDPOINTS
            && let Some(leader) = leader_hint(&view, name, partition.error_code)
        {
            hinted = true;
            partition.current_leader = leader;
        }
        match responses.last_mut() {
            Some(topic) if topic.topic == &*name.topic && topic.topic_id.0 == name.id.0 => {
                topic.partitions.push(partition);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: &name.topic,
                topic_id: Uuid(name.id.0),
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    count(&context.shard().counters().failed_fetch, failures);
    let (host, port) = context.advertised();
    let this_node = NodeEndpoint {
        node_id: view.image.node_id,
        host,
        port: port.into(),
        ..Default::default()
    };
    let (FetchKind::Full(session_id) | FetchKind::Incremental(session_id)) = *kind;
    let response = FetchResponse {
        error_code: code.code(),
        session_id,
        responses,
        node_endpoints: if hinted { vec![this_node] } else { Vec::new() },
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Who leads a partition that the client looked for in the wrong place, or under an old leader epoch (KIP-951).
fn leader_hint(
    view: &ClusterView,
    name: &PartitionName,
    code: i16,
) -> Option<LeaderIdAndEpoch<'static>> {
    let stale = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch];
    if !stale.iter().any(|stale| stale.code() == code) {
        return None;
    }
    let (_, partition, _) = view.topic_by_id(name.id)?.partition(name.index)?;
    Some(LeaderIdAndEpoch {
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch.0,
        ..Default::default()
    })
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
