//! The embedded controller: one request at a time becomes records and a response.
//!
//! A plain struct on shard 0. The caller makes the records durable, then calls [`Controller::replay`], then hands the
//! new image to every shard, and only then releases the response.

use std::sync::Arc;

use super::configs::{self, AlterResource};
use super::features::{self, FeatureUpdate};
use super::image::{ConfigResource, MetadataImage, ReplayError, ResourceKind};
use super::producer_ids;
use super::record::Record;
use super::scram::{self, ScramAlteration};
use super::topics::{self, CreatedTopic, MorePartitions, NewTopic, TopicDefaults, TopicSelector};
use crate::types::{ProducerId, TopicId};

/// Makes a topic id that was never used before.
pub type NewId<'a> = dyn FnMut() -> TopicId + 'a;

/// What a shard asks of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRequest {
    /// CreateTopics, and auto-creation.
    CreateTopics {
        /// In request order.
        topics: Vec<NewTopic>,
        /// Decide, but change nothing.
        validate_only: bool,
    },
    /// DeleteTopics.
    DeleteTopics(Vec<TopicSelector>),
    /// CreatePartitions.
    CreatePartitions {
        /// In request order.
        topics: Vec<MorePartitions>,
        /// Decide, but change nothing.
        validate_only: bool,
    },
    /// AlterConfigs and IncrementalAlterConfigs.
    AlterConfigs {
        /// In request order.
        resources: Vec<AlterResource>,
        /// Decide, but change nothing.
        validate_only: bool,
    },
    /// UpdateFeatures.
    UpdateFeatures {
        /// All are made, or none.
        updates: Vec<FeatureUpdate>,
        /// Decide, but change nothing.
        validate_only: bool,
    },
    /// AlterUserScramCredentials.
    AlterScram(Vec<ScramAlteration>),
    /// A block of producer ids for a shard.
    AllocateProducerIds,
}

/// The controller's answer: one result per element, in request order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlResponse {
    /// To CreateTopics.
    CreateTopics(Vec<Result<CreatedTopic, ControlError>>),
    /// To DeleteTopics: id and name of what was deleted.
    DeleteTopics(Vec<Result<(TopicId, String), ControlError>>),
    /// To CreatePartitions.
    CreatePartitions(Vec<Result<(), ControlError>>),
    /// To AlterConfigs.
    AlterConfigs(Vec<Result<(), ControlError>>),
    /// To UpdateFeatures.
    UpdateFeatures(Result<(), ControlError>),
    /// To AlterScram: one result per user.
    AlterScram(Vec<(String, Result<(), ControlError>)>),
    /// To AllocateProducerIds: the first id of the block.
    AllocateProducerIds(ProducerId),
    /// The records could not be made durable; nothing changed that a restart would remember.
    Failed(ControlError),
}

/// A refusal, with the text for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {}", message.as_deref().unwrap_or("no details"))]
pub struct ControlError {
    /// Which Kafka error it becomes.
    pub kind: ControlErrorKind,
    /// The text, where Kafka sends one.
    pub message: Option<String>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlErrorKind {
    /// The topic exists.
    TopicAlreadyExists,
    /// The name is illegal or collides.
    InvalidTopic,
    /// The number of partitions is illegal.
    InvalidPartitions,
    /// The replication factor cannot be reached.
    InvalidReplicationFactor,
    /// The manual assignment is illegal.
    InvalidReplicaAssignment,
    /// The request contradicts itself.
    InvalidRequest,
    /// A configuration is unknown, illegal or not supported.
    InvalidConfig,
    /// No such topic.
    UnknownTopicOrPartition,
    /// No topic with that id.
    UnknownTopicId,
    /// A limit of the node.
    PolicyViolation,
    /// The request's deadline was over before it was looked at.
    RequestTimedOut,
    /// A feature cannot have that level.
    InvalidUpdateVersion,
    /// There is nothing of that name.
    ResourceNotFound,
    /// The same thing twice in one request.
    DuplicateResource,
    /// The credential breaks a rule.
    UnacceptableCredential,
    /// The SASL mechanism is unknown.
    UnsupportedSaslMechanism,
    /// `delete.topic.enable` is off.
    TopicDeletionDisabled,
    /// What Kafka answers to an unknown operation.
    UnknownServerError,
    /// The metadata log cannot be written.
    Storage,
}

impl ControlError {
    /// A refusal with a text.
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: Some(message.into()),
        }
    }

    /// A refusal that Kafka sends without a text.
    #[must_use]
    pub fn bare(kind: ControlErrorKind) -> Self {
        Self {
            kind,
            message: None,
        }
    }
}

/// Records to make durable, and what to answer afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Empty if nothing changes.
    pub records: Vec<Record>,
    /// Released after the records are durable and every shard has the new image.
    pub response: ControlResponse,
}

/// The records of a new cluster: features at their highest level, and what formatting sets at cluster level.
#[must_use]
pub fn first_records() -> Vec<Record> {
    let features = features::SUPPORTED
        .iter()
        .map(|feature| Record::FeatureLevel {
            name: feature.name.to_owned(),
            level: feature.max,
        });
    let all_brokers = ConfigResource {
        kind: ResourceKind::Broker,
        name: String::new(),
    };
    let (name, value) = (
        configs::MIN_INSYNC_REPLICAS.to_owned(),
        Some("1".to_owned()),
    );
    features
        .chain([Record::Config {
            resource: all_brokers,
            name,
            value,
        }])
        .collect()
}

/// The records with which a start takes the lead: this node is registered, and every partition gets a new leader epoch
/// before it is served (DESIGN §7).
#[must_use]
pub fn start_records(image: &MetadataImage, host: &str, port: u16) -> Vec<Record> {
    let node_id = image.node_id;
    let registration = Record::RegisterBroker {
        node_id,
        host: host.to_owned(),
        port,
    };
    let leaders = image.partitions().map(|(id, ..)| Record::NewLeader {
        topic_id: id.topic_id,
        index: id.index,
        leader: node_id,
    });
    std::iter::once(registration).chain(leaders).collect()
}

/// The present image, which decisions are made on.
pub struct Controller {
    image: Arc<MetadataImage>,
}

impl Controller {
    /// A controller that goes on from `image`.
    #[must_use]
    pub fn new(image: Arc<MetadataImage>) -> Self {
        Self { image }
    }

    /// The present image.
    #[must_use]
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// Decides one request. Changes nothing: what is decided happens by [`Controller::replay`].
    #[must_use]
    pub fn handle(&self, request: &ControlRequest, new_id: &mut NewId<'_>) -> Decision {
        let (records, response, validate_only) = match request {
            ControlRequest::CreateTopics {
                topics,
                validate_only,
            } => {
                let (results, records) = self.create_topics(topics, new_id);
                (
                    records,
                    ControlResponse::CreateTopics(results),
                    *validate_only,
                )
            }
            ControlRequest::DeleteTopics(topics) => {
                let (results, records) = topics::delete(&self.image, topics);
                (records, ControlResponse::DeleteTopics(results), false)
            }
            ControlRequest::CreatePartitions {
                topics,
                validate_only,
            } => {
                let (results, records) = topics::grow(&self.image, topics);
                (
                    records,
                    ControlResponse::CreatePartitions(results),
                    *validate_only,
                )
            }
            ControlRequest::AlterConfigs {
                resources,
                validate_only,
            } => {
                let (results, records) = configs::alter(&self.image, resources);
                (
                    records,
                    ControlResponse::AlterConfigs(results),
                    *validate_only,
                )
            }
            ControlRequest::UpdateFeatures {
                updates,
                validate_only,
            } => {
                let (records, result) = match features::update(&self.image, updates) {
                    Ok(records) => (records, Ok(())),
                    Err(error) => (Vec::new(), Err(error)),
                };
                (
                    records,
                    ControlResponse::UpdateFeatures(result),
                    *validate_only,
                )
            }
            ControlRequest::AlterScram(alterations) => {
                let (results, records) = scram::alter(&self.image, alterations);
                (records, ControlResponse::AlterScram(results), false)
            }
            ControlRequest::AllocateProducerIds => {
                let image = &self.image;
                let (first, record) = producer_ids::allocate(
                    image.next_producer_id,
                    image.node_id,
                    image.broker_epoch,
                );
                (
                    vec![record],
                    ControlResponse::AllocateProducerIds(first),
                    false,
                )
            }
        };
        Decision {
            records: if validate_only { Vec::new() } else { records },
            response,
        }
    }

    /// Applies durable records; the result is the image for every shard.
    ///
    /// # Errors
    /// The records contradict the image; the present image stays.
    pub fn replay(&mut self, records: &[Record]) -> Result<Arc<MetadataImage>, ReplayError> {
        let mut image = MetadataImage::clone(&self.image);
        records.iter().try_for_each(|record| image.apply(record))?;
        self.image = Arc::new(image);
        Ok(self.image.clone())
    }

    fn create_topics(
        &self,
        topics: &[NewTopic],
        new_id: &mut NewId<'_>,
    ) -> (Vec<Result<CreatedTopic, ControlError>>, Vec<Record>) {
        let config = &self.image.broker_config;
        let defaults = TopicDefaults {
            partitions: config.num_partitions(),
            replication_factor: config.default_replication_factor(),
        };
        topics::create(&self.image, defaults, topics, new_id, &|overrides| {
            tuning::TopicConfig::resolve(config, overrides)
                .map(drop)
                .map_err(ControlError::from)
        })
    }
}

impl From<tuning::ConfigError> for ControlError {
    fn from(error: tuning::ConfigError) -> Self {
        let kind = match error.kind {
            tuning::ConfigErrorKind::InvalidConfig => ControlErrorKind::InvalidConfig,
            tuning::ConfigErrorKind::InvalidRequest => ControlErrorKind::InvalidRequest,
        };
        Self::new(kind, error.message)
    }
}
