//! Our own files: journals and checkpoints; and the small text files of a data directory.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Outcome, Problem, Report, read_whole};
use crate::log::PartitionCheckpoint;
use crate::log::checkpoint;
use crate::log::checkpoint_body::decode_body;
use crate::log::journal::format::{EntryHeader, GroupHeader, HeaderCopy};
use crate::log::journal::replay;
use crate::log::kafka_files::{
    CleanShutdown, LEADER_EPOCH_CHECKPOINT, MetaProperties, decode_epoch_checkpoint,
    decode_offset_checkpoint, decode_partition_metadata, encode_topic_id,
};
use crate::platform::BLOCK_BYTES;

/// A journal file: every group that is whole, by position. Blocks of older groups lie between them and behind them, as
/// in every file that is used again; which groups count, only the chain from a checkpoint says.
pub(super) fn journal(path: &Path, report: &mut Report) -> Result<(), Problem> {
    let bytes = Bytes::from(read_whole(path)?);
    let (mut position, mut other) = (0, 0_usize);
    while position + BLOCK_BYTES <= bytes.len() {
        let header = GroupHeader::decode(HeaderCopy::Front, &bytes[position..]);
        let header = header.filter(|header| header.position == position as u64);
        let Some(header) = header else {
            position += BLOCK_BYTES;
            other += 1;
            continue;
        };
        let end = (position + header.group_bytes as usize).min(bytes.len());
        let group = replay::read_whole(&header, &bytes.slice(position..end));
        let whole = group.is_some();
        let text = format!(
            "group: {} generation: {} shard: {} position: {position} bytes: {} entries: {} knownFlushed: {} whole: {whole}",
            header.group_number,
            header.generation.number,
            header.shard,
            header.group_bytes,
            header.entry_count,
            header.known_flushed
        );
        let fields = json!({
            "group": header.group_number,
            "generation": header.generation.number,
            "shard": header.shard,
            "position": position,
            "bytes": header.group_bytes,
            "entries": header.entry_count,
            "known_flushed": header.known_flushed,
            "whole": whole,
        });
        report.say("group", &text, fields)?;
        for entry in group.iter().flat_map(|group| &group.entries) {
            journal_entry(&entry.header, report)?;
        }
        // What stands in the place of a torn group may begin at any block.
        position += if whole {
            header.group_bytes as usize
        } else {
            BLOCK_BYTES
        };
    }
    let text = format!("{other} blocks hold no group that begins there");
    report.say("other_blocks", &text, json!({"blocks": other}))?;
    Ok(())
}

fn journal_entry(entry: &EntryHeader, report: &mut Report) -> Outcome<()> {
    let topic = encode_topic_id(entry.partition.topic_id);
    let kind = format!("{:?}", entry.kind);
    let text = format!(
        "| {kind} topicId: {topic} partition: {} leaderEpoch: {} offsets: {}..{} segment: {} position: {} length: {}",
        entry.partition.index,
        entry.leader_epoch.0,
        entry.base_offset.0,
        entry.last_offset.0,
        entry.segment_base_offset.0,
        entry.file_position,
        entry.length
    );
    let fields = json!({
        "entry": kind,
        "topic_id": topic,
        "partition": entry.partition.index,
        "leader_epoch": entry.leader_epoch.0,
        "base_offset": entry.base_offset.0,
        "last_offset": entry.last_offset.0,
        "segment_base_offset": entry.segment_base_offset.0,
        "file_position": entry.file_position,
        "length": entry.length,
    });
    report.say("entry", &text, fields)
}

/// A checkpoint of a shard, or one of a start.
pub(super) fn checkpoint(bytes: &[u8], report: &mut Report) -> Outcome<()> {
    if bytes.iter().all(|byte| *byte == 0) {
        return report.say("unwritten", "never written", json!({}));
    }
    let (header, body) = match checkpoint::decode(bytes) {
        Ok(found) => found,
        Err(problem) => return report.problem(problem),
    };
    let shard = header.shard.map(|shard| shard.0);
    let text = format!(
        "generation: {} shard: {} sequence: {} cut: group {} in file {} at {}",
        header.generation.number,
        shard.map_or("all".to_owned(), |shard| shard.to_string()),
        header.sequence,
        header.cut.group_number,
        header.cut.file_number,
        header.cut.position
    );
    let fields = json!({
        "generation": header.generation.number,
        "shard": shard,
        "sequence": header.sequence,
        "cut": {
            "group": header.cut.group_number,
            "file": header.cut.file_number,
            "position": header.cut.position,
        },
    });
    report.say("checkpoint", &text, fields)?;
    match decode_body(body) {
        Ok(partitions) => partitions
            .iter()
            .try_for_each(|partition| partition_state(partition, report)),
        Err(problem) => report.problem(&problem),
    }
}

fn partition_state(partition: &PartitionCheckpoint, report: &mut Report) -> Outcome<()> {
    let topic = encode_topic_id(partition.id.topic_id);
    let quarantined: Vec<String> = partition
        .quarantined
        .iter()
        .map(|range| format!("{}..{}", range.first.0, range.last.0))
        .collect();
    let text = format!(
        "| {} topicId: {topic} leaderEpoch: {} logStart: {} logEnd: {} segments: {} producers: {} aborted: {} quarantined: [{}] endUnproved: {}",
        partition.directory,
        partition.leader_epoch.0,
        partition.log_start.0,
        partition.end_offset.0,
        partition.segments.len(),
        partition.producers.len(),
        partition.aborted.len(),
        quarantined.join(", "),
        partition.end_unproved
    );
    let segment = |segment: &crate::log::SegmentInfo| json!({"base_offset": segment.base_offset.0, "bytes": segment.size, "max_timestamp": segment.max_timestamp});
    let fields = json!({
        "directory": partition.directory,
        "topic_id": topic,
        "partition": partition.id.index,
        "leader_epoch": partition.leader_epoch.0,
        "log_start": partition.log_start.0,
        "log_end": partition.end_offset.0,
        "segments": partition.segments.iter().map(segment).collect::<Vec<_>>(),
        "epochs": partition.epochs.iter().map(|(epoch, offset)| json!([epoch.0, offset.0])).collect::<Vec<_>>(),
        "producers": partition.producers.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        "quarantined": partition.quarantined.iter().map(|range| json!([range.first.0, range.last.0])).collect::<Vec<_>>(),
        "stepped_over": partition.stepped_over.iter().map(|range| json!([range.first.0, range.last.0])).collect::<Vec<_>>(),
        "end_unproved": partition.end_unproved,
    });
    report.say("partition", &text, fields)
}

/// A text file whose form is checked, then printed as it is.
pub(super) fn text_file(name: &str, bytes: &[u8], report: &mut Report) -> Outcome<()> {
    let checked = match name {
        LEADER_EPOCH_CHECKPOINT => decode_epoch_checkpoint(bytes).map(drop),
        "meta.properties" => MetaProperties::decode(bytes).map(drop),
        "partition.metadata" => decode_partition_metadata(bytes).map(drop),
        ".kafka_cleanshutdown" => CleanShutdown::decode(bytes).map(drop),
        _ => decode_offset_checkpoint(bytes).map(drop),
    };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    report.say(
        "text",
        &lines.join("\n"),
        json!({"lines": lines.iter().map(|line| Value::from(*line)).collect::<Vec<_>>()}),
    )?;
    match checked {
        Ok(()) => Ok(()),
        Err(error) => report.problem(&error.to_string()),
    }
}
