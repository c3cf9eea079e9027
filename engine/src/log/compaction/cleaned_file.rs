//! Writes a cleaned segment beside the old ones: the log in aligned pieces, its sidecar and Kafka's indexes at the end.
//! On the shard's core.
//!
//! Invariant: nothing here is seen by a reader; the file is exact and flushed when [`CleanedFile::finish`] returns, so
//! that a swap may be written down.

use std::io;

use net::records::BatchHeader;

use super::swap_files::cleaned_path;
use crate::log::batch::PREFIX_BYTES;
use crate::log::index::{IndexBuilder, RUN_INTERVAL_BYTES, SIDECAR_EXTENSION, SegmentIndex};
use crate::log::kafka_files::{
    encode_offset_index, encode_time_index, encode_transaction_index, kafka_indexes,
};
use crate::log::segment::{SEGMENT_BYTES_LIMIT, SegmentInfo};
use crate::log::storage_shard::Shard;
use crate::log::transactions::AbortedTransaction;
use crate::platform::{AlignedBuffer, File, OpenMode};
use crate::types::Offset;

/// A segment being written.
pub(crate) struct CleanedFile<'a> {
    shard: &'a Shard,
    directory: &'a str,
    file: File,
    buffer: AlignedBuffer,
    filled: usize,
    /// Where the buffer goes.
    position: u64,
    index: IndexBuilder,
    info: SegmentInfo,
}

/// A segment that is written and flushed.
pub(crate) struct CleanedSegment {
    pub(crate) info: SegmentInfo,
    pub(crate) index: SegmentIndex,
}

impl<'a> CleanedFile<'a> {
    /// Begins with an empty file.
    pub(crate) async fn create(
        shard: &'a Shard,
        directory: &'a str,
        base: Offset,
        created_ms: i64,
    ) -> io::Result<CleanedFile<'a>> {
        let path = cleaned_path(directory, base, "log");
        let file = shard.disk.open(&path, OpenMode::Create).await?;
        Ok(CleanedFile {
            shard,
            directory,
            file,
            buffer: shard
                .disk
                .allocate_buffer(shard.cleaner_settings.get().chunk_bytes()),
            filled: 0,
            position: 0,
            index: IndexBuilder::new(base, created_ms, RUN_INTERVAL_BYTES),
            info: SegmentInfo::empty(base, created_ms),
        })
    }

    /// Bytes so far.
    pub(crate) fn size(&self) -> u32 {
        self.info.size
    }

    /// Adds a batch; `newest` is the greatest timestamp of its records and the first record that has it.
    pub(crate) async fn push(&mut self, batch: &[u8], newest: (i64, Offset)) -> io::Result<()> {
        let header = BatchHeader::parse(batch).expect("only whole batches are written");
        if u64::from(self.info.size) + batch.len() as u64 > u64::from(SEGMENT_BYTES_LIMIT) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let prefix: &[u8; PREFIX_BYTES] = batch
            .first_chunk()
            .expect("a batch is longer than its prefix");
        self.index.push(prefix, &header);
        self.info.append(batch.len() as u32, newest.0, newest.1);
        let mut rest = batch;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.buffer.len() - self.filled));
            self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            if self.filled == self.buffer.len() {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Writes what is in the buffer, which is full or the end.
    async fn write(&mut self) -> io::Result<()> {
        let free = self.shard.disk.free_bytes().await?;
        if free < self.filled as u64 + self.shard.settings.reserve_bytes {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let mut full = self.shard.disk.allocate_buffer(self.filled);
        full[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        self.file.write_at(full, self.position).await?;
        self.position += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes the rest and everything beside the log; all of it is durable when this returns.
    pub(crate) async fn finish(
        mut self,
        aborted: &[AbortedTransaction],
    ) -> io::Result<CleanedSegment> {
        if self.filled > 0 {
            self.write().await?;
        }
        self.file.truncate(u64::from(self.info.size)).await?;
        if let Err(error) = self.file.fdatasync().await {
            // A flush that failed may have dropped other files' writes, and only this one was told.
            if !crate::log::admission::is_out_of_space(&error) {
                let cause = format!("flushing a cleaned segment of {}: {error}", self.directory);
                self.shard.journal.poison_with(&cause);
            }
            return Err(error);
        }
        let base = self.info.base_offset;
        let path = |extension| cleaned_path(self.directory, base, extension);
        let disk = &self.shard.disk;
        disk.write_small(&path(SIDECAR_EXTENSION), &self.index.encode())
            .await?;
        let index = SegmentIndex::Building(self.index);
        let (offsets, times) = kafka_indexes(&index);
        disk.write_small(&path("index"), &encode_offset_index(base, &offsets))
            .await?;
        disk.write_small(&path("timeindex"), &encode_time_index(base, &times))
            .await?;
        if !aborted.is_empty() {
            let file = encode_transaction_index(aborted);
            disk.write_small(&path("txnindex"), &file).await?;
        }
        // The log's own directory entry, too.
        disk.sync_directory(self.directory).await?;
        Ok(CleanedSegment {
            info: self.info,
            index,
        })
    }
}
