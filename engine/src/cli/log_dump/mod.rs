//! `tidelog log dump`: prints what a file of a data directory holds, ours and Kafka's, and what is wrong with it.
//!
//! Peer of Kafka's DumpLogSegments, with its words where it has some. Reads only; a node may run, but what it writes
//! meanwhile may look torn. Every finding is counted, and the exit code is 1 if there is one.

mod indexes;
mod ours;
mod segment;
mod values;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::{Failure, Outcome, output};
use crate::log::index::SIDECAR_EXTENSION;
use crate::log::journal::files::parse_journal_name;
use crate::log::kafka_files::{
    CLEAN_SHUTDOWN, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, META_PROPERTIES,
    PARTITION_METADATA, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT,
};
use crate::log::segment::parse_segment_file_name;
use crate::types::Offset;

/// Printed bytes that are gathered before they are written.
const PRINT_BYTES: usize = 256 << 10;
/// Files that are read whole are no larger than this.
const WHOLE_FILE_BYTES_MAX: u64 = 4 << 30;
/// Prefix of the directories of the topic that holds the groups.
const GROUPS_TOPIC: &str = "__consumer_offsets-";

/// Which files, and what of them.
#[derive(Debug, Clone, Args)]
pub struct DumpArguments {
    /// Files, or directories whose files are all dumped.
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// The same, as Kafka's tools want it, with commas.
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    files: Vec<PathBuf>,
    /// Print the records too.
    #[arg(long)]
    print_data_log: bool,
    /// Look into every batch, so that damaged records are found; --print-data-log implies it.
    #[arg(long)]
    deep_iteration: bool,
    /// With --print-data-log: leave out everything but keys and values.
    #[arg(long)]
    skip_record_metadata: bool,
    /// Read the records as those of __consumer_offsets; a directory of that topic implies it.
    #[arg(long)]
    offsets_decoder: bool,
    /// Read the records as those of the cluster's metadata; a metadata log of ours implies it.
    #[arg(long)]
    cluster_metadata_decoder: bool,
    /// Only check indexes against their segments and print nothing of their entries.
    #[arg(long, visible_alias = "verify-index-only")]
    index_sanity_check: bool,
    /// Stop a segment after so many bytes.
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    max_bytes: u64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What records mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain,
    Groups,
    Metadata,
}

/// Where findings and what was found go.
struct Report {
    json: bool,
    file: String,
    out: Vec<u8>,
    problems: usize,
}

impl Report {
    /// One thing: a line of text, or an object with these fields.
    fn say(&mut self, kind: &str, text: &str, fields: Value) -> Outcome<()> {
        if self.json {
            let mut object = Map::new();
            object.insert("file".to_owned(), Value::from(self.file.as_str()));
            object.insert("kind".to_owned(), Value::from(kind));
            if let Value::Object(fields) = fields {
                object.extend(fields);
            }
            self.out
                .extend_from_slice(Value::Object(object).to_string().as_bytes());
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
        self.out.push(b'\n');
        if self.out.len() >= PRINT_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Something is wrong.
    fn problem(&mut self, what: &str) -> Outcome<()> {
        self.problems += 1;
        self.say(
            "problem",
            &format!("PROBLEM: {what}"),
            serde_json::json!({"problem": what}),
        )
    }

    fn flush(&mut self) -> Outcome<()> {
        output::write(&self.out)?;
        self.out.clear();
        Ok(())
    }
}

impl DumpArguments {
    pub(super) fn run(self) -> Outcome<()> {
        let mut report = Report {
            json: self.json,
            file: String::new(),
            out: Vec::new(),
            problems: 0,
        };
        let mut dumped = 0;
        for path in self.paths.iter().chain(&self.files) {
            let told = |error: io::Error| Failure::Said(format!("{}: {error}", path.display()));
            let files = match path.is_dir() {
                true => files_of(path).map_err(told)?,
                false => vec![path.clone()],
            };
            for file in files {
                report.file = file.display().to_string();
                let known = self.dump(&file, &mut report).map_err(|error| match error {
                    Problem::Io(error) => Failure::Said(format!("{}: {error}", file.display())),
                    Problem::Failure(failure) => failure,
                })?;
                if !known && !path.is_dir() {
                    let name = file.display();
                    return Err(Failure::Said(format!(
                        "{name}: no file of a data directory has this name"
                    )));
                }
                dumped += usize::from(known);
            }
        }
        report.flush()?;
        match (dumped, report.problems) {
            (0, _) => Err(Failure::usage(
                "name a file, or a directory with files to dump",
            )),
            (_, 0) => Ok(()),
            _ => Err(Failure::Shown),
        }
    }

    /// Dumps a file by its name; says whether the name is known.
    fn dump(&self, path: &Path, report: &mut Report) -> Result<bool, Problem> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some((base, extension)) = parse_segment_file_name(&name) {
            return self.dump_of_segment(path, base, extension, report);
        }
        let text = [
            LEADER_EPOCH_CHECKPOINT,
            LOG_START_CHECKPOINT,
            RECOVERY_POINT_CHECKPOINT,
            REPLICATION_CHECKPOINT,
            META_PROPERTIES,
            PARTITION_METADATA,
            CLEAN_SHUTDOWN,
        ];
        if text.contains(&name.as_str()) {
            begin(path, report)?;
            ours::text_file(&name, &read_whole(path)?, report)?;
            return Ok(true);
        }
        if name == "metadata-a.log" || name == "metadata-b.log" {
            begin(path, report)?;
            segment::dump(path, Offset(0), &self.options(Meaning::Metadata), report)?;
            return Ok(true);
        }
        if parse_journal_name(&name).is_some() {
            begin(path, report)?;
            ours::journal(path, report)?;
            return Ok(true);
        }
        let pair = name
            .strip_prefix("checkpoint-")
            .and_then(|rest| rest.rsplit_once('-'));
        if pair.is_some_and(|(_, copy)| copy == "a" || copy == "b") {
            begin(path, report)?;
            ours::checkpoint(&read_whole(path)?, report)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn dump_of_segment(
        &self,
        path: &Path,
        base: Offset,
        extension: &str,
        report: &mut Report,
    ) -> Result<bool, Problem> {
        let directory = path.parent().and_then(Path::file_name).unwrap_or_default();
        let of_groups = directory.to_string_lossy().starts_with(GROUPS_TOPIC);
        let meaning = match () {
            () if self.cluster_metadata_decoder => Meaning::Metadata,
            () if self.offsets_decoder || of_groups => Meaning::Groups,
            () => Meaning::Plain,
        };
        let known = [
            "log",
            "index",
            "timeindex",
            "txnindex",
            "snapshot",
            SIDECAR_EXTENSION,
        ];
        if !known.contains(&extension) {
            return Ok(false);
        }
        begin(path, report)?;
        let quiet = self.index_sanity_check;
        match extension {
            "log" => segment::dump(path, base, &self.options(meaning), report)?,
            "index" => indexes::offsets(path, base, &read_whole(path)?, quiet, report)?,
            "timeindex" => indexes::times(path, base, &read_whole(path)?, quiet, report)?,
            "txnindex" => indexes::transactions(&read_whole(path)?, report)?,
            "snapshot" => indexes::producers(&read_whole(path)?, report)?,
            _ => indexes::sidecar(path, base, read_whole(path)?, quiet, report)?,
        }
        Ok(true)
    }

    fn options(&self, meaning: Meaning) -> segment::Options {
        segment::Options {
            records: self.print_data_log,
            deep: self.deep_iteration || self.print_data_log,
            metadata: !self.skip_record_metadata,
            meaning,
            bytes_max: self.max_bytes,
        }
    }
}

/// Why a file is not dumped to its end.
enum Problem {
    Io(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem::Io(error)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::Failure(failure)
    }
}

fn begin(path: &Path, report: &mut Report) -> Outcome<()> {
    if report.json {
        return Ok(());
    }
    report.say("file", &format!("Dumping {}", path.display()), Value::Null)
}

/// The files of a directory, by name.
fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > WHOLE_FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too large for what its name says",
        ));
    }
    std::fs::read(path)
}
