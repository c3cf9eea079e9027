//! `tidelog config`: what can be set, what is set, and changing it while a node runs.

use clap::{Args, Subcommand, ValueEnum};
use net::cluster::{Cluster, Connection};
use net::platform::Runtime;
use serde_json::{Value, json};

use super::output::{self, NOTHING, OutputArguments, table};
use super::resources::{self, Change, Entry, Resource, parse_pairs, source_name};
use super::{ConnectArguments, Failure, Outcome, SettingsArguments, error_text};

/// About the settings.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its default, its values and its meaning, as Markdown.
    Docs,
    /// Read a node's configuration as it would at start, and say what it comes to.
    Check(CheckArguments),
    /// Show the settings of topics, brokers, groups or client-metrics subscriptions of a running cluster.
    Describe(DescribeArguments),
    /// Change them.
    #[command(visible_alias = "set")]
    Alter(AlterArguments),
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// What has settings, in the words of Kafka's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EntityType {
    #[value(alias = "topic")]
    Topics,
    #[value(alias = "broker")]
    Brokers,
    #[value(alias = "broker-logger")]
    BrokerLoggers,
    #[value(alias = "group")]
    Groups,
    #[value(alias = "client-metric")]
    ClientMetrics,
}

/// Whose settings.
#[derive(Debug, Clone, Args)]
struct EntityArguments {
    /// What has the settings.
    #[arg(long, value_enum, value_name = "TYPE")]
    entity_type: Option<EntityType>,
    /// Name of the topic or group, or id of the broker.
    #[arg(long, value_name = "NAME")]
    entity_name: Option<String>,
    /// The default of all brokers.
    #[arg(long, visible_alias = "broker-defaults")]
    entity_default: bool,
    /// The same as --entity-type topics --entity-name NAME.
    #[arg(long, value_name = "NAME", group = "entity")]
    topic: Option<String>,
    /// The same as --entity-type brokers --entity-name ID.
    #[arg(long, value_name = "ID", group = "entity")]
    broker: Option<String>,
    /// The same as --entity-type groups --entity-name NAME.
    #[arg(long, value_name = "NAME", group = "entity")]
    group: Option<String>,
    /// The same as --entity-type client-metrics --entity-name NAME.
    #[arg(long, value_name = "NAME", group = "entity")]
    client_metrics: Option<String>,
}

/// Which settings to show.
#[derive(Debug, Clone, Args)]
pub struct DescribeArguments {
    #[command(flatten)]
    entity: EntityArguments,
    /// Defaults too.
    #[arg(short, long)]
    all: bool,
    /// Where each value comes from and could come from, and what it means.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Which settings to change.
#[derive(Debug, Clone, Args)]
pub struct AlterArguments {
    #[command(flatten)]
    entity: EntityArguments,
    /// Settings to make: KEY=VALUE,KEY=[VALUE,VALUE]; may be given several times.
    #[arg(long, value_name = "PAIRS", visible_alias = "set")]
    add_config: Vec<String>,
    /// The same from a file in the form of Java's properties.
    #[arg(long, value_name = "FILE")]
    add_config_file: Option<std::path::PathBuf>,
    /// Settings to take back: KEY,KEY; may be given several times.
    #[arg(
        long,
        value_name = "KEYS",
        value_delimiter = ',',
        visible_alias = "delete"
    )]
    delete_config: Vec<String>,
    /// Values to add to a list: KEY=VALUE.
    #[arg(long, value_name = "PAIRS")]
    append_config: Vec<String>,
    /// Values to take from a list: KEY=VALUE.
    #[arg(long, value_name = "PAIRS")]
    subtract_config: Vec<String>,
    /// Only say whether it could be done.
    #[arg(short, long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

impl ConfigCommand {
    /// Whether it talks to a broker.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, ConfigCommand::Describe(_) | ConfigCommand::Alter(_))
    }

    pub(super) fn run(self) -> Outcome<()> {
        match self {
            ConfigCommand::Docs => output::write(tuning::docs::markdown().as_bytes()),
            ConfigCommand::Check(arguments) => arguments.run(),
            ConfigCommand::Describe(_) | ConfigCommand::Alter(_) => {
                unreachable!("they talk to a broker")
            }
        }
    }

    pub(super) async fn run_remote(self, runtime: Runtime) -> Outcome<()> {
        match self {
            ConfigCommand::Describe(arguments) => arguments.run(&runtime).await,
            ConfigCommand::Alter(arguments) => arguments.run(&runtime).await,
            ConfigCommand::Docs | ConfigCommand::Check(_) => unreachable!("they need no broker"),
        }
    }
}

impl CheckArguments {
    fn run(self) -> Outcome<()> {
        let config = self.settings.load().map_err(Failure::Said)?;
        let stated: Vec<Vec<String>> = tuning::settings()
            .iter()
            .filter(|setting| setting.scope == tuning::Scope::Broker)
            .filter_map(|setting| {
                let origin = config.origin(setting.name)?;
                let value = match setting.sensitive {
                    true => "(sensitive)",
                    false => config.value(setting.name).unwrap_or(NOTHING),
                };
                Some(vec![
                    setting.name.to_owned(),
                    value.to_owned(),
                    origin.to_owned(),
                ])
            })
            .collect();
        self.output.rows(&["SETTING", "VALUE", "FROM"], &stated)
    }
}

impl EntityArguments {
    /// What and who; `None` for all of that kind.
    fn entity(&self) -> Outcome<(Resource, Option<&str>)> {
        let short = [
            (Resource::Topic, &self.topic),
            (Resource::Broker, &self.broker),
            (Resource::Group, &self.group),
            (Resource::ClientMetrics, &self.client_metrics),
        ];
        for (resource, name) in short {
            if let Some(name) = name {
                return Ok((resource, Some(name)));
            }
        }
        let resource = match (self.entity_type, self.entity_default) {
            (Some(EntityType::Topics), _) => Resource::Topic,
            (Some(EntityType::Brokers), _) | (None, true) => Resource::Broker,
            (Some(EntityType::BrokerLoggers), _) => Resource::BrokerLogger,
            (Some(EntityType::Groups), _) => Resource::Group,
            (Some(EntityType::ClientMetrics), _) => Resource::ClientMetrics,
            (None, false) => {
                return Err(Failure::usage(
                    "say whose settings: --topic, --broker, --group, or --entity-type and --entity-name",
                ));
            }
        };
        // Kafka's name for the default of all is the empty one.
        let name = if self.entity_default {
            Some("")
        } else {
            self.entity_name.as_deref()
        };
        Ok((resource, name))
    }
}

/// The connection that knows about a resource: a broker itself, anybody for the rest.
async fn connection_for<'a>(
    cluster: &'a mut Cluster,
    resource: Resource,
    name: &str,
) -> Outcome<&'a mut Connection> {
    if !matches!(resource, Resource::Broker | Resource::BrokerLogger) || name.is_empty() {
        return Ok(cluster.any().await?);
    }
    let id: i32 = name
        .parse()
        .map_err(|_| Failure::Said(format!("{name}: a broker has a number")))?;
    cluster.topics(Some(&[]), false).await?;
    Ok(cluster.broker(id).await?)
}

impl DescribeArguments {
    async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let (resource, name) = self.entity.entity()?;
        let mut cluster = self.connect.connect(runtime).await?;
        let names: Vec<String> = match (resource, name) {
            (_, Some(name)) => vec![name.to_owned()],
            (Resource::Topic, None) => {
                let topics = cluster.topics(None, false).await?;
                topics.into_iter().map(|topic| topic.name).collect()
            }
            (Resource::Broker | Resource::BrokerLogger, None) => {
                cluster.topics(Some(&[]), false).await?;
                cluster.brokers().keys().map(i32::to_string).collect()
            }
            (_, None) => return Err(Failure::usage("name one with --entity-name")),
        };
        let mut told = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let connection = connection_for(&mut cluster, resource, name).await?;
            let asked = [(resource, name.as_str())];
            let mut described = resources::describe(connection, &asked, self.verbose).await?;
            let entries = described
                .pop()
                .expect("one was asked")
                .map_err(Failure::Said)?;
            let entries: Vec<Entry> = entries
                .into_iter()
                .filter(|entry| self.all || resource.own_sources().contains(&entry.source))
                .collect();
            match self.output.is_json() {
                true => told.push(self.json(name, &entries)),
                false => self.print(index, names.len(), name, &entries)?,
            }
        }
        match self.output.is_json() {
            true => output::json(&Value::Array(told)),
            false => Ok(()),
        }
    }

    fn print(&self, index: usize, count: usize, name: &str, entries: &[Entry]) -> Outcome<()> {
        let mut text = String::new();
        if count > 1 {
            let separator = if index > 0 { "\n" } else { "" };
            text.push_str(&format!("{separator}# {name}\n"));
        }
        let row = |entry: &Entry| {
            vec![
                entry.name.clone(),
                entry.shown().to_owned(),
                entry.source_name().to_owned(),
            ]
        };
        if !self.verbose {
            let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
            text.push_str(&table(&["KEY", "VALUE", "SOURCE"], &rows));
            return output::write(text.as_bytes());
        }
        for entry in entries {
            text.push_str(&format!(
                "{} = {}   ({})\n",
                entry.name,
                entry.shown(),
                entry.source_name()
            ));
            for (source, name, value) in &entry.synonyms {
                let value = value.as_deref().unwrap_or(NOTHING);
                text.push_str(&format!("    {}: {name} = {value}\n", source_name(*source)));
            }
            if let Some(meaning) = &entry.documentation {
                text.push_str(&format!("    {meaning}\n"));
            }
        }
        output::write(text.as_bytes())
    }

    fn json(&self, name: &str, entries: &[Entry]) -> Value {
        let entry = |entry: &Entry| {
            let synonyms = entry.synonyms.iter().map(|(source, name, value)| {
                json!({"source": source_name(*source), "name": name, "value": value})
            });
            let mut told = json!({
                "name": entry.name,
                "value": entry.value,
                "source": entry.source_name(),
                "read_only": entry.read_only,
                "sensitive": entry.sensitive,
            });
            if self.verbose {
                told["synonyms"] = Value::Array(synonyms.collect());
                told["documentation"] = json!(entry.documentation);
            }
            told
        };
        json!({"name": name, "configs": entries.iter().map(entry).collect::<Vec<_>>()})
    }
}

impl AlterArguments {
    async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let (resource, name) = self.entity.entity()?;
        let name = name.ok_or_else(|| {
            Failure::usage("name one with --entity-name, or say --entity-default")
        })?;
        let changes = self.changes()?;
        if changes.is_empty() {
            return Err(Failure::usage(
                "say what to alter: --add-config or --delete-config",
            ));
        }
        let mut cluster = self.connect.connect(runtime).await?;
        let connection = connection_for(&mut cluster, resource, name).await?;
        let results =
            resources::alter(connection, resource, &[name], &changes, self.dry_run).await?;
        let failed = results.iter().any(|(_, code, _)| *code != 0);
        let row = |(name, code, message): &(String, i16, Option<String>)| {
            let status = match code {
                0 => "OK".to_owned(),
                code => error_text(*code, message.as_deref()),
            };
            let name = if name.is_empty() { "(default)" } else { name };
            vec![name.to_owned(), status]
        };
        let rows: Vec<Vec<String>> = results.iter().map(row).collect();
        self.output.rows(&["NAME", "STATUS"], &rows)?;
        if failed { Err(Failure::Shown) } else { Ok(()) }
    }

    fn changes(&self) -> Outcome<Vec<Change>> {
        let mut changes = Vec::new();
        if let Some(path) = &self.add_config_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Said(format!("{}: {error}", path.display())))?;
            let lines = text.lines().map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
                let (name, value) = line.split_once('=').ok_or_else(|| {
                    Failure::Said(format!("{}: {line}: give it as KEY=VALUE", path.display()))
                })?;
                changes.push(Change::Set(name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        type Make = fn(String, String) -> Change;
        let kinds: [(&[String], Make); 3] = [
            (&self.add_config, Change::Set),
            (&self.append_config, Change::Append),
            (&self.subtract_config, Change::Subtract),
        ];
        for (texts, make) in kinds {
            for text in texts {
                let pairs = parse_pairs(text).map_err(Failure::usage)?;
                changes.extend(pairs.into_iter().map(|(name, value)| make(name, value)));
            }
        }
        changes.extend(self.delete_config.iter().cloned().map(Change::Delete));
        Ok(changes)
    }
}
