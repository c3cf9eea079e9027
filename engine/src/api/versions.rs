//! The table of APIs and versions: what is advertised, and what is handled.
//!
//! A version is advertised only when real clients have been run against it (PROTOCOL §0). A few newer versions are
//! handled without being advertised, so that they can be tested over the wire first.

use net::messages::ApiKey;

/// One API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Which.
    pub key: ApiKey,
    /// Versions in the ApiVersions answer.
    pub advertised: (i16, i16),
    /// Versions that are answered.
    pub handled: (i16, i16),
}

const fn served(key: ApiKey, min: i16, max: i16) -> Served {
    Served {
        key,
        advertised: (min, max),
        handled: (min, max),
    }
}

/// An API whose answered versions are not just the advertised ones.
const fn handled_beyond(key: ApiKey, advertised: [i16; 2], handled: [i16; 2]) -> Served {
    Served {
        key,
        advertised: (advertised[0], advertised[1]),
        handled: (handled[0], handled[1]),
    }
}

/// All APIs of this node, by key.
pub const SERVED: &[Served] = &[
    // KAFKA-18659: librdkafka before 2.11.1 looks for versions that nobody serves any more (PROTOCOL §1.2).
    handled_beyond(ApiKey::Produce, [0, 13], [3, 13]),
    served(ApiKey::Fetch, 4, 18),
    served(ApiKey::ListOffsets, 1, 11),
    served(ApiKey::Metadata, 0, 13),
    served(ApiKey::OffsetCommit, 2, 10),
    served(ApiKey::OffsetFetch, 1, 10),
    served(ApiKey::FindCoordinator, 0, 6),
    served(ApiKey::JoinGroup, 0, 9),
    served(ApiKey::Heartbeat, 0, 4),
    served(ApiKey::LeaveGroup, 0, 5),
    served(ApiKey::SyncGroup, 0, 5),
    served(ApiKey::DescribeGroups, 0, 6),
    served(ApiKey::ListGroups, 0, 5),
    served(ApiKey::SaslHandshake, 0, 1),
    served(ApiKey::ApiVersions, 0, 4),
    served(ApiKey::CreateTopics, 2, 7),
    served(ApiKey::DeleteTopics, 1, 6),
    served(ApiKey::DeleteRecords, 0, 2),
    served(ApiKey::InitProducerId, 0, 5),
    served(ApiKey::OffsetForLeaderEpoch, 2, 4),
    served(ApiKey::DescribeAcls, 1, 3),
    served(ApiKey::CreateAcls, 1, 3),
    served(ApiKey::DeleteAcls, 1, 3),
    served(ApiKey::DescribeConfigs, 1, 4),
    served(ApiKey::AlterConfigs, 0, 2),
    served(ApiKey::AlterReplicaLogDirs, 1, 2),
    served(ApiKey::DescribeLogDirs, 1, 5),
    served(ApiKey::SaslAuthenticate, 0, 2),
    served(ApiKey::CreatePartitions, 0, 3),
    served(ApiKey::CreateDelegationToken, 1, 3),
    served(ApiKey::RenewDelegationToken, 1, 2),
    served(ApiKey::ExpireDelegationToken, 1, 2),
    served(ApiKey::DescribeDelegationToken, 1, 3),
    served(ApiKey::DeleteGroups, 0, 2),
    served(ApiKey::ElectLeaders, 0, 2),
    served(ApiKey::IncrementalAlterConfigs, 0, 1),
    served(ApiKey::AlterPartitionReassignments, 0, 1),
    served(ApiKey::ListPartitionReassignments, 0, 0),
    served(ApiKey::OffsetDelete, 0, 0),
    served(ApiKey::DescribeClientQuotas, 0, 1),
    served(ApiKey::AlterClientQuotas, 0, 1),
    served(ApiKey::DescribeUserScramCredentials, 0, 0),
    served(ApiKey::AlterUserScramCredentials, 0, 0),
    served(ApiKey::DescribeQuorum, 0, 2),
    served(ApiKey::UpdateFeatures, 0, 2),
    served(ApiKey::DescribeCluster, 0, 2),
    served(ApiKey::DescribeProducers, 0, 0),
    served(ApiKey::UnregisterBroker, 0, 0),
    served(ApiKey::DescribeTransactions, 0, 0),
    served(ApiKey::ListTransactions, 0, 2),
    served(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    served(ApiKey::ConsumerGroupDescribe, 0, 1),
    served(ApiKey::ListConfigResources, 0, 1),
    served(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The API with that key, if this node serves it.
#[must_use]
pub fn find(key: i16) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.key as i16 == key)
}

impl Served {
    /// Whether `version` is answered.
    #[must_use]
    pub fn handles(&self, version: i16) -> bool {
        (self.handled.0..=self.handled.1).contains(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::SERVED;

    #[test]
    fn what_is_advertised_is_handled_except_the_oldest_produce_versions() {
        assert!(SERVED.windows(2).all(|pair| pair[0].key < pair[1].key));
        for served in SERVED {
            assert!(served.advertised.1 <= served.handled.1, "{:?}", served.key);
            let produce = served.key as i16 == 0;
            assert!(
                produce || served.advertised.0 == served.handled.0,
                "{:?}",
                served.key
            );
        }
    }
}
