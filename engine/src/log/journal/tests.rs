//! The journal's bytes, held by golden hashes and fields, and what replay makes of torn, stale and rotten ones.

use bytes::Bytes;

use super::format::{
    BATCH_PREFIX_BYTES, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, GROUP_HEADER_BYTES, Generation,
    GroupHeader, HeaderCopy,
};
use super::group::{ChainEnd, Entry, GroupPlace, Payload, assemble, group_bytes};
use super::replay::{GroupDamage, Identity, read_whole, salvage};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

const GENERATION: Generation = Generation {
    number: 3,
    secret: *b"0123456789abcdef",
};

fn batch(fill: u8, length: usize) -> Vec<u8> {
    let mut batch = vec![fill; length];
    batch[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[BATCH_PREFIX_BYTES..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn entry(base_offset: i64, batch: &[u8]) -> Entry {
    let header = EntryHeader {
        kind: EntryKind::Batch,
        partition: PartitionId {
            topic_id: TopicId([9; 16]),
            index: 4,
        },
        leader_epoch: LeaderEpoch(5),
        base_offset: Offset(base_offset),
        last_offset: Offset(base_offset + 1),
        segment_base_offset: Offset(10),
        file_position: 77,
        length: batch.len() as u32,
        payload_position: 0,
        payload_bytes: batch.len() as u32,
    };
    let prefix = batch[..BATCH_PREFIX_BYTES].try_into().unwrap();
    Entry {
        header,
        payload: Payload::Batch {
            prefix,
            body: Bytes::copy_from_slice(&batch[BATCH_PREFIX_BYTES..]),
        },
    }
}

/// Group 8 at 8192 of file 2, with two batches.
fn group() -> (Vec<u8>, ChainEnd) {
    group_over(0)
}

/// The same, written over memory that holds `before`.
fn group_over(before: u8) -> (Vec<u8>, ChainEnd) {
    let mut entries = [entry(100, &batch(1, 200)), entry(102, &batch(2, 4000))];
    let bytes = group_bytes(entries.iter().map(Entry::journal_bytes).sum());
    let mut out = vec![before; bytes];
    let place = GroupPlace {
        generation: GENERATION,
        shard: 1,
        previous: ChainEnd {
            group_number: 7,
            checksum: 0x0102_0304,
            file_number: 2,
            position: 8192,
        },
        known_flushed: 7,
        file_number: 2,
        position: 8192,
    };
    let count = entries.len();
    let end = assemble(&place, entries.iter_mut(), count, &mut out);
    (out, end)
}

fn header_of(bytes: &[u8]) -> GroupHeader {
    GroupHeader::decode(HeaderCopy::Front, bytes).unwrap()
}

#[test]
fn a_group_leaves_no_byte_as_it_was() {
    assert_eq!(group_over(0), group_over(0xa5));
}

#[test]
fn a_group_has_these_bytes() {
    let (bytes, end) = group();
    assert_eq!(bytes.len(), 8192);
    let mut expected = Vec::new();
    expected.extend_from_slice(b"TLGRUP\x01\x00");
    for number in [8u64, 7, 8192, 3] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.extend_from_slice(b"0123456789abcdef");
    let end_table = (GROUP_HEADER_BYTES + 2 * ENTRY_HEADER_BYTES + 4200).next_multiple_of(8) as u32;
    for number in [8192u32, 2, end_table] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    assert_eq!(bytes[..68], expected[..]);
    assert_eq!(bytes[72..76], 0x0102_0304u32.to_le_bytes());
    assert_eq!(bytes[76..82], [2, 0, 0, 0, 1, 0]);
    assert_eq!(bytes[92..96], end.checksum.to_le_bytes());
    // The one number that covers every other byte; it changes only with the format's version.
    assert_eq!(end.checksum, 0xc4a0_8d2f, "{:#x}", end.checksum);
    let entry = &bytes[GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + ENTRY_HEADER_BYTES];
    assert_eq!(entry[..8], [1, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(entry[8..24], [9; 16]);
    assert_eq!(entry[24..32], 100i64.to_le_bytes());
    assert_eq!(entry[32..40], 101i64.to_le_bytes());
    assert_eq!(entry[40..48], 10i64.to_le_bytes());
    assert_eq!(entry[48..56], 77u64.to_le_bytes());
    assert_eq!(entry[56..60], 5i32.to_le_bytes());
    assert_eq!(entry[60..64], 200u32.to_le_bytes());
    assert_eq!(entry[64..68], 256u32.to_le_bytes());
    assert_eq!(entry[68..72], 200u32.to_le_bytes());
    // The end table and the trailer repeat the front.
    let table = &bytes[GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + 2 * ENTRY_HEADER_BYTES];
    assert_eq!(
        &bytes[end_table as usize..end_table as usize + table.len()],
        table
    );
    assert_eq!(&bytes[8192 - GROUP_HEADER_BYTES..][..8], b"TLGEND\x01\x00");
    assert_eq!(
        &bytes[8192 - GROUP_HEADER_BYTES + 8..],
        &bytes[8..GROUP_HEADER_BYTES]
    );
}

#[test]
fn a_whole_group_gives_its_entries_back() {
    let (bytes, end) = group();
    let header = header_of(&bytes);
    let group = read_whole(&header, &Bytes::from(bytes)).unwrap();
    assert_eq!((group.group_number, group.end), (8, end));
    assert_eq!(group.entries[1].header.base_offset, Offset(102));
    assert_eq!(
        group.entries[1].payload.as_deref(),
        Some(&batch(2, 4000)[..])
    );
}

#[test]
fn any_flipped_bit_that_is_used_is_noticed() {
    let (bytes, _) = group();
    let used = GROUP_HEADER_BYTES + 2 * ENTRY_HEADER_BYTES + 4200;
    for position in 0..used {
        let mut bad = bytes.clone();
        bad[position] ^= 1 << (position % 8);
        let header = GroupHeader::decode(HeaderCopy::Front, &bad);
        let whole = header.and_then(|header| read_whole(&header, &Bytes::from(bad)));
        assert!(whole.is_none(), "byte {position}");
    }
}

#[test]
fn a_group_of_another_generation_is_nobodys() {
    let (bytes, _) = group();
    let other = Generation {
        secret: *b"0123456789abcdeg",
        ..GENERATION
    };
    assert!(
        Identity {
            generation: GENERATION,
            shard: 1
        }
        .header_at(&bytes, 2, 8192)
        .is_some()
    );
    assert!(
        Identity {
            generation: other,
            shard: 1
        }
        .header_at(&bytes, 2, 8192)
        .is_none()
    );
    assert!(
        Identity {
            generation: GENERATION,
            shard: 0
        }
        .header_at(&bytes, 2, 8192)
        .is_none()
    );
    assert!(
        Identity {
            generation: GENERATION,
            shard: 1
        }
        .header_at(&bytes, 2, 4096)
        .is_none(),
        "misdirected"
    );
    assert!(
        Identity {
            generation: GENERATION,
            shard: 1
        }
        .header_at(&bytes, 3, 8192)
        .is_none(),
        "misdirected"
    );
}

#[test]
fn a_lost_front_table_is_replaced_by_the_end_table() {
    let (mut bytes, _) = group();
    let header = header_of(&bytes);
    bytes[..300].fill(0);
    assert!(GroupHeader::decode(HeaderCopy::Front, &bytes).is_none());
    let mut found = Vec::new();
    Identity {
        generation: GENERATION,
        shard: 1,
    }
    .search(&bytes, 2, 8192, &mut found);
    assert_eq!(found, vec![header], "the trailer shows the group");
    let group = salvage(&header, &Bytes::from(bytes));
    assert_eq!(
        group.damage,
        Some(GroupDamage::Headers),
        "the first batch's covered bytes are gone with its header's check"
    );
    assert_eq!(group.entries.len(), 1);
    assert_eq!(
        group.entries[0].payload.as_deref(),
        Some(&batch(2, 4000)[..])
    );
}

#[test]
fn a_damaged_payload_leaves_its_entry_and_the_others() {
    let (mut bytes, _) = group();
    let header = header_of(&bytes);
    bytes[GROUP_HEADER_BYTES + 2 * ENTRY_HEADER_BYTES + 100] ^= 4;
    let group = salvage(&header, &Bytes::from(bytes));
    assert_eq!(group.damage, Some(GroupDamage::Payloads));
    assert_eq!(group.entries[0].header.base_offset, Offset(100));
    assert!(group.entries[0].payload.is_none());
    assert!(group.entries[1].payload.is_some());
}
