//! A keyed hash of 16 bytes for record keys: SipHash-2-4 with 128 bits of output.
//!
//! Compaction takes two keys with the same hash for the same key, so a collision would cost a record. With a secret
//! that changes every run nobody can prepare one, and by chance 2^64 keys are needed. Pure; on any core.

/// The hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(pub [u64; 2]);

/// Hashes keys under one secret.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher {
    secret: [u64; 2],
}

struct State {
    v: [u64; 4],
}

impl State {
    #[inline(always)]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        self.v = [v0, v1, v2, v3];
    }

    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    fn squeeze(&mut self) -> u64 {
        for _ in 0..4 {
            self.round();
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }
}

impl KeyHasher {
    /// A hasher with this secret.
    pub fn new(secret: [u64; 2]) -> KeyHasher {
        KeyHasher { secret }
    }

    /// The hash of `key`.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let [k0, k1] = self.secret;
        let mut state = State {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        };
        let (words, rest) = key.as_chunks::<8>();
        for word in words {
            state.absorb(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = key.len() as u8;
        state.absorb(u64::from_le_bytes(last));
        state.v[2] ^= 0xee;
        let low = state.squeeze();
        state.v[1] ^= 0xdd;
        KeyHash([low, state.squeeze()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation's `vectors_sip128`: key 00 01 … 0f, inputs of 0, 1, 2 … bytes 00 01 02 …
    #[test]
    fn the_reference_vectors_come_out() {
        let hasher = KeyHasher::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let input: Vec<u8> = (0..16).collect();
        let hex = |length: usize| {
            let KeyHash([low, high]) = hasher.hash(&input[..length]);
            let bytes = [low.to_le_bytes(), high.to_le_bytes()].concat();
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(hex(0), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(1), "da87c1d86b99af44347659119b22fc45");
        assert_eq!(hex(2), "8177228da4a45dc7fca38bdef60affe4");
    }

    #[test]
    fn length_secret_and_every_bit_count() {
        let hasher = KeyHasher::new([1, 2]);
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..40 {
            assert!(seen.insert(hasher.hash(&vec![0; length])));
        }
        for bit in 0..160 {
            let mut key = vec![0u8; 20];
            key[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(hasher.hash(&key)));
        }
        assert_ne!(KeyHasher::new([1, 3]).hash(b"key"), hasher.hash(b"key"));
    }
}
