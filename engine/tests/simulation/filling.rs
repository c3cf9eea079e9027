//! What clients do that are alone on a topic, and so know exactly what must be in it: produce until it is acknowledged,
//! and read all of it.

use bytes::Bytes;
use net::messages::ApiKey;
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::platform::Runtime;
use net::records::Batch;
use net::wire::{Reader, Records};

use crate::administrator::find_start;
use crate::batches::Made;
use crate::codes;
use crate::consumer::read_all;
use crate::oracle::PartitionKey;
use crate::producer::PRODUCE_VERSION;
use crate::shared::Shared;
use crate::wire::{Lost, Wire};

/// A connection, however long it takes.
pub async fn connect(shared: &Shared, runtime: &Runtime) -> Wire {
    loop {
        if let Ok(wire) = Wire::connect(shared, runtime).await {
            return wire;
        }
        runtime.sleep(shared.up_to_ms(60)).await;
    }
}

/// Sends the batch until it is acknowledged.
pub async fn produce(shared: &Shared, runtime: &Runtime, key: &PartitionKey, made: &Made) {
    while !is_acknowledged(shared, runtime, key, made).await {
        runtime.sleep(shared.up_to_ms(40)).await;
    }
}

async fn is_acknowledged(
    shared: &Shared,
    runtime: &Runtime,
    key: &PartitionKey,
    made: &Made,
) -> bool {
    let mut wire = connect(shared, runtime).await;
    let batch = Batch::parse(&made.bytes).expect("made whole");
    shared
        .oracle()
        .partition(key)
        .sends(made.id, &key.0, None, &batch);
    let Ok((error_code, base_offset)) = send(&mut wire, key, made.bytes.clone()).await else {
        return false;
    };
    if error_code != codes::NONE {
        codes::expect_retriable("Produce to a topic that exists", error_code);
        return false;
    }
    shared
        .oracle()
        .partition(key)
        .acknowledged(made.id, base_offset);
    true
}

/// Sends one batch; the error code of the answer and its base offset.
pub async fn send(wire: &mut Wire, key: &PartitionKey, batch: Bytes) -> Result<(i16, i64), Lost> {
    let part = PartitionProduceData {
        index: key.1,
        records: Some(Records::Chain(vec![batch])),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: &key.0,
        partition_data: vec![part],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::Produce, PRODUCE_VERSION, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response = ProduceResponse::decode(&mut Reader::new(&body), PRODUCE_VERSION)
        .expect("a well-formed answer");
    let answer = &response.responses[0].partition_responses[0];
    Ok((answer.error_code, answer.base_offset))
}

/// Reads the partition: everything that was acknowledged is there, and nothing else.
pub async fn read_whole(shared: &Shared, runtime: &Runtime, key: &PartitionKey) {
    loop {
        let mut wire = connect(shared, runtime).await;
        // While the disk makes errors there is nothing to be demanded of reads.
        if shared.oracle().read_errors_allowed {
            return;
        }
        if find_start(shared, &mut wire, key)
            .await
            .is_ok_and(|told| told)
            && let Ok((start, end)) = read_all(shared, &mut wire, key).await
        {
            return shared.oracle().partition(key).complete(start, end);
        }
        runtime.sleep(shared.up_to_ms(40)).await;
    }
}
