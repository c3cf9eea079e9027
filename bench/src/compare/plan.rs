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

/// All rows, in the order in which they are measured: those that goals need come first.
#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    use Work::{Acks, CatchUp, EndToEnd, History, Idle, ManyPartitions, References, Restart, Tail, Topics};
    const QUICK: bool = true;
    const LONG: bool = false;
    let row = |id, title, work, quick, seconds| Row { id, title, work, quick, seconds };
    let sixteen = |connections, batch_bytes| produce(16, connections, 1024, batch_bytes);
    let many = |partitions| produce(partitions, 16, 1024, 16 << 10);
    vec![
        row("references", "the machine without a broker", References, QUICK, 40.0),
        alternating("produce_512k", "1 KiB records, 512 KiB batches, 1 partition, 1 connection",
            ALL, produce(1, 1, 1024, 512 << 10), QUICK),
        alternating("produce_16k", "1 KiB records, 16 KiB batches, 16 partitions, 16 connections",
            ALL, produce(16, 16, 1024, 16 << 10), QUICK),
        row("acks", "acknowledgements at 30 % load, 1 KiB records, 16 connections", Acks, QUICK, 220.0),
        row("idle", "a node that does nothing", Idle, QUICK, 150.0),
        alternating("produce_1k_1000p", "one 1 KiB record a request, 1,000 partitions, 16 connections",
            BOTH, produce(1000, 16, 1024, 1024), LONG),
        row("tail", "tailing consumers: none, one, five", Tail, LONG, 370.0),
        row("end_to_end", "end to end at 30 % load", EndToEnd, LONG, 150.0),
        row("catch_up", "reading everything, alone and while producing", CatchUp, LONG, 240.0),
        row("partitions_10k", "one partition and 10,000, 16 KiB batches, 10 GB each",
            ManyPartitions { bytes_min: 10_000_000_000 }, LONG, 300.0),
        row("restart", "kill -9 with 10 GB of log, cold cache",
            Restart { log_bytes: 10_000_000_000 }, LONG, 300.0),
        alternating("produce_512k_16c", "1 KiB records, 512 KiB batches, 16 partitions, 16 connections",
            BOTH, produce(16, 16, 1024, 512 << 10), LONG),
        alternating("produce_16k_1c", "1 KiB records, 16 KiB batches, 1 partition, 1 connection",
            ALL, produce(1, 1, 1024, 16 << 10), LONG),
        alternating("produce_100b", "100 B records, 16 KiB batches, 16 partitions, 16 connections",
            BOTH, produce(16, 16, 100, 16 << 10), LONG),
        alternating("produce_16k_records", "16 KiB records, 512 KiB batches, 1 partition, 1 connection",
            BOTH, produce(1, 1, 16 << 10, 512 << 10), LONG),
        alternating("produce_16k_1000p", "1 KiB records, 16 KiB batches, 1,000 partitions, 16 connections",
            BOTH, produce(1000, 16, 1024, 16 << 10), LONG),
        growth("growth_partitions", "cost by number of partitions", vec![
            ("1", many(1)), ("16", many(16)), ("100", many(100)), ("1000", many(1000)), ("10000", many(10_000)),
        ]),
        growth("growth_connections", "cost by number of connections", vec![
            ("1", sixteen(1, 16 << 10)), ("4", sixteen(4, 16 << 10)), ("16", sixteen(16, 16 << 10)),
            ("64", sixteen(64, 16 << 10)), ("256", sixteen(256, 16 << 10)),
        ]),
        row("growth_topics", "cost by number of other topics, ten partitions each",
            Topics { counts: &[0, 10, 100, 500] }, LONG, 90.0),
        row("growth_history", "cost while the log grows", History { steps: 5 }, LONG, 60.0),
        growth("growth_batch", "cost by bytes of a batch", vec![
            ("1024", sixteen(16, 1024)), ("4096", sixteen(16, 4096)), ("16384", sixteen(16, 16 << 10)),
            ("65536", sixteen(16, 64 << 10)), ("524288", sixteen(16, 512 << 10)),
        ]),
    ]
}
