//! Fetch sessions (KIP-227): what a consumer fetches, remembered between its requests.
//!
//! A plain decision struct, one per shard; a session's id says which shard has it, so that a client may go on with it on
//! another connection. Invariant: the number of sessions and of partitions in each is bounded; at
//! the bound the least useful session goes, or the client is served without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ErrorCode;
use crate::limits::FETCH_SESSION_PARTITIONS_MAX;
use crate::types::{ShardId, TopicId};

/// A session unused for so long may be evicted by any other (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_MS: u64 = 120_000;
/// Session epochs with a meaning of their own.
const EPOCH_INITIAL: i32 = 0;
const EPOCH_FINAL: i32 = -1;

/// A partition as clients name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionName {
    /// Topic by name; empty from version 13 on.
    pub topic: Arc<str>,
    /// Topic by id; zero before version 13.
    pub id: TopicId,
    /// Index.
    pub index: i32,
}

/// What a client wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// First offset.
    pub offset: i64,
    /// Most bytes.
    pub bytes_max: i32,
    /// The leader epoch it believes in; negative is not checked.
    pub current_leader_epoch: i32,
    /// Epoch of the last record it has; negative is unknown.
    pub last_fetched_epoch: i32,
}

/// What the client last heard of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    high_watermark: i64,
    log_start_offset: i64,
}

const NOTHING_HEARD: Heard = Heard {
    high_watermark: -1,
    log_start_offset: -1,
};

#[derive(Debug)]
struct Remembered {
    name: PartitionName,
    wish: Wish,
    heard: Heard,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_ids: bool,
    created_ms: u64,
    used_ms: u64,
    next_position: u64,
    /// In the order in which they are answered: who got records goes to the end.
    partitions: BTreeMap<u64, Remembered>,
    positions: BTreeMap<PartitionName, u64>,
}

impl Session {
    fn put(&mut self, name: PartitionName, wish: Wish) {
        if let Some(position) = self.positions.get(&name) {
            self.partitions
                .get_mut(position)
                .expect("every name has its partition")
                .wish = wish;
        } else if self.positions.len() < FETCH_SESSION_PARTITIONS_MAX {
            self.add(Remembered {
                name,
                wish,
                heard: NOTHING_HEARD,
            });
        }
    }

    fn add(&mut self, remembered: Remembered) {
        let position = self.next_position;
        self.next_position += 1;
        self.positions.insert(remembered.name.clone(), position);
        self.partitions.insert(position, remembered);
    }

    fn remove(&mut self, name: &PartitionName) {
        if let Some(position) = self.positions.remove(name) {
            self.partitions.remove(&position);
        }
    }
}

/// What a request says about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFields {
    /// The session, 0 is none.
    pub id: i32,
    /// Its epoch.
    pub epoch: i32,
    /// Whether topics are named by id.
    pub uses_ids: bool,
}

impl SessionFields {
    /// Whether this asks for a new session, which the connection's own shard makes.
    #[must_use]
    pub fn is_initial(&self) -> bool {
        self.epoch == EPOCH_INITIAL
    }

    /// The end of this session.
    #[must_use]
    pub fn ended(self) -> SessionFields {
        SessionFields {
            epoch: EPOCH_FINAL,
            ..self
        }
    }
}

/// The shard that has the session with this id, on a node with so many.
#[must_use]
pub fn owner(id: i32, shards: u16) -> ShardId {
    let shard = id.rem_euclid(i32::from(shards.max(1)));
    ShardId(u16::try_from(shard).expect("less than a number of 16 bits"))
}

/// An id near `raw` that this shard would have; not positive if there is none.
#[must_use]
pub fn id_of(raw: i32, shard: ShardId, shards: u16) -> i32 {
    let shards = i32::from(shards.max(1));
    let first = raw - raw.rem_euclid(shards);
    first.checked_add(i32::from(shard.0)).unwrap_or(0)
}

/// A request as its session's shard needs it.
#[derive(Debug)]
pub struct SessionRequest {
    /// What it says about sessions.
    pub fields: SessionFields,
    /// What is wanted.
    pub wishes: Vec<(PartitionName, Wish)>,
    /// What is no longer.
    pub forgotten: Vec<PartitionName>,
}

/// How to answer, and what of every partition; or 70, 71 or 106.
pub type SessionAnswer = Result<(FetchKind, Vec<(PartitionName, Wish)>), ErrorCode>;

/// How a request is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchKind {
    /// Every partition asked for; a session with this id was made, 0 is none.
    Full(i32),
    /// The partitions with news, of the session with this id.
    Incremental(i32),
}

/// What [`FetchSessions::write`] needs to know of an answered partition.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// The answer's code.
    pub failed: bool,
    /// Whether records are sent.
    pub has_records: bool,
    /// Whether the client must truncate.
    pub diverges: bool,
    /// In the answer.
    pub high_watermark: i64,
    /// In the answer.
    pub log_start_offset: i64,
}

/// The sessions of one shard's connections.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    sessions_max: usize,
}

impl FetchSessions {
    /// At most `sessions_max` sessions.
    #[must_use]
    pub fn new(sessions_max: usize) -> FetchSessions {
        FetchSessions {
            sessions: BTreeMap::new(),
            sessions_max,
        }
    }

    /// Takes a request up: how to answer it, and what of every partition. `fresh_id` gives ids to try.
    ///
    /// # Errors
    /// 70, 71 or 106: the session is unknown, at another epoch, or names topics the other way.
    pub fn read(
        &mut self,
        now_ms: u64,
        request: SessionRequest,
        mut fresh_id: impl FnMut() -> i32,
    ) -> SessionAnswer {
        let SessionRequest {
            fields,
            wishes,
            forgotten,
        } = request;
        match fields.epoch {
            EPOCH_FINAL => {
                self.sessions.remove(&fields.id);
                Ok((FetchKind::Full(0), wishes))
            }
            EPOCH_INITIAL => {
                self.sessions.remove(&fields.id);
                let id = self.create(now_ms, fields.uses_ids, &wishes, &mut fresh_id);
                Ok((FetchKind::Full(id), wishes))
            }
            _ => self.go_on(now_ms, fields, wishes, &forgotten),
        }
    }

    fn go_on(
        &mut self,
        now_ms: u64,
        fields: SessionFields,
        wishes: Vec<(PartitionName, Wish)>,
        forgotten: &[PartitionName],
    ) -> SessionAnswer {
        let (id, epoch) = (fields.id, fields.epoch);
        let session = self
            .sessions
            .get_mut(&id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_ids != fields.uses_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for (name, wish) in wishes {
            session.put(name, wish);
        }
        for name in forgotten {
            session.remove(name);
        }
        if session.partitions.is_empty() {
            self.sessions.remove(&id);
            return Ok((FetchKind::Full(0), Vec::new()));
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used_ms = now_ms;
        let all = session
            .partitions
            .values()
            .map(|kept| (kept.name.clone(), kept.wish))
            .collect();
        Ok((FetchKind::Incremental(id), all))
    }

    fn create(
        &mut self,
        now_ms: u64,
        uses_ids: bool,
        wishes: &[(PartitionName, Wish)],
        fresh_id: &mut impl FnMut() -> i32,
    ) -> i32 {
        if wishes.len() > FETCH_SESSION_PARTITIONS_MAX || !self.make_room(now_ms, wishes.len()) {
            return 0;
        }
        let id = loop {
            let id = fresh_id();
            if id > 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            uses_ids,
            created_ms: now_ms,
            used_ms: now_ms,
            next_position: 0,
            partitions: BTreeMap::new(),
            positions: BTreeMap::new(),
        };
        for (name, wish) in wishes {
            session.put(name.clone(), *wish);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Makes room for a session of `size` partitions: a stale session goes first, else the smallest one that had its
    /// time, if it is smaller.
    fn make_room(&mut self, now_ms: u64, size: usize) -> bool {
        if self.sessions.len() < self.sessions_max {
            return true;
        }
        let stale = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.used_ms);
        let stale =
            stale.filter(|(_, session)| now_ms.saturating_sub(session.used_ms) > EVICTION_MS);
        let smallest = || {
            let old = self
                .sessions
                .iter()
                .filter(|(_, old)| now_ms.saturating_sub(old.created_ms) > EVICTION_MS);
            let smallest = old.min_by_key(|(_, session)| session.partitions.len());
            smallest.filter(|(_, session)| session.partitions.len() < size)
        };
        match stale.or_else(smallest).map(|(id, _)| *id) {
            Some(id) => self.sessions.remove(&id).is_some(),
            None => false,
        }
    }

    /// Notes what a partition is told; false if the answer may leave it out because nothing is new.
    pub fn write(&mut self, kind: &FetchKind, name: &PartitionName, told: Told) -> bool {
        let (id, incremental) = match kind {
            FetchKind::Full(id) => (*id, false),
            FetchKind::Incremental(id) => (*id, true),
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return true;
        };
        let Some(position) = session.positions.get(name).copied() else {
            return true;
        };
        let kept = session
            .partitions
            .get_mut(&position)
            .expect("every name has its partition");
        let heard = Heard {
            high_watermark: told.high_watermark,
            log_start_offset: told.log_start_offset,
        };
        let news = told.has_records || told.failed || told.diverges || heard != kept.heard;
        // After an error the next answer names the partition whatever it says.
        kept.heard = if told.failed { NOTHING_HEARD } else { heard };
        if told.has_records && incremental {
            let kept = session.partitions.remove(&position).expect("just found");
            session.add(kept);
        }
        news || !incremental
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish {
        offset: 0,
        bytes_max: 100,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    };
    const QUIET: Told = Told {
        failed: false,
        has_records: false,
        diverges: false,
        high_watermark: 5,
        log_start_offset: 0,
    };

    fn name(index: i32) -> PartitionName {
        PartitionName {
            topic: "t".into(),
            id: TopicId::default(),
            index,
        }
    }

    fn request(id: i32, epoch: i32) -> SessionRequest {
        SessionRequest {
            fields: SessionFields {
                id,
                epoch,
                uses_ids: false,
            },
            wishes: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    fn open(sessions: &mut FetchSessions, now_ms: u64, id: i32, partitions: i32) -> i32 {
        let wanted = SessionRequest {
            wishes: (0..partitions).map(|index| (name(index), WISH)).collect(),
            ..request(0, 0)
        };
        match sessions.read(now_ms, wanted, || id) {
            Ok((FetchKind::Full(id), _)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn go_on(
        sessions: &mut FetchSessions,
        id: i32,
        epoch: i32,
    ) -> Result<(FetchKind, usize), ErrorCode> {
        let read = sessions.read(1, request(id, epoch), || panic!("no new session"));
        read.map(|(kind, wishes)| (kind, wishes.len()))
    }

    #[test]
    fn a_session_goes_on_at_the_next_epoch_only() {
        let mut sessions = FetchSessions::new(2);
        let id = open(&mut sessions, 0, 7, 2);
        assert_eq!(id, 7);
        assert_eq!(
            go_on(&mut sessions, 7, 1),
            Ok((FetchKind::Incremental(7), 2))
        );
        assert_eq!(
            go_on(&mut sessions, 7, 1),
            Err(ErrorCode::InvalidFetchSessionEpoch)
        );
        assert_eq!(
            go_on(&mut sessions, 8, 1),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
        assert_eq!(
            go_on(&mut sessions, 7, 2),
            Ok((FetchKind::Incremental(7), 2))
        );
        assert_eq!(go_on(&mut sessions, 7, -1), Ok((FetchKind::Full(0), 0)));
        assert_eq!(
            go_on(&mut sessions, 7, 3),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
    }

    #[test]
    fn a_session_keeps_to_the_way_in_which_it_names_topics() {
        let mut sessions = FetchSessions::new(2);
        open(&mut sessions, 0, 7, 1);
        let mut by_id = request(7, 1);
        by_id.fields.uses_ids = true;
        let read = sessions.read(1, by_id, || 0);
        assert_eq!(read, Err(ErrorCode::FetchSessionTopicIdError));
        assert!(go_on(&mut sessions, 7, 1).is_ok());
    }

    #[test]
    fn an_id_says_which_shard_has_the_session() {
        for raw in [0, 1, 77, 1_000_003, i32::MAX] {
            for shards in [1, 2, 3, 64] {
                for shard in 0..shards {
                    let id = id_of(raw, ShardId(shard), shards);
                    assert!(id <= 0 || owner(id, shards) == ShardId(shard));
                }
            }
        }
        assert!(id_of(i32::MAX, ShardId(63), 64) > 0);
        assert_eq!(owner(-5, 4), ShardId(3), "any number a client sends");
    }

    #[test]
    fn only_news_is_told_and_an_error_is_news_twice() {
        let mut sessions = FetchSessions::new(2);
        open(&mut sessions, 0, 7, 1);
        let kind = FetchKind::Incremental(7);
        assert!(sessions.write(&FetchKind::Full(7), &name(0), QUIET));
        assert!(!sessions.write(&kind, &name(0), QUIET));
        assert!(sessions.write(
            &kind,
            &name(0),
            Told {
                high_watermark: 6,
                ..QUIET
            }
        ));
        assert!(sessions.write(
            &kind,
            &name(0),
            Told {
                failed: true,
                ..QUIET
            }
        ));
        assert!(sessions.write(&kind, &name(0), QUIET));
        assert!(!sessions.write(&kind, &name(0), QUIET));
    }

    #[test]
    fn who_got_records_is_answered_last_next_time() {
        let mut sessions = FetchSessions::new(2);
        open(&mut sessions, 0, 7, 2);
        assert!(sessions.write(
            &FetchKind::Incremental(7),
            &name(0),
            Told {
                has_records: true,
                ..QUIET
            }
        ));
        let read = sessions.read(1, request(7, 1), || 0);
        let order: Vec<i32> = read
            .expect("goes on")
            .1
            .iter()
            .map(|(name, _)| name.index)
            .collect();
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let mut sessions = FetchSessions::new(2);
        open(&mut sessions, 0, 7, 1);
        let forgetting = SessionRequest {
            forgotten: vec![name(0)],
            ..request(7, 1)
        };
        let read = sessions.read(1, forgetting, || 0);
        assert_eq!(read, Ok((FetchKind::Full(0), Vec::new())));
        assert_eq!(
            go_on(&mut sessions, 7, 2),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
    }

    #[test]
    fn at_the_bound_a_stale_or_a_smaller_old_session_makes_room() {
        let mut sessions = FetchSessions::new(1);
        assert_eq!(open(&mut sessions, 0, 1, 2), 1);
        assert_eq!(
            open(&mut sessions, EVICTION_MS, 2, 3),
            0,
            "it is still young"
        );
        sessions.sessions.get_mut(&1).expect("there").used_ms = EVICTION_MS;
        assert_eq!(
            open(&mut sessions, EVICTION_MS + 1, 2, 2),
            0,
            "it is not smaller"
        );
        assert_eq!(open(&mut sessions, EVICTION_MS + 1, 2, 3), 2);
        assert_eq!(open(&mut sessions, 3 * EVICTION_MS, 3, 1), 3, "stale");
    }
}
