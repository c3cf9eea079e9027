//! The consumer protocol through the seam of a partition: what clients are told, step by step.
//!
//! The expected answers are those of Apache Kafka 4.3.1 (golden `errors/groups.jsonl`, and its documentation where the
//! golden run has no case). Every test ends with a restart from the records it wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use net::messages::data::consumer_protocol_assignment::ConsumerProtocolAssignment;
use net::messages::data::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::wire::{Reader, Writer};
use tuning::BrokerConfig;

use super::partitions::PartitionSet;
use super::request::{
    ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatReply, HeartbeatAccepted,
};
use crate::api::ErrorCode;
use crate::cluster::{MetadataImage, Record};
use crate::groups::error::GroupError;
use crate::groups::partition::{Group, GroupPartition};
use crate::groups::record::GroupRecord;
use crate::groups::request::{
    Commit, CommitOffset, FetchOffsets, GroupReply, GroupRequest, Join, Leave, ListFilter,
    MemberAt, Sync,
};
use crate::groups::settings::GroupSettings;
use crate::groups::turn::{Effects, EncodedRecord, Now, Token};
use crate::types::{LeaderEpoch, PartitionId, TopicId};

struct Rig {
    partition: GroupPartition,
    image: MetadataImage,
    now: Now,
    log: Vec<EncodedRecord>,
    tokens: u64,
    replies: BTreeMap<Token, GroupReply>,
}

impl Rig {
    fn new(settings: &[(&str, &str)]) -> Rig {
        let mut pairs = vec![("group.initial.rebalance.delay.ms", "0")];
        pairs.extend(settings);
        let config = Arc::new(BrokerConfig::from_pairs(&pairs).unwrap());
        let mut rig = Rig {
            partition: GroupPartition::default(),
            image: MetadataImage::empty("AAAAAAAAAAAAAAAAAAAAAA", config),
            now: Now {
                monotonic_ms: 0,
                wall_ms: 1_700_000_000_000,
            },
            log: Vec::new(),
            tokens: 0,
            replies: BTreeMap::new(),
        };
        rig.make_topic("t", 1, 4);
        rig.make_topic("u", 2, 2);
        rig
    }

    fn make_topic(&mut self, name: &str, id: u8, partitions: i32) {
        let id = TopicId([id; 16]);
        let name = name.to_owned();
        self.image.apply(&Record::Topic { name, id }).unwrap();
        for index in 0..partitions {
            let record = Record::Partition {
                topic_id: id,
                index,
                leader: self.image.node_id,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
            };
            self.image.apply(&record).unwrap();
        }
    }

    fn settings(&self) -> GroupSettings {
        GroupSettings::of(&self.image.broker_config)
    }

    fn keep(&mut self, effects: Effects) {
        self.log.extend(effects.records);
        self.replies.extend(effects.replies);
    }

    /// Asks; the answer is there at once or comes with a later decision.
    fn ask(&mut self, request: GroupRequest) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let (now, settings) = (self.now, self.settings());
        let effects = self
            .partition
            .handle(now, &settings, &self.image, token, request);
        self.keep(effects);
        token
    }

    fn answer(&mut self, request: GroupRequest) -> GroupReply {
        let token = self.ask(request);
        self.replies.remove(&token).expect("answered at once")
    }

    fn heartbeat(
        &mut self,
        wish: ConsumerHeartbeat,
    ) -> Result<HeartbeatAccepted, (ErrorCode, String)> {
        match self.answer(GroupRequest::ConsumerHeartbeat(Box::new(wish))) {
            GroupReply::ConsumerHeartbeat(reply) => match *reply {
                ConsumerHeartbeatReply::Accepted(accepted) => Ok(accepted),
                ConsumerHeartbeatReply::Refused(error) => Err(((&error).into(), error.to_string())),
            },
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, member: &str) -> HeartbeatAccepted {
        self.heartbeat(joining(member, &["t"])).unwrap()
    }

    /// The member reports `owned` at `epoch` and says nothing else.
    fn goes_on(&mut self, member: &str, epoch: i32, owned: &[PartitionId]) -> HeartbeatAccepted {
        self.heartbeat(going_on(member, epoch, owned)).unwrap()
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now.monotonic_ms += milliseconds;
        self.now.wall_ms += milliseconds;
        let settings = self.settings();
        for _ in 0..1_000 {
            let Some(effects) = self.partition.poll_timers(self.now, &settings, &self.image) else {
                return;
            };
            self.keep(effects);
        }
        panic!("timers do not come to an end");
    }

    fn described(&mut self) -> ConsumerDescription {
        match self.answer(GroupRequest::ConsumerDescribe("g".into())) {
            GroupReply::ConsumerDescribed(described) => *described,
            other => panic!("{other:?}"),
        }
    }

    fn kind(&mut self) -> (&'static str, &'static str) {
        match self.answer(GroupRequest::List(ListFilter::default())) {
            GroupReply::Listed(listed) => (listed[0].kind, listed[0].state),
            other => panic!("{other:?}"),
        }
    }

    /// The partition as a restart finds it: what was written, read again.
    fn restarted(&mut self) -> GroupPartition {
        let mut partition = GroupPartition::default();
        for record in &self.log {
            let record = GroupRecord::decode(Some(&record.key), record.value.as_deref());
            partition.replay(&record.unwrap());
        }
        let settings = self.settings();
        partition.loaded(self.now, &settings, &self.image);
        partition
    }

    fn assert_survives_a_restart(&mut self) {
        let described = |partition: &GroupPartition| {
            let groups = partition.groups.iter();
            let text = groups.map(|(name, group)| match group {
                Group::Consumer(group) => {
                    group.assert_consistent();
                    let settings = super::ConsumerGroupSettings::default();
                    format!("{name}: {:?}", group.describe(&settings))
                }
                Group::Classic(group) => {
                    format!(
                        "{name}: {} {:?}",
                        group.generation(),
                        group.members().keys()
                    )
                }
            });
            text.collect::<Vec<_>>()
        };
        let restarted = self.restarted();
        assert_eq!(described(&restarted), described(&self.partition));
    }
}

fn at(topic: u8, indexes: &[i32]) -> Vec<PartitionId> {
    let ids = indexes.iter().map(|index| PartitionId {
        topic_id: TopicId([topic; 16]),
        index: *index,
    });
    ids.collect()
}

fn set(topic: u8, indexes: &[i32]) -> PartitionSet {
    at(topic, indexes).into_iter().collect()
}

fn joining(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        member: member.into(),
        brings_id: true,
        rebalance_timeout_ms: 5_000,
        topics: Some(topics.iter().map(|topic| Arc::from(*topic)).collect()),
        owned: Some(PartitionSet::default()),
        client: "client".into(),
        host: "/127.0.0.1".into(),
        ..ConsumerHeartbeat::default()
    }
}

fn going_on(member: &str, epoch: i32, owned: &[PartitionId]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        epoch,
        rebalance_timeout_ms: -1,
        topics: None,
        owned: Some(owned.iter().copied().collect()),
        ..joining(member, &[])
    }
}

fn leaving(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        epoch,
        owned: None,
        ..going_on(member, epoch, &[])
    }
}

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
fn a_full_group_takes_nobody_new() {
    let mut rig = Rig::new(&[("group.consumer.max.size", "1")]);
    rig.join("m1");
    let refused = rig.heartbeat(joining("m2", &["t"])).unwrap_err();
    let text = "The consumer group has reached its maximum capacity of 1 members.";
    assert_eq!(refused, (ErrorCode::GroupMaxSizeReached, text.to_owned()));
    assert_eq!(rig.join("m1").epoch, 2);
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
