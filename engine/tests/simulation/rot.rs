//! Bits that flip between two lives of the broker: in closed segments, in one copy of what exists twice, and in sidecars,
//! which are no loss at all.

use engine::log::checkpoint;
use engine::log::journal::format::{GROUP_HEADER_BYTES, GroupHeader, HeaderCopy};
use engine::platform::BLOCK_BYTES;
use engine::platform::sim::SimDisk;
use net::records::Batch;

use crate::shared::Shared;
use crate::topics;

/// Who flips them.
pub struct Rot {
    shared: Shared,
    disk: SimDisk,
    /// Whether this run has any.
    active: bool,
    /// A copy of something was damaged and nobody has mended it yet: the other must stay whole.
    copy_damaged: bool,
    /// A start was cut or failed: it may have left one copy half written, and the other is all there is.
    start_unfinished: bool,
}

impl Rot {
    /// Rot on `disk` in some of the runs.
    pub fn new(shared: &Shared, disk: &SimDisk) -> Rot {
        Rot {
            shared: shared.clone(),
            disk: disk.clone(),
            active: shared.chance(0.3),
            copy_damaged: false,
            start_unfinished: false,
        }
    }

    /// A start begins, which writes every copy anew, one after the other.
    pub fn start_begins(&mut self) {
        self.start_unfinished = true;
    }

    /// A start succeeded: both copies of everything are good again.
    pub fn healed(&mut self) {
        self.copy_damaged = false;
        self.start_unfinished = false;
    }

    /// Perhaps flips something. No broker runs.
    pub fn strike(&mut self) {
        if !self.active || !self.shared.chance(0.5) {
            return;
        }
        match self.shared.below(6) {
            0 => self.strike_copy(),
            1 => self.strike_checkpoint(),
            2 => self.strike_journal(),
            3 => self.strike_sidecar(),
            _ => self.strike_segment(),
        }
    }

    /// One of a shard's two checkpoints, if both are whole and stay so: the journal still begins behind the other. What a
    /// killed broker has under way may be half of a checkpoint.
    fn strike_checkpoint(&mut self) {
        let shard = self.shared.below(3);
        let paths = ["a", "b"].map(|copy| format!("tidelog/checkpoint-{shard}-{copy}"));
        let whole = |path: &String| {
            let content = self.disk.content(path);
            content.is_ok_and(|content| checkpoint::decode(&content).is_ok())
        };
        let writes = self.disk.operations_in_flight() > 0;
        if writes || self.copy_damaged || !paths.iter().all(whole) {
            return;
        }
        let path = &paths[self.shared.below(2) as usize];
        self.copy_damaged = self.flip_used(path, "bits flipped in a checkpoint");
    }

    /// One of the two headers and tables of a group that a later one knows flushed (STORAGE C9).
    fn strike_journal(&mut self) {
        if self.copy_damaged {
            return;
        }
        let mut names = self.disk.names("tidelog").unwrap_or_default();
        names.retain(|name| name.starts_with("journal-") && !name.contains('.'));
        let mut groups = Vec::new();
        for name in names {
            let path = format!("tidelog/{name}");
            let content = self.disk.content(&path).unwrap_or_default();
            for block in content.chunks_exact(BLOCK_BYTES) {
                if let Some(header) = GroupHeader::decode(HeaderCopy::Front, block) {
                    groups.push((path.clone(), header));
                }
            }
        }
        let newest = groups.iter().map(|(_, header)| header.generation.number);
        let newest = newest.max();
        groups.retain(|(_, header)| Some(header.generation.number) == newest);
        let flushed_in = |shard| {
            let of_shard = groups
                .iter()
                .filter(move |(_, header)| header.shard == shard);
            of_shard.map(|(_, header)| header.known_flushed).max()
        };
        let flushed: Vec<_> = groups
            .iter()
            .filter(|(_, header)| Some(header.group_number) <= flushed_in(header.shard))
            .collect();
        if flushed.is_empty() {
            return;
        }
        let (path, header) = flushed[self.shared.below(flushed.len() as u64) as usize];
        let table = (GROUP_HEADER_BYTES + header.table_bytes()) as u64;
        let end_table = u64::from(header.end_table_position);
        let (from, bytes) = match self.shared.chance(0.5) {
            true => (0, table),
            false => (end_table, u64::from(header.group_bytes) - end_table),
        };
        let position = header.position + from + self.shared.below(bytes);
        self.copy_damaged = self.flip(path, position, "bits flipped in a journal");
    }

    /// Of a segment that is whole: a sidecar that does not fit is made again from it.
    fn strike_sidecar(&self) {
        let keys = [topics::TRIM.keys(), topics::KEEP.keys()].concat();
        let key = &keys[self.shared.below(keys.len() as u64) as usize];
        let directory = format!("{}-{}", key.0, key.1);
        let mut names = self.disk.names(&directory).unwrap_or_default();
        names.retain(|name| name.ends_with(".tidx"));
        if !names.is_empty() {
            let name = &names[self.shared.below(names.len() as u64) as usize];
            self.flip_used(&format!("{directory}/{name}"), "bits flipped in a sidecar");
        }
    }

    /// Flips a bit before the zeros at the end of a file.
    fn flip_used(&self, path: &str, counter: &str) -> bool {
        let content = self.disk.content(path).unwrap_or_default();
        let last = content.iter().rposition(|byte| *byte != 0);
        let used = last.map_or(1, |last| last as u64 + 1);
        self.flip(path, self.shared.below(used), counter)
    }

    fn flip(&self, path: &str, position: u64, counter: &str) -> bool {
        let mask = 1 << self.shared.below(8);
        let flipped = self.disk.rot(path, position, mask).unwrap_or(false);
        if flipped {
            self.shared
                .note(format!("a bit of {path} flips at {position}"));
            self.shared.count(counter, 1);
        }
        flipped
    }

    fn strike_copy(&mut self) {
        if self.copy_damaged || self.start_unfinished {
            return;
        }
        let copy = self.shared.pick(&["a", "b"]);
        let path = match self.shared.below(2) {
            0 => format!("tidelog/metadata-{copy}.log"),
            _ => format!("tidelog/checkpoint-start-{copy}"),
        };
        self.copy_damaged = self.flip_used(&path, "bits flipped in a copy");
    }

    /// A byte of a closed segment: its batch may be unreadable from now on, and nothing else.
    fn strike_segment(&mut self) {
        let keys = topics::PLAIN.keys();
        let key = keys[self.shared.below(keys.len() as u64) as usize].clone();
        let directory = format!("{}-{}", key.0, key.1);
        let mut segments: Vec<String> = self.disk.names(&directory).unwrap_or_default();
        segments.retain(|name| name.ends_with(".log"));
        if segments.len() < 3 {
            return;
        }
        let name = &segments[self.shared.below(segments.len() as u64 - 2) as usize];
        let path = format!("{directory}/{name}");
        let Ok(content) = self.disk.content(&path) else {
            return;
        };
        let mut batches = Vec::new();
        let mut rest = &content[..];
        while let Ok(batch) = Batch::parse(rest) {
            let position = content.len() - rest.len();
            batches.push((
                position,
                batch.bytes().len(),
                batch.header().base_offset,
                batch.header().last_offset(),
            ));
            rest = &rest[batch.bytes().len()..];
        }
        if batches.is_empty() {
            return;
        }
        let (position, length, first, last) =
            batches[self.shared.below(batches.len() as u64) as usize];
        let at = position as u64 + self.shared.below(length as u64);
        self.shared
            .oracle()
            .partition(&key)
            .may_be_damaged(first, last);
        if self
            .disk
            .rot(&path, at, 1 << self.shared.below(8))
            .is_ok_and(|flipped| flipped)
        {
            self.shared.note(format!(
                "a bit of {path} flips at {at}: offsets {first} to {last}"
            ));
            self.shared.count("bits flipped in segments", 1);
        }
    }
}
