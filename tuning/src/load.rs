//! From files, environment and command line to a configuration.
//!
//! Strength, weakest first: built-in defaults, profile, properties file, TOML file, environment, `--set` and flags.
//! A name that nobody knows is an error with a suggestion, except in the environment, where it is one warning.

use crate::alter::accept;
use crate::broker::{BrokerConfig, Durability, Layers};
use crate::error::ConfigError;
use crate::setting::{Scope, split_list};
use crate::table::{lookup, suggestion};
use crate::{environment, profiles, properties, toml_file};
use std::fmt;
use std::path::Path;

/// A file's content and the name it goes by in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedText {
    /// Name for messages.
    pub name: String,
    /// Content.
    pub text: String,
}

impl NamedText {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<NamedText, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(NamedText { name, text }),
            Err(error) => Err(ConfigError::config(format!("cannot read {name}: {error}"))),
        }
    }
}

/// Everything that configures a node at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Name of a built-in profile.
    pub profile: Option<String>,
    /// A profile of the user's own, in the form of the built-in ones; stronger than a built-in one.
    pub profile_file: Option<NamedText>,
    /// A file in our own form.
    pub toml: Option<NamedText>,
    /// A file in the form of Kafka's `server.properties`.
    pub properties: Option<NamedText>,
    /// The process's environment, or the part of it that may matter.
    pub environment: Vec<(String, String)>,
    /// Values from the command line; a later one wins.
    pub sets: Vec<(String, String)>,
}

/// Something accepted that the user should know about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Puts all sources together and checks them.
pub fn load(sources: Sources) -> Result<(BrokerConfig, Vec<Warning>), ConfigError> {
    let mut layers = Layers::default();
    let mut warnings = Vec::new();
    if let Some(profile) = &sources.profile {
        let text = profiles::text(profile)?;
        put_all(
            &mut layers,
            toml_file::parse(&format!("profile {profile}"), text)?,
            &format!("profile {profile}"),
        )?;
    }
    if let Some(file) = &sources.profile_file {
        let origin = format!("profile {}", file.name);
        put_all(&mut layers, toml_file::parse(&origin, &file.text)?, &origin)?;
    }
    if let Some(file) = &sources.properties {
        put_all(&mut layers, properties::parse(&file.text), &file.name)?;
    }
    if let Some(file) = &sources.toml {
        put_all(
            &mut layers,
            toml_file::parse(&file.name, &file.text)?,
            &file.name,
        )?;
    }
    let (settings, unknown) = environment::settings(&sources.environment);
    for (variable, name, value) in settings {
        put(&mut layers, &name, &value, &variable)?;
    }
    let unknown = unknown.into_iter();
    warnings.extend(
        unknown.map(|variable| Warning(format!("{variable} names no setting and is ignored"))),
    );
    put_all(&mut layers, sources.sets, "--set")?;

    let config = BrokerConfig::new(layers)?;
    warnings.extend(concerns(&config).into_iter().map(Warning));
    Ok((config, warnings))
}

fn put_all(
    layers: &mut Layers,
    values: Vec<(String, String)>,
    origin: &str,
) -> Result<(), ConfigError> {
    values
        .into_iter()
        .try_for_each(|(name, value)| put(layers, &name, &value, origin))
}

fn put(layers: &mut Layers, name: &str, value: &str, origin: &str) -> Result<(), ConfigError> {
    if lookup(name, Scope::Broker).is_none() {
        let hint = suggestion(name)
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        return Err(ConfigError::config(format!(
            "{origin}: unknown setting {name}{hint}"
        )));
    }
    let accepted = accept(Scope::Broker, name, value)
        .map_err(|error| ConfigError::config(format!("{origin}: {}", error.message)))?;
    layers
        .stated
        .insert(name.to_owned(), (accepted, origin.to_owned()));
    Ok(())
}

/// What does less than it says, and what deserves a second look.
fn concerns(config: &BrokerConfig) -> Vec<String> {
    let mut concerns = Vec::new();
    for (name, (value, origin)) in &config.layers.stated {
        let setting = lookup(name, Scope::Broker).expect("only known settings are stated");
        concerns.extend(
            setting
                .shortfall(value)
                .map(|text| format!("{origin}: {text}")),
        );
    }
    let opened = config.listeners();
    for text in split_list(config.value("listeners").unwrap_or_default()) {
        let name = text.split_once("://").map_or(text, |(name, _)| name);
        if !opened
            .iter()
            .any(|listener| listener.name.eq_ignore_ascii_case(name))
        {
            concerns.push(format!(
                "the listener {name} is for the controller quorum and is not opened"
            ));
        }
    }
    for listener in opened.iter().filter(|listener| !listener.is_loopback()) {
        concerns.push(format!(
            "the listener {}://{}:{} is open to other machines without encryption or login",
            listener.name, listener.host, listener.port
        ));
    }
    if config.durability() == Durability::Os {
        concerns.push(
            "durability = os: a power cut or kernel crash loses acknowledged records".to_owned(),
        );
        for name in ["log.flush.interval.messages", "log.flush.interval.ms"] {
            if config.origin(name).is_some() {
                concerns.push(format!("{name} has no effect with durability = os"));
            }
        }
    }
    concerns
}
