//! Produce: validates batches, hands each to its partition's owner, answers when they are durable.
//!
//! Runs on the connection's core. Two steps, because consecutive Produce requests overlap: [`begin`] resolves when
//! every batch is validated and queued in order; what it returns resolves when their fates are known. Partitions
//! succeed and fail one by one (RELIABILITY P10). The batch stays a slice of the received frame.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use net::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use net::platform::sync::Closed;
use net::records::{BatchHeader, Rejection};
use net::server::ReceivePermit;
use net::wire::{Reader, Records, Uuid};
use tracing::debug;

use super::owners::ask;
use super::produce_batch::{Prepared, prepare};
use super::{ErrorCode, RequestContext};
use crate::cluster::name::is_internal;
use crate::log::{
    AppendError, AppendOrigin, AppendRequest, Appended, OffsetQuery, PendingAppend, ReadError,
};
use crate::metrics::count;
use crate::partition::{OffsetLookup, PartitionAppend};
use crate::shard::connection::{Answer, Outgoing};
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::shard::view::{ClusterView, TopicView};
use crate::types::{PartitionId, ShardId, TopicId};

/// First version whose answer says which records are at fault and why.
const VERSION_WITH_RECORD_ERRORS: i16 = 8;
/// First version that says where a partition's leader is found (KIP-951).
const VERSION_WITH_LEADERS: i16 = 10;
/// First version that lets a client abort a transaction that it cannot go on with.
const VERSION_WITH_ABORTABLE: i16 = 11;
/// First version that adds partitions to a transaction by producing to them (KIP-890).
const VERSION_ADDING_PARTITIONS: i16 = 12;
/// First version that names topics by id (KIP-516).
const VERSION_WITH_IDS: i16 = 13;
/// Kafka waits for replicas and so answers at once on a node of one; here the wait is for the disk, which deserves this
/// long whatever a client asks for.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Why a partition's part was refused before it was queued.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, Option<String>)>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal {
            code,
            message: None,
            record_errors: Vec::new(),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        Refusal {
            code: rejection.kind.into(),
            message: Some(rejection.message),
            record_errors: rejection.record_errors,
        }
    }
}

/// Where one partition's part is.
enum Fate {
    Refused(Refusal),
    /// Queued on this shard.
    Here(PendingAppend),
    /// Queued on another: position in that shard's list.
    There(ShardId, usize),
}

struct PartitionPart {
    index: i32,
    /// Where the partition is, if it exists.
    place: Option<(ShardId, PartitionId)>,
    fate: Fate,
}

/// A topic as the request names it.
#[derive(Clone)]
struct TopicName {
    /// A slice of the frame; text, because it was decoded as such. Empty from version 13 on.
    name: Bytes,
    /// Zero before version 13.
    id: TopicId,
}

struct TopicPart {
    name: TopicName,
    partitions: Vec<PartitionPart>,
}

type RemoteAppends =
    BTreeMap<ShardId, Pin<Box<dyn Future<Output = Result<ShardResponse, Closed>>>>>;

/// Appends that were given up before their fates were known.
type Unfinished = Vec<Pin<Box<dyn Future<Output = ()>>>>;

/// A request whose batches are queued.
struct Queued {
    acks: i16,
    /// When those that are not durable yet are given up. Without an answer there is nothing to hurry for.
    deadline: Option<Duration>,
    topics: Vec<TopicPart>,
    remote: RemoteAppends,
}

/// Validates and queues everything in the request.
pub(super) async fn begin(context: &RequestContext, body: Bytes, permit: ReceivePermit) -> Answer {
    let Some(queued) = queue(context, &body).await else {
        return Answer::Ready(Outgoing::close());
    };
    let context = context.clone();
    Answer::Later(Box::pin(async move {
        let (mut outgoing, unfinished) = finish(&context, queued).await;
        if unfinished.is_empty() {
            outgoing.permits.0 = Some(permit);
        } else {
            // Given up, but still queued: their bytes count until their fates are known.
            context.runtime().spawn(async move {
                for append in unfinished {
                    append.await;
                }
                drop(permit);
            });
        }
        outgoing
    }))
}

async fn queue(context: &RequestContext, body: &Bytes) -> Option<Queued> {
    let request = match ProduceRequest::decode(&mut Reader::new(body), context.version()) {
        Ok(request) => request,
        Err(error) => {
            debug!(%error, peer = %context.peer(), "bad Produce request");
            return None;
        }
    };
    let refuse_all = refusal_of_all(&request);
    let view = context.shard().view();
    let now_ms = context.runtime().wall_clock_ms();
    let mut away: BTreeMap<ShardId, Vec<PartitionAppend>> = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for ((name, id), parts) in merged(&request) {
        let topic = if context.version() >= VERSION_WITH_IDS {
            view.topic_by_id(id)
        } else {
            view.topic(name)
        };
        let internal = topic.map_or_else(|| is_internal(name), |topic| topic.image.internal);
        let refuse_topic =
            refuse_all.or_else(|| internal.then_some(ErrorCode::InvalidTopicException));
        let mut partitions = Vec::with_capacity(parts.len());
        for (index, records) in parts {
            let found = topic.and_then(|topic| topic.partition(index));
            let place = found.map(|(id, _, owner)| (owner, id));
            let fate = match refuse_topic {
                Some(code) => Fate::Refused(code.into()),
                None => queue_one(context, body, topic, place, records, now_ms, &mut away).await,
            };
            partitions.push(PartitionPart { index, place, fate });
        }
        if !partitions.is_empty() {
            let name = body.slice_ref(name.as_bytes());
            topics.push(TopicPart {
                name: TopicName { name, id },
                partitions,
            });
        }
    }
    let mut remote: RemoteAppends = BTreeMap::new();
    for (shard, appends) in away {
        let answer = context
            .shard()
            .mesh()
            .send(shard, ShardRequest::Append(appends))
            .await;
        remote.insert(shard, Box::pin(answer));
    }
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let answered = request.acks != 0;
    Some(Queued {
        acks: request.acks,
        deadline: answered.then(|| context.runtime().monotonic() + asked.max(WAIT_MIN)),
        topics,
        remote,
    })
}

/// What makes every part fail alike.
fn refusal_of_all(request: &ProduceRequest<'_>) -> Option<ErrorCode> {
    let transactional = || {
        request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data)
            .any(|partition| {
                let header = BatchHeader::parse(record_bytes(partition.records.as_ref()));
                header.is_some_and(|header| {
                    header.magic == net::records::MAGIC_V2 && header.is_transactional()
                })
            })
    };
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    if request.transactional_id.is_none() && transactional() {
        return Some(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    None
}

fn record_bytes<'a>(records: Option<&Records<'a>>) -> &'a [u8] {
    match records {
        Some(Records::Borrowed(bytes)) => bytes,
        // A decoded request holds slices of its frame only.
        Some(Records::Chain(_)) | None => &[],
    }
}

/// A topic by name or, from version 13 on, by id.
type TopicKey<'a> = (&'a str, TopicId);

/// Partitions of a topic by index, with the bytes sent for each.
type IndexedRecords<'a> = Vec<(i32, &'a [u8])>;

/// The request's parts by topic, in order. Kafka puts them into a map, so of a partition named twice the last part
/// counts and there is one answer.
fn merged<'a>(request: &ProduceRequest<'a>) -> Vec<(TopicKey<'a>, IndexedRecords<'a>)> {
    let mut topics: Vec<(TopicKey<'a>, IndexedRecords<'a>)> =
        Vec::with_capacity(request.topic_data.len());
    let mut positions: BTreeMap<TopicKey<'a>, usize> = BTreeMap::new();
    for topic in &request.topic_data {
        let key = (topic.name, TopicId(topic.topic_id.0));
        let position = *positions.entry(key).or_insert_with(|| {
            topics.push((key, Vec::with_capacity(topic.partition_data.len())));
            topics.len() - 1
        });
        let parts = topic
            .partition_data
            .iter()
            .map(|part| (part.index, record_bytes(part.records.as_ref())));
        topics[position].1.extend(parts);
    }
    for (_, parts) in &mut topics {
        keep_last_of_each(parts);
    }
    topics
}

fn keep_last_of_each(parts: &mut Vec<(i32, &[u8])>) {
    if parts.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return;
    }
    let last: BTreeMap<i32, usize> = parts
        .iter()
        .enumerate()
        .map(|(at, (index, _))| (*index, at))
        .collect();
    let mut at = 0;
    parts.retain(|(index, _)| {
        at += 1;
        last[index] == at - 1
    });
}

async fn queue_one(
    context: &RequestContext,
    body: &Bytes,
    topic: Option<&TopicView>,
    place: Option<(ShardId, PartitionId)>,
    records: &[u8],
    now_ms: i64,
    away: &mut BTreeMap<ShardId, Vec<PartitionAppend>>,
) -> Fate {
    let Some((topic, (owner, id))) = topic.zip(place) else {
        let code = if topic.is_none() && context.version() >= VERSION_WITH_IDS {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        return Fate::Refused(code.into());
    };
    let prepared = match prepare(
        context.runtime(),
        body,
        records,
        &topic.image.config,
        context.version(),
        now_ms,
    )
    .await
    {
        Ok(prepared) => prepared,
        Err(rejection) => return Fate::Refused(rejection.into()),
    };
    if prepared.header.is_transactional() {
        // No coordinator serves transactions yet, so no partition was ever added to one (RELIABILITY T1).
        let code = match context.version() {
            VERSION_ADDING_PARTITIONS.. => ErrorCode::InvalidProducerIdMapping,
            VERSION_WITH_ABORTABLE.. => ErrorCode::TransactionAbortable,
            _ => ErrorCode::InvalidTxnState,
        };
        return Fate::Refused(code.into());
    }
    let counters = context.shard().counters();
    count(&counters.bytes_in, prepared.batch.len());
    count(
        &counters.messages_in,
        usize::try_from(prepared.header.record_count).unwrap_or(0),
    );
    let request = append_request(prepared, now_ms);
    hand_over(context, id, owner, request, away)
}

fn append_request(prepared: Prepared, now_ms: i64) -> AppendRequest {
    AppendRequest {
        batch: prepared.batch,
        header: prepared.header,
        max_timestamp: prepared.max_timestamp,
        offset_of_max_timestamp_delta: prepared.offset_of_max_timestamp_delta,
        current_leader_epoch: None,
        now_ms,
        origin: AppendOrigin::Client,
    }
}

fn hand_over(
    context: &RequestContext,
    id: PartitionId,
    owner: ShardId,
    request: AppendRequest,
    away: &mut BTreeMap<ShardId, Vec<PartitionAppend>>,
) -> Fate {
    if owner == context.shard().id() {
        return Fate::Here(context.shard().storage().append(id, request));
    }
    let list = away.entry(owner).or_default();
    list.push(PartitionAppend { id, request });
    Fate::There(owner, list.len() - 1)
}

/// What one partition is answered.
struct Part {
    index: i32,
    place: Option<(ShardId, PartitionId)>,
    result: Result<Appended, Refusal>,
    /// With a refusal; −1 where Kafka does not say.
    log_start_offset: i64,
}

/// What comes before the deadline, if there is one.
async fn in_time<T>(
    context: &RequestContext,
    deadline: Option<Duration>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let Some(deadline) = deadline else {
        return Some(work.await);
    };
    let left = deadline.saturating_sub(context.runtime().monotonic());
    context.runtime().timeout(left, work).await.ok()
}

async fn finish(context: &RequestContext, queued: Queued) -> (Outgoing, Unfinished) {
    let Queued {
        acks,
        deadline,
        topics,
        remote,
    } = queued;
    let mut late = BTreeSet::new();
    let mut unfinished = Unfinished::new();
    let mut answered: BTreeMap<ShardId, Vec<Option<Result<Appended, AppendError>>>> =
        BTreeMap::new();
    for (shard, mut answer) in remote {
        match in_time(context, deadline, &mut answer).await {
            Some(Ok(ShardResponse::Append(results))) => {
                answered.insert(shard, results.into_iter().map(Some).collect());
            }
            Some(_) => {}
            None => {
                late.insert(shard);
                unfinished.push(Box::pin(async move { drop(answer.await) }));
            }
        }
    }
    let mut outcome = Vec::with_capacity(topics.len());
    let mut failures = 0;
    for TopicPart { name, partitions } in topics {
        let mut parts = Vec::with_capacity(partitions.len());
        for PartitionPart { index, place, fate } in partitions {
            let appended = match fate {
                Fate::Refused(refusal) => Err(refusal),
                Fate::Here(mut pending) => {
                    let result = in_time(context, deadline, &mut pending).await;
                    let result = result.unwrap_or_else(|| {
                        unfinished.push(Box::pin(async move { drop(pending.await) }));
                        Err(AppendError::Timeout)
                    });
                    result.map_err(|error| refusal_of(&error))
                }
                Fate::There(shard, _) if late.contains(&shard) => {
                    Err(refusal_of(&AppendError::Timeout))
                }
                Fate::There(shard, position) => answered
                    .get_mut(&shard)
                    .and_then(|results| results.get_mut(position)?.take())
                    .unwrap_or(Err(AppendError::Stopping))
                    .map_err(|error| refusal_of(&error)),
            };
            failures += usize::from(appended.is_err());
            parts.push(Part {
                index,
                place,
                result: appended,
                log_start_offset: -1,
            });
        }
        outcome.push((name, parts));
    }
    count(&context.shard().counters().failed_produce, failures);
    if acks == 0 {
        // Nobody reads an answer: closing is the only way to say that something failed (RELIABILITY P9).
        let outgoing = Outgoing {
            close: failures > 0,
            ..Outgoing::default()
        };
        return (outgoing, unfinished);
    }
    find_log_starts(context, &mut outcome).await;
    (respond(context, &outcome), unfinished)
}

/// Kafka tells the log's start with most refusals, so that a producer can see whether it was forgotten for age.
async fn find_log_starts(context: &RequestContext, outcome: &mut [(TopicName, Vec<Part>)]) {
    let tells = |refusal: &Refusal| {
        !matches!(
            refusal.code,
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::RequestTimedOut
                | ErrorCode::MessageTooLarge
                | ErrorCode::RecordListTooLarge
                | ErrorCode::CorruptMessage
                | ErrorCode::KafkaStorageError
                | ErrorCode::InvalidTopicException
                | ErrorCode::InvalidRequiredAcks
                | ErrorCode::TransactionalIdAuthorizationFailed
                | ErrorCode::TransactionAbortable
                | ErrorCode::InvalidProducerIdMapping
        )
    };
    let mut refused: Vec<(&mut Part, (ShardId, PartitionId))> = outcome
        .iter_mut()
        .flat_map(|(_, parts)| parts)
        .filter(|part| part.result.as_ref().is_err_and(tells))
        .filter_map(|part| part.place.map(|place| (part, place)))
        .collect();
    if refused.is_empty() {
        return;
    }
    let lookup = |(_, (owner, id)): &(&mut Part, (ShardId, PartitionId))| {
        let lookup = OffsetLookup {
            id: *id,
            query: OffsetQuery::Earliest,
            current_leader_epoch: None,
        };
        (*owner, lookup)
    };
    let answers = |response| match response {
        ShardResponse::FindOffsets(results) => Some(results),
        _ => None,
    };
    let lookups = refused.iter().map(lookup).collect();
    let lost = Err(ReadError::UnknownPartition);
    let found = ask(context, lookups, ShardRequest::FindOffsets, answers, lost).await;
    for ((part, _), found) in refused.iter_mut().zip(found) {
        part.log_start_offset = found.map_or(-1, |found| found.offset);
    }
}

fn refusal_of(error: &AppendError) -> Refusal {
    Refusal {
        code: error.into(),
        message: Some(error.to_string()),
        record_errors: Vec::new(),
    }
}

fn respond(context: &RequestContext, outcome: &[(TopicName, Vec<Part>)]) -> Outgoing {
    let detailed = context.version() >= VERSION_WITH_RECORD_ERRORS;
    let view = context.shard().view();
    let hints = context.version() >= VERSION_WITH_LEADERS;
    let mut hinted = false;
    let mut answer = |part| {
        let mut response = partition_response(part, detailed);
        if hints && let Some(leader) = leader_hint(&view, part) {
            hinted = true;
            response.current_leader = leader;
        }
        response
    };
    let responses = outcome
        .iter()
        .map(|(topic, parts)| TopicProduceResponse {
            name: std::str::from_utf8(&topic.name).unwrap_or_default(),
            topic_id: Uuid(topic.id.0),
            partition_responses: parts.iter().map(&mut answer).collect(),
            ..Default::default()
        })
        .collect();
    let (host, port) = context.advertised();
    let this_node = NodeEndpoint {
        node_id: view.image.node_id,
        host,
        port: port.into(),
        ..Default::default()
    };
    let response = ProduceResponse {
        responses,
        node_endpoints: if hinted { vec![this_node] } else { Vec::new() },
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Who leads a partition that the client looked for in the wrong place (KIP-951).
fn leader_hint(view: &ClusterView, part: &Part) -> Option<LeaderIdAndEpoch<'static>> {
    let refusal = part.result.as_ref().err()?;
    if refusal.code != ErrorCode::NotLeaderOrFollower {
        return None;
    }
    let (_, id) = part.place?;
    let (_, partition, _) = view.topic_by_id(id.topic_id)?.partition(id.index)?;
    Some(LeaderIdAndEpoch {
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch.0,
        ..Default::default()
    })
}

fn partition_response(part: &Part, detailed: bool) -> PartitionProduceResponse<'_> {
    match &part.result {
        Ok(appended) => PartitionProduceResponse {
            index: part.index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset.0,
            ..Default::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index: part.index,
            error_code: refusal.code.code(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: part.log_start_offset,
            record_errors: if detailed {
                record_errors(refusal)
            } else {
                Vec::new()
            },
            error_message: refusal.message.as_deref().filter(|_| detailed),
            ..Default::default()
        },
    }
}

fn record_errors(refusal: &Refusal) -> Vec<BatchIndexAndErrorMessage<'_>> {
    refusal
        .record_errors
        .iter()
        .map(|(index, message)| BatchIndexAndErrorMessage {
            batch_index: *index,
            batch_index_error_message: message.as_deref(),
            ..Default::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::keep_last_of_each;

    #[test]
    fn of_a_partition_named_twice_the_last_part_counts() {
        let mut parts: Vec<(i32, &[u8])> = vec![(0, b"a"), (1, b"b"), (0, b"c")];
        keep_last_of_each(&mut parts);
        assert_eq!(parts, [(1, &b"b"[..]), (0, b"c")]);
    }
}
