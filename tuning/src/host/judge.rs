//! The judgement on a host's facts: pure. One function a point; disks and file systems stand in `judge_disk`.

use super::facts::{CpuFacts, Facts, Interrupt};
use super::report::{Finding, Level, Report};
use super::{
    DESCRIPTORS_BASE, DESCRIPTORS_PER_SHARD, KERNEL_MIN, judge_disk, kernel_version, memlock_needed,
};

/// From here on completions run only when a shard enters the kernel, so that no packet interrupts it (DEFER_TASKRUN).
const KERNEL_GOOD: (u32, u32) = (6, 1);
/// Descriptors that let a node with thousands of partitions and connections live.
const DESCRIPTORS_GOOD: u64 = 100_000;
/// A processor that sleeps deeper than this costs every tail latency.
const WAKE_LATENCY_US_MAX: u64 = 100;
/// Interrupts below this since boot come from a device that nobody uses.
const INTERRUPTS_MIN: u64 = 10_000;
const SOMAXCONN_MIN: u64 = 4_096;
const SYN_BACKLOG_MIN: u64 = 4_096;
const DEVICE_BACKLOG_MIN: u64 = 5_000;
const SOCKET_BUFFER_MIN: u64 = 4 << 20;
const SWAPPINESS_MAX: u64 = 10;

/// Judges what was found.
#[must_use]
pub fn judge(facts: &Facts) -> Report {
    let mut findings = vec![
        kernel(facts),
        io_uring(facts),
        memlock(facts),
        descriptors(facts),
        cores(facts),
        governor(&facts.cpu),
        idle_states(&facts.cpu),
        interrupts(facts),
        numa(&facts.cpu),
        memory(facts),
        huge_pages(facts),
        swap(facts),
    ];
    findings.extend(judge_disk::findings(facts));
    findings.extend([
        clock_source(facts),
        wall_clock(facts),
        listen_backlog(facts),
        device_backlog(facts),
        socket_buffers(facts),
    ]);
    Report { findings }
}

/// A point as it is built up: good until something is held against it.
pub(super) struct Point {
    finding: Finding,
}

impl Point {
    pub(super) fn new(check: &'static str, should: impl Into<String>, why: &'static str) -> Point {
        Point {
            finding: Finding {
                check,
                level: Level::Ok,
                is: String::new(),
                should: should.into(),
                why,
                fix: Vec::new(),
            },
        }
    }

    pub(super) fn good(mut self, is: impl Into<String>) -> Finding {
        self.finding.is = is.into();
        self.finding
    }

    pub(super) fn unknown(mut self) -> Finding {
        self.finding.level = Level::Unknown;
        self.finding.is = "cannot be seen from here".to_owned();
        self.finding
    }

    pub(super) fn bad(mut self, level: Level, is: impl Into<String>, fix: &[&str]) -> Finding {
        self.finding.level = level;
        self.finding.is = is.into();
        self.finding.fix = fix.iter().map(|&line| line.to_owned()).collect();
        self.finding
    }
}

fn kernel(facts: &Facts) -> Finding {
    let point = Point::new(
        "kernel",
        format!(
            "{}.{} at least, {}.{} or newer for speed",
            KERNEL_MIN.0, KERNEL_MIN.1, KERNEL_GOOD.0, KERNEL_GOOD.1
        ),
        "io_uring of older kernels lacks what Tidelog uses, or interrupts a busy shard for every packet",
    );
    let Some(release) = &facts.kernel else {
        return point.unknown();
    };
    match kernel_version(release) {
        None => point.unknown(),
        Some(version) if version < KERNEL_MIN => point.bad(
            Level::Blocking,
            release,
            &["install a newer kernel of the distribution and reboot"],
        ),
        Some(version) if version < KERNEL_GOOD => point.bad(
            Level::Warning,
            release,
            &["install a newer kernel of the distribution and reboot"],
        ),
        Some(_) => point.good(release),
    }
}

fn io_uring(facts: &Facts) -> Finding {
    let point = Point::new(
        "io_uring",
        "usable by this process, with every operation that Tidelog needs",
        "all disk and network I/O of a node goes through it; there is no other way in",
    );
    match &facts.ring {
        Ok(ring) if ring.missing.is_empty() => point.good("usable"),
        Ok(ring) => point.bad(
            Level::Blocking,
            format!("usable, but without {}", ring.missing.join(", ")),
            &["install a newer kernel of the distribution and reboot"],
        ),
        Err(errno) => {
            let is = format!("cannot be set up: {}", error_text(*errno));
            let fix: &[&str] = match (*errno, facts.io_uring_disabled, facts.seccomp) {
                (libc::EPERM, Some(1 | 2), _) => &["sysctl -w kernel.io_uring_disabled=0"],
                (libc::EPERM | libc::EACCES | libc::ENOSYS, _, Some(2)) => &[
                    "docker run --security-opt seccomp=PROFILE.json ...   (Docker's profile plus io_uring_setup, io_uring_enter, io_uring_register)",
                ],
                (libc::EPERM | libc::EACCES, _, _) => &[
                    "journalctl -k | grep -i denied   (a security module forbids it: allow io_uring there)",
                ],
                (libc::ENOSYS, _, _) => &["run on a kernel with CONFIG_IO_URING=y"],
                (libc::ENOMEM, _, _) if limit_counts(facts) => &[
                    "systemd: LimitMEMLOCK=infinity, and MemoryMax= raised   (either the user's locked memory or the control group's memory is used up)",
                    "docker run --ulimit memlock=-1 --memory BYTES ...",
                ],
                (libc::ENOMEM, _, _) => &[
                    "systemd: MemoryMax= raised   (the memory of the control group, or of the machine, is used up)",
                    "docker run --memory BYTES ...",
                    "kubernetes: resources.limits.memory raised",
                ],
                (libc::EMFILE | libc::ENFILE, _, _) => &["systemd: LimitNOFILE=1048576"],
                _ => &["please report this line with how the process was started"],
            };
            point.bad(Level::Blocking, is, fix)
        }
    }
}

const MEMLOCK_FIX: [&str; 3] = [
    "systemd: LimitMEMLOCK=infinity",
    "docker run --ulimit memlock=-1 ...",
    "shell: ulimit -l unlimited   (the hard limit stands in /etc/security/limits.conf)",
];

fn memlock(facts: &Facts) -> Finding {
    let needed = locked_memory(facts);
    let point = Point::new(
        "memlock",
        match needed {
            Some(needed) => format!("{} KiB at least", needed.div_ceil(1 << 10)),
            None => "anything: rings are not counted here".to_owned(),
        },
        "Linux 6.14 and newer count rings as locked memory of their user, unless the process has CAP_IPC_LOCK",
    );
    match facts.limits.memlock {
        None => point.good("no limit"),
        Some(limit) if needed.is_none_or(|needed| limit >= needed) => {
            point.good(format!("{} KiB", limit >> 10))
        }
        Some(limit) => point.bad(
            Level::Blocking,
            format!("{} KiB", limit >> 10),
            &MEMLOCK_FIX,
        ),
    }
}

/// Whether rings are held against a limit on locked memory.
fn limit_counts(facts: &Facts) -> bool {
    locked_memory(facts).is_some() && facts.limits.memlock.is_some()
}

fn locked_memory(facts: &Facts) -> Option<u64> {
    let kernel = facts.kernel.as_deref().unwrap_or_default();
    memlock_needed(kernel, facts.locks_freely, facts.needs.shards)
}

fn descriptors(facts: &Facts) -> Finding {
    let needed = DESCRIPTORS_BASE + DESCRIPTORS_PER_SHARD.saturating_mul(facts.needs.shards);
    let point = Point::new(
        "descriptors",
        format!("{needed} to start, {DESCRIPTORS_GOOD} or more to grow"),
        "every connection and every open segment is a descriptor",
    );
    let fix = [
        "systemd: LimitNOFILE=1048576",
        "docker run --ulimit nofile=1048576 ...",
        "shell: ulimit -n 1048576   (the hard limit stands in /etc/security/limits.conf)",
    ];
    match facts.limits.descriptors {
        None => point.good("no limit"),
        Some(limit) if limit < needed => point.bad(Level::Blocking, limit.to_string(), &fix),
        Some(limit) if limit < DESCRIPTORS_GOOD => {
            point.bad(Level::Warning, limit.to_string(), &fix)
        }
        Some(limit) => point.good(limit.to_string()),
    }
}

fn cores(facts: &Facts) -> Finding {
    let shards = facts.needs.shards;
    let point = Point::new(
        "cores",
        format!("one for each of the {shards} shards, and no quota below that"),
        "a shard never shares its core gladly: two on one core wait for each other, and a quota stops all of them at once",
    );
    let usable = facts.cpu.usable;
    let quota = facts.cpu.quota_percent;
    let is = match quota {
        Some(percent) => format!(
            "{usable} usable, quota of {}.{:02}",
            percent / 100,
            percent % 100
        ),
        None => format!("{usable} usable"),
    };
    if usable < shards {
        let fix = format!("tidelog --set shards={usable}");
        return point.bad(Level::Warning, is, &[&fix]);
    }
    if quota.is_some_and(|percent| percent < shards.saturating_mul(100)) {
        let whole = quota.unwrap_or_default() / 100;
        let fix = format!("tidelog --set shards={}", whole.max(1));
        return point.bad(
            Level::Warning,
            is,
            &[
                &fix,
                "docker run --cpuset-cpus 0-3 ...   (whole cores instead of --cpus)",
            ],
        );
    }
    point.good(is)
}

fn governor(cpu: &CpuFacts) -> Finding {
    let point = Point::new(
        "governor",
        "performance",
        "a core that has to be clocked up first answers its first requests slowly",
    );
    let powersave = cpu
        .governors
        .iter()
        .any(|governor| governor != "performance");
    match (cpu.governors.is_empty(), powersave) {
        // Guests and firmware-driven hosts show none.
        (true, _) => point.good("not chosen by this kernel"),
        (_, false) => point.good("performance"),
        (_, true) => point.bad(
            Level::Warning,
            cpu.governors.join(", "),
            &["cpupower frequency-set -g performance"],
        ),
    }
}

fn idle_states(cpu: &CpuFacts) -> Finding {
    let point = Point::new(
        "idle states",
        format!("none that takes more than {WAKE_LATENCY_US_MAX} µs to leave"),
        "an idle shard sleeps in the kernel; what its core needs to wake up is added to the next request",
    );
    match cpu.wake_latency_us {
        None => point.good("not chosen by this kernel"),
        Some(latency) if latency > WAKE_LATENCY_US_MAX => point.bad(
            Level::Warning,
            format!("up to {latency} µs"),
            &[
                "cpupower idle-set -D 100",
                "tuned-adm profile latency-performance",
            ],
        ),
        Some(latency) => point.good(format!("up to {latency} µs")),
    }
}

fn interrupts(facts: &Facts) -> Finding {
    let point = Point::new(
        "interrupts",
        "those of disks and network cards spread over the cores",
        "the core that takes them all has less time for its shard than the others",
    );
    let busy: Vec<&Interrupt> = facts
        .interrupts
        .iter()
        .filter(|interrupt| interrupt.count >= INTERRUPTS_MIN)
        .collect();
    let (Some(first), true) = (busy.first(), facts.cpu.usable > 1) else {
        return point.good("nothing to spread");
    };
    let names = |interrupts: &[&Interrupt]| {
        let names: Vec<&str> = interrupts.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    };
    if busy.len() < 2 {
        return point.good(format!("one busy interrupt: {}", names(&busy)));
    }
    if busy
        .iter()
        .all(|interrupt| interrupt.busiest == first.busiest)
    {
        let second = (first.busiest + 1) % usize::try_from(facts.cpu.usable).unwrap_or(2);
        let fix = format!(
            "echo {second} > /proc/irq/{}/smp_affinity_list",
            first.number
        );
        let is = format!("all on CPU {}: {}", first.busiest, names(&busy));
        return point.bad(Level::Warning, is, &["systemctl start irqbalance", &fix]);
    }
    point.good(format!("{} busy ones on several cores", busy.len()))
}

fn numa(cpu: &CpuFacts) -> Finding {
    let point = Point::new(
        "numa",
        "one memory node, or automatic balancing off",
        "shards are pinned and allocate where they run: pages that the kernel moves cost faults and gain nothing",
    );
    match (cpu.numa_nodes, cpu.numa_balancing) {
        (None, _) => point.unknown(),
        (Some(0 | 1), _) => point.good("one memory node"),
        (Some(nodes), Some(0) | None) => point.good(format!("{nodes} memory nodes, balancing off")),
        (Some(nodes), Some(_)) => point.bad(
            Level::Warning,
            format!("{nodes} memory nodes, balancing on"),
            &["sysctl -w kernel.numa_balancing=0"],
        ),
    }
}

fn memory(facts: &Facts) -> Finding {
    let needed = facts.needs.memory_bytes;
    let point = Point::new(
        "memory",
        format!(
            "{} MiB for caches, plus what connections take",
            needed >> 20
        ),
        "what the settings allow all shards together; beyond it the kernel ends the process",
    );
    match facts.memory.usable_bytes {
        None => point.unknown(),
        Some(usable) if usable < needed.saturating_add(needed / 4) => point.bad(
            Level::Warning,
            format!("{} MiB usable", usable >> 20),
            &["tidelog --set cache.bytes=... --set shards=...   (smaller), or more memory for the container"],
        ),
        Some(usable) => point.good(format!("{} MiB usable", usable >> 20)),
    }
}

fn huge_pages(facts: &Facts) -> Finding {
    let point = Point::new(
        "huge pages",
        "madvise",
        "a node asks for them for its disk requests alone, which then are one piece instead of hundreds; with always \
         every other process competes for them, and before Linux 6.18 a node then has to do without",
    );
    match facts.memory.huge_pages.as_deref() {
        None => point.good("not offered by this kernel"),
        Some(other @ ("always" | "never")) => point.bad(
            Level::Warning,
            other,
            &["echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"],
        ),
        Some(other) => point.good(other),
    }
}

fn swap(facts: &Facts) -> Finding {
    let point = Point::new(
        "swap",
        format!("none, or vm.swappiness of {SWAPPINESS_MAX} at most"),
        "a shard whose memory was swapped out stands still for as long as the disk takes",
    );
    let bytes: u64 = facts.memory.swap.iter().map(|swap| swap.bytes).sum();
    if bytes == 0 {
        return point.good("none");
    }
    let swappiness = facts.memory.swappiness;
    let is = format!(
        "{} MiB, vm.swappiness = {}",
        bytes >> 20,
        swappiness.map_or("?".to_owned(), |value| value.to_string())
    );
    if swappiness.is_some_and(|value| value <= SWAPPINESS_MAX) {
        return point.good(is);
    }
    point.bad(
        Level::Warning,
        is,
        &[
            "swapoff -a   (and its line in /etc/fstab)",
            "sysctl -w vm.swappiness=1",
        ],
    )
}

fn clock_source(facts: &Facts) -> Finding {
    let point = Point::new(
        "clock source",
        "tsc, or the fast clock of the virtual machine",
        "the time is read several times a request; a slow source makes each reading a system call",
    );
    let Some(source) = facts.clock.source.as_deref() else {
        return point.unknown();
    };
    let fast = [
        "tsc",
        "kvm-clock",
        "arch_sys_counter",
        "hyperv_clocksource_tsc_page",
    ];
    if fast.contains(&source) {
        return point.good(source);
    }
    let better = facts
        .clock
        .available
        .iter()
        .find(|one| fast.contains(&one.as_str()));
    match better {
        Some(better) => {
            let fix = format!(
                "echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
            );
            point.bad(Level::Warning, source, &[&fix])
        }
        None => point.bad(
            Level::Warning,
            source,
            &["dmesg | grep -i tsc   (says why the kernel gave up the fast clock)"],
        ),
    }
}

fn wall_clock(facts: &Facts) -> Finding {
    let point = Point::new(
        "wall clock",
        "synchronised",
        "retention by time, offsets by time and log-append timestamps follow it",
    );
    match facts.clock.synchronised {
        None => point.unknown(),
        Some(true) => point.good("synchronised"),
        Some(false) => point.bad(
            Level::Warning,
            "nothing synchronises it",
            &["systemctl enable --now chronyd   (or systemd-timesyncd)"],
        ),
    }
}

fn listen_backlog(facts: &Facts) -> Finding {
    let point = Point::new(
        "listen backlog",
        format!("net.core.somaxconn and net.ipv4.tcp_max_syn_backlog of {SOMAXCONN_MIN} at least"),
        "after a restart all clients connect at once; whoever finds the queue full waits for seconds",
    );
    let network = &facts.network;
    let (Some(somaxconn), Some(syn)) = (network.somaxconn, network.syn_backlog) else {
        return point.unknown();
    };
    let is = format!("somaxconn {somaxconn}, tcp_max_syn_backlog {syn}");
    let mut fix = Vec::new();
    if somaxconn < SOMAXCONN_MIN {
        fix.push("sysctl -w net.core.somaxconn=4096");
    }
    if syn < SYN_BACKLOG_MIN && facts.needs.remote_clients {
        fix.push("sysctl -w net.ipv4.tcp_max_syn_backlog=4096");
    }
    match fix.is_empty() {
        true => point.good(is),
        false => point.bad(Level::Warning, is, &fix),
    }
}

fn device_backlog(facts: &Facts) -> Finding {
    let point = Point::new(
        "network backlog",
        format!(
            "net.core.netdev_max_backlog of {DEVICE_BACKLOG_MIN} at least where clients are on other machines"
        ),
        "frames that arrive faster than a core takes them wait there; what does not fit is lost and sent again",
    );
    match facts.network.device_backlog {
        None => point.unknown(),
        Some(backlog) if backlog < DEVICE_BACKLOG_MIN && facts.needs.remote_clients => point.bad(
            Level::Warning,
            backlog.to_string(),
            &["sysctl -w net.core.netdev_max_backlog=5000"],
        ),
        Some(backlog) => point.good(backlog.to_string()),
    }
}

fn socket_buffers(facts: &Facts) -> Finding {
    let point = Point::new(
        "socket buffers",
        format!(
            "{} MiB at least as the largest of net.ipv4.tcp_rmem and tcp_wmem",
            SOCKET_BUFFER_MIN >> 20
        ),
        "a connection over a long way carries at most one buffer a round trip",
    );
    let (Some(receive), Some(send)) = (facts.network.receive_max, facts.network.send_max) else {
        return point.unknown();
    };
    let is = format!(
        "{} KiB to receive, {} KiB to send",
        receive >> 10,
        send >> 10
    );
    let mut fix = Vec::new();
    if receive < SOCKET_BUFFER_MIN {
        fix.push("sysctl -w net.ipv4.tcp_rmem=\"4096 131072 6291456\"");
    }
    if send < SOCKET_BUFFER_MIN {
        fix.push("sysctl -w net.ipv4.tcp_wmem=\"4096 65536 6291456\"");
    }
    match fix.is_empty() || !facts.needs.remote_clients {
        true => point.good(is),
        false => point.bad(Level::Warning, is, &fix),
    }
}

/// An errno in words.
pub(super) fn error_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
