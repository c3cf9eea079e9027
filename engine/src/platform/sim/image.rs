//! A file's content, durable or as programs see it, and the changes that lead from one to the other. Plain values.
//!
//! Invariant: an image holds no block beyond its length, and its last block's bytes beyond it are zeros.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::platform::BLOCK_BYTES;

pub(super) type Block = [u8; BLOCK_BYTES];

#[derive(Default, Clone)]
pub(super) struct Image {
    pub(super) blocks: BTreeMap<u64, Rc<Block>>,
    pub(super) length: u64,
}

pub(super) struct Pending<T> {
    pub(super) sequence: u64,
    /// It reached the device's cache (`syncfs`); the next flush of the device takes it along.
    pub(super) written_back: bool,
    pub(super) change: T,
}

pub(super) enum Change {
    Block(u64, Rc<Block>),
    Length(u64),
}

pub(super) fn apply(image: &mut Image, change: &Change) {
    match change {
        Change::Block(block, content) => {
            image.blocks.insert(*block, content.clone());
        }
        Change::Length(length) => {
            if *length < image.length {
                image
                    .blocks
                    .retain(|block, _| *block < length.div_ceil(BLOCK_BYTES as u64));
            }
            image.length = *length;
            zero_tail(image);
        }
    }
}

/// Bytes of the last block beyond the end read as zeros should the file grow again.
pub(super) fn zero_tail(image: &mut Image) {
    let used = (image.length % BLOCK_BYTES as u64) as usize;
    if used > 0
        && let Some(last) = image.blocks.get_mut(&(image.length / BLOCK_BYTES as u64))
    {
        Rc::make_mut(last)[used..].fill(0);
    }
}
