//! What `bench compare` measures: every row with its plan, as data, and which rows `--quick` runs.

use crate::broker::Kind;
use crate::load::{Load, Mode, Pace};

/// One row: measured as a whole, kept in a file of its own, so that a run can be resumed.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, also of its file.
    pub id: &'static str,
    /// For readers.
    pub title: &'static str,
    /// How it is measured.
    pub work: Work,
    /// Whether `--quick` runs it.
    pub quick: bool,
    /// About how long the full row takes.
    pub seconds: f64,
}

/// How a row is measured.
#[derive(Debug, Clone)]
pub enum Work {
    /// The references of physics.
    References,
    /// The same load against several brokers, in alternation.
    Produce {
        /// Brokers, in the order of alternation.
        brokers: &'static [Kind],
        /// The plans; several are measured in the same alternation.
        loads: Vec<(&'static str, Load)>,
        /// Repeats.
        rounds: u32,
    },
    /// Acknowledgements at 30 % load, beside the write-and-flush loop.
    Acks,
    /// A record's way to a tailing consumer at 30 % load.
    EndToEnd,
    /// Tailing consumers: none, one, five.
    Tail,
    /// Reading everything while producing.
    CatchUp,
    /// One partition and 10,000, with at least so many bytes each.
    ManyPartitions {
        /// Bytes written in each case.
        bytes_min: u64,
    },
    /// Cost beside so many idle topics of ten partitions.
    Topics {
        /// How many topics.
        counts: &'static [u32],
    },
    /// Cost while the log grows.
    History {
        /// Runs into the same topic.
        steps: u32,
    },
    /// Memory and CPU of a node that does nothing.
    Idle,
    /// kill -9 with a large log, cold cache.
    Restart {
        /// Bytes in the log.
        log_bytes: u64,
    },
}

const ALL: &[Kind] = &[Kind::Tidelog, Kind::Kafka, Kind::KafkaFlush];
const BOTH: &[Kind] = &[Kind::Tidelog, Kind::Kafka];
const OURS: &[Kind] = &[Kind::Tidelog];

/// Produce at full speed.
pub fn produce(partitions: i32, connections: u32, record_bytes: usize, batch_bytes: usize) -> Load {
    Load {
        mode: Mode::Produce,
        partitions,
        connections,
        record_bytes,
        batch_bytes,
        linger_ms: 5,
        pace: Pace::Max,
        seconds: 8.0,
        consumers: 0,
    }
}

fn alternating(
    id: &'static str,
    title: &'static str,
    brokers: &'static [Kind],
    load: Load,
    quick: bool,
) -> Row {
    let rounds = 3;
    let seconds = 30.0 + f64::from(rounds) * brokers.len() as f64 * (load.seconds + 3.0);
    let loads = vec![("", load)];
    Row {
        id,
        title,
        work: Work::Produce {
            brokers,
            loads,
            rounds,
        },
        quick,
        seconds,
    }
}

fn growth(id: &'static str, title: &'static str, loads: Vec<(&'static str, Load)>) -> Row {
    let loads: Vec<(&'static str, Load)> = loads
        .into_iter()
        .map(|(name, load)| {
            (
                name,
                Load {
                    seconds: 4.0,
                    ..load
                },
            )
        })
        .collect();
    let seconds = 10.0 + loads.len() as f64 * 2.0 * 6.0;
    Row {
        id,
        title,
        work: Work::Produce {
            brokers: OURS,
            loads,
            rounds: 2,
        },
        quick: false,
        seconds,
    }
}

#[allow(clippy::too_many_lines, reason = "a table, one entry per row")]
/// All rows, in the order in which they are measured: those that goals need come first.
pub fn rows() -> Vec<Row> {
    let row = |id, title, work, quick, seconds| Row {
        id,
        title,
        work,
        quick,
        seconds,
    };
    vec![
        row(
            "references",
            "the machine without a broker",
            Work::References,
            true,
            40.0,
        ),
        alternating(
            "produce_512k",
            "1 KiB records, 512 KiB batches, 1 partition, 1 connection",
            ALL,
            produce(1, 1, 1024, 512 << 10),
            true,
        ),
        alternating(
            "produce_16k",
            "1 KiB records, 16 KiB batches, 16 partitions, 16 connections",
            ALL,
            produce(16, 16, 1024, 16 << 10),
            true,
        ),
        row(
            "acks",
            "acknowledgements at 30 % load, 1 KiB records, 16 connections",
            Work::Acks,
            true,
            220.0,
        ),
        row("idle", "a node that does nothing", Work::Idle, true, 150.0),
        alternating(
            "produce_1k_1000p",
            "one 1 KiB record a request, 1,000 partitions, 16 connections",
            BOTH,
            produce(1000, 16, 1024, 1024),
            false,
        ),
        row(
            "tail",
            "tailing consumers: none, one, five",
            Work::Tail,
            false,
            300.0,
        ),
        row(
            "end_to_end",
            "end to end at 30 % load",
            Work::EndToEnd,
            false,
            150.0,
        ),
        row(
            "catch_up",
            "reading everything, alone and while producing",
            Work::CatchUp,
            false,
            240.0,
        ),
        row(
            "partitions_10k",
            "one partition and 10,000, 16 KiB batches, 10 GB each",
            Work::ManyPartitions {
                bytes_min: 10_000_000_000,
            },
            false,
            300.0,
        ),
        row(
            "restart",
            "kill -9 with 10 GB of log, cold cache",
            Work::Restart {
                log_bytes: 10_000_000_000,
            },
            false,
            300.0,
        ),
        alternating(
            "produce_512k_16c",
            "1 KiB records, 512 KiB batches, 16 partitions, 16 connections",
            BOTH,
            produce(16, 16, 1024, 512 << 10),
            false,
        ),
        alternating(
            "produce_16k_1c",
            "1 KiB records, 16 KiB batches, 1 partition, 1 connection",
            ALL,
            produce(1, 1, 1024, 16 << 10),
            false,
        ),
        alternating(
            "produce_100b",
            "100 B records, 16 KiB batches, 16 partitions, 16 connections",
            BOTH,
            produce(16, 16, 100, 16 << 10),
            false,
        ),
        alternating(
            "produce_16k_records",
            "16 KiB records, 512 KiB batches, 1 partition, 1 connection",
            BOTH,
            produce(1, 1, 16 << 10, 512 << 10),
            false,
        ),
        alternating(
            "produce_16k_1000p",
            "1 KiB records, 16 KiB batches, 1,000 partitions, 16 connections",
            BOTH,
            produce(1000, 16, 1024, 16 << 10),
            false,
        ),
        growth(
            "growth_partitions",
            "cost by number of partitions",
            vec![
                ("1", produce(1, 16, 1024, 16 << 10)),
                ("16", produce(16, 16, 1024, 16 << 10)),
                ("100", produce(100, 16, 1024, 16 << 10)),
                ("1000", produce(1000, 16, 1024, 16 << 10)),
                ("10000", produce(10_000, 16, 1024, 16 << 10)),
            ],
        ),
        growth(
            "growth_connections",
            "cost by number of connections",
            vec![
                ("1", produce(16, 1, 1024, 16 << 10)),
                ("4", produce(16, 4, 1024, 16 << 10)),
                ("16", produce(16, 16, 1024, 16 << 10)),
                ("64", produce(16, 64, 1024, 16 << 10)),
                ("256", produce(16, 256, 1024, 16 << 10)),
            ],
        ),
        row(
            "growth_topics",
            "cost by number of other topics, ten partitions each",
            Work::Topics {
                counts: &[0, 10, 100, 500],
            },
            false,
            90.0,
        ),
        row(
            "growth_history",
            "cost while the log grows",
            Work::History { steps: 5 },
            false,
            60.0,
        ),
        growth(
            "growth_batch",
            "cost by bytes of a batch",
            vec![
                ("1024", produce(16, 16, 1024, 1024)),
                ("4096", produce(16, 16, 1024, 4096)),
                ("16384", produce(16, 16, 1024, 16 << 10)),
                ("65536", produce(16, 16, 1024, 64 << 10)),
                ("524288", produce(16, 16, 1024, 512 << 10)),
            ],
        ),
    ]
}
