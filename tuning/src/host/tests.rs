//! Each point on made-up facts, the parsers on texts of real hosts, and the gatherer on the host that runs the tests.

use std::path::{Path, PathBuf};

use super::gather::{
    chosen, count_list, interrupts, limits, lock_capability, mount_in, quota_percent,
};
use super::*;

fn good() -> Facts {
    Facts {
        needs: Needs {
            shards: 4,
            data_directory: PathBuf::from("/data"),
            durability: Durability::Flush,
            memory_bytes: 2 << 30,
            remote_clients: true,
        },
        kernel: Some("6.8.0-41-generic".to_owned()),
        ring: Ok(Ring::default()),
        io_uring_disabled: Some(0),
        seccomp: Some(0),
        locks_freely: false,
        limits: Limits {
            memlock: None,
            descriptors: Some(1_048_576),
        },
        cpu: CpuFacts {
            usable: 4,
            quota_percent: None,
            governors: vec!["performance".to_owned()],
            wake_latency_us: Some(2),
            numa_nodes: Some(1),
            numa_balancing: Some(0),
        },
        interrupts: vec![interrupt(30, "nvme0q1", 0), interrupt(31, "nvme0q2", 1)],
        memory: MemoryFacts {
            usable_bytes: Some(16 << 30),
            huge_pages: Some("madvise".to_owned()),
            swap: Vec::new(),
            swappiness: Some(60),
        },
        data: DataDirectory {
            path: PathBuf::from("/data"),
            writable: Some(Ok(())),
            direct: Some(Ok(())),
            free_bytes: Some(100 << 30),
            mount: Some(mount("xfs", "rw,noatime")),
            disks: vec![Block {
                name: "nvme0n1".to_owned(),
                scheduler: Some("none".to_owned()),
                rotational: Some(false),
                write_cache: Some("write back".to_owned()),
                logical_block: Some(512),
            }],
        },
        clock: ClockFacts {
            source: Some("tsc".to_owned()),
            available: vec!["tsc".to_owned(), "hpet".to_owned()],
            synchronised: Some(true),
        },
        network: NetworkFacts {
            somaxconn: Some(4_096),
            syn_backlog: Some(4_096),
            device_backlog: Some(5_000),
            receive_max: Some(6 << 20),
            send_max: Some(4 << 20),
        },
    }
}

fn interrupt(number: u32, name: &str, busiest: usize) -> Interrupt {
    Interrupt {
        number,
        name: name.to_owned(),
        busiest,
        count: 1_000_000,
    }
}

fn mount(filesystem: &str, options: &str) -> Mount {
    Mount {
        point: "/data".to_owned(),
        filesystem: filesystem.to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
        device: "259:0".to_owned(),
    }
}

/// The one finding that a change brings about.
#[track_caller]
fn found(change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = good();
    change(&mut facts);
    let mut worse: Vec<Finding> = judge(&facts)
        .findings
        .into_iter()
        .filter(|finding| finding.level != Level::Ok)
        .collect();
    assert_eq!(worse.len(), 1, "{worse:#?}");
    worse.remove(0)
}

#[track_caller]
fn says(level: Level, check: &str, is: &str, fix: &str, change: impl FnOnce(&mut Facts)) {
    let finding = found(change);
    assert_eq!(
        (finding.level, finding.check),
        (level, check),
        "{finding:#?}"
    );
    assert!(finding.is.contains(is), "{finding:#?}");
    assert!(
        finding.fix.iter().any(|line| line.contains(fix)),
        "{finding:#?}"
    );
    assert!(!finding.should.is_empty() && !finding.why.is_empty());
}

use Level::{Blocking, Warning};

#[test]
fn a_good_host_has_no_findings_and_exit_code_0() {
    let report = judge(&good());
    assert_eq!(
        report.count(Level::Ok),
        report.findings.len(),
        "{report:#?}"
    );
    assert_eq!(report.exit_code(), 0);
    let mut names: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.check)
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names.len(),
        report.findings.len(),
        "each point has a name of its own"
    );
}

#[test]
fn what_cannot_be_seen_is_no_warning() {
    let mut facts = good();
    facts.kernel = None;
    facts.data.mount = None;
    facts.data.disks.clear();
    facts.clock = ClockFacts::default();
    facts.network = NetworkFacts::default();
    facts.memory = MemoryFacts::default();
    facts.cpu = CpuFacts {
        usable: 4,
        ..CpuFacts::default()
    };
    let report = judge(&facts);
    assert!(report.count(Level::Unknown) > 5);
    assert_eq!(report.exit_code(), 0, "{report:#?}");
}

#[test]
fn what_keeps_a_node_from_starting_blocks() {
    for kernel in ["4.19.0-27-amd64", "5.12.19"] {
        says(Blocking, "kernel", kernel, "newer kernel", |facts| {
            facts.kernel = Some(kernel.into());
        });
    }
    says(
        Blocking,
        "io_uring",
        "not permitted",
        "io_uring_disabled=0",
        |facts| {
            facts.ring = Err(libc::EPERM);
            facts.io_uring_disabled = Some(2);
        },
    );
    says(
        Blocking,
        "io_uring",
        "not permitted",
        "seccomp=PROFILE",
        |facts| {
            facts.ring = Err(libc::EPERM);
            facts.seccomp = Some(2);
        },
    );
    says(
        Blocking,
        "io_uring",
        "without WRITE, FSYNC",
        "newer kernel",
        |facts| {
            facts.ring = Ok(Ring {
                missing: vec!["WRITE", "FSYNC"],
            });
        },
    );
    says(Blocking, "memlock", "64 KiB", "LimitMEMLOCK", |facts| {
        facts.kernel = Some("6.14.6".into());
        facts.limits.memlock = Some(64 << 10);
    });
    says(Blocking, "descriptors", "767", "LimitNOFILE", |facts| {
        facts.limits.descriptors = Some(767);
    });
    says(Blocking, "data directory", "denied", "chown", |facts| {
        facts.data.writable = Some(Err(libc::EACCES));
    });
    says(Blocking, "direct I/O", "Invalid", "log.dirs", |facts| {
        facts.data.direct = Some(Err(libc::EINVAL));
    });
    says(Blocking, "file system", "tmpfs", "log.dirs", |facts| {
        facts.data.mount = Some(mount("tmpfs", "rw,noatime"));
    });
    says(
        Blocking,
        "mount options",
        "no barriers",
        "remount,barrier",
        |facts| {
            facts.data.mount = Some(mount("ext4", "rw,noatime,nobarrier"));
        },
    );
    let mut facts = good();
    facts.ring = Err(libc::ENOSYS);
    facts.memory.huge_pages = Some("always".into());
    assert_eq!(judge(&facts).exit_code(), 2);
}

#[test]
fn rings_count_as_locked_memory_of_a_user_without_the_capability_since_linux_6_14() {
    let level = |kernel: &str, locks_freely, memlock| {
        let mut facts = good();
        facts.kernel = Some(kernel.into());
        facts.locks_freely = locks_freely;
        facts.limits.memlock = Some(memlock);
        let report = judge(&facts);
        let memlock = report
            .findings
            .into_iter()
            .find(|finding| finding.check == "memlock");
        memlock.map(|finding| finding.level)
    };
    assert_eq!(level("6.14.6", false, 336 << 10), Some(Level::Ok));
    assert_eq!(level("6.14.6", false, (336 << 10) - 1), Some(Blocking));
    assert_eq!(level("6.14.6", true, 0), Some(Level::Ok));
    assert_eq!(level("6.13.12", false, 0), Some(Level::Ok));
}

#[test]
fn a_ring_refused_for_want_of_memory_names_the_limits_that_can_be_meant() {
    for (kernel, locked) in [("6.8.0", false), ("6.18.2", true)] {
        let finding = found(|facts| {
            facts.kernel = Some(kernel.into());
            facts.ring = Err(libc::ENOMEM);
            facts.limits.memlock = Some(8 << 20);
        });
        let fix = finding.fix.join("\n");
        assert!(
            fix.contains("MemoryMax") && fix.contains("--memory"),
            "{fix}"
        );
        assert_eq!(fix.contains("LimitMEMLOCK"), locked, "{fix}");
    }
}

#[test]
fn what_costs_speed_or_evenness_is_a_warning_with_its_command() {
    says(Warning, "kernel", "5.15", "newer kernel", |facts| {
        facts.kernel = Some("5.15.0".into())
    });
    says(Warning, "descriptors", "20000", "LimitNOFILE", |facts| {
        facts.limits.descriptors = Some(20_000);
    });
    says(Warning, "cores", "2 usable", "shards=2", |facts| {
        facts.cpu.usable = 2
    });
    says(Warning, "cores", "quota of 1.50", "shards=1", |facts| {
        facts.cpu.quota_percent = Some(150)
    });
    says(Warning, "governor", "powersave", "cpupower", |facts| {
        facts.cpu.governors = vec!["performance".into(), "powersave".into()];
    });
    says(Warning, "idle states", "890 µs", "cpupower", |facts| {
        facts.cpu.wake_latency_us = Some(890)
    });
    says(
        Warning,
        "interrupts",
        "CPU 2: nvme0q1, eth0",
        "/proc/irq/30/smp_affinity_list",
        |facts| {
            facts.interrupts = vec![interrupt(30, "nvme0q1", 2), interrupt(40, "eth0", 2)];
        },
    );
    says(
        Warning,
        "numa",
        "2 memory nodes",
        "numa_balancing=0",
        |facts| {
            facts.cpu.numa_nodes = Some(2);
            facts.cpu.numa_balancing = Some(1);
        },
    );
    says(Warning, "memory", "2047 MiB", "cache.bytes", |facts| {
        facts.memory.usable_bytes = Some((2 << 30) - 1);
    });
    says(Warning, "huge pages", "always", "echo madvise", |facts| {
        facts.memory.huge_pages = Some("always".into());
    });
    says(Warning, "huge pages", "never", "echo madvise", |facts| {
        facts.memory.huge_pages = Some("never".into());
    });
    says(Warning, "swap", "vm.swappiness = 60", "swapoff", |facts| {
        facts.memory.swap = vec![Swap {
            name: "/swap".into(),
            bytes: 1 << 30,
        }];
    });
    says(Warning, "clock source", "hpet", "echo tsc", |facts| {
        facts.clock.source = Some("hpet".into())
    });
    says(Warning, "wall clock", "nothing", "chronyd", |facts| {
        facts.clock.synchronised = Some(false)
    });
    says(
        Warning,
        "listen backlog",
        "somaxconn 128",
        "somaxconn=4096",
        |facts| {
            facts.network.somaxconn = Some(128);
        },
    );
    says(
        Warning,
        "network backlog",
        "1000",
        "netdev_max_backlog",
        |facts| {
            facts.network.device_backlog = Some(1_000);
        },
    );
    says(Warning, "socket buffers", "208 KiB", "tcp_rmem", |facts| {
        facts.network.receive_max = Some(212_992);
    });
}

#[test]
fn disks_and_file_systems_are_judged() {
    says(Warning, "free space", "1024 MiB", "log.dirs", |facts| {
        facts.data.free_bytes = Some(1 << 30)
    });
    says(Warning, "file system", "btrfs", "log.dirs", |facts| {
        facts.data.mount = Some(mount("btrfs", "rw,noatime"));
    });
    says(Warning, "file system", "tmpfs", "log.dirs", |facts| {
        facts.data.mount = Some(mount("tmpfs", "rw,noatime"));
        facts.needs.durability = Durability::Os;
    });
    says(
        Warning,
        "mount options",
        "online discard",
        "fstrim.timer",
        |facts| {
            facts.data.mount = Some(mount("ext4", "rw,relatime,discard"));
        },
    );
    says(
        Warning,
        "mount options",
        "access times",
        "remount,noatime",
        |facts| {
            facts.data.mount = Some(mount("ext4", "rw"));
        },
    );
    says(
        Warning,
        "I/O scheduler",
        "mq-deadline",
        "echo none > /sys/block/nvme0n1",
        |facts| {
            facts.data.disks[0].scheduler = Some("mq-deadline".into());
        },
    );
    says(
        Warning,
        "disk",
        "says that it turns",
        "tune disk",
        |facts| {
            facts.data.disks[0].rotational = Some(true);
        },
    );
    says(Blocking, "disk", "4096", "nvme format", |facts| {
        facts.data.disks[0].logical_block = Some(16_384);
    });
}

#[test]
fn far_network_settings_do_not_matter_to_a_node_on_the_loopback() {
    let mut facts = good();
    facts.needs.remote_clients = false;
    facts.network = NetworkFacts {
        somaxconn: Some(4_096),
        syn_backlog: Some(128),
        device_backlog: Some(1_000),
        receive_max: Some(1),
        send_max: Some(1),
    };
    assert_eq!(judge(&facts).exit_code(), 0);
}

#[test]
fn texts_of_the_kernel_are_read() {
    assert_eq!(
        chosen("none [mq-deadline] kyber").as_deref(),
        Some("mq-deadline")
    );
    assert_eq!(chosen("none"), None);
    assert_eq!(
        (count_list("0-3,8"), count_list("0"), count_list("")),
        (5, 1, 0)
    );
    assert_eq!(
        (quota_percent("150000 100000"), quota_percent("max 100000")),
        (Some(150), None)
    );
    let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\nMax locked memory  8388608  unlimited  bytes\n";
    assert_eq!(
        limits(text),
        Limits {
            memlock: None,
            descriptors: Some(524_288)
        }
    );
    let (all, most) = ("CapEff:\t000001ffffffffff\n", "CapEff:\t00000000a80425fb\n");
    let (first, other) = (
        "         0          0 4294967295\n",
        "         0       1000          1\n",
    );
    assert!(lock_capability(all, first));
    assert!(!lock_capability(most, first) && !lock_capability(all, other));
    let text = "           CPU0       CPU1\n  1:        9          0   IO-APIC   1-edge      i8042\n 36:          7    3232269 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0\nNMI:          0          0   Non-maskable interrupts\nERR:          0\n";
    let expected = Interrupt {
        number: 36,
        name: "virtio1-req.0".into(),
        busiest: 1,
        count: 3_232_276,
    };
    assert_eq!(interrupts(text), [expected]);
}

#[test]
fn the_mount_of_a_path_is_the_deepest_and_last_one_above_it() {
    let text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        30 27 0:25 / /data rw,nosuid shared:5 - tmpfs none rw,size=4k\n\
        31 27 259:1 / /data rw,noatime shared:6 master:1 - xfs /dev/nvme0n1p1 rw,attr2\n\
        32 27 259:2 / /data/with\\040space rw - ext4 /dev/nvme0n1p2 rw\n";
    let of = |path: &str| mount_in(text, Path::new(path)).unwrap();
    let data = of("/data/topic-0");
    assert_eq!(
        (data.filesystem.as_str(), data.device.as_str()),
        ("xfs", "259:1")
    );
    assert_eq!(data.options, ["rw", "noatime", "attr2"]);
    assert_eq!(of("/database").filesystem, "ext4");
    assert_eq!(of("/data/with space/x").device, "259:2");
    assert_eq!(of("/").options, ["rw", "relatime", "discard"]);
}

#[test]
fn the_gatherer_finds_this_host_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let needs = Needs {
        data_directory: directory.path().join("not/yet"),
        ..good().needs
    };
    let facts = gather(needs);
    assert!(facts.kernel.as_deref().and_then(kernel_version).is_some());
    assert!(facts.cpu.usable > 0 && facts.memory.usable_bytes.is_some());
    assert_eq!(facts.data.path, directory.path().canonicalize().unwrap());
    assert_eq!(facts.data.writable, Some(Ok(())));
    assert!(facts.data.mount.is_some());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(!judge(&facts).findings.is_empty());
}
