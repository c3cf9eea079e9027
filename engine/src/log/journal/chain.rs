//! Follows the chain of groups through a shard's journal files at start. Runs on the recovering executor.
//!
//! Replay begins behind the checkpoint's cut and takes exactly the next group number that names the last group's
//! checksum; a file's place in the order follows from the chain, never from its name or age. A group that is not whole
//! ends the log, unless some later group of this generation, found by its own checksum, knows it flushed: then it is
//! rot (C7), what can be saved of it is handed on with its damage, and the chain goes on behind it. A read error is
//! never a tear.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;

use super::files::JournalFile;
use super::format::{Generation, GroupHeader, HeaderCopy};
use super::group::ChainEnd;
use super::replay::{GroupDamage, Identity, ReplayGroup, read_whole, salvage};
use crate::log::read_again::read_again;
use crate::platform::BLOCK_BYTES;

/// How much is read at once, and again as much ahead while that is looked at.
const WINDOW_BYTES: usize = 4 << 20;

/// Where a journal's chain ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainSummary {
    /// The last good group.
    pub end: ChainEnd,
    /// Something unacknowledged stood behind it and was discarded.
    pub torn: bool,
    /// Groups that were known flushed and are not whole.
    pub rotten_groups: u64,
    /// Whether entries of some flushed group are lost for good, so that no partition's end is proved by the chain.
    pub entries_lost: bool,
    /// Bytes of groups read.
    pub bytes: u64,
}

/// Walks one journal.
pub struct ChainReader<'a> {
    identity: Identity,
    files: &'a [JournalFile],
    window: Window,
    end: ChainEnd,
    known_flushed: u64,
    /// Group numbers at or above this are not read: where an earlier walk found the end.
    stop_behind: Option<u64>,
    /// Files whose first block starts a group of this journal.
    heads: BTreeMap<u64, GroupHeader>,
    /// Files whose first block shows no group of any generation although something stands there: the next group of the
    /// chain may begin there and be rotten.
    headless: Vec<u32>,
    summary: ChainSummary,
    /// Files that hold a rotten group and must be kept.
    pub rotten_files: Vec<u32>,
}

/// Bytes of one file that were read, and the read of those behind them.
#[derive(Default)]
struct Window {
    file_number: u32,
    position: u64,
    bytes: Bytes,
    ahead: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>>>>>,
}

impl Window {
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    fn holds(&self, file_number: u32, position: u64, length: usize) -> bool {
        self.file_number == file_number
            && position >= self.position
            && position + length as u64 <= self.end()
    }

    /// Takes in what was read ahead, if that continues at `position`, and lets go of what is before it.
    async fn move_to(&mut self, file_number: u32, position: u64) {
        let Some(ahead) = self.ahead.take() else {
            return;
        };
        let inside =
            self.file_number == file_number && (self.position..=self.end()).contains(&position);
        // An error here is none of the bytes' own: they are read again by whoever needs them.
        if let (true, Ok(next)) = (inside, ahead.await) {
            let rest = self.bytes.slice((position - self.position) as usize..);
            self.bytes = if rest.is_empty() {
                next
            } else {
                [rest, next].concat().into()
            };
            self.position = position;
        }
    }

    /// Begins to read what is behind, as one operation that goes on while nobody asks for it.
    async fn read_ahead(&mut self, file: &JournalFile) {
        let end = self.end();
        let length = WINDOW_BYTES.min(file.bytes.saturating_sub(end) as usize);
        if length == 0 || self.ahead.is_some() {
            return;
        }
        let file = file.file.clone();
        let mut ahead: Pin<Box<dyn Future<Output = io::Result<Bytes>>>> =
            Box::pin(async move { file.read_at(end, length).await });
        self.ahead = match futures_lite::future::poll_once(&mut ahead).await {
            None => Some(ahead),
            Some(result) => Some(Box::pin(std::future::ready(result))),
        };
    }
}

enum Next {
    Whole(ReplayGroup),
    /// Nothing whole in the expected place.
    Bad,
}

impl<'a> ChainReader<'a> {
    /// Starts behind `cut`; `files` are all files of the shard's journal.
    pub async fn open(
        generation: Generation,
        shard: u16,
        files: &'a [JournalFile],
        cut: ChainEnd,
    ) -> io::Result<ChainReader<'a>> {
        let identity = Identity { generation, shard };
        let (mut heads, mut headless) = (BTreeMap::new(), Vec::new());
        for file in files {
            // A block that cannot be read is no head; the walk decides what its absence means.
            let block = read_file(file, 0, BLOCK_BYTES).await.unwrap_or_default();
            if let Some(header) = identity.header_at(&block, file.number, 0) {
                heads.insert(header.group_number, header);
            } else if GroupHeader::decode(HeaderCopy::Front, &block).is_none()
                && (block.is_empty() || block.iter().any(|byte| *byte != 0))
            {
                headless.push(file.number);
            }
        }
        let summary = ChainSummary {
            end: cut,
            torn: false,
            rotten_groups: 0,
            entries_lost: false,
            bytes: 0,
        };
        Ok(ChainReader {
            identity,
            files,
            window: Window::default(),
            end: cut,
            known_flushed: cut.group_number,
            stop_behind: None,
            heads,
            headless,
            summary,
            rotten_files: Vec::new(),
        })
    }

    /// Reads no further than the group `last`, where an earlier walk ended.
    pub fn stop_behind(&mut self, last: u64) {
        self.stop_behind = Some(last);
    }

    /// What was found so far; complete once [`ChainReader::next`] gave `None`.
    pub fn summary(&self) -> ChainSummary {
        ChainSummary {
            end: self.end,
            ..self.summary
        }
    }

    /// The next group, or `None` at the end of the chain.
    pub async fn next(&mut self) -> io::Result<Option<ReplayGroup>> {
        if self
            .stop_behind
            .is_some_and(|last| self.end.group_number >= last)
        {
            return Ok(None);
        }
        let group = match self.read_next().await {
            Next::Whole(group) => group,
            Next::Bad => match self.judge().await {
                Some(group) => group,
                None => return Ok(None),
            },
        };
        self.end = group.end;
        Ok(Some(group))
    }

    /// The group that continues the chain, in the same file or at the start of another one.
    async fn read_next(&mut self) -> Next {
        let wanted = self.end.group_number + 1;
        let here = self
            .read_block(self.end.file_number, self.end.position)
            .await;
        let header = here
            .and_then(|block| {
                self.identity
                    .header_at(&block, self.end.file_number, self.end.position)
            })
            // An older group may stand here, from before the file was used again.
            .filter(|header| self.continues(header))
            .or_else(|| {
                self.heads
                    .get(&wanted)
                    .copied()
                    .filter(|header| self.continues(header))
            });
        let Some(header) = header else {
            return Next::Bad;
        };
        let Some(bytes) = self.read_group(&header).await else {
            return Next::Bad;
        };
        match read_whole(&header, &bytes) {
            Some(group) => {
                self.summary.bytes += u64::from(header.group_bytes);
                self.known_flushed = self.known_flushed.max(header.known_flushed);
                Next::Whole(group)
            }
            None => Next::Bad,
        }
    }

    fn continues(&self, header: &GroupHeader) -> bool {
        header.group_number == self.end.group_number + 1
            && header.previous_checksum == self.end.checksum
    }

    /// Decides whether the bad place is the end (`None`) or rot inside the log.
    async fn judge(&mut self) -> Option<ReplayGroup> {
        let wanted = self.end.group_number + 1;
        let mut found: Vec<GroupHeader> = self.heads.values().copied().collect();
        let mut unreadable = self
            .search(self.end.file_number, self.end.position, &mut found)
            .await;
        // Files that were begun behind the bad place hold groups that may know it flushed.
        let begun: Vec<u32> = self
            .heads
            .range(wanted..)
            .map(|(_, header)| header.file_number)
            .collect();
        let elsewhere = |number: &u32| *number != self.end.file_number;
        let headless = self.headless.iter().copied().filter(elsewhere);
        for file_number in begun.into_iter().chain(headless) {
            unreadable |= self.search(file_number, 0, &mut found).await;
        }
        found.retain(|header| header.group_number >= wanted);
        found.sort_by_key(|header| header.group_number);
        found.dedup_by_key(|header| header.group_number);
        let known = found
            .iter()
            .map(|header| header.known_flushed)
            .max()
            .unwrap_or(0)
            .max(self.known_flushed);
        if wanted > known && !unreadable {
            self.summary.torn |= !found.is_empty();
            return None;
        }
        self.rotten_files.push(self.end.file_number);
        self.summary.rotten_groups += 1;
        self.known_flushed = known;
        let Some(first) = found.first().copied() else {
            // Flushed groups lie in bytes that cannot be read or named any more: the chain ends, no end is proved.
            self.summary.entries_lost = true;
            return None;
        };
        self.rotten_files.push(first.file_number);
        if first.group_number == wanted {
            if wanted > known {
                self.summary.torn = true;
                return None;
            }
            let bytes = self.read_group(&first).await.unwrap_or_default();
            let group = salvage(&first, &bytes);
            self.summary.entries_lost |= group.damage == Some(GroupDamage::Headers);
            return Some(group);
        }
        // The groups between are lost with header and trailer. The chain goes on at the next one that shows itself.
        self.summary.entries_lost = true;
        let before = ChainEnd {
            group_number: first.group_number - 1,
            checksum: first.previous_checksum,
            file_number: first.file_number,
            position: first.position,
        };
        Some(ReplayGroup {
            group_number: before.group_number,
            end: before,
            entries: Vec::new(),
            damage: Some(GroupDamage::Headers),
        })
    }

    /// Looks for headers in a file from `position` on; says whether some of it could not be read.
    async fn search(
        &self,
        file_number: u32,
        mut position: u64,
        found: &mut Vec<GroupHeader>,
    ) -> bool {
        let Some(file) = self.file(file_number) else {
            return false;
        };
        let mut unreadable = false;
        while position < file.bytes {
            let length = WINDOW_BYTES.min((file.bytes - position) as usize);
            match read_file(file, position, length).await {
                Ok(bytes) if bytes.len() == length => {
                    self.identity.search(&bytes, file.number, position, found)
                }
                _ => unreadable |= self.search_blocks(file, position, length, found).await,
            }
            position += length as u64;
        }
        unreadable
    }

    /// The same block by block, where a long read failed.
    async fn search_blocks(
        &self,
        file: &JournalFile,
        position: u64,
        length: usize,
        found: &mut Vec<GroupHeader>,
    ) -> bool {
        let mut unreadable = false;
        for start in (position..position + length as u64).step_by(BLOCK_BYTES) {
            match read_file(file, start, BLOCK_BYTES).await {
                Ok(bytes) => self.identity.search(&bytes, file.number, start, found),
                Err(_) => unreadable = true,
            }
        }
        unreadable
    }

    fn file(&self, number: u32) -> Option<&'a JournalFile> {
        self.files.iter().find(|file| file.number == number)
    }

    async fn read_group(&mut self, header: &GroupHeader) -> Option<Bytes> {
        let file = self.file(header.file_number)?;
        if header.position + u64::from(header.group_bytes) > file.bytes {
            return None;
        }
        self.read(
            header.file_number,
            header.position,
            header.group_bytes as usize,
        )
        .await
    }

    async fn read_block(&mut self, file_number: u32, position: u64) -> Option<Bytes> {
        self.read(file_number, position, BLOCK_BYTES).await
    }

    /// Bytes through the read-ahead window; `None` where they end or cannot be read.
    async fn read(&mut self, file_number: u32, position: u64, length: usize) -> Option<Bytes> {
        let file = self.file(file_number)?;
        if !self.window.holds(file_number, position, length) {
            self.window.move_to(file_number, position).await;
        }
        if !self.window.holds(file_number, position, length) {
            if position + length as u64 > file.bytes {
                return None;
            }
            let wanted = length
                .max(WINDOW_BYTES)
                .min((file.bytes - position) as usize);
            let bytes = match read_file(file, position, wanted).await {
                Ok(bytes) if bytes.len() == wanted => bytes,
                _ => read_file(file, position, length)
                    .await
                    .ok()
                    .filter(|bytes| bytes.len() == length)?,
            };
            self.window = Window {
                file_number,
                position,
                bytes,
                ahead: None,
            };
        }
        self.window.read_ahead(file).await;
        let start = (position - self.window.position) as usize;
        Some(self.window.bytes.slice(start..start + length))
    }
}

/// An error that is gone the next time must not cost a partition its proof.
async fn read_file(file: &JournalFile, position: u64, length: usize) -> io::Result<Bytes> {
    read_again(|| file.file.read_at(position, length)).await
}
