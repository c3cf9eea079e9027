//! `tidelog topic list`.

use clap::Args;
use net::cluster::Topic;
use net::platform::Runtime;

use super::super::output::{self, OutputArguments};
use super::{ChoiceArguments, ConnectArguments, Outcome};

/// Which topics to list.
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Leave out the topics that the broker keeps for itself.
    #[arg(long)]
    exclude_internal: bool,
    /// Only the names, one a line.
    #[arg(long)]
    names_only: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

impl ListArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut topics = self.choice.topics(&mut cluster).await?;
        topics.retain(|topic| topic.error_code == 0 && !(self.exclude_internal && topic.internal));
        if self.names_only && !self.output.is_json() {
            let lines: String = topics
                .iter()
                .map(|topic| format!("{}\n", topic.name))
                .collect();
            return output::write(lines.as_bytes());
        }
        let replicas = |topic: &Topic| {
            let first = topic.partitions.first();
            first.map_or(0, |partition| partition.replicas.len())
        };
        let row = |topic: &Topic| {
            vec![
                topic.name.clone(),
                topic.partitions.len().to_string(),
                replicas(topic).to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = topics.iter().map(row).collect();
        self.output
            .rows(&["TOPIC", "PARTITIONS", "REPLICAS"], &rows)
    }
}
