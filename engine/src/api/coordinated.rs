//! The way from a request about a group to the shard that keeps it, and back.
//!
//! Runs on the connection's core. The answer has its own way back, so a member that waits for others holds no slot of
//! the mesh; it stops waiting when its connection ends.

use std::sync::Arc;

use net::platform::sync::remote_oneshot;

use super::RequestContext;
use crate::groups::{GroupCall, GroupError, GroupReply, GroupRequest, OFFSETS_TOPIC, partition_of};
use crate::shard::message::ShardRequest;
use crate::shard::signal::unless;

/// Asks the coordinator of the request's group.
pub(super) async fn ask(
    context: &RequestContext,
    group: &str,
    request: GroupRequest,
) -> GroupReply {
    let partitions = offsets_partitions(context);
    if partitions == 0 {
        // Sends the client to FindCoordinator, which makes the topic.
        return GroupReply::Failed(GroupError::NotCoordinator);
    }
    ask_partition(context, partition_of(group, partitions), request).await
}

/// Asks the coordinators of all groups, in the order of their partitions.
pub(super) async fn ask_all(
    context: &RequestContext,
    request: impl Fn() -> GroupRequest,
) -> Vec<GroupReply> {
    let mut replies = Vec::new();
    for partition in 0..offsets_partitions(context) {
        replies.push(ask_partition(context, partition, request()).await);
    }
    replies
}

/// Partitions of the offsets topic; 0 while it does not exist.
fn offsets_partitions(context: &RequestContext) -> i32 {
    let view = context.shard().view();
    view.topic(OFFSETS_TOPIC).map_or(0, |topic| {
        i32::try_from(topic.image.partitions.len()).expect("partition count is bounded")
    })
}

async fn ask_partition(
    context: &RequestContext,
    partition: i32,
    request: GroupRequest,
) -> GroupReply {
    let shard = context.shard();
    let view = shard.view();
    let owner = view
        .topic(OFFSETS_TOPIC)
        .and_then(|topic| topic.partition(partition))
        .map(|(_, _, owner)| owner);
    drop(view);
    let Some(owner) = owner else {
        return GroupReply::Failed(GroupError::NotCoordinator);
    };
    let may_wait_long = matches!(&request, GroupRequest::Join(_) | GroupRequest::Sync(_));
    let (reply, answer) = remote_oneshot::channel();
    let call = GroupCall {
        partition,
        request,
        reply,
    };
    if owner == shard.id() {
        let gives_way = looks_at_whole_groups(&call.request);
        shard.groups().take(call);
        if gives_way {
            // A request may name many groups, and nothing else on this way to one's own core gives way.
            context.runtime().yield_now().await;
        }
    } else {
        // Carried out whether or not somebody waits for the mesh's own answer.
        drop(shard.mesh().send(owner, ShardRequest::Group(call)).await);
    }
    let answered = if may_wait_long {
        unless(answer, context.connection().ending()).await
    } else {
        Some(answer.await)
    };
    match answered {
        Some(Ok(reply)) => reply,
        _ => GroupReply::Failed(GroupError::NotAvailable),
    }
}

/// Whether an answer takes as long as a group has members or offsets, and one request asks for several.
fn looks_at_whole_groups(request: &GroupRequest) -> bool {
    matches!(
        request,
        GroupRequest::Describe(_)
            | GroupRequest::ConsumerDescribe(_)
            | GroupRequest::FetchOffsets(_)
            | GroupRequest::DeleteGroup(_)
            | GroupRequest::List(_)
    )
}

/// A member id as Kafka makes them: the instance id or the client's name, and a random UUID.
pub(super) fn new_member_id(context: &RequestContext, instance: Option<&str>) -> Arc<str> {
    let name = instance.or_else(|| context.client_id()).unwrap_or_default();
    let high = context.runtime().random_u64();
    let low = context.runtime().random_u64();
    format!(
        "{name}-{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
    .into()
}

/// The client's address as Java prints it.
pub(super) fn client_host(context: &RequestContext) -> Arc<str> {
    format!("/{}", context.peer().ip()).into()
}
