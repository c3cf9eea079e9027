//! Groups of the consumer protocol (KIP-848).

use std::sync::Arc;

pub mod request;

use super::error::GroupError;
use super::partition::GroupPartition;
use super::record::GroupRecord;
use super::request::{GroupRequest, ListedGroup, MemberAt};
use super::timers::TimerKey;
use super::turn::{Token, Turn};

/// A group whose members are assigned by the coordinator.
#[derive(Debug, Default)]
pub struct ConsumerGroup {}

impl ConsumerGroup {
    /// Its line in a list.
    #[must_use]
    pub fn listed(&self, group: &Arc<str>) -> ListedGroup {
        ListedGroup {
            group: group.clone(),
            protocol_type: "consumer".into(),
            state: "Empty",
            kind: "consumer",
        }
    }

    /// Whether `who` may commit offsets.
    ///
    /// # Errors
    /// Why not.
    pub fn validate_commit(&self, _who: &MemberAt, _version: i16) -> Result<(), GroupError> {
        Err(GroupError::UnknownMember)
    }

    /// Whether `who` may read committed offsets.
    ///
    /// # Errors
    /// Why not.
    pub fn validate_fetch(&self, _who: &MemberAt) -> Result<(), GroupError> {
        Ok(())
    }

    /// Whether the group may be deleted: nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Whether a member reads the topic, so that its offsets stay.
    #[must_use]
    pub fn is_subscribed(&self, _topic: &str) -> bool {
        false
    }

    /// Since when, in milliseconds since 1970, the offset was of no use; `None` while it is.
    #[must_use]
    pub fn unused_since(&self, _topic: &str, commit_ms: i64) -> Option<i64> {
        Some(commit_ms)
    }

    /// How many are in it.
    #[must_use]
    pub fn member_count(&self) -> usize {
        0
    }

    /// Tombstones of everything but its offsets.
    pub fn remove(&self, _group: &Arc<str>, _turn: &mut Turn<'_>) {}
}

/// Carries out a request to a group of this protocol, or one of the classic protocol to such a group.
pub fn handle(
    _partition: &mut GroupPartition,
    _turn: &mut Turn<'_>,
    _token: Token,
    _request: GroupRequest,
) -> Result<(), GroupError> {
    Err(GroupError::UnsupportedVersion)
}

/// Follows a record of this protocol.
pub fn replay(_partition: &mut GroupPartition, _record: &GroupRecord<'_>) {}

/// A deadline of this protocol is over.
pub fn fire(_partition: &mut GroupPartition, _turn: &mut Turn<'_>, _key: TimerKey) {}

/// After the log was read: deadlines of the members there are.
pub fn loaded(_partition: &mut GroupPartition, _turn: &mut Turn<'_>) {}
