//! The metadata log on disk: two mirrored files, both flushed before an answer leaves (STORAGE C11).
//!
//! Copy B is written only after copy A's flush, so at any time one of them is whole. A start makes both equal to the
//! longest good log before it replays. After a failed write the store refuses everything: what is on disk is no
//! longer known.

use std::io;

use super::copy::{Scan, Tail, scan};
use super::record::{Record, RecordError, decode_batches, encode_batch};
use crate::limits::{METADATA_LOG_BYTES_MAX, METADATA_RESERVE_BYTES};
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};

/// The two copies, in the order in which they are written.
pub const COPIES: [&str; 2] = ["tidelog/metadata-a.log", "tidelog/metadata-b.log"];
const ALLOCATION_STEP_BYTES: u64 = 1024 * 1024;

/// Why the metadata log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("metadata log {file}: {source}")]
    Io {
        /// Path under the data directory.
        file: &'static str,
        /// Its reason.
        source: io::Error,
    },
    /// Both copies are damaged where records were acknowledged.
    #[error(
        "both copies of the metadata log are damaged behind offset {next_offset} ({}, {}): restore one of them from a \
         backup; nothing was changed", COPIES[0], COPIES[1]
    )]
    Rotten {
        /// First offset that neither copy can show.
        next_offset: i64,
    },
    /// A good batch holds records that this version does not know.
    #[error("metadata log: {0}")]
    Record(#[from] RecordError),
    /// An earlier write failed.
    #[error("the metadata log failed earlier ({0}); restart the node once the disk is well")]
    Poisoned(String),
    /// No space for more metadata.
    #[error("no space left for metadata: {0}")]
    NoSpace(io::Error),
}

/// What a start found.
#[derive(Debug, Default)]
pub struct FoundLog {
    /// Offset of the first record; a compacted log does not begin at 0.
    pub first_offset: i64,
    /// All records, oldest first.
    pub records: Vec<Record>,
    /// One sentence per repair.
    pub findings: Vec<String>,
}

/// The metadata log, open for appending. Lives on shard 0.
pub struct MetadataStore {
    disk: Disk,
    copies: [File; 2],
    /// The bytes of the last, partly filled block.
    tail: Vec<u8>,
    length: u64,
    allocated: u64,
    next_offset: i64,
    leader_epoch: i32,
    poisoned: Option<String>,
}

impl MetadataStore {
    /// Opens both copies, makes them equal and reads every record, oldest first. Every start begins a new leader
    /// epoch of the metadata log.
    ///
    /// # Errors
    /// The disk fails, both copies are damaged, or records are unknown.
    pub async fn open(disk: &Disk) -> Result<(Self, FoundLog), StoreError> {
        let mut found = Vec::new();
        for file in COPIES {
            found.push(read_copy(disk, file).await?);
        }
        let scans = [scan(&found[0]), scan(&found[1])];
        let reach = |scan: &Scan| (scan.next_offset, scan.good_bytes);
        let best = usize::from(reach(&scans[1]) > reach(&scans[0]));
        let good = scans[best].clone();
        if good.tail == Tail::Rotten
            || (scans[0].tail == Tail::Rotten && scans[1].tail == Tail::Rotten)
        {
            return Err(StoreError::Rotten {
                next_offset: good.next_offset,
            });
        }
        let content = &found[best][..good.good_bytes];
        let mut log = FoundLog::default();
        let mut repaired = [true; 2];
        for (index, file) in COPIES.into_iter().enumerate() {
            if let Some(finding) = finding(&scans[index], &found[index], content) {
                log.findings.push(format!("{file}: {finding}; repaired"));
                write_copy(disk, file, content).await?;
            } else if found[index].is_empty() {
                write_copy(disk, file, content).await?;
            } else {
                repaired[index] = false;
            }
        }
        log.records = decode_batches(content)?;
        log.first_offset = good.next_offset - log.records.len() as i64;
        let store = Self::open_copies(disk, content, &good).await?;
        for (index, file) in COPIES.into_iter().enumerate() {
            if !repaired[index] && !content.is_empty() {
                // What was read may be in memory alone: written and not flushed before a kill, or dropped by a flush that
                // failed, after which the memory counts as clean. The same bytes over themselves cannot tear.
                let written = store.write(index, content, 0).await;
                written.map_err(|source| StoreError::Io { file, source })?;
            }
        }
        Ok((store, log))
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The epoch of the metadata log that this start began.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Bytes of one copy.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes the records durable in A, then in B, as one batch: all of them or none survive a crash.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] leaves the log as it was; any other error is final for this process.
    pub async fn append(&mut self, records: &[Record], now_ms: i64) -> Result<(), StoreError> {
        if let Some(cause) = &self.poisoned {
            return Err(StoreError::Poisoned(cause.clone()));
        }
        if records.is_empty() {
            return Ok(());
        }
        let batch = encode_batch(records, self.next_offset, self.leader_epoch, now_ms);
        self.make_room(batch.len() as u64, records.iter().any(Record::grows))
            .await?;
        let position = self.length - self.tail.len() as u64;
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.extend_from_slice(&batch);
        for (index, file) in COPIES.into_iter().enumerate() {
            if let Err(source) = self.write(index, &bytes, position).await {
                self.poisoned = Some(format!("{file}: {source}"));
                return Err(StoreError::Io { file, source });
            }
        }
        self.length += batch.len() as u64;
        self.next_offset += records.len() as i64;
        let partial = (self.length % BLOCK_BYTES as u64) as usize;
        self.tail = bytes.split_off(bytes.len() - partial);
        Ok(())
    }

    /// Replaces the log by `records` (the whole image), which keep the log's end offset: the first of them gets the
    /// offset that makes the last one end where the log ends now, or later.
    ///
    /// # Errors
    /// The disk fails; one copy is whole in any case.
    pub async fn compact(
        disk: &Disk,
        records: &[Record],
        end: &Self,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let base_offset = (end.next_offset - records.len() as i64).max(0);
        let content = encode_batch(records, base_offset, end.leader_epoch, now_ms);
        for file in COPIES {
            write_copy(disk, file, &content).await?;
        }
        let good = scan(&content);
        let mut store = Self::open_copies(disk, &content, &good).await?;
        store.leader_epoch = end.leader_epoch;
        Ok(store)
    }

    async fn open_copies(disk: &Disk, content: &[u8], good: &Scan) -> Result<Self, StoreError> {
        let a = open(disk, COPIES[0]).await?;
        let b = open(disk, COPIES[1]).await?;
        let partial = content.len() % BLOCK_BYTES;
        Ok(Self {
            disk: disk.clone(),
            copies: [a, b],
            tail: content[content.len() - partial..].to_vec(),
            length: content.len() as u64,
            allocated: content.len() as u64,
            next_offset: good.next_offset,
            leader_epoch: good.leader_epoch + 1,
            poisoned: None,
        })
    }

    // STORAGE C12c: growth must leave a reserve that deletions and configuration changes can still use.
    async fn make_room(&mut self, bytes: u64, grows: bool) -> Result<(), StoreError> {
        let reserve = if grows { METADATA_RESERVE_BYTES } else { 0 };
        let needed = self.length + bytes + reserve;
        if needed > METADATA_LOG_BYTES_MAX {
            return Err(StoreError::NoSpace(io::Error::other(
                "the metadata log has its largest size; restart the node",
            )));
        }
        if needed <= self.allocated {
            return Ok(());
        }
        let target = needed.next_multiple_of(ALLOCATION_STEP_BYTES);
        for copy in &self.copies {
            copy.allocate(0, target)
                .await
                .map_err(StoreError::NoSpace)?;
        }
        self.allocated = target;
        Ok(())
    }

    async fn write(&self, index: usize, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut buffer = self.disk.allocate_buffer(bytes.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.copies[index].write_at(buffer, position).await?;
        self.copies[index].fdatasync().await
    }
}

async fn open(disk: &Disk, file: &'static str) -> Result<File, StoreError> {
    disk.open(file, OpenMode::Write)
        .await
        .map_err(|source| StoreError::Io { file, source })
}

async fn read_copy(disk: &Disk, file: &'static str) -> Result<Vec<u8>, StoreError> {
    let result = async {
        if disk.exists(file).await? {
            disk.read_small(file, METADATA_LOG_BYTES_MAX as usize).await
        } else {
            Ok(Vec::new())
        }
    };
    result
        .await
        .map_err(|source| StoreError::Io { file, source })
}

async fn write_copy(disk: &Disk, file: &'static str, content: &[u8]) -> Result<(), StoreError> {
    disk.write_small(file, content)
        .await
        .map_err(|source| StoreError::Io { file, source })
}

// What is wrong with a copy; `None` if it is equal to the good content.
fn finding(scan: &Scan, found: &[u8], content: &[u8]) -> Option<String> {
    let common = scan.good_bytes.min(content.len());
    if found.is_empty() {
        return (!content.is_empty()).then(|| "missing or empty".to_owned());
    }
    if found[..common] != content[..common] {
        return Some("differs from the other copy in bytes that no checksum covers".to_owned());
    }
    match scan.tail {
        Tail::Rotten => Some(format!("damaged at byte {}", scan.good_bytes)),
        Tail::Torn if scan.good_bytes < content.len() => {
            Some(format!("damaged at byte {}", scan.good_bytes))
        }
        Tail::Torn => Some(format!(
            "bytes of an unfinished append behind byte {}",
            scan.good_bytes
        )),
        Tail::Clean if scan.good_bytes < content.len() => {
            Some(format!("ends early, at byte {}", scan.good_bytes))
        }
        Tail::Clean => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use net::platform::block_on;

    use super::*;
    use crate::types::TopicId;

    fn topic(number: u8) -> Record {
        Record::Topic {
            name: format!("topic-{number}"),
            id: TopicId([number; 16]),
        }
    }

    /// Opens the log in `directory`, appends `records` one by one, and tells what was found at the start.
    fn session(directory: &Path, records: Vec<Record>) -> Result<FoundLog, StoreError> {
        std::fs::create_dir_all(directory.join("tidelog")).unwrap();
        let directory = directory.to_owned();
        block_on(|runtime| async move {
            let disk = Disk::open_data_directory(&runtime, &directory)
                .await
                .unwrap();
            let (mut store, found) = MetadataStore::open(&disk).await?;
            for record in records {
                store.append(&[record], 1).await?;
            }
            Ok(found)
        })
    }

    fn damage(directory: &Path, copy: usize, position: usize, mask: u8) {
        let path = directory.join(COPIES[copy]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[position] ^= mask;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn records_are_found_again_in_order_over_many_small_appends() {
        let directory = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (0..100).map(topic).collect();
        session(directory.path(), records[..60].to_vec()).unwrap();
        session(directory.path(), records[60..].to_vec()).unwrap();
        let found = session(directory.path(), Vec::new()).unwrap();
        assert_eq!(found.records, records);
        assert!(found.findings.is_empty(), "{:?}", found.findings);
        let copies = COPIES.map(|copy| std::fs::read(directory.path().join(copy)).unwrap());
        assert_eq!(copies[0], copies[1]);
    }

    #[test]
    fn any_damaged_byte_in_one_copy_is_named_and_costs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (0..3).map(topic).collect();
        session(directory.path(), records.clone()).unwrap();
        let end = std::fs::read(directory.path().join(COPIES[0]))
            .unwrap()
            .iter()
            .rposition(|b| *b != 0)
            .unwrap();
        for position in (0..=end).step_by(7).chain([end]) {
            for copy in 0..2 {
                damage(directory.path(), copy, position, 1);
                let found = session(directory.path(), Vec::new()).unwrap();
                assert_eq!(found.records, records, "byte {position} of copy {copy}");
                assert_eq!(
                    found.findings.len(),
                    1,
                    "byte {position} of copy {copy}: {:?}",
                    found.findings
                );
            }
        }
    }

    #[test]
    fn damage_in_both_copies_with_good_records_behind_stops_the_start() {
        let directory = tempfile::tempdir().unwrap();
        session(directory.path(), (0..3).map(topic).collect()).unwrap();
        damage(directory.path(), 0, 70, 1);
        damage(directory.path(), 1, 70, 1);
        assert!(matches!(
            session(directory.path(), Vec::new()),
            Err(StoreError::Rotten { next_offset: 0 })
        ));
    }

    #[test]
    fn a_missing_copy_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (0..3).map(topic).collect();
        session(directory.path(), records.clone()).unwrap();
        for copy in COPIES {
            std::fs::remove_file(directory.path().join(copy)).unwrap();
            let found = session(directory.path(), Vec::new()).unwrap();
            assert_eq!(
                (found.records.as_slice(), found.findings.len()),
                (records.as_slice(), 1)
            );
        }
    }

    #[test]
    fn compaction_keeps_the_end_offset() {
        let directory = tempfile::tempdir().unwrap();
        session(directory.path(), (0..10).map(topic).collect()).unwrap();
        let path = directory.path().to_owned();
        block_on(|runtime| async move {
            let disk = Disk::open_data_directory(&runtime, &path).await.unwrap();
            let (store, _) = MetadataStore::open(&disk).await.unwrap();
            let store = MetadataStore::compact(&disk, &[topic(7)], &store, 1)
                .await
                .unwrap();
            assert_eq!(store.next_offset(), 10);
        });
        let found = session(directory.path(), vec![topic(8)]).unwrap();
        assert_eq!((found.first_offset, found.records), (9, vec![topic(7)]));
    }

    #[test]
    fn what_a_start_read_is_in_both_copies_after_a_power_cut() {
        use crate::platform::sim::{CutMode, DiskFault, SimDisk, SimDiskOptions};
        use net::platform::sim::Simulation;
        use std::rc::Rc;

        for failing in COPIES {
            let simulation = Simulation::new(3);
            let disk_options = SimDiskOptions::default();
            let machine = Rc::new(SimDisk::new(&simulation.handle(), disk_options));
            let mut node = simulation.node("broker");
            let mut found_again = Vec::new();
            for life in 0..3 {
                let disk = machine.disk(&node.runtime());
                let faults = machine.clone();
                let found = simulation.block_on(&node, async move {
                    disk.create_directory("tidelog").await.unwrap();
                    let (mut store, found) = MetadataStore::open(&disk).await.unwrap();
                    if life == 0 {
                        store.append(&[topic(1)], 1).await.unwrap();
                        disk.sync_directory("").await.unwrap();
                        faults.fail_next(DiskFault::Flush, failing);
                        assert!(store.append(&[topic(2)], 1).await.is_err());
                    }
                    found
                });
                found_again.push((found.records.len(), found.findings));
                simulation.power_off(&node);
                if life == 1 {
                    machine.cut_power(CutMode::Random(0.0));
                }
                node = simulation.node("broker");
            }
            assert_eq!(found_again[1].0, 2, "{failing}: the write is to be seen");
            assert_eq!(found_again[2], (2, Vec::new()), "{failing}");
        }
    }
}
