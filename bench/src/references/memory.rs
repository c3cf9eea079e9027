//! Memory copy and CRC-32C: the two passes over the bytes that no broker with checksums and aligned writes avoids.

use std::hint::black_box;
use std::time::Instant;

use super::Rate;
use crate::machine::{BROKER_CORE, pin_thread, thread_cpu_seconds};

const BLOCK_BYTES: usize = 1 << 20;
/// More than the caches hold, as bytes from a socket are.
const AREA_BLOCKS: usize = 64;
const PASSES: usize = 32;

/// Copies blocks from one large area to another.
pub fn copy() -> Rate {
    let mut target = area();
    measured(move |source| {
        for (from, to) in source
            .chunks_exact(BLOCK_BYTES)
            .zip(target.chunks_exact_mut(BLOCK_BYTES))
        {
            to.copy_from_slice(black_box(from));
        }
        black_box(&target);
    })
}

/// The checksum of each block of a large area.
pub fn checksum() -> Rate {
    measured(|source| {
        for block in source.chunks_exact(BLOCK_BYTES) {
            black_box(crc32c::crc32c(black_box(block)));
        }
    })
}

fn area() -> Vec<u8> {
    // Not zeros: those would all be one page.
    vec![0x5a; AREA_BLOCKS * BLOCK_BYTES]
}

fn measured(mut pass: impl FnMut(&[u8]) + Send) -> Rate {
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            pin_thread(BROKER_CORE);
            let source = area();
            pass(&source);
            let (begun, cpu) = (Instant::now(), thread_cpu_seconds());
            (0..PASSES).for_each(|_| pass(&source));
            let bytes = (PASSES * source.len()) as u64;
            Rate::new(
                bytes,
                begun.elapsed().as_secs_f64(),
                thread_cpu_seconds() - cpu,
            )
        });
        work.join().expect("a pass over memory does not panic")
    })
}
