//! `tidelog topic describe`: partitions, offsets and settings.

use std::collections::BTreeMap;

use clap::Args;
use net::cluster::{Cluster, Partition, Topic};
use net::platform::Runtime;
use net::wire::Uuid;
use serde_json::{Value, json};

use super::super::offsets::{self, EARLIEST, LATEST};
use super::super::output::{self, NOTHING, OutputArguments, table};
use super::super::resources::{self, Entry, Resource};
use super::{ChoiceArguments, ConnectArguments, Failure, Outcome, error_text};

/// Kafka's name of the setting that says how many replicas have to be in sync.
const MIN_ISR: &str = "min.insync.replicas";

/// Which topics, and what of them.
#[derive(Debug, Clone, Args)]
pub struct DescribeArguments {
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Only partitions with a replica that is not in sync.
    #[arg(long, group = "filter")]
    under_replicated_partitions: bool,
    /// Only partitions without a leader.
    #[arg(long, group = "filter")]
    unavailable_partitions: bool,
    /// Only partitions with fewer replicas in sync than min.insync.replicas.
    #[arg(long, group = "filter")]
    under_min_isr_partitions: bool,
    /// Only partitions with exactly as many replicas in sync as min.insync.replicas.
    #[arg(long, group = "filter")]
    at_min_isr_partitions: bool,
    /// Only topics that have settings of their own, without their partitions.
    #[arg(long, group = "filter")]
    topics_with_overrides: bool,
    /// Be content with topics that do not exist.
    #[arg(long)]
    if_exists: bool,
    /// Leave out the topics that the broker keeps for itself.
    #[arg(long)]
    exclude_internal: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// A topic with what is shown of it.
struct Described {
    topic: Topic,
    /// Settings made for this topic.
    overrides: Vec<Entry>,
    starts: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
}

impl DescribeArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut topics = self.choice.topics(&mut cluster).await?;
        topics.retain(|topic| !(self.exclude_internal && topic.internal));
        let absent = |topic: &&Topic| topic.error_code != 0;
        if let (Some(topic), false) = (topics.iter().find(absent), self.if_exists) {
            let code = error_text(topic.error_code, None);
            return Err(Failure::Said(format!("topic {}: {code}", topic.name)));
        }
        topics.retain(|topic| topic.error_code == 0);
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let asked: Vec<(Resource, &str)> =
            names.iter().map(|name| (Resource::Topic, *name)).collect();
        let settings = match asked.is_empty() {
            true => Vec::new(),
            false => resources::describe(cluster.any().await?, &asked, false).await?,
        };
        let mut described = Vec::new();
        for (mut topic, settings) in topics.into_iter().zip(settings) {
            let settings = settings.map_err(Failure::Said)?;
            let min_isr = settings.iter().find(|entry| entry.name == MIN_ISR);
            let min_isr = min_isr.and_then(|entry| entry.value.as_deref()?.parse().ok());
            topic
                .partitions
                .retain(|partition| self.keeps(partition, min_isr.unwrap_or(1)));
            let overrides: Vec<Entry> = settings
                .into_iter()
                .filter(Entry::is_set_for_topic)
                .collect();
            let filtered = self.is_filtered();
            let shown = match self.topics_with_overrides {
                true => !overrides.is_empty(),
                false => !filtered || !topic.partitions.is_empty(),
            };
            if shown {
                let (starts, ends) = match self.topics_with_overrides {
                    true => Default::default(),
                    false => ranges(&mut cluster, &topic).await?,
                };
                described.push(Described {
                    topic,
                    overrides,
                    starts,
                    ends,
                });
            }
        }
        self.show(&described)
    }

    fn is_filtered(&self) -> bool {
        self.under_replicated_partitions
            || self.unavailable_partitions
            || self.under_min_isr_partitions
            || self.at_min_isr_partitions
    }

    fn keeps(&self, partition: &Partition, min_isr: usize) -> bool {
        let in_sync = partition.isr.len();
        if self.under_replicated_partitions {
            return in_sync < partition.replicas.len();
        }
        if self.unavailable_partitions {
            return partition.leader < 0;
        }
        if self.under_min_isr_partitions {
            return in_sync < min_isr;
        }
        !self.at_min_isr_partitions || in_sync == min_isr
    }

    fn show(&self, described: &[Described]) -> Outcome<()> {
        if self.output.is_json() {
            let topics: Vec<Value> = described.iter().map(Described::json).collect();
            return output::json(&Value::Array(topics));
        }
        for (index, topic) in described.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            let text = topic.text(!self.topics_with_overrides);
            output::write(format!("{separator}{text}").as_bytes())?;
        }
        Ok(())
    }
}

/// First and next offset of every partition that has a leader.
async fn ranges(
    cluster: &mut Cluster,
    topic: &Topic,
) -> Outcome<(BTreeMap<i32, i64>, BTreeMap<i32, i64>)> {
    let led = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader >= 0);
    let indexes: Vec<i32> = led.map(|partition| partition.index).collect();
    Ok((
        offsets::list(cluster, topic, &indexes, EARLIEST).await?,
        offsets::list(cluster, topic, &indexes, LATEST).await?,
    ))
}

impl Described {
    fn rows(&self) -> Vec<Vec<String>> {
        let list = |nodes: &[i32]| {
            let nodes: Vec<String> = nodes.iter().map(i32::to_string).collect();
            nodes.join(",")
        };
        let offset = |known: &BTreeMap<i32, i64>, index: &i32| {
            known.get(index).map_or(NOTHING.to_owned(), i64::to_string)
        };
        let row = |partition: &Partition| {
            vec![
                partition.index.to_string(),
                partition.leader.to_string(),
                partition.leader_epoch.to_string(),
                list(&partition.replicas),
                list(&partition.isr),
                offset(&self.starts, &partition.index),
                offset(&self.ends, &partition.index),
            ]
        };
        self.topic.partitions.iter().map(row).collect()
    }

    fn text(&self, partitions: bool) -> String {
        let Described {
            topic, overrides, ..
        } = self;
        let rows = self.rows();
        let mut text = format!("topic       {}\npartitions  {}\n", topic.name, rows.len());
        if topic.id != Uuid::ZERO {
            text.push_str(&format!("id          {}\n", topic.id));
        }
        for entry in overrides {
            text.push_str(&format!("config      {}={}\n", entry.name, entry.shown()));
        }
        if partitions {
            let head = [
                "PARTITION",
                "LEADER",
                "EPOCH",
                "REPLICAS",
                "ISR",
                "START",
                "END",
            ];
            text.push('\n');
            text.push_str(&table(&head, &rows));
        }
        text
    }

    fn json(&self) -> Value {
        let Described {
            topic, overrides, ..
        } = self;
        let config: serde_json::Map<String, Value> = overrides
            .iter()
            .map(|entry| (entry.name.clone(), json!(entry.value)))
            .collect();
        let partition = |partition: &Partition| {
            json!({
                "partition": partition.index,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "start": self.starts.get(&partition.index),
                "end": self.ends.get(&partition.index),
            })
        };
        json!({
            "topic": topic.name,
            "id": (topic.id != Uuid::ZERO).then(|| topic.id.to_string()),
            "internal": topic.internal,
            "config": config,
            "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
        })
    }
}
