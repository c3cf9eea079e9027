//! Members of one consumer group that join, leave and vanish while the broker dies and starts again, and an auditor who
//! reads what they committed.

use net::messages::ApiKey;
use net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use net::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use net::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse,
};
use net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use net::platform::Runtime;
use net::wire::Reader;

use crate::codes;
use crate::shared::Shared;
use crate::topics::PLAIN;
use crate::wire::{Lost, Wire};

const GROUP: &str = "simulated";
/// Members beside the auditor.
pub const MEMBERS: usize = 4;
const SESSION_MS: i32 = 700;
const REBALANCE_MS: i32 = 900;

/// A member, as a client sees itself.
struct Member {
    shared: Shared,
    runtime: Runtime,
    id: String,
    instance: Option<String>,
}

/// Joins and leaves until told to finish.
pub async fn member(shared: Shared, runtime: Runtime, number: usize) {
    let mut member = Member {
        shared: shared.clone(),
        runtime,
        id: String::new(),
        instance: (number == 0).then(|| "simulated-static".to_owned()),
    };
    while !shared.is_finishing() {
        if let Ok(mut wire) = Wire::connect(&shared, &member.runtime).await {
            // Lost connections keep the id: the client comes back under it.
            let _ = member.live(&mut wire).await;
        }
        member.pause(80).await;
    }
    shared.client_done();
}

impl Member {
    async fn pause(&self, longest_ms: u64) {
        self.runtime.sleep(self.shared.up_to_ms(longest_ms)).await;
    }

    async fn live(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        while !self.shared.is_finishing() {
            let Some((generation, owned)) = self.join(wire).await? else {
                self.pause(40).await;
                continue;
            };
            if self.work(wire, generation, &owned).await? {
                self.shared.count("group members left", 1);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The generation and what this member owns in it.
    async fn join(&mut self, wire: &mut Wire) -> Result<Option<(i32, Vec<i32>)>, Lost> {
        let protocol = JoinGroupRequestProtocol {
            name: "any",
            metadata: b"simulated",
            ..Default::default()
        };
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            protocol_type: "simulated",
            protocols: vec![protocol],
            ..Default::default()
        };
        let body = wire
            .call(ApiKey::JoinGroup, 9, |writer, version| {
                request.encode(writer, version)
            })
            .await?;
        let joined =
            JoinGroupResponse::decode(&mut Reader::new(&body), 9).expect("a well-formed answer");
        match joined.error_code {
            codes::NONE => {}
            codes::MEMBER_ID_REQUIRED => {
                self.id = joined.member_id.to_owned();
                return Ok(None);
            }
            code => return self.refused("JoinGroup", code, wire).await,
        }
        self.id = joined.member_id.to_owned();
        let generation = joined.generation_id;
        let mut shares: Vec<(&str, Vec<u8>)> = joined
            .members
            .iter()
            .map(|member| (member.member_id, Vec::new()))
            .collect();
        if joined.skip_assignment {
            shares.clear();
        }
        let count = shares.len();
        for partition in 0..PLAIN.partitions {
            if count > 0 {
                shares[partition as usize % count].1.push(partition as u8);
            }
        }
        self.sync(wire, generation, &shares).await
    }

    async fn sync(
        &mut self,
        wire: &mut Wire,
        generation: i32,
        shares: &[(&str, Vec<u8>)],
    ) -> Result<Option<(i32, Vec<i32>)>, Lost> {
        let assignments = shares
            .iter()
            .map(|(member, share)| SyncGroupRequestAssignment {
                member_id: member,
                assignment: share,
                ..Default::default()
            });
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id: generation,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            protocol_type: Some("simulated"),
            protocol_name: Some("any"),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let body = wire
            .call(ApiKey::SyncGroup, 5, |writer, version| {
                request.encode(writer, version)
            })
            .await?;
        let synced =
            SyncGroupResponse::decode(&mut Reader::new(&body), 5).expect("a well-formed answer");
        if synced.error_code != codes::NONE {
            return self.refused("SyncGroup", synced.error_code, wire).await;
        }
        let owned: Vec<i32> = synced
            .assignment
            .iter()
            .map(|byte| i32::from(*byte))
            .collect();
        self.shared.note(format!(
            "{} owns {owned:?} in generation {generation}",
            self.id
        ));
        self.shared.count("group assignments", 1);
        let mut oracle = self.shared.oracle();
        oracle
            .groups
            .owns(generation, &self.id, self.instance.as_deref(), &owned);
        Ok(Some((generation, owned)))
    }

    /// Commits and sends heartbeats until it must join again (false) or leaves (true).
    async fn work(
        &mut self,
        wire: &mut Wire,
        generation: i32,
        owned: &[i32],
    ) -> Result<bool, Lost> {
        loop {
            self.pause(120).await;
            if self.shared.is_finishing() || self.shared.chance(0.08) {
                return self.leave(wire).await.map(|()| true);
            }
            for partition in owned {
                if !self.commit(wire, generation, *partition).await? {
                    break;
                }
            }
            let request = HeartbeatRequest {
                group_id: GROUP,
                generation_id: generation,
                member_id: &self.id,
                group_instance_id: self.instance.as_deref(),
                ..Default::default()
            };
            let body = wire
                .call(ApiKey::Heartbeat, 4, |writer, version| {
                    request.encode(writer, version)
                })
                .await?;
            let answer =
                HeartbeatResponse::decode(&mut Reader::new(&body), 4).expect("well-formed");
            if answer.error_code != codes::NONE {
                let code = answer.error_code;
                let _: Option<()> = self.refused("Heartbeat", code, wire).await?;
                return Ok(false);
            }
        }
    }

    /// Whether the commit was acknowledged.
    async fn commit(
        &mut self,
        wire: &mut Wire,
        generation: i32,
        partition: i32,
    ) -> Result<bool, Lost> {
        let offset = self.shared.oracle().groups.commits.sends(partition);
        let entry = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(""),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP,
            generation_id_or_member_epoch: generation,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            topics: vec![OffsetCommitRequestTopic {
                name: PLAIN.name,
                partitions: vec![entry],
                ..Default::default()
            }],
            ..Default::default()
        };
        let body = wire
            .call(ApiKey::OffsetCommit, 8, |writer, version| {
                request.encode(writer, version)
            })
            .await?;
        let answer = OffsetCommitResponse::decode(&mut Reader::new(&body), 8).expect("well-formed");
        let code = answer.topics[0].partitions[0].error_code;
        if code == codes::NONE {
            self.shared.count("offsets committed", 1);
            self.shared
                .oracle()
                .groups
                .commits
                .acknowledged(partition, offset);
            return Ok(true);
        }
        codes::expect_of_group("OffsetCommit", code);
        Ok(false)
    }

    async fn leave(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let silently = self.shared.chance(0.3);
        let id = std::mem::take(&mut self.id);
        if silently {
            // Only its session's end tells the coordinator.
            return Err(Lost);
        }
        let request = LeaveGroupRequest {
            group_id: GROUP,
            members: vec![MemberIdentity {
                member_id: &id,
                group_instance_id: self.instance.as_deref(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let body = wire
            .call(ApiKey::LeaveGroup, 5, |writer, version| {
                request.encode(writer, version)
            })
            .await?;
        let answer = LeaveGroupResponse::decode(&mut Reader::new(&body), 5).expect("well-formed");
        if answer.error_code != codes::NONE {
            codes::expect_of_group("LeaveGroup", answer.error_code);
        }
        Ok(())
    }

    /// What a client does about an error: join again, under a new id, or look for the coordinator.
    async fn refused<T>(
        &mut self,
        what: &str,
        code: i16,
        wire: &mut Wire,
    ) -> Result<Option<T>, Lost> {
        codes::expect_of_group(what, code);
        if code == codes::NOT_COORDINATOR || code == codes::COORDINATOR_NOT_AVAILABLE {
            find_coordinator(wire, GROUP).await?;
        } else if code != codes::REBALANCE_IN_PROGRESS
            && code != codes::COORDINATOR_LOAD_IN_PROGRESS
        {
            self.id.clear();
        }
        Ok(None)
    }
}

/// Also makes the offsets topic.
pub async fn find_coordinator(wire: &mut Wire, group: &str) -> Result<i16, Lost> {
    let request = FindCoordinatorRequest {
        coordinator_keys: vec![group],
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::FindCoordinator, 6, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let answer = FindCoordinatorResponse::decode(&mut Reader::new(&body), 6).expect("well-formed");
    Ok(answer.coordinators[0].error_code)
}

/// Reads what is committed, again and again; once more, for certain, when all is healed.
pub async fn audit(shared: Shared, runtime: Runtime) {
    loop {
        let last = shared.is_finishing();
        if let Ok(mut wire) = Wire::connect(&shared, &runtime).await
            && look(&shared, &mut wire).await.unwrap_or(false)
            && last
        {
            break;
        }
        runtime.sleep(shared.up_to_ms(150)).await;
    }
    shared.client_done();
}

/// Whether the committed offsets could be read.
async fn look(shared: &Shared, wire: &mut Wire) -> Result<bool, Lost> {
    let floors = shared.oracle().groups.commits.floors();
    let request = OffsetFetchRequest {
        group_id: GROUP,
        topics: Some(vec![OffsetFetchRequestTopic {
            name: PLAIN.name,
            partition_indexes: (0..PLAIN.partitions).collect(),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::OffsetFetch, 7, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let answer = OffsetFetchResponse::decode(&mut Reader::new(&body), 7).expect("well-formed");
    match answer.error_code {
        codes::NONE => {}
        codes::NOT_COORDINATOR => {
            find_coordinator(wire, GROUP).await?;
            return Ok(false);
        }
        code => {
            codes::expect_of_group("OffsetFetch", code);
            return Ok(false);
        }
    }
    for partition in &answer.topics[0].partitions {
        assert_eq!(partition.error_code, codes::NONE);
        let found = partition.committed_offset;
        let floor = floors.get(&partition.partition_index).copied();
        shared
            .oracle()
            .groups
            .commits
            .found(partition.partition_index, floor, found);
    }
    shared.count("committed offsets read", 1);
    Ok(true)
}
