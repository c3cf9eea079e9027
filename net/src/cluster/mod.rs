//! A cluster as a client sees it: which broker leads which partition, and a connection to each broker in use.
//!
//! Made for the command line and for tests. Every wait is bounded by [`ClientSettings::timeout`], and versions are
//! negotiated with ApiVersions, so that it speaks to any broker that shares a version with our codec. Runs on
//! whatever executor its [`Runtime`] belongs to.

mod connection;
mod error;
mod partitioner;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use connection::{Answer, Connection};
pub use error::ClusterError;
pub use partitioner::{murmur2, partition_of_key};

use crate::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use crate::messages::{ApiKey, Request};
use crate::platform::Runtime;
use crate::wire::Uuid;

/// How a client presents itself and how long it waits.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `client.id` in every request.
    pub client_id: String,
    /// For connecting, and for one request with its answer.
    pub timeout: Duration,
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's error code; 0 where the topic can be used.
    pub error_code: i16,
    /// Name.
    pub name: String,
    /// Id; zero where the broker has no topic ids.
    pub id: Uuid,
    /// Whether it is one of Kafka's own (`__consumer_offsets`).
    pub internal: bool,
    /// Ordered by index.
    pub partitions: Vec<Partition>,
}

/// Where a partition lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kafka's error code, for instance without a leader.
    pub error_code: i16,
    /// Index within the topic.
    pub index: i32,
    /// Broker that leads it, −1 if none does.
    pub leader: i32,
    /// Epoch of that leader, −1 where the broker does not say.
    pub leader_epoch: i32,
    /// Brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
}

/// Connections to the brokers of one cluster.
pub struct Cluster {
    runtime: Runtime,
    settings: ClientSettings,
    bootstrap: Vec<String>,
    first: Option<Connection>,
    addresses: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
    controller: i32,
}

impl Cluster {
    /// Connects to the first of the comma-separated `bootstrap` addresses that answers.
    pub async fn connect(
        runtime: &Runtime,
        bootstrap: &str,
        settings: ClientSettings,
    ) -> Result<Cluster, ClusterError> {
        let bootstrap = bootstrap
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(str::to_owned);
        let mut cluster = Cluster {
            runtime: runtime.clone(),
            settings,
            bootstrap: bootstrap.collect(),
            first: None,
            addresses: BTreeMap::new(),
            connections: BTreeMap::new(),
            controller: -1,
        };
        cluster.any().await?;
        Ok(cluster)
    }

    /// The executor it runs on.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A connection to any broker.
    pub async fn any(&mut self) -> Result<&mut Connection, ClusterError> {
        if !self.first.as_ref().is_some_and(Connection::is_usable) {
            self.first = None;
            let mut problem = ClusterError::UnknownBroker(-1);
            for address in &self.bootstrap {
                match Connection::open(&self.runtime, address, &self.settings).await {
                    Ok(connection) => {
                        self.first = Some(connection);
                        break;
                    }
                    Err(error) => problem = error,
                }
            }
            if self.first.is_none() {
                return Err(problem);
            }
        }
        Ok(self.first.as_mut().expect("connected above"))
    }

    /// A connection to broker `node`, which the last answer to [`Self::topics`] named.
    pub async fn broker(&mut self, node: i32) -> Result<&mut Connection, ClusterError> {
        if !self
            .connections
            .get(&node)
            .is_some_and(Connection::is_usable)
        {
            let address = self
                .addresses
                .get(&node)
                .ok_or(ClusterError::UnknownBroker(node))?;
            let connection = Connection::open(&self.runtime, address, &self.settings).await?;
            self.connections.insert(node, connection);
        }
        Ok(self.connections.get_mut(&node).expect("connected above"))
    }

    /// A new connection to broker `node`, for requests that others must not wait behind; `timeout` bounds each.
    pub async fn open(&self, node: i32, timeout: Duration) -> Result<Connection, ClusterError> {
        let address = self
            .addresses
            .get(&node)
            .ok_or(ClusterError::UnknownBroker(node))?;
        let settings = ClientSettings {
            timeout,
            ..self.settings.clone()
        };
        Connection::open(&self.runtime, address, &settings).await
    }

    /// The brokers that the last answer to [`Self::topics`] named, with their addresses.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<i32, String> {
        &self.addresses
    }

    /// A connection to the broker that takes changes of topics and configurations.
    pub async fn controller(&mut self) -> Result<&mut Connection, ClusterError> {
        if self.controller < 0 {
            self.ask(Some(&[]), false).await?;
        }
        match self.controller {
            -1 => self.any().await,
            node => self.broker(node).await,
        }
    }

    /// The topics of these names (all topics: `None`), in the order of names. A topic that does not exist comes with
    /// an error code; `create` lets the broker create it, if its configuration allows that.
    pub async fn topics(
        &mut self,
        names: Option<&[&str]>,
        create: bool,
    ) -> Result<Vec<Topic>, ClusterError> {
        self.ask(names, create).await
    }

    async fn ask(
        &mut self,
        names: Option<&[&str]>,
        create: bool,
    ) -> Result<Vec<Topic>, ClusterError> {
        let connection = self.any().await?;
        let version = connection.version(ApiKey::Metadata)?;
        let request = Request::Metadata(MetadataRequest {
            topics: names.map(|names| names.iter().copied().map(by_name).collect()),
            allow_auto_topic_creation: create,
            ..Default::default()
        });
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(MetadataResponse::decode)?;
        if response.error_code != 0 {
            return Err(ClusterError::Refused {
                api: "Metadata",
                code: response.error_code,
            });
        }
        self.controller = response.controller_id;
        self.addresses = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, join(broker.host, broker.port)))
            .collect();
        // A connection to a broker that moved is of no use.
        self.connections
            .retain(|node, _| self.addresses.contains_key(node));
        let mut topics: Vec<Topic> = response.topics.iter().map(Topic::from_answer).collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(topics)
    }
}

impl Topic {
    fn from_answer(topic: &MetadataResponseTopic<'_>) -> Topic {
        let mut partitions: Vec<Partition> = topic
            .partitions
            .iter()
            .map(|partition| Partition {
                error_code: partition.error_code,
                index: partition.partition_index,
                leader: partition.leader_id,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes.clone(),
                isr: partition.isr_nodes.clone(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Topic {
            error_code: topic.error_code,
            name: topic.name.unwrap_or_default().to_owned(),
            id: topic.topic_id,
            internal: topic.is_internal,
            partitions,
        }
    }
}

fn by_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic {
        name: Some(name),
        ..Default::default()
    }
}

fn join(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
