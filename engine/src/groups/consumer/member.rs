//! A member of a consumer group: what it said of itself and what it owns.
//!
//! Exactly the contents of the two records per member (`ConsumerGroupMemberMetadata`, `…CurrentMemberAssignment`).

use std::sync::Arc;

use bytes::Bytes;

use super::partitions::OwnedPartitions;

/// Member epoch with which a member joins.
pub const JOIN_EPOCH: i32 = 0;
/// Member epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// Member epoch with which a static member leaves for a while; its partitions stay with it.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// What a member that speaks the classic protocol brought along (KIP-848, online migration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMetadata {
    /// Its own session timeout.
    pub session_timeout_ms: i32,
    /// Its embedded protocols with their metadata, the most wanted first; never empty.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberMetadata {
    /// Name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Where it runs.
    pub rack_id: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address as Kafka prints it, `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Topics it asks for by name, ascending, each once.
    pub topics: Arc<[Arc<str>]>,
    /// Pattern of further topics it asks for; empty or absent for none.
    pub regex: Option<Arc<str>>,
    /// How long it may take to give up partitions.
    pub rebalance_timeout_ms: i32,
    /// The assignor it wants.
    pub assignor: Option<Arc<str>>,
    /// Present if it speaks the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

impl MemberMetadata {
    /// The pattern, if there is one.
    #[must_use]
    pub fn pattern(&self) -> Option<&Arc<str>> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }
}

/// How far a member is on its way to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It has what it is to have at its epoch.
    #[default]
    Stable,
    /// It was told to give partitions up and has not confirmed it yet.
    UnrevokedPartitions,
    /// It waits for partitions that other members have not given up yet.
    UnreleasedPartitions,
    /// A state of a later version; the member has to start anew.
    Unknown,
}

impl MemberState {
    /// Kafka's number.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    /// The state with Kafka's number `code`.
    #[must_use]
    pub fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Epoch of the assignment it follows; 0 before the first, −2 for a static member that left for a while.
    pub epoch: i32,
    /// The epoch before; its last answer may have been lost.
    pub previous_epoch: i32,
    /// How far it is.
    pub state: MemberState,
    /// What it owns.
    pub assigned: OwnedPartitions,
    /// What it still owns and has to give up.
    pub revoking: OwnedPartitions,
}

impl Default for CurrentAssignment {
    fn default() -> Self {
        Self {
            epoch: JOIN_EPOCH,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: OwnedPartitions::default(),
            revoking: OwnedPartitions::default(),
        }
    }
}

impl CurrentAssignment {
    /// Whether the member has all of the assignment of `epoch`.
    #[must_use]
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }
}

/// A member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: Arc<str>,
    /// What it says of itself.
    pub metadata: MemberMetadata,
    /// Where it stands.
    pub current: CurrentAssignment,
}

impl Member {
    /// A member of which nothing is known yet.
    #[must_use]
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            metadata: MemberMetadata::default(),
            current: CurrentAssignment::default(),
        }
    }

    /// Whether it speaks the classic protocol.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }
}
