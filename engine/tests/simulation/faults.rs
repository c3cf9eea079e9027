//! Which faults a life of the broker meets. Drawn from the seed; each life has its own mix, and some have none.

use std::time::Duration;

use engine::platform::sim::{CutMode, DiskFault, SimDisk, SimDiskOptions};
use net::platform::sim::{NetworkOptions, Simulation};

use crate::shared::Shared;

/// How a life ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// `kill -9`: writes in flight complete later.
    Kill,
    /// The power goes.
    PowerCut(CutMode),
    /// SIGTERM.
    Stop,
}

/// What happens during one life.
#[derive(Debug)]
pub struct Plan {
    pub end: End,
    /// Crash while it starts, this long after the start began.
    pub crash_in_start: Option<Duration>,
    /// Reads, writes or flushes fail now and then.
    pub disk_errors: Option<DiskErrors>,
    /// The disk fills up for a while.
    pub disk_full: bool,
    pub clock_jump_ms: Option<i64>,
    pub network: NetworkOptions,
    pub shards: u16,
}

/// How the disk fails.
#[derive(Debug, Clone, Copy)]
pub enum DiskErrors {
    /// Reads fail with some probability.
    Reads(f64),
    /// One write or flush of a file whose path contains this fails.
    Once(DiskFault, &'static str),
}

impl Plan {
    /// The plan of one life.
    pub fn draw(shared: &Shared) -> Plan {
        let chance = |probability| shared.chance(probability);
        let end = match shared.below(10) {
            0..4 => End::Kill,
            4..9 => End::PowerCut(cut_mode(shared)),
            _ => End::Stop,
        };
        let disk_errors = chance(0.25).then(|| match shared.below(3) {
            0 => DiskErrors::Reads(0.05),
            kind => {
                let fault = if kind == 1 {
                    DiskFault::Write
                } else {
                    DiskFault::Flush
                };
                DiskErrors::Once(
                    fault,
                    shared.pick(&[
                        "journal",
                        "journal",
                        ".log",
                        "checkpoint",
                        "metadata",
                        "flush",
                        "",
                    ]),
                )
            }
        });
        Plan {
            end,
            crash_in_start: chance(0.3).then(|| shared.up_to_ms(shared.pick(&[5, 20, 60]))),
            disk_full: disk_errors.is_none() && chance(0.2),
            disk_errors,
            clock_jump_ms: chance(0.2)
                .then(|| shared.pick(&[-7_200_000, 3_600_000, 30 * 86_400_000])),
            network: network(shared),
            shards: shared.pick(&[1, 2, 3]),
        }
    }
}

fn cut_mode(shared: &Shared) -> CutMode {
    match shared.below(8) {
        0 => CutMode::Random(0.0),
        1 | 2 => CutMode::Random(0.5),
        3 => CutMode::Random(0.9),
        4 => CutMode::Random(1.0),
        5 => CutMode::Earliest(0.5),
        _ => CutMode::Latest(shared.pick(&[0.1, 0.5, 0.9])),
    }
}

fn network(shared: &Shared) -> NetworkOptions {
    let faults = shared.chance(0.6);
    let often = |probability: f64| if faults { probability } else { 0.0 };
    NetworkOptions {
        chunk_bytes_max: shared.pick(&[1_000, 64 << 10]),
        stall: often(0.002),
        stall_max: Duration::from_millis(800),
        reset: often(0.001),
        half_open: often(0.0005),
        ..NetworkOptions::default()
    }
}

/// What the disk always does.
pub fn calm_disk() -> SimDiskOptions {
    SimDiskOptions {
        latency_max: Duration::from_micros(300),
        latency_tail: 0.002,
        latency_tail_max: Duration::from_millis(150),
        short_write: 0.05,
        short_read: 0.05,
        ..SimDiskOptions::default()
    }
}

/// Lets the faults of a plan begin.
pub fn begin(plan: &Plan, sim: &Simulation, disk: &SimDisk, shared: &Shared) {
    sim.set_network(plan.network.clone());
    match plan.disk_errors {
        Some(DiskErrors::Reads(probability)) => {
            shared.oracle().read_errors_allowed = true;
            disk.set_options(SimDiskOptions {
                read_error: probability,
                ..calm_disk()
            });
        }
        Some(DiskErrors::Once(fault, path)) => {
            // What was not flushed any more cannot be read after a restart; until then it can.
            shared.oracle().read_errors_allowed = true;
            disk.fail_next(fault, path);
        }
        None => {}
    }
}
