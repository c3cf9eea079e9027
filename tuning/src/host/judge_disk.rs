//! The judgement on the data directory, its file system and its disks: pure.

use super::facts::{Block, Facts};
use super::judge::{Point, error_text};
use super::report::{Finding, Level};
use crate::Durability;

/// Below this a node soon has no room for a journal and a few segments.
const FREE_BYTES_MIN: u64 = 10 << 30;
/// File systems that are known to do direct I/O, preallocation and flushes well.
const GOOD_FILESYSTEMS: [&str; 2] = ["xfs", "ext4"];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        directory(facts),
        direct_io(facts),
        space(facts),
        filesystem(facts),
        mount_options(facts),
    ];
    findings.push(device(facts));
    findings.push(scheduler(facts));
    findings.push(write_cache(facts));
    findings
}

fn directory(facts: &Facts) -> Finding {
    let point = Point::new(
        "data directory",
        "can be written by this user",
        "everything a node keeps is there",
    );
    let path = facts.data.path.display();
    match facts.data.writable {
        None => point.unknown(),
        Some(Ok(())) => point.good(format!("{path} can be written")),
        Some(Err(errno)) => {
            let fix = format!("chown -R $(id -un) {path}   (or --set log.dirs=DIR)");
            point.bad(
                Level::Blocking,
                format!("{path}: {}", error_text(errno)),
                &[&fix],
            )
        }
    }
}

fn direct_io(facts: &Facts) -> Finding {
    let point = Point::new(
        "direct I/O",
        "blocks of 4096 bytes can be written past the page cache and flushed",
        "journal and segments are written that way",
    );
    match facts.data.direct {
        None => point.unknown(),
        Some(Ok(())) => point.good("works"),
        Some(Err(errno)) => point.bad(
            Level::Blocking,
            error_text(errno),
            &["tidelog --set log.dirs=DIR   (a directory on XFS or ext4)"],
        ),
    }
}

fn space(facts: &Facts) -> Finding {
    let point = Point::new(
        "free space",
        format!("{} GiB at least", FREE_BYTES_MIN >> 30),
        "a full disk refuses produce until retention or an operator makes room",
    );
    match facts.data.free_bytes {
        None => point.unknown(),
        Some(free) if free < FREE_BYTES_MIN => point.bad(
            Level::Warning,
            format!("{} MiB", free >> 20),
            &["tidelog --set log.dirs=DIR   (a directory on a larger disk), or free some"],
        ),
        Some(free) => point.good(format!("{} GiB", free >> 30)),
    }
}

fn filesystem(facts: &Facts) -> Finding {
    let point = Point::new(
        "file system",
        "XFS or ext4 on a disk",
        "preallocation, direct I/O and fdatasync do there what the journal relies on",
    );
    let Some(mount) = &facts.data.mount else {
        return point.unknown();
    };
    let name = mount.filesystem.as_str();
    let fix = ["tidelog --set log.dirs=DIR   (a directory on XFS or ext4)"];
    match name {
        good if GOOD_FILESYSTEMS.contains(&good) => point.good(name),
        "tmpfs" | "ramfs" => {
            let level = match facts.needs.durability {
                Durability::Flush => Level::Blocking,
                Durability::Os => Level::Warning,
            };
            point.bad(level, format!("{name}: a reboot loses everything"), &fix)
        }
        "nfs" | "nfs4" | "cifs" | "9p" | "fuse" | "overlay" | "virtiofs" => point.bad(
            Level::Warning,
            format!("{name}: what a flush promises depends on somebody else"),
            &fix,
        ),
        "btrfs" | "zfs" => point.bad(
            Level::Warning,
            format!("{name}: copies on write, so every journal write allocates anew"),
            &fix,
        ),
        _ => point.bad(Level::Warning, format!("{name}: never tried"), &fix),
    }
}

fn mount_options(facts: &Facts) -> Finding {
    let point = Point::new(
        "mount options",
        "noatime or relatime, barriers on, no online discard",
        "access times cost writes, discards stall the disk behind flushes, and without barriers a flush promises nothing",
    );
    let Some(mount) = &facts.data.mount else {
        return point.unknown();
    };
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let (mut wrong, mut fix, mut level) = (Vec::new(), Vec::new(), Level::Ok);
    let remount = |option: &str| format!("mount -o remount,{option} {}", mount.point);
    if has("nobarrier") || has("barrier=0") {
        wrong.push("no barriers");
        fix.push(remount("barrier"));
        level = level.max(match facts.needs.durability {
            Durability::Flush => Level::Blocking,
            Durability::Os => Level::Warning,
        });
    }
    if has("ro") {
        wrong.push("read-only");
        fix.push(remount("rw"));
        level = Level::Blocking;
    }
    if !has("noatime") && !has("relatime") {
        wrong.push("access times are kept");
        fix.push(remount("noatime"));
        level = level.max(Level::Warning);
    }
    if has("discard") {
        wrong.push("online discard");
        fix.push(remount("nodiscard"));
        fix.push("systemctl enable --now fstrim.timer".to_owned());
        level = level.max(Level::Warning);
    }
    if has("data=journal") {
        wrong.push("data=journal writes everything twice");
        fix.push(format!(
            "tune2fs -o journal_data_ordered DEVICE; umount {0}; mount {0}",
            mount.point
        ));
        level = level.max(Level::Warning);
    }
    if level == Level::Ok {
        return point.good(mount.options.join(","));
    }
    let fix: Vec<&str> = fix.iter().map(String::as_str).collect();
    point.bad(
        level,
        format!("{} ({})", wrong.join(", "), mount.options.join(",")),
        &fix,
    )
}

fn names(disks: &[&Block]) -> String {
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    names.join(", ")
}

fn device(facts: &Facts) -> Finding {
    let point = Point::new(
        "disk",
        "solid state, logical blocks of 4096 bytes or less",
        "a flush of a turning disk takes ten milliseconds and more, and journal writes are multiples of 4096 bytes",
    );
    let disks = &facts.data.disks;
    if disks.is_empty() {
        return point.unknown();
    }
    let large: Vec<&Block> = disks
        .iter()
        .filter(|disk| disk.logical_block.is_some_and(|bytes| bytes > 4_096))
        .collect();
    if !large.is_empty() {
        return point.bad(
            Level::Blocking,
            format!("logical blocks of more than 4096 bytes: {}", names(&large)),
            &["nvme format --lbaf=... DEVICE   (destroys its data), or another disk"],
        );
    }
    let turning: Vec<&Block> = disks
        .iter()
        .filter(|disk| disk.rotational == Some(true))
        .collect();
    match turning.is_empty() {
        true => point.good(names(&disks.iter().collect::<Vec<_>>())),
        // Virtual disks may say so without turning; then only the words are wrong.
        false => point.bad(
            Level::Warning,
            format!("says that it turns: {}", names(&turning)),
            &["tidelog tune disk   (measures it), then --set log.dirs=DIR on a faster one"],
        ),
    }
}

fn scheduler(facts: &Facts) -> Finding {
    let point = Point::new(
        "I/O scheduler",
        "none on solid-state disks",
        "a node orders its own writes; a scheduler adds a lock and a delay to each",
    );
    let disks = &facts.data.disks;
    let chosen: Vec<&str> = disks
        .iter()
        .filter_map(|disk| disk.scheduler.as_deref())
        .collect();
    if chosen.is_empty() {
        return point.unknown();
    }
    let slow = |disk: &&Block| {
        disk.scheduler.as_deref().is_some_and(|name| name != "none")
            && disk.rotational != Some(true)
    };
    let wrong: Vec<&Block> = disks.iter().filter(slow).collect();
    if wrong.is_empty() {
        return point.good(chosen.join(", "));
    }
    let fix: Vec<String> = wrong
        .iter()
        .map(|disk| format!("echo none > /sys/block/{}/queue/scheduler", disk.name))
        .collect();
    let fix: Vec<&str> = fix.iter().map(String::as_str).collect();
    point.bad(Level::Warning, chosen.join(", "), &fix)
}

fn write_cache(facts: &Facts) -> Finding {
    let point = Point::new(
        "write cache",
        "write back; or write through where the cache survives a power cut",
        "fdatasync sends a flush only to a disk that says write back; a disk with a volatile cache set to write through loses acknowledged records",
    );
    let disks = &facts.data.disks;
    let said: Vec<&str> = disks
        .iter()
        .filter_map(|disk| disk.write_cache.as_deref())
        .collect();
    if said.is_empty() {
        return point.unknown();
    }
    let through: Vec<&Block> = disks
        .iter()
        .filter(|disk| disk.write_cache.as_deref() == Some("write through"))
        .collect();
    // Enterprise disks say so truthfully; it cannot be told from here, and a warning for each of them would be noise.
    match through.is_empty() {
        true => point.good(said.join(", ")),
        false => point.good(format!(
            "write through: {} (make sure that its cache is protected)",
            names(&through)
        )),
    }
}
