//! Why a coordinator refuses; `api/error.rs` turns it into Kafka's codes.

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The partition's log is being read.
    #[error("the coordinator is loading")]
    Loading,
    /// Another node, or nobody, keeps the group.
    #[error("not the coordinator")]
    NotCoordinator,
    /// The coordinator cannot write, or the node is stopping.
    #[error("the coordinator is not available")]
    NotAvailable,
    /// The group's name is empty.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// Nobody of that id is in the group.
    #[error("unknown member")]
    UnknownMember,
    /// Another generation is in force.
    #[error("wrong generation")]
    IllegalGeneration,
    /// The members have to join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The member's protocols do not fit the group's.
    #[error("inconsistent protocol")]
    InconsistentProtocol,
    /// The session timeout is out of bounds.
    #[error("invalid session timeout")]
    InvalidSessionTimeout,
    /// Join again with the id in the answer.
    #[error("a member id is required")]
    MemberIdRequired,
    /// The group has as many members as it may.
    #[error("the group is full")]
    GroupFull,
    /// Another member took over the instance id.
    #[error("fenced instance")]
    FencedInstance,
    /// The group has members.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// No such group.
    #[error("no such group")]
    GroupNotFound,
    /// Members subscribe to the topic.
    #[error("the group is subscribed to the topic")]
    SubscribedToTopic,
    /// The commit's metadata is too long.
    #[error("metadata too long")]
    MetadataTooLarge,
    /// A transaction holds the offset.
    #[error("unstable offset")]
    UnstableOffset,
    /// No such topic or partition.
    #[error("unknown topic or partition")]
    UnknownTopic,
    /// No topic with that id.
    #[error("unknown topic id")]
    UnknownTopicId,
    /// The member epoch is over.
    #[error("fenced member epoch")]
    FencedMemberEpoch,
    /// The instance id still belongs to another member.
    #[error("unreleased instance id")]
    UnreleasedInstance,
    /// The member epoch is not the present one.
    #[error("stale member epoch")]
    StaleMemberEpoch,
    /// No such assignor.
    #[error("unsupported assignor")]
    UnsupportedAssignor,
    /// The regular expression cannot be used.
    #[error("invalid regular expression")]
    InvalidRegularExpression,
    /// The request contradicts itself.
    #[error("invalid request")]
    InvalidRequest,
    /// Not in this version, or not on this node.
    #[error("unsupported version")]
    UnsupportedVersion,
    /// A bound of the node.
    #[error("a limit of the node is reached")]
    LimitReached,
}
