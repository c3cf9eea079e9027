//! The client that gives its topic more and more partitions: each one that was answered for is there for ever.

use net::messages::ApiKey;
use net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use net::platform::Runtime;
use net::wire::Reader;

use crate::administrator::are_served;
use crate::batches;
use crate::codes;
use crate::filling;
use crate::oracle::PartitionKey;
use crate::shared::Shared;
use crate::topics;
use crate::wire::{Lost, Wire};

/// Its topic.
pub const TOPIC: &str = "growth";
const PARTITIONS_MAX: i32 = 6;
const VERSION: i16 = 3;

/// Runs until told to finish, then reads everything.
pub async fn run(shared: Shared, runtime: Runtime) {
    let mut count = 0;
    let mut batches = 0;
    while !shared.is_finishing() || count == 0 {
        if count == 0 || (count < PARTITIONS_MAX && shared.chance(0.1)) {
            count += 1;
            grow(&shared, &runtime, count).await;
            shared.note(format!("{TOPIC} has {count} partitions"));
        }
        let key = key(shared.below(count as u64) as i32);
        if shared.chance(0.1) {
            filling::read_whole(&shared, &runtime, &key).await;
        }
        let name = format!("{TOPIC}/{batches}");
        batches += 1;
        let made = batches::make(&shared, &name, runtime.wall_clock_ms(), None);
        filling::produce(&shared, &runtime, &key, &made).await;
        runtime.sleep(shared.up_to_ms(60)).await;
    }
    for index in 0..count {
        filling::read_whole(&shared, &runtime, &key(index)).await;
    }
    shared.client_done();
}

fn key(index: i32) -> PartitionKey {
    (TOPIC.to_owned(), index)
}

/// Asks for so many partitions until there are.
async fn grow(shared: &Shared, runtime: &Runtime, count: i32) {
    let mut unsure = false;
    loop {
        let mut wire = filling::connect(shared, runtime).await;
        let answer = match count {
            1 => topics::create(&mut wire, TOPIC, 1, &[("internal.segment.bytes", "40960")])
                .await
                .map(|(code, _)| code),
            _ => create_partitions(&mut wire, count).await,
        };
        match answer {
            Ok(codes::NONE) => break shared.count("partitions created", u64::from(count > 1)),
            Ok(codes::TOPIC_ALREADY_EXISTS | codes::INVALID_PARTITIONS) if unsure => break,
            Ok(code) => codes::expect_retriable("CreatePartitions", code),
            Err(Lost) => {}
        }
        unsure = true;
        runtime.sleep(shared.up_to_ms(40)).await;
    }
    // When the answer was an error or none, the partitions may still be about to be made.
    let keys: Vec<PartitionKey> = (0..count).map(key).collect();
    while unsure {
        let mut wire = filling::connect(shared, runtime).await;
        unsure = !are_served(&mut wire, &keys).await.unwrap_or(false);
        runtime.sleep(shared.up_to_ms(60)).await;
    }
}

async fn create_partitions(wire: &mut Wire, count: i32) -> Result<i16, Lost> {
    let topic = CreatePartitionsTopic {
        name: TOPIC,
        count,
        assignments: None,
        ..Default::default()
    };
    let request = CreatePartitionsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::CreatePartitions, VERSION, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response = CreatePartitionsResponse::decode(&mut Reader::new(&body), VERSION)
        .expect("a well-formed answer");
    Ok(response.results[0].error_code)
}
