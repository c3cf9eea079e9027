//! Asks where leader epochs end, as consumers do that look for truncation (KIP-320).

use net::messages::ApiKey;
use net::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use net::wire::Reader;

use crate::codes;
use crate::shared::Shared;
use crate::topics::PLAIN;
use crate::wire::{Lost, Wire};

const VERSION: i16 = 4;

/// One question about a partition of which nothing is ever deleted.
pub async fn ask(shared: &Shared, wire: &mut Wire) -> Result<(), Lost> {
    let keys = PLAIN.keys();
    let key = &keys[shared.below(keys.len() as u64) as usize];
    let (floor, newest) = {
        let mut oracle = shared.oracle();
        let model = oracle.partition(key);
        (model.floor(), model.newest_epoch())
    };
    let asked = shared.below(newest as u64 + 3) as i32;
    let partition = OffsetForLeaderPartition {
        partition: key.1,
        current_leader_epoch: -1,
        leader_epoch: asked,
        ..Default::default()
    };
    let topic = OffsetForLeaderTopic {
        topic: &key.0,
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::OffsetForLeaderEpoch, VERSION, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response = OffsetForLeaderEpochResponse::decode(&mut Reader::new(&body), VERSION)
        .expect("a well-formed answer");
    let answer = &response.topics[0].partitions[0];
    if answer.error_code != codes::NONE {
        codes::expect_retriable("OffsetForLeaderEpoch", answer.error_code);
        return Ok(());
    }
    shared.oracle().partition(key).epoch_end(
        asked,
        (answer.leader_epoch, answer.end_offset),
        floor,
    );
    shared.count("ends of epochs told", u64::from(answer.end_offset >= 0));
    Ok(())
}
