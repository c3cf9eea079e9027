//! Random interleavings of members, losses, silence and topic changes, against what members themselves believe.
//!
//! A client owns what its last answer gave it until it tells the coordinator that it gave it up, or until it is fenced
//! by time. Checked after every step: no partition is believed owned by two clients, the coordinator's own books agree,
//! and a replay of the records gives the same group. At the end, when nothing changes any more, the group is stable and
//! every partition has an owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::assignor::Assignor;
use super::error::ConsumerGroupError;
use super::partitions::PartitionSet;
use super::record::ConsumerRecord;
use super::removal::Removal;
use super::request::ConsumerHeartbeat;
use super::settings::ConsumerGroupSettings;
use super::{ConsumerGroup, GroupState, Work};
use crate::cluster::{MetadataImage, Record};
use crate::groups::timers::{TimerKey, Timers};
use crate::groups::turn::Now;
use crate::types::{LeaderEpoch, PartitionId, TopicId};

const TOPICS: usize = 3;
const CLIENTS: usize = 5;

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    /// A client sends its heartbeat (joins, if it is not in); the answer may be lost.
    Heartbeat { client: usize, lost: bool },
    /// A client gives up what it was told to give up.
    Revoke { client: usize },
    /// A client leaves.
    Leave { client: usize },
    /// A client stops for longer than its session and learns that it owns nothing.
    Silence { client: usize },
    /// A client asks for other topics from its next heartbeat on.
    Subscribe {
        client: usize,
        topics: BTreeSet<usize>,
        pattern: bool,
    },
    /// A topic gets one more partition.
    Grow { topic: usize },
    /// A topic is deleted and made again.
    Recreate { topic: usize },
    /// Time goes on, not far enough for anybody's session.
    Wait { milliseconds: i64 },
    /// The coordinator is started again from its records.
    Restart,
}

fn events() -> impl Strategy<Value = Event> {
    let client = 0..CLIENTS;
    prop_oneof![
        12 => (client.clone(), prop::bool::weighted(0.15))
            .prop_map(|(client, lost)| Event::Heartbeat { client, lost }),
        5 => client.clone().prop_map(|client| Event::Revoke { client }),
        1 => client.clone().prop_map(|client| Event::Leave { client }),
        1 => client.clone().prop_map(|client| Event::Silence { client }),
        1 => (client, prop::collection::btree_set(0..TOPICS, 0..=TOPICS), any::<bool>())
            .prop_map(|(client, topics, pattern)| Event::Subscribe { client, topics, pattern }),
        1 => (0..TOPICS).prop_map(|topic| Event::Grow { topic }),
        1 => (0..TOPICS).prop_map(|topic| Event::Recreate { topic }),
        2 => (0..2_000_i64).prop_map(|milliseconds| Event::Wait { milliseconds }),
        1 => Just(Event::Restart),
    ]
}

/// A client as the Java client behaves: it owns what it was given, and acknowledges by reporting.
#[derive(Debug, Clone)]
struct Client {
    id: Arc<str>,
    epoch: i32,
    owned: BTreeSet<PartitionId>,
    /// What the last answer said; what is owned beyond it is to be given up.
    given: BTreeSet<PartitionId>,
    topics: BTreeSet<usize>,
    pattern: bool,
    /// Says everything in its next heartbeat: it joins, its subscription changed or an answer was lost.
    full: bool,
}

struct Rig {
    group: ConsumerGroup,
    timers: Timers,
    image: MetadataImage,
    settings: ConsumerGroupSettings,
    now: Now,
    clients: Vec<Client>,
    log: Vec<ConsumerRecord>,
    incarnations: u8,
}

fn name_of(topic: usize) -> String {
    format!("topic-{topic}")
}

impl Rig {
    fn new(assignor: Assignor) -> Rig {
        let config = Arc::new(tuning::BrokerConfig::default());
        let mut rig = Rig {
            group: ConsumerGroup::new("g".into()),
            timers: Timers::default(),
            image: MetadataImage::empty("AAAAAAAAAAAAAAAAAAAAAA", config),
            settings: ConsumerGroupSettings {
                assignors: vec![assignor],
                ..ConsumerGroupSettings::default()
            },
            now: Now {
                monotonic_ms: 1,
                wall_ms: 1_000_000,
            },
            clients: Vec::new(),
            log: Vec::new(),
            incarnations: 0,
        };
        for topic in 0..TOPICS {
            rig.make_topic(topic, 3);
        }
        for client in 0..CLIENTS {
            rig.clients.push(Client {
                id: format!("c{client}").into(),
                epoch: 0,
                owned: BTreeSet::new(),
                given: BTreeSet::new(),
                topics: (0..TOPICS).collect(),
                pattern: false,
                full: true,
            });
        }
        rig
    }

    fn make_topic(&mut self, topic: usize, partitions: i32) {
        self.incarnations += 1;
        let id = TopicId([self.incarnations; 16]);
        let name = name_of(topic);
        self.image.apply(&Record::Topic { name, id }).unwrap();
        for index in 0..partitions {
            self.add_partition(id, index);
        }
    }

    fn add_partition(&mut self, topic_id: TopicId, index: i32) {
        let record = Record::Partition {
            topic_id,
            index,
            leader: self.image.node_id,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        };
        self.image.apply(&record).unwrap();
    }

    fn work<R>(&mut self, decide: impl FnOnce(&mut ConsumerGroup, &mut Work<'_>) -> R) -> R {
        let (mut records, mut undo) = (Vec::new(), Vec::new());
        let before = self.group.clone();
        let result = decide(
            &mut self.group,
            &mut Work {
                now: self.now,
                settings: &self.settings,
                image: &self.image,
                timers: &mut self.timers,
                records: &mut records,
                undo: &mut undo,
                batch_bytes_max: usize::MAX,
            },
        );
        let mut taken_back = self.group.clone();
        taken_back.take_back(&undo, &mut Timers::default());
        taken_back.assert_same_but_for_the_last_look(&before);
        self.log.extend(records);
        result
    }

    fn heartbeat(&mut self, at: usize, lost: bool) {
        let client = self.clients[at].clone();
        let joins = client.epoch == 0;
        let full = client.full || joins;
        let names = client.topics.iter().map(|topic| name_of(*topic));
        let request = ConsumerHeartbeat {
            group: "g".into(),
            member: client.id.clone(),
            brings_id: true,
            epoch: client.epoch,
            rebalance_timeout_ms: if full { 60_000 } else { -1 },
            topics: full.then(|| {
                names
                    .clone()
                    .filter(|_| !client.pattern)
                    .map(Arc::from)
                    .collect()
            }),
            pattern: full.then(|| {
                let names: Vec<_> = names.collect();
                if client.pattern {
                    names.join("|").into()
                } else {
                    Arc::from("")
                }
            }),
            owned: Some(client.owned.iter().copied().collect::<PartitionSet>()),
            client: "client".into(),
            host: "/127.0.0.1".into(),
            ..ConsumerHeartbeat::default()
        };
        request.validate(&self.settings).unwrap();
        let answer = self.work(|group, work| group.heartbeat(&request, work));
        if lost {
            self.clients[at].full = true;
            return;
        }
        let client = &mut self.clients[at];
        match answer {
            Ok(accepted) => {
                client.epoch = accepted.epoch;
                client.full = false;
                if let Some(assignment) = accepted.assignment {
                    client.given = assignment.iter().collect();
                    client.owned.extend(client.given.iter().copied());
                }
            }
            Err(
                ConsumerGroupError::EpochAhead { .. }
                | ConsumerGroupError::EpochBehind { .. }
                | ConsumerGroupError::UnknownMember(_),
            ) => client.start_anew(),
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Heartbeat { client, lost } => self.heartbeat(client, lost),
            Event::Revoke { client } => self.clients[client].revoke(),
            Event::Leave { client } => self.leave(client),
            Event::Silence { client } => {
                // The client stops owning by its own clock, then the coordinator's timer fires.
                self.clients[client].start_anew();
                let id = self.clients[client].id.clone();
                let key = TimerKey::ConsumerSession("g".into(), id);
                self.work(|group, work| group.expire(&key, work));
            }
            Event::Subscribe {
                client,
                topics,
                pattern,
            } => {
                let client = &mut self.clients[client];
                (client.topics, client.pattern, client.full) = (topics, pattern, true);
            }
            Event::Grow { topic } => {
                let topic = self.image.topic(&name_of(topic)).unwrap().clone();
                let index = i32::try_from(topic.partitions.len()).unwrap();
                self.add_partition(topic.id, index);
            }
            Event::Recreate { topic } => {
                let id = self.image.topic(&name_of(topic)).unwrap().id;
                self.image.apply(&Record::RemoveTopic { id }).unwrap();
                self.make_topic(topic, 2);
            }
            Event::Wait { milliseconds } => {
                self.now.monotonic_ms += milliseconds;
                self.now.wall_ms += milliseconds;
                let key = TimerKey::ConsumerRefresh("g".into());
                if self.timers.is_armed(&key) {
                    self.timers.cancel(&key);
                    self.work(|group, work| group.expire(&key, work));
                }
            }
            Event::Restart => self.restart(),
        }
        self.check();
    }

    fn leave(&mut self, at: usize) {
        let request = ConsumerHeartbeat {
            group: "g".into(),
            member: self.clients[at].id.clone(),
            epoch: -1,
            rebalance_timeout_ms: -1,
            ..ConsumerHeartbeat::default()
        };
        let left = self.work(|group, work| group.leave(&request, work));
        match left {
            Ok((_, Removal::Stays)) | Err(ConsumerGroupError::UnknownMember(_)) => {}
            other => panic!("{other:?}"),
        }
        self.clients[at].start_anew();
    }

    /// Everything durable, through the bytes of the log.
    fn restart(&mut self) {
        let mut group = ConsumerGroup::new("g".into());
        for record in &self.log {
            let (key, value) = record.to_wire("g").encode();
            let read = crate::groups::record::GroupRecord::decode(Some(&key), value.as_deref());
            let (name, read) = ConsumerRecord::from_wire(&read.unwrap()).unwrap();
            assert_eq!((name, &read), ("g", record));
            group.replay(&read);
        }
        assert_eq!(group.members, self.group.members);
        assert_eq!(group.target, self.group.target);
        assert_eq!(group.holders, self.group.holders);
        assert_eq!(group.patterns, self.group.patterns);
        assert_eq!(
            (group.epoch, group.metadata_hash, group.target_epoch),
            (
                self.group.epoch,
                self.group.metadata_hash,
                self.group.target_epoch
            )
        );
        self.group = group;
        self.timers = Timers::default();
        self.group
            .arm_timers(self.now, &self.settings, &mut self.timers);
    }

    fn check(&self) {
        self.group.assert_consistent();
        let mut owners: BTreeMap<PartitionId, &Arc<str>> = BTreeMap::new();
        for client in &self.clients {
            for partition in &client.owned {
                let other = owners.insert(*partition, &client.id);
                assert_eq!(
                    other, None,
                    "{partition:?} belongs to {} as well",
                    client.id
                );
            }
        }
    }

    /// Everybody behaves until nothing changes.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.step(Event::Wait {
                milliseconds: 1_500,
            });
            for client in 0..CLIENTS {
                self.step(Event::Revoke { client });
                self.step(Event::Heartbeat {
                    client,
                    lost: false,
                });
            }
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        let mut wanted = BTreeSet::new();
        for client in &self.clients {
            for topic in &client.topics {
                let topic = self.image.topic(&name_of(*topic)).unwrap();
                wanted.extend((0..topic.partitions.len()).map(|index| PartitionId {
                    topic_id: topic.id,
                    index: i32::try_from(index).unwrap(),
                }));
            }
        }
        let owned: BTreeSet<_> = self
            .clients
            .iter()
            .flat_map(|client| client.owned.clone())
            .collect();
        assert_eq!(owned, wanted);
    }
}

impl Client {
    fn revoke(&mut self) {
        let given = self.given.clone();
        self.owned.retain(|partition| given.contains(partition));
    }

    fn start_anew(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.given.clear();
        self.full = true;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_owned_twice_and_the_group_converges(
        events in prop::collection::vec(events(), 0..120),
        range in any::<bool>(),
    ) {
        let assignor = if range { Assignor::Range } else { Assignor::Uniform };
        let mut rig = Rig::new(assignor);
        for event in events {
            rig.step(event);
        }
        rig.settle();
    }
}
