//! The end of the replay: segments written out, log starts applied, leftovers and damaged journals put away. On the
//! recovering executor.
//!
//! Invariant: what is short of what the log says is named in the report; damaged journals keep their bytes.

use std::collections::BTreeMap;
use std::io;

use net::platform::Runtime;

use super::{RecoveryState, Tracked};
use crate::log::compaction::swap_files;
use crate::log::journal::files::{TIDELOG_DIRECTORY, journal_path};
use crate::log::partition_checkpoint::PartitionCheckpoint;
use crate::log::recovery::remove_deleted;
use crate::log::recovery_report::RecoveryReport;
use crate::log::recovery_writer::RecoveryWriter;
use crate::log::segment::parse_segment_file_name;
use crate::platform::Disk;
use crate::types::PartitionId;

impl RecoveryState<'_> {
    /// Completes the segments' writes, applies log starts, and removes what is left over. With `flush_follows` the
    /// caller makes all of the file system durable at once, names too; with `adopts` tails are taken in.
    pub(crate) async fn finish(
        &mut self,
        runtime: &Runtime,
        flush_follows: bool,
        adopts: bool,
        report: &mut RecoveryReport,
    ) -> io::Result<BTreeMap<PartitionId, PartitionCheckpoint>> {
        self.writer.finish().await?;
        report.phases.end("write", runtime.monotonic());
        remove_deleted(runtime, self.disk, self.known, report).await?;
        if adopts {
            self.adopt_tails(report).await?;
        }
        let mut kept = BTreeMap::new();
        for (id, tracked) in &mut self.tracked {
            tracked.log.apply_log_start(tracked.plan.log_start);
            tracked.log.drop_active_below_log_start(self.now_ms);
            if self.known.partitions.contains_key(id) {
                remove_leftovers(self.disk, &self.writer, *id, tracked, report).await?;
            }
            let mut checkpoint = tracked.log.snapshot();
            if crate::planted::is(crate::planted::Bug::LoseProducerState) {
                checkpoint.producers.clear();
            }
            kept.insert(*id, checkpoint);
        }
        if !flush_follows {
            // A directory that was made just before a cut may not be durable yet.
            self.disk.sync_directory("").await?;
            self.writer.sync_new_names().await?;
        }
        report.phases.end("leftovers", runtime.monotonic());
        Ok(kept)
    }

    /// Journals with damage keep their bytes under another name (C9).
    pub(crate) async fn set_journals_aside(
        &self,
        generation: u64,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        for (shard, number) in &self.set_aside {
            let path = journal_path(*shard, *number);
            let aside = format!("{path}.damaged-{generation}");
            if self.disk.exists(&path).await? {
                self.disk.rename(&path, &aside).await?;
                report.damage.push(format!("{path} is kept as {aside}"));
            }
        }
        if !self.set_aside.is_empty() {
            self.disk.sync_directory(TIDELOG_DIRECTORY).await?;
        }
        Ok(())
    }
}

/// Removes segments that retention had taken already, and those above the end that nothing names; names what is short.
async fn remove_leftovers(
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
