//! Consumers: one reads anywhere, one follows the ends of all partitions in a fetch session with long polls. Also the
//! last reading of everything.

use std::collections::BTreeMap;

use net::messages::ApiKey;
use net::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use net::platform::Runtime;
use net::wire::Reader;

use crate::codes;
use crate::oracle::{Floor, PartitionKey};
use crate::shared::Shared;
use crate::wire::{Lost, Wire};

const FETCH_VERSION: i16 = 11;

/// A client that consumes.
pub struct Consumer {
    shared: Shared,
    runtime: Runtime,
    keys: Vec<PartitionKey>,
}

struct Session {
    id: i32,
    epoch: i32,
    /// What the broker was last told.
    told: BTreeMap<PartitionKey, i64>,
}

/// One partition asked for.
struct Asked {
    key: PartitionKey,
    offset: i64,
    bytes_max: i32,
    floor: Floor,
}

struct Limits {
    wait_ms: i32,
    bytes_min: i32,
    bytes_max: i32,
}

impl Consumer {
    /// A consumer of these partitions.
    pub fn new(shared: &Shared, runtime: Runtime, keys: Vec<PartitionKey>) -> Consumer {
        Consumer {
            shared: shared.clone(),
            runtime,
            keys,
        }
    }

    /// Reads anywhere until told to finish.
    pub async fn read_anywhere(self) {
        while !self.shared.is_finishing() {
            if let Ok(mut wire) = Wire::connect(&self.shared, &self.runtime).await {
                while !self.shared.is_finishing() {
                    if self.read_somewhere(&mut wire).await.is_err() {
                        break;
                    }
                    self.runtime.sleep(self.shared.up_to_ms(8)).await;
                }
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        self.shared.client_done();
    }

    /// Follows the ends until told to finish.
    pub async fn follow(self) {
        let mut positions: BTreeMap<PartitionKey, i64> =
            self.keys.iter().map(|key| (key.clone(), 0)).collect();
        while !self.shared.is_finishing() {
            if let Ok(mut wire) = Wire::connect(&self.shared, &self.runtime).await {
                let mut session = Session {
                    id: 0,
                    epoch: 0,
                    told: BTreeMap::new(),
                };
                while !self.shared.is_finishing() {
                    if self
                        .poll(&mut wire, &mut session, &mut positions)
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        self.shared.client_done();
    }

    async fn read_somewhere(&self, wire: &mut Wire) -> Result<(), Lost> {
        let key = self.keys[self.shared.below(self.keys.len() as u64) as usize].clone();
        let floor = self.shared.oracle().floor(&key);
        let span = (floor.high_watermark - floor.log_start).max(0) as u64;
        let offset = match self.shared.below(20) {
            0 => floor.high_watermark + self.shared.below(3) as i64,
            1 => floor.log_start,
            _ => floor.log_start + self.shared.below(span + 1) as i64,
        };
        let bytes_max = self.shared.pick(&[1, 500, 4_000, 60_000]);
        let asked = [Asked {
            key,
            offset,
            bytes_max,
            floor,
        }];
        let limits = Limits {
            wait_ms: self.shared.pick(&[0, 5, 100]),
            bytes_min: 1,
            bytes_max,
        };
        let body = fetch(wire, 0, -1, &limits, &asked).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION)
            .expect("a well-formed answer");
        assert_eq!(
            response.error_code,
            codes::NONE,
            "a fetch without session failed as a whole"
        );
        let answer = answers(&response)
            .next()
            .expect("every partition asked for is answered")
            .1;
        take_in(&self.shared, &asked[0], answer, true);
        Ok(())
    }

    async fn poll(
        &self,
        wire: &mut Wire,
        session: &mut Session,
        positions: &mut BTreeMap<PartitionKey, i64>,
    ) -> Result<(), Lost> {
        let mut asked = Vec::new();
        for (key, offset) in &*positions {
            let floor = self.shared.oracle().floor(key);
            asked.push(Asked {
                key: key.clone(),
                offset: *offset,
                bytes_max: 30_000,
                floor,
            });
        }
        let full = session.epoch == 0;
        let (changed, same): (Vec<Asked>, Vec<Asked>) = asked
            .into_iter()
            .partition(|asked| full || session.told.get(&asked.key) != Some(&asked.offset));
        let limits = Limits {
            wait_ms: self.shared.pick(&[10, 100, 500]),
            bytes_min: self.shared.pick(&[1, 1, 2_000]),
            bytes_max: 100_000,
        };
        let body = fetch(wire, session.id, session.epoch, &limits, &changed).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION)
            .expect("a well-formed answer");
        if response.error_code != codes::NONE {
            let known = [
                codes::FETCH_SESSION_ID_NOT_FOUND,
                codes::INVALID_FETCH_SESSION_EPOCH,
            ];
            assert!(
                known.contains(&response.error_code),
                "a session fetch was answered {}",
                response.error_code
            );
            return Err(Lost);
        }
        session.told.extend(
            changed
                .iter()
                .map(|asked| (asked.key.clone(), asked.offset)),
        );
        if full {
            session.id = response.session_id;
        }
        // A broker that keeps no session answers 0; then every request is a full one.
        session.epoch = if session.id == 0 {
            0
        } else {
            session.epoch + 1
        };
        for (key, answer) in answers(&response) {
            let asked = changed
                .iter()
                .chain(&same)
                .find(|asked| asked.key == key)
                .expect("only what was asked for is answered");
            if let Some(next) = take_in(&self.shared, asked, answer, false) {
                positions.insert(key, next);
            }
        }
        self.shared
            .count("session fetches", u64::from(session.epoch > 1));
        Ok(())
    }
}

fn answers<'a>(
    response: &'a FetchResponse<'_>,
) -> impl Iterator<Item = (PartitionKey, &'a PartitionData<'a>)> {
    response.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            (
                (topic.topic.to_owned(), partition.partition_index),
                partition,
            )
        })
    })
}

async fn fetch(
    wire: &mut Wire,
    session_id: i32,
    session_epoch: i32,
    limits: &Limits,
    asked: &[Asked],
) -> Result<bytes::Bytes, Lost> {
    let topics = asked
        .iter()
        .map(|asked| FetchTopic {
            topic: &asked.key.0,
            partitions: vec![FetchPartition {
                partition: asked.key.1,
                current_leader_epoch: -1,
                fetch_offset: asked.offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: asked.bytes_max,
                ..Default::default()
            }],
            ..Default::default()
        })
        .collect();
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: limits.wait_ms,
        min_bytes: limits.bytes_min,
        max_bytes: limits.bytes_max,
        session_id,
        session_epoch,
        topics,
        ..Default::default()
    };
    wire.call(ApiKey::Fetch, FETCH_VERSION, |writer, version| {
        request.encode(writer, version)
    })
    .await
}

/// Holds an answer against the model; the next offset to read, or `None` to stay.
fn take_in(shared: &Shared, asked: &Asked, answer: &PartitionData<'_>, alone: bool) -> Option<i64> {
    let Asked {
        key, offset, floor, ..
    } = asked;
    let mut oracle = shared.oracle();
    let read_errors_allowed = oracle.read_errors_allowed;
    let model = oracle.partition(key);
    match answer.error_code {
        codes::NONE => {
            let (high_watermark, log_start) = (answer.high_watermark, answer.log_start_offset);
            model.high_watermark(high_watermark, *floor);
            model.log_start(log_start, *floor);
            assert!(
                log_start <= answer.last_stable_offset
                    && answer.last_stable_offset <= high_watermark,
                "offsets out of order"
            );
            let records = answer
                .records
                .as_ref()
                .map(net::wire::Records::to_vec)
                .unwrap_or_default();
            let next = model.read(*offset, high_watermark, &records);
            let stuck = alone && records.is_empty() && *offset < floor.high_watermark;
            assert!(
                !stuck,
                "{key:?}: nothing at {offset}, though {} is durable",
                floor.high_watermark
            );
            if !records.is_empty() {
                drop(oracle);
                shared.count("reads with records", 1);
                shared.note(format!(
                    "read {}-{} {offset}..{next} of {high_watermark}",
                    key.0, key.1
                ));
            }
            Some(next)
        }
        codes::OFFSET_OUT_OF_RANGE => {
            model.out_of_range(*offset, *floor);
            let known = model.floor();
            Some(known.log_start.max(if *offset > known.high_watermark {
                known.high_watermark
            } else {
                *offset + 1
            }))
        }
        codes::KAFKA_STORAGE_ERROR => {
            let behind = model.behind_damage(*offset);
            assert!(
                read_errors_allowed || behind.is_some(),
                "{key:?}: {offset} cannot be read"
            );
            drop(oracle);
            shared.count("reads refused", 1);
            behind
        }
        code => {
            codes::expect_retriable("Fetch", code);
            None
        }
    }
}

/// Reads a partition from its start to its end; returns both.
pub async fn read_all(
    shared: &Shared,
    wire: &mut Wire,
    key: &PartitionKey,
) -> Result<(i64, i64), Lost> {
    let mut offset = shared.oracle().floor(key).log_start;
    let mut first = None;
    loop {
        let floor = shared.oracle().floor(key);
        let asked = [Asked {
            key: key.clone(),
            offset,
            bytes_max: 200_000,
            floor,
        }];
        let limits = Limits {
            wait_ms: 0,
            bytes_min: 0,
            bytes_max: 200_000,
        };
        let body = fetch(wire, 0, -1, &limits, &asked).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION)
            .expect("a well-formed answer");
        let answer = answers(&response)
            .next()
            .expect("every partition asked for is answered")
            .1;
        if answer.error_code == codes::NONE && first.is_none() {
            first = Some(offset);
        }
        let next = take_in(shared, &asked[0], answer, true);
        if answer.error_code == codes::NONE && offset >= answer.high_watermark {
            return Ok((first.unwrap_or(offset), answer.high_watermark));
        }
        let next = next.ok_or(Lost)?;
        assert!(next > offset, "{key:?}: reading stands still at {offset}");
        offset = next;
    }
}
