//! The disk's model: what a power cut, a kill, a failed flush, a full disk leave behind.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use net::platform::sim::{Node, Simulation};
use net::platform::{Runtime, block_on};

use super::{CutMode, DiskFault, SimDisk, SimDiskOptions};
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};

const BLOCK: u64 = BLOCK_BYTES as u64;

struct Machine {
    simulation: Simulation,
    disk: SimDisk,
    node: Node,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let simulation = Simulation::new(seed);
        let disk = SimDisk::new(&simulation.handle(), SimDiskOptions::default());
        let node = simulation.node("broker");
        Machine {
            simulation,
            disk,
            node,
        }
    }

    fn run<T: 'static>(&self, body: impl AsyncFnOnce(Runtime, Disk) -> T + 'static) -> T {
        let runtime = self.node.runtime();
        let disk = self.disk.disk(&runtime);
        self.simulation
            .block_on(&self.node, async move { body(runtime, disk).await })
    }

    fn restart(&mut self) {
        self.node = self.simulation.node("broker");
    }

    fn kill(&mut self) {
        self.simulation.kill(&self.node);
        self.restart();
    }

    fn power_cut(&mut self, mode: CutMode) {
        self.simulation.power_off(&self.node);
        self.disk.cut_power(mode);
        self.restart();
    }
}

async fn fill(disk: &Disk, file: &File, block: u64, byte: u8) -> io::Result<()> {
    let mut buffer = disk.allocate_buffer(BLOCK_BYTES);
    buffer.fill(byte);
    file.write_at(buffer, block * BLOCK).await
}

/// A durable file "journal" of `blocks` blocks of ones.
async fn durable_journal(disk: &Disk, blocks: u64) -> File {
    let file = disk.open("journal", OpenMode::Create).await.unwrap();
    for block in 0..blocks {
        fill(disk, &file, block, 1).await.unwrap();
    }
    file.fdatasync().await.unwrap();
    disk.sync_directory("").await.unwrap();
    file
}

#[test]
fn a_cut_loses_what_was_not_flushed_and_nothing_else() {
    let mut machine = Machine::new(1);
    machine.run(async |_, disk| {
        let file = durable_journal(&disk, 2).await;
        fill(&disk, &file, 1, 2).await.unwrap();
        fill(&disk, &file, 2, 2).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 3 * BLOCK);
    });
    machine.power_cut(CutMode::Random(0.0));
    let content = machine.disk.content("journal").unwrap();
    assert_eq!(content, vec![1; 2 * BLOCK_BYTES]);
}

#[test]
fn a_cut_tears_blocks_between_sectors() {
    let mut torn = 0;
    for seed in 0..20 {
        let mut machine = Machine::new(seed);
        machine.run(async |_, disk| {
            let file = durable_journal(&disk, 1).await;
            fill(&disk, &file, 0, 2).await.unwrap();
        });
        machine.power_cut(CutMode::Random(0.5));
        let content = machine.disk.content("journal").unwrap();
        for sector in content.chunks(512) {
            assert!(
                sector.iter().all(|byte| *byte == sector[0]) && [1, 2].contains(&sector[0]),
                "SEED={seed}"
            );
        }
        torn += u64::from(content.contains(&1) && content.contains(&2));
        assert_eq!(
            machine.simulation.faults().contains_key("disk_torn_block"),
            content.contains(&1) && content.contains(&2)
        );
    }
    assert!(torn > 10);
}

#[test]
fn a_disk_that_reorders_keeps_the_latest_writes_only() {
    let mut machine = Machine::new(1);
    machine.run(async |_, disk| {
        let file = durable_journal(&disk, 4).await;
        for block in 0..4 {
            fill(&disk, &file, block, 2).await.unwrap();
        }
    });
    machine.power_cut(CutMode::Latest(0.5));
    let content = machine.disk.content("journal").unwrap();
    let firsts: Vec<u8> = content.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(firsts, [1, 1, 2, 2]);
}

#[test]
fn a_write_through_is_durable_when_it_completes_or_fails_as_its_flush_does() {
    let mut machine = Machine::new(1);
    let disk_machine = machine.disk.clone();
    machine.run(async move |_, disk| {
        drop(durable_journal(&disk, 3).await);
        let file = disk.open("journal", OpenMode::WriteThrough).await.unwrap();
        fill(&disk, &file, 1, 2).await.unwrap();
        disk_machine.fail_next(DiskFault::Flush, "journal");
        fill(&disk, &file, 2, 2).await.unwrap_err();
    });
    machine.power_cut(CutMode::Random(0.0));
    let content = machine.disk.content("journal").unwrap();
    let firsts: Vec<u8> = content.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(firsts, [1, 2, 1]);
}

#[test]
fn allocated_space_without_flushed_content_reads_as_zeros() {
    let mut machine = Machine::new(1);
    machine.run(async |_, disk| {
        let file = durable_journal(&disk, 1).await;
        file.allocate(0, 8 * BLOCK).await.unwrap();
        fill(&disk, &file, 3, 7).await.unwrap();
        file.fdatasync().await.unwrap();
        fill(&disk, &file, 2, 7).await.unwrap();
    });
    machine.power_cut(CutMode::Random(0.0));
    let content = machine.disk.content("journal").unwrap();
    let firsts: Vec<u8> = content.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(firsts, [1, 0, 0, 7]);
}

#[test]
fn a_name_lasts_only_after_its_directory_was_synced() {
    for synced in [false, true] {
        let mut machine = Machine::new(1);
        machine.run(async move |_, disk| {
            disk.write_small("checkpoint", b"old").await.unwrap();
            let file = disk.open("checkpoint.new", OpenMode::Create).await.unwrap();
            fill(&disk, &file, 0, 5).await.unwrap();
            file.fdatasync().await.unwrap();
            disk.rename("checkpoint.new", "checkpoint").await.unwrap();
            if synced {
                disk.sync_directory("").await.unwrap();
            }
        });
        machine.power_cut(CutMode::Random(0.0));
        let content = machine.disk.content("checkpoint").unwrap();
        assert_eq!(content[..3] == *b"old", !synced);
        assert!(machine.disk.content("checkpoint.new").is_err());
    }
}

#[test]
fn a_directory_is_lost_with_all_in_it_when_its_parent_was_not_synced() {
    let mut machine = Machine::new(1);
    machine.run(async |_, disk| {
        disk.create_directory("topic-0").await.unwrap();
        disk.write_small("topic-0/partition.metadata", b"x")
            .await
            .unwrap();
    });
    machine.power_cut(CutMode::Random(0.0));
    assert!(
        machine
            .run(async |_, disk| disk.list("").await)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_failed_flush_drops_the_data_and_the_next_one_succeeds() {
    let mut machine = Machine::new(1);
    machine.disk.fail_next(DiskFault::Flush, "journal");
    // The first flush is the one of the set-up; it must not be the one that fails.
    machine.run(async |_, disk| {
        let file = disk.open("journal", OpenMode::Create).await.unwrap();
        fill(&disk, &file, 0, 2).await.unwrap();
        disk.sync_directory("").await.unwrap();
        assert_eq!(
            file.fdatasync().await.err().unwrap().raw_os_error(),
            Some(libc::EIO)
        );
        assert_eq!(file.fdatasync().await.map_err(|error| error.kind()), Ok(()));
        assert_eq!(file.read_at(0, 1).await.unwrap()[0], 2);
    });
    machine.power_cut(CutMode::Random(0.0));
    let content = machine.disk.content("journal").unwrap();
    assert!(
        !content.contains(&2),
        "a write survived that no successful flush covered"
    );
    assert_eq!(machine.simulation.faults()["disk_flush_error"], 1);
}

#[test]
fn syncfs_alone_is_not_durable_until_some_flush_follows() {
    for flushed in [false, true] {
        let mut machine = Machine::new(1);
        machine.run(async move |_, disk| {
            let other = disk.open("checkpoint", OpenMode::Create).await.unwrap();
            let file = durable_journal(&disk, 1).await;
            fill(&disk, &file, 0, 2).await.unwrap();
            disk.sync_filesystem().await.unwrap();
            if flushed {
                fill(&disk, &other, 0, 1).await.unwrap();
                other.fdatasync().await.unwrap();
            }
        });
        machine.power_cut(CutMode::Random(0.0));
        assert_eq!(
            machine.disk.content("journal").unwrap()[0],
            if flushed { 2 } else { 1 }
        );
    }
}

#[test]
fn a_killed_process_leaves_no_name_to_change_under_the_next_one() {
    let mut machine = Machine::new(4);
    machine.run(async |_, disk| drop(durable_journal(&disk, 1).await));
    let options = SimDiskOptions {
        latency_max: Duration::from_secs(1),
        ..SimDiskOptions::default()
    };
    machine.disk.set_options(options);
    let (disk, runtime) = (
        machine.disk.disk(&machine.node.runtime()),
        machine.node.runtime(),
    );
    runtime.spawn(async move { disk.rename("journal", "renamed").await.unwrap() });
    machine.simulation.run_for(Duration::from_millis(1));
    assert!(machine.disk.content("renamed").is_err(), "it is under way");
    machine.kill();
    machine.disk.set_options(SimDiskOptions::default());
    let seen = machine.run(async |_, disk| {
        (
            disk.exists("journal").await.unwrap(),
            disk.exists("renamed").await.unwrap(),
        )
    });
    assert_eq!(seen, (false, true));
}

#[test]
fn a_killed_process_leaves_writes_that_land_later_and_hold_the_lock() {
    let mut late = 0;
    for seed in 0..20 {
        let mut machine = Machine::new(seed);
        machine.run(async |_, disk| drop(durable_journal(&disk, 1).await));
        let slow = SimDiskOptions {
            latency_max: Duration::from_millis(50),
            ..SimDiskOptions::default()
        };
        machine.disk.set_options(slow);
        let disk = machine.disk.disk(&machine.node.runtime());
        machine.node.runtime().spawn(async move {
            let file = disk.open("journal", OpenMode::Write).await.unwrap();
            let _ = fill(&disk, &file, 0, 9).await;
        });
        machine.simulation.run_for(Duration::from_millis(60));
        machine.kill();
        let at_restart = machine.disk.content("journal").unwrap()[0];
        let in_flight = machine.disk.operations_in_flight() > 0;
        let at_open = machine.run(async |_, disk| {
            let file = disk.open("journal", OpenMode::Write).await.unwrap();
            file.length().await.unwrap();
            disk
        });
        drop(at_open);
        let after_lock = machine.disk.content("journal").unwrap()[0];
        machine.simulation.run_for(Duration::from_secs(1));
        assert_eq!(
            machine.disk.content("journal").unwrap()[0],
            after_lock,
            "SEED={seed}: it landed after the lock"
        );
        late += u64::from(in_flight && at_restart != after_lock);
    }
    assert!(late > 0, "no write ever landed after the kill");
}

#[test]
fn opening_for_writing_waits_for_the_lock() {
    let machine = Machine::new(1);
    machine.run(async |runtime, disk| {
        let first = disk.open("journal", OpenMode::Create).await.unwrap();
        let second = runtime
            .timeout(
                Duration::from_secs(5),
                disk.open("journal", OpenMode::Write),
            )
            .await;
        assert!(second.is_err());
        drop(first);
        disk.open("journal", OpenMode::Write).await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_but_serves_what_was_allocated() {
    let machine = Machine::new(1);
    machine.disk.set_options(SimDiskOptions {
        quota_bytes: Some(10 * BLOCK),
        ..SimDiskOptions::default()
    });
    machine.run(async |_, disk| {
        let file = disk.open("journal", OpenMode::Create).await.unwrap();
        file.allocate(0, 8 * BLOCK).await.unwrap();
        assert_eq!(disk.free_bytes().await.unwrap(), 2 * BLOCK);
        let other = disk.open("segment", OpenMode::Create).await.unwrap();
        assert_eq!(
            other.allocate(0, 3 * BLOCK).await.err().unwrap().kind(),
            io::ErrorKind::StorageFull
        );
        fill(&disk, &other, 0, 1).await.unwrap();
        fill(&disk, &other, 1, 1).await.unwrap();
        assert_eq!(
            fill(&disk, &other, 2, 1).await.err().unwrap().kind(),
            io::ErrorKind::StorageFull
        );
        fill(&disk, &file, 7, 1).await.unwrap();
        drop(other);
        disk.remove_file("segment").await.unwrap();
        assert_eq!(disk.free_bytes().await.unwrap(), 2 * BLOCK);
    });
    assert!(machine.simulation.faults()["disk_full"] >= 2);
}

#[test]
fn planned_errors_and_rot_reach_the_program() {
    let machine = Machine::new(1);
    machine.run(async |_, disk| drop(durable_journal(&disk, 1).await));
    machine.disk.fail_next(DiskFault::Read, "journal");
    machine.disk.fail_next(DiskFault::Write, "journal");
    machine.run(async |_, disk| {
        let file = disk.open("journal", OpenMode::Write).await.unwrap();
        assert_eq!(
            file.read_at(0, 1).await.err().unwrap().raw_os_error(),
            Some(libc::EIO)
        );
        assert_eq!(file.read_at(0, 1).await.unwrap()[0], 1);
        assert_eq!(
            fill(&disk, &file, 0, 2).await.err().unwrap().raw_os_error(),
            Some(libc::EIO)
        );
        fill(&disk, &file, 0, 1).await.unwrap();
    });
    assert!(machine.disk.rot("journal", 100, 0x80).unwrap());
    assert!(!machine.disk.rot("journal", BLOCK, 0x80).unwrap());
    assert_eq!(machine.disk.content("journal").unwrap()[100], 0x81);
}

/// A workload under every random fault; the trace hash and the faults counted.
fn run_with_faults(seed: u64) -> (u64, BTreeMap<&'static str, u64>) {
    let mut machine = Machine::new(seed);
    machine.disk.set_options(SimDiskOptions {
        latency_tail: 0.05,
        read_error: 0.05,
        write_error: 0.05,
        flush_error: 0.05,
        short_write: 0.2,
        short_read: 0.2,
        bit_rot: 0.05,
        quota_bytes: Some(12 * BLOCK),
        ..SimDiskOptions::default()
    });
    for round in 0..3u8 {
        let disk = machine.disk.disk(&machine.node.runtime());
        machine.node.runtime().spawn(async move {
            for number in 0..20u64 {
                let name = format!("file-{}", number % 4);
                let Ok(file) = disk.open(&name, OpenMode::Create).await else {
                    continue;
                };
                let mut buffer = disk.allocate_buffer(5 * BLOCK_BYTES);
                buffer.fill(round);
                let _ = file.write_at(buffer, (number % 8) * BLOCK).await;
                let _ = file.fdatasync().await;
                let _ = file.read_at(100, 4 * BLOCK_BYTES).await;
                let _ = disk.rename(&name, "renamed").await;
                let _ = disk.sync_directory("").await;
            }
        });
        machine.simulation.run_for(Duration::from_millis(20));
        if round == 1 {
            machine.kill();
        } else {
            machine.power_cut(CutMode::Random(0.5));
        }
    }
    (machine.simulation.trace_hash(), machine.simulation.faults())
}

#[test]
fn one_seed_gives_one_trace_and_every_fault_happens() {
    assert_eq!(run_with_faults(1), run_with_faults(1));
    let mut counted = BTreeMap::<_, u64>::new();
    for seed in 1..20 {
        for (kind, count) in run_with_faults(seed).1 {
            *counted.entry(kind).or_default() += count;
        }
    }
    let kinds = [
        "kill",
        "power_off",
        "disk_power_cut",
        "disk_latency_tail",
        "disk_read_error",
        "disk_write_error",
        "disk_flush_error",
        "disk_short_write",
        "disk_short_read",
        "disk_bit_rot",
        "disk_full",
        "disk_torn_block",
        "disk_lost_sector",
        "disk_lost_name",
        "disk_lost_length",
    ];
    for kind in kinds {
        assert!(
            counted.contains_key(kind),
            "{kind} never happened: {counted:?}"
        );
    }
}

/// Numbers for the script below (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % below
    }
}

/// The same operations on any disk; what they answered.
async fn script(disk: Disk, seed: u64) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let mut answers = Vec::new();
    let name = |number: u64| ["a", "b", "d/a", "d/b", "d", "e"][number as usize].to_owned();
    for _ in 0..200 {
        let (one, other) = (name(numbers.below(6)), name(numbers.below(6)));
        let (block, count) = (numbers.below(6), 1 + numbers.below(4));
        let kind = |result: io::Result<()>| format!("{:?}", result.map_err(|error| error.kind()));
        let answer = match numbers.below(11) {
            0 | 1 => kind(disk.open(&one, OpenMode::Create).await.map(drop)),
            2 | 3 => match disk.open(&one, OpenMode::Write).await {
                Ok(file) => {
                    let mut buffer = disk.allocate_buffer((count * BLOCK) as usize);
                    buffer.fill(block as u8 + 1);
                    file.write_at(buffer, block * BLOCK).await.unwrap();
                    file.fdatasync().await.unwrap();
                    format!("{}", file.length().await.unwrap())
                }
                Err(error) => format!("{:?}", error.kind()),
            },
            4 => match disk.open(&one, OpenMode::Write).await {
                Ok(file) => {
                    file.truncate(block * 1_000).await.unwrap();
                    file.allocate(0, count * BLOCK).await.unwrap();
                    format!("{}", file.length().await.unwrap())
                }
                Err(error) => format!("{:?}", error.kind()),
            },
            // Opening a directory fails either way, with a code that depends on the file system.
            5 => match disk.open(&one, OpenMode::Read).await {
                Ok(file) => format!("{:?}", file.read_at(block * 777, 9_000).await.unwrap()),
                Err(error) if error.kind() != io::ErrorKind::NotFound => "a directory".into(),
                Err(error) => format!("{:?}", error.kind()),
            },
            6 => kind(disk.create_directory(&one).await),
            7 if one != other
                && !one.starts_with(&format!("{other}/"))
                && !other.starts_with(&format!("{one}/")) =>
            {
                kind(disk.rename(&one, &other).await)
            }
            8 => kind(disk.remove_file(&one).await),
            9 => kind(disk.remove_directory(&one).await),
            _ => format!(
                "{:?} {:?}",
                disk.list("").await.unwrap(),
                disk.exists(&one).await.unwrap()
            ),
        };
        answers.push(format!("{one} {other}: {answer}"));
    }
    disk.write_small("small", b"content").await.unwrap();
    disk.sync_filesystem().await.unwrap();
    answers.push(format!(
        "{:?} {:?}",
        disk.read_small("small", 7).await,
        disk.list("").await.unwrap()
    ));
    answers
}

#[test]
fn without_faults_it_answers_as_a_real_file_system_does() {
    for seed in 0..20 {
        let simulated = Machine::new(seed).run(async move |_, disk| script(disk, seed).await);
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_path_buf();
        let real = block_on(async move |runtime| {
            script(
                Disk::open_data_directory(&runtime, &root).await.unwrap(),
                seed,
            )
            .await
        });
        for (step, (simulated, real)) in simulated.iter().zip(&real).enumerate() {
            assert_eq!(simulated, real, "seed {seed}, step {step}");
        }
    }
}
