//! The program as its users run it, against its own null sink.
//!
//! Nothing here asserts how fast anything is: only that what happened is what is reported.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// A sink process; ended on drop.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start() -> Sink {
        let mut process = Command::new(LOADGEN)
            .arg("sink")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        out.read_line(&mut address).unwrap();
        Sink {
            process,
            address: address.trim().to_owned(),
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: kill takes no pointers; the process is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn command(&self, mode: &str, topic: &str) -> Command {
        let mut command = Command::new(LOADGEN);
        command.args([mode, "--bootstrap", &self.address, "--topic", topic]);
        command
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Everything went well, but for a schedule that a busy machine cannot hold.
fn assert_held(output: &Output, document: &Value) {
    let reasons = document["invalid_because"].as_array().unwrap();
    let slow = |reason: &Value| reason.as_str().unwrap().contains("rate was not held");
    assert!(reasons.iter().all(slow), "{}", said(output));
    assert_eq!(output.status.success(), reasons.is_empty());
    assert_eq!(document["valid"], reasons.is_empty());
}

#[test]
fn what_is_sent_is_what_is_reported() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let [json, html, hdr] = ["a.json", "a.html", "a.hlog"].map(|name| folder.path().join(name));
    let cases = [
        "--rate max --records 5000 --batch-bytes 4096 --acks all --idempotent",
        "--rate 2000 --records 1000 --batch-bytes 1 --acks 1",
        "--rate 5000 --records 3000 --linger-ms 5 --acks 0 --arrivals poisson",
        "--rate max --records 3000 --record-size 40..400 --keys 100 --key-skew 1 --codec zstd --partitions 7",
        "--rate 9000 --duration 1 --arrivals bursts --burst 100 --partitions 3 --partitioner round-robin",
        "--rate 1000 --ramp-to 3000 --arrivals ramp --duration 1 --connections 3 --threads 2",
    ];
    for (number, flags) in cases.into_iter().enumerate() {
        let output = sink
            .command("produce", &format!("topic-{number}"))
            .args(flags.split(' '))
            .args(["--lateness-max-ms", "60000"])
            .arg("--json")
            .arg(&json)
            .arg("--html")
            .arg(&html)
            .arg("--hdr")
            .arg(&hdr)
            .output()
            .unwrap();
        let document = read(&json);
        assert_held(&output, &document);
        let words: Vec<&str> = flags.split(' ').collect();
        let records = words
            .iter()
            .position(|word| *word == "--records")
            .map(|at| words[at + 1]);
        let expected = match records {
            Some(records) => records.parse().unwrap(),
            None if flags.contains("ramp") => 2000,
            None => 9000,
        };
        let counts = &document["records"];
        assert_eq!(counts["sent"], counts["acked"], "{flags}");
        let sent = counts["sent"].as_u64().unwrap();
        assert!(
            sent.abs_diff(expected) <= 3,
            "{flags}: {sent} and not {expected}"
        );
        assert_eq!(document["latency_ms"]["count"], sent);
        assert!(document["throughput"]["records_per_s"].as_f64().unwrap() > 0.0);
        for field in ["p50", "p90", "p99", "p999", "p9999", "max", "mean"] {
            assert!(document["latency_ms"][field].is_f64(), "{flags}: {field}");
        }
        assert_eq!(document["provenance"]["command"][1], "produce");
        let page = std::fs::read_to_string(&html).unwrap();
        assert!(
            page.contains("tidelog-loadgen/1") && page.contains("<svg")
                || page.contains("createElementNS")
        );
        assert!(
            std::fs::read_to_string(&hdr)
                .unwrap()
                .contains("Tag=produce,")
        );
    }
}

#[test]
fn a_missed_threshold_and_an_unreachable_broker_have_their_exit_codes() {
    let sink = Sink::start();
    let flags = ["--rate", "max", "--records", "100", "-q"];
    let run = |more: &[&str]| {
        sink.command("produce", "t")
            .args(flags)
            .args(more)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["--fail-if", "p99>1h"]).status.code(), Some(2));
    assert_eq!(run(&["--fail-if", "p99>3600s"]).status.code(), Some(0));
    let missed = run(&["--fail-if", "acked>99", "--fail-if", "lost>0"]);
    assert_eq!(missed.status.code(), Some(1));
    assert!(said(&missed).contains("MISSED"));
    let nobody = Command::new(LOADGEN)
        .args([
            "produce",
            "--bootstrap",
            "127.0.0.1:1",
            "--topic",
            "t",
            "--rate",
            "1",
        ])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
}

#[test]
fn flags_that_would_be_ignored_are_refused() {
    for flags in [
        "produce --rate 10 --burst 5",
        "produce --rate 10 --ramp-to 20",
        "produce --rate 10 --arrivals ramp",
        "produce --rate 10 --key-skew 1",
        "produce --rate 10 --codec-level 3",
        "produce --rate max --closed-loop",
        "end-to-end --rate 10 --no-verify",
        "soak --rate 10 --record-size 20",
        "sweep --rate 10 --hdr /dev/null",
        "sweep --rate 10 --fan-out 2",
    ] {
        let output = Command::new(LOADGEN)
            .args(flags.split(' '))
            .args(["--bootstrap", "127.0.0.1:1", "--topic", "t"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags}: {}", said(&output));
        assert!(
            !said(&output).contains("onnect"),
            "{flags}: {}",
            said(&output)
        );
    }
}

#[test]
fn a_run_that_measured_nothing_is_not_valid() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("nothing.json");
    let output = sink
        .command("produce", "t")
        .args([
            "--rate",
            "10",
            "--records",
            "1",
            "--duration",
            "2",
            "--warmup",
            "1",
            "--json",
        ])
        .arg(&json)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("nothing was measured"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_plan_runs_its_phases_and_two_results_can_be_compared() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "
        lateness-max-ms = 60000
        [[phase]]
        name = 'first'
        duration = 1
        [[phase.produce]]
        topic = 'a'
        topics = 3
        partitions = 2
        rate = 3000
        [[phase]]
        name = 'second'
        duration = 1
        [[phase.produce]]
        name = 'small'
        topic = 'b'
        rate = 1000
        value = { size = 100 }
        [[phase.produce]]
        name = 'large'
        topic = 'c'
        rate = 'max'
        records = 500
        value = { size = 10000 }
    ";
    std::fs::write(&plan, text).unwrap();
    let mut results = Vec::new();
    for name in ["one.json", "two.json"] {
        let json = folder.path().join(name);
        let output = Command::new(LOADGEN)
            .arg("run")
            .arg(&plan)
            .args(["--bootstrap", &sink.address, "--label", "mine", "--json"])
            .arg(&json)
            .output()
            .unwrap();
        let document = read(&json);
        assert_held(&output, &document);
        assert_eq!(document["phases"].as_array().unwrap().len(), 2);
        assert_eq!(document["phases"][1]["workloads"][1]["name"], "large");
        assert_eq!(document["records"]["acked"], 3000 + 1000 + 500);
        results.push(json);
    }
    let compared = folder.path().join("compared.json");
    let output = Command::new(LOADGEN)
        .arg("compare")
        .args(&results)
        .arg("--json")
        .arg(&compared)
        .output()
        .unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{}",
        said(&output)
    );
    let document = read(&compared);
    assert_eq!(document["columns"], serde_json::json!(["mine"]));
    assert_eq!(document["rows"][0]["columns"][0]["repeats"], 2);
}

#[test]
fn a_flag_that_would_do_nothing_is_refused() {
    let sink = Sink::start();
    let cases = [
        ("sweep --rate 300 --fetch-bytes-min 2", "--end-to-end"),
        ("sweep --rate 300 --partition-bytes-max 99", "--end-to-end"),
        ("consume --seed 3", "--seed"),
        ("consume --lateness-max-ms 3", "--lateness-max-ms"),
        ("consume --drain 3", "--until-end"),
        ("produce --rate 9 --acks 0 --in-flight 3", "acks 0"),
        (
            "consume --no-create-topics --topic-config a=b",
            "--topic-config",
        ),
        (
            "consume --no-create-topics --recreate-topics",
            "create-topics",
        ),
    ];
    for (flags, named) in cases {
        let (mode, flags) = flags.split_once(' ').unwrap();
        let output = sink
            .command(mode, "refused")
            .args(flags.split(' '))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{mode} {flags}");
        let said = said(&output);
        assert!(said.contains(named), "{mode} {flags}: {said}");
    }
}

#[test]
fn a_sweep_prints_the_whole_curve() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("sweep.json");
    let output = sink
        .command("sweep", "t")
        .args([
            "--rate",
            "300",
            "--rate-max",
            "1000",
            "--duration",
            "1",
            "-q",
        ])
        .args([
            "--target",
            "p99<=3600s",
            "--lateness-max-ms",
            "60000",
            "--json",
        ])
        .arg(&json)
        .output()
        .unwrap();
    let document = read(&json);
    let steps = document["sweep"]["steps"].as_array().unwrap();
    let rates: Vec<f64> = steps
        .iter()
        .map(|step| step["rate"].as_f64().unwrap())
        .collect();
    assert!(rates.is_sorted() && rates.contains(&300.0), "{rates:?}");
    let met = steps.iter().filter(|step| step["met"] == true);
    let best = met
        .map(|step| step["rate"].as_f64().unwrap())
        .reduce(f64::max);
    assert_eq!(document["sweep"]["best_rate"].as_f64(), best);
    assert_eq!(output.status.success(), best.is_some(), "{}", said(&output));
    if steps.iter().all(|step| step["met"] == true) {
        assert_eq!(rates, [300.0, 600.0, 1000.0]);
    }
}

/// Runs `flags` for four seconds and pauses the sink for one of them; the document.
fn with_a_pause(flags: &[&str]) -> Value {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("pause.json");
    let mut child = sink
        .command("produce", "t")
        .args([
            "--rate",
            "500",
            "--duration",
            "4",
            "--batch-bytes",
            "1",
            "--acks",
            "1",
            "--json",
        ])
        .arg(&json)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    wait_for_first_second(&mut lines);
    sink.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(1));
    sink.signal(libc::SIGCONT);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    read(&json)
}

fn wait_for_first_second(lines: &mut BufReader<ChildStderr>) {
    let mut line = String::new();
    while !line.trim_start().starts_with("0 s") {
        line.clear();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "the generator ended early"
        );
    }
}

/// The share of records that took at least `ms`.
fn share_above(document: &Value, ms: f64) -> f64 {
    let curve = document["percentiles"].as_array().unwrap();
    let first = curve.iter().find(|point| point[1].as_f64().unwrap() >= ms);
    first.map_or(0.0, |point| 1.0 - point[0].as_f64().unwrap())
}

/// Coordinated omission: a stall of the broker must count for every record that was due while it lasted, and not only
/// for the one that was under way. Of 2,000 records 500 were due in the pause, half of which waited for half a second.
#[test]
fn a_broker_paused_for_a_second_is_that_second_in_every_percentile_where_it_belongs() {
    let open = with_a_pause(&[]);
    assert_eq!(open["records"]["acked"], 2000);
    assert!(
        open["latency_ms"]["max"].as_f64().unwrap() >= 900.0,
        "{}",
        open["latency_ms"]
    );
    assert!(share_above(&open, 500.0) >= 0.09, "{}", open["percentiles"]);
    assert!(share_above(&open, 100.0) >= 0.18, "{}", open["percentiles"]);

    let closed = with_a_pause(&["--closed-loop", "--in-flight", "1"]);
    assert_eq!(closed["records"]["acked"], 2000);
    assert!(closed["latency_ms"]["max"].as_f64().unwrap() >= 900.0);
    assert!(share_above(&closed, 500.0) < share_above(&open, 500.0));
    assert!(closed["latency_of"].as_str().unwrap().contains("hides"));
}
