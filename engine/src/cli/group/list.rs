//! `tidelog group list`: every broker lists the groups that it coordinates.

use std::collections::BTreeMap;

use clap::Args;
use net::cluster::Cluster;
use net::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;

use super::super::output::{self, NOTHING, OutputArguments};
use super::{ConnectArguments, Failure, Outcome, PATIENCE, RETRY_PAUSE, comes_later, error_name};

/// Which groups to list.
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// Only groups in these states (Stable, Empty, ...); all states if none is named.
    #[arg(long, value_name = "STATES", num_args = 0..=1, value_delimiter = ',')]
    state: Option<Vec<String>>,
    /// Only groups of these types (classic, consumer, ...); all types if none is named.
    #[arg(long = "type", value_name = "TYPES", num_args = 0..=1, value_delimiter = ',')]
    kind: Option<Vec<String>>,
    /// Only the names, one a line.
    #[arg(long)]
    names_only: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// A group in a list.
pub(super) struct Listed {
    pub(super) broker: i32,
    pub(super) protocol: String,
    pub(super) state: String,
    pub(super) kind: String,
}

/// All groups of all brokers, by name.
pub(super) async fn groups(cluster: &mut Cluster) -> Outcome<BTreeMap<String, Listed>> {
    cluster.topics(Some(&[]), false).await?;
    let brokers: Vec<i32> = cluster.brokers().keys().copied().collect();
    let started = cluster.runtime().monotonic();
    let mut found = BTreeMap::new();
    for broker in brokers {
        loop {
            let connection = cluster.broker(broker).await?;
            let version = connection.version(ApiKey::ListGroups)?;
            let request = Request::ListGroups(ListGroupsRequest::default());
            let answer = connection.call(&request, version).await?;
            let response = answer.decode(ListGroupsResponse::decode)?;
            let code = response.error_code;
            if comes_later(code) && cluster.runtime().monotonic() - started < PATIENCE {
                cluster.runtime().sleep(RETRY_PAUSE).await;
                continue;
            }
            if code != 0 {
                return Err(Failure::Said(format!("ListGroups: {}", error_name(code))));
            }
            for group in &response.groups {
                let listed = Listed {
                    broker,
                    protocol: group.protocol_type.to_owned(),
                    state: group.group_state.to_owned(),
                    kind: group.group_type.to_owned(),
                };
                found.insert(group.group_id.to_owned(), listed);
            }
            break;
        }
    }
    Ok(found)
}

impl ListArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut groups = groups(&mut cluster).await?;
        let wanted = |filter: &Option<Vec<String>>, word: &str| {
            let words = filter.as_deref().unwrap_or_default();
            words.is_empty()
                || words
                    .iter()
                    .any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        groups.retain(|_, group| {
            wanted(&self.state, &group.state) && wanted(&self.kind, &group.kind)
        });
        if self.names_only && !self.output.is_json() {
            let lines: String = groups.keys().map(|name| format!("{name}\n")).collect();
            return output::write(lines.as_bytes());
        }
        let shown = |text: &str| {
            if text.is_empty() {
                NOTHING.to_owned()
            } else {
                text.to_owned()
            }
        };
        let row = |(name, group): (&String, &Listed)| {
            vec![
                name.clone(),
                shown(&group.kind),
                shown(&group.state),
                shown(&group.protocol),
                group.broker.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
        self.output.rows(
            &["GROUP", "TYPE", "STATE", "PROTOCOL", "COORDINATOR"],
            &rows,
        )
    }
}
