//! Members of a group of the consumer protocol (KIP-848) that join, change their minds, leave and vanish while the
//! broker dies and starts again. They give partitions up late, and at the end they all have to find their places.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use net::messages::ApiKey;
use net::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use net::platform::Runtime;
use net::wire::{Reader, Uuid};

use crate::administrator;
use crate::codes;
use crate::consumer_offsets;
use crate::groups::find_coordinator;
use crate::growth;
use crate::oracle::consumer_groups::Part;
use crate::shared::Shared;
use crate::topics::{PLAIN, TRIM, Topic};
use crate::wire::{Lost, Wire};

pub const GROUP: &str = "simulated-consumers";
/// Members beside the auditor.
pub const MEMBERS: usize = 4;
const VERSION: i16 = 1;
/// As the broker is told.
pub const SESSION_MS: u64 = 1_000;
const SESSION: Duration = Duration::from_millis(SESSION_MS);
const REBALANCE_MS: i32 = 1_200;
const REBALANCE: Duration = Duration::from_millis(REBALANCE_MS as u64);
/// The coordinator counts whole milliseconds, and may begin with one that had begun.
const SLACK: Duration = Duration::from_millis(2);
/// After all is healed, everybody has found a place by then.
const CONVERGENCE: Duration = Duration::from_secs(30);
const JOIN_EPOCH: i32 = 0;
const LEAVE_EPOCH: i32 = -1;
const LEAVE_STATIC_EPOCH: i32 = -2;
/// All of these have an owner at the end.
const SUBSCRIBED: [&Topic; 2] = [&PLAIN, &TRIM];

/// A member, as a client sees itself.
pub struct Member {
    pub shared: Shared,
    runtime: Runtime,
    number: usize,
    /// Ids used so far.
    ids: u32,
    pub id: String,
    pub instance: Option<String>,
    /// 0 while it has to join.
    pub epoch: i32,
    topics: Vec<&'static str>,
    pub owned: BTreeSet<Part>,
    /// What is to be given up, and when it will be.
    revoking: BTreeMap<Part, Duration>,
    /// It has to take itself for sent away from here on.
    lease: Duration,
    /// When the first heartbeat left since the last that was answered.
    unanswered_since: Option<Duration>,
    /// The coordinator may lose its patience from here on, unless it heard meanwhile that everything was given up.
    patience_ends: Option<Duration>,
    /// What it says of itself differs from what it said last.
    changed: bool,
}

/// A heartbeat as it left.
struct Sent {
    at: Duration,
    /// When the first one left whose answer did not come.
    since: Duration,
    newest_epoch: i32,
    /// It said what it owns, with nothing among it that was to be given up.
    gave_everything_up: bool,
}

/// Joins and leaves until told to finish, then waits until every partition has its owner.
pub async fn member(shared: Shared, runtime: Runtime, number: usize) {
    let mut member = Member {
        shared: shared.clone(),
        runtime,
        number,
        ids: 0,
        id: String::new(),
        instance: (number == 0).then(|| "consumer-static".to_owned()),
        epoch: JOIN_EPOCH,
        topics: Vec::new(),
        owned: BTreeSet::new(),
        revoking: BTreeMap::new(),
        lease: Duration::ZERO,
        unanswered_since: None,
        patience_ends: None,
        changed: false,
    };
    member.take_new_id();
    let mut finishing_since = None;
    loop {
        if shared.is_finishing() {
            let since = *finishing_since.get_or_insert(shared.now());
            member.look_for_convergence(since);
            if shared.oracle().consumer_groups.converged {
                break;
            }
        }
        if let Ok(mut wire) = Wire::connect(&shared, &member.runtime).await {
            let _ = member.live(&mut wire).await;
        }
        member.pause(80).await;
    }
    if let Ok(mut wire) = Wire::connect(&shared, &member.runtime).await {
        let _ = member.leave(&mut wire, LEAVE_EPOCH).await;
    }
    shared.client_done();
}

impl Member {
    async fn pause(&self, longest_ms: u64) {
        self.runtime.sleep(self.shared.up_to_ms(longest_ms)).await;
    }

    fn look_for_convergence(&self, since: Duration) {
        let now = self.shared.now();
        let mut oracle = self.shared.oracle();
        let all_owned = SUBSCRIBED.iter().all(|topic| {
            let id = oracle.id_of(topic.name);
            let owned = id.map(|id| oracle.consumer_groups.owned(id, now));
            owned.is_some_and(|owned| owned.len() == topic.partitions as usize)
        });
        oracle.consumer_groups.converged |= all_owned;
        assert!(
            all_owned || oracle.consumer_groups.converged || now < since + CONVERGENCE,
            "{GROUP}: partitions without an owner on a healthy broker"
        );
    }

    fn take_new_id(&mut self) {
        self.ids += 1;
        self.id = format!("consumer-{}.{}", self.number, self.ids);
        self.topics = match self.shared.below(3) {
            0 => vec![PLAIN.name],
            1 => vec![PLAIN.name, TRIM.name],
            _ => vec![growth::TOPIC, PLAIN.name, TRIM.name],
        };
    }

    /// Until the connection is lost, it leaves or vanishes, or has to see whether the group has converged.
    async fn live(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        while SUBSCRIBED
            .iter()
            .any(|topic| self.shared.oracle().id_of(topic.name).is_none())
        {
            administrator::metadata(&self.shared, wire).await?;
        }
        loop {
            if self.epoch != JOIN_EPOCH {
                self.pause(120).await;
                self.look_at_clock();
            }
            let finishing = self.shared.is_finishing();
            if finishing {
                self.subscribe(vec![growth::TOPIC, PLAIN.name, TRIM.name]);
            } else if self.shared.chance(0.05) {
                return self.part(wire).await;
            } else if self.shared.chance(0.04) {
                let fewer = vec![PLAIN.name];
                let more = vec![PLAIN.name, TRIM.name];
                self.subscribe(if self.shared.chance(0.5) { fewer } else { more });
            }
            if self.shared.chance(0.5) {
                consumer_offsets::commit(self, wire).await?;
                self.look_at_clock();
            }
            if self.epoch != JOIN_EPOCH && !finishing && self.shared.chance(0.03) {
                self.beat_ahead(wire).await?;
            }
            self.beat(wire).await?;
            if finishing {
                return Ok(());
            }
        }
    }

    fn subscribe(&mut self, topics: Vec<&'static str>) {
        if self.topics != topics {
            self.topics = topics;
            self.changed = true;
        }
    }

    /// Whether it may still work on what it owns.
    pub fn keeps_lease(&self) -> bool {
        self.shared.now() < self.lease_ends()
    }

    /// Where its session may end, or the coordinator's patience, which costs it everything.
    fn lease_ends(&self) -> Duration {
        self.patience_ends
            .map_or(self.lease, |ends| ends.min(self.lease))
    }

    /// Gives up what it is time to give up: single partitions, or everything once its session may have ended.
    fn look_at_clock(&mut self) {
        let now = self.shared.now();
        if self.epoch != JOIN_EPOCH && !self.keeps_lease() {
            self.shared.count("consumer leases ended", 1);
            return self.abandon();
        }
        let due = self.revoking.iter().filter(|(_, at)| **at <= now);
        for part in due.map(|(part, _)| *part).collect::<Vec<_>>() {
            self.revoking.remove(&part);
            self.owned.remove(&part);
            self.changed = true;
            let mut oracle = self.shared.oracle();
            oracle.consumer_groups.gives_up(&self.id, part);
        }
    }

    /// Stops to work on anything; it has to join again.
    fn abandon(&mut self) {
        self.shared.oracle().consumer_groups.gone(&self.id);
        self.owned.clear();
        self.revoking.clear();
        self.epoch = JOIN_EPOCH;
        self.lease = Duration::ZERO;
        self.unanswered_since = None;
        self.patience_ends = None;
    }

    /// Leaves, for good or for a while, or just goes.
    async fn part(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let epoch = match self.instance {
            Some(_) if self.shared.chance(0.7) => LEAVE_STATIC_EPOCH,
            _ => LEAVE_EPOCH,
        };
        if self.shared.chance(0.3) {
            // Only the end of its session tells the coordinator; some come back before.
            self.abandon();
            self.take_new_id();
            self.pause(1_500).await;
            return Err(Lost);
        }
        self.leave(wire, epoch).await
    }

    async fn leave(&mut self, wire: &mut Wire, epoch: i32) -> Result<(), Lost> {
        self.abandon();
        let id = self.id.clone();
        self.take_new_id();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: &id,
            member_epoch: epoch,
            instance_id: self.instance.as_deref(),
            ..Default::default()
        };
        let answer = self.call(wire, &request).await?;
        match answer.0 {
            codes::NONE if epoch == LEAVE_EPOCH => self.shared.count("consumers left", 1),
            codes::NONE => self.shared.count("static consumers left for a while", 1),
            code => codes::expect_of_consumer_group("a leaving heartbeat", code),
        }
        Ok(())
    }

    /// Error code, epoch and assignment.
    async fn call(
        &self,
        wire: &mut Wire,
        request: &ConsumerGroupHeartbeatRequest<'_>,
    ) -> Result<(i16, i32, Option<BTreeSet<Part>>), Lost> {
        let body = wire
            .call(
                ApiKey::ConsumerGroupHeartbeat,
                VERSION,
                |writer, version| request.encode(writer, version),
            )
            .await?;
        let answer = ConsumerGroupHeartbeatResponse::decode(&mut Reader::new(&body), VERSION)
            .expect("a well-formed answer");
        let assignment = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.into_iter();
            topics
                .flat_map(|topic| {
                    let id = topic.topic_id.0;
                    topic.partitions.into_iter().map(move |part| (id, part))
                })
                .collect()
        });
        Ok((answer.error_code, answer.member_epoch, assignment))
    }

    /// A heartbeat at an epoch that nobody was told: such a member is fenced, and joins again.
    async fn beat_ahead(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        self.shared.oracle().consumer_groups.gone(&self.id);
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: &self.id,
            member_epoch: self.epoch + 1_000,
            instance_id: self.instance.as_deref(),
            ..Default::default()
        };
        let answer = self.call(wire, &request).await;
        self.abandon();
        let code = answer?.0;
        assert_ne!(code, codes::NONE, "{}: an epoch ahead is taken", self.id);
        codes::expect_of_consumer_group("a heartbeat ahead", code);
        let fenced = code == codes::FENCED_MEMBER_EPOCH;
        self.shared.count("consumers fenced", u64::from(fenced));
        Ok(())
    }

    async fn beat(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let at = self.shared.now();
        let joins = self.epoch == JOIN_EPOCH;
        // What a lost request said may not have arrived: everything is said again. So it is while the coordinator waits.
        let full = joins || self.changed || self.unanswered_since.is_some();
        let full = full || self.patience_ends.is_some() || self.shared.chance(0.2);
        let sent = Sent {
            at,
            since: *self.unanswered_since.get_or_insert(at),
            newest_epoch: self.shared.oracle().consumer_groups.newest_epoch(),
            gave_everything_up: full && self.revoking.is_empty(),
        };
        let mut owned: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &self.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned = owned
            .into_iter()
            .map(|(topic, partitions)| TopicPartitions {
                topic_id: Uuid(topic),
                partitions,
                ..Default::default()
            });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: &self.id,
            member_epoch: self.epoch,
            instance_id: self.instance.as_deref(),
            rebalance_timeout_ms: if full { REBALANCE_MS } else { -1 },
            subscribed_topic_names: full.then(|| self.topics.clone()),
            topic_partitions: full.then(|| owned.collect()),
            ..Default::default()
        };
        let (code, epoch, assignment) = self.call(wire, &request).await?;
        if code != codes::NONE {
            return self.refused(wire, code, &sent).await;
        }
        self.accepted(&sent, epoch, assignment);
        Ok(())
    }

    fn accepted(&mut self, sent: &Sent, epoch: i32, assignment: Option<BTreeSet<Part>>) {
        let shared = self.shared.clone();
        let mut oracle = shared.oracle();
        let model = &mut oracle.consumer_groups;
        model.epoch(&self.id, epoch, sent.newest_epoch);
        (self.epoch, self.lease) = (epoch, sent.at + SESSION - SLACK);
        (self.unanswered_since, self.changed) = (None, false);
        if sent.gave_everything_up {
            self.patience_ends = None;
        }
        if let Some(assignment) = assignment {
            self.assigned(sent, assignment);
        }
        if self.keeps_lease() {
            let now = shared.now();
            for part in &self.owned {
                let until = self.revoking.get(part).copied();
                let until = until.unwrap_or(Duration::MAX).min(self.lease_ends());
                model.owns(&self.id, *part, now, until);
            }
        }
        drop(oracle);
        self.look_at_clock();
    }

    /// Some partitions are new to it, others are to be given up: most of them soon, a few later than anybody waits.
    fn assigned(&mut self, sent: &Sent, assignment: BTreeSet<Part>) {
        let shared = &self.shared;
        let now = shared.now();
        for part in self.owned.difference(&assignment) {
            let held = match shared.below(20) {
                0..10 => Duration::ZERO,
                10..19 => shared.up_to_ms(300),
                _ => shared.up_to_ms(2 * REBALANCE_MS as u64),
            };
            let patience = sent.since + REBALANCE - SLACK;
            self.patience_ends.get_or_insert(patience);
            self.revoking.entry(*part).or_insert(now + held);
            shared.count("consumer revocations", 1);
        }
        self.revoking.retain(|part, _| !assignment.contains(part));
        let given = assignment.difference(&self.owned).count();
        shared.count("consumer assignments", given as u64);
        self.owned.extend(assignment);
        let owned: Vec<i32> = self.owned.iter().map(|part| part.1).collect();
        shared.note(format!(
            "{} owns {owned:?} at epoch {}",
            self.id, self.epoch
        ));
    }

    /// What a client does about an error: join again, under a new id, or look for the coordinator.
    async fn refused(&mut self, wire: &mut Wire, code: i16, sent: &Sent) -> Result<(), Lost> {
        codes::expect_of_consumer_group("ConsumerGroupHeartbeat", code);
        self.shared.note(format!("{} is answered {code}", self.id));
        let joined = self.epoch != JOIN_EPOCH;
        match code {
            codes::NOT_COORDINATOR | codes::COORDINATOR_NOT_AVAILABLE => {
                find_coordinator(wire, GROUP).await?;
            }
            codes::COORDINATOR_LOAD_IN_PROGRESS => {}
            codes::UNRELEASED_INSTANCE_ID => {
                self.shared.count("instance ids not released", 1);
                self.pause(200).await;
            }
            _ => {
                // Two answers that were lost in a row may have moved the epoch by two.
                let knows_epoch = code != codes::FENCED_MEMBER_EPOCH || sent.since == sent.at;
                assert!(
                    !(self.keeps_lease() && knows_epoch),
                    "{} is answered {code} within its session",
                    self.id
                );
                self.shared.count("consumers sent away", u64::from(joined));
                self.abandon();
                if code == codes::FENCED_INSTANCE_ID || self.shared.chance(0.3) {
                    self.take_new_id();
                }
            }
        }
        self.pause(40).await;
        Ok(())
    }
}
