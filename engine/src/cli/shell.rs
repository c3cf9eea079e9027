//! `tidelog completions` and `tidelog man`: made from the same definitions as the commands themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, Failure, Outcome, output};

/// For which shell.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArguments {
    /// Shell that reads the script.
    shell: Shell,
}

/// Which page.
#[derive(Debug, Clone, Args)]
pub struct ManArguments {
    /// Command whose page is printed, for instance: topic create.
    command: Vec<String>,
    /// Write the pages of all commands into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

impl CompletionsArguments {
    pub(super) fn run(self) -> Outcome<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "tidelog",
            &mut script,
        );
        output::write(&script)
    }
}

impl ManArguments {
    pub(super) fn run(self) -> Outcome<()> {
        let mut command = Arguments::command();
        if let Some(directory) = self.directory {
            let written = std::fs::create_dir_all(&directory)
                .and_then(|()| clap_mangen::generate_to(command, &directory));
            return written
                .map_err(|error| Failure::Said(format!("{}: {error}", directory.display())));
        }
        command.build();
        let mut name = "tidelog".to_owned();
        for word in &self.command {
            let found = command.find_subcommand(word).cloned();
            command =
                found.ok_or_else(|| Failure::Said(format!("{name} has no command {word}")))?;
            name = format!("{name} {word}");
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(Failure::new)?;
        output::write(&page)
    }
}
