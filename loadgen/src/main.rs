//! The load generator: arrival times are fixed beforehand and latency counts from the intended send time, so that a
//! stall of the broker cannot hide (DESIGN §8).
//!
//! A [`plan`] says what to do. [`run`] carries it out: one executor per core ([`worker`]), on each of them connections
//! that produce ([`producer`]); what they count ([`figures`]) becomes one JSON document ([`report`]), from which
//! everything else that is shown is made.

#![expect(
    dead_code,
    reason = "the modes that read use what produce does not yet"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use serde_json::{Value, json};

mod accumulator;
mod clock;
mod control;
mod figures;
mod flags;
mod identity;
mod link;
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
mod table;
mod template;
mod threshold;
mod topics;
mod worker;

use flags::{Arguments, Mode, Output};
use plan::Plan;
use report::{Headline, Subject};
use run::Watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or the plan is wrong, or the broker cannot be talked to.
const EXIT_UNUSABLE: u8 = 2;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let done = match Arguments::parse().mode {
        Mode::Produce(mode) => produce(&mode),
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

fn produce(mode: &flags::ProduceMode) -> Result<bool, Error> {
    let mut phase = mode.target.phase("produce");
    phase.produce.push(mode.load.produce(&mode.target));
    let plan = mode.target.plan(phase)?;
    let subject = Subject {
        mode: "produce",
        headline: Headline::Acknowledged,
        label: mode.output.label.clone(),
    };
    carry_out(&plan, &subject, &mode.output)
}

/// Set by the first interrupt; the second one ends the process.
fn abort_flag() -> Result<Arc<AtomicBool>, Error> {
    let abort = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, abort.clone())?;
        signal_hook::flag::register(signal, abort.clone())?;
    }
    Ok(abort)
}

/// Runs the plan and shows its result; whether everything held.
fn carry_out(plan: &Plan, subject: &Subject, output: &Output) -> Result<bool, Error> {
    let watch = Watch {
        abort: abort_flag()?,
        broker_pid: output.broker_pid,
        keep_log: false,
    };
    let mut progress = progress::Progress::new(output.quiet);
    let run = run::execute(plan, &watch, &mut progress)?;
    let facts = &run.layout.broker;
    let provenance = provenance::collect(facts, output.broker_pid, output.broker_name.as_deref());
    let mut document = report::document(subject, plan, &run, provenance);
    judge(&mut document, output);
    print!("{}", table::render(&document));
    write_outputs(&document, output)?;
    Ok(holds(&document))
}

/// Adds what came of the thresholds.
fn judge(document: &mut Value, output: &Output) {
    let judged: Vec<Value> = output
        .fail_if
        .iter()
        .map(|one| one.judge(document))
        .collect();
    document["thresholds"] = json!(judged);
}

/// Whether the run was valid and met every threshold.
fn holds(document: &Value) -> bool {
    let thresholds = document["thresholds"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    document["valid"] == true
        && thresholds
            .iter()
            .all(|threshold| threshold["holds"] == true)
}

fn write_outputs(document: &Value, output: &Output) -> Result<(), Error> {
    if let Some(path) = &output.json {
        write(path, &(serde_json::to_string_pretty(document)? + "\n"))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
