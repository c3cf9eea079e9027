//! An open file: reads, writes and flushes that land in parts, fail, or find a bit flipped.
//!
//! Invariant: the lock of a file lasts as long as an operation on it, also when the process is gone.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;

use super::DiskFault;
use super::hardware::{Shared, input_output_error};
use super::media::Inode;
use crate::platform::{BLOCK_BYTES, READ_BYTES_MAX};

/// One `open`: what handles and operations in flight share, and what holds the lock.
pub(super) struct OpenFile {
    pub(super) shared: Rc<Shared>,
    pub(super) inode: Inode,
    pub(super) path: String,
    pub(super) epoch: u64,
    pub(super) writable: bool,
    pub(super) write_through: bool,
    pub(super) locked: Cell<bool>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.epoch == self.shared.epoch.get() {
            self.shared.media.borrow_mut().closed(self.inode);
            if self.locked.get() {
                self.shared.locked.borrow_mut().remove(&self.inode);
            }
        }
    }
}

#[derive(Clone)]
pub(in crate::platform) struct SimFile {
    pub(super) open: Rc<OpenFile>,
}

impl SimFile {
    pub(in crate::platform) async fn write_at(
        &self,
        content: Vec<u8>,
        position: u64,
    ) -> io::Result<()> {
        let open = self.open.clone();
        self.open
            .shared
            .start(async move {
                open.write(content, position).await?;
                if open.write_through {
                    let bound = open.shared.media.borrow().next_sequence();
                    open.flush(bound).await?;
                }
                Ok(())
            })
            .await
    }

    pub(in crate::platform) async fn read_at(
        &self,
        position: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let open = self.open.clone();
        self.open
            .shared
            .start(async move { open.read(position, length).await })
            .await
    }

    pub(in crate::platform) async fn fdatasync(&self) -> io::Result<()> {
        let open = self.open.clone();
        let bound = self.open.shared.media.borrow().next_sequence();
        self.open
            .shared
            .start(async move { open.flush(bound).await })
            .await
    }

    pub(in crate::platform) async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        let open = self.open.clone();
        let operation = async move {
            open.pass_time().await?;
            let allocated = open
                .shared
                .media
                .borrow_mut()
                .allocate(open.inode, position, length);
            open.shared.refused(allocated.map(|()| 0)).map(|_| ())
        };
        self.open.shared.start(operation).await
    }

    pub(in crate::platform) async fn truncate(&self, length: u64) -> io::Result<()> {
        let open = self.open.clone();
        let operation = async move {
            open.check_writable()?;
            open.pass_time().await?;
            open.shared.sim.trace("truncate", &[length]);
            open.shared.media.borrow_mut().truncate(open.inode, length);
            Ok(())
        };
        self.open.shared.start(operation).await
    }

    pub(in crate::platform) fn length(&self) -> io::Result<u64> {
        if self.open.epoch != self.open.shared.epoch.get() {
            return Err(input_output_error());
        }
        Ok(self.open.shared.media.borrow().length(self.open.inode))
    }
}

impl OpenFile {
    async fn pass_time(&self) -> io::Result<()> {
        self.shared.pass_time(self.epoch).await
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EBADF))
        }
    }

    async fn write(&self, content: Vec<u8>, position: u64) -> io::Result<()> {
        let shared = &self.shared;
        self.check_writable()?;
        if self.epoch != shared.epoch.get() {
            return Err(input_output_error());
        }
        let submitted = shared
            .media
            .borrow_mut()
            .submit(self.inode, position, &content);
        let number = shared.refused(submitted)?;
        shared
            .sim
            .trace("submit", &[number, position, content.len() as u64]);
        let fails = shared.write_fails(&self.path);
        let full = shared.planned(DiskFault::Full, &self.path, "disk_full");
        self.pass_time().await?;
        if full {
            shared.media.borrow_mut().withdraw(number);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let blocks = shared.media.borrow().blocks_left(number);
        if fails {
            let landed = shared.sim.random_below(blocks as u64) as usize;
            let mut media = shared.media.borrow_mut();
            media.land(number, landed);
            media.withdraw(number);
            return Err(input_output_error());
        }
        if blocks > 1 && shared.happens(|options| options.short_write, "disk_short_write") {
            let first = 1 + shared.sim.random_below(blocks as u64 - 1) as usize;
            shared.media.borrow_mut().land(number, first);
            self.pass_time().await?;
        }
        shared.sim.trace("land", &[number]);
        shared.media.borrow_mut().land(number, usize::MAX);
        Ok(())
    }

    async fn read(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let shared = &self.shared;
        if self.epoch != shared.epoch.get() {
            return Err(input_output_error());
        }
        let end = shared
            .media
            .borrow()
            .length(self.inode)
            .min(position.saturating_add(length as u64));
        let mut content = Vec::new();
        let mut next = position;
        while next < end {
            let mut to = end.min(next - next % BLOCK_BYTES as u64 + READ_BYTES_MAX as u64);
            if to - next > BLOCK_BYTES as u64
                && shared.happens(|options| options.short_read, "disk_short_read")
            {
                to = next + 1 + shared.sim.random_below(to - next - 1);
            }
            let fails = shared.read_fails(&self.path);
            self.pass_time().await?;
            if fails {
                return Err(input_output_error());
            }
            if shared.happens(|options| options.bit_rot, "disk_bit_rot") {
                let (at, bit) = (
                    next + shared.sim.random_below(to - next),
                    shared.sim.random_below(8),
                );
                shared.media.borrow_mut().rot(self.inode, at, 1 << bit);
            }
            let piece = shared.media.borrow().read(self.inode, next, to);
            content.extend_from_slice(&piece);
            if (piece.len() as u64) < to - next {
                break; // The file was cut short meanwhile.
            }
            next = to;
        }
        shared
            .sim
            .trace("read_file", &[position, content.len() as u64]);
        Ok(Bytes::from(content))
    }

    async fn flush(&self, bound: u64) -> io::Result<()> {
        let shared = &self.shared;
        let fails = shared.flush_fails(&self.path);
        self.pass_time().await?;
        shared.sim.trace("flush", &[bound, u64::from(fails)]);
        let mut media = shared.media.borrow_mut();
        if fails {
            media.lose(self.inode, bound);
            return Err(input_output_error());
        }
        media.flush(self.inode, bound);
        Ok(())
    }
}
