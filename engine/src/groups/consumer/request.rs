//! What is asked of a consumer group and what it answers: owned plain data that crosses between cores.

use std::sync::Arc;

use super::error::ConsumerGroupError;
use super::partitions::PartitionSet;
use crate::types::TopicId;

/// ConsumerGroupHeartbeat. What is `None` did not change since the member's last request.
#[derive(Debug, Clone, Default)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: Arc<str>,
    /// The member; empty in version 0 before it has an id.
    pub member: Arc<str>,
    /// The id that a member without one gets.
    pub new_member: Arc<str>,
    /// Whether members make their ids themselves (version 1).
    pub brings_id: bool,
    /// Its epoch: 0 joins, −1 leaves, −2 leaves for a while.
    pub epoch: i32,
    /// Name of a static member.
    pub instance: Option<Arc<str>>,
    /// Where it runs.
    pub rack: Option<Arc<str>>,
    /// How long it may take to give partitions up; −1 is unchanged.
    pub rebalance_timeout_ms: i32,
    /// Topics by name, in any order.
    pub topics: Option<Vec<Arc<str>>>,
    /// Topics by pattern; empty for none.
    pub pattern: Option<Arc<str>>,
    /// The assignor it wants.
    pub assignor: Option<Arc<str>>,
    /// What it owns.
    pub owned: Option<PartitionSet>,
    /// The client's name for itself.
    pub client: Arc<str>,
    /// Its address, with Kafka's slash in front.
    pub host: Arc<str>,
}

impl ConsumerHeartbeat {
    /// Whether the member says everything of itself: it does not know whether its last request arrived.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let subscribes = self.topics.is_some() || self.pattern.is_some();
        self.rebalance_timeout_ms != -1 && subscribes && self.owned.is_some()
    }
}

/// The answer to [`ConsumerHeartbeat`].
#[derive(Debug, Clone, PartialEq)]
pub enum ConsumerHeartbeatReply {
    /// The member goes on, or is gone.
    Accepted(HeartbeatAccepted),
    /// Refused.
    Refused(ConsumerGroupError),
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAccepted {
    /// Its id.
    pub member: Arc<str>,
    /// Its epoch.
    pub epoch: i32,
    /// Pause until the next heartbeat; 0 for one that left.
    pub heartbeat_interval_ms: i32,
    /// What it is to own; `None` if that is known to it.
    pub assignment: Option<PartitionSet>,
}

/// A consumer group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// Its state's name.
    pub state: &'static str,
    /// Its epoch.
    pub epoch: i32,
    /// Epoch of the target assignment.
    pub target_epoch: i32,
    /// The assignor in force.
    pub assignor: Arc<str>,
    /// Its members, by id.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// Its id.
    pub member: Arc<str>,
    /// Name of a static member.
    pub instance: Option<Arc<str>>,
    /// Where it runs.
    pub rack: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// The client's name for itself.
    pub client: Arc<str>,
    /// Its address.
    pub host: Arc<str>,
    /// Topics by name.
    pub topics: Arc<[Arc<str>]>,
    /// Topics by pattern.
    pub pattern: Option<Arc<str>>,
    /// What it owns.
    pub assigned: Vec<(TopicId, Vec<i32>)>,
    /// What it is to own.
    pub target: Vec<(TopicId, Vec<i32>)>,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
}
