//! What a consumer group refuses, in Kafka's words.
//!
//! `api/error.rs` turns these into codes; the texts are Kafka's, for people who search for them.

/// Why a request to a consumer group was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerGroupError {
    /// The request contradicts the protocol.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// No such group.
    #[error("{0}")]
    GroupNotFound(String),
    /// No such member.
    #[error("{0}")]
    UnknownMember(String),
    /// The group is full.
    #[error("The consumer group has reached its maximum capacity of {0} members.")]
    GroupFull(usize),
    /// The assignor is not offered.
    #[error("ServerAssignor {name} is not supported. Supported assignors: {supported}.")]
    UnsupportedAssignor {
        /// What was asked for.
        name: String,
        /// What there is.
        supported: String,
    },
    /// The pattern cannot be read.
    #[error("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}.")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The member's epoch is ahead of the coordinator's.
    #[error(
        "The consumer group member has a greater member epoch ({received}) than the one known by the group \
         coordinator ({known}). The member must abandon all its partitions and rejoin."
    )]
    EpochAhead {
        /// The member's.
        received: i32,
        /// The coordinator's.
        known: i32,
    },
    /// The member's epoch is behind the coordinator's.
    #[error(
        "The consumer group member has a smaller member epoch ({received}) than the one known by the group \
         coordinator ({known}). The member must abandon all its partitions and rejoin."
    )]
    EpochBehind {
        /// The member's.
        received: i32,
        /// The coordinator's.
        known: i32,
    },
    /// The log holds a state of a later version for the member.
    #[error(
        "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin."
    )]
    UnknownMemberState,
    /// Another member holds the instance id and has not left.
    #[error(
        "Static member {member} with instance id {instance} cannot join the group because the instance id is owned by \
         {owner} member."
    )]
    InstanceUnreleased {
        /// Who came.
        member: String,
        /// The instance id.
        instance: String,
        /// Who holds it.
        owner: String,
    },
    /// Another member took the instance id over.
    #[error("Static member {member} with instance id {instance} was fenced by member {owner}.")]
    InstanceFenced {
        /// Who came.
        member: String,
        /// The instance id.
        instance: String,
        /// Who holds it.
        owner: String,
    },
    /// An offset is committed or fetched at an epoch that does not count.
    #[error("{0}")]
    StaleMemberEpoch(String),
    /// The same, of a member that speaks the classic protocol.
    #[error("{0}")]
    IllegalGeneration(String),
    /// A member that speaks the consumer protocol commits with a version that does not know member epochs.
    #[error(
        "OffsetCommit version 9 or above must be used by members using the consumer group protocol"
    )]
    CommitVersionTooLow,
    /// The classic protocols of the member and of the group do not meet.
    #[error("{0}")]
    InconsistentProtocol(String),
    /// A classic member has to join again.
    #[error(
        "A new rebalance is triggered in group {group} and member {member} should rejoin to catch up."
    )]
    RebalanceInProgress {
        /// The group.
        group: String,
        /// The member.
        member: String,
    },
    /// The node keeps as many groups as it may.
    #[error("The coordinator keeps as many groups as it can.")]
    TooManyGroups,
    /// The records of the decision are more than the offsets topic takes.
    #[error("The group's records are larger than the offsets topic's max.message.bytes.")]
    RecordsTooLarge,
    /// A dynamic classic member joins for the first time and is to come back with this id.
    #[error("the member has to join again as {0}")]
    MemberIdRequired(String),
}

impl ConsumerGroupError {
    pub(super) fn not_found(group: &str) -> Self {
        Self::GroupNotFound(format!("Group {group} not found."))
    }

    pub(super) fn not_consumer(group: &str) -> Self {
        Self::GroupNotFound(format!("Group {group} is not a consumer group."))
    }

    pub(super) fn unknown_member(member: &str, group: &str) -> Self {
        Self::UnknownMember(format!("Member {member} is not a member of group {group}."))
    }
}
