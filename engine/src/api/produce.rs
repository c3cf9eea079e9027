//! Produce: validates batches, hands each to its partition's owner, answers when they are durable.
//!
//! Runs on the connection's core. Two steps, because consecutive Produce requests overlap: [`begin`] resolves when
//! every batch is validated and queued in order; what it returns resolves when their fates are known. Partitions
//! succeed and fail one by one (RELIABILITY P10). The batch stays a slice of the received frame.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use net::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use net::platform::sync::Closed;
use net::records::{BatchHeader, Rejection};
use net::server::ReceivePermit;
use net::wire::{Reader, Records};
use tracing::debug;

use super::produce_batch::{Prepared, prepare};
use super::{ErrorCode, RequestContext};
use crate::cluster::name::is_internal;
use crate::log::{AppendError, AppendOrigin, AppendRequest, Appended, PendingAppend};
use crate::metrics::count;
use crate::partition::PartitionAppend;
use crate::shard::connection::{Answer, Outgoing};
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::shard::view::TopicView;
use crate::types::{PartitionId, ShardId};

/// First version whose answer says which records are at fault and why.
const VERSION_WITH_RECORD_ERRORS: i16 = 8;

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
    fate: Fate,
}

struct TopicPart {
    /// A slice of the frame; text, because it was decoded as such.
    name: Bytes,
    partitions: Vec<PartitionPart>,
}

type RemoteAppends =
    BTreeMap<ShardId, Pin<Box<dyn Future<Output = Result<ShardResponse, Closed>>>>>;

/// A request whose batches are queued.
struct Queued {
    acks: i16,
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
        let mut outgoing = finish(&context, queued).await;
        outgoing.permits.0 = Some(permit);
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
    for (name, parts) in merged(&request) {
        let topic = view.topic(name);
        let refuse_topic =
            refuse_all.or_else(|| is_internal(name).then_some(ErrorCode::InvalidTopicException));
        let mut partitions = Vec::with_capacity(parts.len());
        for (index, records) in parts {
            let fate = match refuse_topic {
                Some(code) => Fate::Refused(code.into()),
                None => queue_one(context, body, topic, index, records, now_ms, &mut away).await,
            };
            partitions.push(PartitionPart { index, fate });
        }
        if !partitions.is_empty() {
            topics.push(TopicPart {
                name: body.slice_ref(name.as_bytes()),
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
    Some(Queued {
        acks: request.acks,
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

/// Partitions of a topic by index, with the bytes sent for each.
type IndexedRecords<'a> = Vec<(i32, &'a [u8])>;

/// The request's parts by topic, in order. Kafka puts them into a map, so of a partition named twice the last part
/// counts and there is one answer.
fn merged<'a>(request: &ProduceRequest<'a>) -> Vec<(&'a str, IndexedRecords<'a>)> {
    let mut topics: Vec<(&'a str, IndexedRecords<'a>)> =
        Vec::with_capacity(request.topic_data.len());
    let mut positions: BTreeMap<&'a str, usize> = BTreeMap::new();
    for topic in &request.topic_data {
        let position = *positions.entry(topic.name).or_insert_with(|| {
            topics.push((topic.name, Vec::with_capacity(topic.partition_data.len())));
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
    index: i32,
    records: &[u8],
    now_ms: i64,
    away: &mut BTreeMap<ShardId, Vec<PartitionAppend>>,
) -> Fate {
    let Some((topic, (id, _, owner))) =
        topic.and_then(|topic| Some((topic, topic.partition(index)?)))
    else {
        return Fate::Refused(ErrorCode::UnknownTopicOrPartition.into());
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
        return Fate::Refused(ErrorCode::InvalidTxnState.into());
    }
    let counters = context.shard().counters();
    count(&counters.bytes_in, prepared.batch.len());
    count(
        &counters.messages_in,
        usize::try_from(prepared.header.record_count).unwrap_or(0),
    );
    let request = append_request(prepared, now_ms);
    place(context, id, owner, request, away)
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

fn place(
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
    result: Result<Appended, Refusal>,
}

async fn finish(context: &RequestContext, queued: Queued) -> Outgoing {
    let Queued {
        acks,
        topics,
        remote,
    } = queued;
    let mut answered: BTreeMap<ShardId, Vec<Option<Result<Appended, AppendError>>>> =
        BTreeMap::new();
    for (shard, answer) in remote {
        if let Ok(ShardResponse::Append(results)) = answer.await {
            answered.insert(shard, results.into_iter().map(Some).collect());
        }
    }
    let mut outcome = Vec::with_capacity(topics.len());
    let mut failures = 0;
    for TopicPart { name, partitions } in topics {
        let mut parts = Vec::with_capacity(partitions.len());
        for PartitionPart { index, fate } in partitions {
            let appended = match fate {
                Fate::Refused(refusal) => Err(refusal),
                Fate::Here(pending) => pending.await.map_err(|error| refusal_of(&error)),
                Fate::There(shard, position) => answered
                    .get_mut(&shard)
                    .and_then(|results| results.get_mut(position)?.take())
                    .unwrap_or(Err(AppendError::Stopping))
                    .map_err(|error| refusal_of(&error)),
            };
            failures += usize::from(appended.is_err());
            parts.push(Part {
                index,
                result: appended,
            });
        }
        outcome.push((name, parts));
    }
    count(&context.shard().counters().failed_produce, failures);
    if acks == 0 {
        // Nobody reads an answer: closing is the only way to say that something failed (RELIABILITY P9).
        return Outgoing {
            close: failures > 0,
            ..Outgoing::default()
        };
    }
    respond(context, &outcome)
}

fn refusal_of(error: &AppendError) -> Refusal {
    Refusal {
        code: error.into(),
        message: Some(error.to_string()),
        record_errors: Vec::new(),
    }
}

fn respond(context: &RequestContext, outcome: &[(Bytes, Vec<Part>)]) -> Outgoing {
    let detailed = context.version() >= VERSION_WITH_RECORD_ERRORS;
    let responses = outcome
        .iter()
        .map(|(name, parts)| TopicProduceResponse {
            name: std::str::from_utf8(name).unwrap_or_default(),
            partition_responses: parts
                .iter()
                .map(|part| partition_response(part, detailed))
                .collect(),
            ..Default::default()
        })
        .collect();
    let response = ProduceResponse {
        responses,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
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
            log_start_offset: -1,
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
