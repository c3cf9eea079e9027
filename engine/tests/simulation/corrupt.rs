//! Sends batches whose bytes do not match their CRC: each is answered so (RELIABILITY P1), and none comes into the log,
//! where the oracle would not know it.

use bytes::Bytes;

use crate::batches;
use crate::codes;
use crate::filling;
use crate::shared::Shared;
use crate::topics;
use crate::wire::{Lost, Wire};

/// Where the CRC stands in a batch.
const CRC_POSITION: u64 = 17;
/// Where the records begin.
const RECORDS_POSITION: u64 = 61;

/// One such batch.
pub async fn produce(shared: &Shared, wire: &mut Wire, now_ms: i64) -> Result<(), Lost> {
    let keys = topics::all_keys();
    let key = &keys[shared.below(keys.len() as u64) as usize];
    let made = batches::make(shared, "corrupt", now_ms, None);
    let mut bytes = made.bytes.to_vec();
    let position = if shared.chance(0.3) {
        CRC_POSITION + shared.below(4)
    } else {
        RECORDS_POSITION + shared.below(bytes.len() as u64 - RECORDS_POSITION)
    };
    bytes[position as usize] ^= 1 << shared.below(8);
    let (error_code, _) = filling::send(wire, key, Bytes::from(bytes)).await?;
    if error_code == codes::CORRUPT_MESSAGE {
        shared.count("corrupt batches refused", 1);
    } else {
        codes::expect_retriable("Produce of a corrupt batch", error_code);
    }
    Ok(())
}
