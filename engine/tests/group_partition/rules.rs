//! Kafka's rules for classic groups, one by one (RELIABILITY §2.5).

use engine::groups::consumer::partitions::PartitionSet;
use engine::groups::consumer::request::ConsumerHeartbeat;
use engine::groups::record::GroupRecord;
use engine::groups::{GroupError, GroupReply, GroupRequest};
use engine::limits::GROUP_DEADLINES_PER_PARTITION_MAX;

use crate::world::{GROUP, World, at, subscription};

const DELAY: i64 = 3_000;

/// Two members `a` (leader) and `b` in generation 1, `a` owning "0" and `b` owning "1".
fn stable_pair(world: &mut World) {
    let (a, b) = (world.join_new("a"), world.join_new("b"));
    world.pass(2 * DELAY);
    assert_eq!(world.joined(a).generation, 1);
    assert_eq!(world.joined(b).members.len(), 0);
    let waiting = world.sync("b", 1, &[]);
    let led = world.sync("a", 1, &[("a", "0"), ("b", "1")]);
    assert_eq!(world.share(led).expect("synced"), "0");
    assert_eq!(world.share(waiting).expect("synced"), "1");
}

#[test]
fn a_first_generation_waits_for_members_that_start_together() {
    let mut world = World::new(&[]);
    let a = world.join_new("a");
    world.pass(DELAY - 1);
    assert_eq!(world.answer(a), None, "the initial delay is not over");
    let b = world.join_new("b");
    world.pass(DELAY);
    assert_eq!(world.answer(a), None, "a newcomer extends the delay");
    world.pass(DELAY);
    let (a, b) = (world.joined(a), world.joined(b));
    assert_eq!((a.generation, b.generation), (1, 1));
    assert_eq!(a.leader.as_deref(), Some("a"));
    let members: Vec<&str> = a.members.iter().map(|(id, ..)| &**id).collect();
    assert_eq!((members, b.members.len()), (vec!["a", "b"], 0));
}

#[test]
fn an_assignment_leaves_only_when_it_is_durable() {
    let mut world = World::new(&[]);
    let a = world.join_new("a");
    world.pass(DELAY);
    world.joined(a);
    let led = world.sync("a", 1, &[("a", "all")]);
    assert_eq!(world.answer(led), None);
    world.flush(1);
    assert!(matches!(world.answer(led), Some(GroupReply::Synced(_))));
}

#[test]
fn wrong_generations_members_protocols_and_timeouts_are_refused() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    assert_eq!(world.heartbeat("a", 1), Ok(()));
    assert_eq!(world.heartbeat("a", 2), Err(GroupError::IllegalGeneration));
    assert_eq!(world.heartbeat("x", 1), Err(GroupError::UnknownMember));
    assert_eq!(world.commit("a", 0, 5), Err(GroupError::IllegalGeneration));
    assert_eq!(world.commit("x", 1, 5), Err(GroupError::UnknownMember));
    assert_eq!(
        world.commit("", -1, 5),
        Err(GroupError::UnknownMember),
        "an outsider"
    );
    assert_eq!(world.commit("a", 1, 5), Ok(()));
    let mut stranger = World::join_of("", None, "s");
    stranger.protocols = vec![("other".into(), subscription(&["t"]))];
    let refused = world.ask(GroupRequest::Join(Box::new(stranger)));
    let Some(GroupReply::JoinRefused(error, _)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error, GroupError::InconsistentProtocol);
    let mut impatient = World::join_of("", None, "s");
    impatient.session_timeout_ms = 5_999;
    let refused = world.ask(GroupRequest::Join(Box::new(impatient)));
    let Some(GroupReply::JoinRefused(error, _)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error, GroupError::InvalidSessionTimeout);
}

#[test]
fn a_silent_member_is_out_and_the_others_join_again() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    world.pass(6_000);
    assert_eq!(world.heartbeat("a", 1), Ok(()));
    world.pass(6_000);
    assert_eq!(world.heartbeat("b", 1), Err(GroupError::UnknownMember));
    assert_eq!(
        world.heartbeat("a", 1),
        Err(GroupError::RebalanceInProgress)
    );
    let a = world.join(World::join_of("a", None, "unused"));
    let joined = world.joined(a);
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
}

#[test]
fn who_leaves_makes_room_at_once_and_an_empty_group_is_remembered() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    assert_eq!(world.commit("a", 1, 7), Ok(()));
    assert_eq!(world.leave("b", None), Ok(()));
    assert_eq!(world.leave("b", None), Err(GroupError::UnknownMember));
    assert_eq!(world.leave("a", None), Ok(()));
    assert_eq!(world.groups(), [(GROUP.to_owned(), "Empty")]);
    world.crash();
    assert_eq!(world.groups(), [(GROUP.to_owned(), "Empty")]);
    assert_eq!(world.offsets(GROUP).len(), 1);
    assert_eq!(world.commit("", -1, 9), Ok(()), "now an outsider may");
}

#[test]
fn a_restart_keeps_the_generation_and_its_members() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    world.crash();
    assert_eq!(world.heartbeat("a", 1), Ok(()));
    let again = world.sync("b", 1, &[]);
    assert_eq!(world.share(again).expect("still synced"), "1");
    world.pass(11_000);
    assert_eq!(
        world.groups(),
        [(GROUP.to_owned(), "Empty")],
        "both were silent"
    );
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_predecessor() {
    let mut world = World::new(&[]);
    let first = world.join(World::join_of("", Some("i"), "i-1"));
    world.pass(DELAY);
    assert_eq!(&*world.joined(first).member, "i-1");
    let led = world.sync("i-1", 1, &[("i-1", "all")]);
    world.share(led);
    let second = world.join(World::join_of("", Some("i"), "i-2"));
    let joined = world.joined(second);
    assert_eq!((joined.generation, &*joined.member), (1, "i-2"));
    assert!(
        joined.skip_assignment,
        "the leader must not assign anew (KIP-814)"
    );
    let again = world.sync("i-2", 1, &[]);
    assert_eq!(world.share(again).expect("the old share"), "all");
    assert_eq!(
        world.heartbeat_of(at("i-1", Some("i"), 1)),
        Err(GroupError::FencedInstance)
    );
    assert_eq!(world.heartbeat_of(at("i-2", Some("i"), 1)), Ok(()));
    world.crash();
    assert_eq!(world.heartbeat_of(at("i-2", Some("i"), 1)), Ok(()));
    assert_eq!(
        world.leave("", Some("i")),
        Ok(()),
        "by its instance id alone"
    );
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut world = World::new(&[("group.max.size", "2")]);
    stable_pair(&mut world);
    let refused = world.ask(GroupRequest::Join(Box::new(World::join_of("", None, "c"))));
    assert_eq!(
        refused,
        Some(GroupReply::JoinRefused(GroupError::GroupFull, "".into()))
    );
    assert_eq!(world.heartbeat("a", 1), Ok(()));
}

#[test]
fn an_id_that_is_never_used_holds_nobody_up_for_long() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    assert!(matches!(
        world.ask(GroupRequest::Join(Box::new(World::join_of(
            "", None, "ghost"
        )))),
        Some(GroupReply::JoinRefused(GroupError::MemberIdRequired, _))
    ));
    assert_eq!(
        world.heartbeat("a", 1),
        Ok(()),
        "no rebalance for it (KIP-394)"
    );
    let c = world.join_new("c");
    let (a, b) = (
        world.join(World::join_of("a", None, "")),
        world.join(World::join_of("b", None, "")),
    );
    world.flush(1_000);
    assert_eq!(world.answer(a), None, "the ghost may still come");
    world.pass(10_000);
    for member in [a, b, c] {
        assert_eq!(world.joined(member).generation, 2);
    }
}

#[test]
fn members_that_do_not_fetch_their_assignment_are_out() {
    let mut world = World::new(&[]);
    let (a, b) = (world.join_new("a"), world.join_new("b"));
    world.pass(2 * DELAY);
    world.joined(a);
    world.joined(b);
    let led = world.sync("a", 1, &[("a", "0"), ("b", "1")]);
    world.share(led);
    for _ in 0..3 {
        world.pass(7_000);
        let _ = world.heartbeat("a", 1);
        let _ = world.heartbeat("b", 1);
    }
    assert_eq!(world.heartbeat("b", 1), Err(GroupError::UnknownMember));
    assert_eq!(
        world.heartbeat("a", 1),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn offsets_expire_only_of_groups_that_nobody_uses_and_the_group_goes_with_them() {
    let mut world = World::new(&[("offsets.retention.minutes", "10")]);
    stable_pair(&mut world);
    assert_eq!(world.commit("a", 1, 5), Ok(()));
    for _ in 0..200 {
        world.pass(9_000);
        assert_eq!(world.heartbeat("a", 1), Ok(()));
        assert_eq!(world.heartbeat("b", 1), Ok(()));
    }
    assert_eq!(
        world.offsets(GROUP).len(),
        1,
        "half an hour, and still used"
    );
    world.pass(20_000);
    assert_eq!(world.groups(), [(GROUP.to_owned(), "Empty")]);
    world.pass(9 * 60_000);
    assert_eq!(world.offsets(GROUP).len(), 1, "nine minutes empty");
    world.pass(12 * 60_000);
    assert_eq!((world.offsets(GROUP), world.groups()), (vec![], vec![]));
    world.crash();
    assert_eq!((world.offsets(GROUP), world.groups()), (vec![], vec![]));
}

#[test]
fn offsets_of_consumers_that_assign_themselves_expire_by_their_commit() {
    let mut world = World::new(&[("offsets.retention.minutes", "10")]);
    assert_eq!(world.commit("", -1, 5), Ok(()));
    world.pass(9 * 60_000);
    assert_eq!(world.offsets(GROUP).len(), 1);
    assert_eq!(world.commit("", -1, 6), Ok(()));
    world.pass(9 * 60_000);
    assert_eq!(world.offsets(GROUP).len(), 1);
    world.pass(12 * 60_000);
    assert_eq!((world.offsets(GROUP), world.groups()), (vec![], vec![]));
}

#[test]
fn only_empty_groups_are_deleted_and_stay_deleted() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    assert_eq!(world.commit("a", 1, 5), Ok(()));
    let delete = || GroupRequest::DeleteGroup(GROUP.into());
    assert_eq!(
        world.ask(delete()),
        Some(GroupReply::Failed(GroupError::NonEmptyGroup))
    );
    let kept = GroupRequest::DeleteOffsets(GROUP.into(), vec![("t".into(), 0), ("u".into(), 0)]);
    assert_eq!(
        world.ask(kept),
        Some(GroupReply::OffsetsDeleted(vec![
            Err(GroupError::SubscribedToTopic),
            Ok(())
        ]))
    );
    assert_eq!(world.leave("a", None), Ok(()));
    assert_eq!(world.leave("b", None), Ok(()));
    assert_eq!(world.ask(delete()), Some(GroupReply::GroupDeleted));
    assert_eq!(
        world.ask(delete()),
        Some(GroupReply::Failed(GroupError::GroupNotFound))
    );
    world.crash();
    assert_eq!((world.offsets(GROUP), world.groups()), (vec![], vec![]));
}

#[test]
fn a_commit_that_was_not_durable_is_neither_answered_nor_seen_after_a_crash() {
    let mut world = World::new(&[]);
    assert_eq!(world.commit("", -1, 5), Ok(()));
    let second = world.send(World::commit_of(at("", None, -1), "t", 0, 6));
    let fetched = world.send(GroupRequest::Describe(GROUP.into()));
    assert_eq!(world.answer(second), None);
    assert_eq!(world.answer(fetched), None, "what it shows could be lost");
    world.crash();
    assert_eq!(world.offsets(GROUP)[0].2, 5);
}

fn consumer_heartbeat(epoch: i32) -> GroupRequest {
    GroupRequest::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        group: GROUP.into(),
        member: "m".into(),
        brings_id: true,
        epoch,
        rebalance_timeout_ms: 20_000,
        topics: Some(vec!["t".into()]),
        owned: Some(PartitionSet::default()),
        ..ConsumerHeartbeat::default()
    }))
}

#[test]
fn a_refused_classic_member_leaves_the_offsets_of_an_empty_consumer_group_to_expire() {
    let mut world = World::new(&[("offsets.retention.minutes", "10")]);
    for epoch in [0, -1] {
        assert!(matches!(
            world.ask(consumer_heartbeat(epoch)),
            Some(GroupReply::ConsumerHeartbeat(_))
        ));
    }
    assert_eq!(world.commit("", -1, 5), Ok(()));
    let stranger = World::join_of("stranger", None, "unused");
    assert_eq!(
        world.ask(GroupRequest::Join(Box::new(stranger))),
        Some(GroupReply::JoinRefused(
            GroupError::UnknownMember,
            "stranger".into()
        ))
    );
    assert_eq!(world.groups().len(), 1, "its offsets belong to it");
    world.pass(30 * 60_000);
    assert_eq!((world.offsets(GROUP), world.groups()), (vec![], vec![]));
}

#[test]
fn ids_that_are_given_out_are_bounded_and_members_go_on() {
    let mut world = World::new(&[]);
    stable_pair(&mut world);
    let wish = |number: usize| World::join_of("", None, &format!("ghost-{number}"));
    let mut given = 0;
    loop {
        match world.ask(GroupRequest::Join(Box::new(wish(given)))) {
            Some(GroupReply::JoinRefused(GroupError::MemberIdRequired, _)) => given += 1,
            other => {
                assert_eq!(other, Some(GroupReply::Failed(GroupError::LimitReached)));
                break;
            }
        }
        assert!(given < GROUP_DEADLINES_PER_PARTITION_MAX, "no bound");
    }
    assert_eq!(
        world.ask(consumer_heartbeat(0)),
        Some(GroupReply::Failed(GroupError::LimitReached))
    );
    assert_eq!(world.heartbeat("a", 1), Ok(()));
    world.pass(9_000);
    assert_eq!(world.heartbeat("a", 1), Ok(()));
    world.pass(2_000);
    assert!(matches!(
        world.ask(GroupRequest::Join(Box::new(wish(0)))),
        Some(GroupReply::JoinRefused(GroupError::MemberIdRequired, _))
    ));
}

#[test]
fn offsets_of_groups_of_other_types_stay() {
    let mut world = World::new(&[("offsets.retention.minutes", "10")]);
    world.partition.replay(&GroupRecord::Foreign {
        group: Some(GROUP),
        tombstone: false,
    });
    assert_eq!(world.commit("", -1, 5), Ok(()));
    world.pass(60 * 60_000);
    assert_eq!(world.offsets(GROUP).len(), 1);
}

#[test]
fn a_group_whose_record_the_log_would_not_take_gets_no_assignment() {
    // Neither metadata nor assignments are large here: names are, and they stand in the record, too.
    for (host, fits) in [("h", true), (&*"h".repeat(1_000), false)] {
        let mut world = World::new(&[("message.max.bytes", "2000")]);
        let wish = |id: &str| engine::groups::request::Join {
            host: host.into(),
            ..World::join_of("", Some(id), id)
        };
        let (a, b) = (world.join(wish("a")), world.join(wish("b")));
        world.pass(2 * DELAY);
        let (a, _) = (world.joined(a), world.joined(b));
        let leader = a.leader.expect("somebody leads");
        let token = world.sync_static(&leader, a.generation);
        world.flush(usize::MAX / 2);
        let answer = world.answer(token);
        let refused = GroupReply::Failed(GroupError::LimitReached);
        assert_eq!(answer == Some(refused), !fits, "{answer:?}");
        let state = if fits { "Stable" } else { "PreparingRebalance" };
        assert_eq!(world.groups(), [(GROUP.to_owned(), state)]);
        assert!(world.largest_record() < 2_000);
    }
}
