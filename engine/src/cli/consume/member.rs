//! One member of a consumer group, by the classic protocol that every broker speaks: it joins, is told its partitions,
//! keeps itself alive, commits and leaves.
//!
//! Invariant: offsets are committed under the generation that gave us their partitions, so that a coordinator refuses
//! them once the partitions are somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use net::cluster::{Answer, Cluster, ClusterError, Connection};
use net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use net::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use net::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use net::messages::{ApiKey, Request};

use super::super::group::{comes_later, coordinator};
use super::super::{Failure, Outcome, PATIENCE, RETRY_PAUSE, error_name};
use super::range::{self, Candidate, Shares};
use crate::api::error_code::ErrorCode;

/// Protocol type of groups whose members consume.
const CONSUMER: &str = "consumer";
/// Kafka's `session.timeout.ms`: so long may the output be blocked before others get our partitions.
const SESSION_TIMEOUT_MS: i32 = 45_000;
/// How long the others wait for us when the group is rebalanced.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// How long we wait for the others: Kafka's `max.poll.interval.ms`, which is their rebalance timeout, and a little.
const JOIN_TIMEOUT: Duration = Duration::from_secs(305);
/// Above this OffsetCommit names topics by id alone.
const OFFSET_COMMIT_BY_NAME: i16 = 9;

/// Whether the partitions are still ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Holds,
    /// The group is being rebalanced, or went on without us.
    Rejoin,
}

/// A member of a group.
pub(super) struct Member {
    group: String,
    topic: String,
    /// What the coordinator calls us; empty until it does.
    id: String,
    generation: i32,
    coordinator: Option<i32>,
    /// Since when there is no coordinator that answers.
    trouble_since: Option<Duration>,
}

impl Member {
    pub(super) fn new(group: String, topic: String) -> Member {
        Member {
            group,
            topic,
            id: String::new(),
            generation: -1,
            coordinator: None,
            trouble_since: None,
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Joins and waits until the group is complete; our partitions. Dropping the future withdraws the attempt, not
    /// the membership: [`Self::leave`] does.
    pub(super) async fn join(&mut self, cluster: &mut Cluster) -> Outcome<Vec<i32>> {
        loop {
            let joined = match self.coordinator(cluster).await? {
                Some(node) => self.join_once(cluster, node).await,
                None => continue,
            };
            match joined {
                Ok(Step::Assigned(partitions)) => {
                    self.trouble_since = None;
                    return Ok(partitions);
                }
                Ok(Step::Answered(code)) => self.again(cluster, code).await?,
                Err(error) => self.pause_after(cluster, error).await?,
            }
        }
    }

    /// Tells the coordinator that we live.
    pub(super) async fn heartbeat(&mut self, cluster: &mut Cluster) -> Outcome<Standing> {
        let (group, id) = (self.group.clone(), self.id.clone());
        let request = Request::Heartbeat(HeartbeatRequest {
            group_id: &group,
            generation_id: self.generation,
            member_id: &id,
            ..Default::default()
        });
        let code = self.ask(cluster, &request, i16::MAX, |answer| {
            Ok(answer.decode(HeartbeatResponse::decode)?.error_code)
        });
        let code = code.await?;
        self.standing(code)
    }

    /// Commits the next offsets of our partitions.
    pub(super) async fn commit(
        &mut self,
        cluster: &mut Cluster,
        offsets: &BTreeMap<i32, i64>,
    ) -> Outcome<Standing> {
        let (group, topic, id) = (self.group.clone(), self.topic.clone(), self.id.clone());
        let partition = |(partition, offset): (&i32, &i64)| OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            ..Default::default()
        };
        let request = Request::OffsetCommit(OffsetCommitRequest {
            group_id: &group,
            generation_id_or_member_epoch: self.generation,
            member_id: &id,
            topics: vec![OffsetCommitRequestTopic {
                name: &topic,
                partitions: offsets.iter().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        });
        let code = self.ask(cluster, &request, OFFSET_COMMIT_BY_NAME, |answer| {
            let response = answer.decode(OffsetCommitResponse::decode)?;
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let mut codes = partitions.map(|partition| partition.error_code);
            Ok(codes.find(|code| *code != 0).unwrap_or(0))
        });
        let code = code.await?;
        self.standing(code)
    }

    /// Leaves, so that the others need not wait for the session's end. A coordinator that does not answer is not
    /// waited for.
    pub(super) async fn leave(self, cluster: &mut Cluster) -> Outcome<()> {
        let (Some(node), false) = (self.coordinator, self.id.is_empty()) else {
            return Ok(());
        };
        let connection = cluster.broker(node).await?;
        let version = connection.version(ApiKey::LeaveGroup)?;
        let identity = MemberIdentity {
            member_id: &self.id,
            reason: Some("the command ends"),
            ..Default::default()
        };
        let request = Request::LeaveGroup(LeaveGroupRequest {
            group_id: &self.group,
            member_id: if version < 3 { &self.id } else { "" },
            members: if version < 3 {
                Vec::new()
            } else {
                vec![identity]
            },
            ..Default::default()
        });
        let answer = connection.call(&request, version).await?;
        answer.decode(LeaveGroupResponse::decode)?;
        Ok(())
    }

    /// One JoinGroup and, if it is answered well, one SyncGroup.
    async fn join_once(&mut self, cluster: &mut Cluster, node: i32) -> Result<Step, ClusterError> {
        // The answers come when the others have joined: nothing else may wait behind them.
        let connection = cluster.open(node, JOIN_TIMEOUT).await?;
        let metadata = range::subscription(&self.topic);
        let request = Request::JoinGroup(JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: &self.id,
            protocol_type: CONSUMER,
            protocols: vec![JoinGroupRequestProtocol {
                name: range::NAME,
                metadata: &metadata,
                ..Default::default()
            }],
            ..Default::default()
        });
        let version = connection.version(ApiKey::JoinGroup)?;
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(JoinGroupResponse::decode)?;
        if !response.member_id.is_empty() {
            self.id = response.member_id.to_owned();
        }
        if response.error_code != 0 {
            return Ok(Step::Answered(response.error_code));
        }
        self.generation = response.generation_id;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        let shares = match leads {
            true => share(cluster, &response.members).await?,
            false => BTreeMap::new(),
        };
        self.sync(&connection, &shares).await
    }

    async fn sync(
        &self,
        connection: &Connection,
        shares: &BTreeMap<String, Shares>,
    ) -> Result<Step, ClusterError> {
        let told: Vec<(&String, Vec<u8>)> = shares
            .iter()
            .map(|(member, share)| (member, range::assignment(share)))
            .collect();
        let assignment = |(member, bytes)| SyncGroupRequestAssignment {
            member_id: member,
            assignment: bytes,
            ..Default::default()
        };
        let request = Request::SyncGroup(SyncGroupRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            protocol_type: Some(CONSUMER),
            protocol_name: Some(range::NAME),
            assignments: told
                .iter()
                .map(|(member, bytes)| (member.as_str(), &bytes[..]))
                .map(assignment)
                .collect(),
            ..Default::default()
        });
        let version = connection.version(ApiKey::SyncGroup)?;
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(SyncGroupResponse::decode)?;
        if response.error_code != 0 {
            return Ok(Step::Answered(response.error_code));
        }
        let partitions = range::assigned(response.assignment, &self.topic);
        let partitions = partitions.map_err(|source| ClusterError::Decode {
            api: "SyncGroup",
            source,
        })?;
        Ok(Step::Assigned(partitions))
    }

    /// Asks the coordinator, and the next one if it is none any more; the answer's error code.
    async fn ask(
        &mut self,
        cluster: &mut Cluster,
        request: &Request<'_>,
        version_max: i16,
        read: impl Fn(&Answer) -> Result<i16, ClusterError>,
    ) -> Outcome<i16> {
        loop {
            let Some(node) = self.coordinator(cluster).await? else {
                continue;
            };
            let answered = async {
                let connection = cluster.broker(node).await?;
                let version = connection.version_up_to(request.api_key(), version_max)?;
                read(&connection.call(request, version).await?)
            };
            match answered.await {
                Ok(code) if comes_later(code) => self.pause(cluster, error_name(code)).await?,
                Ok(code) => {
                    self.trouble_since = None;
                    return Ok(code);
                }
                Err(error) => self.pause_after(cluster, error).await?,
            }
        }
    }

    /// The coordinator; none if it cannot be found at the moment.
    async fn coordinator(&mut self, cluster: &mut Cluster) -> Outcome<Option<i32>> {
        if self.coordinator.is_none() {
            match coordinator(cluster, &self.group).await {
                Ok(node) => self.coordinator = Some(node),
                // Whoever never joined is told at once.
                Err(Failure::Said(why)) if self.generation >= 0 => {
                    self.pause(cluster, why).await?;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(self.coordinator)
    }

    async fn pause_after(&mut self, cluster: &Cluster, error: ClusterError) -> Outcome<()> {
        match error {
            ClusterError::Connect { .. }
            | ClusterError::Client { .. }
            | ClusterError::TimedOut(_)
            | ClusterError::UnknownBroker(_) => self.pause(cluster, error.to_string()).await,
            other => Err(other.into()),
        }
    }

    /// Waits a little before the coordinator is looked for again, or gives up.
    async fn pause(&mut self, cluster: &Cluster, why: String) -> Outcome<()> {
        self.coordinator = None;
        let now = cluster.runtime().monotonic();
        if now - *self.trouble_since.get_or_insert(now) > PATIENCE {
            return Err(Failure::Said(why));
        }
        cluster.runtime().sleep(RETRY_PAUSE).await;
        Ok(())
    }

    /// What an error code in answer to JoinGroup or SyncGroup asks for, before the next attempt.
    async fn again(&mut self, cluster: &Cluster, code: i16) -> Outcome<()> {
        if comes_later(code) {
            return self.pause(cluster, error_name(code)).await;
        }
        // KIP-394: a new member is given its name first.
        if code != ErrorCode::MemberIdRequired.code() {
            self.standing(code)?;
        }
        Ok(())
    }

    /// What an error code says of our membership.
    fn standing(&mut self, code: i16) -> Outcome<Standing> {
        match ErrorCode::from_code(code) {
            _ if code == 0 => Ok(Standing::Holds),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                Ok(Standing::Rejoin)
            }
            Some(ErrorCode::UnknownMemberId) => {
                self.id.clear();
                Ok(Standing::Rejoin)
            }
            known => {
                let (group, name) = (&self.group, error_name(code));
                Err(Failure::Said(match known.and_then(advice) {
                    Some(advice) => format!("group {group}: {name}: {advice}"),
                    None => format!("group {group}: {name}"),
                }))
            }
        }
    }
}

enum Step {
    Assigned(Vec<i32>),
    /// With an error code.
    Answered(i16),
}

/// What the leader decides: partitions for every member. Topics that do not exist have none.
async fn share(
    cluster: &mut Cluster,
    members: &[JoinGroupResponseMember<'_>],
) -> Result<BTreeMap<String, Shares>, ClusterError> {
    let candidate = |member: &JoinGroupResponseMember<'_>| Candidate {
        is_dynamic: member.group_instance_id.is_none(),
        instance: member.group_instance_id.map(str::to_owned),
        id: member.member_id.to_owned(),
        topics: range::subscribed(member.metadata),
    };
    let members: Vec<Candidate> = members.iter().map(candidate).collect();
    let names: BTreeSet<&str> = members
        .iter()
        .flat_map(|member| member.topics.iter().map(String::as_str))
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let topics = cluster.topics(Some(&names), false).await?;
    let indexes = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        (topic.name, partitions.map(|one| one.index).collect())
    });
    let shares: Shares = indexes.collect();
    Ok(range::share(members, &shares))
}

/// What to do about a refusal.
fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::InconsistentGroupProtocol => Some(
            "its members share partitions in another way than range; give another --group, or let them offer the range assignor",
        ),
        ErrorCode::InvalidSessionTimeout => Some(
            "the broker's group.min.session.timeout.ms and group.max.session.timeout.ms leave out 45000",
        ),
        ErrorCode::GroupMaxSizeReached => {
            Some("the group has as many members as the broker's group.max.size allows")
        }
        _ => None,
    }
}
