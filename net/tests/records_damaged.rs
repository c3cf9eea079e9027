//! Damaged and hostile batches: whatever is changed, the answer is a judgement and never a panic; and what the
//! validator takes, the reader reads.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

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

fn sample(codec: Compression, seed: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(codec, None);
    let mut state = seed;
    for at in 0..40u32 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let value: Vec<u8> = (0..state >> 54)
            .map(|n| {
                if n % 3 == 0 {
                    (state >> (n % 50)) as u8
                } else {
                    b'a'
                }
            })
            .collect();
        let key = at.to_be_bytes();
        let key = (at % 5 != 0).then_some(&key[..]);
        builder.append(
            key,
            Some(&value),
            &[(b"", None), (b"trace", Some(b"abcdef"))],
            NOW_MS + i64::from(at % 7),
        );
    }
    builder.build(0, -1)
}

/// Makes the CRC right again, so that the damage reaches what lies behind that check.
fn reseal(batch: &mut [u8]) {
    if batch.len() >= BATCH_HEADER_BYTES {
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Judges, reads and packs anew; what is accepted must read to exactly as many records as the header says.
fn exercise(bytes: &[u8]) -> bool {
    let judgement = validate(bytes, &ValidationLimits::default(), NOW_MS);
    let unlimited = ValidationLimits {
        max_message_bytes: usize::MAX,
        decompressed_bytes_max: usize::MAX,
        ..ValidationLimits::default()
    };
    assert!(judgement.is_err() || validate(bytes, &unlimited, NOW_MS) == judgement);
    let mut decompressor = Decompressor::new(4 << 20);
    let mut last = None;
    for batch in split_batches(bytes) {
        let Ok(batch) = batch else { break };
        if let Ok(records) = batch.records(&mut decompressor) {
            last = Some(
                records
                    .map(|record| record.is_ok())
                    .filter(|ok| *ok)
                    .count(),
            );
        }
        let _ = recompress(batch.bytes(), Compression::Snappy, None, 4 << 20);
    }
    if let Ok(validated) = judgement {
        assert_eq!(last, Some(validated.header.record_count as usize));
        return true;
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(
        codec in 0usize..5,
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut batch = sample(CODECS[codec], seed);
        for (at, byte) in changes {
            // Mostly behind the header: the bytes that decoders and the walk look at.
            let at = if byte % 4 == 0 { at.index(batch.len()) } else { BATCH_HEADER_BYTES + at.index(batch.len() - BATCH_HEADER_BYTES) };
            batch[at] = byte;
        }
        if let Some(cut) = cut {
            batch.truncate(cut.index(batch.len() + 1));
        }
        exercise(&batch);
        reseal(&mut batch);
        exercise(&batch);
    }

    #[test]
    fn rubbish_never_panics(codec in 0u8..8, body in prop::collection::vec(any::<u8>(), 0..600), raw in any::<bool>()) {
        if raw {
            exercise(&body);
        }
        let mut batch = sample(Compression::None, 1);
        batch.truncate(BATCH_HEADER_BYTES);
        let start: &[u8] = match codec {
            1 => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0],
            2 => &[0x80, 0x10],
            3 => &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82],
            4 => &[0x28, 0xb5, 0x2f, 0xfd],
            _ => &[],
        };
        batch.extend_from_slice(start);
        batch.extend_from_slice(&body);
        batch[22] = codec;
        reseal(&mut batch);
        exercise(&batch);
    }
}

#[test]
fn a_batch_cut_anywhere_is_refused() {
    for codec in CODECS {
        let whole = sample(codec, 9);
        assert!(exercise(&whole), "{codec:?}");
        for end in 0..whole.len() {
            assert!(
                !exercise(&whole[..end]),
                "{codec:?} cut at {end} with its old length"
            );
            let mut cut = whole[..end].to_vec();
            reseal(&mut cut);
            assert!(
                !exercise(&cut),
                "{codec:?} cut at {end} with a fitting length"
            );
        }
    }
}

#[test]
fn bytes_behind_the_compressed_stream_are_refused() {
    for codec in CODECS {
        for tail in [&[0u8][..], &[0; 9], b"\x1f\x8b", b"tail behind the stream"] {
            let mut batch = sample(codec, 3);
            batch.extend_from_slice(tail);
            reseal(&mut batch);
            assert!(
                !exercise(&batch),
                "{codec:?} with {} bytes behind it",
                tail.len()
            );
        }
    }
}

#[test]
fn every_single_flipped_bit_is_noticed() {
    for codec in CODECS {
        let whole = sample(codec, 5);
        for at in 0..whole.len() * 8 {
            let mut batch = whole.clone();
            batch[at / 8] ^= 1 << (at % 8);
            // The leader epoch is the broker's to write and not looked at.
            let expected = (12..16).contains(&(at / 8));
            assert_eq!(
                validate(&batch, &ValidationLimits::default(), NOW_MS).is_ok(),
                expected,
                "{codec:?} bit {at}"
            );
        }
    }
}
