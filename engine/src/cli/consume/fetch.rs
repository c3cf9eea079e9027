//! One round of Fetch requests: what the printer wants, from the leaders that have it.

use std::collections::BTreeMap;
use std::time::Duration;

use net::cluster::{Cluster, ClusterError, Topic};
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::messages::{ApiKey, Request};
use net::wire::Uuid;

use super::super::{
    Failure, Outcome, PATIENCE, RETRY_PAUSE, error_name, is_stale_metadata, topic_with_leaders,
};
use super::printer::Printer;
use crate::api::error_code::ErrorCode;

/// Bytes of records in one answer, and of one partition in it.
const ANSWER_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 4 << 20;
/// How long a broker may wait for records; with several leaders each waits less, since they are asked in turn.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// A topic and the connections to its leaders.
pub(super) struct Source {
    pub(super) cluster: Cluster,
    pub(super) topic: Topic,
    /// When all leaders last answered well.
    well: Duration,
}

enum Fetched {
    Well,
    /// The log of this partition has no such offset.
    OutOfRange(i32),
    /// May pass: another leader, a broker that restarts.
    Trouble(String),
}

impl Source {
    pub(super) fn new(cluster: Cluster, topic: Topic) -> Source {
        let well = cluster.runtime().monotonic();
        Source {
            cluster,
            topic,
            well,
        }
    }

    /// Asks every leader once and prints what came; a partition whose log does not have the printer's position, if
    /// there is one. Dropping the future leaves the printer's positions at what is printed.
    pub(super) async fn print_more(&mut self, printer: &mut Printer) -> Outcome<Option<i32>> {
        let wanted = printer.wanted();
        let mut by_leader: BTreeMap<i32, Vec<(i32, i64)>> = BTreeMap::new();
        for partition in &self.topic.partitions {
            if let Some(position) = wanted.get(&partition.index) {
                by_leader
                    .entry(partition.leader)
                    .or_default()
                    .push((partition.index, *position));
            }
        }
        let leaders = u32::try_from(by_leader.len()).unwrap_or(u32::MAX).max(1);
        let mut trouble = None;
        for (leader, positions) in by_leader {
            let (cluster, wait) = (&mut self.cluster, WAIT_MAX / leaders);
            match fetch(cluster, &self.topic, leader, &positions, wait, printer).await? {
                Fetched::Well => {}
                Fetched::OutOfRange(partition) => return Ok(Some(partition)),
                Fetched::Trouble(why) => trouble = Some(why),
            }
        }
        let now = self.cluster.runtime().monotonic();
        match trouble {
            None => self.well = now,
            Some(why) if now - self.well > PATIENCE => return Err(Failure::Said(why)),
            Some(_) => {
                self.cluster.runtime().sleep(RETRY_PAUSE).await;
                self.refresh().await;
            }
        }
        Ok(None)
    }

    /// Asks for the leaders anew; a broker that restarts is asked until the patience ends.
    pub(super) async fn refresh(&mut self) {
        if let Ok(newer) = topic_with_leaders(&mut self.cluster, &self.topic.name, false).await {
            self.topic = newer;
        }
    }
}

async fn fetch(
    cluster: &mut Cluster,
    topic: &Topic,
    leader: i32,
    positions: &[(i32, i64)],
    wait: Duration,
    printer: &mut Printer,
) -> Outcome<Fetched> {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..Default::default()
    };
    let request = Request::Fetch(FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: ANSWER_BYTES_MAX,
        topics: vec![FetchTopic {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: positions.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let answered = async {
        let connection = cluster.broker(leader).await?;
        // Version 13 names topics by id alone.
        let version_max = if topic.id == Uuid::ZERO { 12 } else { i16::MAX };
        let version = connection.version_up_to(ApiKey::Fetch, version_max)?;
        connection.call(&request, version).await
    };
    let answer = match answered.await {
        Ok(answer) => answer,
        Err(
            error @ (ClusterError::Client { .. }
            | ClusterError::Connect { .. }
            | ClusterError::UnknownBroker(_)),
        ) => {
            return Ok(Fetched::Trouble(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let response = answer.decode(FetchResponse::decode)?;
    if response.error_code != 0 {
        return Err(Failure::Said(format!(
            "Fetch: {}",
            error_name(response.error_code)
        )));
    }
    let mut fetched = Fetched::Well;
    for partition in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
    {
        let code = partition.error_code;
        if code == 0 {
            if let Err(error) = printer.take(partition) {
                printer.write()?;
                return Err(error);
            }
            continue;
        }
        if code == ErrorCode::OffsetOutOfRange.code() {
            fetched = Fetched::OutOfRange(partition.partition_index);
            continue;
        }
        let why = format!(
            "{}-{}: {}",
            topic.name,
            partition.partition_index,
            error_name(code)
        );
        if !is_stale_metadata(code) {
            printer.write()?;
            return Err(Failure::Said(why));
        }
        if matches!(fetched, Fetched::Well) {
            fetched = Fetched::Trouble(why);
        }
    }
    printer.write()?;
    Ok(fetched)
}
