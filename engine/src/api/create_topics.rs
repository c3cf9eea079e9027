//! CreateTopics: decided by the controller, answered when every partition can be written.

use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext, topic_results};
use crate::cluster::topics::{CreatedTopic, NewTopic};
use crate::cluster::{ControlError, ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: CreateTopicsRequest<'_>) -> Outgoing {
    let names: Vec<&str> = topic_results::once_each(request.topics.iter().map(|topic| topic.name));
    let results = create(context, &request).await;
    let described: Vec<_> = results
        .iter()
        .map(|result| {
            result
                .as_ref()
                .ok()
                .map(|topic| (topic, describe(context, topic)))
        })
        .collect();
    let topics = names.iter().map(|name| {
        let position = request
            .topics
            .iter()
            .position(|topic| topic.name == *name)
            .expect("named in the request");
        match (&results[position], &described[position]) {
            (Ok(_), Some((topic, configs))) => created(name, topic, configs),
            (result, _) => refused(name, result.as_ref().err()),
        }
    });
    let response = CreateTopicsResponse {
        topics: topics.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

async fn create(
    context: &RequestContext,
    request: &CreateTopicsRequest<'_>,
) -> Vec<Result<CreatedTopic, ControlError>> {
    // Kafka's deadline is over at once: nothing is created.
    if request.timeout_ms <= 0 {
        return topic_results::timed_out(request.topics.len());
    }
    let control = ControlRequest::CreateTopics {
        topics: request.topics.iter().map(new_topic).collect(),
        validate_only: request.validate_only,
    };
    match context.control(control).await {
        Ok(ControlResponse::CreateTopics(results)) => results,
        other => topic_results::all_failed(other, request.topics.len()),
    }
}

fn new_topic(topic: &CreatableTopic<'_>) -> NewTopic {
    NewTopic {
        name: topic.name.to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids.clone()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_owned(), config.value.map(str::to_owned)))
            .collect(),
    }
}

fn describe(context: &RequestContext, topic: &CreatedTopic) -> Vec<tuning::DescribedConfig> {
    tuning::describe(
        tuning::Resource::Topic,
        &topic.overrides,
        &context.image().broker_config,
        None,
    )
}

fn created<'a>(
    name: &'a str,
    topic: &CreatedTopic,
    configs: &'a [tuning::DescribedConfig],
) -> CreatableTopicResult<'a> {
    let configs = configs.iter().map(|config| CreatableTopicConfigs {
        name: config.name,
        value: config.value.as_deref(),
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
        ..Default::default()
    });
    CreatableTopicResult {
        name,
        topic_id: Uuid(topic.id.0),
        error_message: None,
        num_partitions: topic.partitions,
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn refused<'a>(name: &'a str, error: Option<&'a ControlError>) -> CreatableTopicResult<'a> {
    CreatableTopicResult {
        name,
        error_code: error
            .map_or(ErrorCode::UnknownServerError, |error| error.kind.into())
            .code(),
        error_message: error.and_then(|error| error.message.as_deref()),
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
