//! The built binary as a user runs it: a node as a process of its own, and commands against it.

#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The output of a command that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.text()
        );
        self.text()
    }
}

/// Runs `tidelog` with these arguments and this input.
pub(crate) fn tidelog(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that refuses its arguments does not read.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Run {
        code: output.status.code(),
        out: output.stdout,
        err,
    }
}

/// A data directory and, at times, a node process on it.
pub(crate) struct Node {
    directory: TempDir,
    running: Option<(Child, String)>,
}

impl Node {
    /// A fresh directory without a node.
    pub(crate) fn stopped() -> Node {
        // Beside the build, because a tmpfs on /tmp need not know direct I/O.
        Node {
            directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            running: None,
        }
    }

    pub(crate) fn started() -> Node {
        let mut node = Node::stopped();
        node.start();
        node
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn log_dirs(&self) -> String {
        format!("log.dirs={}", self.path().display())
    }

    /// Starts the node and waits until it says where it listens.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more arguments.
    pub(crate) fn start_with(&mut self, more: &[&str]) {
        assert!(self.running.is_none());
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args([
                "--set",
                "listeners=PLAINTEXT://127.0.0.1:0",
                "--set",
                "shards=2",
                "--set",
                &self.log_dirs(),
            ])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address = first
            .trim()
            .strip_prefix("Tidelog listens on ")
            .map(str::to_owned);
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the node does not start: {first:?}, {:?}", child.wait());
        };
        self.running = Some((child, address));
    }

    /// Stops the node as an operator does; it has to end well.
    pub(crate) fn stop(&mut self) {
        let (mut child, _) = self.running.take().expect("it runs");
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        // SAFETY: the process is our child and not yet waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    /// Ends the node as the kernel does.
    pub(crate) fn kill(&mut self) {
        let (mut child, _) = self.running.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.running.as_ref().expect("it runs").1
    }

    /// Runs a command against the node.
    pub(crate) fn command(&self, arguments: &[&str], input: &[u8]) -> Run {
        let (_, address) = self.running.as_ref().expect("it runs");
        tidelog(&[arguments, &["-b", address]].concat(), input)
    }

    /// Starts a command against the node that ends when it is told to.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running::start(&[arguments, &["-b", self.address()]].concat())
    }

    /// Takes in a partition directory; the node has to be stopped.
    pub(crate) fn import(&self, directory: &Path, topic: &str, partition: &str) -> Run {
        let directory = directory.to_str().unwrap();
        let place = [
            "log",
            "import",
            directory,
            "--topic",
            topic,
            "--partition",
            partition,
        ];
        tidelog(&[&place[..], &["--set", &self.log_dirs()]].concat(), b"")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command that runs, and the lines that it has printed.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                // Nobody may listen any more.
                let _ = sender.send(line.unwrap());
            }
        });
        Running { child, lines }
    }

    /// The lines that have come and were not taken yet.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// As Ctrl-C does: how it ends, with the lines that were not taken yet.
    pub(crate) fn interrupt(mut self) -> Run {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: the process is our child and not yet waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
        let code = self.child.wait().unwrap().code();
        let mut err = String::new();
        let mut from = self.child.stderr.take().unwrap();
        from.read_to_string(&mut err).unwrap();
        let out = self.lines.iter().flat_map(|line| line.into_bytes());
        Run {
            code,
            out: out.collect(),
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of real Kafka's.
pub(crate) fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/segments")
        .join(path)
}
