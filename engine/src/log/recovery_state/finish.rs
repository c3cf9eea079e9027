//! A partition's directory at the end of the replay: leftovers go. On the recovering executor.
//!
//! Invariant: what is short of what the log says is named in the report.

use std::collections::BTreeMap;
use std::io;

use super::partition::Tracked;
use crate::log::compaction::swap_files;
use crate::log::recovery_report::RecoveryReport;
use crate::log::recovery_writer::RecoveryWriter;
use crate::log::segment::parse_segment_file_name;
use crate::platform::Disk;
use crate::types::PartitionId;

/// Removes segments that retention had taken already, and those above the end that nothing names; names what is short.
pub(super) async fn remove_leftovers(
    disk: &Disk,
    writer: &RecoveryWriter<'_>,
    id: PartitionId,
    tracked: &Tracked,
    report: &mut RecoveryReport,
) -> io::Result<()> {
    let segments = tracked.log.segments().as_slice();
    let mut lengths = BTreeMap::new();
    let mut removed = false;
    for entry in &tracked.entries {
        if swap_files::is_leftover(&entry.name) {
            disk.remove_file(&format!("{}/{}", tracked.directory, entry.name))
                .await?;
            removed = true;
            continue;
        }
        let Some((base, extension)) = parse_segment_file_name(&entry.name) else {
            continue;
        };
        let listed = segments.iter().any(|segment| segment.base_offset == base);
        if listed && extension == "log" {
            lengths.insert(base, entry.length);
        }
        let above = base > tracked.log.segments().active().base_offset;
        let below = base < segments[0].base_offset;
        if extension != "snapshot" && !listed && (below || (above && !report.clean)) {
            disk.remove_file(&format!("{}/{}", tracked.directory, entry.name))
                .await?;
            removed = true;
        }
    }
    if removed {
        disk.sync_directory(&tracked.directory).await?;
    }
    for segment in segments.iter().filter(|segment| segment.size > 0) {
        let found = lengths.get(&segment.base_offset).copied().unwrap_or(0);
        let length = found.max(writer.written_end(id, segment.base_offset));
        if length < u64::from(segment.size) {
            let name = segment.file_name("log");
            report.damage.push(format!(
                "{}/{name}: {length} bytes of {}",
                tracked.directory, segment.size
            ));
        }
    }
    Ok(())
}
