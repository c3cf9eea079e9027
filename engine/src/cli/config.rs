//! `tidelog config`: what can be set.

use clap::Subcommand;

use super::{Outcome, output};

/// About the settings.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its default, its values and its meaning, as Markdown.
    Docs,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Outcome<()> {
        match self {
            ConfigCommand::Docs => output::write(tuning::docs::markdown().as_bytes()),
        }
    }
}
