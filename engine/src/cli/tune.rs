//! `tidelog tune`: what of the host stands in a node's way, and what its disk can do.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tuning::disk::{self, Latency, Measured, PHASES, Plan};
use tuning::host::{self, Level, Needs, Report};

use super::output::{self, OutputArguments, table};
use super::{Failure, Outcome, SettingsArguments};
use crate::node_thread;

const MIB: f64 = 1_048_576.0;

/// Look at the host and measure its disk.
#[derive(Debug, Clone, Subcommand)]
pub enum TuneCommand {
    /// Inspect the host: for each point what is, what should be, why, and the command that changes it.
    ///
    /// Exit code: 0 all well, 1 warnings, 2 a node would not start or not keep its promise. What cannot be seen from
    /// here counts as well.
    Check(CheckArguments),
    /// Measure the data directory's disk through io_uring: bandwidth, operations a second, flush latency.
    ///
    /// Writes one file into the directory and removes it. Stop the node first if the figures are to be the disk's.
    Disk(DiskArguments),
}

/// For which node.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Only what is not well.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// Where and how long to measure.
#[derive(Debug, Clone, Args)]
pub struct DiskArguments {
    /// Directory to measure in, instead of the data directory.
    directory: Option<PathBuf>,
    /// Longest time of each of the ten steps.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Size of the file at most; never more than a quarter of what is free.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    size: u64,
    /// Write the settings that follow from the figures into this file, for `tidelog --profile FILE`.
    #[arg(long, value_name = "FILE")]
    write_profile: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number from 0.01 to 600".to_owned()),
    }
}

impl TuneCommand {
    pub(super) fn run(self) -> Outcome<()> {
        match self {
            TuneCommand::Check(arguments) => arguments.run(),
            TuneCommand::Disk(arguments) => arguments.run(),
        }
    }
}

impl CheckArguments {
    fn run(self) -> Outcome<()> {
        let config = self.settings.load().map_err(Failure::Said)?;
        let shards = node_thread::shard_count(&config);
        let report = host::judge(&host::gather(Needs::of(&config, shards.into())));
        if self.output.is_json() {
            let told = json!({
                "level": report.level(),
                "exit_code": report.exit_code(),
                "findings": report.findings,
            });
            output::json(&told)?;
        } else {
            output::write(text(&report, self.quiet).as_bytes())?;
        }
        match report.exit_code() {
            0 => Ok(()),
            code => Err(Failure::Code(code)),
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Unknown => "unknown",
        Level::Warning => "warning",
        Level::Blocking => "blocking",
    }
}

fn text(report: &Report, quiet: bool) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        if quiet && finding.level < Level::Warning {
            continue;
        }
        let level = level_name(finding.level);
        text.push_str(&format!(
            "{level:<9} {:<16} {}\n",
            finding.check, finding.is
        ));
        if finding.level < Level::Warning {
            continue;
        }
        text.push_str(&format!("          should be: {}\n", finding.should));
        text.push_str(&format!("          why:       {}\n", finding.why));
        for (index, fix) in finding.fix.iter().enumerate() {
            let head = if index == 0 { "fix:" } else { "or:" };
            text.push_str(&format!("          {head:<10} {fix}\n"));
        }
    }
    let count = |level| report.count(level);
    text.push_str(&format!(
        "{} well, {} not seen, {} warnings, {} blocking\n",
        count(Level::Ok),
        count(Level::Unknown),
        count(Level::Warning),
        count(Level::Blocking)
    ));
    text
}

impl DiskArguments {
    fn run(self) -> Outcome<()> {
        let config = self.settings.load().map_err(Failure::Said)?;
        let shards = node_thread::shard_count(&config);
        let directory = match self.directory {
            Some(directory) => directory,
            None => existing(config.data_directory()),
        };
        let plan = Plan {
            directory,
            phase: Duration::from_secs_f64(self.seconds),
            file_bytes_max: self.size << 20,
        };
        let bar = progress_bar();
        let measured = disk::measure(&plan, |progress| {
            let done = (progress.phase as f64 + progress.done) * 100.0;
            bar.set_position(done as u64);
            bar.set_message(PHASES[progress.phase]);
        });
        bar.finish_and_clear();
        let measured = measured.map_err(Failure::new)?;
        if let Some(path) = &self.write_profile {
            let profile = disk::write_profile(&measured, shards.into()).map_err(Failure::new)?;
            std::fs::write(path, profile)
                .map_err(|error| Failure::Said(format!("{}: {error}", path.display())))?;
        }
        if self.output.is_json() {
            let profile: Vec<_> = disk::recommend(&measured, shards.into())
                .into_iter()
                .map(|one| json!({"setting": one.setting, "value": one.value.replace(['_', '"'], ""), "reason": one.reason}))
                .collect();
            return output::json(&json!({"measured": measured, "profile": profile}));
        }
        let mut text = figures(&measured);
        if let Some(path) = &self.write_profile {
            text.push_str(&format!(
                "\nprofile written: tidelog --profile {}\n",
                path.display()
            ));
        }
        output::write(text.as_bytes())
    }
}

/// The nearest directory above a data directory that does not exist yet.
fn existing(directory: PathBuf) -> PathBuf {
    let absolute = std::path::absolute(&directory).unwrap_or(directory);
    let found = absolute.ancestors().find(|path| path.is_dir());
    found.map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// On the standard error, so that figures can be piped; nothing where nobody looks.
fn progress_bar() -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(PHASES.len() as u64 * 100), target);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn figures(measured: &Measured) -> String {
    let bandwidth = |bytes: f64| format!("{:.0} MiB/s", bytes / MIB);
    let small = |count: f64| format!("{count:.0} /s");
    let pairs = [
        (
            "write, fresh extents",
            bandwidth(measured.write_bytes_per_s.fresh),
        ),
        (
            "write, preallocated",
            bandwidth(measured.write_bytes_per_s.preallocated),
        ),
        ("read", bandwidth(measured.read_bytes_per_s)),
        (
            "4 KiB random reads",
            small(measured.small_per_s.random_reads),
        ),
        (
            "4 KiB random writes",
            small(measured.small_per_s.random_writes),
        ),
        (
            "4 KiB sequential reads",
            small(measured.small_per_s.sequential_reads),
        ),
        (
            "4 KiB sequential writes",
            small(measured.small_per_s.sequential_writes),
        ),
    ];
    let rows: Vec<Vec<String>> = pairs
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let place = measured
        .filesystem
        .as_deref()
        .unwrap_or("unknown file system");
    let mut text = format!(
        "{} ({place}), a file of {} MiB\n\n",
        measured.directory,
        measured.file_bytes >> 20
    );
    text.push_str(&table(&["FIGURE", "VALUE"], &rows));
    text.push('\n');
    let row = |flush: &Latency| {
        let times = [
            flush.p50_us,
            flush.p90_us,
            flush.p99_us,
            flush.p999_us,
            flush.max_us,
        ];
        let mut row = vec![
            format!("{} KiB", flush.bytes >> 10),
            flush.count.to_string(),
        ];
        row.extend(times.iter().map(|time| format!("{time:.0} µs")));
        row
    };
    let rows: Vec<Vec<String>> = measured.flush.iter().map(row).collect();
    let head = [
        "WRITE + FDATASYNC",
        "COUNT",
        "P50",
        "P90",
        "P99",
        "P99.9",
        "MAX",
    ];
    text.push_str(&table(&head, &rows));
    text
}
