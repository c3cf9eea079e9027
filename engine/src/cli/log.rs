//! `tidelog log`: work on the files of a node.

use clap::Subcommand;

use super::{Outcome, log_dump, log_import, log_quarantine};

/// Look into the files of a data directory, or change them while the node is stopped.
#[derive(Debug, Clone, Subcommand)]
pub enum LogCommand {
    /// Print what files of a data directory hold and what is wrong with them: segments, indexes, journals, checkpoints.
    ///
    /// Exit code: 0 nothing is wrong, 1 something is.
    Dump(log_dump::DumpArguments),
    /// Take in a partition directory of Apache Kafka, with the node stopped.
    Import(log_import::ImportArguments),
    /// Show damaged records, and let readers step over them.
    #[command(subcommand)]
    Quarantine(log_quarantine::QuarantineCommand),
}

impl LogCommand {
    pub(super) fn run(self) -> Outcome<()> {
        match self {
            LogCommand::Dump(arguments) => arguments.run(),
            LogCommand::Import(arguments) => arguments.run(),
            LogCommand::Quarantine(command) => command.run(),
        }
    }
}
