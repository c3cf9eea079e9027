//! One partition of groups with its log and clock; a crash keeps the log up to what was durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::cluster::MetadataImage;
use engine::groups::partition::GroupPartition;
use engine::groups::record::GroupRecord;
use engine::groups::request::{
    Commit, CommitOffset, FetchOffsets, Join, Joined, Leave, ListFilter, MemberAt, Sync,
};
use engine::groups::settings::GroupSettings;
use engine::groups::turn::{Effects, EncodedRecord, Now, Token};
use engine::groups::{GroupError, GroupReply, GroupRequest};
use tuning::BrokerConfig;

pub(crate) const GROUP: &str = "g";

pub(crate) struct World {
    pub(crate) partition: GroupPartition,
    pub(crate) settings: GroupSettings,
    image: Arc<MetadataImage>,
    pub(crate) now_ms: i64,
    log: Vec<EncodedRecord>,
    /// Records of the log that a crash leaves.
    durable: usize,
    /// Answers, with the length of the log that must be durable before they leave.
    held: Vec<(usize, Token, GroupReply)>,
    answers: BTreeMap<Token, GroupReply>,
    next: u64,
}

impl World {
    pub(crate) fn new(sets: &[(&str, &str)]) -> World {
        let config = BrokerConfig::from_pairs(sets).expect("a good configuration");
        let settings = GroupSettings::of(&config);
        let mut world = World {
            partition: GroupPartition::default(),
            settings,
            image: Arc::new(MetadataImage::empty("cluster", Arc::new(config))),
            now_ms: 1_000,
            log: Vec::new(),
            durable: 0,
            held: Vec::new(),
            answers: BTreeMap::new(),
            next: 0,
        };
        world.crash();
        world
    }

    fn now(&self) -> Now {
        Now {
            monotonic_ms: self.now_ms,
            wall_ms: 1_700_000_000_000 + self.now_ms,
        }
    }

    /// Sends a request; nothing of it is durable yet.
    pub(crate) fn send(&mut self, request: GroupRequest) -> Token {
        let token = Token(self.next);
        self.next += 1;
        let (now, settings) = (self.now(), self.settings.clone());
        let effects = self
            .partition
            .handle(now, &settings, &self.image, token, request);
        self.take(effects);
        token
    }

    fn take(&mut self, effects: Effects) {
        self.log.extend(effects.records);
        let end = self.log.len();
        for (token, reply) in effects.replies {
            self.held.push((end, token, reply));
        }
    }

    /// Makes so many records durable and lets the answers go that waited for them.
    pub(crate) fn flush(&mut self, records: usize) {
        self.durable = self.log.len().min(self.durable + records);
        let durable = self.durable;
        for (_, token, reply) in self.held.extract_if(.., |(end, ..)| *end <= durable) {
            assert!(
                self.answers.insert(token, reply).is_none(),
                "answered twice"
            );
        }
    }

    /// What has left for a request.
    pub(crate) fn answer(&mut self, token: Token) -> Option<GroupReply> {
        self.answers.remove(&token)
    }

    /// Sends, makes everything durable, and gives the answer, if there is one by now.
    pub(crate) fn ask(&mut self, request: GroupRequest) -> Option<GroupReply> {
        let token = self.send(request);
        self.flush(usize::MAX / 2);
        self.answer(token)
    }

    /// Moves the clock, deadline by deadline.
    pub(crate) fn advance(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        loop {
            let due = self
                .partition
                .next_deadline()
                .filter(|deadline| *deadline <= until);
            let Some(deadline) = due else {
                break;
            };
            self.now_ms = self.now_ms.max(deadline);
            let (now, settings) = (self.now(), self.settings.clone());
            while let Some(effects) = self.partition.poll_timers(now, &settings, &self.image) {
                self.take(effects);
            }
        }
        self.now_ms = until;
    }

    /// As [`World::advance`], and everything is durable.
    pub(crate) fn pass(&mut self, ms: i64) {
        self.advance(ms);
        self.flush(usize::MAX / 2);
    }

    /// The node dies and starts again; everybody who waits hears nothing.
    pub(crate) fn crash(&mut self) {
        self.log.truncate(self.durable);
        self.held.clear();
        self.partition = GroupPartition::default();
        for record in &self.log {
            let decoded = GroupRecord::decode(Some(&record.key), record.value.as_deref());
            self.partition.replay(&decoded.expect("we wrote it"));
        }
        let (now, settings) = (self.now(), self.settings.clone());
        let effects = self.partition.loaded(now, &settings, &self.image);
        self.take(effects);
    }

    pub(crate) fn join_of(member: &str, instance: Option<&str>, fresh: &str) -> Join {
        Join {
            who: at(member, instance, -1),
            new_member: fresh.into(),
            id_required: true,
            can_skip_assignment: true,
            client: "c".into(),
            host: "/1.2.3.4".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), subscription(&["t"]))],
        }
    }

    pub(crate) fn join(&mut self, join: Join) -> Token {
        self.send(GroupRequest::Join(Box::new(join)))
    }

    /// Joins with an id of its own, which a first call is given.
    pub(crate) fn join_new(&mut self, id: &str) -> Token {
        let refused = self.ask(GroupRequest::Join(Box::new(World::join_of("", None, id))));
        assert_eq!(
            refused,
            Some(GroupReply::JoinRefused(
                GroupError::MemberIdRequired,
                id.into()
            ))
        );
        self.join(World::join_of(id, None, "unused"))
    }

    pub(crate) fn joined(&mut self, token: Token) -> Joined {
        self.flush(usize::MAX / 2);
        match self.answer(token) {
            Some(GroupReply::Joined(joined)) => *joined,
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(crate) fn sync(&mut self, member: &str, generation: i32, shares: &[(&str, &str)]) -> Token {
        let assignments = shares
            .iter()
            .map(|(member, share)| (Arc::from(*member), Bytes::copy_from_slice(share.as_bytes())));
        self.send(GroupRequest::Sync(Box::new(Sync {
            who: at(member, None, generation),
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        })))
    }

    /// As [`World::sync`] of a static member whose instance id is its member id; everybody gets a little.
    pub(crate) fn sync_static(&mut self, member: &str, generation: i32) -> Token {
        self.send(GroupRequest::Sync(Box::new(Sync {
            who: at(member, Some(member), generation),
            protocol_type: None,
            protocol: None,
            assignments: ["a", "b"]
                .map(|id| (id.into(), Bytes::from_static(b"0")))
                .into(),
        })))
    }

    /// Bytes of the largest record of the log.
    pub(crate) fn largest_record(&self) -> usize {
        let bytes = self.log.iter().map(EncodedRecord::bytes);
        bytes.max().unwrap_or(0)
    }

    pub(crate) fn share(&mut self, token: Token) -> Option<Bytes> {
        self.flush(usize::MAX / 2);
        match self.answer(token)? {
            GroupReply::Synced(synced) => Some(synced.assignment),
            other => panic!("no share: {other:?}"),
        }
    }

    pub(crate) fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.heartbeat_of(at(member, None, generation))
    }

    pub(crate) fn heartbeat_of(&mut self, who: MemberAt) -> Result<(), GroupError> {
        match self.ask(GroupRequest::Heartbeat(who)) {
            Some(GroupReply::Alive) => Ok(()),
            Some(GroupReply::Failed(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn leave(&mut self, member: &str, instance: Option<&str>) -> Result<(), GroupError> {
        let leave = Leave {
            group: GROUP.into(),
            members: vec![(member.into(), instance.map(Arc::from))],
        };
        match self.ask(GroupRequest::Leave(leave)) {
            Some(GroupReply::Left(results)) => results[0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn commit_of(
        who: MemberAt,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> GroupRequest {
        GroupRequest::Commit(Box::new(Commit {
            who,
            version: 9,
            retention_ms: -1,
            offsets: vec![CommitOffset {
                topic: topic.into(),
                topic_id: engine::types::TopicId([1; 16]),
                partition,
                offset,
                leader_epoch: 0,
                metadata: None,
            }],
        }))
    }

    pub(crate) fn commit(
        &mut self,
        member: &str,
        generation: i32,
        offset: i64,
    ) -> Result<(), GroupError> {
        match self.ask(World::commit_of(
            at(member, None, generation),
            "t",
            0,
            offset,
        )) {
            Some(GroupReply::Committed(results)) => results[0],
            Some(GroupReply::Failed(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Committed offsets of a group, by topic and partition.
    pub(crate) fn offsets(&mut self, group: &str) -> Vec<(String, i32, i64, String)> {
        let fetch = FetchOffsets {
            who: MemberAt {
                group: group.into(),
                ..at("", None, -1)
            },
            require_stable: true,
            partitions: None,
        };
        let Some(GroupReply::Offsets(found)) =
            self.ask(GroupRequest::FetchOffsets(Box::new(fetch)))
        else {
            panic!("offsets are always read");
        };
        let fields = |(offset, _, metadata): &(i64, i32, Arc<str>)| (*offset, metadata.to_string());
        found
            .iter()
            .map(|entry| {
                let (offset, metadata) = fields(entry.found.as_ref().expect("stable"));
                (entry.topic.to_string(), entry.partition, offset, metadata)
            })
            .collect()
    }

    /// Names and states of all groups.
    pub(crate) fn groups(&mut self) -> Vec<(String, &'static str)> {
        let Some(GroupReply::Listed(groups)) = self.ask(GroupRequest::List(ListFilter::default()))
        else {
            panic!("groups are always listed");
        };
        groups
            .into_iter()
            .map(|group| (group.group.to_string(), group.state))
            .collect()
    }
}

pub(crate) fn at(member: &str, instance: Option<&str>, generation: i32) -> MemberAt {
    MemberAt {
        group: GROUP.into(),
        member: member.into(),
        instance: instance.map(Arc::from),
        generation,
    }
}

/// A consumer's subscription, version 0.
pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}
