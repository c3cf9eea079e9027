//! `tidelog cluster` and `tidelog broker`: who is there, and whether all is well.

use clap::{Args, Subcommand};
use net::cluster::{Cluster, Connection, Partition, Topic};
use net::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use net::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use net::messages::metadata::{MetadataRequest, MetadataResponse};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;
use serde_json::{Value, json};

use super::output::{self, NOTHING, OutputArguments, table};
use super::{ConnectArguments, Failure, Outcome, error_name, error_text};

/// Work on the whole cluster.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its brokers and how much it holds.
    #[command(visible_alias = "describe")]
    Info(WhereArguments),
    /// Say whether every partition has a leader and all its replicas. Exit code: 0 healthy, 1 not.
    Health(WhereArguments),
    /// Show the cluster, its brokers, and every topic with its partitions.
    Metadata(WhereArguments),
    /// Print the cluster's id.
    ClusterId(WhereArguments),
}

/// Work on brokers.
#[derive(Debug, Clone, Subcommand)]
pub enum BrokerCommand {
    /// List the brokers.
    List(WhereArguments),
    /// Show a broker's address, its log directories and what is in them.
    Describe(BrokerArguments),
    /// Show which APIs a broker serves, in which versions, and the version that this program would use.
    ApiVersions(BrokerArguments),
}

/// Where the cluster is.
#[derive(Debug, Clone, Args)]
pub struct WhereArguments {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Which broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArguments {
    /// Id of the broker; all of them if not given.
    broker: Option<i32>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// A broker as the cluster names it.
struct Broker {
    id: i32,
    host: String,
    port: i32,
    rack: Option<String>,
}

/// What the cluster says of itself.
struct Known {
    cluster_id: Option<String>,
    controller: i32,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
}

impl ClusterCommand {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        match self {
            ClusterCommand::Info(place) => info(&runtime, &place).await,
            ClusterCommand::Health(place) => health(&runtime, &place).await,
            ClusterCommand::Metadata(place) => metadata(&runtime, &place).await,
            ClusterCommand::ClusterId(place) => {
                let known = Known::ask(&mut place.connect.connect(&runtime).await?).await?;
                let id = known.cluster_id.unwrap_or_else(|| NOTHING.to_owned());
                match place.output.is_json() {
                    true => output::json(&json!({"cluster_id": id})),
                    false => output::write(format!("{id}\n").as_bytes()),
                }
            }
        }
    }
}

impl BrokerCommand {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        match self {
            BrokerCommand::List(place) => {
                let known = Known::ask(&mut place.connect.connect(&runtime).await?).await?;
                place.output.rows(&BROKER_HEAD, &known.broker_rows())
            }
            BrokerCommand::Describe(arguments) => arguments.describe(&runtime).await,
            BrokerCommand::ApiVersions(arguments) => arguments.api_versions(&runtime).await,
        }
    }
}

const BROKER_HEAD: [&str; 5] = ["ID", "HOST", "PORT", "RACK", "CONTROLLER"];

impl Known {
    async fn ask(cluster: &mut Cluster) -> Outcome<Known> {
        let topics = cluster.topics(None, false).await?;
        let connection = cluster.any().await?;
        // DescribeCluster is the younger of the two; older brokers say the same in Metadata.
        let (cluster_id, controller, mut brokers) =
            match connection.version(ApiKey::DescribeCluster) {
                Ok(version) => by_describe_cluster(connection, version).await?,
                Err(_) => by_metadata(connection).await?,
            };
        brokers.sort_by_key(|broker| broker.id);
        Ok(Known {
            cluster_id,
            controller,
            brokers,
            topics,
        })
    }

    fn broker_rows(&self) -> Vec<Vec<String>> {
        let row = |broker: &Broker| {
            vec![
                broker.id.to_string(),
                broker.host.clone(),
                broker.port.to_string(),
                broker.rack.clone().unwrap_or_else(|| NOTHING.to_owned()),
                (if broker.id == self.controller {
                    "yes"
                } else {
                    "no"
                })
                .to_owned(),
            ]
        };
        self.brokers.iter().map(row).collect()
    }

    fn brokers_json(&self) -> Vec<Value> {
        let broker = |broker: &Broker| {
            json!({
                "id": broker.id,
                "host": broker.host,
                "port": broker.port,
                "rack": broker.rack,
                "controller": broker.id == self.controller,
            })
        };
        self.brokers.iter().map(broker).collect()
    }

    fn partitions(&self) -> impl Iterator<Item = (&Topic, &Partition)> {
        let topics = self.topics.iter();
        topics.flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(move |partition| (topic, partition))
        })
    }

    /// `topic-index` of the partitions that fulfil a condition.
    fn named(&self, condition: impl Fn(&Partition) -> bool) -> Vec<String> {
        let found = self
            .partitions()
            .filter(|(_, partition)| condition(partition));
        found
            .map(|(topic, partition)| format!("{}-{}", topic.name, partition.index))
            .collect()
    }
}

type Answered = (Option<String>, i32, Vec<Broker>);

async fn by_describe_cluster(connection: &Connection, version: i16) -> Outcome<Answered> {
    let request = Request::DescribeCluster(DescribeClusterRequest {
        endpoint_type: 1,
        ..Default::default()
    });
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(DescribeClusterResponse::decode)?;
    if response.error_code != 0 {
        let text = error_text(response.error_code, response.error_message);
        return Err(Failure::Said(format!("DescribeCluster: {text}")));
    }
    let brokers = response.brokers.iter().map(|broker| Broker {
        id: broker.broker_id,
        host: broker.host.to_owned(),
        port: broker.port,
        rack: broker.rack.map(str::to_owned),
    });
    Ok((
        Some(response.cluster_id.to_owned()),
        response.controller_id,
        brokers.collect(),
    ))
}

async fn by_metadata(connection: &Connection) -> Outcome<Answered> {
    let request = Request::Metadata(MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    });
    let version = connection.version(ApiKey::Metadata)?;
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(MetadataResponse::decode)?;
    let brokers = response.brokers.iter().map(|broker| Broker {
        id: broker.node_id,
        host: broker.host.to_owned(),
        port: broker.port,
        rack: broker.rack.map(str::to_owned),
    });
    Ok((
        response.cluster_id.map(str::to_owned),
        response.controller_id,
        brokers.collect(),
    ))
}

async fn info(runtime: &Runtime, place: &WhereArguments) -> Outcome<()> {
    let known = Known::ask(&mut place.connect.connect(runtime).await?).await?;
    let partitions = known.partitions().count();
    let replicas: usize = known
        .partitions()
        .map(|(_, partition)| partition.replicas.len())
        .sum();
    if place.output.is_json() {
        return output::json(&json!({
            "cluster_id": known.cluster_id,
            "controller": known.controller,
            "brokers": known.brokers_json(),
            "topics": known.topics.len(),
            "partitions": partitions,
            "replicas": replicas,
        }));
    }
    let id = known.cluster_id.as_deref().unwrap_or(NOTHING);
    let mut text = format!(
        "cluster     {id}\ntopics      {}\npartitions  {partitions}\nreplicas    {replicas}\n\n",
        known.topics.len()
    );
    text.push_str(&table(&BROKER_HEAD, &known.broker_rows()));
    output::write(text.as_bytes())
}

async fn health(runtime: &Runtime, place: &WhereArguments) -> Outcome<()> {
    let known = Known::ask(&mut place.connect.connect(runtime).await?).await?;
    let leaderless = known.named(|partition| partition.leader < 0);
    let under_replicated = known.named(|partition| partition.isr.len() < partition.replicas.len());
    let brokers: Vec<i32> = known.brokers.iter().map(|broker| broker.id).collect();
    let controller = brokers.contains(&known.controller);
    let healthy = leaderless.is_empty() && under_replicated.is_empty() && controller;
    if place.output.is_json() {
        output::json(&json!({
            "healthy": healthy,
            "controller": known.controller,
            "brokers": brokers,
            "leaderless_partitions": leaderless,
            "under_replicated_partitions": under_replicated,
        }))?;
    } else {
        let list = |names: &[String]| {
            if names.is_empty() {
                NOTHING.to_owned()
            } else {
                names.join(", ")
            }
        };
        let ids: Vec<String> = brokers.iter().map(i32::to_string).collect();
        let text = format!(
            "healthy                      {}\ncontroller                   {}\nbrokers                      {}\nleaderless partitions        {}\nunder-replicated partitions  {}\n",
            if healthy { "yes" } else { "no" },
            known.controller,
            list(&ids),
            list(&leaderless),
            list(&under_replicated)
        );
        output::write(text.as_bytes())?;
    }
    if healthy { Ok(()) } else { Err(Failure::Shown) }
}

async fn metadata(runtime: &Runtime, place: &WhereArguments) -> Outcome<()> {
    let known = Known::ask(&mut place.connect.connect(runtime).await?).await?;
    if place.output.is_json() {
        let partition = |partition: &Partition| {
            json!({
                "partition": partition.index,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "error": (partition.error_code != 0).then(|| error_name(partition.error_code)),
            })
        };
        let topic = |topic: &Topic| {
            json!({
                "topic": topic.name,
                "id": topic.id.to_string(),
                "internal": topic.internal,
                "error": (topic.error_code != 0).then(|| error_name(topic.error_code)),
                "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
            })
        };
        return output::json(&json!({
            "cluster_id": known.cluster_id,
            "controller": known.controller,
            "brokers": known.brokers_json(),
            "topics": known.topics.iter().map(topic).collect::<Vec<_>>(),
        }));
    }
    let list = |nodes: &[i32]| {
        let nodes: Vec<String> = nodes.iter().map(i32::to_string).collect();
        nodes.join(",")
    };
    let row = |(topic, partition): (&Topic, &Partition)| {
        vec![
            topic.name.clone(),
            partition.index.to_string(),
            partition.leader.to_string(),
            partition.leader_epoch.to_string(),
            list(&partition.replicas),
            list(&partition.isr),
        ]
    };
    let rows: Vec<Vec<String>> = known.partitions().map(row).collect();
    let id = known.cluster_id.as_deref().unwrap_or(NOTHING);
    let mut text = format!("cluster  {id}\n\n");
    text.push_str(&table(&BROKER_HEAD, &known.broker_rows()));
    text.push('\n');
    text.push_str(&table(
        &["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR"],
        &rows,
    ));
    output::write(text.as_bytes())
}

impl BrokerArguments {
    /// The brokers that are meant.
    async fn chosen(&self, cluster: &mut Cluster) -> Outcome<Vec<Broker>> {
        let mut brokers = Known::ask(cluster).await?.brokers;
        brokers.retain(|broker| self.broker.is_none_or(|id| id == broker.id));
        match (brokers.is_empty(), self.broker) {
            (true, Some(id)) => Err(Failure::Said(format!("there is no broker {id}"))),
            _ => Ok(brokers),
        }
    }

    async fn api_versions(&self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut rows = Vec::new();
        for broker in self.chosen(&mut cluster).await? {
            let connection = cluster.broker(broker.id).await?;
            for (key, lowest, highest) in connection.served() {
                let api = ApiKey::from_code(key);
                let usable = api.and_then(|api| connection.version(api).ok());
                rows.push(vec![
                    broker.id.to_string(),
                    key.to_string(),
                    api.map_or("(unknown)".to_owned(), |api| api.name().to_owned()),
                    lowest.to_string(),
                    highest.to_string(),
                    usable.map_or(NOTHING.to_owned(), |version| version.to_string()),
                ]);
            }
        }
        self.output
            .rows(&["BROKER", "KEY", "API", "MIN", "MAX", "USED"], &rows)
    }

    async fn describe(&self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let known = Known::ask(&mut cluster).await?;
        let mut told = Vec::new();
        for (index, broker) in self.chosen(&mut cluster).await?.iter().enumerate() {
            let connection = cluster.broker(broker.id).await?;
            let apis = connection.served().count();
            let directories = log_directories(connection).await?;
            if self.output.is_json() {
                told.push(json!({
                    "id": broker.id,
                    "host": broker.host,
                    "port": broker.port,
                    "rack": broker.rack,
                    "controller": broker.id == known.controller,
                    "apis": apis,
                    "log_dirs": directories.as_ref().map(|directories| {
                        output::objects(&DIRECTORY_HEAD, directories)
                    }),
                }));
                continue;
            }
            let separator = if index > 0 { "\n" } else { "" };
            let controller = if broker.id == known.controller {
                "yes"
            } else {
                "no"
            };
            let mut text = format!(
                "{separator}broker      {}\naddress     {}:{}\nrack        {}\ncontroller  {controller}\napis        {apis}\n",
                broker.id,
                broker.host,
                broker.port,
                broker.rack.as_deref().unwrap_or(NOTHING)
            );
            if let Some(directories) = directories {
                text.push('\n');
                text.push_str(&table(&DIRECTORY_HEAD, &directories));
            }
            output::write(text.as_bytes())?;
        }
        match self.output.is_json() {
            true => output::json(&Value::Array(told)),
            false => Ok(()),
        }
    }
}

const DIRECTORY_HEAD: [&str; 7] = [
    "DIRECTORY",
    "STATUS",
    "TOPICS",
    "PARTITIONS",
    "BYTES",
    "TOTAL",
    "FREE",
];

/// The log directories of a broker that tells.
async fn log_directories(connection: &Connection) -> Outcome<Option<Vec<Vec<String>>>> {
    let Ok(version) = connection.version(ApiKey::DescribeLogDirs) else {
        return Ok(None);
    };
    let request = Request::DescribeLogDirs(DescribeLogDirsRequest {
        topics: None,
        ..Default::default()
    });
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(DescribeLogDirsResponse::decode)?;
    if response.error_code != 0 {
        return Err(Failure::Said(format!(
            "DescribeLogDirs: {}",
            error_name(response.error_code)
        )));
    }
    let number = |value: i64| {
        if value < 0 {
            NOTHING.to_owned()
        } else {
            value.to_string()
        }
    };
    let rows = response.results.iter().map(|result| {
        let partitions = result.topics.iter().flat_map(|topic| &topic.partitions);
        let bytes: i64 = partitions
            .clone()
            .map(|partition| partition.partition_size)
            .sum();
        vec![
            result.log_dir.to_owned(),
            if result.error_code == 0 {
                "OK".to_owned()
            } else {
                error_name(result.error_code)
            },
            result.topics.len().to_string(),
            partitions.count().to_string(),
            bytes.to_string(),
            number(result.total_bytes),
            number(result.usable_bytes),
        ]
    });
    Ok(Some(rows.collect()))
}
