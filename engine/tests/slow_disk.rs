//! A disk that takes long: a producer is told so when its time is over, and what it sent is stored all the same, so that
//! a resend must be recognised by its sequence. And what a refused batch is told of the log.

use std::time::Duration;

use engine::platform::sim::SimDiskOptions;
use net::client::Client;
use net::messages::ApiKey;
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::records::BatchBuilder;
use net::wire::{Reader, Records};

mod simulated;
use simulated::{connect, created, simulated, start};

const TOPIC: &str = "orders";
const OK: i16 = 0;
const REQUEST_TIMED_OUT: i16 = 7;
const INVALID_RECORD: i16 = 87;

/// Sends one batch of producer 5, or nothing where a batch should be: code, base offset, log start offset.
async fn produce(client: &Client, sequence: Option<i32>, timeout_ms: i32) -> (i16, i64, i64) {
    let chain = sequence.map_or(Vec::new(), |sequence| {
        let mut builder = BatchBuilder::new().producer(5, 0, sequence);
        builder.append(None, Some(b"value"), &[], 1_700_000_000_000);
        vec![builder.build(0, -1).into()]
    });
    let data = PartitionProduceData {
        index: 0,
        records: Some(Records::Chain(chain)),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms,
        topic_data: vec![TopicProduceData {
            name: TOPIC,
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = client
        .call(ApiKey::Produce, 9, |writer| request.encode(writer, 9))
        .await
        .expect("an answer");
    let answer = ProduceResponse::decode(&mut Reader::new(&body), 9).expect("readable");
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset, part.log_start_offset)
}

#[test]
fn a_producer_whose_time_is_over_is_told_and_its_batch_is_stored() {
    simulated(|broker, runtime, disk| async move {
        let node = start(&broker, &disk).await;
        let client = connect(&runtime).await;
        created(&client, TOPIC).await;
        assert_eq!(produce(&client, Some(0), 0).await, (OK, 0, 0), "in no time");
        disk.set_options(SimDiskOptions {
            latency_tail: 1.0,
            latency_tail_max: Duration::from_secs(100),
            ..SimDiskOptions::default()
        });
        let before = runtime.monotonic();
        let (code, ..) = produce(&client, Some(1), 2_000).await;
        let waited = runtime.monotonic() - before;
        assert_eq!(code, REQUEST_TIMED_OUT);
        assert!((2..4).contains(&waited.as_secs()), "{waited:?}");
        disk.set_options(SimDiskOptions::default());
        // The resend waits for the first copy and gets its offset.
        assert_eq!(produce(&client, Some(1), 300_000).await, (OK, 1, 0));
        drop(client);
        node.stop().await.expect("stops");
    });
}

#[test]
fn a_refused_batch_is_told_where_the_log_starts() {
    simulated(|broker, runtime, disk| async move {
        let node = start(&broker, &disk).await;
        // On either shard: the partition's owner, and one that must ask it.
        for _ in 0..2 {
            let client = connect(&runtime).await;
            created(&client, TOPIC).await;
            let refused = produce(&client, None, 1_000).await;
            assert_eq!(refused, (INVALID_RECORD, -1, 0));
        }
        node.stop().await.expect("stops");
    });
}
