//! `tidelog topic create|alter|delete|trim-prefix`.

use std::collections::BTreeMap;

use clap::Args;
use net::cluster::{Cluster, Connection};
use net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use net::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use net::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;

use super::super::output::OutputArguments;
use super::super::resources::{self, Change, Resource};
use super::super::{PATIENCE, error_text, topic_with_leaders};
use super::{
    ChoiceArguments, ConnectArguments, Failure, NamesArguments, Outcome, Status, show_statuses,
};
use crate::api::error_code::ErrorCode;

/// Topics to create.
#[derive(Debug, Clone, Args)]
pub struct CreateArguments {
    #[command(flatten)]
    names: NamesArguments,
    /// Number of partitions; the broker's num.partitions if not given.
    #[arg(short, long, value_name = "N")]
    partitions: Option<i32>,
    /// Number of replicas; the broker's default.replication.factor if not given.
    #[arg(short, long, value_name = "N")]
    replication_factor: Option<i16>,
    /// Brokers of each partition: 1:2,2:1 are two partitions with two replicas each.
    #[arg(long, value_name = "LIST", conflicts_with_all = ["partitions", "replication_factor"])]
    replica_assignment: Option<String>,
    /// A setting of the topics; may be given several times.
    #[arg(
        short,
        long = "config",
        visible_alias = "topic-config",
        value_name = "KEY=VALUE"
    )]
    configs: Vec<String>,
    /// Be content with topics that exist already.
    #[arg(long)]
    if_not_exists: bool,
    /// Only say whether it could be done.
    #[arg(short, long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Topics to change.
#[derive(Debug, Clone, Args)]
pub struct AlterArguments {
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Number of partitions that the topics shall have; never fewer than now.
    #[arg(short, long, value_name = "N")]
    partitions: Option<i32>,
    /// A setting to make; may be given several times.
    #[arg(
        short,
        long = "config",
        visible_alias = "set",
        value_name = "KEY=VALUE"
    )]
    configs: Vec<String>,
    /// A setting to take back; may be given several times.
    #[arg(long = "delete-config", visible_alias = "delete", value_name = "KEY")]
    delete_configs: Vec<String>,
    /// Be content with topics that do not exist.
    #[arg(long)]
    if_exists: bool,
    /// Only say whether it could be done.
    #[arg(short, long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Topics to delete.
#[derive(Debug, Clone, Args)]
pub struct DeleteArguments {
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Be content with topics that do not exist.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Records to forget.
#[derive(Debug, Clone, Args)]
pub struct TrimArguments {
    /// Topic whose records are forgotten.
    topic: String,
    /// The first offset that stays; end for none of today's.
    #[arg(short, long, value_name = "OFFSET", value_parser = trim_offset)]
    offset: i64,
    /// Only this partition; may be given several times.
    #[arg(short, long = "partition", value_name = "N")]
    partitions: Vec<i32>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// An offset; −1 is Kafka's word for the high watermark.
fn trim_offset(text: &str) -> Result<i64, String> {
    match text {
        "end" => Ok(-1),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(offset),
            _ => Err("neither end nor an offset".to_owned()),
        },
    }
}

pub(super) fn timeout_ms() -> i32 {
    i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX)
}

fn pairs(configs: &[String]) -> Outcome<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    for config in configs {
        let at = config
            .find('=')
            .ok_or_else(|| Failure::Said(format!("--config {config}: give it as KEY=VALUE")))?;
        pairs.push((config[..at].trim(), &config[at + 1..]));
    }
    Ok(pairs)
}

/// `1:2,2:1` as the brokers of each partition.
fn parse_assignment(text: &str) -> Outcome<Vec<CreatableReplicaAssignment<'_>>> {
    let mut assignments = Vec::new();
    for (index, brokers) in text.split(',').enumerate() {
        let brokers: Result<Vec<i32>, _> = brokers.split(':').map(|id| id.trim().parse()).collect();
        let broker_ids = brokers
            .map_err(|_| Failure::usage("--replica-assignment: give broker ids as 1:2,2:1"))?;
        assignments.push(CreatableReplicaAssignment {
            partition_index: i32::try_from(index).expect("an argument is short"),
            broker_ids,
            ..Default::default()
        });
    }
    Ok(assignments)
}

impl CreateArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let names = self.names.some()?;
        let config = |(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
            ..Default::default()
        };
        let configs: Vec<_> = pairs(&self.configs)?.into_iter().map(config).collect();
        let assignments = match &self.replica_assignment {
            Some(text) => parse_assignment(text)?,
            None => Vec::new(),
        };
        let mut cluster = self.connect.connect(runtime).await?;
        let connection = cluster.controller().await?;
        let version = connection.version(ApiKey::CreateTopics)?;
        // KIP-464: before version 4 a broker has no defaults of its own; an assignment says both numbers.
        let by_broker: i16 = match version >= 4 || !assignments.is_empty() {
            true => -1,
            false => 1,
        };
        let wanted = |name| CreatableTopic {
            name,
            num_partitions: self.partitions.unwrap_or(by_broker.into()),
            replication_factor: self.replication_factor.unwrap_or(by_broker),
            assignments: assignments.clone(),
            configs: configs.clone(),
            ..Default::default()
        };
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics: names.iter().map(|name| wanted(name)).collect(),
            timeout_ms: timeout_ms(),
            validate_only: self.dry_run,
            ..Default::default()
        });
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(CreateTopicsResponse::decode)?;
        let exists = ErrorCode::TopicAlreadyExists.code();
        let status = response.topics.iter().map(|topic| match topic.error_code {
            code if code == exists && self.if_not_exists => Status {
                name: topic.name.to_owned(),
                outcome: Ok("EXISTS"),
            },
            code => Status::new(topic.name, code, topic.error_message),
        });
        show_statuses(self.output, status.collect())
    }
}

impl AlterArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        if self.choice.is_empty() {
            return Err(Failure::usage("name a topic"));
        }
        let set = pairs(&self.configs)?.into_iter();
        let set = set.map(|(name, value)| Change::Set(name.to_owned(), value.to_owned()));
        let delete = self.delete_configs.iter().cloned().map(Change::Delete);
        let changes: Vec<Change> = set.chain(delete).collect();
        if self.partitions.is_none() && changes.is_empty() {
            return Err(Failure::usage(
                "say what to alter: --partitions, --config or --delete-config",
            ));
        }
        let mut cluster = self.connect.connect(runtime).await?;
        let (names, mut statuses) = existing(&self.choice, &mut cluster, self.if_exists).await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return show_statuses(self.output, statuses);
        }
        let connection = cluster.controller().await?;
        let mut altered = Vec::new();
        if let Some(count) = self.partitions {
            altered.extend(add_partitions(connection, &names, count, self.dry_run).await?);
        }
        if !changes.is_empty() {
            let results =
                resources::alter(connection, Resource::Topic, &names, &changes, self.dry_run)
                    .await?;
            altered.extend(results);
        }
        // One line a topic: the first refusal, if there is one.
        let mut by_name: BTreeMap<String, Status> = BTreeMap::new();
        for (name, code, message) in altered {
            let status = Status::new(name.clone(), code, message.as_deref());
            let known = by_name
                .entry(name)
                .or_insert_with(|| Status::new("", 0, None));
            if known.name.is_empty() || known.outcome.is_ok() {
                *known = status;
            }
        }
        statuses.extend(by_name.into_values());
        show_statuses(self.output, statuses)
    }
}

async fn add_partitions(
    connection: &Connection,
    names: &[&str],
    count: i32,
    validate_only: bool,
) -> Outcome<Vec<(String, i16, Option<String>)>> {
    let topics = names.iter().map(|name| CreatePartitionsTopic {
        name,
        count,
        assignments: None,
        ..Default::default()
    });
    let request = Request::CreatePartitions(CreatePartitionsRequest {
        topics: topics.collect(),
        timeout_ms: timeout_ms(),
        validate_only,
        ..Default::default()
    });
    let version = connection.version(ApiKey::CreatePartitions)?;
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(CreatePartitionsResponse::decode)?;
    let result = response.results.iter().map(|result| {
        let message = result.error_message.map(str::to_owned);
        (result.name.to_owned(), result.error_code, message)
    });
    Ok(result.collect())
}

/// The topics that are meant and exist; for the others what is told of them.
async fn existing(
    choice: &ChoiceArguments,
    cluster: &mut Cluster,
    if_exists: bool,
) -> Outcome<(Vec<String>, Vec<Status>)> {
    let (mut names, mut statuses) = (Vec::new(), Vec::new());
    for topic in choice.topics(cluster).await? {
        match topic.error_code {
            0 => names.push(topic.name),
            _ if if_exists => statuses.push(Status {
                name: topic.name,
                outcome: Ok("ABSENT"),
            }),
            code => statuses.push(Status::new(topic.name, code, None)),
        }
    }
    Ok((names, statuses))
}

impl DeleteArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        if self.choice.is_empty() {
            return Err(Failure::usage("name a topic"));
        }
        let mut cluster = self.connect.connect(runtime).await?;
        let (names, mut absent) = existing(&self.choice, &mut cluster, self.if_exists).await?;
        if names.is_empty() {
            return show_statuses(self.output, absent);
        }
        let connection = cluster.controller().await?;
        let version = connection.version(ApiKey::DeleteTopics)?;
        let mut request = DeleteTopicsRequest {
            timeout_ms: timeout_ms(),
            ..Default::default()
        };
        if version >= 6 {
            request.topics = names.iter().map(|name| by_name(name)).collect();
        } else {
            request.topic_names = names.iter().map(String::as_str).collect();
        }
        let answer = connection
            .call(&Request::DeleteTopics(request), version)
            .await?;
        let response = answer.decode(DeleteTopicsResponse::decode)?;
        let deleted = response.responses.iter().map(|topic| {
            Status::new(
                topic.name.unwrap_or_default(),
                topic.error_code,
                topic.error_message,
            )
        });
        let mut statuses: Vec<Status> = deleted.collect();
        statuses.append(&mut absent);
        show_statuses(self.output, statuses)
    }
}

fn by_name(name: &str) -> DeleteTopicState<'_> {
    DeleteTopicState {
        name: Some(name),
        ..Default::default()
    }
}

impl TrimArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let topic = topic_with_leaders(&mut cluster, &self.topic, false).await?;
        let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for partition in &topic.partitions {
            if self.partitions.is_empty() || self.partitions.contains(&partition.index) {
                let wanted = DeleteRecordsPartition {
                    partition_index: partition.index,
                    offset: self.offset,
                    ..Default::default()
                };
                by_leader.entry(partition.leader).or_default().push(wanted);
            }
        }
        let (mut rows, mut failed) = (Vec::new(), false);
        for (leader, partitions) in by_leader {
            let connection = cluster.broker(leader).await?;
            let request = Request::DeleteRecords(DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: &self.topic,
                    partitions,
                    ..Default::default()
                }],
                timeout_ms: timeout_ms(),
                ..Default::default()
            });
            let version = connection.version(ApiKey::DeleteRecords)?;
            let answer = connection.call(&request, version).await?;
            let response = answer.decode(DeleteRecordsResponse::decode)?;
            for result in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let code = result.error_code;
                failed |= code != 0;
                let status = if code == 0 {
                    "OK".to_owned()
                } else {
                    error_text(code, None)
                };
                let index = result.partition_index.to_string();
                rows.push(vec![
                    self.topic.clone(),
                    index,
                    result.low_watermark.to_string(),
                    status,
                ]);
            }
        }
        self.output
            .rows(&["TOPIC", "PARTITION", "START", "STATUS"], &rows)?;
        if failed { Err(Failure::Shown) } else { Ok(()) }
    }
}
