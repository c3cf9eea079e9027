//! The consumer protocol through the seam of a partition: what clients are told, step by step.
//!
//! The expected answers are those of Apache Kafka 4.3.1 (golden `errors/groups.jsonl`, and its documentation where the
//! golden run has no case). Every test ends with a restart from the records it wrote.
//!
//! Here is the rig: one group's partition, its clock, and the records it wrote. The tests are in files of their own.

mod members;
mod migration;
mod offsets;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;

use tuning::BrokerConfig;

use super::partitions::PartitionSet;
use super::request::{
    ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatReply, HeartbeatAccepted,
};
use crate::api::ErrorCode;
use crate::cluster::{MetadataImage, Record};
use crate::groups::partition::{Group, GroupPartition};
use crate::groups::record::GroupRecord;
use crate::groups::request::{GroupReply, GroupRequest, ListFilter};
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
