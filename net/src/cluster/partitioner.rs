//! Which partition a key belongs to: the same as for Kafka's own producers. Pure computation.

/// 32-bit MurmurHash2 with Kafka's seed, over little-endian words.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ u32::try_from(data.len()).expect("keys are below 2^31 bytes");
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut value =
            u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(MULTIPLIER);
        value ^= value >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ value.wrapping_mul(MULTIPLIER);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let value = tail
            .iter()
            .rev()
            .fold(0, |value, byte| (value << 8) | u32::from(*byte));
        hash = (hash ^ value).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// Kafka's default partitioner for a record with a key.
///
/// # Panics
/// If `partitions` is not positive.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    let partitions = u32::try_from(partitions)
        .ok()
        .filter(|count| *count > 0)
        .expect("a topic has partitions");
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % partitions).expect("below the number of partitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Apache Kafka's client gives for these keys (`Utils.murmur2`).
    #[test]
    fn hashes_are_those_of_kafkas_producer() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_partition_is_never_negative() {
        for key in ["21", "foobar", "abc", ""] {
            assert!((0..7).contains(&partition_of_key(key.as_bytes(), 7)));
        }
        assert_eq!(partition_of_key(b"foobar", 1), 0);
    }
}
