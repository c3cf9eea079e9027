//! The flags that say how a node is configured: shared by the node itself and by commands on its data directory.

use std::path::PathBuf;

use clap::Args;
use tuning::{BrokerConfig, NamedText, Sources};

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct SettingsArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Built-in profile: default, low-latency, throughput or dev; or a profile's file, as `tidelog tune disk` writes it.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// Configuration in the form of Kafka's server.properties.
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// One setting; may be given several times, a later one wins.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Allow listeners without encryption that other machines can reach.
    #[arg(long)]
    insecure: bool,
}

impl SettingsArguments {
    /// Reads the files and the environment, and tells warnings.
    ///
    /// # Errors
    /// What is wrong with a file, flag or setting.
    pub fn load(self) -> Result<BrokerConfig, String> {
        let read = |path: Option<PathBuf>| path.map(|path| NamedText::read(&path)).transpose();
        let mut sets = Vec::new();
        for set in &self.sets {
            let (key, value) = set
                .split_once('=')
                .ok_or_else(|| format!("--set {set}: give it as KEY=VALUE"))?;
            sets.push((key.trim().to_owned(), value.to_owned()));
        }
        if self.insecure {
            sets.push(("insecure".to_owned(), "true".to_owned()));
        }
        // A file has a directory before its name or an ending; no built-in profile has.
        let is_file = |name: &String| name.contains(['/', '.']);
        let (profile_file, profile) = match self.profile {
            Some(name) if is_file(&name) => (Some(PathBuf::from(name)), None),
            name => (None, name),
        };
        let sources = Sources {
            profile,
            profile_file: read(profile_file).map_err(|error| error.to_string())?,
            toml: read(self.config).map_err(|error| error.to_string())?,
            properties: read(self.properties).map_err(|error| error.to_string())?,
            environment: std::env::vars().collect(),
            sets,
        };
        let (config, warnings) = tuning::load(sources).map_err(|error| error.to_string())?;
        for warning in warnings {
            eprintln!("tidelog: warning: {warning}");
        }
        Ok(config)
    }
}
