//! What is counted: by every executor for every workload, second by second, and added up at the end.
//!
//! Histograms hold nanoseconds at three significant digits and grow with what they hold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hdrhistogram::Histogram;

/// Different errors that are counted by name; more are counted together.
const ERRORS_MAX: usize = 32;

/// Counts and latencies of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Acknowledgement, from the intended send time; of a consumer, from a fetch to its answer.
    pub(crate) latency: Histogram<u64>,
    /// Reading, from the intended send time.
    pub(crate) end_to_end: Histogram<u64>,
    /// How much later than it could the generator looked at a record that was due.
    pub(crate) lateness: Histogram<u64>,
    /// Counts.
    pub(crate) counts: Counts,
    /// What went wrong, and how many records it cost.
    pub(crate) errors: BTreeMap<String, u64>,
    /// When the last record was acknowledged or read, nanoseconds from the start.
    pub(crate) last: u64,
}

/// Plain numbers; they add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records handed to the operating system.
    pub(crate) sent: u64,
    /// Records acknowledged.
    pub(crate) acked: u64,
    /// Records refused, or never answered.
    pub(crate) failed: u64,
    /// Requests.
    pub(crate) requests: u64,
    /// Bytes of acknowledged values.
    pub(crate) value_bytes: u64,
    /// Records read.
    pub(crate) read: u64,
    /// Bytes of values read; of whole batches' bodies where nobody looks into them.
    pub(crate) read_bytes: u64,
    /// Records acknowledged and never read, or missing between two that were.
    pub(crate) lost: u64,
    /// Records read again.
    pub(crate) duplicated: u64,
    /// Records read after a later one.
    pub(crate) reordered: u64,
    /// Records or batches whose checksum is wrong.
    pub(crate) corrupt: u64,
    /// Records of somebody else.
    pub(crate) foreign: u64,
    /// Connections that broke.
    pub(crate) reconnects: u64,
    /// Due and not sent, now.
    pub(crate) backlog: u64,
}

impl Counts {
    /// Adds everything.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.failed += other.failed;
        self.requests += other.requests;
        self.value_bytes += other.value_bytes;
        self.read += other.read;
        self.read_bytes += other.read_bytes;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.reconnects += other.reconnects;
        self.backlog += other.backlog;
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are legal")
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            latency: histogram(),
            end_to_end: histogram(),
            lateness: histogram(),
            counts: Counts::default(),
            errors: BTreeMap::new(),
            last: 0,
        }
    }
}

impl Figures {
    /// Adds everything that `other` counted.
    pub(crate) fn add(&mut self, other: &Figures) {
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.end_to_end, &other.end_to_end),
            (&mut self.lateness, &other.lateness),
        ] {
            mine.add(theirs)
                .expect("a growing histogram takes every value");
        }
        self.counts.add(&other.counts);
        self.last = self.last.max(other.last);
        for (error, count) in &other.errors {
            self.error(error, *count);
        }
    }

    /// Counts `records` that `error` cost.
    pub(crate) fn error(&mut self, error: &str, records: u64) {
        let known = self.errors.contains_key(error) || self.errors.len() < ERRORS_MAX;
        *self
            .errors
            .entry(if known { error } else { "other errors" }.to_owned())
            .or_default() += records;
    }
}

/// Adds a latency in nanoseconds.
pub(crate) fn note(histogram: &mut Histogram<u64>, nanoseconds: u64, count: u64) {
    histogram
        .record_n(nanoseconds.max(1), count)
        .expect("a growing histogram takes every value");
}

/// One workload's figures of the current second, shared by the tasks of one executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    figures: Rc<RefCell<Figures>>,
}

impl Meter {
    /// Changes them; `change` must not come back here.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Figures) -> T) -> T {
        change(&mut self.figures.borrow_mut())
    }

    /// Takes what was counted since the last time.
    pub(crate) fn take(&self) -> Figures {
        self.figures.take()
    }
}

/// Kafka's error codes that load meets, by name.
pub(crate) fn error_name(code: i16) -> String {
    let name = match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        35 => "UNSUPPORTED_VERSION",
        36 => "TOPIC_ALREADY_EXISTS",
        44 => "POLICY_VIOLATION",
        45 => "OUT_OF_ORDER_SEQUENCE_NUMBER",
        47 => "INVALID_PRODUCER_EPOCH",
        56 => "KAFKA_STORAGE_ERROR",
        59 => "UNKNOWN_PRODUCER_ID",
        74 => "FENCED_LEADER_EPOCH",
        87 => "INVALID_RECORD",
        100 => "UNKNOWN_TOPIC_ID",
        _ => return format!("error {code}"),
    };
    format!("{name} ({code})")
}
