//! DeleteTopics: decided by the controller, answered when the topic's name is free again.

use net::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext, topic_results};
use crate::cluster::topics::TopicSelector;
use crate::cluster::{ControlError, ControlErrorKind, ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;
use crate::types::TopicId;

/// From this version on topics are named by name or id, and answers carry texts.
const VERSION_WITH_IDS: i16 = 6;

pub(super) async fn handle(context: &RequestContext, request: DeleteTopicsRequest<'_>) -> Outgoing {
    let selectors: Vec<TopicSelector> = if context.version() >= VERSION_WITH_IDS {
        let selector = |topic: &net::messages::delete_topics::DeleteTopicState<'_>| TopicSelector {
            name: topic.name.map(str::to_owned),
            id: TopicId(topic.topic_id.0),
        };
        request.topics.iter().map(selector).collect()
    } else {
        let selector = |name: &&str| TopicSelector {
            name: Some((*name).to_owned()),
            id: TopicId::default(),
        };
        request.topic_names.iter().map(selector).collect()
    };
    let results = delete(context, &request, &selectors).await;
    let distinct = topic_results::once_each(selectors.iter());
    let responses = distinct.iter().map(|selector| {
        let position = selectors
            .iter()
            .position(|other| other == *selector)
            .expect("taken from the list");
        answer(selector, &results[position])
    });
    let response = DeleteTopicsResponse {
        responses: responses.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

async fn delete(
    context: &RequestContext,
    request: &DeleteTopicsRequest<'_>,
    selectors: &[TopicSelector],
) -> Vec<Result<(TopicId, String), ControlError>> {
    if !context.image().broker_config.delete_topic_enable() {
        let kind = ControlErrorKind::TopicDeletionDisabled;
        return selectors
            .iter()
            .map(|_| Err(ControlError::bare(kind)))
            .collect();
    }
    if request.timeout_ms <= 0 {
        return topic_results::timed_out(selectors.len());
    }
    match context
        .control(ControlRequest::DeleteTopics(selectors.to_vec()))
        .await
    {
        Ok(ControlResponse::DeleteTopics(results)) => results,
        other => topic_results::all_failed(other, selectors.len()),
    }
}

fn answer<'a>(
    selector: &'a TopicSelector,
    result: &'a Result<(TopicId, String), ControlError>,
) -> DeletableTopicResult<'a> {
    match result {
        Ok((id, name)) => DeletableTopicResult {
            name: Some(name),
            topic_id: Uuid(id.0),
            ..Default::default()
        },
        Err(error) => DeletableTopicResult {
            name: selector.name.as_deref(),
            topic_id: Uuid(selector.id.0),
            error_code: ErrorCode::from(error.kind).code(),
            error_message: error.message.as_deref(),
            ..Default::default()
        },
    }
}
