//! One broker process, Tidelog or Apache Kafka, pinned to [`BROKER_CORE`](crate::machine::BROKER_CORE).
//!
//! Invariant: the process ends with its [`Broker`], and only processes started here are ever signalled. A broker that is
//! not being measured is stopped with SIGSTOP, so that its idling does not cost the other one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::machine::{self, BROKER_CORE};
use crate::wire::Wire;
use crate::{Error, Result, kafka};

const START_MAX: Duration = Duration::from_secs(180);
const STOP_MAX: Duration = Duration::from_secs(60);

/// Which broker, in which mode of durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Flush before acknowledge.
    Tidelog,
    /// Apache Kafka with its default: acknowledged from the page cache.
    Kafka,
    /// Apache Kafka with `flush.messages=1` on the topic: the same promise as ours.
    KafkaFlush,
}

impl Kind {
    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tidelog => "tidelog",
            Kind::Kafka => "kafka",
            Kind::KafkaFlush => "kafka_flush",
        }
    }

    /// The process that serves it: both modes of Kafka are topics of one broker.
    pub fn process(self) -> Kind {
        match self {
            Kind::KafkaFlush => Kind::Kafka,
            other => other,
        }
    }

    /// Settings of a topic in this mode.
    pub fn topic_configs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::KafkaFlush => &[("flush.messages", "1")],
            _ => &[],
        }
    }
}

/// Where brokers find what they need.
#[derive(Debug, Clone)]
pub struct Site {
    /// Folder on the disk that is measured; every broker gets one below it.
    pub work: PathBuf,
    /// The `tidelog` binary.
    pub tidelog: PathBuf,
    /// Kafka's class path; empty until somebody needs it.
    pub class_path: String,
    /// The first of the ports.
    pub port: u16,
}

/// A running broker.
pub struct Broker {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    command: Vec<String>,
    log: PathBuf,
    paused: bool,
}

impl Broker {
    /// Starts a broker on an empty data directory and waits until it answers.
    pub fn start(site: &Site, kind: Kind, settings: &[(&str, &str)]) -> Result<Broker> {
        let kind = kind.process();
        let data = site.work.join(kind.name());
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).map_err(Error::io(format!("making {}", data.display())))?;
        let port = site.port + if kind == Kind::Tidelog { 0 } else { 10 };
        let command = match kind {
            Kind::Tidelog => tidelog_command(&site.tidelog, port, &data, settings),
            _ => kafka::command(&site.class_path, port, &data, settings)?,
        };
        let log = data.with_extension("log");
        let _ = fs::remove_file(&log);
        let mut broker = Broker {
            kind,
            child: launch(&command, &log)?,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            data,
            command,
            log,
            paused: false,
        };
        broker.wait_until_it_answers()?;
        Ok(broker)
    }

    /// Starts the same broker on what is in its directory; returns when the process runs.
    pub fn start_again(&mut self) -> Result<()> {
        let _ = fs::remove_file(&self.log);
        self.child = launch(&self.command, &self.log)?;
        self.paused = false;
        Ok(())
    }

    /// Waits for an answer; the seconds it took.
    pub fn wait_until_it_answers(&mut self) -> Result<f64> {
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Error::failed(format!(
                    "{} ended at start with {status}: {}",
                    self.kind.name(),
                    self.log_tail()
                )));
            }
            if Wire::connect(self.address).is_ok_and(|mut wire| wire.api_versions().is_ok()) {
                return Ok(begun.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Error::failed(format!(
            "{} did not answer: {}",
            self.kind.name(),
            self.log_tail()
        )))
    }

    /// Which process this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still removing files of deleted topics; both brokers give their directories the same ending.
    pub fn is_deleting(&self) -> Result<bool> {
        let listing = Error::io(format!("listing {}", self.data.display()));
        let mut entries = fs::read_dir(&self.data).map_err(listing)?;
        Ok(entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with("-delete"))
        }))
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        machine::cpu_seconds(self.pid())
    }

    /// Stops the process where it is.
    pub fn pause(&mut self) {
        if !self.paused {
            self.signal(libc::SIGSTOP);
            self.paused = true;
        }
    }

    /// Lets it go on, and waits until it answers again.
    pub fn resume(&mut self) -> Result<()> {
        if self.paused {
            self.signal(libc::SIGCONT);
            self.paused = false;
            self.wait_until_it_answers()?;
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A clean stop; false if it had to be killed.
    pub fn stop(&mut self) -> bool {
        if self.paused {
            self.signal(libc::SIGCONT);
        }
        self.signal(libc::SIGTERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success() || self.kind != Kind::Tidelog;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        false
    }

    fn signal(&self, signal: libc::c_int) {
        if let Ok(pid) = libc::pid_t::try_from(self.pid()) {
            // SAFETY: kill takes no pointers; the child was not waited for yet, so its id is still its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// The first errors since it was started last, or else its last words.
    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let errors = lines.iter().filter(|line| {
            ["ERROR", "FATAL", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        });
        let errors: Vec<&str> = errors.take(5).copied().collect();
        match errors.is_empty() {
            true => lines[lines.len().saturating_sub(5)..].join(" | "),
            false => errors.join(" | "),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// One of Tidelog's own figures, from its metrics listener.
pub fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', '{']))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn tidelog_command(
    binary: &Path,
    port: u16,
    data: &Path,
    settings: &[(&str, &str)],
) -> Vec<String> {
    let mut command = vec![binary.display().to_string()];
    let mut set = |name: &str, value: &str| {
        command.extend(["--set".to_owned(), format!("{name}={value}")]);
    };
    set("listeners", &format!("PLAINTEXT://127.0.0.1:{port}"));
    set("log.dirs", &data.display().to_string());
    set("shards", "1");
    for (name, value) in settings {
        set(name, value);
    }
    command
}

fn launch(command: &[String], log: &Path) -> Result<Child> {
    let output = |path: &Path| File::options().append(true).create(true).open(path);
    let out = output(log).map_err(Error::io("the broker's log"))?;
    let err = output(log).map_err(Error::io("the broker's log"))?;
    let mut process = machine::pinned(BROKER_CORE);
    process
        .args(command)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    // Tools' own variables must not reach a broker that reads settings from there.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAFKA_")) {
        process.env_remove(name);
    }
    process
        .spawn()
        .map_err(Error::io(format!("starting {}", command[0])))
}
