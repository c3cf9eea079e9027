//! What the builder makes, every reader takes: our view, our validator in pieces of any size, and the independent
//! `kafka-protocol` crate; and what that crate makes, ours take.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use bytes::BytesMut;
use kafka_protocol::records as other;
use net::records::*;
use proptest::prelude::*;

const NOW_MS: i64 = 1_700_000_000_000;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

#[derive(Clone, Debug)]
struct Owned {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: i64,
}

fn bytes_or_null(size_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        4 => prop::collection::vec(any::<u8>(), 0..size_max).prop_map(Some),
        // Long and easy to pack, across the borders of blocks and steps.
        1 => (any::<u8>(), 0usize..200_000).prop_map(|(byte, n)| Some(vec![byte; n])),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let header = ("[a-z]{0,6}", bytes_or_null(20));
    (
        bytes_or_null(40),
        bytes_or_null(3000),
        prop::collection::vec(header, 0..4),
        -2i64..2_000_000_000_000,
    )
        .prop_map(|(key, value, headers, timestamp)| Owned {
            key,
            value,
            headers,
            timestamp,
        })
}

fn append(builder: &mut BatchBuilder, record: &Owned) {
    let headers: Vec<Header<'_>> = record
        .headers
        .iter()
        .map(|(k, v)| (k.as_bytes(), v.as_deref()))
        .collect();
    builder.append(
        record.key.as_deref(),
        record.value.as_deref(),
        &headers,
        record.timestamp,
    );
}

fn roomy() -> ValidationLimits {
    ValidationLimits {
        max_message_bytes: 64 << 20,
        decompressed_bytes_max: 64 << 20,
        timestamp_after_max_ms: i64::MAX,
        ..ValidationLimits::default()
    }
}

fn assert_same(record: &Record<'_>, owned: &Owned) {
    assert_eq!(record.key, owned.key.as_deref());
    assert_eq!(record.value, owned.value.as_deref());
    assert_eq!(record.timestamp, owned.timestamp);
    let headers: Vec<Header<'_>> = owned
        .headers
        .iter()
        .map(|(k, v)| (k.as_bytes(), v.as_deref()))
        .collect();
    assert_eq!(record.headers, headers);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_record_comes_back_in_every_codec(
        records in prop::collection::vec(record(), 1..20),
        base_offset in 0i64..i64::MAX / 2,
        sequence in 0i32..i32::MAX,
    ) {
        let mut decompressor = Decompressor::default();
        let mut builder = BatchBuilder::new();
        for codec in CODECS {
            builder = builder.compression(codec, None).producer(7, 3, sequence).transactional(true);
            records.iter().for_each(|record| append(&mut builder, record));
            let bytes = builder.build(base_offset, 5);
            let batch = Batch::parse(&bytes).unwrap();
            prop_assert_eq!(batch.bytes().len(), bytes.len());
            prop_assert!(batch.crc_is_valid());
            let header = *batch.header();
            prop_assert_eq!((header.base_offset, header.partition_leader_epoch), (base_offset, 5));
            prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, sequence));
            prop_assert!(header.is_transactional() && !header.is_control());
            prop_assert_eq!(header.compression(), Ok(codec));
            let seen: Vec<_> = batch.records(&mut decompressor).unwrap().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(seen.len(), records.len());
            for (at, (record, owned)) in seen.iter().zip(&records).enumerate() {
                prop_assert_eq!(record.offset, base_offset + at as i64);
                assert_same(record, owned);
            }

            let mut sent = bytes.clone();
            stamp(sent.first_chunk_mut().unwrap(), 0, -1);
            let validated = validate(&sent, &roomy(), NOW_MS).unwrap();
            let newest = records.iter().map(|record| record.timestamp).max().unwrap().max(NO_TIMESTAMP);
            prop_assert_eq!(validated.max_timestamp, newest);
            prop_assert!(validated.timestamps_match);
            let first = records.iter().position(|record| record.timestamp == newest && newest > NO_TIMESTAMP);
            prop_assert_eq!(validated.offset_delta_of_max_timestamp, first.map_or(-1, |at| at as i32));
        }
    }

    #[test]
    fn packing_anew_keeps_every_record(records in prop::collection::vec(record(), 1..12), from in 0usize..5, to in 0usize..5) {
        let mut builder = BatchBuilder::new().compression(CODECS[from], None).producer(1, 2, 3);
        records.iter().for_each(|record| append(&mut builder, record));
        let bytes = builder.build(40, 2);
        let packed = recompress(&bytes, CODECS[to], None, 64 << 20).unwrap();
        let batch = Batch::parse(&packed).unwrap();
        prop_assert!(batch.crc_is_valid());
        prop_assert_eq!(batch.header().compression(), Ok(CODECS[to]));
        prop_assert_eq!(batch.header().last_offset(), 40 + records.len() as i64 - 1);
        let mut decompressor = Decompressor::default();
        for (record, owned) in batch.records(&mut decompressor).unwrap().zip(&records) {
            assert_same(&record.unwrap(), owned);
        }
        let stamped = rewrite_for_log_append_time(&packed, NOW_MS);
        let batch = Batch::parse(&stamped).unwrap();
        prop_assert!(batch.crc_is_valid());
        prop_assert!(batch.records(&mut decompressor).unwrap().all(|record| record.unwrap().timestamp == NOW_MS));
        let back = rewrite_timestamps(&stamped, TimestampType::CreateTime, Batch::parse(&packed).unwrap().header().max_timestamp);
        prop_assert_eq!(back, packed);
    }

    #[test]
    fn the_other_crate_reads_ours_and_we_read_its(records in prop::collection::vec(record(), 1..12)) {
        let mut builder = BatchBuilder::new();
        records.iter().for_each(|record| append(&mut builder, record));
        let ours = builder.build(0, -1);
        let decoded = other::RecordBatchDecoder::decode(&mut BytesMut::from(&ours[..])).unwrap();
        prop_assert_eq!(decoded.records.len(), records.len());
        for (at, (seen, owned)) in decoded.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(seen.offset, at as i64);
            prop_assert_eq!(seen.timestamp, owned.timestamp);
            prop_assert_eq!(seen.key.as_deref(), owned.key.as_deref());
            prop_assert_eq!(seen.value.as_deref(), owned.value.as_deref());
        }

        let to_encode: Vec<other::Record> = records.iter().enumerate().map(|(at, owned)| other::Record {
            transactional: false, control: false, partition_leader_epoch: -1, producer_id: -1, producer_epoch: -1,
            timestamp_type: other::TimestampType::Creation, offset: at as i64, sequence: at as i32, timestamp: owned.timestamp,
            key: owned.key.clone().map(Into::into), value: owned.value.clone().map(Into::into), headers: Default::default(), delete_horizon: false,
        }).collect();
        let mut theirs = BytesMut::new();
        let options = other::RecordEncodeOptions { version: 2, compression: other::Compression::None };
        other::RecordBatchEncoder::encode(&mut theirs, &to_encode, &options).unwrap();
        prop_assert!(validate(&theirs, &roomy(), NOW_MS).is_ok());
        let mut decompressor = Decompressor::default();
        let batch = Batch::parse(&theirs).unwrap();
        for (record, owned) in batch.records(&mut decompressor).unwrap().zip(&records) {
            let owned = Owned { headers: Vec::new(), ..owned.clone() };
            assert_same(&record.unwrap(), &owned);
        }
    }
}
