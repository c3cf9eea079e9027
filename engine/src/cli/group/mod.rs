//! `tidelog group`: list, describe, reset offsets, delete.
//!
//! A group is asked about at its coordinator; what the coordinator still loads, or no longer has, is asked again for a
//! while. Both kinds of groups that consume are known, the classic one and the one of KIP-848.

mod change;
mod describe;
mod facts;
mod list;
mod plan;
mod reset;

use clap::Subcommand;
pub(super) use facts::committed;
use net::cluster::{Answer, Cluster};
use net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;

use super::{ConnectArguments, Failure, Outcome, PATIENCE, RETRY_PAUSE, error_name, error_text};
use crate::api::error_code::ErrorCode;

/// Work on consumer groups.
#[derive(Debug, Clone, Subcommand)]
pub enum GroupCommand {
    /// List the groups.
    List(list::ListArguments),
    /// Show a group's offsets and lag, its members, or its state.
    Describe(describe::DescribeArguments),
    /// Say where a group without members shall go on; a dry run unless --execute is given.
    ResetOffsets(reset::ResetArguments),
    /// The same in rpk's words, done at once.
    Seek(reset::SeekArguments),
    /// Delete groups without members, with their offsets.
    Delete(change::DeleteArguments),
    /// Forget a group's offsets for topics.
    #[command(visible_alias = "offset-delete")]
    DeleteOffsets(change::DeleteOffsetsArguments),
}

impl GroupCommand {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        match self {
            GroupCommand::List(arguments) => arguments.run(&runtime).await,
            GroupCommand::Describe(arguments) => arguments.run(&runtime).await,
            GroupCommand::ResetOffsets(arguments) => arguments.run(&runtime).await,
            GroupCommand::Seek(arguments) => arguments.run(&runtime).await,
            GroupCommand::Delete(arguments) => arguments.run(&runtime).await,
            GroupCommand::DeleteOffsets(arguments) => arguments.run(&runtime).await,
        }
    }
}

/// Whether a coordinator's answer may be another one soon.
pub(super) fn comes_later(code: i16) -> bool {
    let later = [
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
    ];
    later.iter().any(|known| known.code() == code)
}

/// The broker that coordinates a group.
pub(super) async fn coordinator(cluster: &mut Cluster, group: &str) -> Outcome<i32> {
    let started = cluster.runtime().monotonic();
    loop {
        let connection = cluster.any().await?;
        let version = connection.version(ApiKey::FindCoordinator)?;
        let request = Request::FindCoordinator(FindCoordinatorRequest {
            key: if version < 4 { group } else { "" },
            key_type: 0,
            coordinator_keys: if version >= 4 {
                vec![group]
            } else {
                Vec::new()
            },
            ..Default::default()
        });
        let answer = connection.call(&request, version).await?;
        let response = answer.decode(FindCoordinatorResponse::decode)?;
        let (code, message, node) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.error_message, found.node_id),
            None => (
                response.error_code,
                response.error_message,
                response.node_id,
            ),
        };
        if code == 0 {
            // So that the broker's address is known.
            cluster.topics(Some(&[]), false).await?;
            return Ok(node);
        }
        if !comes_later(code) || cluster.runtime().monotonic() - started > PATIENCE {
            return Err(Failure::Said(format!(
                "group {group}: {}",
                error_text(code, message)
            )));
        }
        cluster.runtime().sleep(RETRY_PAUSE).await;
    }
}

/// Asks a group's coordinator until it has an answer. `request` makes the request for a version up to `version_max`;
/// `read` takes from the answer the code that may pass and what is wanted.
async fn ask<'r, T>(
    cluster: &mut Cluster,
    group: &str,
    (api, version_max): (ApiKey, i16),
    request: impl Fn(i16) -> Request<'r>,
    read: impl Fn(&Answer, i16) -> Outcome<(i16, T)>,
) -> Outcome<T> {
    let started = cluster.runtime().monotonic();
    loop {
        let node = coordinator(cluster, group).await?;
        let connection = cluster.broker(node).await?;
        let version = connection.version_up_to(api, version_max)?;
        let answer = connection.call(&request(version), version).await?;
        let (code, wanted) = read(&answer, version)?;
        if !comes_later(code) || cluster.runtime().monotonic() - started > PATIENCE {
            return Ok(wanted);
        }
        cluster.runtime().sleep(RETRY_PAUSE).await;
    }
}

/// A refusal of something about a group.
fn refused(group: &str, code: i16) -> Failure {
    Failure::Said(format!("group {group}: {}", error_name(code)))
}
