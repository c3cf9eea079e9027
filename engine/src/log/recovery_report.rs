//! What a start found on the disk, for the operator and for the metrics. Plain values.

use std::fmt;
use std::time::Duration;

/// What a start found. Damage is named, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// There was nothing: a new data directory.
    pub fresh: bool,
    /// The last stop was clean.
    pub clean: bool,
    /// Journals replayed.
    pub journals: usize,
    /// Bytes of groups replayed.
    pub bytes_replayed: u64,
    /// Batches brought back.
    pub batches_replayed: u64,
    /// Groups that were cut off in the middle, unacknowledged, and are gone.
    pub torn_groups: u64,
    /// Groups that had been flushed and are no longer whole.
    pub rotten_groups: u64,
    /// Ranges of offsets that are kept and not served.
    pub quarantined_ranges: u64,
    /// Partitions whose end cannot be proved and that refuse appends.
    pub unproved_partitions: u64,
    /// One line for each thing that is not as it should be.
    pub damage: Vec<String>,
    /// Checkpoints that a cut left unfinished, or that are damaged: their twins were used.
    pub unfinished: Vec<String>,
    /// Batches that another program, a real Kafka, appended after our clean stop, by directory.
    pub adopted: Vec<String>,
    /// Directories that belong to nobody known; left alone.
    pub stray_directories: Vec<String>,
    /// Where the time went.
    pub phases: Phases,
}

/// How long each step of a start took, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phases {
    ended: Duration,
    steps: Vec<(&'static str, Duration)>,
}

impl Phases {
    /// The first step begins at `now`.
    pub fn begin(now: Duration) -> Phases {
        Phases {
            ended: now,
            steps: Vec::new(),
        }
    }

    /// The step of that name ends at `now`, and the next begins.
    pub fn end(&mut self, step: &'static str, now: Duration) {
        self.steps.push((step, now.saturating_sub(self.ended)));
        self.ended = now;
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (step, took)) in self.steps.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{step}_ms={}", took.as_millis())?;
        }
        Ok(())
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fresh {
            return write!(formatter, "new data directory");
        }
        write!(
            formatter,
            "{} batches brought back from {} journals ({} bytes), {} torn groups discarded",
            self.batches_replayed, self.journals, self.bytes_replayed, self.torn_groups
        )?;
        if self.rotten_groups > 0 || self.quarantined_ranges > 0 {
            write!(
                formatter,
                ", {} groups damaged, {} ranges quarantined",
                self.rotten_groups, self.quarantined_ranges
            )?;
        }
        if self.unproved_partitions > 0 {
            write!(
                formatter,
                ", {} partitions refuse appends",
                self.unproved_partitions
            )?;
        }
        for line in &self.damage {
            write!(formatter, "\n  damage: {line}")?;
        }
        for line in &self.unfinished {
            write!(
                formatter,
                "\n  unfinished or damaged, its twin was used: {line}"
            )?;
        }
        for line in &self.adopted {
            write!(formatter, "\n  adopted: {line}")?;
        }
        for directory in &self.stray_directories {
            write!(formatter, "\n  unknown directory, left alone: {directory}")?;
        }
        Ok(())
    }
}
