//! Commits and fetches of offsets, and what a deleted group leaves.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Rig, at, leaving};
use crate::groups::error::GroupError;
use crate::groups::request::{
    Commit, CommitOffset, FetchOffsets, GroupReply, GroupRequest, MemberAt,
};
use crate::types::TopicId;

#[test]
fn commits_count_at_the_epoch_or_since_the_partition_was_given() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    rig.wait(1_000);
    rig.join("m2");
    rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    rig.goes_on("m1", 2, &at(1, &[0, 1]));
    rig.goes_on("m2", 3, &[]);
    let mut commit = |member: &str, generation: i32, version: i16, index: i32| {
        let who = MemberAt {
            group: "g".into(),
            member: member.into(),
            instance: None,
            generation,
        };
        let offset = CommitOffset {
            topic: "t".into(),
            topic_id: TopicId([1; 16]),
            partition: index,
            offset: 5,
            leader_epoch: -1,
            metadata: None,
        };
        rig.answer(GroupRequest::Commit(Box::new(Commit {
            who,
            version,
            retention_ms: -1,
            offsets: vec![offset],
        })))
    };
    let fine = GroupReply::Committed(vec![Ok(())]);
    let stale = GroupReply::Committed(vec![Err(GroupError::StaleMemberEpoch)]);
    assert_eq!(commit("m1", 3, 9, 0), fine);
    assert_eq!(
        commit("m1", 2, 9, 0),
        fine,
        "on its way when the epoch moved"
    );
    assert_eq!(commit("m1", 2, 9, 3), stale, "given up");
    assert_eq!(commit("m2", 2, 9, 3), stale, "not owned yet at that epoch");
    assert_eq!(commit("m2", 3, 9, 3), fine);
    assert_eq!(
        commit("m1", 4, 9, 0),
        GroupReply::Failed(GroupError::StaleMemberEpoch)
    );
    assert_eq!(
        commit("m1", 3, 8, 0),
        GroupReply::Failed(GroupError::UnsupportedVersion)
    );
    assert_eq!(
        commit("zz", 3, 9, 0),
        GroupReply::Failed(GroupError::UnknownMember)
    );
    assert_eq!(
        commit("", -1, 9, 0),
        GroupReply::Failed(GroupError::UnknownMember)
    );
    let mut fetch = |member: &str, generation: i32| {
        let who = MemberAt {
            group: "g".into(),
            member: member.into(),
            instance: None,
            generation,
        };
        let reply = rig.answer(GroupRequest::FetchOffsets(Box::new(FetchOffsets {
            who,
            require_stable: false,
            partitions: None,
        })));
        match reply {
            GroupReply::Offsets(offsets) => Ok(offsets.len()),
            GroupReply::Failed(error) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch("", -1), Ok(2));
    assert_eq!(fetch("m1", 3), Ok(2));
    assert_eq!(fetch("m1", 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(fetch("zz", 3), Err(GroupError::UnknownMember));
    let delete = |rig: &mut Rig| rig.answer(GroupRequest::DeleteGroup("g".into()));
    assert_eq!(
        delete(&mut rig),
        GroupReply::Failed(GroupError::NonEmptyGroup)
    );
    rig.heartbeat(leaving("m1", -1)).unwrap();
    rig.heartbeat(leaving("m2", -1)).unwrap();
    assert_eq!(delete(&mut rig), GroupReply::GroupDeleted);
    assert!(rig.partition.groups.is_empty());
    let mut last: BTreeMap<Bytes, bool> = BTreeMap::new();
    for record in &rig.log {
        last.insert(record.key.clone(), record.value.is_none());
    }
    assert!(
        last.values().all(|removed| *removed),
        "compaction leaves nothing"
    );
    rig.assert_survives_a_restart();
}
