//! Members that do anything at any time, a log that becomes durable when it likes, crashes: in one generation nothing is
//! owned twice, and no acknowledged commit is lost or goes back (RELIABILITY G4, G6, G7).

use std::collections::BTreeMap;

use engine::groups::request::{FetchOffsets, Leave};
use engine::groups::turn::Token;
use engine::groups::{GroupError, GroupReply, GroupRequest};

use crate::world::{GROUP, World, at};

const MEMBERS: usize = 5;
const PARTITIONS: i32 = 7;
const STEPS: usize = 600;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// A member as a client sees itself.
#[derive(Default)]
struct Client {
    id: String,
    is_static: bool,
    generation: i32,
    owned: Vec<i32>,
    /// The one request under way.
    waiting: Option<(Token, Asked)>,
}

enum Asked {
    Join,
    Sync,
    Commit(i32, i64),
    Other,
}

#[derive(Default)]
struct Seen {
    owners: BTreeMap<(i32, i32), String>,
    sent: BTreeMap<i32, i64>,
    acknowledged: BTreeMap<i32, i64>,
    generations: usize,
    commits: usize,
    crashes: usize,
}

struct Play {
    world: World,
    dice: Dice,
    clients: Vec<Client>,
    seen: Seen,
    ids: u64,
}

impl Play {
    fn step(&mut self) {
        match self.dice.below(100) {
            0 => {
                self.world.crash();
                self.seen.crashes += 1;
                // Their connections are gone with the node.
                self.clients
                    .iter_mut()
                    .for_each(|client| client.waiting = None);
            }
            1..=14 => {
                let ms = self.dice.below(2_500) as i64;
                self.world.advance(ms);
            }
            15..=49 => {
                let records = self.dice.below(4) as usize;
                self.world.flush(records);
            }
            50..=52 => self.check_offsets(),
            _ => {
                let number = self.dice.below(MEMBERS as u64) as usize;
                self.act(number);
            }
        }
        for number in 0..MEMBERS {
            self.hear(number);
        }
    }

    fn act(&mut self, number: usize) {
        let client = &self.clients[number];
        if client.waiting.is_some() {
            // Now and then a client gives a connection up and tries again.
            if self.dice.below(60) == 0 {
                self.clients[number].waiting = None;
            }
            return;
        }
        let instance = client.is_static.then(|| format!("static-{number}"));
        let who = at(&client.id, instance.as_deref(), client.generation);
        if client.generation < 0 {
            let fresh = format!("m{number}-{}", self.ids);
            self.ids += 1;
            let mut join = World::join_of(&client.id, instance.as_deref(), &fresh);
            join.id_required = self.dice.below(2) == 0;
            let token = self.world.join(join);
            self.clients[number].waiting = Some((token, Asked::Join));
            return;
        }
        match self.dice.below(20) {
            0 => {
                let leave = Leave {
                    group: GROUP.into(),
                    members: vec![(who.member.clone(), who.instance.clone())],
                };
                let token = self.world.send(GroupRequest::Leave(leave));
                let id = String::new();
                self.clients[number].forget(id);
                self.clients[number].waiting = Some((token, Asked::Other));
            }
            // Vanishes without a word.
            1 => self.clients[number].forget(String::new()),
            2..=9 => {
                let Some(partition) = client.owned.first().copied() else {
                    return;
                };
                let offset = self.seen.sent.entry(partition).or_default();
                *offset += 1;
                let offset = *offset;
                let token = self
                    .world
                    .send(World::commit_of(who, "t", partition, offset));
                self.clients[number].owned.rotate_left(1);
                self.clients[number].waiting = Some((token, Asked::Commit(partition, offset)));
            }
            _ => {
                let token = self.world.send(GroupRequest::Heartbeat(who));
                self.clients[number].waiting = Some((token, Asked::Other));
            }
        }
    }

    fn hear(&mut self, number: usize) {
        let Some((token, _)) = self.clients[number].waiting else {
            return;
        };
        let Some(reply) = self.world.answer(token) else {
            return;
        };
        let (_, asked) = self.clients[number]
            .waiting
            .take()
            .expect("looked at above");
        let client = &mut self.clients[number];
        match (asked, reply) {
            (Asked::Join, GroupReply::Joined(joined)) => {
                client.id = joined.member.to_string();
                client.generation = joined.generation;
                client.owned.clear();
                let shares: Vec<(String, String)> = (0..PARTITIONS)
                    .map(|partition| {
                        let count = joined.members.len().max(1);
                        (joined.members.get(partition as usize % count), partition)
                    })
                    .filter_map(|(member, partition)| Some((member?.0.to_string(), partition)))
                    .fold(
                        BTreeMap::<String, String>::new(),
                        |mut shares, (member, partition)| {
                            shares
                                .entry(member)
                                .or_default()
                                .push_str(&partition.to_string());
                            shares
                        },
                    )
                    .into_iter()
                    .collect();
                let shares: Vec<(&str, &str)> = shares
                    .iter()
                    .map(|(member, share)| (&**member, &**share))
                    .collect();
                let (id, generation) = (client.id.clone(), client.generation);
                let token = self.world.sync(&id, generation, &shares);
                self.clients[number].waiting = Some((token, Asked::Sync));
            }
            (Asked::Sync, GroupReply::Synced(synced)) => {
                let digits = synced.assignment.iter();
                client.owned = digits.map(|digit| i32::from(digit - b'0')).collect();
                self.seen.generations += 1;
                // A static member may come back under another id in the same generation.
                let name = if client.is_static {
                    "static"
                } else {
                    &client.id
                };
                for partition in &client.owned {
                    let owner = self
                        .seen
                        .owners
                        .entry((client.generation, *partition))
                        .or_insert_with(|| name.to_owned());
                    assert_eq!(
                        owner, name,
                        "generation {} partition {partition} is owned twice",
                        client.generation
                    );
                }
            }
            (Asked::Commit(partition, offset), GroupReply::Committed(results)) => {
                assert_eq!(results, [Ok(())]);
                // It may have been read already, and a later one too.
                let known = self.seen.acknowledged.entry(partition).or_default();
                *known = offset.max(*known);
                self.seen.commits += 1;
            }
            (_, GroupReply::JoinRefused(GroupError::MemberIdRequired, id)) => {
                client.forget(id.to_string());
            }
            (_, GroupReply::JoinRefused(error, _) | GroupReply::Failed(error)) => {
                let keeps = error == GroupError::RebalanceInProgress;
                let id = if keeps {
                    client.id.clone()
                } else {
                    String::new()
                };
                client.forget(id);
            }
            (Asked::Other, _) => {}
            (_, other) => panic!("an answer to something else: {other:?}"),
        }
    }

    /// What anybody reads is at least what was acknowledged, and stays.
    fn check_offsets(&mut self) {
        let floors = self.seen.acknowledged.clone();
        let fetch = FetchOffsets {
            who: at("", None, -1),
            require_stable: false,
            partitions: None,
        };
        let token = self.world.send(GroupRequest::FetchOffsets(Box::new(fetch)));
        self.world.flush(usize::MAX / 2);
        let Some(GroupReply::Offsets(found)) = self.world.answer(token) else {
            panic!("offsets are always read");
        };
        let found: BTreeMap<i32, i64> = found
            .into_iter()
            .map(|entry| (entry.partition, entry.found.expect("stable").0))
            .collect();
        for (partition, floor) in floors {
            let value = found.get(&partition).copied().unwrap_or(-1);
            assert!(value >= floor, "partition {partition}: {value} < {floor}");
            assert!(value <= self.seen.sent[&partition]);
        }
        // What was read counts as acknowledged.
        for (partition, value) in found {
            let floor = self.seen.acknowledged.entry(partition).or_default();
            *floor = value.max(*floor);
        }
    }
}

impl Client {
    fn forget(&mut self, id: String) {
        self.id = id;
        self.generation = -1;
        self.owned.clear();
        self.waiting = None;
    }
}

fn play(seed: u64) -> Seen {
    let world = World::new(&[
        ("group.initial.rebalance.delay.ms", "500"),
        ("group.max.size", "4"),
    ]);
    let mut clients: Vec<Client> = (0..MEMBERS).map(|_| Client::default()).collect();
    for client in &mut clients {
        client.forget(String::new());
    }
    clients[0].is_static = true;
    let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut play = Play {
        world,
        dice,
        clients,
        seen: Seen::default(),
        ids: 0,
    };
    for _ in 0..STEPS {
        play.step();
    }
    play.check_offsets();
    play.seen
}

#[test]
fn nothing_is_owned_twice_and_no_acknowledged_commit_goes_back() {
    let (mut generations, mut commits, mut crashes) = (0, 0, 0);
    for seed in 0..400 {
        let seen = std::panic::catch_unwind(|| play(seed));
        let seen = seen.unwrap_or_else(|cause| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause)
        });
        generations += seen.generations;
        commits += seen.commits;
        crashes += seen.crashes;
    }
    assert!(
        generations > 4_000 && commits > 4_000 && crashes > 1_000,
        "{generations} syncs, {commits} commits, {crashes} crashes"
    );
}
