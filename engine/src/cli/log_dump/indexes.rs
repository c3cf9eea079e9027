//! What stands beside a segment: indexes, transactions, producers. Indexes are held against their segment if that is
//! there.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::segment::walk;
use super::{Problem, Report};
use crate::log::index::{LoadedIndex, SegmentIndex};
use crate::log::kafka_files::{
    decode_offset_index, decode_snapshot, decode_time_index, decode_transaction_index,
};
use crate::types::Offset;

/// What an index is held against: position, base and last offset, and largest timestamp of each batch.
struct Batches {
    by_position: BTreeMap<u64, (i64, i64)>,
    /// By last offset: the largest timestamp of the batch.
    timestamps: BTreeMap<i64, i64>,
}

/// The batches of the segment beside `path`; `None` if there is no segment.
fn batches(path: &Path) -> Result<Option<Batches>, Problem> {
    let segment = path.with_extension("log");
    if !segment.exists() {
        return Ok(None);
    }
    let file = File::open(segment)?;
    let mut batches = Batches {
        by_position: BTreeMap::new(),
        timestamps: BTreeMap::new(),
    };
    walk(&file, u64::MAX, |found, _| {
        let header = &found.header;
        let offsets = (header.base_offset, header.last_offset());
        batches.by_position.insert(found.position, offsets);
        batches
            .timestamps
            .insert(header.last_offset(), header.max_timestamp);
        Ok(())
    })?;
    Ok(Some(batches))
}

fn sane(what: &str, before: usize, report: &mut Report) -> Result<(), Problem> {
    if report.problems == before {
        report.say(
            "sane",
            &format!("{what} passed the sanity check."),
            json!({}),
        )?;
    }
    Ok(())
}

/// `.index`.
pub(super) fn offsets(
    path: &Path,
    base: Offset,
    bytes: &[u8],
    quiet: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let before = report.problems;
    let entries = match decode_offset_index(base, bytes) {
        Ok(entries) => entries,
        Err(error) => return Ok(report.problem(&error.to_string())?),
    };
    let batches = batches(path)?;
    let mut last = None;
    for entry in entries {
        let (offset, position) = (entry.offset.0, u64::from(entry.position.0));
        if !quiet {
            let text = format!("offset: {offset} position: {position}");
            report.say(
                "offset_entry",
                &text,
                json!({"offset": offset, "position": position}),
            )?;
        }
        if last.is_some_and(|last| last >= (offset, position)) {
            report.problem(&format!("the entry of offset {offset} is out of order"))?;
        }
        last = Some((offset, position));
        let Some(batches) = &batches else { continue };
        match batches.by_position.get(&position) {
            // Older versions of Kafka name the batch's first offset, newer ones its last.
            Some((first, end)) if (*first..=*end).contains(&offset) => {}
            Some((first, end)) => report.problem(&format!(
                "the entry of offset {offset} points at position {position}, where offsets {first} to {end} are"
            ))?,
            None => report.problem(&format!(
                "the entry of offset {offset} points at position {position}, where no batch begins"
            ))?,
        }
    }
    sane("index", before, report)
}

/// `.timeindex`.
pub(super) fn times(
    path: &Path,
    base: Offset,
    bytes: &[u8],
    quiet: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let before = report.problems;
    let entries = match decode_time_index(base, bytes) {
        Ok(entries) => entries,
        Err(error) => return Ok(report.problem(&error.to_string())?),
    };
    let batches = batches(path)?;
    let mut last = i64::MIN;
    for entry in entries {
        let (timestamp, offset) = (entry.timestamp, entry.offset.0);
        if !quiet {
            let text = format!("timestamp: {timestamp} offset: {offset}");
            report.say(
                "time_entry",
                &text,
                json!({"timestamp": timestamp, "offset": offset}),
            )?;
        }
        if timestamp <= last && last != i64::MIN {
            report.problem(&format!(
                "the entry of timestamp {timestamp} is out of order"
            ))?;
        }
        last = timestamp;
        // Records below the named one may not be younger than the entry says.
        let younger = batches.as_ref().and_then(|batches| {
            let mut before = batches.timestamps.range(..offset);
            before.find(|(_, other)| **other > timestamp)
        });
        if let Some((end, other)) = younger {
            report.problem(&format!(
                "the entry of timestamp {timestamp} names offset {offset}, but the batch that ends with {end} has {other}"
            ))?;
        }
    }
    sane("timeindex", before, report)
}

/// `.txnindex`.
pub(super) fn transactions(bytes: &[u8], report: &mut Report) -> Result<(), Problem> {
    let entries = match decode_transaction_index(bytes) {
        Ok(entries) => entries,
        Err(error) => return Ok(report.problem(&error.to_string())?),
    };
    for entry in entries {
        let text = format!(
            "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            entry.producer_id.0,
            entry.first_offset.0,
            entry.last_offset.0,
            entry.last_stable_offset.0
        );
        let fields = json!({
            "producer_id": entry.producer_id.0,
            "first_offset": entry.first_offset.0,
            "last_offset": entry.last_offset.0,
            "last_stable_offset": entry.last_stable_offset.0,
        });
        report.say("aborted_transaction", &text, fields)?;
    }
    Ok(())
}

/// `.snapshot`.
pub(super) fn producers(bytes: &[u8], report: &mut Report) -> Result<(), Problem> {
    let producers = match decode_snapshot(bytes, 0) {
        Ok(producers) => producers,
        Err(error) => return Ok(report.problem(&error.to_string())?),
    };
    for (id, entry) in producers {
        let newest = entry.batches().last();
        let sequence = newest.map_or(-1, |batch| batch.last_sequence.0);
        let offset = newest.map_or(-1, |batch| batch.last_offset.0);
        let transaction = entry.transaction_first_offset.map(|offset| offset.0);
        let text = format!(
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {} lastSequence: {sequence} lastOffset: {offset}",
            id.0,
            entry.epoch.0,
            entry.coordinator_epoch,
            transaction.map_or("None".to_owned(), |offset| offset.to_string()),
            entry.last_timestamp,
        );
        let fields = json!({
            "producer_id": id.0,
            "producer_epoch": entry.epoch.0,
            "coordinator_epoch": entry.coordinator_epoch,
            "transaction_first_offset": transaction,
            "last_timestamp": entry.last_timestamp,
            "last_sequence": sequence,
            "last_offset": offset,
        });
        report.say("producer", &text, fields)?;
    }
    Ok(())
}

/// `.tidx`, our own.
pub(super) fn sidecar(
    path: &Path,
    base: Offset,
    bytes: Vec<u8>,
    quiet: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let before = report.problems;
    let index = match LoadedIndex::open(Bytes::from(bytes)) {
        Ok(index) => index,
        Err(error) => return Ok(report.problem(&error.to_string())?),
    };
    let (next_offset, checksum) = (index.next_offset().0, index.segment_checksum());
    let index = SegmentIndex::Loaded(index);
    let info = index.info();
    let text = format!(
        "baseOffset: {} nextOffset: {next_offset} segmentBytes: {} runs: {} maxTimestamp: {} segmentChecksum: {checksum}",
        info.base_offset.0,
        info.size,
        index.run_count(),
        info.max_timestamp,
    );
    let fields = json!({
        "base_offset": info.base_offset.0,
        "next_offset": next_offset,
        "segment_bytes": info.size,
        "runs": index.run_count(),
        "max_timestamp": info.max_timestamp,
        "segment_checksum": checksum,
    });
    report.say("sidecar", &text, fields)?;
    if info.base_offset != base {
        report.problem(&format!(
            "it belongs to the segment of offset {}",
            info.base_offset.0
        ))?;
    }
    let segment = path.with_extension("log");
    let segment = if segment.exists() {
        Some(File::open(segment)?)
    } else {
        None
    };
    for number in 0..index.run_count() {
        let run = index.run(number);
        if !quiet {
            let text = format!(
                "run: {number} baseOffset: {} position: {} length: {} batches: {} maxTimestamp: {} prefixChecksum: {}",
                run.base_offset.0,
                run.position.0,
                run.length,
                run.batches,
                run.max_timestamp,
                run.prefix_checksum
            );
            let fields = json!({
                "run": number,
                "base_offset": run.base_offset.0,
                "position": run.position.0,
                "length": run.length,
                "batches": run.batches,
                "max_timestamp": run.max_timestamp,
                "prefix_checksum": run.prefix_checksum,
            });
            report.say("run", &text, fields)?;
        }
        let Some(segment) = &segment else { continue };
        let mut bytes = vec![0; run.length as usize];
        if segment
            .read_exact_at(&mut bytes, u64::from(run.position.0))
            .is_err()
        {
            report.problem(&format!("run {number} lies behind the segment's end"))?;
            break;
        }
        if let Err(damage) = index.verify(number, &bytes) {
            report.problem(&format!(
                "run {number} does not match the segment: {damage:?}"
            ))?;
        }
    }
    sane("sidecar", before, report)
}
