//! Judges the bytes of groups at start: whole, torn or rotten, and what can be saved of a rotten one. Pure; the walk
//! from group to group is in `chain`.
//!
//! Invariant: nothing is believed because of where it lies. A header counts only with its generation's secret and its
//! own checksum (C8), a batch only with its entry's checksum and Kafka's CRC.

use bytes::Bytes;

use super::format::{
    ENTRY_HEADER_BYTES, EntryHeader, EntryKind, GROUP_HEADER_BYTES, Generation, GroupHeader,
    HeaderCopy, table_checksum,
};
use super::group::ChainEnd;
use crate::platform::BLOCK_BYTES;

/// Where a batch's CRC stands and where the bytes it covers begin.
const CRC_POSITION: usize = 17;
const CRC_COVERS_FROM: usize = 21;

/// One entry as found on disk.
#[derive(Debug, Clone)]
pub struct ReplayEntry {
    /// What it says; its checksum held.
    pub header: EntryHeader,
    /// What it carries; `None` if the payload is damaged (only in a rotten group).
    pub payload: Option<Bytes>,
}

/// One group as found on disk.
#[derive(Debug, Clone)]
pub struct ReplayGroup {
    /// Its number.
    pub group_number: u64,
    /// The chain behind it.
    pub end: ChainEnd,
    /// Its entries, in order.
    pub entries: Vec<ReplayEntry>,
    /// `None` for a whole group; otherwise what is wrong.
    pub damage: Option<GroupDamage>,
}

/// What is wrong with a group that was known flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupDamage {
    /// Every entry header was found; some payloads may be damaged.
    Payloads,
    /// Entry headers are lost: any partition of this journal may have lost batches.
    Headers,
}

/// Whose groups are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The generation being replayed.
    pub generation: Generation,
    /// The shard whose journal it is.
    pub shard: u16,
}

impl Identity {
    /// A header of this journal at exactly this place, or `None`.
    pub fn header_at(&self, bytes: &[u8], file_number: u32, position: u64) -> Option<GroupHeader> {
        let header = GroupHeader::decode(HeaderCopy::Front, bytes)?;
        let here = header.file_number == file_number && header.position == position;
        (self.owns(&header) && here).then_some(header)
    }

    /// The trailer in the last bytes of the block that ends at `block_end`, or `None`.
    pub fn trailer_at(
        &self,
        block: &[u8],
        file_number: u32,
        block_end: u64,
    ) -> Option<GroupHeader> {
        let start = block.len().checked_sub(GROUP_HEADER_BYTES)?;
        let header = GroupHeader::decode(HeaderCopy::Trailer, &block[start..])?;
        let here = header.file_number == file_number
            && header.position + u64::from(header.group_bytes) == block_end;
        (self.owns(&header) && here).then_some(header)
    }

    /// Every group of this journal that shows a good header or trailer in `bytes`, which start at `position` of the
    /// file: by group number, at most once each.
    pub fn search(
        &self,
        bytes: &[u8],
        file_number: u32,
        position: u64,
        found: &mut Vec<GroupHeader>,
    ) {
        for (index, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            let start = position + (index * BLOCK_BYTES) as u64;
            found.extend(self.header_at(block, file_number, start));
            found.extend(self.trailer_at(block, file_number, start + BLOCK_BYTES as u64));
        }
    }

    fn owns(&self, header: &GroupHeader) -> bool {
        header.generation == self.generation && header.shard == self.shard
    }
}

/// Reads a group whose header is known. `bytes` are the whole group. `Ok` only if both the table and every payload
/// hold; the end table is the front table's spare and not looked at.
pub fn read_whole(header: &GroupHeader, bytes: &Bytes) -> Option<ReplayGroup> {
    let seed = header.generation.seed();
    let table = bytes.get(GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + header.table_bytes())?;
    if bytes.len() != header.group_bytes as usize
        || table_checksum(seed, table) != header.table_checksum
    {
        return None;
    }
    let mut entries = Vec::with_capacity(header.entry_count as usize);
    for slot in table.chunks_exact(ENTRY_HEADER_BYTES) {
        let entry = read_entry(seed, slot, bytes)?;
        entry.payload.as_ref()?;
        entries.push(entry);
    }
    Some(ReplayGroup {
        group_number: header.group_number,
        end: end_of(header),
        entries,
        damage: None,
    })
}

/// Reads what is left of a group that was known flushed and is not whole (C9): from both tables, each entry whose
/// checksum holds; its payload if that holds too.
pub fn salvage(header: &GroupHeader, bytes: &Bytes) -> ReplayGroup {
    let seed = header.generation.seed();
    let mut entries: Vec<ReplayEntry> = Vec::new();
    let mut lost = false;
    for index in 0..header.entry_count as usize {
        let slots = [GROUP_HEADER_BYTES, header.end_table_position as usize]
            .map(|table| table + index * ENTRY_HEADER_BYTES)
            .map(|start| bytes.get(start..start + ENTRY_HEADER_BYTES));
        // A header whose batch prefix is damaged fails its own checksum in both tables; if both agree byte for byte it
        // is still what was written, only the payload is gone.
        let agreed = slots[0]
            .filter(|_| slots[0] == slots[1])
            .and_then(EntryHeader::decode);
        let entry = slots
            .into_iter()
            .flatten()
            .find_map(|slot| read_entry(seed, slot, bytes))
            .or_else(|| {
                agreed.map(|(header, _)| ReplayEntry {
                    header,
                    payload: None,
                })
            });
        match entry {
            Some(entry) => entries.push(entry),
            None => lost = true,
        }
    }
    let damage = if lost {
        GroupDamage::Headers
    } else {
        GroupDamage::Payloads
    };
    ReplayGroup {
        group_number: header.group_number,
        end: end_of(header),
        entries,
        damage: Some(damage),
    }
}

/// The chain as it stands behind a group.
pub fn end_of(header: &GroupHeader) -> ChainEnd {
    ChainEnd {
        group_number: header.group_number,
        checksum: header.checksum(),
        file_number: header.file_number,
        position: header.position + u64::from(header.group_bytes),
    }
}

/// One entry whose own checksum holds; without payload if only Kafka's CRC does not.
fn read_entry(seed: u32, slot: &[u8], group: &Bytes) -> Option<ReplayEntry> {
    let (header, checksum) = EntryHeader::decode(slot)?;
    let start = header.payload_position as usize;
    let end = start.checked_add(header.payload_bytes as usize)?;
    let payload = group.get(start..end)?;
    let covered = payload.get(..header.covered_bytes())?;
    let stale_is_fine = crate::planted::is(crate::planted::Bug::AcceptStaleBlock);
    if header.checksum(seed, covered) != checksum && !stale_is_fine {
        return None;
    }
    let whole = header.kind != EntryKind::Batch || batch_crc_holds(payload) || stale_is_fine;
    Some(ReplayEntry {
        header,
        payload: whole.then(|| group.slice(start..end)),
    })
}

/// Whether Kafka's CRC of a batch holds and its length field says `batch.len()`.
pub fn batch_crc_holds(batch: &[u8]) -> bool {
    let (Some(length), Some(crc)) = (batch.get(8..12), batch.get(CRC_POSITION..CRC_COVERS_FROM))
    else {
        return false;
    };
    let announced = i32::from_be_bytes(length.try_into().expect("four bytes"));
    let crc = u32::from_be_bytes(crc.try_into().expect("four bytes"));
    usize::try_from(announced).is_ok_and(|length| length + 12 == batch.len())
        && crc32c::crc32c(&batch[CRC_COVERS_FROM..]) == crc
}
