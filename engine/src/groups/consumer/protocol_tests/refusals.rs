//! What a heartbeat is refused with, and that nothing of it stays.

use std::sync::Arc;

use super::{ConsumerHeartbeat, Rig, at, going_on, joining, leaving, set};
use crate::api::ErrorCode;

/// A heartbeat and what it is refused with.
type Refusal = (ConsumerHeartbeat, ErrorCode, &'static str);

fn refused_joins() -> Vec<Refusal> {
    vec![
        (
            joining("", &["t"]),
            ErrorCode::InvalidRequest,
            "MemberId can't be empty.",
        ),
        (
            ConsumerHeartbeat {
                group: "".into(),
                ..joining("m", &[])
            },
            ErrorCode::InvalidRequest,
            "GroupId can't be empty.",
        ),
        (
            ConsumerHeartbeat {
                topics: None,
                ..joining("m2", &[])
            },
            ErrorCode::InvalidRequest,
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (
            ConsumerHeartbeat {
                rebalance_timeout_ms: -1,
                ..joining("m2", &["t"])
            },
            ErrorCode::InvalidRequest,
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (
            ConsumerHeartbeat {
                owned: Some(set(1, &[0])),
                ..joining("m2", &["t"])
            },
            ErrorCode::InvalidRequest,
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            ConsumerHeartbeat {
                assignor: Some("nope".into()),
                ..joining("m2", &["t"])
            },
            ErrorCode::UnsupportedAssignor,
            "ServerAssignor nope is not supported. Supported assignors: uniform, range.",
        ),
        (
            ConsumerHeartbeat {
                pattern: Some("[".into()),
                topics: None,
                ..joining("m2", &[])
            },
            ErrorCode::InvalidRegularExpression,
            "SubscribedTopicRegex `[` is not a valid regular expression: unclosed character class.",
        ),
    ]
}

fn refused_others() -> Vec<Refusal> {
    vec![
        (
            going_on("m1", 50, &[]),
            ErrorCode::FencedMemberEpoch,
            "The consumer group member has a greater member epoch (50) than the one known by the group coordinator \
             (2). The member must abandon all its partitions and rejoin.",
        ),
        (
            going_on("m1", -5, &[]),
            ErrorCode::InvalidRequest,
            "MemberEpoch is invalid.",
        ),
        (
            going_on("zz", 1, &[]),
            ErrorCode::UnknownMemberId,
            "Member zz is not a member of group g.",
        ),
        (
            ConsumerHeartbeat {
                group: "no-such-c".into(),
                ..going_on("m1", 1, &[])
            },
            ErrorCode::GroupIdNotFound,
            "Consumer group no-such-c not found.",
        ),
        (
            leaving("zz", -1),
            ErrorCode::UnknownMemberId,
            "Member zz is not a member of group g.",
        ),
        (
            ConsumerHeartbeat {
                group: "no-such-c".into(),
                ..leaving("m1", -1)
            },
            ErrorCode::GroupIdNotFound,
            "Group no-such-c not found.",
        ),
        (
            leaving("m1", -2),
            ErrorCode::InvalidRequest,
            "InstanceId can't be null.",
        ),
        (
            ConsumerHeartbeat {
                instance: Some("".into()),
                ..joining("m2", &["t"])
            },
            ErrorCode::InvalidRequest,
            "InstanceId can't be empty.",
        ),
        (
            ConsumerHeartbeat {
                rack: Some("".into()),
                ..joining("m2", &["t"])
            },
            ErrorCode::InvalidRequest,
            "RackId can't be empty.",
        ),
    ]
}

#[test]
fn refusals_are_kafkas_in_code_and_words() {
    let mut rig = Rig::new(&[]);
    rig.join("m1");
    let records = rig.log.len();
    for (wish, code, message) in refused_joins().into_iter().chain(refused_others()) {
        assert_eq!(rig.heartbeat(wish), Err((code, message.to_owned())));
    }
    assert_eq!(rig.log.len(), records, "a refusal changes nothing");
    let left = rig.heartbeat(leaving("m1", -1)).unwrap();
    assert_eq!(
        (left.epoch, left.heartbeat_interval_ms, left.assignment),
        (-1, 0, None)
    );
    assert_eq!(rig.described().state, "Empty");
    rig.assert_survives_a_restart();
}

#[test]
fn a_subscription_that_no_record_should_hold_is_refused() {
    let mut rig = Rig::new(&[]);
    let name: Arc<str> = "x".repeat(30_000).into();
    let wish = ConsumerHeartbeat {
        topics: Some(vec![name; 200]),
        ..joining("m1", &[])
    };
    assert_eq!(
        rig.heartbeat(wish).unwrap_err().0,
        ErrorCode::InvalidRequest
    );
    assert!(rig.log.is_empty());
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut rig = Rig::new(&[("group.consumer.max.size", "1")]);
    rig.join("m1");
    let refused = rig.heartbeat(joining("m2", &["t"])).unwrap_err();
    let text = "The consumer group has reached its maximum capacity of 1 members.";
    assert_eq!(refused, (ErrorCode::GroupMaxSizeReached, text.to_owned()));
    assert_eq!(rig.join("m1").epoch, 2);
}

#[test]
fn a_decision_that_the_log_would_not_take_is_taken_back() {
    let mut rig = Rig::new(&[("message.max.bytes", "1000")]);
    let epoch = rig.join("m1").epoch;
    let owned = rig.goes_on("m1", epoch, &[]);
    assert_eq!(owned.epoch, epoch);
    let before = (rig.log.len(), rig.described());
    let names: Vec<String> = (0..100).map(|number| format!("topic-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A new member, and one that changes its mind.
    let mut changed = going_on("m1", epoch, &at(1, &[0, 1, 2, 3]));
    changed.topics = Some(names.iter().map(|name| Arc::from(*name)).collect());
    for wish in [joining("m2", &names), changed] {
        let (code, _) = rig.heartbeat(wish).unwrap_err();
        assert_eq!(code, ErrorCode::UnknownServerError);
        assert_eq!((rig.log.len(), rig.described()), before);
        rig.assert_survives_a_restart();
    }
    // Nobody waits for what was refused, and the group goes on.
    assert_eq!(rig.goes_on("m1", epoch, &at(1, &[0, 1, 2, 3])).epoch, epoch);
    rig.wait(1_000);
    assert!(rig.join("m3").epoch > epoch);
    rig.assert_survives_a_restart();
}
