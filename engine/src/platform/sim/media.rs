//! What lies on the simulated disk: the state programs see, the state a power cut leaves, and the changes between.
//!
//! A plain struct without time or tasks. A file is a durable image and an ordered list of pending changes (blocks
//! and lengths); names are likewise durable or pending. A flush promotes a file's pending changes, a directory's
//! flush the names in it; a power cut keeps of the rest what [`CutMode`] says, block contents by 512-byte sectors.
//!
//! Invariant: applying all pending changes, in order, to the durable state gives the current state.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use net::platform::sim::SimHandle;

use super::cut::{Cut, CutMode, CutReport};
use super::image::{Block, Change, Image, Pending, apply};
use crate::platform::{BLOCK_BYTES, DirectoryEntry};

/// A file or directory, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(u64);

const ROOT: Inode = Inode(0);

#[derive(Default)]
pub(super) struct FileState {
    pub(super) current: Image,
    pub(super) durable: Image,
    pub(super) pending: Vec<Pending<Change>>,
    allocated: BTreeSet<u64>,
    open: usize,
    linked: bool,
}

/// A name goes, comes, or moves.
struct NameChange {
    inode: Inode,
    from: Option<(Inode, String)>,
    to: Option<(Inode, String)>,
}

type Directories = BTreeMap<Inode, BTreeMap<String, Inode>>;

struct Submitted {
    inode: Inode,
    first_block: u64,
    blocks: Vec<Rc<Block>>,
}

pub(super) struct Media {
    pub(super) files: BTreeMap<Inode, FileState>,
    current: Directories,
    durable: Directories,
    pending_names: Vec<Pending<NameChange>>,
    /// Writes the device has but has not answered.
    in_flight: BTreeMap<u64, Submitted>,
    next_inode: u64,
    next_sequence: u64,
    pub(super) quota_bytes: Option<u64>,
}

impl Media {
    pub(super) fn new() -> Self {
        let root = BTreeMap::from([(ROOT, BTreeMap::new())]);
        Media {
            files: BTreeMap::new(),
            current: root.clone(),
            durable: root,
            pending_names: Vec::new(),
            in_flight: BTreeMap::new(),
            next_inode: 1,
            next_sequence: 1,
            quota_bytes: None,
        }
    }

    /// Changes made from now on have this number or a higher one.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    // Names.

    pub(super) fn lookup(&self, path: &str) -> io::Result<Inode> {
        let mut at = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let directory = self.current.get(&at).ok_or(io::ErrorKind::NotADirectory)?;
            at = *directory.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn parent<'a>(&self, path: &'a str) -> io::Result<(Inode, &'a str)> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let directory = self.lookup(directory)?;
        if !self.current.contains_key(&directory) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((directory, name))
    }

    pub(super) fn lookup_file(&self, path: &str) -> io::Result<Inode> {
        let inode = self.lookup(path)?;
        if self.files.contains_key(&inode) {
            Ok(inode)
        } else {
            Err(io::ErrorKind::IsADirectory.into())
        }
    }

    pub(super) fn create_file(&mut self, path: &str) -> io::Result<Inode> {
        let (directory, name) = self.parent(path)?;
        let inode = self.new_inode();
        self.files.insert(
            inode,
            FileState {
                linked: true,
                ..FileState::default()
            },
        );
        self.change_name(NameChange {
            inode,
            from: None,
            to: Some((directory, name.into())),
        });
        Ok(inode)
    }

    pub(super) fn create_directory(&mut self, path: &str) -> io::Result<()> {
        match self.lookup(path) {
            Ok(inode) if self.current.contains_key(&inode) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let (directory, name) = self.parent(path)?;
        let inode = self.new_inode();
        self.current.insert(inode, BTreeMap::new());
        self.durable.insert(inode, BTreeMap::new());
        self.change_name(NameChange {
            inode,
            from: None,
            to: Some((directory, name.into())),
        });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from_directory, from_name) = self.parent(from)?;
        let (to_directory, to_name) = self.parent(to)?;
        let inode = self.lookup(from)?;
        let replaced = self.current[&to_directory].get(to_name).copied();
        if replaced == Some(inode) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            match (
                self.current.get(&replaced),
                self.current.contains_key(&inode),
            ) {
                (None, false) => {}
                (None, true) => return Err(io::ErrorKind::NotADirectory.into()),
                (Some(_), false) => return Err(io::ErrorKind::IsADirectory.into()),
                (Some(entries), true) if entries.is_empty() => {}
                (Some(_), true) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            }
            self.unlink(replaced);
        }
        let from = Some((from_directory, from_name.into()));
        self.change_name(NameChange {
            inode,
            from,
            to: Some((to_directory, to_name.into())),
        });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &str) -> io::Result<()> {
        let inode = self.lookup_file(path)?;
        let (directory, name) = self.parent(path)?;
        self.unlink(inode);
        self.change_name(NameChange {
            inode,
            from: Some((directory, name.into())),
            to: None,
        });
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &str) -> io::Result<()> {
        let inode = self.lookup(path)?;
        let (directory, name) = self.parent(path)?;
        match self.current.get(&inode) {
            None => return Err(io::ErrorKind::NotADirectory.into()),
            Some(entries) if !entries.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Some(_) => {}
        }
        self.change_name(NameChange {
            inode,
            from: Some((directory, name.into())),
            to: None,
        });
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<DirectoryEntry>> {
        let inode = self.lookup(path)?;
        let entries = self
            .current
            .get(&inode)
            .ok_or(io::ErrorKind::NotADirectory)?;
        let entry = |(name, inode): (&String, &Inode)| {
            let file = self.files.get(inode);
            let length = file.map_or(0, |file| file.current.length);
            DirectoryEntry {
                name: name.clone(),
                is_directory: file.is_none(),
                length,
            }
        };
        Ok(entries.iter().map(entry).collect())
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        let inode = self.lookup(path)?;
        if !self.current.contains_key(&inode) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let touches = |place: &Option<(Inode, String)>| {
            place
                .as_ref()
                .is_some_and(|(directory, _)| *directory == inode)
        };
        // Latest first: a change takes along the earlier ones of the same file.
        let mut moved = BTreeSet::new();
        for pending in self.pending_names.iter_mut().rev() {
            let change = &pending.change;
            if touches(&change.from) || touches(&change.to) || moved.contains(&change.inode) {
                moved.insert(change.inode);
                pending.written_back = true;
            }
        }
        self.flush_device();
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.current, &change);
        let sequence = self.new_sequence();
        self.pending_names.push(Pending {
            sequence,
            written_back: false,
            change,
        });
    }

    fn unlink(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.linked = false;
        }
    }

    fn new_inode(&mut self) -> Inode {
        self.next_inode += 1;
        Inode(self.next_inode)
    }

    fn new_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    // Files.

    pub(super) fn opened(&mut self, inode: Inode) {
        self.file_mut(inode).open += 1;
    }

    pub(super) fn closed(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.open -= 1;
        }
    }

    pub(super) fn length(&self, inode: Inode) -> u64 {
        self.files[&inode].current.length
    }

    pub(super) fn allocated_bytes(&self, inode: Inode) -> u64 {
        self.files[&inode].allocated.len() as u64 * BLOCK_BYTES as u64
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let held = self
            .files
            .values()
            .filter(|file| file.linked || file.open > 0);
        held.map(|file| file.allocated.len() as u64 * BLOCK_BYTES as u64)
            .sum()
    }

    /// Takes the space of a byte range from the quota, or refuses.
    pub(super) fn allocate(&mut self, inode: Inode, position: u64, length: u64) -> io::Result<()> {
        let blocks =
            position / BLOCK_BYTES as u64..(position + length).div_ceil(BLOCK_BYTES as u64);
        let file = &self.files[&inode];
        let missing: Vec<u64> = blocks
            .filter(|block| !file.allocated.contains(block))
            .collect();
        if let Some(quota) = self.quota_bytes
            && !missing.is_empty()
            && self.used_bytes() + missing.len() as u64 * BLOCK_BYTES as u64 > quota
        {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.file_mut(inode).allocated.extend(missing);
        Ok(())
    }

    /// The device takes a write of whole blocks; it may land, in part or whole, until it is completed.
    pub(super) fn submit(
        &mut self,
        inode: Inode,
        position: u64,
        content: &[u8],
    ) -> io::Result<u64> {
        self.allocate(inode, position, content.len() as u64)?;
        let blocks = content
            .chunks_exact(BLOCK_BYTES)
            .map(|block| Rc::new(Block::try_from(block).expect("the chunk is a block long")))
            .collect();
        let number = self.new_sequence();
        self.in_flight.insert(
            number,
            Submitted {
                inode,
                first_block: position / BLOCK_BYTES as u64,
                blocks,
            },
        );
        Ok(number)
    }

    /// The first `count` blocks left of a write land; true when none is left.
    pub(super) fn land(&mut self, number: u64, count: usize) -> bool {
        let Some(mut write) = self.in_flight.remove(&number) else {
            return true;
        };
        let rest = write.blocks.split_off(count.min(write.blocks.len()));
        let landed = write.blocks.len() as u64;
        for (block, content) in (write.first_block..).zip(write.blocks) {
            self.change(write.inode, Change::Block(block, content));
        }
        let end = (write.first_block + landed) * BLOCK_BYTES as u64;
        if landed > 0 && self.length(write.inode) < end {
            self.change(write.inode, Change::Length(end));
        }
        if rest.is_empty() {
            return true;
        }
        let first_block = write.first_block + landed;
        self.in_flight.insert(
            number,
            Submitted {
                inode: write.inode,
                first_block,
                blocks: rest,
            },
        );
        false
    }

    /// A write fails; what has not landed never will.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.in_flight.remove(&number);
    }

    pub(super) fn blocks_left(&self, number: u64) -> usize {
        self.in_flight
            .get(&number)
            .map_or(0, |write| write.blocks.len())
    }

    pub(super) fn truncate(&mut self, inode: Inode, length: u64) {
        self.change(inode, Change::Length(length));
        let kept = length.div_ceil(BLOCK_BYTES as u64);
        self.file_mut(inode).allocated.retain(|block| *block < kept);
    }

    pub(super) fn read(&self, inode: Inode, from: u64, to: u64) -> Vec<u8> {
        let file = &self.files[&inode].current;
        let to = to.min(file.length);
        let mut content = vec![0; to.saturating_sub(from) as usize];
        let mut at = from;
        while at < to {
            let (block, offset) = (at / BLOCK_BYTES as u64, (at % BLOCK_BYTES as u64) as usize);
            let count = (BLOCK_BYTES - offset).min((to - at) as usize);
            if let Some(bytes) = file.blocks.get(&block) {
                content[(at - from) as usize..][..count]
                    .copy_from_slice(&bytes[offset..offset + count]);
            }
            at += count as u64;
        }
        content
    }

    /// A flush of the file succeeds: its changes before `bound`, and all the device has, are durable.
    pub(super) fn flush(&mut self, inode: Inode, bound: u64) {
        for pending in &mut self.file_mut(inode).pending {
            pending.written_back |= pending.sequence < bound;
        }
        self.flush_device();
    }

    /// A flush of the file fails: its block contents before `bound` count as clean and will never be written.
    pub(super) fn lose(&mut self, inode: Inode, bound: u64) {
        let pending = &mut self.file_mut(inode).pending;
        pending.retain(|pending| {
            pending.sequence >= bound || matches!(pending.change, Change::Length(_))
        });
    }

    /// `syncfs`: everything before `bound` reaches the device's cache.
    pub(super) fn write_back(&mut self, bound: u64) {
        for pending in self.files.values_mut().flat_map(|file| &mut file.pending) {
            pending.written_back |= pending.sequence < bound;
        }
        for pending in &mut self.pending_names {
            pending.written_back |= pending.sequence < bound;
        }
    }

    /// The device makes durable what it has.
    pub(super) fn flush_device(&mut self) {
        for file in self.files.values_mut() {
            for pending in file.pending.extract_if(.., |pending| pending.written_back) {
                apply(&mut file.durable, &pending.change);
            }
        }
        let flushed: Vec<_> = self
            .pending_names
            .extract_if(.., |pending| pending.written_back)
            .collect();
        for pending in flushed {
            apply_name(&mut self.durable, &pending.change);
        }
    }

    /// Flips bits of one byte, durably, as an aging medium does. False beyond the end.
    pub(super) fn rot(&mut self, inode: Inode, position: u64, mask: u8) -> bool {
        let file = self.file_mut(inode);
        if position >= file.current.length {
            return false;
        }
        let (block, offset) = (
            position / BLOCK_BYTES as u64,
            (position % BLOCK_BYTES as u64) as usize,
        );
        for image in [&mut file.current, &mut file.durable] {
            let content = image
                .blocks
                .entry(block)
                .or_insert_with(|| Rc::new([0; BLOCK_BYTES]));
            Rc::make_mut(content)[offset] ^= mask;
        }
        for pending in &mut file.pending {
            if let Change::Block(number, content) = &mut pending.change
                && *number == block
            {
                Rc::make_mut(content)[offset] ^= mask;
            }
        }
        true
    }

    fn change(&mut self, inode: Inode, change: Change) {
        let sequence = self.new_sequence();
        // The file may be gone from every directory; its writes land nowhere then.
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        apply(&mut file.current, &change);
        file.pending.push(Pending {
            sequence,
            written_back: false,
            change,
        });
    }

    fn file_mut(&mut self, inode: Inode) -> &mut FileState {
        self.files
            .get_mut(&inode)
            .expect("an inode that was looked up stays until a power cut")
    }

    // Power.

    /// Takes the power away and gives it back: the current state becomes what survived.
    pub(super) fn cut(&mut self, mode: CutMode, random: &SimHandle) -> CutReport {
        for (number, write) in std::mem::take(&mut self.in_flight) {
            let end = (write.first_block + write.blocks.len() as u64) * BLOCK_BYTES as u64;
            let Some(file) = self.files.get_mut(&write.inode) else {
                continue;
            };
            let pending = |change| Pending {
                sequence: number,
                written_back: false,
                change,
            };
            let blocks = (write.first_block..).zip(write.blocks);
            file.pending
                .extend(blocks.map(|(block, content)| pending(Change::Block(block, content))));
            if file.current.length < end {
                file.pending.push(pending(Change::Length(end)));
            }
        }
        let mut cut = Cut::new(mode, random, self);
        let names = std::mem::take(&mut self.pending_names);
        let kept = cut.prefix(&names);
        cut.report.names_lost += (names.len() - kept) as u64;
        for pending in &names[..kept] {
            apply_name(&mut self.durable, &pending.change);
        }
        for file in self.files.values_mut() {
            cut.cut_file(file);
        }
        let report = cut.report;
        self.forget_unreachable();
        report
    }

    /// What no durable name leads to is gone after a cut.
    fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut directories = vec![ROOT];
        while let Some(directory) = directories.pop() {
            for inode in self
                .durable
                .get(&directory)
                .into_iter()
                .flat_map(BTreeMap::values)
            {
                if reachable.insert(*inode) {
                    directories.push(*inode);
                }
            }
        }
        self.durable.retain(|inode, _| reachable.contains(inode));
        self.files.retain(|inode, _| reachable.contains(inode));
        for file in self.files.values_mut() {
            file.linked = true;
            file.open = 0;
        }
        self.current = self.durable.clone();
    }
}

fn apply_name(directories: &mut Directories, change: &NameChange) {
    if let Some((directory, name)) = &change.from
        && let Some(entries) = directories.get_mut(directory)
        && entries.get(name) == Some(&change.inode)
    {
        entries.remove(name);
    }
    if let Some((directory, name)) = &change.to
        && let Some(entries) = directories.get_mut(directory)
    {
        entries.insert(name.clone(), change.inode);
    }
}
