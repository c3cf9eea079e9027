//! Whose a directory is, settled between the passes. On the recovering executor.
//!
//! Invariant: nothing is written to a partition's directory before that is there and names the partition's topic; one
//! that a deleted topic left under the same name is moved out of the way (C11).

use std::io;

use net::platform::Runtime;

use super::partition::Tracked;
use crate::log::directories;
use crate::log::recovery::KnownPartitions;
use crate::log::recovery_report::RecoveryReport;
use crate::platform::{DirectoryEntry, DirectoryLook, Disk};
use crate::types::PartitionId;

/// Makes sure that the partition's directory is there and its own; what is in it.
pub(super) async fn settle_directory(
    runtime: &Runtime,
    disk: &Disk,
    known: &KnownPartitions,
    id: PartitionId,
    tracked: &Tracked,
    look: Option<DirectoryLook>,
    report: &mut RecoveryReport,
) -> io::Result<Vec<DirectoryEntry>> {
    let directory = &tracked.directory;
    if let Some(look) = look {
        let owner = directories::owner_in(&look);
        if owner == Some(id.topic_id) {
            return Ok(look.entries);
        }
        if tracked.named {
            directories::write_owner(disk, id, directory).await?;
            report.damage.push(format!(
                "{directory}/partition.metadata: did not name its topic, written again"
            ));
            return Ok(look.entries);
        }
        // A deleted topic's directory although a new topic has its name (C11).
        if owner.is_some_and(|owner| known.removed.contains(&owner)) {
            directories::rename_for_deletion(runtime, disk, directory).await?;
        }
    }
    directories::create(runtime, disk, id, directory).await?;
    Ok(Vec::new())
}
