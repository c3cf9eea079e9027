//! Benchmarks of the pieces, beside the physical references: how fast a batch is validated, and what the memory and the
//! checksum unit of this machine could do at best. Medians of several rounds; compare only within one run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use net::records::{BatchBuilder, Compression, ValidationLimits, validate};

const ROUNDS: usize = 9;
const BYTES_PER_ROUND: usize = 256 << 20;

fn main() {
    let source = vec![0x5a_u8; 1 << 20];
    let mut target = vec![0_u8; source.len()];
    report("memory copy, 1 MiB", source.len(), || {
        target.copy_from_slice(black_box(&source));
        black_box(&target);
    });
    report("CRC-32C, 1 MiB", source.len(), || {
        black_box(crc32c::crc32c(black_box(&source)));
    });
    for (name, record_bytes, batch_bytes) in [
        ("validate, 1 KiB records, 16 KiB batch", 1024, 16 << 10),
        ("validate, 1 KiB records, 512 KiB batch", 1024, 512 << 10),
        ("validate, 100 B records, 16 KiB batch", 100, 16 << 10),
    ] {
        measure_validation(name, Compression::None, record_bytes, batch_bytes);
    }
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let name = format!("validate, 1 KiB records, 64 KiB unpacked, {}", codec.name());
        measure_validation(&name, codec, 1024, 64 << 10);
    }
}

/// Rates count the bytes of the records, not those of the packed batch.
fn measure_validation(name: &str, codec: Compression, record_bytes: usize, batch_bytes: usize) {
    let mut builder = BatchBuilder::new().compression(codec, None);
    let count = (batch_bytes / record_bytes).max(1);
    for number in 0..count {
        let value: Vec<u8> = (0..record_bytes)
            .map(|byte| ((byte * 7 + number) % 61) as u8)
            .collect();
        builder.append(None, Some(&value), &[], 0);
    }
    let batch = builder.build(0, -1);
    let limits = ValidationLimits::default();
    report(name, count * record_bytes, || {
        validate(black_box(&batch), &limits, 0).expect("the batch is valid");
    });
}

fn report(name: &str, bytes: usize, mut work: impl FnMut()) {
    let calls = (BYTES_PER_ROUND / bytes).max(1);
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = now();
            (0..calls).for_each(|_| work());
            now() - start
        })
        .collect();
    rounds.sort();
    let rate = |time: Duration| (calls * bytes) as f64 / time.as_secs_f64() / 1e9;
    let (median, slowest) = (rate(rounds[ROUNDS / 2]), rate(rounds[ROUNDS - 1]));
    println!("{name:<55} {median:>7.2} GB/s (slowest round {slowest:.2})");
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
