//! What a power cut does to changes that were not flushed.
//!
//! Block contents survive by 512-byte sectors, each on its own; lengths and names survive in the order in which the
//! file system made them. Plain functions over [`Media`]'s state; chance comes from the simulation's seed.

use std::rc::Rc;

use net::platform::sim::SimHandle;

use super::image::{Block, Change, Image, Pending, apply, zero_tail};
use super::media::{FileState, Media};
use crate::platform::BLOCK_BYTES;

const SECTOR_BYTES: usize = 512;
const SECTORS: usize = BLOCK_BYTES / SECTOR_BYTES;

/// What a power cut keeps of the changes that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CutMode {
    /// Each sector with this probability, and of lengths and names a random number of the earliest (0: nothing
    /// survives, 1: everything does).
    Random(f64),
    /// This fraction of the sectors, the earliest written, and the lengths and names from before.
    Earliest(f64),
    /// This fraction of the sectors, the latest written, with all lengths and names: a disk that reorders.
    Latest(f64),
}

/// What a cut did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CutReport {
    /// Pending sectors that survived.
    pub sectors_kept: u64,
    /// Pending sectors that did not.
    pub sectors_lost: u64,
    /// Blocks of which some sectors survived and some did not.
    pub blocks_torn: u64,
    /// Creations, renames and removals undone.
    pub names_lost: u64,
    /// Changes of a file's length undone.
    pub lengths_lost: u64,
}

/// A cut under way.
pub(super) struct Cut<'a> {
    mode: CutMode,
    random: &'a SimHandle,
    /// Where the order of writing decides: the numbers of the first and the last change that survive.
    survivors: std::ops::RangeInclusive<u64>,
    pub(super) report: CutReport,
}

impl<'a> Cut<'a> {
    pub(super) fn new(mode: CutMode, random: &'a SimHandle, media: &Media) -> Self {
        let mut blocks: Vec<u64> = media
            .files
            .values()
            .flat_map(|file| &file.pending)
            .filter(|pending| matches!(pending.change, Change::Block(..)))
            .map(|pending| pending.sequence)
            .collect();
        blocks.sort_unstable();
        let count = |fraction: f64| (blocks.len() as f64 * fraction).round() as usize;
        let survivors = match mode {
            CutMode::Random(_) => 0..=u64::MAX,
            CutMode::Earliest(fraction) if count(fraction) == blocks.len() => 0..=u64::MAX,
            CutMode::Earliest(fraction) => {
                0..=count(fraction)
                    .checked_sub(1)
                    .map_or(0, |last| blocks[last])
            }
            CutMode::Latest(fraction) => {
                blocks
                    .len()
                    .checked_sub(count(fraction))
                    .and_then(|first| blocks.get(first))
                    .copied()
                    .unwrap_or(u64::MAX)..=u64::MAX
            }
        };
        Cut {
            mode,
            random,
            survivors,
            report: CutReport::default(),
        }
    }

    /// How many of these changes, which the file system makes in order, survive.
    pub(super) fn prefix<T>(&self, changes: &[Pending<T>]) -> usize {
        match self.mode {
            CutMode::Random(probability) if probability <= 0.0 => 0,
            CutMode::Random(probability) if probability < 1.0 => {
                self.random.random_below(changes.len() as u64 + 1) as usize
            }
            CutMode::Random(_) | CutMode::Latest(_) => changes.len(),
            CutMode::Earliest(_) => changes
                .iter()
                .filter(|pending| self.survivors.contains(&pending.sequence))
                .count(),
        }
    }

    pub(super) fn cut_file(&mut self, file: &mut FileState) {
        let pending = std::mem::take(&mut file.pending);
        let (lengths, blocks): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|pending| matches!(pending.change, Change::Length(_)));
        let kept = self.prefix(&lengths);
        self.report.lengths_lost += (lengths.len() - kept) as u64;
        let mut changes = blocks;
        changes.extend(lengths.into_iter().take(kept));
        changes.sort_by_key(|pending| pending.sequence);
        for pending in changes {
            match &pending.change {
                Change::Length(_) => apply(&mut file.durable, &pending.change),
                Change::Block(block, content) => {
                    self.cut_block(&mut file.durable, *block, content, pending.sequence)
                }
            }
        }
        let end = file.durable.length.div_ceil(BLOCK_BYTES as u64);
        file.durable.blocks.retain(|block, _| *block < end);
        zero_tail(&mut file.durable);
        file.current = file.durable.clone();
    }

    fn cut_block(&mut self, durable: &mut Image, block: u64, content: &Block, sequence: u64) {
        let mut kept = 0;
        for sector in 0..SECTORS {
            let survives = match self.mode {
                CutMode::Random(probability) => self.random.random_chance(probability),
                CutMode::Earliest(_) | CutMode::Latest(_) => self.survivors.contains(&sequence),
            };
            if survives {
                kept += 1;
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                let old = durable
                    .blocks
                    .entry(block)
                    .or_insert_with(|| Rc::new([0; BLOCK_BYTES]));
                Rc::make_mut(old)[range.clone()].copy_from_slice(&content[range]);
            }
        }
        self.report.sectors_kept += kept as u64;
        self.report.sectors_lost += (SECTORS - kept) as u64;
        self.report.blocks_torn += u64::from(kept > 0 && kept < SECTORS);
    }
}
