//! Batches made beforehand: a producer only writes identities, keys, the header and the CRC into a copy, or anew into the
//! copy that it sent last.
//!
//! A template is one full batch. Fewer records are a prefix of it, because a record's encoding depends on nothing
//! behind it. Pure computation.

use net::records::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, Batch, BatchBuilder, BatchHeader, Compression,
    Decompressor, MAGIC_V2,
};

use crate::identity::{Identity, payload_checksum};
use crate::plan::{KeySpace, Payload};
use crate::random::Random;

const CRC_AT: usize = 17;

/// Where one record's parts lie in the template.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key_at: usize,
    value_at: usize,
    value_end: usize,
    /// One behind the record's last byte.
    end: usize,
    /// Bytes of values up to and with this record's.
    value_bytes: u64,
    payload_checksum: u32,
}

/// A full batch and the places in it that change.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    key_bytes: usize,
    codec: Compression,
    level: Option<i32>,
}

/// What distinguishes one batch from the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Which run and producer.
    pub(crate) run: u32,
    /// Which connection.
    pub(crate) producer: u32,
    /// Sequence of the first record, for identities.
    pub(crate) first_sequence: u64,
    /// Kafka's producer id, epoch and sequence; −1 each without idempotence.
    pub(crate) idempotence: (i64, i16, i32),
    /// The records' timestamp, ms since 1970.
    pub(crate) timestamp_ms: i64,
}

impl Template {
    /// A batch of at most `batch_bytes` bytes, but of at least one record.
    pub(crate) fn new(
        payload: &Payload,
        keys: Option<&KeySpace>,
        batch_bytes: usize,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed, 1);
        let mut builder = BatchBuilder::new();
        let key = keys.map(|keys| vec![b'0'; keys.bytes]);
        let key_bytes = key.as_ref().map_or(0, Vec::len);
        loop {
            let mut value = vec![0; payload.size.draw(&mut random)];
            fill(&mut value, payload.compressibility, &mut random);
            // 21: the longest that a record's own numbers get.
            let size = builder.size_in_bytes() + value.len() + key_bytes + 21;
            if !builder.is_empty() && size > batch_bytes {
                break;
            }
            builder.append(key.as_deref(), Some(&value), &[], 0);
        }
        let bytes = builder.build(0, -1);
        let slots = slots(&bytes);
        Self {
            bytes,
            slots,
            key_bytes,
            codec: payload.codec,
            level: payload.level,
        }
    }

    /// Records of a full batch.
    pub(crate) fn records_max(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of the batch that holds the first `count` records, before compression.
    pub(crate) fn batch_bytes(&self, count: usize) -> usize {
        self.slots[count - 1].end
    }

    /// Bytes of values in the first `count` records.
    pub(crate) fn value_bytes(&self, count: usize) -> u64 {
        self.slots[count - 1].value_bytes
    }

    /// Whether batches are compressed, so that their length is only known when they are sealed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.codec != Compression::None
    }

    /// Copies the first `count` records to the end of `out` and makes a batch of them. `due_us` and `keys` give each
    /// record's intended send time and key.
    pub(crate) fn seal_into(
        &self,
        out: &mut impl Sink,
        count: usize,
        stamp: &Stamp,
        due_us: impl Fn(usize) -> i64,
        keys: &[u64],
    ) {
        let batch = out.append(&self.bytes[..self.batch_bytes(count)]);
        self.stamp(batch, stamp, due_us, keys);
    }

    /// Makes the next batch of one that [`Self::seal_into`] made of as many records, in its place.
    pub(crate) fn stamp(
        &self,
        batch: &mut [u8],
        stamp: &Stamp,
        due_us: impl Fn(usize) -> i64,
        keys: &[u64],
    ) {
        let size = batch.len();
        let count = self.slots.partition_point(|slot| slot.end <= size);
        for (index, slot) in self.slots[..count].iter().enumerate() {
            let identity = Identity {
                run: stamp.run,
                producer: stamp.producer,
                sequence: stamp.first_sequence + index as u64,
                due_us: due_us(index),
            };
            identity.write(
                &mut batch[slot.value_at..slot.value_end],
                slot.payload_checksum,
            );
            if let Some(key) = keys.get(index) {
                write_key(&mut batch[slot.key_at..slot.key_at + self.key_bytes], *key);
            }
        }
        let count = i32::try_from(count).expect("a batch holds at most 2^31-1 records");
        let (producer_id, producer_epoch, base_sequence) = stamp.idempotence;
        let header = BatchHeader {
            base_offset: 0,
            batch_length: i32::try_from(size - 12).expect("a batch is below 2 GiB"),
            partition_leader_epoch: -1,
            magic: MAGIC_V2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: stamp.timestamp_ms,
            max_timestamp: stamp.timestamp_ms,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: count,
        };
        header.write_to(batch.first_chunk_mut().expect("the template has a header"));
        let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
        batch[CRC_AT..BATCH_PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
    }

    /// The batch that [`Self::seal_into`] made, compressed.
    pub(crate) fn compress(&self, batch: &[u8]) -> Vec<u8> {
        net::records::recompress(batch, self.codec, self.level, usize::MAX)
            .expect("uncompressed records can be compressed")
    }
}

/// What a batch is appended to.
pub(crate) trait Sink {
    /// Appends `bytes` and gives the place where they are now.
    fn append(&mut self, bytes: &[u8]) -> &mut [u8];
}

impl Sink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = self.len();
        self.extend_from_slice(bytes);
        &mut self[start..]
    }
}

impl Sink for bytes::BytesMut {
    fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = self.len();
        self.extend_from_slice(bytes);
        &mut self[start..]
    }
}

/// The key's number in decimal, with leading zeros.
pub(crate) fn write_key(place: &mut [u8], mut key: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (key % 10) as u8;
        key /= 10;
    }
}

/// Random bytes, of which a share `compressibility` is replaced by one repeated text.
fn fill(value: &mut [u8], compressibility: f64, random: &mut Random) {
    const RUN: usize = 16;
    for piece in value.chunks_mut(RUN) {
        if random.unit() < compressibility {
            piece.copy_from_slice(&b"tidelog-loadgen."[..piece.len()]);
        } else {
            for word in piece.chunks_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
            }
        }
    }
}

fn slots(bytes: &[u8]) -> Vec<Slot> {
    let batch = Batch::parse(bytes).expect("the builder makes batches");
    let mut nothing = Decompressor::new(0);
    let records = batch.records(&mut nothing).expect("it is not compressed");
    let place = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
    let mut value_bytes = 0;
    let slots: Vec<Slot> = records
        .map(|record| {
            let record = record.expect("the builder makes records");
            let value = record.value.expect("every record has a value");
            let value_at = place(value);
            value_bytes += value.len() as u64;
            Slot {
                key_at: record.key.map_or(0, place),
                value_at,
                value_end: value_at + value.len(),
                // The number of headers, 0, is the last byte.
                end: value_at + value.len() + 1,
                value_bytes,
                payload_checksum: payload_checksum(value),
            }
        })
        .collect();
    assert_eq!(slots.last().map(|slot| slot.end), Some(bytes.len()));
    assert!(slots[0].key_at == 0 || slots[0].key_at > BATCH_HEADER_BYTES);
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Found;
    use crate::plan::RecordSize;
    use net::records::{ValidationLimits, validate};

    fn payload(codec: Compression) -> Payload {
        Payload {
            size: RecordSize::Uniform(40, 200),
            compressibility: 0.5,
            codec,
            level: None,
        }
    }

    const STAMP: Stamp = Stamp {
        run: 1,
        producer: 2,
        first_sequence: 100,
        idempotence: (5, 0, 17),
        timestamp_ms: 1_700_000_000_000,
    };

    #[test]
    fn a_batch_that_is_stamped_anew_is_the_one_that_would_have_been_made() {
        let keys = KeySpace {
            count: 1000,
            skew: 0.0,
            bytes: 8,
        };
        let template = Template::new(&payload(Compression::None), Some(&keys), 4096, 3);
        let next = Stamp {
            first_sequence: 7_000,
            idempotence: (6, 1, 400),
            timestamp_ms: STAMP.timestamp_ms + 5,
            ..STAMP
        };
        for count in [1, 7, template.records_max()] {
            let (mut again, mut afresh) = (Vec::new(), Vec::new());
            let first: Vec<u64> = (0..count as u64).collect();
            let second: Vec<u64> = (100..100 + count as u64).collect();
            template.seal_into(&mut again, count, &STAMP, |index| index as i64, &first);
            template.stamp(&mut again, &next, |index| 3 * index as i64, &second);
            template.seal_into(&mut afresh, count, &next, |index| 3 * index as i64, &second);
            assert_eq!(again, afresh);
        }
    }

    #[test]
    fn every_prefix_of_a_template_is_a_batch_that_a_broker_takes() {
        let keys = KeySpace {
            count: 1000,
            skew: 0.0,
            bytes: 8,
        };
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let template = Template::new(&payload(codec), Some(&keys), 4096, 3);
            assert!(
                template.records_max() > 10 && template.batch_bytes(template.records_max()) <= 4096
            );
            for count in [1, 2, 7, template.records_max()] {
                let mut out = b"before".to_vec();
                let numbers: Vec<u64> = (0..count as u64).collect();
                template.seal_into(&mut out, count, &STAMP, |index| index as i64, &numbers);
                let mut sealed = out[6..].to_vec();
                if template.is_compressed() {
                    sealed = template.compress(&sealed);
                }
                validate(&sealed, &ValidationLimits::default(), STAMP.timestamp_ms).unwrap();
                let batch = Batch::parse(&sealed).unwrap();
                let mut decompressor = Decompressor::new(1 << 20);
                let mut seen = 0;
                for record in batch.records(&mut decompressor).unwrap() {
                    let record = record.unwrap();
                    let Found::Record(identity) = Identity::read(record.value.unwrap()) else {
                        panic!("record {seen} is not intact");
                    };
                    assert_eq!(identity.sequence, 100 + seen);
                    assert_eq!(identity.due_us, seen as i64);
                    assert_eq!(record.sequence, 17 + seen as i32);
                    assert_eq!(record.key.unwrap(), format!("{seen:08}").as_bytes());
                    seen += 1;
                }
                assert_eq!(seen, count as u64);
            }
        }
    }
}
