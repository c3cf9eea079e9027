//! Decompression bombs: at most a megabyte that unpacks to a gigabyte in gzip and zstd, and to as much as the format
//! can in LZ4 (255-fold) and snappy (21-fold, or an announcement of 2 GB), in every form that clients write.
//!
//! One test in a file of its own, because it looks at the memory of the whole process (N8, CVE-2023-34455).

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use net::records::*;

const NOW_MS: i64 = 1_700_000_000_000;
const GIB: u64 = 1 << 30;
/// What a bomb may cost beyond what the process had before, of 64 MiB allowed.
const EXTRA_KIB_MAX: u64 = 24 * 1024;

/// A producer's batch of one record around a packed body that is none.
fn batch_around(codec: Compression, body: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.append(Some(b"k"), Some(b"v"), &[], NOW_MS);
    let mut batch = builder.build(0, -1);
    batch.truncate(BATCH_HEADER_BYTES);
    batch.extend_from_slice(body);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = codec as u8;
    let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// The start of a record with a value of almost 2 GiB, so that the walk would go on as long as bytes come.
fn record_start() -> Vec<u8> {
    let mut start = vec![0xfe, 0xff, 0xff, 0xff, 0x0f]; // record length 2^31-1
    start.extend_from_slice(&[0, 0, 0, 1]); // attributes, timestamp and offset delta, null key
    start.extend_from_slice(&[0xc0, 0xff, 0xff, 0xff, 0x0f]); // value length a little below that
    start
}

fn gzip_bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&record_start()).unwrap();
    for _ in 0..GIB >> 20 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

fn zstd_bomb(announce: bool) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    // The largest window there is, which a decoder would reserve.
    encoder
        .set_parameter(zstd::stream::raw::CParameter::WindowLog(27))
        .unwrap();
    let start = record_start();
    if announce {
        encoder
            .set_pledged_src_size(Some(GIB + start.len() as u64))
            .unwrap();
    }
    encoder.write_all(&start).unwrap();
    for _ in 0..GIB >> 20 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

/// A single segment, whose window is the announced content: 100 MiB, of which runs of zeros follow.
fn zstd_segment_bomb() -> Vec<u8> {
    let block = |kind: u32, size: usize| ((size as u32) << 3 | kind << 1).to_le_bytes();
    let start = record_start();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend_from_slice(&(100u32 << 20).to_le_bytes());
    frame.extend_from_slice(&block(0, start.len())[..3]);
    frame.extend_from_slice(&start);
    for _ in 0..799 {
        frame.extend_from_slice(&block(1, 128 << 10)[..3]);
        frame.push(0);
    }
    frame
}

/// A megabyte of blocks that each repeat one zero as often as a block may.
fn lz4_bomb(size_code: u8, block_bytes: usize) -> Vec<u8> {
    let start = record_start();
    // One literal run with the record's start and a zero, then one match that repeats the zero.
    let mut block = vec![(15 << 4) | 15, (start.len() + 1 - 15) as u8];
    block.extend_from_slice(&start);
    block.push(0);
    block.extend_from_slice(&[1, 0]);
    let repeat = block_bytes - start.len() - 1 - 4 - 15;
    block.extend(std::iter::repeat_n(255, repeat / 255));
    block.push((repeat % 255) as u8);
    // Header checksum of the descriptor: from the xxHash of its two bytes, as lz4 computes it.
    let checksum = match size_code {
        0x40 => 0x82,
        0x70 => 0x73,
        _ => unreachable!(),
    };
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, size_code, checksum];
    while frame.len() + block.len() + 8 < 1_000_000 {
        frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
        frame.extend_from_slice(&block);
    }
    frame.extend_from_slice(&[0; 4]);
    frame
}

/// One block: a literal, then copies of 64 zeros for 3 bytes each; it announces all of it, or 2 GB, or too little.
fn snappy_block(announced: u64) -> Vec<u8> {
    let mut block = Vec::new();
    let mut rest = announced;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
    let mut start = record_start();
    start.push(0);
    block.push(((start.len() - 1) << 2) as u8);
    block.extend_from_slice(&start);
    while block.len() + 3 < 1_000_000 {
        block.extend_from_slice(&[(63 << 2) | 2, 1, 0]);
    }
    block
}

/// An honest block of 64 KiB, as many as one likes of which may follow each other.
fn small_snappy_block() -> Vec<u8> {
    let mut start = record_start();
    start.push(0);
    let copies = ((64 << 10) - start.len()) / 64;
    let size = start.len() + 64 * copies;
    let mut block = vec![
        size as u8 | 0x80,
        (size >> 7) as u8 | 0x80,
        (size >> 14) as u8,
    ];
    block.push(((start.len() - 1) << 2) as u8);
    block.extend_from_slice(&start);
    block.extend([(63 << 2) | 2, 1, 0].repeat(copies));
    block
}

fn xerial(block: &[u8]) -> Vec<u8> {
    let mut framed = vec![
        0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
    ];
    framed.extend_from_slice(&(block.len() as u32).to_be_bytes());
    framed.extend_from_slice(block);
    framed
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The process's greatest resident memory since [`forget_peak`], in KiB.
fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// What is reserved now, touched or not, in KiB.
fn reserved_kib() -> u64 {
    status_kib("VmSize:")
}

/// Sets the peak back to what is resident now, and says how much that is.
fn forget_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

fn bombs() -> Vec<(&'static str, Compression, Vec<u8>, RejectionKind)> {
    use Compression::{Gzip, Lz4, Snappy, Zstd};
    use RejectionKind::{CorruptMessage, MessageTooLarge};
    let honest = snappy_block(22_000_000);
    let mut many_blocks = xerial(&small_snappy_block());
    for _ in 1..300 {
        many_blocks.extend_from_slice(&xerial(&small_snappy_block())[16..]);
    }
    vec![
        ("gzip", Gzip, gzip_bomb(), MessageTooLarge),
        ("zstd", Zstd, zstd_bomb(false), MessageTooLarge),
        (
            "zstd that announces its size",
            Zstd,
            zstd_bomb(true),
            MessageTooLarge,
        ),
        (
            "zstd, one segment",
            Zstd,
            zstd_segment_bomb(),
            MessageTooLarge,
        ),
        (
            "lz4, 64 KiB blocks",
            Lz4,
            lz4_bomb(0x40, 64 << 10),
            MessageTooLarge,
        ),
        (
            "lz4, 4 MiB blocks",
            Lz4,
            lz4_bomb(0x70, 4 << 20),
            MessageTooLarge,
        ),
        ("snappy, raw", Snappy, honest.clone(), MessageTooLarge),
        ("snappy, xerial", Snappy, xerial(&honest), MessageTooLarge),
        (
            "snappy that announces 2 GB",
            Snappy,
            snappy_block(2 << 30),
            MessageTooLarge,
        ),
        (
            "snappy, xerial, 2 GB",
            Snappy,
            xerial(&snappy_block(2 << 30)),
            MessageTooLarge,
        ),
        (
            "snappy that announces too little",
            Snappy,
            snappy_block(100_000),
            CorruptMessage,
        ),
    ]
}

/// Judges step by step; also says how many steps it took, and what was reserved at most between two of them.
fn judge(batch: &[u8], limits: &ValidationLimits) -> (Rejection, usize, u64) {
    let mut validator = Validator::new(batch, limits, NOW_MS);
    let mut reserved = 0;
    for steps in 1.. {
        if let Step::Done(judgement) = validator.step() {
            return (judgement.unwrap_err(), steps, reserved);
        }
        reserved = reserved.max(reserved_kib());
    }
    unreachable!()
}

#[test]
fn a_bomb_in_any_codec_is_refused_within_bounded_memory() {
    let bombs = bombs();
    // The measurement can fail: memory that is touched shows.
    let before = forget_peak();
    drop(std::hint::black_box(vec![1u8; 48 << 20]));
    assert!(peak_kib() - before > 40 * 1024);

    let large = 2 << 20;
    let usual = ValidationLimits {
        max_message_bytes: large,
        ..ValidationLimits::default()
    };
    // A topic that takes large messages: what comes out may be much, and is refused only beyond that.
    let generous = ValidationLimits {
        decompressed_bytes_max: 16 << 20,
        ..usual
    };
    for (name, codec, bomb, kind) in &bombs {
        let batch = batch_around(*codec, bomb);
        for limits in [usual, generous] {
            let before = forget_peak();
            let reserved_before = reserved_kib();
            let (rejection, steps, reserved) = judge(&batch, &limits);
            let extra = peak_kib() - before;
            let reserved = reserved.saturating_sub(reserved_before);
            assert_eq!(rejection.kind, *kind, "{name}: {rejection}");
            assert!(
                extra <= EXTRA_KIB_MAX,
                "{name}: {extra} KiB more for {} bytes",
                batch.len()
            );
            assert!(reserved <= EXTRA_KIB_MAX, "{name}: {reserved} KiB reserved");
            assert!(steps < 300, "{name}: {steps} steps");
        }
    }
}
