//! The cluster as a run needs it: topics made and deleted, leaders, agreed versions, and what the broker says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use net::cluster::{ClientSettings, Cluster, ClusterError, Connection, Topic};
use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use net::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use net::messages::metadata::{MetadataRequest, MetadataResponse};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;
use net::wire::Uuid;

use crate::plan::{Plan, Topics};
use crate::request::{CLIENT_ID, PRODUCE_VERSION_MAX};

const TIMEOUT: Duration = Duration::from_secs(60);
const TOPIC_ALREADY_EXISTS: i16 = 36;
const UNKNOWN_TOPIC: i16 = 3;
const BROKER_RESOURCE: i8 = 4;
/// Topics in one CreateTopics or DeleteTopics request.
const TOPICS_PER_REQUEST: usize = 100;

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The cluster cannot be talked to.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A topic cannot be used.
    #[error("topic {0}: {1}")]
    Topic(String, String),
    /// An address cannot be used.
    #[error("cannot resolve {0}")]
    Address(String),
    /// A connection of a workload cannot be used.
    #[error("{0}")]
    Connection(String),
}

/// Versions agreed with the brokers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    pub(crate) produce: i16,
    pub(crate) fetch: i16,
    pub(crate) list_offsets: i16,
    pub(crate) init_producer_id: i16,
}

/// Topics, leaders, addresses.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    topics: BTreeMap<String, (Uuid, Vec<i32>)>,
    addresses: BTreeMap<i32, SocketAddr>,
    pub(crate) versions: Versions,
    pub(crate) broker: BrokerFacts,
}

/// What the broker says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerFacts {
    pub(crate) cluster_id: String,
    pub(crate) brokers: usize,
    /// Configuration values that shape the numbers.
    pub(crate) configs: BTreeMap<String, String>,
}

/// The partitions of a workload that one broker leads: topic index and partition.
pub(crate) type Targets = Vec<(usize, i32)>;

/// Names and ids, in the order of [`Topics::names`].
pub(crate) type NamedTopics = Arc<Vec<(String, Uuid)>>;

impl Layout {
    /// The workload's topics, and its partitions by the broker that leads them.
    pub(crate) fn targets(
        &self,
        topics: &Topics,
    ) -> Result<(NamedTopics, Vec<(SocketAddr, Targets)>), SetupError> {
        let mut named = Vec::new();
        let mut by_leader: BTreeMap<i32, Targets> = BTreeMap::new();
        for (index, name) in topics.names().into_iter().enumerate() {
            let (id, leaders) = &self.topics[&name];
            for (partition, leader) in leaders[..topics.partitions as usize].iter().enumerate() {
                by_leader
                    .entry(*leader)
                    .or_default()
                    .push((index, partition as i32));
            }
            named.push((name, *id));
        }
        let by_leader = by_leader
            .into_iter()
            .map(|(leader, targets)| {
                let address = self.addresses.get(&leader).copied();
                let address =
                    address.ok_or(SetupError::Cluster(ClusterError::UnknownBroker(leader)))?;
                Ok((address, targets))
            })
            .collect::<Result<_, SetupError>>()?;
        Ok((Arc::new(named), by_leader))
    }
}

/// Makes the plan's topics and finds out where they are.
pub(crate) async fn prepare(runtime: Runtime, plan: Plan) -> Result<Layout, SetupError> {
    let mut cluster = connect(&runtime, &plan.bootstrap).await?;
    let wanted = wanted(&plan);
    if plan.recreate_topics {
        delete(&mut cluster, wanted.keys().map(String::as_str).collect()).await?;
    }
    if plan.create_topics {
        create(&mut cluster, &plan, &wanted).await?;
    }
    let topics = wait_for_leaders(&runtime, &mut cluster, &wanted).await?;
    wait_until_served(&runtime, &mut cluster, &topics).await?;
    let addresses = addresses(&mut cluster).await?;
    let versions = versions(cluster.any().await?)?;
    let broker = facts(&mut cluster, addresses.len()).await;
    let addresses = addresses
        .into_iter()
        .map(|(node, address)| {
            let resolved = address
                .to_socket_addrs()
                .ok()
                .and_then(|mut all| all.next());
            Ok((node, resolved.ok_or(SetupError::Address(address))?))
        })
        .collect::<Result<_, SetupError>>()?;
    Ok(Layout {
        topics,
        addresses,
        versions,
        broker,
    })
}

/// Deletes the plan's topics.
pub(crate) async fn remove(runtime: Runtime, plan: Plan) -> Result<(), SetupError> {
    let mut cluster = connect(&runtime, &plan.bootstrap).await?;
    delete(
        &mut cluster,
        wanted(&plan).keys().map(String::as_str).collect(),
    )
    .await
}

async fn connect(runtime: &Runtime, bootstrap: &str) -> Result<Cluster, ClusterError> {
    let settings = ClientSettings {
        client_id: CLIENT_ID.into(),
        timeout: TIMEOUT,
    };
    Cluster::connect(runtime, bootstrap, settings).await
}

/// Every topic of the plan and how many partitions it needs.
fn wanted(plan: &Plan) -> BTreeMap<String, u32> {
    let mut wanted = BTreeMap::new();
    for phase in &plan.phases {
        let produce = phase.produce.iter().map(|produce| &produce.topics);
        let consume = phase.consume.iter().map(|consume| &consume.topics);
        for topics in produce.chain(consume) {
            for name in topics.names() {
                let partitions = wanted.entry(name).or_insert(0);
                *partitions = topics.partitions.max(*partitions);
            }
        }
    }
    wanted
}

async fn create(
    cluster: &mut Cluster,
    plan: &Plan,
    wanted: &BTreeMap<String, u32>,
) -> Result<(), SetupError> {
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let known: BTreeSet<String> = cluster
        .topics(Some(&names), false)
        .await?
        .into_iter()
        .filter(|topic| topic.error_code != UNKNOWN_TOPIC)
        .map(|topic| topic.name)
        .collect();
    let missing: Vec<(&String, &u32)> = wanted
        .iter()
        .filter(|(name, _)| !known.contains(*name))
        .collect();
    for some in missing.chunks(TOPICS_PER_REQUEST) {
        let configs = || {
            let config = |(name, value): (&'_ String, &'_ String)| (name.clone(), value.clone());
            plan.topic_config.iter().map(config).collect::<Vec<_>>()
        };
        let configs = configs();
        let topics = some
            .iter()
            .map(|(name, partitions)| CreatableTopic {
                name,
                num_partitions: i32::try_from(**partitions).unwrap_or(i32::MAX),
                replication_factor: plan.replication_factor,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name,
                        value: Some(value),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics,
            timeout_ms: TIMEOUT.as_millis() as i32,
            ..Default::default()
        });
        let connection = cluster.controller().await?;
        let version = connection.version(ApiKey::CreateTopics)?;
        let answer = connection.call(&request, version).await?;
        for topic in answer.decode(CreateTopicsResponse::decode)?.topics {
            if topic.error_code != 0 && topic.error_code != TOPIC_ALREADY_EXISTS {
                let error = crate::figures::error_name(topic.error_code);
                let message = topic.error_message.unwrap_or_default();
                return Err(SetupError::Topic(
                    topic.name.into(),
                    format!("{error} {message}"),
                ));
            }
        }
    }
    Ok(())
}

async fn delete(cluster: &mut Cluster, names: Vec<&str>) -> Result<(), SetupError> {
    for some in names.chunks(TOPICS_PER_REQUEST) {
        let connection = cluster.controller().await?;
        let version = connection.version(ApiKey::DeleteTopics)?;
        let request = Request::DeleteTopics(DeleteTopicsRequest {
            topics: some
                .iter()
                .filter(|_| version >= 6)
                .map(|name| DeleteTopicState {
                    name: Some(name),
                    ..Default::default()
                })
                .collect(),
            topic_names: some.iter().filter(|_| version < 6).copied().collect(),
            timeout_ms: TIMEOUT.as_millis() as i32,
            ..Default::default()
        });
        let answer = connection.call(&request, version).await?;
        for topic in answer.decode(DeleteTopicsResponse::decode)?.responses {
            if topic.error_code != 0 && topic.error_code != UNKNOWN_TOPIC {
                let error = crate::figures::error_name(topic.error_code);
                let name = topic.name.unwrap_or_default().into();
                return Err(SetupError::Topic(
                    name,
                    format!("cannot be deleted: {error}"),
                ));
            }
        }
    }
    Ok(())
}

/// Asks until every partition has a leader.
async fn wait_for_leaders(
    runtime: &Runtime,
    cluster: &mut Cluster,
    wanted: &BTreeMap<String, u32>,
) -> Result<BTreeMap<String, (Uuid, Vec<i32>)>, SetupError> {
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let give_up = runtime.monotonic() + TIMEOUT;
    loop {
        let topics = cluster.topics(Some(&names), true).await?;
        let missing = topics
            .iter()
            .find_map(|topic| missing(topic, wanted[&topic.name]));
        let Some((name, problem)) = missing else {
            let leaders = |topic: Topic| {
                let leaders = topic
                    .partitions
                    .iter()
                    .map(|partition| partition.leader)
                    .collect();
                (topic.name, (topic.id, leaders))
            };
            return Ok(topics.into_iter().map(leaders).collect());
        };
        let too_few = |topic: &Topic| {
            !topic.partitions.is_empty() && topic.partitions.len() < wanted[&topic.name] as usize
        };
        if runtime.monotonic() > give_up || topics.iter().any(too_few) {
            return Err(SetupError::Topic(name, problem));
        }
        runtime.sleep(Duration::from_millis(50)).await;
    }
}

/// A leader that metadata names may not know it yet: asks each for offsets until it answers.
async fn wait_until_served(
    runtime: &Runtime,
    cluster: &mut Cluster,
    topics: &BTreeMap<String, (Uuid, Vec<i32>)>,
) -> Result<(), SetupError> {
    let leaders: BTreeSet<i32> = topics
        .values()
        .flat_map(|(_, leaders)| leaders)
        .copied()
        .collect();
    let give_up = runtime.monotonic() + TIMEOUT;
    for leader in leaders {
        let topics: Vec<ListOffsetsTopic<'_>> = topics
            .iter()
            .map(|(name, (_, leaders))| ListOffsetsTopic {
                name,
                partitions: (0..)
                    .zip(leaders)
                    .filter(|(_, led_by)| **led_by == leader)
                    .map(|(partition_index, _)| ListOffsetsPartition {
                        partition_index,
                        timestamp: -1,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics,
            ..Default::default()
        };
        let request = Request::ListOffsets(request);
        loop {
            let connection = cluster.broker(leader).await?;
            let version = connection.version(ApiKey::ListOffsets)?;
            let answer = connection.call(&request, version).await?;
            let response = answer.decode(ListOffsetsResponse::decode)?;
            let refused = response.topics.iter().find_map(|topic| {
                let partition = topic
                    .partitions
                    .iter()
                    .find(|partition| partition.error_code != 0)?;
                let error = crate::figures::error_name(partition.error_code);
                Some((
                    topic.name.to_owned(),
                    format!("partition {}: {error}", partition.partition_index),
                ))
            });
            match refused {
                None => break,
                Some((name, problem)) if runtime.monotonic() > give_up => {
                    return Err(SetupError::Topic(name, problem));
                }
                Some(_) => runtime.sleep(Duration::from_millis(50)).await,
            }
        }
    }
    Ok(())
}

fn missing(topic: &Topic, partitions: u32) -> Option<(String, String)> {
    if topic.error_code != 0 {
        return Some((
            topic.name.clone(),
            crate::figures::error_name(topic.error_code),
        ));
    }
    if topic.partitions.len() < partitions as usize {
        let problem = format!("has {} partitions of {partitions}", topic.partitions.len());
        return Some((topic.name.clone(), problem));
    }
    let leaderless = topic
        .partitions
        .iter()
        .find(|partition| partition.leader < 0)?;
    Some((
        topic.name.clone(),
        format!("partition {} has no leader", leaderless.index),
    ))
}

async fn addresses(cluster: &mut Cluster) -> Result<BTreeMap<i32, String>, ClusterError> {
    let connection = cluster.any().await?;
    let version = connection.version(ApiKey::Metadata)?;
    let request = Request::Metadata(MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    });
    let answer = connection.call(&request, version).await?;
    let metadata = answer.decode(MetadataResponse::decode)?;
    let join = |host: &str, port: i32| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let brokers = metadata.brokers.iter();
    Ok(brokers
        .map(|broker| (broker.node_id, join(broker.host, broker.port)))
        .collect())
}

fn versions(connection: &Connection) -> Result<Versions, ClusterError> {
    Ok(Versions {
        produce: connection.version_up_to(ApiKey::Produce, PRODUCE_VERSION_MAX)?,
        fetch: connection.version(ApiKey::Fetch)?,
        list_offsets: connection.version(ApiKey::ListOffsets)?,
        init_producer_id: connection.version(ApiKey::InitProducerId).unwrap_or(-1),
    })
}

/// What can be learned; nothing of it is needed for the load.
async fn facts(cluster: &mut Cluster, brokers: usize) -> BrokerFacts {
    let mut facts = BrokerFacts {
        brokers,
        ..BrokerFacts::default()
    };
    if let Ok(connection) = cluster.any().await
        && let Ok(version) = connection.version(ApiKey::Metadata)
    {
        let request = Request::Metadata(MetadataRequest {
            topics: Some(Vec::new()),
            ..Default::default()
        });
        if let Ok(answer) = connection.call(&request, version).await
            && let Ok(metadata) = answer.decode(MetadataResponse::decode)
        {
            facts.cluster_id = metadata.cluster_id.unwrap_or_default().to_owned();
            let node = metadata.brokers.first().map_or(0, |broker| broker.node_id);
            facts.configs = configs(connection, node).await.unwrap_or_default();
        }
    }
    facts
}

async fn configs(
    connection: &Connection,
    node: i32,
) -> Result<BTreeMap<String, String>, ClusterError> {
    const TELLING: [&str; 4] = [
        "durability",
        "shards",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
    ];
    let node = node.to_string();
    let version = connection.version(ApiKey::DescribeConfigs)?;
    let request = Request::DescribeConfigs(DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: BROKER_RESOURCE,
            resource_name: &node,
            configuration_keys: Some(TELLING.to_vec()),
            ..Default::default()
        }],
        ..Default::default()
    });
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(DescribeConfigsResponse::decode)?;
    let configs = response.results.iter().flat_map(|result| &result.configs);
    Ok(configs
        .filter_map(|config| Some((config.name.to_owned(), config.value?.to_owned())))
        .collect())
}
