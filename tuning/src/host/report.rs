//! What a check says: for each point what is, what should be, why, and what changes it.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or of no consequence here.
    Ok,
    /// It cannot be seen from here: nothing is claimed.
    Unknown,
    /// The node works, but slower, less evenly, or with less safety than the host could give.
    Warning,
    /// The node does not start, or does not keep its promise.
    Blocking,
}

/// One point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Short, stable name of the point, for scripts.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is.
    pub is: String,
    /// What should be.
    pub should: String,
    /// Why.
    pub why: &'static str,
    /// Commands that change it, one a line; empty where nothing is to be done.
    pub fix: Vec<String>,
}

/// All points, in the order in which they were looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// At least one.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of them.
    #[must_use]
    pub fn level(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// The exit code of `tidelog tune check`: 0 all well, 1 warnings, 2 the node would not start.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.level() {
            Level::Ok | Level::Unknown => 0,
            Level::Warning => 1,
            Level::Blocking => 2,
        }
    }

    /// How many findings have that level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        let found = self.findings.iter();
        found.filter(|finding| finding.level == level).count()
    }
}
