//! `tidelog group delete` and `delete-offsets`.

use clap::Args;
use net::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use net::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;

use super::super::output::OutputArguments;
use super::facts::{Place, committed};
use super::plan::Scope;
use super::{ConnectArguments, Failure, Outcome, ask, comes_later, error_name, list, refused};

/// Groups to delete.
#[derive(Debug, Clone, Args)]
pub struct DeleteArguments {
    /// Names of groups.
    #[arg(value_name = "GROUP")]
    names: Vec<String>,
    /// The same, as Kafka's tools want it; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    flagged: Vec<String>,
    /// All groups.
    #[arg(long)]
    all_groups: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Offsets to forget.
#[derive(Debug, Clone, Args)]
pub struct DeleteOffsetsArguments {
    /// Name of the group.
    #[arg(value_name = "GROUP", required_unless_present = "flagged")]
    name: Option<String>,
    /// The same, as Kafka's tools want it.
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "name")]
    flagged: Option<String>,
    /// Topic, or topic and partitions: t, t:0,1; may be given several times.
    #[arg(short, long = "topic", value_name = "TOPIC[:N,N]", required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

fn status(code: i16) -> String {
    if code == 0 {
        "OK".to_owned()
    } else {
        error_name(code)
    }
}

impl DeleteArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut names: Vec<String> = self.names.iter().chain(&self.flagged).cloned().collect();
        if self.all_groups {
            names.extend(list::groups(&mut cluster).await?.into_keys());
        } else if names.is_empty() {
            return Err(Failure::usage("name a group, or say --all-groups"));
        }
        let (mut rows, mut failed) = (Vec::new(), false);
        for name in &names {
            let request = |_| {
                Request::DeleteGroups(DeleteGroupsRequest {
                    groups_names: vec![name],
                    ..Default::default()
                })
            };
            let wanted = (ApiKey::DeleteGroups, i16::MAX);
            let code = ask(&mut cluster, name, wanted, request, |answer, _| {
                let response = answer.decode(DeleteGroupsResponse::decode)?;
                let code = response
                    .results
                    .first()
                    .map_or(0, |result| result.error_code);
                Ok((code, code))
            })
            .await?;
            failed |= code != 0;
            rows.push(vec![name.clone(), status(code)]);
        }
        self.output.rows(&["GROUP", "STATUS"], &rows)?;
        if failed { Err(Failure::Shown) } else { Ok(()) }
    }
}

impl DeleteOffsetsArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let group = self
            .name
            .as_deref()
            .or(self.flagged.as_deref())
            .unwrap_or_default();
        let scope = Scope::parse(&self.topics).map_err(Failure::usage)?;
        let mut cluster = self.connect.connect(runtime).await?;
        let known = committed(&mut cluster, group).await?;
        // A topic without partitions means those that the group has offsets for.
        let mut wanted: Vec<Place> = known
            .into_keys()
            .filter(|place| scope.contains(place))
            .collect();
        wanted.extend(scope.named());
        wanted.sort();
        wanted.dedup();
        let topics: Vec<OffsetDeleteRequestTopic<'_>> = wanted
            .chunk_by(|left, right| left.0 == right.0)
            .map(|places| OffsetDeleteRequestTopic {
                name: &places[0].0,
                partitions: places
                    .iter()
                    .map(|(_, partition_index)| OffsetDeleteRequestPartition {
                        partition_index: *partition_index,
                    })
                    .collect(),
            })
            .collect();
        let request = |_| {
            Request::OffsetDelete(OffsetDeleteRequest {
                group_id: group,
                topics: topics.clone(),
            })
        };
        let rows = ask(
            &mut cluster,
            group,
            (ApiKey::OffsetDelete, i16::MAX),
            request,
            |answer, _| {
                let response = answer.decode(OffsetDeleteResponse::decode)?;
                let code = response.error_code;
                if code != 0 && !comes_later(code) {
                    return Err(refused(group, code));
                }
                let mut rows: Vec<Vec<String>> = Vec::new();
                for topic in &response.topics {
                    for partition in &topic.partitions {
                        let index = partition.partition_index.to_string();
                        rows.push(vec![
                            topic.name.to_owned(),
                            index,
                            status(partition.error_code),
                        ]);
                    }
                }
                Ok((code, rows))
            },
        )
        .await?;
        let failed = rows.iter().any(|row| row[2] != "OK");
        self.output.rows(&["TOPIC", "PARTITION", "STATUS"], &rows)?;
        if failed { Err(Failure::Shown) } else { Ok(()) }
    }
}
