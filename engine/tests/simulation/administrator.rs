//! The client that asks for metadata and offsets, deletes records and changes settings; it also makes the topics.

use net::messages::ApiKey;
use net::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::platform::Runtime;
use net::wire::Reader;

use crate::codes;
use crate::corrupt;
use crate::epochs;
use crate::oracle::PartitionKey;
use crate::shared::Shared;
use crate::topics::{self, KEEP, STAMP, TRIM, Topic};
use crate::wire::{Lost, Wire};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// It tells the ids of topics.
const METADATA_VERSION: i16 = 12;

/// Creates the topics that everybody else works on, however often the broker dies meanwhile.
pub async fn make_topics(shared: &Shared, runtime: &Runtime) {
    for topic in topics::ALL.into_iter().chain([&topics::COMPACT]) {
        let mut unsure = false;
        loop {
            if let Ok(mut wire) = Wire::connect(shared, runtime).await {
                match topics::create(&mut wire, topic.name, topic.partitions, topic.configs).await {
                    Ok((codes::NONE, id)) => {
                        shared.oracle().topic_id(topic.name, id);
                        break;
                    }
                    Ok((codes::TOPIC_ALREADY_EXISTS, _)) if unsure => break,
                    Ok((code, _)) => codes::expect_retriable("CreateTopics", code),
                    Err(Lost) => {}
                }
                unsure = true;
            }
            runtime.sleep(shared.up_to_ms(50)).await;
        }
        let keys = topic.keys();
        loop {
            if let Ok(mut wire) = Wire::connect(shared, runtime).await
                && are_served(&mut wire, &keys).await.unwrap_or(false)
            {
                break;
            }
            runtime.sleep(shared.up_to_ms(50)).await;
        }
    }
    for key in STAMP.keys() {
        shared.oracle().partition(&key).stamped = true;
    }
    for key in KEEP.keys() {
        shared.oracle().partition(&key).retention = true;
    }
}

/// Administers until told to finish.
pub async fn run(shared: Shared, runtime: Runtime) {
    while !shared.is_finishing() {
        if let Ok(mut wire) = Wire::connect(&shared, &runtime).await {
            while !shared.is_finishing() {
                if one(&shared, &mut wire, runtime.wall_clock_ms())
                    .await
                    .is_err()
                {
                    break;
                }
                runtime.sleep(shared.up_to_ms(25)).await;
            }
        }
        runtime.sleep(shared.up_to_ms(60)).await;
    }
    shared.client_done();
}

async fn one(shared: &Shared, wire: &mut Wire, now_ms: i64) -> Result<(), Lost> {
    match shared.below(15) {
        0..3 => metadata(shared, wire).await,
        3..5 => list_offsets(shared, wire, &topics::all_keys(), EARLIEST)
            .await
            .map(drop),
        5..7 => list_offsets(shared, wire, &topics::all_keys(), LATEST)
            .await
            .map(drop),
        7..9 => by_time(shared, wire).await,
        9..11 => delete_records(shared, wire).await,
        11..13 => epochs::ask(shared, wire).await,
        13 => corrupt::produce(shared, wire, now_ms).await,
        _ => configure(shared, wire).await,
    }
}

/// Asks for all topics and holds ids, epochs and leaders against what is known.
pub async fn metadata(shared: &Shared, wire: &mut Wire) -> Result<(), Lost> {
    let life = shared.life();
    let wanted = topics::ALL.iter().map(|topic| MetadataRequestTopic {
        name: Some(topic.name),
        ..Default::default()
    });
    let request = MetadataRequest {
        topics: Some(wanted.collect()),
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::Metadata, METADATA_VERSION, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    if shared.life() != life {
        return Ok(());
    }
    let response = MetadataResponse::decode(&mut Reader::new(&body), METADATA_VERSION)
        .expect("a well-formed answer");
    shared
        .oracle()
        .cluster_id(response.cluster_id.expect("a cluster has an id"));
    for topic in topics::ALL {
        let found = response
            .topics
            .iter()
            .find(|found| found.name == Some(topic.name))
            .expect("what was asked for is answered");
        assert_eq!(
            found.error_code,
            codes::NONE,
            "topic {} is gone",
            topic.name
        );
        shared.oracle().topic_id(topic.name, found.topic_id.0);
        assert_eq!(
            found.partitions.len(),
            topic.partitions as usize,
            "topic {} changed its partitions",
            topic.name
        );
        for partition in &found.partitions {
            let key = (topic.name.to_owned(), partition.partition_index);
            shared
                .oracle()
                .leader_epoch(&key, partition.leader_epoch, life);
        }
    }
    Ok(())
}

/// Asks where these partitions start or end, and takes it in. Says whether each was told.
pub async fn list_offsets(
    shared: &Shared,
    wire: &mut Wire,
    keys: &[PartitionKey],
    timestamp: i64,
) -> Result<bool, Lost> {
    let floors: Vec<_> = keys.iter().map(|key| shared.oracle().floor(key)).collect();
    let body = ask_offsets(wire, keys, timestamp).await?;
    let response =
        ListOffsetsResponse::decode(&mut Reader::new(&body), 6).expect("a well-formed answer");
    let mut all = true;
    for (key, floor) in keys.iter().zip(floors) {
        let answer = answer_of(&response, key);
        if answer.0 != codes::NONE {
            codes::expect_retriable("ListOffsets", answer.0);
            all = false;
            continue;
        }
        let mut oracle = shared.oracle();
        let model = oracle.partition(key);
        match timestamp {
            EARLIEST => model.log_start(answer.2, floor),
            _ => model.high_watermark(answer.2, floor),
        }
    }
    Ok(all)
}

/// Where the partition starts, for who reads it whole.
pub async fn find_start(
    shared: &Shared,
    wire: &mut Wire,
    key: &PartitionKey,
) -> Result<bool, Lost> {
    list_offsets(shared, wire, std::slice::from_ref(key), EARLIEST).await
}

/// Whether all these partitions answer.
pub async fn are_served(wire: &mut Wire, keys: &[PartitionKey]) -> Result<bool, Lost> {
    let body = ask_offsets(wire, keys, EARLIEST).await?;
    let response =
        ListOffsetsResponse::decode(&mut Reader::new(&body), 6).expect("a well-formed answer");
    Ok(keys
        .iter()
        .all(|key| answer_of(&response, key).0 == codes::NONE))
}

async fn by_time(shared: &Shared, wire: &mut Wire) -> Result<(), Lost> {
    let keys = topics::PLAIN.keys();
    let key = keys[shared.below(keys.len() as u64) as usize].clone();
    let timestamp = 1_750_000_000_000 + shared.below(60_000) as i64;
    let body = ask_offsets(wire, std::slice::from_ref(&key), timestamp).await?;
    let response =
        ListOffsetsResponse::decode(&mut Reader::new(&body), 6).expect("a well-formed answer");
    let (code, found, offset) = answer_of(&response, &key);
    if code != codes::NONE {
        codes::expect_retriable("ListOffsets", code);
        return Ok(());
    }
    assert!(
        offset == -1 || found >= timestamp,
        "{key:?}: asked for {timestamp}, got {offset} of {found}"
    );
    Ok(())
}

async fn ask_offsets(
    wire: &mut Wire,
    keys: &[PartitionKey],
    timestamp: i64,
) -> Result<bytes::Bytes, Lost> {
    let partition = |key: &PartitionKey| ListOffsetsPartition {
        partition_index: key.1,
        current_leader_epoch: -1,
        timestamp,
        ..Default::default()
    };
    let topics = keys
        .iter()
        .map(|key| ListOffsetsTopic {
            name: &key.0,
            partitions: vec![partition(key)],
            ..Default::default()
        })
        .collect();
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics,
        ..Default::default()
    };
    wire.call(ApiKey::ListOffsets, 6, |writer, version| {
        request.encode(writer, version)
    })
    .await
}

/// Error code, timestamp and offset.
fn answer_of(response: &ListOffsetsResponse<'_>, key: &PartitionKey) -> (i16, i64, i64) {
    let of_topic = response.topics.iter().filter(|topic| topic.name == key.0);
    let found = of_topic
        .flat_map(|topic| &topic.partitions)
        .find(|partition| partition.partition_index == key.1);
    let found = found.expect("what was asked for is answered");
    (found.error_code, found.timestamp, found.offset)
}

async fn delete_records(shared: &Shared, wire: &mut Wire) -> Result<(), Lost> {
    let key = (
        TRIM.name.to_owned(),
        shared.below(TRIM.partitions as u64) as i32,
    );
    let floor = shared.oracle().floor(&key);
    let span = (floor.high_watermark - floor.log_start).max(0) as u64;
    let before = floor.log_start + shared.below(span / 2 + 1) as i64;
    shared.oracle().partition(&key).may_delete_below(before);
    let partitions = vec![DeleteRecordsPartition {
        partition_index: key.1,
        offset: before,
        ..Default::default()
    }];
    let topic = DeleteRecordsTopic {
        name: &key.0,
        partitions,
        ..Default::default()
    };
    let request = DeleteRecordsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::DeleteRecords, 2, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response =
        DeleteRecordsResponse::decode(&mut Reader::new(&body), 2).expect("a well-formed answer");
    let answer = &response.topics[0].partitions[0];
    if answer.error_code != codes::NONE {
        codes::expect_retriable("DeleteRecords", answer.error_code);
        return Ok(());
    }
    assert!(
        answer.low_watermark >= before,
        "{key:?}: deleted below {before}, the log starts at {}",
        answer.low_watermark
    );
    shared.note(format!("deleted {}-{} below {before}", key.0, key.1));
    shared
        .oracle()
        .partition(&key)
        .log_start(answer.low_watermark, floor);
    Ok(())
}

async fn configure(shared: &Shared, wire: &mut Wire) -> Result<(), Lost> {
    let topic: &Topic = shared.pick(&topics::ALL);
    let (name, value) = if topic.name == KEEP.name && shared.chance(0.7) {
        (
            "retention.bytes",
            shared.pick(&["150000", "100000", "400000"]),
        )
    } else {
        (
            "internal.segment.bytes",
            shared.pick(&["40960", "65536", "131072"]),
        )
    };
    let code = topics::configure(wire, topic.name, name, value).await?;
    if code != codes::NONE {
        codes::expect_retriable("IncrementalAlterConfigs", code);
    }
    Ok(())
}
