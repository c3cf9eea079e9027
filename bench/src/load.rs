//! Runs of `loadgen`, as a process of its own on [`LOAD_CORE`](crate::machine::LOAD_CORE), and what its JSON says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::machine::{self, LOAD_CORE};
use crate::{Error, Result};

/// What the generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Writes.
    Produce,
    /// Reads what comes, from the end on.
    Tail,
    /// Reads everything there is, from the beginning.
    CatchUp,
    /// Writes and reads the same records.
    EndToEnd,
}

/// Records a second, all connections together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As many as are taken.
    Max,
    /// So many.
    Rate(f64),
}

/// One run of the generator.
#[derive(Debug, Clone)]
pub struct Load {
    /// What it does.
    pub mode: Mode,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Connections.
    pub connections: u32,
    /// Bytes of a record's value.
    pub record_bytes: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// How long a batch waits for more records.
    pub linger_ms: u32,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub seconds: f64,
    /// Consumers, each of which reads everything.
    pub consumers: u32,
}

/// What a run found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Everything the generator wrote.
    pub json: Value,
}

impl Outcome {
    /// A number by its path, such as `latency_ms.p99`.
    pub fn number(&self, path: &str) -> Option<f64> {
        path.split('.')
            .try_fold(&self.json, |value, name| value.get(name))
            .and_then(Value::as_f64)
    }

    /// 10⁶ bytes of record values a second.
    pub fn megabytes_per_s(&self) -> f64 {
        self.number("throughput.megabytes_per_s").unwrap_or(0.0)
    }

    /// The 99th percentile of acknowledgements in a run whose headline is something else.
    pub fn ack_p99(&self) -> Option<f64> {
        let workloads = self
            .json
            .get("phases")?
            .as_array()?
            .last()?
            .get("workloads")?;
        let producer = workloads
            .as_array()?
            .iter()
            .find(|workload| workload.get("kind").and_then(Value::as_str) == Some("produce"))?;
        producer.get("latency_ms")?.get("p99")?.as_f64()
    }

    /// Why the generator does not stand by its result.
    pub fn invalid_because(&self) -> Vec<String> {
        let reasons = self.json.get("invalid_because").and_then(Value::as_array);
        let reasons = reasons.into_iter().flatten().filter_map(Value::as_str);
        reasons.map(str::to_owned).collect()
    }

    /// Whether the generator stands by its result.
    pub fn is_valid(&self) -> bool {
        self.json.get("valid").and_then(Value::as_bool) == Some(true)
    }
}

/// A generator at work.
pub struct Running {
    child: Option<Child>,
    json: PathBuf,
    command: String,
}

impl Load {
    /// Starts it against an existing topic.
    pub fn start(
        &self,
        binary: &Path,
        address: SocketAddr,
        topic: &str,
        json: PathBuf,
    ) -> Result<Running> {
        let _ = std::fs::remove_file(&json);
        let words = self.words(address, topic);
        let command = format!("loadgen {}", words.join(" "));
        let log = |name: &str| {
            std::fs::File::create(json.with_extension(name)).map_err(Error::io("the log of a run"))
        };
        let child = machine::pinned(LOAD_CORE)
            .arg(binary)
            .args(&words)
            .arg("--json")
            .arg(&json)
            .stdin(Stdio::null())
            .stdout(log("out")?)
            .stderr(log("err")?)
            .spawn()
            .map_err(Error::io("starting loadgen"))?;
        Ok(Running {
            child: Some(child),
            json,
            command,
        })
    }

    fn words(&self, address: SocketAddr, topic: &str) -> Vec<String> {
        let mode = match self.mode {
            Mode::Produce => "produce",
            Mode::Tail | Mode::CatchUp => "consume",
            Mode::EndToEnd => "end-to-end",
        };
        let mut words = vec![mode.to_owned()];
        let mut put = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        put("bootstrap", address.to_string());
        put("topic", topic.to_owned());
        put("partitions", self.partitions.to_string());
        put("duration", format!("{:.0}", self.seconds.max(1.0)));
        put("connections", self.connections.to_string());
        if matches!(self.mode, Mode::Produce | Mode::EndToEnd) {
            put(
                "rate",
                match self.pace {
                    Pace::Max => "max".to_owned(),
                    Pace::Rate(rate) => format!("{rate:.0}"),
                },
            );
            put("record-size", self.record_bytes.to_string());
            put("batch-bytes", self.batch_bytes.to_string());
            put("linger-ms", self.linger_ms.to_string());
            put("acks", "all".to_owned());
        }
        match self.mode {
            Mode::Produce | Mode::EndToEnd => {}
            Mode::Tail => {
                put("fan-out", self.consumers.to_string());
                put("from", "latest".to_owned());
            }
            Mode::CatchUp => {
                put("fan-out", self.consumers.to_string());
                put("from", "earliest".to_owned());
                words.push("--until-end".to_owned());
                // Looking into every record would make the generator the slower side; other rows do look.
                words.push("--no-verify".to_owned());
            }
        }
        words.extend(["--no-create-topics".to_owned(), "--quiet".to_owned()]);
        words
    }
}

impl Running {
    /// Lets every other process on its core go first.
    pub fn lower_priority(&self) {
        if let Some(pid) = self.child.as_ref().map(Child::id) {
            // SAFETY: setpriority takes no pointers; the child was not waited for yet, so its id is its own.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, 19) };
        }
    }

    /// Waits for its end and reads what it found.
    pub fn finish(mut self, seconds_max: f64) -> Result<Outcome> {
        let mut child = self.child.take().expect("it is finished once");
        let end = std::time::Instant::now() + std::time::Duration::from_secs_f64(seconds_max);
        let status = loop {
            match child.try_wait().map_err(Error::io("waiting for loadgen"))? {
                Some(status) => break status,
                None if std::time::Instant::now() > end => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self.failed("did not end"));
                }
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        let Ok(text) = std::fs::read_to_string(&self.json) else {
            return Err(self.failed(&format!("ended with {status} and no result")));
        };
        let json = serde_json::from_str(&text).map_err(|error| self.failed(&error.to_string()))?;
        Ok(Outcome { json })
    }

    fn failed(&self, problem: &str) -> Error {
        let said = std::fs::read_to_string(self.json.with_extension("err")).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(3).collect();
        Error::failed(format!("{} {problem}: {}", self.command, tail.join(" | ")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
