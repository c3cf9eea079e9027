//! A shard's journal files: made once, written through once, then used again and again. Runs on the shard's core.
//!
//! Invariant: a file under its final name has every block written and flushed, so that a commit changes no file-system
//! metadata; and a file is handed out again only when no checkpoint needs a group in it.

use std::io;

use net::platform::Runtime;

use super::group::ChainEnd;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::ShardId;

/// The directory of everything that is ours and not Kafka's.
pub const TIDELOG_DIRECTORY: &str = "tidelog";
/// How much of a new file is written at once.
const FILL_BYTES: usize = 256 << 10;

/// One open journal file.
#[derive(Clone)]
pub struct JournalFile {
    /// The number in its name.
    pub number: u32,
    /// Its length, whole blocks.
    pub bytes: u64,
    /// Open for writing, and locked (C5); how else, [`super::commit::JournalSettings::open_mode`] says.
    pub file: File,
}

/// `tidelog/journal-<shard>-<number>`.
pub fn journal_path(shard: ShardId, number: u32) -> String {
    format!("{TIDELOG_DIRECTORY}/journal-{}-{number}", shard.0)
}

/// Shard and number of a journal file's name, or `None` for any other name.
pub fn parse_journal_name(name: &str) -> Option<(ShardId, u32)> {
    let (shard, number) = name.strip_prefix("journal-")?.split_once('-')?;
    Some((ShardId(shard.parse().ok()?), number.parse().ok()?))
}

/// Makes a journal file: written through and flushed under a temporary name, then renamed. With a runtime it leaves the
/// disk to others half of the time.
pub async fn create_journal_file(
    disk: &Disk,
    shard: ShardId,
    number: u32,
    bytes: u64,
    mode: OpenMode,
    gently: Option<&Runtime>,
) -> io::Result<JournalFile> {
    let path = journal_path(shard, number);
    let temporary = format!("{path}.new");
    let file = disk.open(&temporary, OpenMode::Create).await?;
    let filled = fill(disk, &file, bytes, gently).await;
    drop(file);
    if let Err(error) = filled {
        // Best effort: what stays is removed by the next start.
        let _ = disk.remove_file(&temporary).await;
        return Err(error);
    }
    disk.rename(&temporary, &path).await?;
    disk.sync_directory(TIDELOG_DIRECTORY).await?;
    Ok(JournalFile {
        number,
        bytes,
        file: disk.open(&path, mode).await?,
    })
}

async fn fill(disk: &Disk, file: &File, bytes: u64, gently: Option<&Runtime>) -> io::Result<()> {
    file.allocate(0, bytes).await?;
    let mut position = 0;
    while position < bytes {
        let length = FILL_BYTES.min((bytes - position) as usize);
        let begun = gently.map(Runtime::monotonic);
        file.write_at(disk.allocate_buffer(length), position)
            .await?;
        if let (Some(runtime), Some(begun)) = (gently, begun) {
            runtime
                .sleep(runtime.monotonic().saturating_sub(begun))
                .await;
        }
        position += length as u64;
    }
    file.fdatasync().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Free,
    /// Groups are being added.
    Current,
    /// Full; its last group is this one.
    Live {
        last_group: u64,
    },
}

struct Slot {
    file: JournalFile,
    state: SlotState,
}

/// The decisions about a shard's journal files: which one the next group goes to, which may be used again.
pub struct JournalFiles {
    slots: Vec<Slot>,
    current: Option<usize>,
    /// The next byte to write in the current file.
    position: u64,
    files_max: usize,
    recycled: u64,
}

impl JournalFiles {
    /// All of `files` are free.
    pub fn new(files: Vec<JournalFile>, files_max: usize) -> JournalFiles {
        let slots = files
            .into_iter()
            .map(|file| Slot {
                file,
                state: SlotState::Free,
            })
            .collect();
        JournalFiles {
            slots,
            current: None,
            position: 0,
            files_max,
            recycled: 0,
        }
    }

    /// The place for a group of `bytes`, behind `end`; `None` if no file is free. The place is taken.
    pub fn place(&mut self, bytes: u64, end: &ChainEnd) -> Option<(JournalFile, u64)> {
        debug_assert!(bytes.is_multiple_of(BLOCK_BYTES as u64));
        if let Some(current) = self.current {
            let slot = &mut self.slots[current];
            if self.position + bytes <= slot.file.bytes {
                let position = self.position;
                self.position += bytes;
                return Some((slot.file.clone(), position));
            }
        }
        let next = self
            .slots
            .iter()
            .position(|slot| slot.state == SlotState::Free && slot.file.bytes >= bytes)?;
        if let Some(current) = self.current {
            self.slots[current].state = SlotState::Live {
                last_group: end.group_number,
            };
        }
        self.slots[next].state = SlotState::Current;
        self.current = Some(next);
        self.position = bytes;
        Some((self.slots[next].file.clone(), 0))
    }

    /// Groups up to `group_number` are in both checkpoints: files that hold no later one are free again.
    pub fn release(&mut self, group_number: u64) {
        for slot in &mut self.slots {
            if matches!(slot.state, SlotState::Live { last_group } if last_group <= group_number) {
                slot.state = SlotState::Free;
                self.recycled += 1;
            }
        }
    }

    /// Adds a new free file.
    pub fn add(&mut self, file: JournalFile) {
        self.slots.push(Slot {
            file,
            state: SlotState::Free,
        });
    }

    /// The number that a new file should get, or `None` at the bound.
    pub fn next_number(&self) -> Option<u32> {
        let highest = self
            .slots
            .iter()
            .map(|slot| slot.file.number + 1)
            .max()
            .unwrap_or(0);
        (self.slots.len() < self.files_max).then_some(highest)
    }

    /// Files that can be taken at once.
    pub fn free_files(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.state == SlotState::Free)
            .count()
    }

    /// Files that hold groups of a checkpoint to come.
    pub fn live_files(&self) -> usize {
        self.slots.len() - self.free_files()
    }

    /// How often a file became free again.
    pub fn recycled(&self) -> u64 {
        self.recycled
    }

    /// The bound on their number.
    pub fn files_max(&self) -> usize {
        self.files_max
    }
}

/// Opens all journal files of the shard for use again; those of another length, and half-made ones, are removed.
pub async fn open_journal_files(
    disk: &Disk,
    shard: ShardId,
    bytes: u64,
    mode: OpenMode,
) -> io::Result<Vec<JournalFile>> {
    let mut files = Vec::new();
    for entry in disk.list(TIDELOG_DIRECTORY).await? {
        let path = format!("{TIDELOG_DIRECTORY}/{}", entry.name);
        let half_made = entry.name.strip_suffix(".new").and_then(parse_journal_name);
        if half_made.is_some_and(|(owner, _)| owner == shard) {
            disk.remove_file(&path).await?;
            continue;
        }
        let Some((_, number)) =
            parse_journal_name(&entry.name).filter(|(owner, _)| *owner == shard)
        else {
            continue;
        };
        if entry.length != bytes {
            disk.remove_file(&path).await?;
            continue;
        }
        files.push(JournalFile {
            number,
            bytes,
            file: disk.open(&path, mode).await?,
        });
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}
