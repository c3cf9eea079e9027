//! The command line. Flags make the same [`Plan`] that a file makes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use net::records::Compression;

use crate::plan::{
    self, Acks, Consume, KeySpace, Partitioner, Payload, Phase, Plan, PlanError, Produce, Rate,
    RecordSize, Start, Topics,
};
use crate::schedule::Shape;
use crate::threshold::Threshold;

/// Open-loop load for any Kafka-compatible broker.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Produce, and report the latency of acknowledgements.
    Produce(ProduceMode),
    /// Consume from the tail or from the beginning, and verify every record.
    Consume(ConsumeMode),
    /// Produce and read everything back from the tail; report latency from intended send time to reading, and verify.
    EndToEnd(BothModes),
    /// Produce, read from the tail and catch up from the beginning at the same time.
    Mixed(MixedMode),
    /// End to end for hours: verifies as it goes, and ends at the first record that is lost, doubled or damaged.
    Soak(BothModes),
    /// Search the highest rate that meets a latency target, and print the whole curve.
    Sweep(SweepMode),
    /// Carry out a plan with several phases, topics and workloads from a TOML file.
    Run(RunMode),
    /// Put two or more results side by side.
    Compare(CompareMode),
    /// Be a broker that keeps nothing, to measure the generator itself.
    Sink(SinkMode),
}

/// Flags of `consume`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConsumeMode {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Where to begin: earliest (catch-up) or latest (tail).
    #[arg(long, value_enum, default_value_t = From::Earliest)]
    pub(crate) from: From,
    /// End at what was the end of the log at the start.
    #[arg(long)]
    pub(crate) until_end: bool,
    /// Stop after this many records.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Connections that share the partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    Earliest,
    Latest,
}

/// Flags of `end-to-end` and `soak`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BothModes {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Consuming connections that share the partitions.
    #[arg(long, default_value_t = 1)]
    pub(crate) consumers: u32,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Flags of `mixed`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MixedMode {
    #[command(flatten)]
    pub(crate) both: BothModes,
    /// Connections that read everything from the beginning meanwhile; 0: none.
    #[arg(long, default_value_t = 1)]
    pub(crate) catch_up: u32,
}

/// Flags of `sweep`. --rate is the first rate that is tried, --duration the seconds of one try.
#[derive(Debug, Clone, Args)]
pub(crate) struct SweepMode {
    #[command(flatten)]
    pub(crate) both: BothModes,
    /// What a rate has to meet, for instance 'p99<=5ms'.
    #[arg(long = "target", value_name = "CONDITION", default_value = "p99<=10ms")]
    pub(crate) goal: Threshold,
    /// The latency from intended send time to reading counts, and not the acknowledgement's.
    #[arg(long)]
    pub(crate) end_to_end: bool,
    /// No rate above this is tried.
    #[arg(long, default_value_t = 100_000_000.0)]
    pub(crate) rate_max: f64,
    /// The search ends when the highest rate is known to within this share.
    #[arg(long, default_value_t = 0.05)]
    pub(crate) precision: f64,
}

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunMode {
    /// The plan.
    #[arg(value_name = "PLAN.toml")]
    pub(crate) plan: PathBuf,
    /// Brokers, instead of the plan's.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Flags of `compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareMode {
    /// Results of --json. Those with the same label, or joined by commas, are repeats of each other.
    #[arg(required = true, num_args = 1.., value_name = "FILE[,FILE…]")]
    pub(crate) results: Vec<String>,
    /// Write the comparison as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of `sink`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SinkMode {
    /// Address to listen on; port 0: chosen by the system.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// Partitions of topics that nobody created.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: i32,
    /// Wait this long before every answer.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub(crate) delay_ms: f64,
}

/// How consumers read.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Reading {
    /// How many times every record is read, by connections of their own.
    #[arg(long, default_value_t = 1)]
    pub(crate) fan_out: u32,
    /// Do not look into the records.
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// How long a fetch may wait.
    #[arg(long, default_value_t = plan::default_fetch_wait(), value_name = "MS")]
    pub(crate) fetch_wait_ms: i32,
    /// How many bytes a fetch waits for.
    #[arg(long, default_value_t = 1, value_name = "BYTES")]
    pub(crate) fetch_bytes_min: i32,
    /// How many bytes a fetch brings at most.
    #[arg(long, default_value_t = plan::default_fetch_bytes(), value_name = "BYTES")]
    pub(crate) fetch_bytes_max: i32,
    /// The same per partition.
    #[arg(long, default_value_t = plan::default_partition_bytes(), value_name = "BYTES")]
    pub(crate) partition_bytes_max: i32,
}

impl Default for Reading {
    fn default() -> Self {
        Reading {
            fan_out: 1,
            no_verify: false,
            fetch_wait_ms: plan::default_fetch_wait(),
            fetch_bytes_min: 1,
            fetch_bytes_max: plan::default_fetch_bytes(),
            partition_bytes_max: plan::default_partition_bytes(),
        }
    }
}

impl Reading {
    /// Consumers of these flags.
    pub(crate) fn consume(
        &self,
        target: &Target,
        name: &str,
        from: Start,
        connections: u32,
    ) -> Consume {
        Consume {
            name: name.into(),
            topics: target.topics(),
            connections,
            fan_out: self.fan_out,
            from,
            until_end: false,
            records: None,
            verify: !self.no_verify,
            fetch_wait_ms: self.fetch_wait_ms,
            fetch_bytes_min: self.fetch_bytes_min,
            fetch_bytes_max: self.fetch_bytes_max,
            partition_bytes_max: self.partition_bytes_max,
        }
    }
}

/// Flags of `produce`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceMode {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where, and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Brokers, separated by commas.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Topic; of several, what stands before -0, -1, ….
    #[arg(long)]
    pub(crate) topic: String,
    /// Number of topics.
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: u32,
    /// Of topics that are created; −1: the broker's default.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, conflicts_with = "no_create_topics")]
    pub(crate) replication_factor: i16,
    /// Configuration of topics that are created; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "no_create_topics")]
    pub(crate) topic_config: Vec<(String, String)>,
    /// Do not create missing topics.
    #[arg(long)]
    pub(crate) no_create_topics: bool,
    /// Delete existing topics first.
    #[arg(long)]
    pub(crate) recreate_topics: bool,
    /// Delete the topics at the end.
    #[arg(long)]
    pub(crate) delete_topics: bool,
    /// Seconds that the schedule runs, warm-up included.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) duration: u64,
    /// The first seconds, which count for nothing.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) warmup: u64,
    /// How long answers and unread records are waited for at the end [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drain: Option<u64>,
    /// Executors, each on a core of its own; 0: one per core that may be used.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// The shape of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    Constant,
    Poisson,
    Bursts,
    Ramp,
}

/// What producers do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Records per second, all connections together, or max.
    #[arg(long, value_name = "R|max")]
    pub(crate) rate: Rate,
    /// How records arrive.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub(crate) arrivals: Arrivals,
    /// Records that arrive at once, with --arrivals bursts [default: 100]
    #[arg(long, value_name = "RECORDS")]
    pub(crate) burst: Option<u64>,
    /// The rate at the end, with --arrivals ramp.
    #[arg(long, value_name = "RATE")]
    pub(crate) ramp_to: Option<f64>,
    /// Count latency from when a record was really sent, as other tools do. It hides what a stall does to those behind.
    #[arg(long)]
    pub(crate) closed_loop: bool,
    /// Stop after this many records.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Bytes of a record's value: 1024, 100..2000 (uniform) or exp:1000 (exponential).
    #[arg(long, default_value = "1024", value_name = "BYTES")]
    pub(crate) record_size: RecordSize,
    /// Share of a value's bytes that repeat one text; the rest is random.
    #[arg(long, default_value_t = 0.5, value_name = "0..1")]
    pub(crate) compressibility: f64,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = codec)]
    pub(crate) codec: Compression,
    /// The codec's own level.
    #[arg(long, allow_negative_numbers = true, requires = "codec")]
    pub(crate) codec_level: Option<i32>,
    /// Different keys; 0: records have none.
    #[arg(long, default_value_t = 0)]
    pub(crate) keys: u64,
    /// Exponent of the power law by which keys are chosen; 0: uniform.
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "EXPONENT",
        requires = "keys"
    )]
    pub(crate) key_skew: f64,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16, requires = "keys")]
    pub(crate) key_bytes: usize,
    /// Which partition a record goes to [default: key with keys, else sticky]
    #[arg(long, value_enum)]
    pub(crate) partitioner: Option<PartitionerFlag>,
    /// Bytes of a batch; it holds at least one record.
    #[arg(long, default_value_t = 16_384, value_name = "BYTES")]
    pub(crate) batch_bytes: usize,
    /// How long a batch waits for more records.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub(crate) linger_ms: f64,
    /// Who must have a batch before the broker answers.
    #[arg(long, default_value = "all", value_parser = ["0", "1", "all"])]
    pub(crate) acks: String,
    /// With producer ids and sequence numbers.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Unanswered requests per connection [default: 5 at full load or idempotent, else 1000]
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) in_flight: Option<usize>,
    /// Draws arrivals, keys, sizes and contents.
    #[arg(long, default_value_t = plan::default_seed())]
    pub(crate) seed: u64,
    /// Later than this at the 99th percentile, and the generator did not hold its own schedule.
    #[arg(long, default_value_t = plan::default_lateness(), value_name = "MS")]
    pub(crate) lateness_max_ms: f64,
}

/// Which partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartitionerFlag {
    Sticky,
    RoundRobin,
    Random,
    Key,
}

/// What to do with the result.
#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a self-contained page with charts.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a histogram of every second in HdrHistogram's log format.
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Fail if this holds, for instance 'p99>5ms' or 'records_per_s<100000'; repeatable.
    #[arg(long, value_name = "CONDITION")]
    pub(crate) fail_if: Vec<Threshold>,
    /// Process id of the broker, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    /// Name of the broker in reports.
    #[arg(long, value_name = "NAME")]
    pub(crate) broker_name: Option<String>,
    /// Name of this run in reports.
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// No progress lines.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

fn codec(name: &str) -> Result<Compression, String> {
    Compression::from_name(name).ok_or_else(|| format!("there is no codec {name:?}"))
}

impl Target {
    fn topics(&self) -> Topics {
        Topics {
            topic: self.topic.clone(),
            topics: self.topics,
            partitions: self.partitions,
        }
    }

    /// A plan of one phase; only those who produce have a schedule to draw and to hold.
    pub(crate) fn plan(&self, phase: Phase, load: Option<&Load>) -> Result<Plan, PlanError> {
        let plan = Plan {
            bootstrap: self.bootstrap.clone(),
            seed: load.map_or_else(plan::default_seed, |load| load.seed),
            threads: self.threads,
            create_topics: !self.no_create_topics,
            recreate_topics: self.recreate_topics,
            delete_topics: self.delete_topics,
            replication_factor: self.replication_factor,
            topic_config: self
                .topic_config
                .iter()
                .cloned()
                .collect::<BTreeMap<_, _>>(),
            lateness_max_ms: load.map_or_else(plan::default_lateness, |load| load.lateness_max_ms),
            drain_seconds: self.drain.unwrap_or_else(plan::default_drain),
            phases: vec![phase],
        };
        plan.check()?;
        Ok(plan)
    }

    /// A phase that has no workloads yet.
    pub(crate) fn phase(&self, name: &str) -> Phase {
        Phase {
            name: name.into(),
            duration: self.duration,
            warmup: self.warmup,
            produce: Vec::new(),
            consume: Vec::new(),
        }
    }
}

impl Load {
    /// The producers of these flags; what is wrong with flags that say nothing together.
    pub(crate) fn produce(&self, target: &Target) -> Result<Produce, &'static str> {
        let keys = (self.keys > 0).then_some(KeySpace {
            count: self.keys,
            skew: self.key_skew,
            bytes: self.key_bytes,
        });
        let partitioner = match (self.partitioner, &keys) {
            (Some(PartitionerFlag::RoundRobin), _) => Partitioner::RoundRobin,
            (Some(PartitionerFlag::Random), _) => Partitioner::Random,
            (Some(PartitionerFlag::Key), _) | (None, Some(_)) => Partitioner::Key,
            (Some(PartitionerFlag::Sticky), _) | (None, None) => Partitioner::Sticky,
        };
        let arrivals = match (self.arrivals, self.burst, self.ramp_to) {
            (Arrivals::Constant, None, None) => Shape::Constant,
            (Arrivals::Poisson, None, None) => Shape::Poisson,
            (Arrivals::Bursts, burst, None) => Shape::Bursts(burst.unwrap_or(100)),
            (Arrivals::Ramp, None, Some(last)) => Shape::RampTo(last),
            (Arrivals::Ramp, _, None) => return Err("--arrivals ramp needs --ramp-to"),
            (_, Some(_), _) => return Err("--burst needs --arrivals bursts"),
            (_, _, Some(_)) => return Err("--ramp-to needs --arrivals ramp"),
        };
        Ok(Produce {
            name: "produce".into(),
            topics: target.topics(),
            rate: self.rate,
            arrivals,
            closed_loop: self.closed_loop,
            records: self.records,
            value: Payload {
                size: self.record_size,
                compressibility: self.compressibility,
                codec: self.codec,
                level: self.codec_level,
            },
            keys,
            partitioner,
            batch_bytes: self.batch_bytes,
            linger_ms: self.linger_ms,
            acks: match self.acks.as_str() {
                "0" => Acks::None,
                "1" => Acks::Leader,
                _ => Acks::All,
            },
            idempotent: self.idempotent,
            connections: self.connections,
            in_flight: self.in_flight,
        })
    }
}
