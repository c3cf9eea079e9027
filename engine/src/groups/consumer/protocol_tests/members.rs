//! Members join, hand partitions over, fall silent and come back.

use super::{
    ConsumerHeartbeat, PartitionSet, Record, Rig, TopicId, at, going_on, joining, leaving, set,
};
use crate::api::ErrorCode;

#[test]
fn the_first_member_gets_everything_and_later_ones_wait_for_the_assignment_interval() {
    let mut rig = Rig::new(&[]);
    let first = rig.join("m1");
    assert_eq!((first.epoch, first.heartbeat_interval_ms), (2, 5_000));
    assert_eq!(first.assignment, Some(set(1, &[0, 1, 2, 3])));
    // Golden: members that come within the interval get the epoch of the last assignment, and nothing yet.
    for (member, topics) in [("m3", &[][..]), ("m4", &["no-such"][..])] {
        let later = rig.heartbeat(joining(member, topics)).unwrap();
        assert_eq!(
            (later.epoch, later.assignment),
            (2, Some(PartitionSet::default()))
        );
    }
    assert_eq!(rig.described().state, "Assigning");
    rig.wait(1_000);
    let calm = rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    assert_eq!((calm.epoch, calm.assignment), (3, None));
    rig.assert_survives_a_restart();
}

#[test]
fn a_partition_moves_when_its_owner_gave_it_up() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    rig.wait(1_000);
    let second = rig.join("m2");
    assert_eq!(
        (second.epoch, second.assignment),
        (3, Some(PartitionSet::default()))
    );
    // The owner is told to give two up and stays at its epoch until it did.
    let told = rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    assert_eq!((told.epoch, told.assignment), (2, Some(set(1, &[0, 1]))));
    assert_eq!(rig.goes_on("m2", 3, &[]).assignment, None);
    let still = rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    assert_eq!((still.epoch, still.assignment), (2, None));
    assert_eq!(rig.described().state, "Reconciling");
    let done = rig.goes_on("m1", 2, &at(1, &[0, 1]));
    assert_eq!((done.epoch, done.assignment), (3, None));
    let gets = rig.goes_on("m2", 3, &[]);
    assert_eq!((gets.epoch, gets.assignment), (3, Some(set(1, &[2, 3]))));
    assert_eq!(rig.described().state, "Stable");
    rig.assert_survives_a_restart();
}

#[test]
fn version_0_lets_the_coordinator_make_the_id() {
    let mut rig = Rig::new(&[]);
    let wish = ConsumerHeartbeat {
        brings_id: false,
        new_member: "made".into(),
        ..joining("", &["t"])
    };
    assert_eq!(&*rig.heartbeat(wish).unwrap().member, "made");
}

#[test]
fn silence_and_slow_revocation_cost_the_membership() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    rig.wait(1_000);
    rig.join("m2");
    // m1 is told to give partitions up and goes on reporting them; its rebalance timeout is 5 s.
    rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    rig.wait(4_000);
    rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    rig.wait(1_000);
    let fenced = rig
        .heartbeat(going_on("m1", 2, &at(1, &[0, 1, 2, 3])))
        .unwrap_err();
    assert_eq!(fenced.0, ErrorCode::UnknownMemberId);
    let all = rig.goes_on("m2", 3, &[]);
    assert_eq!(
        (all.epoch, all.assignment),
        (4, Some(set(1, &[0, 1, 2, 3])))
    );
    // m2 falls silent.
    rig.wait(44_999);
    assert_eq!(rig.described().members.len(), 1);
    rig.wait(1);
    assert_eq!(rig.described().state, "Empty");
    rig.assert_survives_a_restart();
}

#[test]
fn timers_of_members_come_back_after_a_restart() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    rig.wait(40_000);
    rig.partition = rig.restarted();
    rig.wait(44_999);
    assert_eq!(
        rig.described().members.len(),
        1,
        "a restart gives a whole session"
    );
    rig.wait(1);
    assert_eq!(rig.described().state, "Empty");
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut rig = Rig::new(&[]);
    let with = |wish: ConsumerHeartbeat| ConsumerHeartbeat {
        instance: Some("i1".into()),
        ..wish
    };
    let first = rig.heartbeat(with(joining("m1", &["t"]))).unwrap();
    assert_eq!(first.epoch, 2);
    rig.wait(1_000);
    let other = rig.heartbeat(with(joining("m2", &["t"]))).unwrap_err();
    assert_eq!(other.0, ErrorCode::UnreleasedInstanceId);
    let gone = rig.heartbeat(with(leaving("m1", -2))).unwrap();
    assert_eq!(gone.epoch, -2);
    let epoch = rig.described().epoch;
    let back = rig.heartbeat(with(joining("m2", &["t"]))).unwrap();
    assert_eq!(
        (back.epoch, back.assignment),
        (2, Some(set(1, &[0, 1, 2, 3])))
    );
    assert_eq!(rig.described().epoch, epoch, "nobody else notices");
    let fenced = rig.heartbeat(with(going_on("m1", 2, &[]))).unwrap_err();
    assert_eq!(fenced.0, ErrorCode::FencedInstanceId);
    rig.assert_survives_a_restart();
    // Gone for longer than its session, its partitions are free.
    rig.heartbeat(with(leaving("m2", -2))).unwrap();
    rig.wait(45_000);
    assert_eq!(rig.described().state, "Empty");
    rig.assert_survives_a_restart();
}

#[test]
fn a_pattern_follows_the_topics() {
    let mut rig = Rig::new(&[]);
    let wish = ConsumerHeartbeat {
        pattern: Some("t.*".into()),
        topics: None,
        ..joining("m1", &[])
    };
    // As in Kafka the pattern is resolved behind the first answer.
    let first = rig.heartbeat(wish).unwrap();
    assert_eq!(
        (first.epoch, first.assignment),
        (1, Some(PartitionSet::default()))
    );
    rig.assert_survives_a_restart();
    rig.wait(0);
    let first = rig.goes_on("m1", 1, &[]);
    assert_eq!(
        (first.epoch, first.assignment),
        (2, Some(set(1, &[0, 1, 2, 3])))
    );
    rig.assert_survives_a_restart();
    rig.make_topic("t-new", 7, 1);
    rig.wait(1_000);
    let more = rig.goes_on("m1", 2, &at(1, &[0, 1, 2, 3]));
    assert_eq!(more.epoch, 3);
    assert_eq!(more.assignment.unwrap().len(), 5);
    let removed = TopicId([1; 16]);
    rig.image
        .apply(&Record::RemoveTopic { id: removed })
        .unwrap();
    rig.wait(1_000);
    let less = rig.goes_on("m1", 3, &at(7, &[0]));
    assert_eq!((less.epoch, less.assignment), (4, Some(set(7, &[0]))));
    rig.heartbeat(leaving("m1", -1)).unwrap();
    rig.assert_survives_a_restart();
}
