//! The last offset of each key, in a table of fixed size (Kafka's `SkimpyOffsetMap`).
//!
//! Open addressing over 24-byte slots: 16 bytes of hash, the offset plus one (0 is an empty slot). The slots come in
//! pieces that are made when they are first written, so that a small log costs little, and that can be given back
//! one by one, so that nobody waits for the kernel. Bound: `bytes_max`, and a load that keeps probing short; at
//! the bound [`OffsetMap::put`] refuses and the caller cleans up to there and comes again. Lives on the shard's core.

use super::key_hash::{KeyHash, KeyHasher};
use crate::types::Offset;

const SLOT_WORDS: usize = 3;
const SLOT_BYTES: u64 = (SLOT_WORDS * size_of::<u64>()) as u64;
/// Slots per piece: 768 KiB.
const PIECE_SLOTS: usize = 1 << 15;

/// Keys and the last offset of each.
#[derive(Debug)]
pub struct OffsetMap {
    hasher: KeyHasher,
    pieces: Vec<Option<Box<[u64]>>>,
    slots: usize,
    keys: usize,
    keys_max: usize,
    latest: Offset,
}

impl OffsetMap {
    /// A table that takes at most `bytes_max`, filled up to `load`, and no more slots than `keys_expected` need.
    pub fn new(bytes_max: u64, load: f64, keys_expected: u64, secret: [u64; 2]) -> OffsetMap {
        let load = load.clamp(0.1, 0.95);
        let affordable = (bytes_max / SLOT_BYTES).max(16);
        let needed = ((keys_expected as f64 / load).ceil() as u64).saturating_add(1);
        let slots = usize::try_from(needed.clamp(16, affordable)).unwrap_or(usize::MAX);
        OffsetMap {
            hasher: KeyHasher::new(secret),
            pieces: (0..slots.div_ceil(PIECE_SLOTS)).map(|_| None).collect(),
            slots,
            keys: 0,
            keys_max: ((slots as f64 * load) as usize).clamp(1, slots - 1),
            latest: Offset(-1),
        }
    }

    /// Notes that `key` stands at `offset`, which is above all before. False if the key is new and the table full.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hasher.hash(key);
        let slot = self.find(hash);
        if self.word(slot, 2) == 0 {
            if self.keys == self.keys_max {
                return false;
            }
            self.keys += 1;
        }
        let piece = self.pieces[slot / PIECE_SLOTS].get_or_insert_with(|| {
            let slots = PIECE_SLOTS.min(self.slots - slot / PIECE_SLOTS * PIECE_SLOTS);
            vec![0; slots * SLOT_WORDS].into_boxed_slice()
        });
        let at = slot % PIECE_SLOTS * SLOT_WORDS;
        piece[at..at + SLOT_WORDS].copy_from_slice(&[hash.0[0], hash.0[1], offset.0 as u64 + 1]);
        self.latest = self.latest.max(offset);
        true
    }

    /// The last offset noted for `key`.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.find(self.hasher.hash(key));
        self.word(slot, 2)
            .checked_sub(1)
            .map(|offset| Offset(offset as i64))
    }

    /// Everything up to `offset` has been looked at.
    pub fn cover(&mut self, offset: Offset) {
        self.latest = self.latest.max(offset);
    }

    /// The last offset that was looked at; −1 for none.
    pub fn latest(&self) -> Offset {
        self.latest
    }

    /// Keys in the table.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Memory in use.
    pub fn bytes(&self) -> u64 {
        let made = self.pieces.iter().flatten();
        made.map(|piece| size_of_val(&**piece) as u64).sum()
    }

    /// Gives back one piece of memory; false once there is none. The table is of no use after the first call.
    pub fn give_back(&mut self) -> bool {
        self.pieces.pop().is_some()
    }

    /// The slot of the hash, or the empty one where it would go.
    fn find(&self, hash: KeyHash) -> usize {
        let mut slot = (hash.0[0] % self.slots as u64) as usize;
        loop {
            let taken = self.word(slot, 2) != 0;
            if !taken || (self.word(slot, 0) == hash.0[0] && self.word(slot, 1) == hash.0[1]) {
                return slot;
            }
            slot = (slot + 1) % self.slots;
        }
    }

    #[inline]
    fn word(&self, slot: usize, word: usize) -> u64 {
        match &self.pieces[slot / PIECE_SLOTS] {
            Some(piece) => piece[slot % PIECE_SLOTS * SLOT_WORDS + word],
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map_up_to_its_bound(
            puts in prop::collection::vec(0..200u32, 0..500),
            bytes_max in 400..6000u64,
            load in 0.3..0.95f64,
        ) {
            let mut map = OffsetMap::new(bytes_max, load, 1000, [3, 4]);
            let mut model: BTreeMap<u32, i64> = BTreeMap::new();
            for (offset, key) in puts.iter().enumerate() {
                let offset = offset as i64;
                let fits = map.put(&key.to_be_bytes(), Offset(offset));
                let known = model.contains_key(key);
                prop_assert!(fits || !known, "a known key always fits");
                if !fits {
                    prop_assert!(map.keys() as u64 * SLOT_BYTES <= bytes_max);
                    break;
                }
                model.insert(*key, offset);
                prop_assert_eq!(map.latest(), Offset(offset));
            }
            prop_assert_eq!(map.keys(), model.len());
            for key in 0..200u32 {
                prop_assert_eq!(map.get(&key.to_be_bytes()), model.get(&key).map(|offset| Offset(*offset)));
            }
        }
    }

    #[test]
    fn memory_follows_what_is_expected_and_stays_below_the_bound() {
        let small = OffsetMap::new(128 << 20, 0.9, 10, [0, 0]);
        assert!(small.slots < 32);
        assert_eq!(small.bytes(), 0);
        let mut large = OffsetMap::new(8 << 20, 0.9, u64::MAX, [0, 0]);
        let mut offset = 0i64;
        while large.put(&offset.to_be_bytes(), Offset(offset)) {
            offset += 1;
        }
        assert!(large.bytes() <= 8 << 20);
        assert!(
            offset as u64 * SLOT_BYTES > 7 << 20,
            "nearly all of it is used"
        );
        while large.give_back() {}
        assert_eq!(large.bytes(), 0);
    }
}
