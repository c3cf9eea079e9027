//! The subcommands of the `tidelog` binary: small conveniences on our own client, and work on a stopped node.
//!
//! They speak Kafka's protocol like any client, with negotiated versions, so the ones that need a broker work against
//! every broker of that protocol. Each command runs on an executor of its own and ends the process.

mod cluster;
mod config;
mod consume;
mod group;
mod kafka_names;
mod log;
mod log_dump;
mod log_import;
mod log_quarantine;
mod offsets;
mod output;
mod produce;
mod resources;
mod settings;
mod shell;
mod template;
mod time;
mod topic;
mod tune;

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use net::cluster::{ClientSettings, Cluster, ClusterError, Topic};
use net::platform::{ExecutorHandle, Placement, Runtime, spawn_executor};

use crate::api::error_code::ErrorCode;

pub use kafka_names::translate;
pub use settings::SettingsArguments;

/// How long a command waits for a broker, per request, and altogether for a leader to appear.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before something is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// An event log that every Apache Kafka client already speaks to.
///
/// Without a subcommand a node starts: by default on 127.0.0.1:9092, with its data in ./tidelog-data.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How the node is configured.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// What the binary does besides running a node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, describe and change consumer groups and their offsets.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Send lines of the standard input as records.
    Produce(produce::ProduceArguments),
    /// Print the records of a topic, all of them or as a member of a consumer group.
    Consume(consume::ConsumeArguments),
    /// Show the cluster, and whether all is well.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Show brokers and what they serve.
    #[command(subcommand)]
    Broker(cluster::BrokerCommand),
    /// About the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look into the files of a data directory, or change them while the node is stopped.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Look at the host and measure its disk.
    #[command(subcommand)]
    Tune(tune::TuneCommand),
    /// Print a completion script for a shell.
    Completions(shell::CompletionsArguments),
    /// Print a manual page, or write those of all commands.
    Man(shell::ManArguments),
}

/// Where a cluster is.
#[derive(Debug, Clone, Args)]
pub struct ConnectArguments {
    /// Brokers to ask first: HOST:PORT, several separated by commas.
    #[arg(
        short = 'b',
        long,
        value_name = "HOST:PORT",
        visible_alias = "brokers",
        alias = "bootstrap-servers",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap_server: String,
    /// Settings of the client, as Kafka's tools take them: client.id is used, and only plain connections are known.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

/// Why a command fails.
#[derive(Debug)]
enum Failure {
    /// To be told.
    Said(String),
    /// To be told; the command itself is wrong.
    Usage(String),
    /// The output says it already.
    Shown,
    /// The output says it already, and the exit code says more.
    Code(u8),
    /// Whoever read our output went away: nothing more to do, and no failure.
    OutputClosed,
}

type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn new(message: impl Display) -> Failure {
        Failure::Said(message.to_string())
    }

    /// The command was given in a way that makes no sense.
    fn usage(message: impl Display) -> Failure {
        Failure::Usage(message.to_string())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Failure {
        match error {
            ClusterError::Refused { api, code } => {
                Failure::Said(format!("{api}: {}", error_name(code)))
            }
            other => Failure::new(other),
        }
    }
}

impl Command {
    /// Does it and says how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let outcome = match self {
            Command::Topic(command) => on_executor(|runtime| command.run(runtime)),
            Command::Group(command) => on_executor(|runtime| command.run(runtime)),
            Command::Produce(arguments) => on_executor(|runtime| arguments.run(runtime)),
            Command::Consume(arguments) => on_executor(|runtime| arguments.run(runtime)),
            Command::Cluster(command) => on_executor(|runtime| command.run(runtime)),
            Command::Broker(command) => on_executor(|runtime| command.run(runtime)),
            Command::Config(command) if command.is_remote() => {
                on_executor(|runtime| command.run_remote(runtime))
            }
            Command::Config(command) => command.run(),
            Command::Log(command) => command.run(),
            Command::Tune(command) => command.run(),
            Command::Completions(arguments) => arguments.run(),
            Command::Man(arguments) => arguments.run(),
        };
        match outcome {
            Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
            Err(Failure::Shown) => ExitCode::FAILURE,
            Err(Failure::Code(code)) => ExitCode::from(code),
            Err(Failure::Usage(message)) => {
                eprintln!("tidelog: {message}");
                ExitCode::from(2)
            }
            Err(Failure::Said(message)) => {
                eprintln!("tidelog: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs `body` on an executor of its own.
fn on_executor<T, F>(body: impl FnOnce(Runtime) -> F + Send + 'static) -> Outcome<T>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + 'static,
{
    spawn_executor("command", Placement::Unpinned, body)
        .and_then(ExecutorHandle::join)
        .map_err(|error| Failure::Said(format!("io_uring cannot be used: {error}")))?
}

impl ConnectArguments {
    fn client_id(&self) -> Outcome<String> {
        let mut client_id = "tidelog-cli".to_owned();
        let Some(path) = &self.command_config else {
            return Ok(client_id);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Said(format!("{}: {error}", path.display())))?;
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match (name.trim(), value.trim()) {
                ("client.id", id) => client_id = id.to_owned(),
                ("security.protocol", "PLAINTEXT") => {}
                ("security.protocol", other) => {
                    return Err(Failure::Said(format!(
                        "{}: security.protocol {other} is not known here, only PLAINTEXT",
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        Ok(client_id)
    }

    async fn connect(&self, runtime: &Runtime) -> Outcome<Cluster> {
        let settings = ClientSettings {
            client_id: self.client_id()?,
            timeout: PATIENCE,
        };
        Ok(Cluster::connect(runtime, &self.bootstrap_server, settings).await?)
    }
}

/// Kafka's name of an error code.
fn error_name(code: i16) -> String {
    let Some(known) = ErrorCode::from_code(code) else {
        return format!("error {code}");
    };
    let mut name = String::new();
    for letter in format!("{known:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Kafka's name of an error code, with the broker's words where it sent some.
fn error_text(code: i16, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{}: {message}", error_name(code)),
        _ => error_name(code),
    }
}

/// Whether a request with this answer changed nothing and may be sent again once the metadata is newer.
fn is_stale_metadata(code: i16) -> bool {
    let stale = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::LeaderNotAvailable,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::ReplicaNotAvailable,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownLeaderEpoch,
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
    ];
    stale.iter().any(|known| known.code() == code)
}

/// The topic once each of its partitions has a leader; waits for that a while. `create`: the broker may create it.
async fn topic_with_leaders(cluster: &mut Cluster, name: &str, create: bool) -> Outcome<Topic> {
    let started = cluster.runtime().monotonic();
    loop {
        let mut topics = cluster.topics(Some(&[name]), create).await?;
        let topic = topics
            .pop()
            .ok_or_else(|| Failure::new("Metadata: the broker says nothing about the topic"))?;
        let in_partition = topic
            .partitions
            .iter()
            .map(|partition| match partition.leader {
                ..0 => ErrorCode::LeaderNotAvailable.code(),
                _ => 0,
            });
        let code = std::iter::once(topic.error_code)
            .chain(in_partition)
            .find(|code| *code != 0);
        let Some(code) = code else { return Ok(topic) };
        let created_soon = create && code == ErrorCode::UnknownTopicOrPartition.code();
        let comes = created_soon || code == ErrorCode::LeaderNotAvailable.code();
        if !comes || cluster.runtime().monotonic() - started > PATIENCE {
            return Err(Failure::Said(format!("topic {name}: {}", error_name(code))));
        }
        cluster.runtime().sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_told_by_kafkas_names() {
        assert_eq!(error_name(3), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(error_name(17), "INVALID_TOPIC_EXCEPTION");
        assert_eq!(error_name(-1), "UNKNOWN_SERVER_ERROR");
        assert_eq!(error_name(9999), "error 9999");
        assert_eq!(
            error_text(36, Some("Topic 'a' already exists.")),
            "TOPIC_ALREADY_EXISTS: Topic 'a' already exists."
        );
        assert_eq!(error_text(36, None), "TOPIC_ALREADY_EXISTS");
    }
}
