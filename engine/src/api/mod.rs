//! The APIs: one file each, and the way from a received frame to its answer.
//!
//! Runs on the connection's core. Invariant: a frame that cannot be understood closes its connection and nothing else
//! (RELIABILITY N2, N3); only ApiVersions answers to versions it does not know.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use net::messages::{ApiKey, request_header_version, response_header_version};
use net::platform::Runtime;
use net::platform::sync::Closed;
use net::server::{Frame, ReceivePermit};
use net::wire::{EncodeError, Reader, Writer};
use tracing::{debug, error};

mod alter_client_quotas;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod alter_user_scram_credentials;
mod api_versions;
mod authorized;
mod broker_loggers;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod coordinated;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
pub mod error;
pub mod error_code;
mod expire_delegation_token;
mod fetch;
pub mod fetch_session;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod owners;
mod produce;
mod produce_batch;
mod renew_delegation_token;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod topic_results;
mod unregister_broker;
mod update_features;
pub mod versions;

pub use error_code::ErrorCode;

use crate::cluster::controller::ControlErrorKind;
use crate::cluster::{ControlError, ControlRequest, ControlResponse, MetadataImage};
use crate::node::NodeSettings;
use crate::shard::Shard;
use crate::shard::connection::{Answer, Connection, Outgoing};
use versions::Served;

/// Tagged fields that a request header may carry.
const HEADER_TAGS_MAX: u32 = 10_000;

/// A received request whose header is understood.
pub struct Request {
    served: &'static Served,
    version: i16,
    correlation_id: i32,
    /// As sent; Kafka does not insist on UTF-8.
    client_id: Option<Bytes>,
    body: Bytes,
    permit: ReceivePermit,
}

impl Request {
    /// Reads the header; `None` closes the connection.
    pub fn parse(frame: Frame) -> Option<Request> {
        let mut reader = Reader::new(&frame.bytes);
        let key = reader.get_i16().ok()?;
        let version = reader.get_i16().ok()?;
        let correlation_id = reader.get_i32().ok()?;
        let served = versions::find(key)?;
        if !served.handles(version) && served.key != ApiKey::ApiVersions {
            debug!(key, version, "unsupported version");
            return None;
        }
        let client_id_bytes = usize::try_from(reader.get_i16().ok()?).ok();
        let client_id = match client_id_bytes {
            Some(length) => Some(frame.bytes.slice_ref(reader.take(length).ok()?)),
            None => None,
        };
        if request_header_version(served.key, version) >= 2 {
            skip_tagged_fields(&mut reader)?;
        }
        let body = frame.bytes.slice_ref(reader.rest());
        Some(Request {
            served,
            version,
            correlation_id,
            client_id,
            body,
            permit: frame.permit,
        })
    }

    /// Whether it may be taken up before the requests in front of it are answered.
    pub fn may_overlap(&self) -> bool {
        self.served.key == ApiKey::Produce
    }
}

fn skip_tagged_fields(reader: &mut Reader<'_>) -> Option<()> {
    let count = reader.get_unsigned_varint().ok()?;
    if count > HEADER_TAGS_MAX {
        return None;
    }
    for _ in 0..count {
        reader.get_unsigned_varint().ok()?;
        let length = reader.get_unsigned_varint().ok()?;
        reader.take(usize::try_from(length).ok()?).ok()?;
    }
    Some(())
}

/// What a handler knows beside the request's body. Cheap to clone, never leaves its executor.
#[derive(Clone)]
pub struct RequestContext {
    connection: Rc<Connection>,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: Option<Bytes>,
}

impl RequestContext {
    /// The connection it came in on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
    /// The shard that serves the connection.
    pub fn shard(&self) -> &Shard {
        self.connection.shard()
    }
    /// Time, tasks, randomness.
    pub fn runtime(&self) -> &Runtime {
        self.shard().runtime()
    }
    /// The node's settings.
    pub fn settings(&self) -> &NodeSettings {
        self.shard().settings()
    }
    /// The metadata now.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shard().image()
    }
    /// Version of the request.
    pub fn version(&self) -> i16 {
        self.version
    }
    /// The client's name for itself, if it is text.
    pub fn client_id(&self) -> Option<&str> {
        std::str::from_utf8(self.client_id.as_deref()?).ok()
    }
    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.connection.peer()
    }
    /// Host and port that clients of this listener are told.
    pub fn advertised(&self) -> (&str, u16) {
        let listener = self.connection.listener();
        (&listener.advertised_host, listener.advertised_port)
    }

    /// Changes metadata; resolves when every shard has the result.
    ///
    /// # Errors
    /// The metadata log failed, or the node is stopping.
    pub async fn control(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        match self.shard().control(request).await {
            Ok(ControlResponse::Failed(error)) => Err(error),
            Ok(response) => Ok(response),
            Err(Closed) => Err(ControlError::new(
                ControlErrorKind::Storage,
                "the node is stopping",
            )),
        }
    }

    /// The answer whose body `encode` writes.
    pub fn reply(
        &self,
        encode: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
    ) -> Outgoing {
        self.reply_in(self.version, encode)
    }

    /// As [`RequestContext::reply`], in another version than the request's.
    pub fn reply_in(
        &self,
        version: i16,
        encode: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
    ) -> Outgoing {
        let mut writer = Writer::new();
        let frame = writer.begin_frame();
        writer.put_i32(self.correlation_id);
        if response_header_version(self.key, version) >= 1 {
            writer.put_unsigned_varint(0);
        }
        match encode(&mut writer, version).and_then(|()| writer.end_frame(frame)) {
            Ok(()) => Outgoing::frame(writer.take_chain()),
            Err(error) => {
                error!(key = ?self.key, version, %error, "an answer could not be encoded");
                Outgoing::close()
            }
        }
    }
}

/// Takes a request up. For Produce this resolves when its batches are validated and queued; for anything else when
/// the answer is complete.
pub async fn dispatch(connection: &Rc<Connection>, request: Request) -> Answer {
    let Request {
        served,
        version,
        correlation_id,
        client_id,
        body,
        permit,
    } = request;
    let context = RequestContext {
        connection: connection.clone(),
        key: served.key,
        version,
        correlation_id,
        client_id,
    };
    let counters = context.shard().counters();
    counters.request(served.key as i16);
    if served.key == ApiKey::Produce {
        return produce::begin(&context, body, permit).await;
    }
    let mut outgoing = respond(&context, &body).await;
    if outgoing.close {
        counters
            .request_errors
            .set(counters.request_errors.get() + 1);
    }
    outgoing.permits.0 = Some(permit);
    Answer::Ready(outgoing)
}

/// Decodes the body and hands it to the API's handler.
#[allow(clippy::too_many_lines, reason = "a line for each API")]
async fn respond(context: &RequestContext, body: &[u8]) -> Outgoing {
    macro_rules! handle {
        ($module:ident, $request:ident) => {
            handled(
                context,
                net::messages::$module::$request::decode(&mut Reader::new(body), context.version),
                { async |request| $module::handle(context, request).await },
            )
            .await
        };
    }
    match context.key {
        ApiKey::ApiVersions => api_versions::respond(context, body),
        ApiKey::Fetch => handle!(fetch, FetchRequest),
        ApiKey::ListOffsets => handle!(list_offsets, ListOffsetsRequest),
        ApiKey::Metadata => handle!(metadata, MetadataRequest),
        ApiKey::OffsetCommit => handle!(offset_commit, OffsetCommitRequest),
        ApiKey::OffsetFetch => handle!(offset_fetch, OffsetFetchRequest),
        ApiKey::JoinGroup => handle!(join_group, JoinGroupRequest),
        ApiKey::Heartbeat => handle!(heartbeat, HeartbeatRequest),
        ApiKey::LeaveGroup => handle!(leave_group, LeaveGroupRequest),
        ApiKey::SyncGroup => handle!(sync_group, SyncGroupRequest),
        ApiKey::DescribeGroups => handle!(describe_groups, DescribeGroupsRequest),
        ApiKey::ListGroups => handle!(list_groups, ListGroupsRequest),
        ApiKey::DeleteGroups => handle!(delete_groups, DeleteGroupsRequest),
        ApiKey::OffsetDelete => handle!(offset_delete, OffsetDeleteRequest),
        ApiKey::FindCoordinator => handle!(find_coordinator, FindCoordinatorRequest),
        ApiKey::CreateTopics => handle!(create_topics, CreateTopicsRequest),
        ApiKey::DeleteTopics => handle!(delete_topics, DeleteTopicsRequest),
        ApiKey::DeleteRecords => handle!(delete_records, DeleteRecordsRequest),
        ApiKey::InitProducerId => handle!(init_producer_id, InitProducerIdRequest),
        ApiKey::OffsetForLeaderEpoch => {
            handle!(offset_for_leader_epoch, OffsetForLeaderEpochRequest)
        }
        ApiKey::DescribeConfigs => handle!(describe_configs, DescribeConfigsRequest),
        ApiKey::CreatePartitions => handle!(create_partitions, CreatePartitionsRequest),
        ApiKey::IncrementalAlterConfigs => {
            handle!(incremental_alter_configs, IncrementalAlterConfigsRequest)
        }
        ApiKey::DescribeCluster => handle!(describe_cluster, DescribeClusterRequest),
        ApiKey::AlterClientQuotas => handle!(alter_client_quotas, AlterClientQuotasRequest),
        ApiKey::AlterConfigs => handle!(alter_configs, AlterConfigsRequest),
        ApiKey::AlterPartitionReassignments => handle!(
            alter_partition_reassignments,
            AlterPartitionReassignmentsRequest
        ),
        ApiKey::AlterReplicaLogDirs => handle!(alter_replica_log_dirs, AlterReplicaLogDirsRequest),
        ApiKey::AlterUserScramCredentials => handle!(
            alter_user_scram_credentials,
            AlterUserScramCredentialsRequest
        ),
        ApiKey::CreateAcls => handle!(create_acls, CreateAclsRequest),
        ApiKey::CreateDelegationToken => {
            handle!(create_delegation_token, CreateDelegationTokenRequest)
        }
        ApiKey::DeleteAcls => handle!(delete_acls, DeleteAclsRequest),
        ApiKey::DescribeAcls => handle!(describe_acls, DescribeAclsRequest),
        ApiKey::DescribeClientQuotas => {
            handle!(describe_client_quotas, DescribeClientQuotasRequest)
        }
        ApiKey::DescribeDelegationToken => {
            handle!(describe_delegation_token, DescribeDelegationTokenRequest)
        }
        ApiKey::DescribeLogDirs => handle!(describe_log_dirs, DescribeLogDirsRequest),
        ApiKey::DescribeProducers => handle!(describe_producers, DescribeProducersRequest),
        ApiKey::DescribeQuorum => handle!(describe_quorum, DescribeQuorumRequest),
        ApiKey::DescribeTopicPartitions => {
            handle!(describe_topic_partitions, DescribeTopicPartitionsRequest)
        }
        ApiKey::DescribeTransactions => handle!(describe_transactions, DescribeTransactionsRequest),
        ApiKey::DescribeUserScramCredentials => handle!(
            describe_user_scram_credentials,
            DescribeUserScramCredentialsRequest
        ),
        ApiKey::ElectLeaders => handle!(elect_leaders, ElectLeadersRequest),
        ApiKey::ExpireDelegationToken => {
            handle!(expire_delegation_token, ExpireDelegationTokenRequest)
        }
        ApiKey::ListConfigResources => handle!(list_config_resources, ListConfigResourcesRequest),
        ApiKey::ListPartitionReassignments => handle!(
            list_partition_reassignments,
            ListPartitionReassignmentsRequest
        ),
        ApiKey::ListTransactions => handle!(list_transactions, ListTransactionsRequest),
        ApiKey::RenewDelegationToken => {
            handle!(renew_delegation_token, RenewDelegationTokenRequest)
        }
        ApiKey::SaslAuthenticate => handle!(sasl_authenticate, SaslAuthenticateRequest),
        ApiKey::SaslHandshake => handle!(sasl_handshake, SaslHandshakeRequest),
        ApiKey::UnregisterBroker => handle!(unregister_broker, UnregisterBrokerRequest),
        ApiKey::UpdateFeatures => handle!(update_features, UpdateFeaturesRequest),
        ApiKey::ConsumerGroupHeartbeat => {
            handle!(consumer_group_heartbeat, ConsumerGroupHeartbeatRequest)
        }
        ApiKey::ConsumerGroupDescribe => {
            handle!(consumer_group_describe, ConsumerGroupDescribeRequest)
        }
        key => {
            error!(
                ?key,
                "an API is in the table of versions and has no handler"
            );
            Outgoing::close()
        }
    }
}

async fn handled<R, F: Future<Output = Outgoing>>(
    context: &RequestContext,
    decoded: Result<R, net::wire::DecodeError>,
    handle: impl FnOnce(R) -> F,
) -> Outgoing {
    match decoded {
        Ok(request) => handle(request).await,
        Err(error) => {
            debug!(key = ?context.key, version = context.version, %error, peer = %context.peer(), "bad request");
            Outgoing::close()
        }
    }
}
