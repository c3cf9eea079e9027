//! What was fetched becomes what is printed. Writes to the standard output and nothing else.
//!
//! Invariant: a partition's position is the offset behind its last record that was put out; a batch whose CRC does not
//! hold is never printed.

use std::collections::BTreeMap;

use net::messages::fetch::PartitionData;
use net::records::{BatchError, Decompressor, split_batches};
use net::wire::Records;

use super::super::template::Template;
use super::super::{Failure, Outcome, output};

/// Printed bytes that are gathered before they are written.
const PRINT_BYTES: usize = 256 << 10;

/// Where each partition stands, and what was printed.
pub(super) struct Printer {
    template: Template,
    topic: String,
    /// Records that may still be printed.
    left: u64,
    /// The partitions that are read, with their next offsets.
    pub(super) positions: BTreeMap<i32, i64>,
    /// Where each partition ends for us; one that is not listed has nothing.
    ends: Option<BTreeMap<i32, i64>>,
    decompressor: Decompressor,
    out: Vec<u8>,
}

impl Printer {
    pub(super) fn new(
        template: Template,
        topic: &str,
        num: Option<u64>,
        ends: Option<BTreeMap<i32, i64>>,
    ) -> Printer {
        Printer {
            template,
            topic: topic.to_owned(),
            left: num.unwrap_or(u64::MAX),
            positions: BTreeMap::new(),
            ends,
            decompressor: Decompressor::default(),
            out: Vec::new(),
        }
    }

    /// The partitions that are not done, with their next offsets.
    pub(super) fn wanted(&self) -> BTreeMap<i32, i64> {
        if self.left == 0 {
            return BTreeMap::new();
        }
        self.positions
            .iter()
            .filter(|(partition, next)| **next < self.end(**partition))
            .map(|(p, next)| (*p, *next))
            .collect()
    }

    /// Whether nothing more will be printed, whichever records come.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 || (self.ends.is_some() && self.wanted().is_empty())
    }

    fn end(&self, partition: i32) -> i64 {
        let listed = |ends: &BTreeMap<i32, i64>| ends.get(&partition).copied().unwrap_or(0);
        self.ends.as_ref().map_or(i64::MAX, listed)
    }

    pub(super) fn take(&mut self, data: &PartitionData<'_>) -> Outcome<()> {
        let Some(Records::Borrowed(bytes)) = data.records else {
            return Ok(());
        };
        let index = data.partition_index;
        let end = self.end(index);
        let Some(position) = self.positions.get_mut(&index) else {
            return Ok(());
        };
        let damaged = |offset: i64, what: &dyn std::fmt::Display| {
            Failure::Said(format!("{}-{index} at offset {offset}: {what}", self.topic))
        };
        for batch in split_batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // A broker may cut the answer within a batch.
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(damaged(*position, &error)),
            };
            if !batch.crc_is_valid() {
                return Err(damaged(
                    batch.header().base_offset,
                    &"the batch's checksum does not hold",
                ));
            }
            if !batch.header().is_control() {
                let records = batch.records(&mut self.decompressor);
                for record in records.map_err(|error| damaged(*position, &error))? {
                    let record = record.map_err(|error| damaged(*position, &error))?;
                    if record.offset < *position || record.offset >= end {
                        continue;
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                    self.left -= 1;
                    self.template
                        .print(&self.topic, index, &record, &mut self.out);
                    *position = record.offset + 1;
                    if self.out.len() >= PRINT_BYTES {
                        output::write(&self.out)?;
                        self.out.clear();
                    }
                }
            }
            *position = batch.header().next_offset().min(end).max(*position);
        }
        Ok(())
    }

    pub(super) fn write(&mut self) -> Outcome<()> {
        if !self.out.is_empty() {
            output::write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::BatchBuilder;

    fn printer(position: i64, end: Option<i64>, left: u64) -> Printer {
        let template = Template::parse("%o=%v ").expect("a good format");
        let ends = end.map(|end| BTreeMap::from([(0, end)]));
        let mut printer = Printer::new(template, "t", Some(left), ends);
        printer.positions = BTreeMap::from([(0, position)]);
        printer
    }

    fn batch(base_offset: i64, values: &[&str], control: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new().control(control);
        for value in values {
            builder.append(None, Some(value.as_bytes()), &[], 0);
        }
        builder.build(base_offset, 0)
    }

    fn taken(printer: &mut Printer, bytes: &[u8]) -> Outcome<String> {
        let data = PartitionData {
            records: Some(Records::Borrowed(bytes)),
            ..Default::default()
        };
        printer.take(&data)?;
        Ok(String::from_utf8_lossy(&std::mem::take(&mut printer.out)).into_owned())
    }

    #[test]
    fn printing_begins_and_ends_inside_batches() {
        let log = [
            batch(3, &["a", "b", "c"], false),
            batch(6, &["marker"], true),
            batch(7, &["d", "e"], false),
        ]
        .concat();
        let mut all = printer(0, None, 99);
        assert_eq!(taken(&mut all, &log).expect("good"), "3=a 4=b 5=c 7=d 8=e ");
        assert_eq!(all.wanted(), BTreeMap::from([(0, 9)]));
        let mut middle = printer(4, Some(8), 99);
        assert_eq!(taken(&mut middle, &log).expect("good"), "4=b 5=c 7=d ");
        assert!(middle.is_done());
        assert_eq!(middle.positions, BTreeMap::from([(0, 8)]));
        let mut few = printer(5, None, 2);
        assert_eq!(taken(&mut few, &log).expect("good"), "5=c 7=d ");
        assert!(few.is_done());
        assert_eq!(few.positions, BTreeMap::from([(0, 8)]), "not behind e");
        // Nothing but a marker before the end: still done.
        assert!(printer(9, Some(9), 1).is_done());
        assert!(!printer(9, None, 1).is_done());
    }

    #[test]
    fn a_cut_batch_waits_and_a_damaged_one_is_not_printed() {
        let mut log = [batch(0, &["a"], false), batch(1, &["b"], false)].concat();
        let mut cut = printer(0, None, 99);
        assert_eq!(
            taken(&mut cut, &log[..log.len() - 3]).expect("good"),
            "0=a "
        );
        assert_eq!(cut.wanted(), BTreeMap::from([(0, 1)]));
        let last = log.len() - 3;
        log[last] ^= 1;
        assert!(
            matches!(taken(&mut cut, &log), Err(Failure::Said(why)) if why.contains("offset 1: the batch's checksum"))
        );
    }
}
