//! What is asked of a group's coordinator, and its answers: owned plain data that crosses from the connection's core to
//! the owner's and back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use net::platform::sync::remote_oneshot;

use super::consumer::request::{ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatReply};
use super::error::GroupError;
use crate::types::TopicId;

/// A request on its way to the owner, with the way back for its answer.
pub struct GroupCall {
    /// The partition of the offsets topic.
    pub partition: i32,
    /// What is asked.
    pub request: GroupRequest,
    /// Where the answer goes; the caller may have gone.
    pub reply: remote_oneshot::Sender<GroupReply>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(Box<Join>),
    /// SyncGroup.
    Sync(Box<Sync>),
    /// Heartbeat.
    Heartbeat(MemberAt),
    /// LeaveGroup.
    Leave(Leave),
    /// OffsetCommit.
    Commit(Box<Commit>),
    /// OffsetFetch, of one group.
    FetchOffsets(Box<FetchOffsets>),
    /// OffsetDelete: the topics and partitions.
    DeleteOffsets(Arc<str>, Vec<(Arc<str>, i32)>),
    /// DeleteGroups, of one group.
    DeleteGroup(Arc<str>),
    /// ListGroups, of this partition.
    List(ListFilter),
    /// DescribeGroups, of one group.
    Describe(Arc<str>),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// ConsumerGroupDescribe, of one group.
    ConsumerDescribe(Arc<str>),
}

impl GroupRequest {
    /// The group it is about; none for a list.
    #[must_use]
    pub fn group(&self) -> Option<&Arc<str>> {
        match self {
            GroupRequest::Join(request) => Some(&request.who.group),
            GroupRequest::Sync(request) => Some(&request.who.group),
            GroupRequest::Heartbeat(who) => Some(&who.group),
            GroupRequest::Leave(request) => Some(&request.group),
            GroupRequest::Commit(request) => Some(&request.who.group),
            GroupRequest::FetchOffsets(request) => Some(&request.who.group),
            GroupRequest::DeleteOffsets(group, _)
            | GroupRequest::DeleteGroup(group)
            | GroupRequest::Describe(group)
            | GroupRequest::ConsumerDescribe(group) => Some(group),
            GroupRequest::ConsumerHeartbeat(request) => Some(&request.group),
            GroupRequest::List(_) => None,
        }
    }

    /// Whether carrying it out may write.
    #[must_use]
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            GroupRequest::FetchOffsets(_)
                | GroupRequest::List(_)
                | GroupRequest::Describe(_)
                | GroupRequest::ConsumerDescribe(_)
        )
    }
}

/// The answer to a [`GroupRequest`], variant by variant.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupReply {
    /// To any request: refused as a whole.
    Failed(GroupError),
    /// To `Join`.
    Joined(Box<Joined>),
    /// To `Join`: refused, with the id the member has or shall use.
    JoinRefused(GroupError, Arc<str>),
    /// To `Sync`.
    Synced(Box<Synced>),
    /// To `Heartbeat`.
    Alive,
    /// To `Leave`: per member, in order.
    Left(Vec<Result<(), GroupError>>),
    /// To `Commit`: per offset, in order.
    Committed(Vec<Result<(), GroupError>>),
    /// To `FetchOffsets`.
    Offsets(Vec<FetchedOffset>),
    /// To `DeleteOffsets`: per partition, in order.
    OffsetsDeleted(Vec<Result<(), GroupError>>),
    /// To `DeleteGroup`.
    GroupDeleted,
    /// To `List`.
    Listed(Vec<ListedGroup>),
    /// To `Describe`.
    Described(Box<Description>),
    /// To `ConsumerHeartbeat`.
    ConsumerHeartbeat(Box<ConsumerHeartbeatReply>),
    /// To `ConsumerDescribe`.
    ConsumerDescribed(Box<ConsumerDescription>),
}

/// Who speaks: a member in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberAt {
    /// The group.
    pub group: Arc<str>,
    /// The member; empty before it has an id.
    pub member: Arc<str>,
    /// Its instance id, if it is static.
    pub instance: Option<Arc<str>>,
    /// Generation, or member epoch; below 0 outside of a generation.
    pub generation: i32,
}

/// A wish to join.
#[derive(Debug, Clone)]
pub struct Join {
    /// Who; the generation is not used.
    pub who: MemberAt,
    /// The id a member without one gets.
    pub new_member: Arc<str>,
    /// Whether a member without an id is sent back for one first (version 4).
    pub id_required: bool,
    /// Whether the answer can say that the leader must not assign (version 9).
    pub can_skip_assignment: bool,
    /// The client's name for itself.
    pub client: Arc<str>,
    /// Its address, with Kafka's slash in front.
    pub host: Arc<str>,
    /// Milliseconds of silence after which the member is gone.
    pub session_timeout_ms: i32,
    /// Milliseconds it has to join again.
    pub rebalance_timeout_ms: i32,
    /// Such as `consumer` or `connect`.
    pub protocol_type: Arc<str>,
    /// What it can do, best first: name and metadata.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// The generation that a member joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its number.
    pub generation: i32,
    /// The protocol's type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<Arc<str>>,
    /// The leader shall not assign.
    pub skip_assignment: bool,
    /// The member.
    pub member: Arc<str>,
    /// For the leader: all members with instance id and metadata.
    pub members: Vec<(Arc<str>, Option<Arc<str>>, Bytes)>,
}

/// A wish for one's assignment; the leader brings everybody's.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Who.
    pub who: MemberAt,
    /// The type it believes in.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol it believes in.
    pub protocol: Option<Arc<str>>,
    /// By member.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The protocol's type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// What it shall do.
    pub assignment: Bytes,
}

/// Members that go: id (may be empty) and instance id.
#[derive(Debug, Clone)]
pub struct Leave {
    /// The group.
    pub group: Arc<str>,
    /// Who.
    pub members: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// Offsets to remember.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who; a generation below 0 without member id is an outsider.
    pub who: MemberAt,
    /// Version of the request; it decides some refusals.
    pub version: i16,
    /// How long to keep them, in milliseconds; −1 is the broker's setting.
    pub retention_ms: i64,
    /// What.
    pub offsets: Vec<CommitOffset>,
}

/// One offset to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffset {
    /// The topic.
    pub topic: Arc<str>,
    /// Its present incarnation.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; −1 is unknown.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: Option<Arc<str>>,
}

/// A wish for committed offsets.
#[derive(Debug, Clone)]
pub struct FetchOffsets {
    /// Who; the member epoch is checked where there is a member id or an epoch.
    pub who: MemberAt,
    /// Fail where a transaction holds the offset.
    pub require_stable: bool,
    /// Which; `None` is all there are.
    pub partitions: Option<Vec<(Arc<str>, i32)>>,
}

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Offset (−1 is none), leader epoch (−1 is unknown) and metadata.
    pub found: Result<(i64, i32, Arc<str>), GroupError>,
}

/// Which groups to list; an empty set is no condition. Compared in lower case.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// States.
    pub states: BTreeSet<String>,
    /// Types.
    pub types: BTreeSet<String>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: Arc<str>,
    /// Its protocol type; empty without.
    pub protocol_type: Arc<str>,
    /// Its state's name.
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub kind: &'static str,
}

/// A classic group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its state's name.
    pub state: &'static str,
    /// Its protocol type; empty without.
    pub protocol_type: Arc<str>,
    /// The protocol chosen; empty unless stable.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: Arc<str>,
    /// Its instance id.
    pub instance: Option<Arc<str>>,
    /// The client's name for itself.
    pub client: Arc<str>,
    /// Its address.
    pub host: Arc<str>,
    /// Its subscription; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}
