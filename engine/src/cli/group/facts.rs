//! What the coordinator says of a group: its members with their partitions, and its committed offsets.

use std::collections::BTreeMap;

use net::cluster::Cluster;
use net::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use net::messages::data::consumer_protocol_assignment::ConsumerProtocolAssignment;
use net::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use net::messages::{ApiKey, Request};
use net::wire::Reader;

use super::{Failure, Outcome, ask, coordinator, error_text, refused};
use crate::api::error_code::ErrorCode;

/// Protocol type of groups whose members consume.
const CONSUMER: &str = "consumer";
/// Above this OffsetFetch names topics by id alone.
const OFFSET_FETCH_BY_NAME: i16 = 9;

/// A partition of a topic.
pub(in crate::cli) type Place = (String, i32);

/// A group.
pub(super) struct Group {
    pub(super) coordinator: i32,
    /// `classic` or `consumer`.
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) protocol: String,
    /// How partitions are shared out.
    pub(super) assignor: String,
    pub(super) members: Vec<Member>,
}

/// A member of a group.
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) host: String,
    /// Ascending.
    pub(super) partitions: Vec<Place>,
}

impl Group {
    /// Whether nobody consumes, so that offsets may be set.
    pub(super) fn is_inactive(&self) -> bool {
        matches!(self.state.as_str(), "Empty" | "Dead")
    }

    /// Whether the coordinator knows nothing of it.
    pub(super) fn is_absent(&self) -> bool {
        self.state == "Dead"
    }

    /// Asks the coordinator.
    pub(super) async fn ask(cluster: &mut Cluster, group: &str) -> Outcome<Group> {
        let node = coordinator(cluster, group).await?;
        let modern = cluster
            .broker(node)
            .await?
            .version(ApiKey::ConsumerGroupDescribe)
            .is_ok();
        if modern && let Some(found) = modern_group(cluster, group, node).await? {
            return Ok(found);
        }
        classic_group(cluster, group, node).await
    }
}

/// A group of KIP-848; `None` if it is none.
async fn modern_group(cluster: &mut Cluster, group: &str, node: i32) -> Outcome<Option<Group>> {
    let request = |_| {
        Request::ConsumerGroupDescribe(ConsumerGroupDescribeRequest {
            group_ids: vec![group],
            ..Default::default()
        })
    };
    ask(
        cluster,
        group,
        (ApiKey::ConsumerGroupDescribe, i16::MAX),
        request,
        |answer, _| {
            let response = answer.decode(ConsumerGroupDescribeResponse::decode)?;
            let Some(found) = response.groups.first() else {
                return Ok((0, None));
            };
            let code = found.error_code;
            if code != 0 {
                return Ok((code, None));
            }
            let members = found.members.iter().map(|member| {
                let mut partitions: Vec<Place> = Vec::new();
                for topic in &member.assignment.topic_partitions {
                    partitions.extend(
                        topic
                            .partitions
                            .iter()
                            .map(|index| (topic.topic_name.to_owned(), *index)),
                    );
                }
                partitions.sort();
                Member {
                    id: member.member_id.to_owned(),
                    instance: member.instance_id.map(str::to_owned),
                    client_id: member.client_id.to_owned(),
                    host: member.client_host.to_owned(),
                    partitions,
                }
            });
            let described = Group {
                coordinator: node,
                kind: "consumer",
                state: found.group_state.to_owned(),
                protocol: CONSUMER.to_owned(),
                assignor: found.assignor_name.to_owned(),
                members: members.collect(),
            };
            Ok((0, Some(described)))
        },
    )
    .await
}

async fn classic_group(cluster: &mut Cluster, group: &str, node: i32) -> Outcome<Group> {
    let request = |_| {
        Request::DescribeGroups(DescribeGroupsRequest {
            groups: vec![group],
            ..Default::default()
        })
    };
    let absent = ErrorCode::GroupIdNotFound.code();
    ask(
        cluster,
        group,
        (ApiKey::DescribeGroups, i16::MAX),
        request,
        |answer, _| {
            let response = answer.decode(DescribeGroupsResponse::decode)?;
            let found = response
                .groups
                .first()
                .ok_or_else(|| Failure::new("DescribeGroups: the answer leaves the group out"))?;
            let code = found.error_code;
            if code != 0 && code != absent && !super::comes_later(code) {
                let text = error_text(code, found.error_message);
                return Err(Failure::Said(format!("group {group}: {text}")));
            }
            let members = found.members.iter().map(|member| Member {
                id: member.member_id.to_owned(),
                instance: member.group_instance_id.map(str::to_owned),
                client_id: member.client_id.to_owned(),
                host: member.client_host.to_owned(),
                partitions: match found.protocol_type {
                    CONSUMER => assignment(member.member_assignment),
                    _ => Vec::new(),
                },
            });
            let described = Group {
                coordinator: node,
                kind: "classic",
                state: if code == absent {
                    "Dead".to_owned()
                } else {
                    found.group_state.to_owned()
                },
                protocol: found.protocol_type.to_owned(),
                assignor: found.protocol_data.to_owned(),
                members: members.collect(),
            };
            Ok((code, described))
        },
    )
    .await
}

/// The partitions in what a group's leader wrote for a member; none if it is of another form.
fn assignment(bytes: &[u8]) -> Vec<Place> {
    let [high, low, rest @ ..] = bytes else {
        return Vec::new();
    };
    let version = i16::from_be_bytes([*high, *low]).clamp(0, 3);
    let mut reader = Reader::new(rest);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut reader, version) else {
        return Vec::new();
    };
    let mut partitions = Vec::new();
    for topic in &assignment.assigned_partitions {
        partitions.extend(
            topic
                .partitions
                .iter()
                .map(|index| (topic.topic.to_owned(), *index)),
        );
    }
    partitions.sort();
    partitions
}

/// The offsets that a group committed.
pub(in crate::cli) async fn committed(
    cluster: &mut Cluster,
    group: &str,
) -> Outcome<BTreeMap<Place, i64>> {
    let request = |version| {
        let mut request = OffsetFetchRequest::default();
        if version >= 8 {
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: group,
                member_epoch: -1,
                topics: None,
                ..Default::default()
            }];
        } else {
            request.group_id = group;
            request.topics = None;
        }
        Request::OffsetFetch(request)
    };
    let wanted = (ApiKey::OffsetFetch, OFFSET_FETCH_BY_NAME);
    ask(cluster, group, wanted, request, |answer, _| {
        let response = answer.decode(OffsetFetchResponse::decode)?;
        let mut found = BTreeMap::new();
        let mut code = response.error_code;
        let mut put = |topic: &str, index, offset, error| {
            if error == 0 && offset >= 0 {
                found.insert((topic.to_owned(), index), offset);
            }
        };
        for topic in &response.topics {
            for one in &topic.partitions {
                put(
                    topic.name,
                    one.partition_index,
                    one.committed_offset,
                    one.error_code,
                );
            }
        }
        for answered in &response.groups {
            code = answered.error_code;
            for topic in &answered.topics {
                for one in &topic.partitions {
                    put(
                        topic.name,
                        one.partition_index,
                        one.committed_offset,
                        one.error_code,
                    );
                }
            }
        }
        let absent = ErrorCode::GroupIdNotFound.code();
        if code != 0 && code != absent && !super::comes_later(code) {
            return Err(refused(group, code));
        }
        Ok((code, found))
    })
    .await
}
