//! Where decoders write: a growing buffer whose end can be read back for matches.
//!
//! The buffer is filled with zeros a stretch ahead of its length, so that short copies can be done 16 bytes at a
//! time without asking each time how many are really meant.

use super::STEP_BYTES;

/// Bytes that lie behind the room asked for, and may be overwritten with rubbish.
const SLACK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    len: usize,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Room for at least `bytes` more.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.len + bytes;
        if end + SLACK > self.buffer.len() {
            self.grow(end);
        }
        &mut self.buffer[self.len..end]
    }

    /// `bytes` of the room were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.len += bytes;
        debug_assert!(self.len <= self.buffer.len());
    }

    /// Appends `bytes`.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends the first `n <= 16` of 16 bytes.
    #[inline]
    pub(super) fn push_short(&mut self, bytes: &[u8; 16], n: usize) {
        debug_assert!(n <= 16);
        self.room(16).copy_from_slice(bytes);
        self.len += n;
    }

    /// Appends `bytes` that begin `offset` before the end; the copy may run into what it writes.
    /// The caller has checked that `offset` is above zero and not beyond the start.
    #[inline]
    pub(super) fn repeat(&mut self, offset: usize, bytes: usize) {
        debug_assert!(offset > 0 && offset <= self.len);
        self.room(bytes);
        let (from, to) = (self.len - offset, self.len);
        self.len += bytes;
        if offset >= 16 {
            let mut done = 0;
            while done < bytes {
                let mut sixteen = [0; 16];
                sixteen.copy_from_slice(&self.buffer[from + done..from + done + 16]);
                self.buffer[to + done..to + done + 16].copy_from_slice(&sixteen);
                done += 16;
            }
        } else if offset == 1 {
            let byte = self.buffer[from];
            self.buffer[to..to + bytes].fill(byte);
        } else {
            for at in 0..bytes {
                self.buffer[to + at] = self.buffer[from + at];
            }
        }
    }

    /// Drops the first `bytes`.
    pub(super) fn discard(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.len, 0);
        self.len -= bytes;
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        let wanted = (end + SLACK)
            .max(self.buffer.len() + self.buffer.len() / 2)
            .max(self.len + STEP_BYTES / 4);
        self.buffer.resize(wanted, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeating_copies_what_it_has_just_written() {
        for offset in 1..40 {
            for bytes in 0..100 {
                let mut out = Output::default();
                let mut model: Vec<u8> = (0..40).collect();
                out.push(&model);
                out.repeat(offset, bytes);
                for _ in 0..bytes {
                    model.push(model[model.len() - offset]);
                }
                assert_eq!(out.bytes(), model);
            }
        }
    }
}
