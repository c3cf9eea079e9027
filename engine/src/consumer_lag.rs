//! Where consumer groups stand, for the metrics page, under the names of Kafka's usual exporter.
//!
//! Computed when somebody scrapes, on shard 0, from what the coordinators and the owners of the partitions know; nothing
//! is counted when offsets are committed or records produced. A page names a bounded number of committed offsets, the
//! first by group, topic and partition, and says how many it leaves out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::groups::coordinator::GroupOffset;
use crate::limits::METRIC_GROUP_OFFSETS_MAX;
use crate::log::{Isolation, OffsetQuery};
use crate::partition::OffsetLookup;
use crate::shard::Shard;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::{PartitionId, ShardId};

/// Lines written before others run.
const LINES_AT_ONCE: usize = 256;

/// The partitions that are named, with their owners.
type Partitions = BTreeMap<(Arc<str>, i32), (PartitionId, ShardId)>;
/// Ends of logs, by partition.
type LogEnds = BTreeMap<PartitionId, i64>;

/// Adds the gauges to a page.
pub async fn write(shard: &Shard, out: &mut String) {
    let (offsets, left_out) = committed(shard).await;
    let ids = partitions_of(shard, &offsets);
    let ends = log_ends(shard, &ids).await;
    let mut page = Page::default();
    for (number, offset) in offsets.iter().enumerate() {
        if number % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            shard.runtime().yield_now().await;
        }
        page.add(offset, end_of(offset, &ids, &ends));
    }
    for (number, ((topic, partition), (id, _))) in ids.iter().enumerate() {
        if number % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            shard.runtime().yield_now().await;
        }
        if let Some(end) = ends.get(id) {
            page.add_end(topic, *partition, *end);
        }
    }
    page.write(out, left_out);
}

/// What groups committed, of all shards, and how many are left out.
async fn committed(shard: &Shard) -> (Vec<GroupOffset>, u64) {
    let mut offsets = Vec::new();
    let mut left_out = 0;
    let others = shard.mesh().shards().filter(|other| *other != shard.id());
    let shards: Vec<ShardId> = std::iter::once(shard.id()).chain(others).collect();
    for owner in shards {
        let answer = shard.mesh_call(owner, ShardRequest::GroupOffsets).await;
        if let Ok(ShardResponse::GroupOffsets(found, more)) = answer {
            offsets.extend(found);
            left_out += more;
        }
    }
    offsets.sort_unstable();
    let more = offsets.len().saturating_sub(METRIC_GROUP_OFFSETS_MAX);
    offsets.truncate(METRIC_GROUP_OFFSETS_MAX);
    (offsets, left_out + more as u64)
}

/// The partitions that are named, with their owners; an offset of a topic's earlier incarnation has none.
fn partitions_of(shard: &Shard, offsets: &[GroupOffset]) -> Partitions {
    let view = shard.view();
    let mut found = BTreeMap::new();
    for offset in offsets {
        let partition = view.topic(&offset.topic);
        let partition = partition.and_then(|topic| topic.partition(offset.partition));
        if let Some((id, _, owner)) = partition {
            found.insert((offset.topic.clone(), offset.partition), (id, owner));
        }
    }
    found
}

async fn log_ends(shard: &Shard, ids: &Partitions) -> LogEnds {
    let mut by_owner: BTreeMap<ShardId, Vec<PartitionId>> = BTreeMap::new();
    for (id, owner) in ids.values() {
        by_owner.entry(*owner).or_default().push(*id);
    }
    let mut ends = LogEnds::new();
    for (owner, ids) in by_owner {
        let lookups = ids.iter().map(|id| OffsetLookup {
            id: *id,
            query: OffsetQuery::Latest(Isolation::ReadUncommitted),
            current_leader_epoch: None,
        });
        let request = ShardRequest::FindOffsets(lookups.collect());
        if let Ok(ShardResponse::FindOffsets(results)) = shard.mesh_call(owner, request).await {
            let found = ids.into_iter().zip(results);
            ends.extend(found.filter_map(|(id, result)| Some((id, result.ok()?.offset))));
        }
    }
    ends
}

/// The lines of a page, each gauge's together.
#[derive(Default)]
struct Page {
    committed: String,
    lag: String,
    ends: String,
}

impl Page {
    fn add(&mut self, offset: &GroupOffset, end: Option<i64>) {
        let labels = labels(offset);
        let committed = offset.offset;
        // Writing to a string succeeds.
        let _ = writeln!(
            self.committed,
            "kafka_consumergroup_current_offset{{{labels}}} {committed}"
        );
        if let Some(end) = end {
            let lag = (end - committed).max(0);
            let _ = writeln!(self.lag, "kafka_consumergroup_lag{{{labels}}} {lag}");
        }
    }

    fn add_end(&mut self, topic: &str, partition: i32, end: i64) {
        let topic = escaped(topic);
        let _ = writeln!(
            self.ends,
            "kafka_topic_partition_current_offset{{partition=\"{partition}\",topic=\"{topic}\"}} {end}"
        );
    }

    fn write(&self, out: &mut String, left_out: u64) {
        let gauges = [
            ("kafka_consumergroup_current_offset", &self.committed),
            ("kafka_consumergroup_lag", &self.lag),
            ("kafka_topic_partition_current_offset", &self.ends),
        ];
        for (name, lines) in gauges {
            let _ = write!(out, "# TYPE {name} gauge\n{lines}");
        }
        let name = "tidelog_group_offsets_left_out";
        let _ = writeln!(out, "# TYPE {name} gauge\n{name} {left_out}");
    }
}

/// Where the log ends that the offset is of; none where that is another incarnation's.
fn end_of(offset: &GroupOffset, ids: &Partitions, ends: &LogEnds) -> Option<i64> {
    let (id, _) = ids.get(&(offset.topic.clone(), offset.partition))?;
    // All zero: the record does not say which incarnation it is of.
    let is_present = offset.topic_id == id.topic_id || offset.topic_id.0 == [0; 16];
    ends.get(id).copied().filter(|_| is_present)
}

fn labels(offset: &GroupOffset) -> String {
    format!(
        "consumergroup=\"{}\",partition=\"{}\",topic=\"{}\"",
        escaped(&offset.group),
        offset.partition,
        escaped(&offset.topic)
    )
}

/// A label's value as Prometheus reads it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    #[test]
    fn lag_is_told_where_the_topic_is_the_one_that_was_read() {
        let offset = |group: &str, topic_id: u8, offset| GroupOffset {
            group: group.into(),
            topic: "t".into(),
            partition: 3,
            topic_id: TopicId([topic_id; 16]),
            offset,
        };
        let id = PartitionId {
            topic_id: TopicId([7; 16]),
            index: 3,
        };
        let ids = BTreeMap::from([(("t".into(), 3), (id, ShardId(0)))]);
        let ends = LogEnds::from([(id, 10)]);
        let offsets = [
            offset("a\"b\\c\nd", 7, 4),
            offset("ahead", 0, 12),
            offset("earlier", 6, 1),
        ];
        let mut text = String::new();
        let mut page = Page::default();
        for offset in &offsets {
            page.add(offset, end_of(offset, &ids, &ends));
        }
        page.add_end("t", 3, 10);
        page.write(&mut text, 5);
        let has = |line: &str| text.lines().any(|found| found == line);
        let odd = r#"consumergroup="a\"b\\c\nd",partition="3",topic="t""#;
        assert!(
            has(&format!("kafka_consumergroup_current_offset{{{odd}}} 4")),
            "{text}"
        );
        assert!(
            has(&format!("kafka_consumergroup_lag{{{odd}}} 6")),
            "{text}"
        );
        let ahead = r#"kafka_consumergroup_lag{consumergroup="ahead",partition="3",topic="t"} 0"#;
        assert!(has(ahead), "{text}");
        assert!(!text.contains(r#"lag{consumergroup="earlier""#), "{text}");
        assert!(has("tidelog_group_offsets_left_out 5"), "{text}");
    }
}
