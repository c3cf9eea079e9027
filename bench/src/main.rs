//! The command line of the benchmarks: `compare` beside Apache Kafka, and the physical references alone.

use std::path::PathBuf;
use std::process::ExitCode;

use bench::compare::{self, Options};
use bench::references::References;
use clap::{Args, Parser, Subcommand};

/// Tidelog beside Apache Kafka and beside what the machine can do at best.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the same plans against Tidelog and Apache Kafka 4.3.1 in alternation, and say which goals hold
    Compare(Compare),
    /// Measure the disk, the loopback and the memory without a broker
    References {
        /// Folder on the disk to measure
        #[arg(long, default_value = ".")]
        disk: PathBuf,
        /// Seconds of the write-and-flush loop
        #[arg(long, default_value_t = 10.0)]
        flush_seconds: f64,
    },
}

#[derive(Args)]
struct Compare {
    /// A named subset with shorter runs, at most 15 minutes; the other goals are marked not_run
    #[arg(long)]
    quick: bool,
    /// Measure only these rows
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the goals with all raw runs as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Folder of finished rows: go on where a run ended
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Folder on the disk to measure [default: target/compare]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// The first of the ports that the brokers use
    #[arg(long, default_value_t = 22_200)]
    port: u16,
    /// Cargo profile of tidelog and loadgen
    #[arg(long, default_value = "release")]
    profile: String,
    /// Take the binaries that are there
    #[arg(long)]
    no_build: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Compare(asked) => compare::compare(&Options {
            quick: asked.quick,
            only: asked.only,
            json: asked.json,
            html: asked.html,
            resume: asked.resume,
            disk: asked.disk,
            port: asked.port,
            profile: asked.profile,
            no_build: asked.no_build,
        }),
        Command::References {
            disk,
            flush_seconds,
        } => References::measure(&disk, flush_seconds).map(|found| {
            let text = serde_json::to_string_pretty(&found).expect("plain data");
            println!("{text}");
            println!("floor: {:.2} CPU-s/GB", found.floor_cpu_s_per_gb());
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
