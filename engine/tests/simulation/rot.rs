//! Bits that flip between two lives of the broker: in closed segments, and in one copy of what exists twice.

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
        match self.shared.below(3) {
            0 => self.strike_copy(),
            _ => self.strike_segment(),
        }
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
        let Ok(content) = self.disk.content(&path) else {
            return;
        };
        let used = content
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last as u64 + 1);
        let position = self.shared.below(used);
        if self
            .disk
            .rot(&path, position, 1 << self.shared.below(8))
            .is_ok_and(|flipped| flipped)
        {
            self.copy_damaged = true;
            self.shared
                .note(format!("a bit of {path} flips at {position}"));
            self.shared.count("bits flipped in a copy", 1);
        }
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
