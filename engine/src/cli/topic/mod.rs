//! `tidelog topic`: create, list, describe, alter, delete, and forget old records.

mod change;
mod describe;
mod list;

use clap::{Args, Subcommand};
use net::cluster::{Cluster, Topic};
use net::platform::Runtime;
use regex::Regex;

use super::output::OutputArguments;
use super::{ConnectArguments, Failure, Outcome, error_text};

/// Work on topics.
#[derive(Debug, Clone, Subcommand)]
pub enum TopicCommand {
    /// Create topics.
    Create(change::CreateArguments),
    /// List the topics.
    List(list::ListArguments),
    /// Show partitions, offsets and settings of topics.
    Describe(describe::DescribeArguments),
    /// Add partitions to topics, or change their settings.
    Alter(change::AlterArguments),
    /// Delete topics and everything in them.
    Delete(change::DeleteArguments),
    /// Forget the records below an offset.
    #[command(visible_alias = "delete-records")]
    TrimPrefix(change::TrimArguments),
}

impl TopicCommand {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        match self {
            TopicCommand::Create(arguments) => arguments.run(&runtime).await,
            TopicCommand::List(arguments) => arguments.run(&runtime).await,
            TopicCommand::Describe(arguments) => arguments.run(&runtime).await,
            TopicCommand::Alter(arguments) => arguments.run(&runtime).await,
            TopicCommand::Delete(arguments) => arguments.run(&runtime).await,
            TopicCommand::TrimPrefix(arguments) => arguments.run(&runtime).await,
        }
    }
}

/// Which topics, with or without a flag before each.
#[derive(Debug, Clone, Args)]
struct NamesArguments {
    /// Names of topics.
    #[arg(value_name = "TOPIC")]
    names: Vec<String>,
    /// The same, as Kafka's tools want it; may be given several times.
    #[arg(long = "topic", value_name = "TOPIC")]
    flagged: Vec<String>,
}

impl NamesArguments {
    /// The names; at least one.
    fn some(&self) -> Outcome<Vec<&str>> {
        let names = self.all();
        match names.is_empty() {
            true => Err(Failure::usage("name a topic")),
            false => Ok(names),
        }
    }

    fn all(&self) -> Vec<&str> {
        let names = self.names.iter().chain(&self.flagged);
        names.map(String::as_str).collect()
    }
}

/// Which topics, by name or by pattern.
#[derive(Debug, Clone, Args)]
struct ChoiceArguments {
    #[command(flatten)]
    names: NamesArguments,
    /// The names are regular expressions that have to match a topic's whole name.
    #[arg(short, long)]
    regex: bool,
}

impl ChoiceArguments {
    fn is_empty(&self) -> bool {
        self.names.all().is_empty()
    }

    /// The topics that are meant, all if none is named; what is named and does not exist comes with its error code.
    async fn topics(&self, cluster: &mut Cluster) -> Outcome<Vec<Topic>> {
        let names = self.names.all();
        if names.is_empty() {
            return Ok(cluster.topics(None, false).await?);
        }
        // Kafka's tools take every name for a pattern; letters that no topic name has say so.
        let is_pattern = |name: &&str| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            !name.chars().all(plain)
        };
        if !self.regex && !names.iter().any(is_pattern) {
            return Ok(cluster.topics(Some(&names), false).await?);
        }
        let mut patterns = Vec::new();
        for name in &names {
            let pattern = Regex::new(&format!("^(?:{name})$"));
            patterns.push(pattern.map_err(|error| Failure::Said(format!("{name}: {error}")))?);
        }
        let mut topics = cluster.topics(None, false).await?;
        topics.retain(|topic| patterns.iter().any(|pattern| pattern.is_match(&topic.name)));
        Ok(topics)
    }
}

/// What became of one topic.
struct Status {
    name: String,
    outcome: Result<&'static str, String>,
}

impl Status {
    fn new(name: impl Into<String>, code: i16, message: Option<&str>) -> Status {
        let outcome = match code {
            0 => Ok("OK"),
            code => Err(error_text(code, message)),
        };
        Status {
            name: name.into(),
            outcome,
        }
    }
}

/// Prints a line for each topic; fails if one of them did.
fn show_statuses(output: OutputArguments, statuses: Vec<Status>) -> Outcome<()> {
    let failed = statuses.iter().any(|status| status.outcome.is_err());
    let row = |status: Status| {
        let told = status.outcome.map_or_else(|refusal| refusal, str::to_owned);
        vec![status.name, told]
    };
    let rows: Vec<Vec<String>> = statuses.into_iter().map(row).collect();
    output.rows(&["TOPIC", "STATUS"], &rows)?;
    if failed { Err(Failure::Shown) } else { Ok(()) }
}
