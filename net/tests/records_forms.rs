//! The forms of compressed streams that clients write beside our own, the limits at their exact borders, and the
//! judgement of single records.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::io::Write;

use net::records::*;

const NOW_MS: i64 = 1_700_000_000_000;
const PACKING: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A batch with some 400 KB of records that pack moderately well.
fn plain() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut state = 1u64;
    for at in 0..400i64 {
        let value: Vec<u8> = (0..1000)
            .map(|n: u32| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if n % 16 < 12 {
                    b"abcdefghijkl"[(n % 12) as usize]
                } else {
                    (state >> 60) as u8
                }
            })
            .collect();
        builder.append(Some(&at.to_be_bytes()), Some(&value), &[], NOW_MS + at % 3);
    }
    builder.build(0, -1)
}

/// `batch` with another codec and body.
fn with_body(batch: &[u8], codec: Compression, body: &[u8]) -> Vec<u8> {
    let mut batch = batch[..BATCH_HEADER_BYTES].to_vec();
    batch.extend_from_slice(body);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = codec as u8;
    let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[track_caller]
fn assert_accepted(name: &str, plain: &[u8], codec: Compression, body: &[u8]) {
    let batch = with_body(plain, codec, body);
    let judged = validate(&batch, &ValidationLimits::default(), NOW_MS);
    let judged = judged.unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
    assert_eq!(
        (judged.max_timestamp, judged.offset_delta_of_max_timestamp),
        (NOW_MS + 2, 2),
        "{name}"
    );
    let back = recompress(&batch, Compression::None, None, 4 << 20).unwrap();
    assert_eq!(back, plain, "{name}");
}

#[track_caller]
fn assert_corrupt(name: &str, plain: &[u8], codec: Compression, body: &[u8]) {
    let batch = with_body(plain, codec, body);
    let rejection = validate(&batch, &ValidationLimits::default(), NOW_MS).expect_err(name);
    assert_eq!(
        rejection.kind,
        RejectionKind::CorruptMessage,
        "{name}: {rejection}"
    );
}

#[test]
fn every_form_of_an_lz4_frame_that_kafka_reads_is_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let plain = plain();
    let body = &plain[BATCH_HEADER_BYTES..];
    let pack = |frame: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    for size in [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ] {
        for flags in 0..8u8 {
            let frame = FrameInfo::new()
                .block_size(size)
                .block_checksums(flags & 1 != 0)
                .content_checksum(flags & 2 != 0)
                .content_size((flags & 4 != 0).then_some(body.len() as u64));
            let packed = pack(frame);
            assert_accepted(
                &format!("{size:?} {flags}"),
                &plain,
                Compression::Lz4,
                &packed,
            );
        }
    }
    // What does not pack is stored as it is.
    let mut stored = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
    stored.extend_from_slice(&(body.len() as u32 | 1 << 31).to_le_bytes());
    stored.extend_from_slice(body);
    assert_corrupt("no end mark", &plain, Compression::Lz4, &stored);
    stored.extend_from_slice(&[0; 4]);
    assert_accepted("stored", &plain, Compression::Lz4, &stored);

    let linked = pack(
        FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_mode(BlockMode::Linked),
    );
    assert_corrupt("linked blocks", &plain, Compression::Lz4, &linked);
    let mut checked = pack(
        FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_checksums(true),
    );
    let middle = checked.len() / 2;
    checked[middle] ^= 1;
    assert_corrupt("block checksum", &plain, Compression::Lz4, &checked);
}

#[test]
fn every_form_of_a_gzip_file_is_read() {
    let plain = plain();
    let body = &plain[BATCH_HEADER_BYTES..];
    let pack = |builder: flate2::GzBuilder, bytes: &[u8]| {
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let named = flate2::GzBuilder::new()
        .filename("records")
        .comment("none")
        .extra(vec![1, 2, 3, 4, 5])
        .mtime(7);
    let whole = pack(named, body);
    assert_accepted("all header fields", &plain, Compression::Gzip, &whole);
    // A header CRC behind the ten fixed bytes; its value is not looked at.
    let mut with_crc = pack(flate2::GzBuilder::new(), body);
    with_crc[3] |= 2;
    with_crc.splice(10..10, [0, 0]);
    assert_accepted("header CRC", &plain, Compression::Gzip, &with_crc);
    let members: Vec<u8> = body
        .chunks(70_000)
        .flat_map(|part| pack(flate2::GzBuilder::new(), part))
        .collect();
    assert_accepted("members", &plain, Compression::Gzip, &members);
    let mut empty_members = pack(flate2::GzBuilder::new(), &[]).repeat(1000);
    empty_members.extend_from_slice(&members);
    assert_accepted("empty members", &plain, Compression::Gzip, &empty_members);
    let end = whole.len();
    for (what, at) in [
        ("CRC", end - 8),
        ("length", end - 4),
        ("magic", 0),
        ("method", 2),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_corrupt(what, &plain, Compression::Gzip, &damaged);
    }
}

#[test]
fn every_form_of_zstd_is_read() {
    use zstd::stream::raw::CParameter;
    let plain = plain();
    let body = &plain[BATCH_HEADER_BYTES..];
    let pack = |level: i32, window_log: Option<u32>, checksum: bool, size: bool, bytes: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
        if let Some(window_log) = window_log {
            encoder
                .set_parameter(CParameter::WindowLog(window_log))
                .unwrap();
        }
        encoder.include_checksum(checksum).unwrap();
        encoder
            .set_pledged_src_size(size.then_some(bytes.len() as u64))
            .unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    for level in [-5, 1, 3, 12, 22] {
        for flags in 0..4 {
            let packed = pack(level, None, flags & 1 != 0, flags & 2 != 0, body);
            assert_accepted(
                &format!("level {level}, {flags}"),
                &plain,
                Compression::Zstd,
                &packed,
            );
        }
    }
    // The window is announced by the producer's level, not by what it sends: up to 128 MiB for a small batch.
    for window_log in [10, 17, 18, 23, 27] {
        let packed = pack(3, Some(window_log), true, false, body);
        assert_accepted(
            &format!("window 2^{window_log}"),
            &plain,
            Compression::Zstd,
            &packed,
        );
    }
    let mut frames = Vec::new();
    for part in body.chunks(50_000) {
        frames.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]); // a frame to be skipped
        frames.extend_from_slice(&pack(5, Some(27), true, false, part));
        frames.extend_from_slice(&pack(5, None, false, true, &[]));
    }
    assert_accepted("frames", &plain, Compression::Zstd, &frames);
    let mut damaged = pack(3, None, true, false, body);
    *damaged.last_mut().unwrap() ^= 1;
    assert_corrupt("checksum", &plain, Compression::Zstd, &damaged);
}

#[test]
fn both_forms_of_snappy_are_read() {
    const HEADER: [u8; 16] = [
        0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
    ];
    let plain = plain();
    let body = &plain[BATCH_HEADER_BYTES..];
    let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    assert_accepted("raw", &plain, Compression::Snappy, &pack(body));
    for block_bytes in [1000, 32 << 10, 1 << 20] {
        let blocks = body.chunks(block_bytes).map(|block| {
            let block = pack(block);
            [&(block.len() as u32).to_be_bytes()[..], &block].concat()
        });
        let blocks: Vec<Vec<u8>> = blocks.collect();
        let framed = [&HEADER[..], &blocks.concat()].concat();
        assert_accepted(
            &format!("blocks of {block_bytes}"),
            &plain,
            Compression::Snappy,
            &framed,
        );
        let again: Vec<u8> = blocks
            .iter()
            .flat_map(|block| [&HEADER[..], block].concat())
            .collect();
        assert_accepted(
            &format!("headers between blocks of {block_bytes}"),
            &plain,
            Compression::Snappy,
            &again,
        );
        assert_corrupt(
            "half a header",
            &plain,
            Compression::Snappy,
            &[&framed[..], &HEADER[..9]].concat(),
        );
    }
    // Literals may have their length in one to four bytes.
    for length_bytes in [3usize, 4] {
        let mut block = vec![
            body.len() as u8 | 0x80,
            (body.len() >> 7) as u8 | 0x80,
            (body.len() >> 14) as u8,
        ];
        block.push(((59 + length_bytes) << 2) as u8);
        block.extend_from_slice(&(body.len() as u32 - 1).to_le_bytes()[..length_bytes]);
        block.extend_from_slice(body);
        assert_accepted(
            &format!("a literal, {length_bytes} bytes"),
            &plain,
            Compression::Snappy,
            &block,
        );
    }
    assert_corrupt(
        "a copy from before the block",
        &plain,
        Compression::Snappy,
        &[8, 4, 1, 2, 0x0d, 9],
    );
}

#[test]
fn what_unpacks_to_one_byte_more_than_allowed_is_refused() {
    let plain = plain();
    let body_bytes = plain.len() - BATCH_HEADER_BYTES;
    for codec in PACKING {
        let batch = recompress(&plain, codec, None, 4 << 20).unwrap();
        let allowing = |decompressed_bytes_max| ValidationLimits {
            decompressed_bytes_max,
            ..ValidationLimits::default()
        };
        assert!(
            validate(&batch, &allowing(body_bytes), NOW_MS).is_ok(),
            "{codec:?}"
        );
        let refused = validate(&batch, &allowing(body_bytes - 1), NOW_MS).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::MessageTooLarge, "{codec:?}");
        assert!(matches!(
            recompress(&batch, Compression::None, None, body_bytes - 1),
            Err(BatchError::Decompress(DecompressError::TooLarge { .. }))
        ));

        // The ratio binds beyond max.message.bytes, and not below it.
        let ratio = ValidationLimits {
            ratio_max: 1,
            max_message_bytes: body_bytes - 1,
            ..ValidationLimits::default()
        };
        let refused = validate(&batch, &ratio, NOW_MS).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::MessageTooLarge, "{codec:?}");
        let ratio = ValidationLimits {
            max_message_bytes: body_bytes,
            ..ratio
        };
        assert!(validate(&batch, &ratio, NOW_MS).is_ok(), "{codec:?}");
    }
}

#[test]
fn a_large_batch_takes_many_steps_and_a_small_one_takes_one() {
    let steps = |batch: &[u8]| {
        let mut validator = Validator::new(batch, &ValidationLimits::default(), NOW_MS);
        (1..)
            .find(|_| matches!(validator.step(), Step::Done(judgement) if judgement.is_ok()))
            .unwrap()
    };
    let large = plain();
    for codec in PACKING {
        let packed = recompress(&large, codec, None, 4 << 20).unwrap();
        assert!(
            (6..=12).contains(&steps(&packed)),
            "{codec:?}: {}",
            steps(&packed)
        );
        let mut recompressor =
            Recompressor::new(&Batch::parse(&packed).unwrap(), codec, None, 4 << 20).unwrap();
        let rounds = (1..)
            .find(|_| recompressor.step().unwrap().is_some())
            .unwrap();
        assert!(rounds >= 6, "{codec:?}: {rounds}");
    }
    assert!((2..=6).contains(&steps(&large)));
    let mut builder = BatchBuilder::new();
    (0..128).for_each(|_| builder.append(None, Some(&[7; 1000]), &[], NOW_MS + 2));
    assert_eq!(steps(&builder.build(0, -1)), 1);
}

#[test]
fn a_wrong_timestamp_wins_over_a_missing_key_and_every_record_at_fault_is_named() {
    let limits = ValidationLimits {
        compacted: true,
        timestamp_before_max_ms: 10,
        timestamp_after_max_ms: 10,
        ..ValidationLimits::default()
    };
    let mut builder = BatchBuilder::new();
    builder.append(None, Some(b"no key"), &[], NOW_MS);
    builder.append(Some(b"k"), None, &[], NOW_MS - 10);
    let only_key = builder.build(0, -1);
    let rejection = validate(&only_key, &limits, NOW_MS).unwrap_err();
    assert_eq!(rejection.kind, RejectionKind::InvalidRecord);
    assert_eq!(
        rejection
            .record_errors
            .iter()
            .map(|(at, _)| *at)
            .collect::<Vec<_>>(),
        [0]
    );

    builder.append(None, Some(b"no key"), &[], NOW_MS);
    builder.append(Some(b"k"), None, &[], NOW_MS);
    builder.append(Some(b"k"), None, &[], NOW_MS - 11);
    builder.append(Some(b"k"), None, &[], NOW_MS + 11);
    builder.append(Some(b"k"), None, &[], NO_TIMESTAMP);
    let rejection = validate(&builder.build(0, -1), &limits, NOW_MS).unwrap_err();
    assert_eq!(rejection.kind, RejectionKind::InvalidTimestamp);
    assert_eq!(
        rejection
            .record_errors
            .iter()
            .map(|(at, _)| *at)
            .collect::<Vec<_>>(),
        [0, 2, 3]
    );

    (0..5000).for_each(|_| builder.append(None, None, &[], NOW_MS));
    let rejection = validate(&builder.build(0, -1), &limits, NOW_MS).unwrap_err();
    assert_eq!(rejection.record_errors.len(), Rejection::RECORD_ERRORS_MAX);
    assert!(rejection.message.contains("5000"), "{}", rejection.message);
}

#[test]
fn under_log_append_time_the_broker_s_clock_is_the_greatest_timestamp() {
    let limits = ValidationLimits {
        timestamp_type: TimestampType::LogAppendTime,
        ..ValidationLimits::default()
    };
    let mut builder = BatchBuilder::new();
    builder.append(None, None, &[], i64::MAX);
    builder.append(None, None, &[], 5);
    let batch = builder.build(0, -1);
    let judged = validate(&batch, &limits, NOW_MS).unwrap();
    assert_eq!(
        (judged.max_timestamp, judged.offset_delta_of_max_timestamp),
        (NOW_MS, 0)
    );
    assert!(judged.log_append_time && !judged.timestamps_match);
    let rewritten = rewrite_for_log_append_time(&batch[..judged.size], judged.max_timestamp);
    let view = Batch::parse(&rewritten).unwrap();
    assert!(view.crc_is_valid());
    assert_eq!(view.header().timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(view.header().max_timestamp, NOW_MS);
    let changed: Vec<usize> = (0..batch.len())
        .filter(|at| batch[*at] != rewritten[*at])
        .collect();
    assert!(
        changed
            .iter()
            .all(|at| (17..23).contains(at) || (35..43).contains(at)),
        "{changed:?}"
    );
}
