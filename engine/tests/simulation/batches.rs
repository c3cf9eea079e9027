//! Makes the batches that producers send: each unlike any other.

use bytes::Bytes;
use net::records::{BatchBuilder, Compression};

use crate::oracle::partition::BatchId;
use crate::shared::Shared;

/// A batch ready to be sent, as often as need be.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: BatchId,
    pub bytes: Bytes,
    pub records: i32,
}

/// The idempotent producer's part of a batch: id, epoch, first sequence.
pub type Stamp = (i64, i16, i32);

/// Mostly small, sometimes large enough for a direct run.
pub fn make(shared: &Shared, name: &str, timestamp: i64, stamp: Option<Stamp>) -> Made {
    let codec = if shared.chance(0.1) {
        shared.pick(&[
            Compression::Lz4,
            Compression::Snappy,
            Compression::Gzip,
            Compression::Zstd,
        ])
    } else {
        Compression::None
    };
    let mut builder = BatchBuilder::new().compression(codec, None);
    if let Some((id, epoch, sequence)) = stamp {
        builder = builder.producer(id, epoch, sequence);
    }
    let records = 1 + shared.below(shared.pick(&[1, 3, 12]));
    let length = match shared.below(100) {
        0..3 => 20_000 / records + shared.below(16_000 / records),
        3..15 => shared.below(3_000),
        _ => shared.below(200),
    };
    let filler = vec![shared.below(256) as u8; length as usize];
    for record in 0..records {
        let key = format!("{name}/{record}");
        builder.append(
            Some(key.as_bytes()),
            Some(&filler),
            &[],
            timestamp + record as i64,
        );
    }
    let bytes = Bytes::from(builder.build(0, -1));
    Made {
        id: BatchId::of(&bytes),
        bytes,
        records: records as i32,
    }
}
