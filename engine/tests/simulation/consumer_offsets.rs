//! Offsets that members of the consumer protocol commit at their epochs, and the auditor who reads them.

use std::collections::BTreeMap;

use net::messages::ApiKey;
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use net::platform::Runtime;
use net::wire::{Reader, Uuid};

use crate::codes;
use crate::consumer_groups::{GROUP, Member};
use crate::groups::find_coordinator;
use crate::oracle::consumer_groups::Part;
use crate::shared::Shared;
use crate::topics::PLAIN;
use crate::wire::{Lost, Wire};

/// The first version with member epochs, and the first that names topics by id.
const BY_NAME: i16 = 9;
const BY_ID: i16 = 10;
const FETCH_VERSION: i16 = 10;

/// Commits for some of what the member owns.
pub async fn commit(member: &mut Member, wire: &mut Wire) -> Result<(), Lost> {
    let owned: Vec<Part> = member.owned.iter().copied().collect();
    for part in owned {
        if !member.keeps_lease() {
            return Ok(());
        }
        if member.shared.chance(0.5) {
            commit_one(member, wire, part).await?;
        }
    }
    Ok(())
}

async fn commit_one(member: &Member, wire: &mut Wire, part: Part) -> Result<(), Lost> {
    let shared = &member.shared;
    // An epoch that nobody was told must not count.
    let ahead = shared.chance(0.05);
    let (offset, plain) = {
        let mut oracle = shared.oracle();
        let offset = oracle.consumer_groups.commits.sends(part);
        (offset, oracle.id_of(PLAIN.name))
    };
    let by_name = plain == Some(part.0) && shared.chance(0.5);
    let partition = OffsetCommitRequestPartition {
        partition_index: part.1,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(""),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: if by_name { PLAIN.name } else { "" },
        topic_id: Uuid(if by_name { [0; 16] } else { part.0 }),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: member.epoch + if ahead { 1_000 } else { 0 },
        member_id: &member.id,
        group_instance_id: member.instance.as_deref(),
        topics: vec![topic],
        ..Default::default()
    };
    let version = if by_name { BY_NAME } else { BY_ID };
    let body = wire
        .call(ApiKey::OffsetCommit, version, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let answer = OffsetCommitResponse::decode(&mut Reader::new(&body), version)
        .expect("a well-formed answer");
    let code = answer.topics[0].partitions[0].error_code;
    match code {
        codes::NONE => {
            assert!(!ahead, "{part:?}: a commit at an epoch ahead is taken");
            shared.count("offsets committed at a member epoch", 1);
            let mut oracle = shared.oracle();
            oracle.consumer_groups.commits.acknowledged(part, offset);
        }
        codes::STALE_MEMBER_EPOCH => shared.count("commits at a stale member epoch", 1),
        code => codes::expect_of_consumer_group("OffsetCommit", code),
    }
    Ok(())
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
        runtime.sleep(shared.up_to_ms(250)).await;
    }
    shared.client_done();
}

/// Whether the committed offsets could be read.
async fn look(shared: &Shared, wire: &mut Wire) -> Result<bool, Lost> {
    let floors = shared.oracle().consumer_groups.commits.floors();
    let mut by_topic: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
    for (topic, partition) in floors.keys() {
        by_topic.entry(*topic).or_default().push(*partition);
    }
    let topics = by_topic
        .into_iter()
        .map(|(topic, partition_indexes)| OffsetFetchRequestTopics {
            topic_id: Uuid(topic),
            partition_indexes,
            ..Default::default()
        });
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: GROUP,
            member_id: None,
            member_epoch: -1,
            topics: Some(topics.collect()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::OffsetFetch, FETCH_VERSION, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let answer = OffsetFetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION)
        .expect("a well-formed answer");
    let group = &answer.groups[0];
    match group.error_code {
        codes::NONE => {}
        codes::NOT_COORDINATOR => {
            find_coordinator(wire, GROUP).await?;
            return Ok(false);
        }
        code => {
            codes::expect_of_consumer_group("OffsetFetch", code);
            return Ok(false);
        }
    }
    let mut answered = 0;
    for topic in &group.topics {
        for partition in &topic.partitions {
            assert_eq!(partition.error_code, codes::NONE);
            let part = (topic.topic_id.0, partition.partition_index);
            let floor = floors.get(&part).copied();
            let mut oracle = shared.oracle();
            let commits = &mut oracle.consumer_groups.commits;
            commits.found(part, floor, partition.committed_offset);
            answered += 1;
        }
    }
    assert_eq!(answered, floors.len(), "every partition is answered");
    shared.count("offsets of consumers read", u64::from(answered > 0));
    Ok(true)
}
