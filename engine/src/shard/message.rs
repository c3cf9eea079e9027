//! What shards ask of each other. Everything here is `Send` plain data; record bytes travel as shared slices.

use std::net::SocketAddr;
use std::sync::Arc;

use net::platform::DetachedStream;

use super::view::ClusterView;
use crate::api::fetch_session::{FetchKind, PartitionName, SessionAnswer, SessionRequest, Told};
use crate::cluster::{ControlRequest, ControlResponse};
use crate::groups::GroupCall;
use crate::groups::coordinator::GroupOffset;
use crate::log::{AppendError, Appended, FoundOffset, ReadError, StorageError};
use crate::metrics::ShardMetrics;
use crate::partition::{
    EpochLookup, FetchOutcome, OffsetLookup, PartitionAppend, PartitionFetch, ProducerDescription,
};
use crate::types::{LeaderEpoch, Offset, PartitionId};

/// A request to the shard that owns what it names.
pub enum ShardRequest {
    /// Append batches, in order.
    Append(Vec<PartitionAppend>),
    /// Read, or say when reading is worth while.
    Fetch(PartitionFetch),
    /// Offsets by time or by name.
    FindOffsets(Vec<OffsetLookup>),
    /// End offsets of leader epochs.
    EpochEnds(Vec<EpochLookup>),
    /// Move log starts up.
    DeleteRecords(Vec<(PartitionId, Offset)>),
    /// A fetch whose session this shard has.
    ReadSession(SessionRequest),
    /// Note what its partitions are told.
    WriteSession(FetchKind, Vec<(PartitionName, Told)>),
    /// Bytes of partitions.
    Sizes(Vec<PartitionId>),
    /// What partitions remember of their producers.
    Producers(Vec<PartitionId>),
    /// A change of cluster metadata (shard 0).
    Control(ControlRequest),
    /// Take over a new view of the cluster: create, delete and configure the partitions it gives this shard.
    Publish(Arc<ClusterView>),
    /// Every shard has that view: its groups may act on it.
    FollowGroups,
    /// Something of a group; answered on the call's own way back, this only says that it was taken.
    Group(GroupCall),
    /// Serve a connection that shard 0 accepted.
    Connection(Accepted),
    /// Add up the counters.
    Metrics,
    /// What groups committed, as far as a page of metrics names it.
    GroupOffsets,
    /// Close connections when their requests are answered.
    Drain,
    /// Write everything behind and end.
    Stop,
}

/// A connection on its way to the shard that will serve it.
pub struct Accepted {
    /// The socket.
    pub stream: DetachedStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Index of the listener it came in on.
    pub listener: usize,
    /// Counts it while it lives.
    pub ticket: super::accept::Ticket,
}

/// The answer to a [`ShardRequest`], variant by variant; lists keep the request's order.
pub enum ShardResponse {
    /// To `Append`.
    Append(Vec<Result<Appended, AppendError>>),
    /// To `Fetch`.
    Fetch(FetchOutcome),
    /// To `FindOffsets`.
    FindOffsets(Vec<Result<FoundOffset, ReadError>>),
    /// To `EpochEnds`.
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), ReadError>>),
    /// To `DeleteRecords`: the log starts.
    DeleteRecords(Vec<Result<Offset, ReadError>>),
    /// To `ReadSession`.
    SessionRead(SessionAnswer),
    /// To `WriteSession`: which of them are news.
    SessionWritten(Vec<bool>),
    /// To `Sizes`; 0 for a partition that is not there.
    Sizes(Vec<u64>),
    /// To `Producers`; `None` for a partition that is not there.
    Producers(Vec<Option<Vec<ProducerDescription>>>),
    /// To `Control`.
    Control(ControlResponse),
    /// To `Publish`.
    Published(Result<(), StorageError>),
    /// To `Metrics`.
    Metrics(Box<ShardMetrics>),
    /// To `GroupOffsets`, with the number of those left out.
    GroupOffsets(Vec<GroupOffset>, u64),
    /// To `Stop`.
    Stopped(Box<Result<crate::log::StoppedShard, StorageError>>),
    /// To requests that only need to be carried out.
    Done,
}
