//! The two values that messages hold by reference: record bytes and unknown tagged fields. Any core.

use bytes::Bytes;

/// Record batches inside a message, not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records<'a> {
    /// A slice of the received frame (turn it into shared bytes with `frame.slice_ref(slice)`).
    Borrowed(&'a [u8]),
    /// Shared slices, written to the socket one after the other without being copied together.
    Chain(Vec<Bytes>),
}

impl Records<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Borrowed(slice) => slice.len(),
            Self::Chain(chain) => chain.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one vector (copies).
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Borrowed(slice) => slice.to_vec(),
            Self::Chain(chain) => chain.concat(),
        }
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Chain(vec![bytes])
    }
}

/// A tagged field that this version of the message does not know; kept and written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTaggedField<'a> {
    /// Tag number.
    pub tag: u32,
    /// Content, without tag and length.
    pub data: &'a [u8],
}
