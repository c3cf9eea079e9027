//! What administrators see of a consumer group.

use super::ConsumerGroup;
use super::embedded::PROTOCOL_TYPE;
use super::partitions::PartitionSet;
use super::request::{ConsumerDescription, DescribedConsumer};
use super::settings::ConsumerGroupSettings;
use crate::groups::request::ListedGroup;

impl ConsumerGroup {
    /// Its line in a list.
    #[must_use]
    pub fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            state: self.state().name(),
            kind: "consumer",
        }
    }

    /// Everything about it.
    #[must_use]
    pub fn describe(&self, settings: &ConsumerGroupSettings) -> ConsumerDescription {
        let members = self.members.values().map(|member| {
            let current = &member.current;
            let assigned = current.assigned.by_topic();
            let target = self.target.get(&member.id);
            DescribedConsumer {
                member: member.id.clone(),
                instance: member.metadata.instance_id.clone(),
                rack: member.metadata.rack_id.clone(),
                epoch: current.epoch,
                client: member.metadata.client_id.clone(),
                host: member.metadata.client_host.clone(),
                topics: member.metadata.topics.clone(),
                pattern: member.metadata.regex.clone(),
                assigned: assigned
                    .map(|(topic, indexes, _)| (topic, indexes))
                    .collect(),
                target: target
                    .into_iter()
                    .flat_map(PartitionSet::by_topic)
                    .collect(),
                is_classic: member.is_classic(),
            }
        });
        ConsumerDescription {
            state: self.state().name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch.epoch,
            assignor: self.assignor(settings.assignors[0]).name().into(),
            members: members.collect(),
        }
    }
}
