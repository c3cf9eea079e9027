//! Who a record is, written into its value, so that whoever reads it back can tell whether it is the one that was sent.
//!
//! The first 32 bytes of a value, big-endian:
//!
//! ```text
//!  0 magic      u32  "TLG1"
//!  4 run        u32  chosen anew for every workload of every run
//!  8 producer   u32  which connection sent it
//! 12 checksum   u32  CRC-32C of bytes 0..12, 16..32 and the CRC-32C of all bytes from 32 on
//! 16 sequence   u64  0, 1, 2, … per producer and partition
//! 24 due        i64  intended send time, microseconds since 1970
//! ```
//!
//! The bytes from 32 on come from a template whose checksum is known, so that sealing a record costs 32 bytes of work
//! and not its whole length; the reader computes everything anew. Values shorter than 32 bytes carry no identity.

/// Bytes of the identity.
pub(crate) const IDENTITY_BYTES: usize = 32;
const MAGIC: u32 = u32::from_be_bytes(*b"TLG1");

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Which workload of which run.
    pub(crate) run: u32,
    /// Which of its connections.
    pub(crate) producer: u32,
    /// Its number in the partition, per producer.
    pub(crate) sequence: u64,
    /// Intended send time, microseconds since 1970.
    pub(crate) due_us: i64,
}

/// What a value turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record of a load generator, unharmed.
    Record(Identity),
    /// It says that it is one, but its checksum does not agree.
    Corrupt,
    /// Not one of ours.
    Foreign,
}

/// CRC-32C of the part of a value that its template fixes.
pub(crate) fn payload_checksum(value: &[u8]) -> u32 {
    crc32c::crc32c(value.get(IDENTITY_BYTES..).unwrap_or_default())
}

fn checksum(head: &[u8; IDENTITY_BYTES], payload: u32) -> u32 {
    let mut covered = [0; IDENTITY_BYTES];
    covered[..12].copy_from_slice(&head[..12]);
    covered[12..28].copy_from_slice(&head[16..]);
    covered[28..].copy_from_slice(&payload.to_be_bytes());
    crc32c::crc32c(&covered)
}

impl Identity {
    /// Writes it over the start of `value`, whose payload has the checksum `payload`. A shorter value is left alone.
    #[inline]
    pub(crate) fn write(&self, value: &mut [u8], payload: u32) {
        let Some(head) = value.first_chunk_mut::<IDENTITY_BYTES>() else {
            return;
        };
        head[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        head[4..8].copy_from_slice(&self.run.to_be_bytes());
        head[8..12].copy_from_slice(&self.producer.to_be_bytes());
        head[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        head[24..32].copy_from_slice(&self.due_us.to_be_bytes());
        let checksum = checksum(head, payload);
        head[12..16].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Reads and verifies a value.
    pub(crate) fn read(value: &[u8]) -> Found {
        let Some(head) = value.first_chunk::<IDENTITY_BYTES>() else {
            return Found::Foreign;
        };
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        if word(0) != MAGIC {
            return Found::Foreign;
        }
        if word(12) != checksum(head, payload_checksum(value)) {
            return Found::Corrupt;
        }
        let long =
            |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        Found::Record(Identity {
            run: word(4),
            producer: word(8),
            sequence: long(16),
            due_us: long(24).cast_signed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        run: 7,
        producer: 3,
        sequence: 1 << 40,
        due_us: 1_700_000_000_000_000,
    };

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut value = vec![b'x'; 100];
        let payload = payload_checksum(&value);
        IDENTITY.write(&mut value, payload);
        assert_eq!(Identity::read(&value), Found::Record(IDENTITY));
        for bit in 0..value.len() * 8 {
            let mut harmed = value.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(Identity::read(&harmed), Found::Record(_)),
                "bit {bit}"
            );
        }
        assert_eq!(Identity::read(&value[..99]), Found::Corrupt);
    }

    #[test]
    fn other_peoples_records_are_foreign() {
        assert_eq!(Identity::read(b"hello"), Found::Foreign);
        assert_eq!(Identity::read(&[b'x'; 1000]), Found::Foreign);
    }
}
