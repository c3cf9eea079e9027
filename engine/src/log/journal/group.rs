//! Assembles one group: entries in, the bytes of an aligned write out. Pure; runs on the shard's core.
//!
//! Invariant: the payload is copied exactly once, and nothing is allocated per entry.

use bytes::Bytes;

use super::format::{
    BATCH_PREFIX_BYTES, ENTRY_HEADER_BYTES, EXTENT_PAYLOAD_BYTES, EntryHeader, GROUP_HEADER_BYTES,
    Generation, GroupHeader, HeaderCopy, table_checksum,
};
use crate::platform::BLOCK_BYTES;

/// What an entry carries besides its header.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Nothing.
    None,
    /// A whole batch: its stamped first bytes, and the rest as it was received.
    Batch {
        /// The first 21 bytes, with base offset and leader epoch filled in.
        prefix: [u8; BATCH_PREFIX_BYTES],
        /// The batch behind them.
        body: Bytes,
    },
    /// The header of a batch that stands in its segment.
    Extent([u8; EXTENT_PAYLOAD_BYTES]),
}

/// One entry to be journaled. The header's `payload_position` is filled in by the assembly.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it says.
    pub header: EntryHeader,
    /// What it carries.
    pub payload: Payload,
}

/// The state of the chain between two groups: what the next group continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainEnd {
    /// The last group; 0 before the first.
    pub group_number: u64,
    /// Its checksum; 0 before the first.
    pub checksum: u32,
    /// The file it lies in.
    pub file_number: u32,
    /// The byte behind it in that file.
    pub position: u64,
}

/// Everything a group's header says that its entries do not.
#[derive(Debug, Clone, Copy)]
pub struct GroupPlace {
    /// The writing generation.
    pub generation: Generation,
    /// The shard.
    pub shard: u16,
    /// The chain so far.
    pub previous: ChainEnd,
    /// The highest group known flushed.
    pub known_flushed: u64,
    /// The file it goes to.
    pub file_number: u32,
    /// Where in that file.
    pub position: u64,
}

impl Entry {
    /// Bytes the entry takes in a group, both table slots included.
    pub fn journal_bytes(&self) -> usize {
        2 * ENTRY_HEADER_BYTES + self.header.payload_bytes as usize
    }
}

/// The length of a group whose entries take `entries_bytes` together (the sum of [`Entry::journal_bytes`]).
pub fn group_bytes(entries_bytes: usize) -> usize {
    // Seven bytes for the alignment of the end table.
    (2 * GROUP_HEADER_BYTES + entries_bytes + 7).next_multiple_of(BLOCK_BYTES)
}

/// Fills every byte of `out` (of [`group_bytes`] length) with the group and returns the new end of the chain.
pub fn assemble<'a>(
    place: &GroupPlace,
    entries: impl Iterator<Item = &'a mut Entry>,
    entry_count: usize,
    out: &mut [u8],
) -> ChainEnd {
    let seed = place.generation.seed();
    let front = GROUP_HEADER_BYTES;
    let table_bytes = entry_count * ENTRY_HEADER_BYTES;
    let mut cursor = front + table_bytes;
    let mut slot = front;
    for entry in entries {
        entry.header.payload_position =
            u32::try_from(cursor).expect("a group is smaller than its file, which is below 4 GiB");
        let covered: &[u8] = match &entry.payload {
            Payload::None => &[],
            Payload::Batch { prefix, body } => {
                out[cursor..cursor + prefix.len()].copy_from_slice(prefix);
                out[cursor + prefix.len()..cursor + prefix.len() + body.len()]
                    .copy_from_slice(body);
                cursor += prefix.len() + body.len();
                prefix
            }
            Payload::Extent(header) => {
                out[cursor..cursor + header.len()].copy_from_slice(header);
                cursor += header.len();
                header
            }
        };
        entry
            .header
            .encode(seed, covered, &mut out[slot..slot + ENTRY_HEADER_BYTES]);
        slot += ENTRY_HEADER_BYTES;
    }
    assert_eq!(
        slot,
        front + table_bytes,
        "as many entries as were announced"
    );
    let end_table = cursor.next_multiple_of(8);
    out[cursor..end_table].fill(0);
    out.copy_within(front..front + table_bytes, end_table);
    let header = GroupHeader {
        generation: place.generation,
        group_number: place.previous.group_number + 1,
        known_flushed: place.known_flushed,
        position: place.position,
        group_bytes: u32::try_from(out.len()).expect("a group is smaller than 4 GiB"),
        entry_count: u32::try_from(entry_count).expect("entries are bounded by the group's length"),
        end_table_position: end_table as u32,
        table_checksum: table_checksum(seed, &out[front..front + table_bytes]),
        previous_checksum: place.previous.checksum,
        shard: place.shard,
        file_number: place.file_number,
    };
    let trailer = out.len() - GROUP_HEADER_BYTES;
    assert!(
        end_table + table_bytes <= trailer,
        "the group's length was computed for these entries"
    );
    out[end_table + table_bytes..trailer].fill(0);
    let checksum = header.encode(HeaderCopy::Front, &mut out[..GROUP_HEADER_BYTES]);
    header.encode(HeaderCopy::Trailer, &mut out[trailer..]);
    ChainEnd {
        group_number: header.group_number,
        checksum,
        file_number: place.file_number,
        position: place.position + out.len() as u64,
    }
}
