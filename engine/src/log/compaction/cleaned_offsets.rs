//! How far each partition was cleaned, across restarts: `tidelog/cleaned-<shard>`, one line "topic id, partition,
//! offset" each. Kafka's own `cleaner-offset-checkpoint` is written from it at a clean stop.
//!
//! Losing it costs time, not records: the log is then cleaned from its start again. So a file that cannot be read is
//! no damage. A shard writes its own file and reads all, since partitions move between shards from start to start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::log::journal::files::TIDELOG_DIRECTORY;
use crate::log::kafka_files::{decode_topic_id, encode_topic_id};
use crate::platform::Disk;
use crate::types::{Offset, PartitionId, ShardId};

const PREFIX: &str = "cleaned-";
const BYTES_MAX: usize = 64 << 20;

/// The first dirty offset of each partition.
pub(crate) type CleanedOffsets = BTreeMap<PartitionId, Offset>;

/// Everything that was written down; of several values for a partition the largest.
pub(crate) async fn read(disk: &Disk) -> io::Result<CleanedOffsets> {
    let mut offsets = CleanedOffsets::new();
    for entry in disk.list(TIDELOG_DIRECTORY).await? {
        if !entry.name.starts_with(PREFIX) || entry.name.ends_with(".tmp") {
            continue;
        }
        let path = format!("{TIDELOG_DIRECTORY}/{}", entry.name);
        let Ok(bytes) = disk.read_small(&path, BYTES_MAX).await else {
            continue;
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((id, offset)) = decode(line) {
                let known = offsets.entry(id).or_insert(offset);
                *known = (*known).max(offset);
            }
        }
    }
    Ok(offsets)
}

/// Replaces what this shard wrote down before.
pub(crate) async fn write(disk: &Disk, shard: ShardId, offsets: &CleanedOffsets) -> io::Result<()> {
    let mut text = String::new();
    for (id, offset) in offsets {
        let topic = encode_topic_id(id.topic_id);
        writeln!(text, "{topic} {} {offset}", id.index).expect("writing to a string succeeds");
    }
    let path = format!("{TIDELOG_DIRECTORY}/{PREFIX}{}", shard.0);
    disk.write_small(&path, text.as_bytes()).await
}

fn decode(line: &str) -> Option<(PartitionId, Offset)> {
    let mut words = line.split(' ');
    let id = PartitionId {
        topic_id: decode_topic_id(words.next()?)?,
        index: words.next()?.parse().ok()?,
    };
    let offset = Offset(words.next()?.parse().ok()?);
    words.next().is_none().then_some((id, offset))
}
