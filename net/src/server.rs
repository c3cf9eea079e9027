//! The server's end of a connection: length-prefixed frames in, chains of slices out.
//!
//! Owns the receive buffer of one connection and the budget of received bytes of one executor. Invariant: memory
//! follows the bytes that arrived, never the length that was announced (RELIABILITY N1), and a budget that is
//! spent still lets one request after the other through (DESIGN §6).

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::platform::{ReadHalf, WriteHalf};

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;
/// The smallest and largest read of a connection that is between frames.
const CHUNK_BYTES_MIN: usize = 4 * 1024;
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// How many times the bytes that arrived a receive buffer may have, once a whole chunk did.
const TRUST_TIMES: usize = 16;
/// The largest piece of an answer handed to the socket at once, so that a slow reader is noticed.
pub const WRITE_PIECE_BYTES: usize = 256 * 1024;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is negative or above the limit.
    #[error("frame length {0} is outside 0 to {1}")]
    Length(i32, usize),
    /// The other end closed within a frame.
    #[error("the connection closed within a frame")]
    Truncated,
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// The bytes that requests of one executor's connections may hold together. Cheap to clone.
#[derive(Clone)]
pub struct ReceiveBudget {
    inner: Rc<BudgetInner>,
}

struct BudgetInner {
    bytes_max: usize,
    used: Cell<usize>,
    overflow_taken: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
}

impl ReceiveBudget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> ReceiveBudget {
        ReceiveBudget {
            inner: Rc::new(BudgetInner {
                bytes_max,
                used: Cell::new(0),
                overflow_taken: Cell::new(false),
                waiters: RefCell::default(),
            }),
        }
    }
    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.inner.used.get()
    }
    /// A permit that holds nothing yet.
    pub fn permit(&self) -> ReceivePermit {
        ReceivePermit {
            budget: self.inner.clone(),
            bytes: 0,
            overflow: false,
        }
    }
}

/// A request's share of a [`ReceiveBudget`]; given back on drop.
pub struct ReceivePermit {
    budget: Rc<BudgetInner>,
    bytes: usize,
    /// Whether this is the one request that may exceed the budget.
    overflow: bool,
}

impl ReceivePermit {
    /// Raises the share to `bytes`. Waits while the budget is spent and another request already exceeds it.
    pub async fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return;
        }
        poll_fn(|context| {
            let budget = &self.budget;
            if budget.used.get() + more > budget.bytes_max && !self.overflow {
                if budget.overflow_taken.get() {
                    budget.waiters.borrow_mut().push(context.waker().clone());
                    return Poll::Pending;
                }
                budget.overflow_taken.set(true);
                self.overflow = true;
            }
            budget.used.set(budget.used.get() + more);
            self.bytes += more;
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for ReceivePermit {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        if self.overflow {
            self.budget.overflow_taken.set(false);
        }
        let waiters = std::mem::take(&mut *self.budget.waiters.borrow_mut());
        for waiter in waiters {
            waiter.wake();
        }
    }
}

/// One received frame without its length, and its share of the budget.
pub struct Frame {
    /// The bytes behind the length.
    pub bytes: Bytes,
    /// Held until the request is answered.
    pub permit: ReceivePermit,
}

/// Cuts the byte stream of one connection into frames.
pub struct FrameReader {
    half: ReadHalf,
    /// What came from the socket and is not handed out yet; the capacity behind it is for what comes next.
    buffer: BytesMut,
    chunk_bytes: usize,
    frame_bytes_max: usize,
    progress: Rc<ReceiveProgress>,
}

/// How a [`FrameReader`] gets on, for somebody who watches over deadlines.
#[derive(Debug, Default)]
pub struct ReceiveProgress {
    bytes: Cell<u64>,
    within_frame: Cell<bool>,
}

impl ReceiveProgress {
    /// Bytes received so far, if a frame has begun and the peer is to send more of it.
    pub fn unfinished(&self) -> Option<u64> {
        self.within_frame.get().then(|| self.bytes.get())
    }
}

impl FrameReader {
    /// Reads frames of at most `frame_bytes_max` bytes from `half`.
    pub fn new(half: ReadHalf, frame_bytes_max: usize) -> FrameReader {
        FrameReader {
            half,
            buffer: BytesMut::new(),
            chunk_bytes: CHUNK_BYTES_MIN,
            frame_bytes_max,
            progress: Rc::default(),
        }
    }

    /// How it gets on; shared, so that it can be looked at while the reader waits.
    pub fn progress(&self) -> Rc<ReceiveProgress> {
        self.progress.clone()
    }

    /// The next frame; `None` when the other end closed between frames.
    pub async fn next(&mut self, budget: &ReceiveBudget) -> Result<Option<Frame>, FrameError> {
        while self.buffer.len() < LENGTH_BYTES {
            if self.buffer.capacity() < LENGTH_BYTES || self.is_full() {
                self.grow(self.chunk_bytes);
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            }
        }
        let announced =
            i32::from_be_bytes(self.buffer[..LENGTH_BYTES].try_into().expect("four bytes"));
        let length = usize::try_from(announced)
            .ok()
            .filter(|length| *length <= self.frame_bytes_max);
        let length = length.ok_or(FrameError::Length(announced, self.frame_bytes_max))?;
        let total = LENGTH_BYTES + length;
        let mut permit = budget.permit();
        while self.buffer.len() < total {
            if self.is_full() || (self.buffer.capacity() < total && total <= CHUNK_BYTES_MAX) {
                let earned = match self.buffer.len() {
                    filled if filled < CHUNK_BYTES_MAX => CHUNK_BYTES_MAX,
                    filled => filled.saturating_mul(TRUST_TIMES),
                };
                let trusted = total.min(earned);
                permit.grow_to(trusted).await;
                self.grow(if total < CHUNK_BYTES_MAX {
                    trusted.max(self.chunk_bytes)
                } else {
                    trusted
                });
            }
            // Waiting for the budget is our own doing; only waiting for the peer counts against it.
            self.progress.within_frame.set(true);
            let more = self.fill().await;
            self.progress.within_frame.set(false);
            if !more? {
                return Err(FrameError::Truncated);
            }
        }
        permit.grow_to(total).await;
        let mut bytes = self.buffer.split_to(total);
        let bytes = bytes.split_off(LENGTH_BYTES).freeze();
        Ok(Some(Frame { bytes, permit }))
    }

    fn is_full(&self) -> bool {
        self.buffer.len() == self.buffer.capacity()
    }

    /// Replaces the buffer by one of `length` bytes with the same content.
    fn grow(&mut self, length: usize) {
        let mut larger = BytesMut::with_capacity(length.max(self.buffer.len()));
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
    }

    /// One read from the socket; false when the other end closed.
    async fn fill(&mut self) -> io::Result<bool> {
        let room = self.buffer.capacity() - self.buffer.len();
        let count = self.half.read_into(&mut self.buffer).await?;
        self.progress
            .bytes
            .set(self.progress.bytes.get() + count as u64);
        if count == room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if count < self.chunk_bytes / 4 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
        Ok(count > 0)
    }
}

/// Writes the slices in pieces of about [`WRITE_PIECE_BYTES`]; `progress` is called after each.
pub async fn write_chain(
    half: &mut WriteHalf,
    chain: &[Bytes],
    mut progress: impl FnMut(),
) -> io::Result<()> {
    let mut piece: Vec<Bytes> = Vec::with_capacity(chain.len().min(64));
    let mut piece_bytes = 0;
    for slice in chain {
        let mut slice = slice.clone();
        while !slice.is_empty() {
            let part = slice.split_to(slice.len().min(WRITE_PIECE_BYTES - piece_bytes));
            piece_bytes += part.len();
            piece.push(part);
            if piece_bytes == WRITE_PIECE_BYTES || piece.len() == 64 {
                half.write_all(&piece).await?;
                progress();
                piece.clear();
                piece_bytes = 0;
            }
        }
    }
    if !piece.is_empty() {
        half.write_all(&piece).await?;
        progress();
    }
    Ok(())
}
