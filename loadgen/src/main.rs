//! The load generator: arrival times are fixed beforehand and latency counts from the intended send time, so that a
//! stall of the broker cannot hide (DESIGN §8).
//!
//! A [`plan`] says what to do. [`run`] carries it out: one executor per core ([`worker`]), on each of them connections
//! that produce ([`producer`]) or consume ([`consumer`]); what they count ([`figures`]) becomes one JSON document
//! ([`report`]), from which everything else that is shown is made.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

mod accumulator;
mod clock;
mod compare;
mod consumer;
mod control;
mod figures;
mod flags;
mod hdr;
mod identity;
mod jobs;
mod link;
mod modes;
mod page;
mod plan;
mod process;
mod producer;
mod progress;
mod provenance;
mod random;
mod report;
mod request;
mod run;
mod schedule;
mod sealer;
mod settle;
mod sink;
mod table;
mod template;
mod threshold;
mod topics;
mod verify;
mod worker;

use flags::{Arguments, Mode, SinkMode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or the plan is wrong, or the broker cannot be talked to. (1: the run did not hold.)
const EXIT_UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    if let Err(error) = net::platform::decline_huge_pages() {
        eprintln!(
            "loadgen: huge pages cannot be declined ({error}): faults that clear them delay the schedule"
        );
    }
    let done = match Arguments::parse().mode {
        Mode::Produce(mode) => modes::produce(&mode),
        Mode::Consume(mode) => modes::consume(&mode),
        Mode::EndToEnd(mode) => modes::end_to_end(&mode),
        Mode::Mixed(mode) => modes::mixed(&mode),
        Mode::Soak(mode) => modes::soak(&mode),
        Mode::Sweep(mode) => modes::sweep(&mode),
        Mode::Run(mode) => modes::run_plan(&mode),
        Mode::Compare(mode) => compare::compare(&mode),
        Mode::Sink(mode) => serve_nothing(&mode),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

/// `loadgen sink`: says its address on standard output and runs until it is ended.
fn serve_nothing(mode: &SinkMode) -> Result<bool, Box<dyn Error>> {
    let (listen, partitions) = (mode.listen, mode.partitions);
    let delay = Duration::try_from_secs_f64(mode.delay_ms / 1000.0)?;
    net::platform::block_on(move |runtime| {
        sink::serve(runtime, listen, partitions, delay, |address| {
            println!("{address}")
        })
    })?;
    Ok(true)
}
