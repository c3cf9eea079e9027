//! Clients of a compacted topic: producers that write the same keys again and again and delete them now and then, and
//! a reader who has to find the last value of each, whatever the cleaner took and whenever the broker died over it.

use bytes::Bytes;
use net::messages::ApiKey;
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use net::platform::Runtime;
use net::records::{BatchBuilder, Compression};
use net::wire::Reader;

use crate::codes;
use crate::filling;
use crate::oracle::PartitionKey;
use crate::oracle::compacted::{ID_HEADER, Keyed};
use crate::shared::Shared;
use crate::topics::COMPACT;
use crate::wire::{Lost, Wire};

/// Producers beside the reader.
pub const PRODUCERS: usize = 3;
/// Keys of each producer, in each partition.
const KEYS: u64 = 6;
/// Bytes of the values of one batch: it has to fit into one of the topic's segments.
const VALUE_BYTES_MAX: usize = 11_000;
const FETCH_VERSION: i16 = 11;

/// A producer with one request under way.
struct Producer {
    shared: Shared,
    runtime: Runtime,
    name: String,
    exactly_once: bool,
    identity: Option<(i64, i16)>,
    /// Changes with the identity: order is kept within one.
    incarnation: u32,
    /// By partition.
    next_sequences: Vec<i32>,
}

/// Produces until told to finish; each batch until it is acknowledged.
pub async fn produce(shared: Shared, runtime: Runtime, number: usize) {
    let mut producer = Producer {
        shared: shared.clone(),
        runtime,
        name: format!("keyed-{number}"),
        exactly_once: number > 0,
        identity: None,
        incarnation: 0,
        next_sequences: Vec::new(),
    };
    while !shared.is_finishing() {
        if producer.exactly_once && (producer.identity.is_none() || shared.chance(0.02)) {
            producer.take_identity().await;
        }
        producer.produce_one().await;
        producer.runtime.sleep(shared.up_to_ms(25)).await;
    }
    shared.client_done();
}

impl Producer {
    async fn take_identity(&mut self) {
        loop {
            let mut wire = filling::connect(&self.shared, &self.runtime).await;
            if let Ok(Some(identity)) = init_producer_id(&mut wire).await {
                self.shared.oracle().producer_id(identity.0);
                self.identity = Some(identity);
                break;
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        self.incarnation += 1;
        self.next_sequences = vec![0; COMPACT.partitions as usize];
    }

    async fn produce_one(&mut self) {
        let keys = COMPACT.keys();
        let key = &keys[self.shared.below(keys.len() as u64) as usize];
        let (ids, batch) = self.make(key);
        let mut tried = false;
        loop {
            if tried {
                self.runtime.sleep(self.shared.up_to_ms(40)).await;
            }
            tried = true;
            let mut wire = filling::connect(&self.shared, &self.runtime).await;
            self.shared.oracle().compacted(key).sends(&ids);
            let Ok((code, base)) = filling::send(&mut wire, key, batch.clone()).await else {
                continue;
            };
            if code == codes::NONE {
                self.shared.oracle().compacted(key).acknowledged(&ids, base);
                break;
            }
            codes::expect_retriable("Produce to a compacted topic", code);
        }
        if let Some(next) = self.next_sequences.get_mut(key.1 as usize) {
            *next += ids.len() as i32;
        }
    }

    /// A batch of a few keys, and the ids of its records.
    fn make(&self, key: &PartitionKey) -> (Vec<u64>, Bytes) {
        let shared = &self.shared;
        let codec = match shared.below(8) {
            0 => Compression::Lz4,
            1 => Compression::Zstd,
            _ => Compression::None,
        };
        let mut builder = BatchBuilder::new().compression(codec, None);
        if let Some((id, epoch)) = self.identity {
            builder = builder.producer(id, epoch, self.next_sequences[key.1 as usize]);
        }
        let producer = format!("{}.{}", self.name, self.incarnation);
        let mut ids = Vec::new();
        let mut bytes_left = VALUE_BYTES_MAX;
        for _ in 0..=shared.below(5) {
            let longest = shared.pick(&[100, 400, 3_000]);
            let value = (!shared.chance(0.15)).then(|| {
                let byte = shared.below(256) as u8;
                let length = bytes_left.min(shared.below(longest) as usize);
                bytes_left -= length;
                vec![byte; length]
            });
            let record = Keyed {
                key: format!("{}/{}", self.name, shared.below(KEYS)),
                value: value.clone(),
                exactly_once: self.exactly_once.then(|| producer.clone()),
            };
            let name = record.key.clone();
            let id = shared.oracle().compacted(key).makes(record);
            builder.append(
                Some(name.as_bytes()),
                value.as_deref(),
                &[(ID_HEADER, Some(&id.to_be_bytes()))],
                self.runtime.wall_clock_ms(),
            );
            ids.push(id);
        }
        (ids, Bytes::from(builder.build(0, -1)))
    }
}

async fn init_producer_id(wire: &mut Wire) -> Result<Option<(i64, i16)>, Lost> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::InitProducerId, 4, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response =
        InitProducerIdResponse::decode(&mut Reader::new(&body), 4).expect("a well-formed answer");
    if response.error_code != codes::NONE {
        codes::expect_retriable("InitProducerId", response.error_code);
        return Ok(None);
    }
    Ok(Some((response.producer_id, response.producer_epoch)))
}

/// Reads a partition to its end, from its start or from anywhere, until told to finish.
pub async fn read(shared: Shared, runtime: Runtime) {
    let keys = COMPACT.keys();
    while !shared.is_finishing() {
        let key = &keys[shared.below(keys.len() as u64) as usize];
        let mut start = 0;
        if shared.chance(0.3) {
            let end = shared.oracle().compacted(key).high_watermark();
            start = shared.below(end as u64 + 1) as i64;
        }
        if let Ok(mut wire) = Wire::connect(&shared, &runtime).await {
            let _ = read_to_end(&shared, &mut wire, key, start, false).await;
        }
        runtime.sleep(shared.up_to_ms(250)).await;
    }
    shared.client_done();
}

/// Reads the partition from `start` to its end, where the last of each key must have been among it. Whether nothing
/// kept it from that.
pub async fn read_to_end(
    shared: &Shared,
    wire: &mut Wire,
    key: &PartitionKey,
    start: i64,
    calm: bool,
) -> Result<bool, Lost> {
    let now = shared.now();
    let mut reading = shared.oracle().compacted(key).begin_reading(start, now);
    loop {
        let read_errors_allowed = shared.oracle().read_errors_allowed;
        let body = fetch(wire, key, reading.next(), shared.pick(&[2_000, 200_000])).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION)
            .expect("a well-formed answer");
        let answer = &response.responses[0].partitions[0];
        match answer.error_code {
            codes::NONE => {}
            codes::KAFKA_STORAGE_ERROR => {
                assert!(
                    read_errors_allowed || shared.oracle().read_errors_allowed,
                    "{key:?}: {} cannot be read",
                    reading.next()
                );
                return Ok(false);
            }
            code => {
                codes::expect_retriable("Fetch", code);
                return Ok(false);
            }
        }
        assert_eq!(
            answer.log_start_offset, 0,
            "{key:?}: nobody deleted anything"
        );
        let records = answer
            .records
            .as_ref()
            .map(net::wire::Records::to_vec)
            .unwrap_or_default();
        let (now, mut oracle) = (shared.now(), shared.oracle());
        let model = oracle.compacted(key);
        model.read(&mut reading, answer.high_watermark, &records);
        if reading.next() >= answer.high_watermark {
            let missed = model.complete(&reading, now, calm);
            drop(oracle);
            shared.count("compacted logs read", 1);
            shared.count("superseded records gone", missed);
            shared.note(format!(
                "{}-{} was read from {start} to {}, without {missed}",
                key.0,
                key.1,
                reading.next()
            ));
            return Ok(true);
        }
    }
}

async fn fetch(
    wire: &mut Wire,
    key: &PartitionKey,
    offset: i64,
    bytes_max: i32,
) -> Result<Bytes, Lost> {
    let partition = FetchPartition {
        partition: key.1,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: bytes_max,
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: bytes_max,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: &key.0,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    wire.call(ApiKey::Fetch, FETCH_VERSION, |writer, version| {
        request.encode(writer, version)
    })
    .await
}
