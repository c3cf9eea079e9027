//! The load generator: arrival times are fixed beforehand and latency counts from the intended send time, so that a
//! stall of the broker cannot hide (DESIGN §8).
//!
//! This first part produces at a constant rate and reports latency percentiles; the other modes follow.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod produce;
mod schedule;

#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    about = "Open-loop load for any Kafka-compatible broker"
)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Produce at a constant rate and report the latency of acknowledgements.
    Produce(Produce),
}

/// What to produce, where, and how fast.
#[derive(Debug, Clone, Parser)]
struct Produce {
    /// Address of the broker.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    bootstrap: SocketAddr,
    /// Topic; the broker creates it if it may.
    #[arg(long)]
    topic: String,
    /// Partitions to write to, in turn; the topic must have them.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Records per second, all connections together.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_size: usize,
    /// Bytes of a batch; it holds at least one record.
    #[arg(long, default_value_t = 16384)]
    batch_bytes: usize,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Seconds to run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Who has to have the records before the broker answers: 1 or all.
    #[arg(long, default_value = "all", value_parser = ["1", "all"])]
    acks: String,
}

fn main() -> ExitCode {
    let Mode::Produce(plan) = Arguments::parse().mode;
    match net::platform::block_on(move |runtime| produce::run(runtime, plan)) {
        Ok(report) => {
            println!("{report}");
            if report.is_valid() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}
