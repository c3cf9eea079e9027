//! The subcommands that send load: each makes a plan, carries it out and shows what came of it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::figures::Figures;
use crate::flags::{
    BothModes, ConsumeMode, From, MixedMode, Output, ProduceMode, Reading, RunMode, SweepMode,
};
use crate::identity::IDENTITY_BYTES;
use crate::plan::{Phase, Plan, PlanError, Rate, Start};
use crate::progress::Progress;
use crate::report::{self, Headline, Subject};
use crate::run::{self, Observer, RunResult, Watch};
use crate::{hdr, page, provenance, table};

pub(crate) type Outcome = Result<bool, Box<dyn Error>>;

/// `loadgen produce`.
pub(crate) fn produce(mode: &ProduceMode) -> Outcome {
    let mut phase = mode.target.phase("produce");
    phase.produce.push(mode.load.produce(&mode.target)?);
    let plan = mode.target.plan(phase, Some(&mode.load))?;
    carry_out(&plan, "produce", Headline::Acknowledged, &mode.output)
}

/// `loadgen consume`.
pub(crate) fn consume(mode: &ConsumeMode) -> Outcome {
    if mode.target.drain.is_some() && !mode.until_end {
        return Err("--drain needs --until-end: without it reading ends with --duration".into());
    }
    let mut phase = mode.target.phase("consume");
    let from = match mode.from {
        From::Earliest => Start::Earliest,
        From::Latest => Start::Latest,
    };
    let mut consume = mode
        .reading
        .consume(&mode.target, "consume", from, mode.connections);
    consume.until_end = mode.until_end;
    consume.records = mode.records;
    phase.consume.push(consume);
    let plan = mode.target.plan(phase, None)?;
    let headline = match mode.from {
        From::Earliest => Headline::Fetched,
        From::Latest => Headline::EndToEnd,
    };
    carry_out(&plan, "consume", headline, &mode.output)
}

impl BothModes {
    fn plan(&self, phase: Phase) -> Result<Plan, PlanError> {
        self.target.plan(phase, Some(&self.load))
    }
}

fn both(mode: &BothModes, name: &str) -> Result<Phase, Box<dyn Error>> {
    let mut phase = mode.target.phase(name);
    phase.produce.push(mode.load.produce(&mode.target)?);
    let tail = mode
        .reading
        .consume(&mode.target, "tail", Start::Latest, mode.consumers);
    phase.consume.push(tail);
    Ok(phase)
}

/// What is counted from reading needs records that say who they are, and somebody who looks.
fn check_identities(mode: &BothModes) -> Result<(), Box<dyn Error>> {
    if mode.reading.no_verify {
        return Err("--no-verify: nothing would be left of what this measures".into());
    }
    if mode.load.record_size.min() < IDENTITY_BYTES {
        let problem = format!(
            "--record-size: records below {IDENTITY_BYTES} bytes carry no identity to read back"
        );
        return Err(problem.into());
    }
    Ok(())
}

/// `loadgen end-to-end`.
pub(crate) fn end_to_end(mode: &BothModes) -> Outcome {
    check_identities(mode)?;
    let plan = mode.plan(both(mode, "end to end")?)?;
    carry_out(&plan, "end-to-end", Headline::EndToEnd, &mode.output)
}

/// `loadgen mixed`.
pub(crate) fn mixed(mode: &MixedMode) -> Outcome {
    let both_modes = &mode.both;
    let mut phase = both(both_modes, "mixed")?;
    if mode.catch_up > 0 {
        let reading = &both_modes.reading;
        let target = &both_modes.target;
        phase
            .consume
            .push(reading.consume(target, "catch-up", Start::Earliest, mode.catch_up));
    }
    let plan = both_modes.plan(phase)?;
    carry_out(&plan, "mixed", Headline::Acknowledged, &both_modes.output)
}

/// `loadgen run`.
pub(crate) fn run_plan(mode: &RunMode) -> Outcome {
    let text = fs::read_to_string(&mode.plan)
        .map_err(|error| format!("cannot read {}: {error}", mode.plan.display()))?;
    let mut plan = Plan::parse(&text)?;
    if let Some(bootstrap) = &mode.bootstrap {
        plan.bootstrap.clone_from(bootstrap);
    }
    let last = plan.phases.last().expect("checked: a plan has a phase");
    let headline = match (last.produce.is_empty(), last.consume.first()) {
        (true, Some(consume)) if consume.from == Start::Latest => Headline::EndToEnd,
        (true, _) => Headline::Fetched,
        (false, _) => Headline::Acknowledged,
    };
    carry_out(&plan, "run", headline, &mode.output)
}

/// `loadgen soak`: end to end, ended by the first record that is not as it was sent.
pub(crate) fn soak(mode: &BothModes) -> Outcome {
    check_identities(mode)?;
    let plan = mode.plan(both(mode, "soak")?)?;
    let watch = watch(&mode.output)?;
    let mut observer = Soak {
        progress: Progress::new(mode.output.quiet),
        abort: watch.abort.clone(),
    };
    let run = run::execute(&plan, &watch, &mut observer)?;
    finish(&plan, "soak", Headline::EndToEnd, &mode.output, &run)
}

struct Soak {
    progress: Progress,
    abort: Arc<AtomicBool>,
}

impl Observer for Soak {
    fn phase(&mut self, phase: &Phase) {
        self.progress.phase(phase);
    }

    fn second(&mut self, second: u64, workloads: &[(String, Figures)]) {
        self.progress.second(second, workloads);
        let wrong = workloads.iter().any(|(_, figures)| {
            let counts = &figures.counts;
            counts.duplicated + counts.reordered + counts.corrupt > 0
        });
        if wrong {
            self.abort.store(true, Ordering::Relaxed);
        }
    }
}

/// `loadgen sweep`: doubles the rate until the target is missed, then halves the interval between the highest rate that
/// met it and the lowest that did not.
pub(crate) fn sweep(mode: &SweepMode) -> Outcome {
    let Rate::PerSecond(first) = mode.both.load.rate else {
        return Err("a sweep begins at a rate; give --rate RECORDS_PER_SECOND".into());
    };
    if mode.both.output.hdr.is_some() {
        return Err("a sweep is many runs; give --hdr to a run at the rate that it finds".into());
    }
    if mode.end_to_end {
        check_identities(&mode.both)?;
    } else if mode.both.consumers != 1 || mode.both.reading != Reading::default() {
        return Err(
            "--consumers, --fan-out, --no-verify, --fetch-… and --partition-bytes-max need --end-to-end: \
             nothing is read without it"
                .into(),
        );
    }
    let watch = watch(&mode.both.output)?;
    let mut steps: Vec<(f64, bool, Value)> = Vec::new();
    let mut rate = first;
    let (mut low, mut high): (Option<f64>, Option<f64>) = (None, None);
    loop {
        let document = try_rate(mode, rate, &watch)?;
        let judged = mode.goal.judge_met(&document);
        let met = judged && document["valid"] == true;
        show_step(rate, met, &document);
        steps.push((rate, met, document));
        match met {
            true => low = Some(low.map_or(rate, |low| low.max(rate))),
            false => high = Some(high.map_or(rate, |high| high.min(rate))),
        }
        rate = match (low, high) {
            (Some(low), None) if low >= mode.rate_max => break,
            (Some(low), None) => (low * 2.0).min(mode.rate_max),
            (None, Some(high)) if high < 1.0 => break,
            (None, Some(high)) => high / 2.0,
            (Some(low), Some(high)) if high / low - 1.0 <= mode.precision => break,
            (Some(low), Some(high)) => ((low + high) / 2.0).round(),
            (None, None) => unreachable!("one of both was set above"),
        };
        if watch.abort.load(Ordering::Relaxed) || steps.iter().any(|(tried, ..)| *tried == rate) {
            break;
        }
    }
    steps.sort_by(|left, right| left.0.total_cmp(&right.0));
    let best = steps.iter().rev().find(|(_, met, _)| *met);
    let mut document = best.unwrap_or(&steps[0]).2.clone();
    document["mode"] = json!("sweep");
    document["sweep"] = json!({
        "target": mode.goal.text(),
        "best_rate": best.map(|(rate, ..)| rate),
        "steps": steps.iter().map(|(rate, met, document)| json!({
            "rate": rate,
            "met": met,
            "valid": document["valid"],
            "invalid_because": document["invalid_because"],
            "throughput": document["throughput"],
            "latency_ms": document["latency_ms"],
            "broker_cpu": document["broker_cpu"],
        })).collect::<Vec<_>>(),
    });
    if best.is_none() {
        document["valid"] = json!(false);
        document["invalid_because"] = json!(["no rate met the target"]);
    }
    println!("\nthe whole curve, target {}", mode.goal.text());
    for (rate, met, document) in &steps {
        show_step(*rate, *met, document);
    }
    deliver(document, &mode.both.output, None)
}

fn try_rate(mode: &SweepMode, rate: f64, watch: &Watch) -> Result<Value, Box<dyn Error>> {
    let mut both_modes = mode.both.clone();
    both_modes.load.rate = Rate::PerSecond(rate);
    let mut phase = both(&both_modes, "sweep")?;
    let headline = match mode.end_to_end {
        true => Headline::EndToEnd,
        false => {
            phase.consume.clear();
            Headline::Acknowledged
        }
    };
    let plan = both_modes.plan(phase)?;
    let mut progress = Progress::new(mode.both.output.quiet);
    let run = run::execute(&plan, watch, &mut progress)?;
    Ok(document(&plan, "sweep", headline, &mode.both.output, &run))
}

fn show_step(rate: f64, met: bool, document: &Value) {
    let latency = &document["latency_ms"];
    println!(
        "{:>12}/s  {:>8} MB/s  p50 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8} ms  {}",
        table::number(&json!(rate), 0),
        table::number(&document["throughput"]["megabytes_per_s"], 1),
        table::number(&latency["p50"], 3),
        table::number(&latency["p99"], 3),
        table::number(&latency["p999"], 3),
        table::number(&latency["max"], 3),
        if met { "met" } else { "missed" }
    );
}

fn watch(output: &Output) -> Result<Watch, Box<dyn Error>> {
    Ok(Watch {
        abort: abort_flag()?,
        broker_pid: output.broker_pid,
        keep_log: output.hdr.is_some(),
    })
}

/// Set by the first interrupt; the second one ends the process.
fn abort_flag() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let abort = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, abort.clone())?;
        signal_hook::flag::register(signal, abort.clone())?;
    }
    Ok(abort)
}

/// Runs the plan and shows its result; whether everything held.
fn carry_out(plan: &Plan, mode: &'static str, headline: Headline, output: &Output) -> Outcome {
    let watch = watch(output)?;
    let mut progress = Progress::new(output.quiet);
    let run = run::execute(plan, &watch, &mut progress)?;
    finish(plan, mode, headline, output, &run)
}

fn finish(
    plan: &Plan,
    mode: &'static str,
    headline: Headline,
    output: &Output,
    run: &RunResult,
) -> Outcome {
    let document = document(plan, mode, headline, output, run);
    deliver(document, output, Some(run))
}

fn document(
    plan: &Plan,
    mode: &'static str,
    headline: Headline,
    output: &Output,
    run: &RunResult,
) -> Value {
    let subject = Subject {
        mode,
        headline,
        label: output.label.clone(),
    };
    let facts = &run.layout.broker;
    let provenance = provenance::collect(facts, output.broker_pid, output.broker_name.as_deref());
    report::document(&subject, plan, run, provenance)
}

/// Judges, prints and writes a document; whether everything held.
fn deliver(mut document: Value, output: &Output, run: Option<&RunResult>) -> Outcome {
    let judged: Vec<Value> = output
        .fail_if
        .iter()
        .map(|one| one.judge(&document))
        .collect();
    let thresholds_hold = judged.iter().all(|threshold| threshold["holds"] == true);
    document["thresholds"] = json!(judged);
    print!("{}", table::render(&document));
    if let Some(path) = &output.json {
        write(path, &(serde_json::to_string_pretty(&document)? + "\n"))?;
    }
    if let Some(path) = &output.html {
        write(path, &page::render(&document))?;
    }
    if let (Some(path), Some(run)) = (&output.hdr, run) {
        write(path, &hdr::log(run)?)?;
    }
    Ok(document["valid"] == true && thresholds_hold)
}

fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
