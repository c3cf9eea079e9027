//! `tidelog topic`: create, list, describe, delete.

use clap::{Args, Subcommand};
use net::cluster::{Cluster, Topic};
use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;
use net::wire::Uuid;

use super::offsets::{self, EARLIEST, LATEST};
use super::output::{self, table};
use super::{ConnectArguments, Failure, Outcome, PATIENCE, error_text, topic_with_leaders};
use crate::api::error_code::ErrorCode;

/// Kafka's resource type of topics.
const TOPIC_RESOURCE: i8 = 2;
/// Kafka's config source of what was set for one topic.
const SET_FOR_TOPIC: i8 = 1;

/// Work on topics.
#[derive(Debug, Clone, Subcommand)]
pub enum TopicCommand {
    /// Create topics.
    Create(CreateArguments),
    /// List the topics.
    List(ConnectArguments),
    /// Show partitions, offsets and settings of topics.
    Describe(NamesArguments),
    /// Delete topics and everything in them.
    Delete(NamesArguments),
}

/// Topics to create.
#[derive(Debug, Clone, Args)]
pub struct CreateArguments {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Number of partitions; the broker's num.partitions if not given.
    #[arg(short, long, value_name = "N")]
    partitions: Option<i32>,
    /// A setting of the topics; may be given several times.
    #[arg(short, long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Be content with topics that exist already.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Topics that exist.
#[derive(Debug, Clone, Args)]
pub struct NamesArguments {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    #[command(flatten)]
    connect: ConnectArguments,
}

impl TopicCommand {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        match self {
            TopicCommand::Create(arguments) => create(&runtime, &arguments).await,
            TopicCommand::List(connect) => list(&runtime, &connect).await,
            TopicCommand::Describe(arguments) => describe(&runtime, &arguments).await,
            TopicCommand::Delete(arguments) => delete(&runtime, &arguments).await,
        }
    }
}

fn timeout_ms() -> i32 {
    i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX)
}

async fn create(runtime: &Runtime, arguments: &CreateArguments) -> Outcome<()> {
    let mut configs = Vec::new();
    for config in &arguments.configs {
        let (name, value) = config
            .split_once('=')
            .ok_or_else(|| Failure::Said(format!("--config {config}: give it as KEY=VALUE")))?;
        configs.push(CreatableTopicConfig {
            name: name.trim(),
            value: Some(value),
            ..Default::default()
        });
    }
    let mut cluster = arguments.connect.connect(runtime).await?;
    let connection = cluster.controller().await?;
    let version = connection.version(ApiKey::CreateTopics)?;
    // KIP-464: before version 4 a broker has no defaults of its own.
    let by_broker: i16 = if version >= 4 { -1 } else { 1 };
    let wanted = |name| CreatableTopic {
        name,
        num_partitions: arguments.partitions.unwrap_or(by_broker.into()),
        replication_factor: by_broker,
        configs: configs.clone(),
        ..Default::default()
    };
    let request = Request::CreateTopics(CreateTopicsRequest {
        topics: arguments.names.iter().map(|name| wanted(name)).collect(),
        timeout_ms: timeout_ms(),
        ..Default::default()
    });
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(CreateTopicsResponse::decode)?;
    let exists = ErrorCode::TopicAlreadyExists.code();
    let statuses = response.topics.iter().map(|topic| match topic.error_code {
        0 => (topic.name, Ok("OK")),
        code if code == exists && arguments.if_not_exists => (topic.name, Ok("EXISTS")),
        code => (topic.name, Err(error_text(code, topic.error_message))),
    });
    show_statuses(statuses)
}

async fn delete(runtime: &Runtime, arguments: &NamesArguments) -> Outcome<()> {
    let mut cluster = arguments.connect.connect(runtime).await?;
    let connection = cluster.controller().await?;
    let version = connection.version(ApiKey::DeleteTopics)?;
    let mut request = DeleteTopicsRequest {
        timeout_ms: timeout_ms(),
        ..Default::default()
    };
    if version >= 6 {
        request.topics = arguments.names.iter().map(|name| by_name(name)).collect();
    } else {
        request.topic_names = arguments.names.iter().map(String::as_str).collect();
    }
    let answer = connection
        .call(&Request::DeleteTopics(request), version)
        .await?;
    let response = answer.decode(DeleteTopicsResponse::decode)?;
    let statuses = response
        .responses
        .iter()
        .map(|topic| match topic.error_code {
            0 => (topic.name.unwrap_or_default(), Ok("OK")),
            code => (
                topic.name.unwrap_or_default(),
                Err(error_text(code, topic.error_message)),
            ),
        });
    show_statuses(statuses)
}

fn by_name(name: &str) -> DeleteTopicState<'_> {
    DeleteTopicState {
        name: Some(name),
        ..Default::default()
    }
}

/// Prints a line for each topic; fails if one of them did.
fn show_statuses<'a>(
    statuses: impl Iterator<Item = (&'a str, Result<&'static str, String>)>,
) -> Outcome<()> {
    let mut failed = false;
    let row = |(name, status): (&str, Result<&str, String>)| {
        failed |= status.is_err();
        vec![
            name.to_owned(),
            status.map_or_else(|refusal| refusal, str::to_owned),
        ]
    };
    let rows: Vec<Vec<String>> = statuses.map(row).collect();
    output::write(table(&["TOPIC", "STATUS"], &rows).as_bytes())?;
    if failed { Err(Failure::Shown) } else { Ok(()) }
}

async fn list(runtime: &Runtime, connect: &ConnectArguments) -> Outcome<()> {
    let mut cluster = connect.connect(runtime).await?;
    let topics = cluster.topics(None, false).await?;
    let replicas = |topic: &Topic| {
        topic
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len())
    };
    let row = |topic: &Topic| {
        vec![
            topic.name.clone(),
            topic.partitions.len().to_string(),
            replicas(topic).to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = topics.iter().map(row).collect();
    output::write(table(&["TOPIC", "PARTITIONS", "REPLICAS"], &rows).as_bytes())
}

async fn describe(runtime: &Runtime, arguments: &NamesArguments) -> Outcome<()> {
    let mut cluster = arguments.connect.connect(runtime).await?;
    for (index, name) in arguments.names.iter().enumerate() {
        let topic = topic_with_leaders(&mut cluster, name, false).await?;
        let indexes: Vec<i32> = topic
            .partitions
            .iter()
            .map(|partition| partition.index)
            .collect();
        let starts = offsets::list(&mut cluster, &topic, &indexes, EARLIEST).await?;
        let ends = offsets::list(&mut cluster, &topic, &indexes, LATEST).await?;
        let list = |nodes: &[i32]| {
            nodes
                .iter()
                .map(i32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let rows: Vec<Vec<String>> = topic
            .partitions
            .iter()
            .map(|partition| {
                let epoch = partition.leader_epoch.to_string();
                let (start, end) = (starts[&partition.index], ends[&partition.index]);
                vec![
                    partition.index.to_string(),
                    partition.leader.to_string(),
                    epoch,
                    list(&partition.replicas),
                    list(&partition.isr),
                    start.to_string(),
                    end.to_string(),
                ]
            })
            .collect();
        let separator = if index > 0 { "\n" } else { "" };
        let mut text = format!(
            "{separator}topic       {name}\npartitions  {}\n",
            rows.len()
        );
        if topic.id != Uuid::ZERO {
            text.push_str(&format!("id          {}\n", topic.id));
        }
        for (key, value) in overrides(&mut cluster, name).await? {
            text.push_str(&format!("config      {key}={value}\n"));
        }
        text.push('\n');
        text.push_str(&table(
            &[
                "PARTITION",
                "LEADER",
                "EPOCH",
                "REPLICAS",
                "ISR",
                "START",
                "END",
            ],
            &rows,
        ));
        output::write(text.as_bytes())?;
    }
    Ok(())
}

/// The settings that were made for this topic.
async fn overrides(cluster: &mut Cluster, name: &str) -> Outcome<Vec<(String, String)>> {
    let connection = cluster.any().await?;
    let resource = DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: name,
        configuration_keys: None,
        ..Default::default()
    };
    let request = Request::DescribeConfigs(DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    });
    let version = connection.version(ApiKey::DescribeConfigs)?;
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(DescribeConfigsResponse::decode)?;
    let mut set = Vec::new();
    for result in &response.results {
        if result.error_code != 0 {
            let text = error_text(result.error_code, result.error_message);
            return Err(Failure::Said(format!("settings of {name}: {text}")));
        }
        let own = result
            .configs
            .iter()
            .filter(|config| config.config_source == SET_FOR_TOPIC);
        set.extend(own.map(|config| {
            (
                config.name.to_owned(),
                config.value.unwrap_or_default().to_owned(),
            )
        }));
    }
    Ok(set)
}
