//! The file half on a real file system.

use std::time::Duration;

use net::platform::{Runtime, block_on};

use super::{BLOCK_BYTES, Disk, File, OpenMode};

fn on_disk<T: Send + 'static>(body: impl AsyncFnOnce(Runtime, Disk) -> T + Send + 'static) -> T {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_path_buf();
    block_on(async move |runtime| {
        let disk = Disk::open_data_directory(&runtime, &root).await.unwrap();
        body(runtime, disk).await
    })
}

/// Bytes that differ from block to block.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|position| (position / 7) as u8 ^ (position >> 12) as u8 ^ seed)
        .collect()
}

async fn write(disk: &Disk, file: &File, content: &[u8], position: u64) {
    let mut buffer = disk.allocate_buffer(content.len());
    buffer[..content.len()].copy_from_slice(content);
    file.write_at(buffer, position).await.unwrap();
}

#[test]
fn ranges_read_back_what_was_written_at_any_alignment() {
    on_disk(async |_, disk| {
        let file = disk.open("log", OpenMode::Create).await.unwrap();
        let content = pattern(3 << 20, 1);
        write(&disk, &file, &content, 0).await;
        file.fdatasync().await.unwrap();
        assert_eq!(file.length().await.unwrap(), 3 << 20);
        for (from, length) in [
            (0, 1),
            (0, 3 << 20),
            (4095, 2),
            (1, 524_288),
            (524_287, 1_600_000),
            (3_145_727, 1),
        ] {
            let read = file.read_at(from as u64, length).await.unwrap();
            assert_eq!(
                read,
                &content[from..from + length],
                "{length} bytes from {from}"
            );
        }
        assert_eq!(file.read_at(3_145_700, 4096).await.unwrap().len(), 28);
        assert!(file.read_at(3 << 20, 1).await.unwrap().is_empty());
        assert!(file.read_at(1 << 40, 1).await.unwrap().is_empty());
    });
}

#[test]
fn a_file_that_was_empty_when_opened_can_be_read_later() {
    on_disk(async |_, disk| {
        let file = disk.open("first", OpenMode::Create).await.unwrap();
        assert!(file.read_at(0, 10).await.unwrap().is_empty());
        write(&disk, &file, b"text", 0).await;
        assert_eq!(&file.read_at(0, 4).await.unwrap()[..], b"text");
    });
}

#[test]
fn an_exact_length_survives_direct_writes_after_it() {
    on_disk(async |_, disk| {
        let file = disk.open("segment", OpenMode::Create).await.unwrap();
        file.allocate(0, 1 << 20).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 0);
        write(&disk, &file, &pattern(8192, 3), 0).await;
        file.truncate(5000).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 5000);
        assert_eq!(
            file.read_at(4096, 4096).await.unwrap(),
            &pattern(8192, 3)[4096..5000]
        );
        write(&disk, &file, &pattern(4096, 4), 4096).await;
        assert_eq!(file.length().await.unwrap(), 8192);
        drop(file);
        let again = disk.open("segment", OpenMode::Read).await.unwrap();
        assert_eq!(again.read_at(4096, 4096).await.unwrap(), pattern(4096, 4));
    });
}

#[test]
fn a_file_opened_to_write_through_tells_the_kernel_so() {
    on_disk(async |_, disk| {
        drop(disk.open("a-journal", OpenMode::Create).await.unwrap());
        let file = disk
            .open("a-journal", OpenMode::WriteThrough)
            .await
            .unwrap();
        write(&disk, &file, b"group", 0).await;
        assert_eq!(&file.read_at(0, 5).await.unwrap()[..], b"group");
        // All tests of this process share its table of files; the file's name is this test's own.
        let flags = open_flags(|path| path.ends_with("a-journal"));
        assert_eq!(flags.len(), 1, "{flags:?}");
        assert_eq!(flags[0] & libc::O_DSYNC, libc::O_DSYNC, "{flags:?}");
    });
}

/// What the kernel knows of the open files whose paths are `wanted`, as in open(2).
fn open_flags(wanted: impl Fn(&std::path::Path) -> bool) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        // One that was closed meanwhile is nobody's.
        if !std::fs::read_link(entry.path()).is_ok_and(|path| wanted(&path)) {
            continue;
        }
        let number = entry.file_name().into_string().unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        found.push(i32::from_str_radix(flags.trim(), 8).unwrap());
    }
    found
}

#[test]
fn create_empties_and_write_needs_the_file() {
    on_disk(async |_, disk| {
        assert_eq!(
            disk.open("a", OpenMode::Write).await.err().unwrap().kind(),
            std::io::ErrorKind::NotFound
        );
        assert_eq!(
            disk.open("a", OpenMode::Read).await.err().unwrap().kind(),
            std::io::ErrorKind::NotFound
        );
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        write(&disk, &file, b"old", 0).await;
        drop(file);
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 0);
    });
}

#[test]
fn opening_for_writing_waits_for_the_lock() {
    on_disk(async |runtime, disk| {
        let first = disk.open("journal", OpenMode::Create).await.unwrap();
        let waiting = disk.open("journal", OpenMode::Write);
        let second = runtime.timeout(Duration::from_millis(50), waiting).await;
        assert!(second.is_err(), "the lock was given twice");
        assert!(disk.open("journal", OpenMode::Read).await.is_ok());
        drop(first);
        disk.open("journal", OpenMode::Write).await.unwrap();
    });
}

#[test]
fn a_dropped_write_still_lands_whole() {
    on_disk(async |runtime, disk| {
        let file = disk.open("log", OpenMode::Create).await.unwrap();
        for round in 0..32u8 {
            let mut buffer = disk.allocate_buffer(64 << 10);
            buffer.fill(round);
            let write = file.write_at(buffer, u64::from(round) * (64 << 10));
            let _ = runtime.timeout(Duration::ZERO, write).await;
            // Memory that a careless backend would have freed and handed out again.
            drop(disk.allocate_buffer(64 << 10));
        }
        drop(file);
        let file = disk.open("log", OpenMode::Write).await.unwrap();
        let content = file.read_at(0, 32 * (64 << 10)).await.unwrap();
        for (position, block) in content.chunks(64 << 10).enumerate() {
            let written = block.iter().all(|byte| usize::from(*byte) == position);
            assert!(
                written || block.iter().all(|byte| *byte == 0),
                "block {position} is mixed"
            );
        }
    });
}

#[test]
fn directories_are_made_listed_renamed_and_removed() {
    on_disk(async |_, disk| {
        disk.create_directory("topic-0").await.unwrap();
        disk.create_directory("topic-0").await.unwrap();
        disk.sync_directory("").await.unwrap();
        disk.write_small("topic-0/partition.metadata", b"version: 0\n")
            .await
            .unwrap();
        disk.write_small("topic-0/partition.metadata", b"version: 1\n")
            .await
            .unwrap();
        assert_eq!(
            disk.read_small("topic-0/partition.metadata", 11)
                .await
                .unwrap(),
            b"version: 1\n"
        );
        let too_long = disk
            .read_small("topic-0/partition.metadata", 10)
            .await
            .err()
            .unwrap();
        assert_eq!(too_long.kind(), std::io::ErrorKind::InvalidData);
        let file = disk.open("topic-0/0.log", OpenMode::Create).await.unwrap();
        write(&disk, &file, b"x", 0).await;
        drop(file);
        let names: Vec<_> = disk
            .list("topic-0")
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.length))
            .collect();
        assert_eq!(
            names,
            [
                ("0.log".into(), BLOCK_BYTES as u64),
                ("partition.metadata".into(), 11)
            ]
        );
        disk.rename("topic-0", "topic-0.abc-delete").await.unwrap();
        assert!(!disk.exists("topic-0").await.unwrap());
        let root = disk.list("").await.unwrap();
        assert_eq!(root.len(), 1, "{root:?}");
        assert!(root[0].is_directory);
        disk.remove_file("topic-0.abc-delete/0.log").await.unwrap();
        disk.remove_file("topic-0.abc-delete/partition.metadata")
            .await
            .unwrap();
        disk.remove_directory("topic-0.abc-delete").await.unwrap();
        disk.sync_filesystem().await.unwrap();
        assert!(disk.list("").await.unwrap().is_empty());
        assert!(disk.free_bytes().await.unwrap() > 0);
    });
}

/// Prints the rate of sequential direct writes and reads; run it alone, optimised, with `TMPDIR` on the disk meant.
#[test]
#[ignore = "measures"]
fn sequential_rates() {
    const FILE_BYTES: usize = 512 << 20;
    for operation_bytes in [128 << 10, 1 << 20] {
        for depth in [1, 4, 8] {
            on_disk(async move |runtime, disk| {
                let file = disk.open("journal", OpenMode::Create).await.unwrap();
                file.allocate(0, FILE_BYTES as u64).await.unwrap();
                for pass in ["first", "again"] {
                    let started = runtime.monotonic();
                    let slots = net::platform::sync::Semaphore::new(depth);
                    for position in (0..FILE_BYTES).step_by(operation_bytes) {
                        let slot = slots.acquire(1).await;
                        let (file, buffer) = (file.clone(), disk.allocate_buffer(operation_bytes));
                        runtime.spawn(async move {
                            file.write_at(buffer, position as u64).await.unwrap();
                            drop(slot);
                        });
                    }
                    drop(slots.acquire(depth).await);
                    file.fdatasync().await.unwrap();
                    let rate =
                        FILE_BYTES as f64 / 1e6 / (runtime.monotonic() - started).as_secs_f64();
                    println!(
                        "write {} KiB x {depth}, {pass} pass: {rate:.0} MB/s",
                        operation_bytes >> 10
                    );
                }
                let started = runtime.monotonic();
                for position in (0..FILE_BYTES).step_by(4 << 20) {
                    assert_eq!(
                        file.read_at(position as u64, 4 << 20).await.unwrap().len(),
                        4 << 20
                    );
                }
                let rate = FILE_BYTES as f64 / 1e6 / (runtime.monotonic() - started).as_secs_f64();
                println!("read 4 MiB: {rate:.0} MB/s");
            });
        }
    }
}
