//! Classic members in a consumer group, and a group's way from one protocol to the other and back.

use std::sync::Arc;

use bytes::Bytes;
use net::messages::data::consumer_protocol_assignment::ConsumerProtocolAssignment;
use net::messages::data::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::wire::{Reader, Writer};

use super::{PartitionSet, Rig, joining, leaving};
use crate::api::ErrorCode;
use crate::groups::error::GroupError;
use crate::groups::request::{GroupReply, GroupRequest, Join, Leave, MemberAt, Sync};

/// A classic consumer's JoinGroup.
fn classic(member: &str, topics: &[&str], owned: &[i32]) -> GroupRequest {
    let mut writer = Writer::new();
    writer.put_i16(1);
    let owned_partitions = match owned {
        [] => Vec::new(),
        owned => vec![
            net::messages::data::consumer_protocol_subscription::TopicPartition {
                topic: "t",
                partitions: owned.to_vec(),
            },
        ],
    };
    let subscription = ConsumerProtocolSubscription {
        topics: topics.to_vec(),
        owned_partitions,
        ..Default::default()
    };
    subscription.encode(&mut writer, 1).unwrap();
    GroupRequest::Join(Box::new(Join {
        who: who(member, -1),
        new_member: "c1".into(),
        id_required: false,
        can_skip_assignment: true,
        client: "classic".into(),
        host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![("cooperative-sticky".into(), writer.to_vec().into())],
    }))
}

fn who(member: &str, generation: i32) -> MemberAt {
    MemberAt {
        group: "g".into(),
        member: member.into(),
        instance: None,
        generation,
    }
}

fn sync(member: &str, generation: i32, assignment: Option<&[i32]>) -> GroupRequest {
    let assignments = assignment.map(|indexes| {
        let mut writer = Writer::new();
        writer.put_i16(1);
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: vec![
                net::messages::data::consumer_protocol_assignment::TopicPartition {
                    topic: "t",
                    partitions: indexes.to_vec(),
                },
            ],
            user_data: None,
        };
        assignment.encode(&mut writer, 1).unwrap();
        (Arc::from(member), Bytes::from(writer.to_vec()))
    });
    GroupRequest::Sync(Box::new(Sync {
        who: who(member, generation),
        protocol_type: Some("consumer".into()),
        protocol: Some("cooperative-sticky".into()),
        assignments: assignments.into_iter().collect(),
    }))
}

fn synced(reply: &GroupReply) -> Vec<i32> {
    let GroupReply::Synced(synced) = reply else {
        panic!("{reply:?}");
    };
    let mut reader = Reader::new(&synced.assignment);
    let version = reader.get_i16().unwrap();
    let read = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    read.assigned_partitions
        .iter()
        .flat_map(|topic| topic.partitions.clone())
        .collect()
}

fn joined(reply: &GroupReply) -> i32 {
    match reply {
        GroupReply::Joined(joined) => joined.generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_back_while_it_reads() {
    let mut rig = Rig::new(&[]);
    // A classic consumer reads everything.
    let first = rig.ask(classic("", &["t"], &[]));
    rig.wait(0);
    let reply = rig
        .replies
        .remove(&first)
        .expect("joined after the initial delay");
    assert_eq!(joined(&reply), 1);
    let reply = rig.answer(sync("c1", 1, Some(&[0, 1, 2, 3])));
    assert_eq!(synced(&reply), [0, 1, 2, 3]);
    assert_eq!(rig.kind(), ("classic", "Stable"));

    // A consumer of the new protocol comes: the group is upgraded, nothing is taken from the classic member yet.
    let new = rig.join("m1");
    assert_eq!(
        (new.epoch, new.assignment),
        (2, Some(PartitionSet::default()))
    );
    assert_eq!(rig.kind(), ("consumer", "Reconciling"));
    rig.assert_survives_a_restart();
    let alive = rig.answer(GroupRequest::Heartbeat(who("c1", 1)));
    assert_eq!(alive, GroupReply::Failed(GroupError::RebalanceInProgress));
    // It joins again with what it owns, is told to keep half, and gives up the rest by joining once more.
    let reply = rig.answer(classic("c1", &["t"], &[0, 1, 2, 3]));
    assert_eq!(joined(&reply), 1);
    let reply = rig.answer(sync("c1", 1, None));
    let kept = synced(&reply);
    assert_eq!(kept.len(), 2);
    assert_eq!(rig.goes_on("m1", 2, &[]).assignment, None);
    let alive = rig.answer(GroupRequest::Heartbeat(who("c1", 1)));
    assert_eq!(alive, GroupReply::Failed(GroupError::RebalanceInProgress));
    let reply = rig.answer(classic("c1", &["t"], &kept));
    assert_eq!(joined(&reply), 2);
    assert_eq!(synced(&rig.answer(sync("c1", 2, None))), kept);
    assert_eq!(
        rig.answer(GroupRequest::Heartbeat(who("c1", 2))),
        GroupReply::Alive
    );
    assert_eq!(rig.goes_on("m1", 2, &[]).assignment.unwrap().len(), 2);
    assert_eq!(rig.kind(), ("consumer", "Stable"));
    let stale = rig.answer(GroupRequest::Heartbeat(who("c1", 1)));
    assert_eq!(stale, GroupReply::Failed(GroupError::IllegalGeneration));
    rig.assert_survives_a_restart();

    // The last consumer of the new protocol goes: a classic group again, which rebalances.
    rig.heartbeat(leaving("m1", -1)).unwrap();
    assert_eq!(rig.kind(), ("classic", "PreparingRebalance"));
    rig.assert_survives_a_restart();
    let again = rig.ask(classic("c1", &["t"], &kept));
    rig.wait(0);
    let reply = rig.replies.remove(&again).expect("everybody joined");
    assert_eq!(joined(&reply), 3);
    let reply = rig.answer(sync("c1", 3, Some(&[0, 1, 2, 3])));
    assert_eq!(synced(&reply), [0, 1, 2, 3]);
    rig.assert_survives_a_restart();
}

#[test]
fn a_classic_member_may_leave_or_fall_silent_in_a_consumer_group() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    let reply = rig.answer(classic("", &["t"], &[]));
    assert_eq!(
        joined(&reply),
        2,
        "joins at the epoch of the last assignment"
    );
    let early = rig.answer(sync("c1", 2, None));
    assert_eq!(early, GroupReply::Failed(GroupError::RebalanceInProgress));
    let leave = |id: &str| {
        GroupRequest::Leave(Leave {
            group: "g".into(),
            members: vec![(id.into(), None)],
        })
    };
    let left = rig.answer(leave("c1"));
    assert_eq!(left, GroupReply::Left(vec![Ok(())]));
    let left = rig.answer(leave("m1"));
    assert_eq!(left, GroupReply::Left(vec![Err(GroupError::UnknownMember)]));
    let reply = rig.answer(classic("", &["t"], &[]));
    assert_eq!(joined(&reply), 2);
    rig.wait(10_000);
    assert_eq!(
        rig.described().members.len(),
        1,
        "its own session timeout counts"
    );
    rig.assert_survives_a_restart();
}

#[test]
fn migration_is_refused_where_the_policy_says_so() {
    let mut rig = Rig::new(&[("group.consumer.migration.policy", "disabled")]);
    let first = rig.ask(classic("", &["t"], &[]));
    rig.wait(0);
    assert_eq!(joined(&rig.replies.remove(&first).unwrap()), 1);
    rig.answer(sync("c1", 1, Some(&[0])));
    let refused = rig.heartbeat(joining("m1", &["t"])).unwrap_err();
    let text = "Group g is not a consumer group.";
    assert_eq!(refused, (ErrorCode::GroupIdNotFound, text.to_owned()));
    assert_eq!(rig.kind(), ("classic", "Stable"));
    rig.assert_survives_a_restart();
}

#[test]
fn an_empty_group_of_one_kind_makes_room_for_the_other() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    rig.heartbeat(leaving("m1", -1)).unwrap();
    let first = rig.ask(classic("", &["t"], &[]));
    rig.wait(0);
    assert_eq!(joined(&rig.replies.remove(&first).unwrap()), 1);
    assert_eq!(rig.kind().0, "classic");
    rig.answer(GroupRequest::Leave(Leave {
        group: "g".into(),
        members: vec![("c1".into(), None)],
    }));
    assert_eq!(rig.kind(), ("classic", "Empty"));
    assert_eq!(rig.join("m2").epoch, 2);
    assert_eq!(rig.kind(), ("consumer", "Stable"));
    rig.assert_survives_a_restart();
}
