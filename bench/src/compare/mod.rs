//! `bench compare`: the same plans against Tidelog and Apache Kafka, in alternation, on one machine.
//!
//! Both brokers run pinned to one core and the generator to another; the broker that is not measured is stopped
//! (SIGSTOP), and everything written is on the device before the next run begins. Rows are kept in files, so that a run
//! that was cut off, or ran out of its time, goes on where it was.

pub mod goals;
pub mod html;
pub mod plan;
pub mod report;
mod restart;
pub mod result;
mod rows;
mod special;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Kind, Site};
use crate::load::{Load, Mode, Outcome, Pace, Running};
use crate::machine::{self, Provenance};
use crate::wire::Wire;
use crate::{Error, Result, kafka};
use goals::Rows;
use plan::{Row, Work};
use result::{RowResult, Run};

const FULL_TIME: Duration = Duration::from_secs(98 * 60);
const QUICK_TIME: Duration = Duration::from_secs(14 * 60);
/// What a generator may need beyond its plan: connecting, waiting for the last answers, writing its report.
const LOAD_GRACE_SECONDS: f64 = 60.0;
/// A row ends with an error if the files of a deleted topic are not gone within so long.
const DELETION_MAX: Duration = Duration::from_secs(180);
/// A run at full speed may take so much.
const FREE_BYTES_MIN: u64 = 12 << 30;
/// Before its first measurement Kafka's compiler has seen so much load.
const FIRST_WARM_UP_SECONDS: f64 = 30.0;
const ROW_WARM_UP_SECONDS: f64 = 6.0;

/// Rows that could not be measured, and why.
type Failed = BTreeMap<&'static str, String>;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The named subset, with shorter runs.
    pub quick: bool,
    /// Only rows whose names are listed.
    pub only: Vec<String>,
    /// Where the goals go as JSON.
    pub json: Option<PathBuf>,
    /// Where the report goes as HTML.
    pub html: Option<PathBuf>,
    /// Folder of the rows' files; rows that are there are not measured again.
    pub resume: Option<PathBuf>,
    /// Folder on the disk that is measured.
    pub disk: Option<PathBuf>,
    /// First port.
    pub port: u16,
    /// The cargo profile of the binaries.
    pub profile: String,
    /// Do not build; the binaries are there.
    pub no_build: bool,
}

/// A comparison under way.
pub(crate) struct Bench {
    site: Site,
    loadgen: PathBuf,
    rows_directory: PathBuf,
    quick: bool,
    commit: String,
    brokers: BTreeMap<Kind, Broker>,
    topics: u32,
}

/// Runs it; the process's exit status says only whether the measuring worked.
pub fn compare(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let known = plan::rows();
    if let Some(unknown) = options
        .only
        .iter()
        .find(|id| !known.iter().any(|row| row.id == **id))
    {
        let ids: Vec<&str> = known.iter().map(|row| row.id).collect();
        let problem = format!("there is no row {unknown}; there are {}", ids.join(", "));
        return Err(Error::failed(problem));
    }
    let root = workspace_root()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    if !options.no_build {
        build(&root, &options.profile)?;
    }
    let binaries = target.join(&options.profile);
    let rows_directory = match &options.resume {
        Some(directory) => directory.clone(),
        None => target.join(format!("compare/{}", std::process::id())),
    };
    let work = options
        .disk
        .clone()
        .unwrap_or_else(|| target.join("compare"));
    let work = work.join(format!("data-{}", std::process::id()));
    for directory in [&rows_directory, &work] {
        std::fs::create_dir_all(directory)
            .map_err(Error::io(format!("making {}", directory.display())))?;
    }
    refuse_to_mix(&rows_directory, &machine::commit(), options.quick)?;
    let work = work.canonicalize().map_err(Error::io("the work folder"))?;
    let provenance = machine::provenance(&work);
    let mut bench = Bench {
        site: Site {
            work: work.clone(),
            tidelog: binaries.join("tidelog"),
            class_path: kafka::class_path()?,
            port: options.port,
        },
        loadgen: binaries.join("loadgen"),
        rows_directory: rows_directory.clone(),
        quick: options.quick,
        commit: provenance.commit.clone(),
        brokers: BTreeMap::new(),
        topics: 0,
    };
    let time = if options.quick { QUICK_TIME } else { FULL_TIME };
    let (measured, failed) = bench.run_rows(options, begun, time);
    bench.brokers.clear();
    let _ = std::fs::remove_dir_all(&work);
    print!("{}", report::table(&measured));
    write_reports(options, &provenance, &measured, &failed)?;
    eprintln!(
        "raw rows are in {}: go on with --resume {0}",
        rows_directory.display()
    );
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!("rows that failed: {failed:?}"))),
    }
}

/// A report is about one commit measured in one way; rows that are there already must be of the same.
fn refuse_to_mix(directory: &Path, commit: &str, quick: bool) -> Result<()> {
    let how = |quick| if quick { "with --quick" } else { "in full" };
    for row in plan::rows() {
        let Some(kept) = RowResult::load(directory, row.id) else {
            continue;
        };
        if (kept.commit.as_str(), kept.quick) != (commit, quick) {
            return Err(Error::failed(format!(
                "{}/{}.json was measured {} at commit {}, this is {} at {commit}: remove it or resume another folder",
                directory.display(),
                row.id,
                how(kept.quick),
                kept.commit,
                how(quick),
            )));
        }
    }
    Ok(())
}

fn write_reports(
    options: &Options,
    provenance: &Provenance,
    rows: &Rows,
    failed: &Failed,
) -> Result<()> {
    if let Some(path) = &options.json {
        let report = report::json(rows, failed, provenance, options.quick);
        let text = serde_json::to_string_pretty(&report).expect("plain data");
        std::fs::write(path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    }
    if let Some(path) = &options.html {
        std::fs::write(path, html::page(rows, provenance))
            .map_err(Error::io(format!("writing {}", path.display())))?;
    }
    Ok(())
}

/// The repository: where the workspace's `Cargo.toml` is, at or above the current directory.
fn workspace_root() -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(Error::io("the current directory"))?;
    here.ancestors()
        .find(|folder| folder.join("loadgen/Cargo.toml").exists())
        .map(Path::to_path_buf)
        .ok_or_else(|| Error::failed("run this inside the repository"))
}

fn build(root: &Path, profile: &str) -> Result<()> {
    eprintln!("building tidelog and loadgen, profile {profile}");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "-p",
            "engine",
            "-p",
            "loadgen",
        ])
        .current_dir(root)
        .status()
        .map_err(Error::io("cargo"))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::failed("the build failed")),
    }
}

impl Bench {
    fn run_rows(&mut self, options: &Options, begun: Instant, time: Duration) -> (Rows, Failed) {
        let (mut measured, mut failed) = (Rows::new(), Failed::new());
        for row in plan::rows() {
            if let Some(kept) = RowResult::load(&self.rows_directory, row.id) {
                measured.insert(row.id.to_owned(), kept);
                continue;
            }
            let wanted = match options.only.is_empty() {
                true => !self.quick || row.quick,
                false => options.only.iter().any(|id| id == row.id),
            };
            if !wanted {
                continue;
            }
            let share = if self.quick { 0.5 } else { 1.0 };
            if begun.elapsed() + Duration::from_secs_f64(row.seconds * share) > time {
                eprintln!("{}: not_run, out of time", row.id);
                continue;
            }
            match self.run_row(&row) {
                Ok(result) => {
                    if let Err(error) = result.save(&self.rows_directory) {
                        eprintln!("{}: {error}", row.id);
                    }
                    measured.insert(row.id.to_owned(), result);
                }
                Err(error) => {
                    eprintln!("{}: {error}", row.id);
                    failed.insert(row.id, error.to_string());
                    // Whatever state the brokers are in now, the next row starts with new ones.
                    self.brokers.clear();
                }
            }
        }
        (measured, failed)
    }

    fn run_row(&mut self, row: &Row) -> Result<RowResult> {
        eprintln!("== {}: {}", row.id, row.title);
        let begun = Instant::now();
        let runs = match &row.work {
            Work::References => self.references()?,
            Work::Produce {
                brokers,
                loads,
                rounds,
            } => self.alternate(brokers, loads, *rounds)?,
            Work::Acks => self.acks()?,
            Work::EndToEnd => self.end_to_end()?,
            Work::Tail => self.tail()?,
            Work::CatchUp => self.catch_up()?,
            Work::ManyPartitions { bytes_min } => self.many_partitions(*bytes_min)?,
            Work::Topics { counts } => self.beside_topics(counts)?,
            Work::History { steps } => self.growing_log(*steps)?,
            Work::Idle => self.idle()?,
            Work::Restart { log_bytes } => self.restart(*log_bytes)?,
        };
        Ok(RowResult {
            id: row.id.to_owned(),
            title: row.title.to_owned(),
            commit: self.commit.clone(),
            quick: self.quick,
            seconds: begun.elapsed().as_secs_f64(),
            runs,
        })
    }

    /// How often to repeat, and how long a run takes.
    fn rounds(&self, full: u32) -> u32 {
        if self.quick { full.min(2) } else { full }
    }

    fn seconds(&self, full: f64) -> f64 {
        if self.quick { full.min(5.0) } else { full }
    }

    /// Starts the broker if it does not run yet, lets it run, and stops all others where they are.
    fn only(&mut self, kind: Kind) -> Result<&mut Broker> {
        let process = kind.process();
        for (other, broker) in &mut self.brokers {
            if *other != process {
                broker.pause();
            }
        }
        if !self.brokers.contains_key(&process) {
            let broker = Broker::start(&self.site, process, &[])?;
            self.brokers.insert(process, broker);
            let seconds = if process == Kind::Kafka {
                FIRST_WARM_UP_SECONDS
            } else {
                3.0
            };
            let load = plan::produce(16, 16, 1024, 16 << 10);
            self.load(
                kind,
                &Load {
                    seconds: self.seconds(seconds),
                    ..load
                },
            )?;
        }
        let broker = self.brokers.get_mut(&process).expect("just started");
        broker.resume()?;
        Ok(broker)
    }

    /// A new topic, for the mode of durability.
    fn create_topic(&mut self, kind: Kind, partitions: i32) -> Result<String> {
        self.topics += 1;
        let name = format!("load-{}", self.topics);
        let broker = &self.brokers[&kind.process()];
        Wire::connect(broker.address())?.create_topic(&name, partitions, kind.topic_configs())?;
        Ok(name)
    }

    /// Deletes the topic and waits until its files are gone, lest the disk give their space back while something else is
    /// measured.
    fn delete_topic(&self, kind: Kind, name: &str) -> Result<()> {
        let broker = &self.brokers[&kind.process()];
        Wire::connect(broker.address())?.delete_topic(name)?;
        let begun = Instant::now();
        while begun.elapsed() < DELETION_MAX {
            std::thread::sleep(Duration::from_millis(50));
            if !broker.is_deleting()? {
                return Ok(());
            }
        }
        Err(Error::failed(format!(
            "{} still deletes {name} after {} s",
            kind.name(),
            DELETION_MAX.as_secs()
        )))
    }

    fn start(&self, kind: Kind, load: &Load, topic: &str, name: &str) -> Result<Running> {
        let address = self.brokers[&kind.process()].address();
        let json = self.site.work.join(format!("load-{name}.json"));
        load.start(&self.loadgen, address, topic, json)
    }

    /// One load into a topic of its own; what the generator found and what the broker used.
    fn load(&mut self, kind: Kind, load: &Load) -> Result<(Outcome, Usage)> {
        let topic = self.create_topic(kind, load.partitions)?;
        let found = self.load_into(kind, load, &topic);
        self.delete_topic(kind, &topic)?;
        found
    }

    fn load_into(&mut self, kind: Kind, load: &Load, topic: &str) -> Result<(Outcome, Usage)> {
        machine::settle();
        let free = machine::free_bytes(&self.site.work)?;
        if load.pace == Pace::Max && load.mode == Mode::Produce && free < FREE_BYTES_MIN {
            return Err(Error::failed(format!(
                "only {} MB are free on the disk",
                free / 1_000_000
            )));
        }
        let pid = self.brokers[&kind.process()].pid();
        let before = Usage::begin(pid)?;
        let running = self.start(kind, load, topic, kind.name())?;
        let outcome = running.finish(load.seconds + LOAD_GRACE_SECONDS)?;
        let usage = before.end(pid)?;
        Ok((outcome, usage))
    }

    /// A load as a run of the report.
    fn measure(&mut self, kind: Kind, case: &str, round: u32, load: &Load) -> Result<Run> {
        self.only(kind)?;
        let (outcome, usage) = self.load(kind, load)?;
        let run = to_run(kind, case, round, &outcome, &usage);
        say(&run);
        Ok(run)
    }

    /// The most records a second that the broker takes of this load.
    fn maximum(&mut self, kind: Kind, load: &Load) -> Result<f64> {
        self.only(kind)?;
        let load = Load {
            pace: Pace::Max,
            mode: Mode::Produce,
            seconds: 5.0,
            ..load.clone()
        };
        let (outcome, _) = self.load(kind, &load)?;
        Ok(outcome.number("throughput.records_per_s").unwrap_or(0.0))
    }
}

/// What the broker's process used during a run.
pub(crate) struct Usage {
    cpu_seconds: f64,
    peak_bytes: u64,
    begun: Instant,
    seconds: f64,
}

impl Usage {
    fn begin(pid: u32) -> Result<Usage> {
        // Forgets the peak so far; without the right to do so the peak is that of the process's life.
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        Ok(Usage {
            cpu_seconds: machine::cpu_seconds(pid)?,
            peak_bytes: 0,
            begun: Instant::now(),
            seconds: 0.0,
        })
    }

    fn end(self, pid: u32) -> Result<Usage> {
        Ok(Usage {
            cpu_seconds: machine::cpu_seconds(pid)? - self.cpu_seconds,
            peak_bytes: machine::peak_resident_bytes(pid)?,
            seconds: self.begun.elapsed().as_secs_f64(),
            ..self
        })
    }
}

/// The figures of a run of the generator.
fn to_run(kind: Kind, case: &str, round: u32, outcome: &Outcome, usage: &Usage) -> Run {
    let mut run = Run::new(kind.name(), case, round)
        .with("megabytes_per_s", outcome.megabytes_per_s())
        .with("cpu_seconds", usage.cpu_seconds)
        .with("peak_resident_bytes", usage.peak_bytes as f64);
    run.valid = outcome.is_valid();
    run.invalid_because = outcome.invalid_because();
    for (name, path) in [
        ("records_per_s", "throughput.records_per_s"),
        ("p50_ms", "latency_ms.p50"),
        ("p99_ms", "latency_ms.p99"),
        ("p999_ms", "latency_ms.p999"),
        ("p9999_ms", "latency_ms.p9999"),
        ("max_ms", "latency_ms.max"),
        ("records_acked", "records.acked"),
        ("records_read", "records.read"),
        ("records_failed", "records.failed"),
        ("records_lost", "records.lost"),
    ] {
        if let Some(value) = outcome.number(path) {
            run = run.with(name, value);
        }
    }
    // The generator counts its rate over the time that it sent; the bytes follow from what was acknowledged.
    let rate = run.figures.get("records_per_s").copied().unwrap_or(0.0);
    let records = run.figures.get("records_acked").copied().unwrap_or(0.0);
    if rate > 0.0 && records > 0.0 {
        let gigabytes = records * outcome.megabytes_per_s() / rate / 1000.0;
        run = run
            .with("gigabytes_written", gigabytes)
            .with("cpu_s_per_gb", usage.cpu_seconds / gigabytes);
    }
    run.with("seconds", usage.seconds)
}

/// One line a run, while it goes on.
fn say(run: &Run) {
    let figure = |name: &str| {
        run.figures
            .get(name)
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
    };
    eprintln!(
        "{:<12} {:<24} round {}: {:>9} MB/s {:>7} CPU-s/GB  p50 {:>7} p99 {:>8} ms{}",
        run.broker,
        run.case,
        run.round + 1,
        figure("megabytes_per_s"),
        figure("cpu_s_per_gb"),
        figure("p50_ms"),
        figure("p99_ms"),
        if run.valid { "" } else { "  (invalid)" }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_another_commit_or_of_a_quick_run_are_not_resumed() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = RowResult {
            id: "tail".to_owned(),
            title: String::new(),
            commit: "abc".to_owned(),
            quick: false,
            seconds: 1.0,
            runs: Vec::new(),
        };
        row.save(folder.path()).expect("it is written");
        assert!(refuse_to_mix(folder.path(), "abc", false).is_ok());
        for (commit, quick) in [("def", false), ("abc", true)] {
            let refused = refuse_to_mix(folder.path(), commit, quick).expect_err("it differs");
            assert!(refused.to_string().contains("tail.json"), "{refused}");
        }
    }
}
