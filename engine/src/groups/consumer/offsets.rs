//! Who may commit and read offsets of a consumer group: members at their epoch, anybody while nobody is in it.

use super::ConsumerGroup;
use super::error::ConsumerGroupError;
use crate::groups::request::MemberAt;
use crate::types::PartitionId;

/// The first version of OffsetCommit that knows member epochs.
const VERSION_WITH_EPOCHS: i16 = 9;

impl ConsumerGroup {
    /// Since when, in milliseconds since 1970, an offset was of no use; `None` while a member asks for the topic.
    #[must_use]
    pub fn unused_since(&self, topic: &str, commit_ms: i64) -> Option<i64> {
        (!self.is_subscribed_to(topic)).then_some(commit_ms)
    }

    /// Whether `who` may commit with OffsetCommit of that version, partition by partition the rest
    /// ([`ConsumerGroup::may_commit_partition`]).
    ///
    /// # Errors
    /// As Kafka.
    pub fn may_commit(&self, who: &MemberAt, version: i16) -> Result<(), ConsumerGroupError> {
        if who.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.known_member(&who.member)?;
        if !member.is_classic() && version < VERSION_WITH_EPOCHS {
            return Err(ConsumerGroupError::CommitVersionTooLow);
        }
        let (received, known) = (who.generation, member.current.epoch);
        if received <= known {
            return Ok(());
        }
        Err(match member.is_classic() {
            true => ConsumerGroupError::IllegalGeneration(format!(
                "Received generation id {received} is newer than current member epoch {known}."
            )),
            false => ConsumerGroupError::StaleMemberEpoch(format!(
                "Received member epoch {received} is newer than current member epoch {known}."
            )),
        })
    }

    /// Whether `who`, who may commit, may do so for `partition`: it is at its epoch, or has owned the partition at
    /// least since the epoch it knows (KIP-1251). So a commit that was on its way when the epoch moved is not lost.
    ///
    /// # Errors
    /// As Kafka.
    pub fn may_commit_partition(
        &self,
        who: &MemberAt,
        partition: PartitionId,
    ) -> Result<(), ConsumerGroupError> {
        let Some(member) = self.members.get(&who.member) else {
            return Ok(());
        };
        let current = &member.current;
        if who.generation == current.epoch {
            return Ok(());
        }
        let since = current
            .assigned
            .epoch(partition)
            .or_else(|| current.revoking.epoch(partition));
        let text = match since {
            Some(since) if who.generation >= since => return Ok(()),
            Some(since) => format!(
                "Received member epoch {} is older than assignment epoch {since} for partition {}.",
                who.generation, partition.index
            ),
            None => format!(
                "Partition {} is not assigned or pending revocation for member.",
                partition.index
            ),
        };
        Err(match member.is_classic() {
            true => ConsumerGroupError::IllegalGeneration(text),
            false => ConsumerGroupError::StaleMemberEpoch(text),
        })
    }

    /// Whether `who` may read committed offsets: an outsider always, a member at its epoch.
    ///
    /// # Errors
    /// As Kafka.
    pub fn may_fetch(&self, who: &MemberAt) -> Result<(), ConsumerGroupError> {
        if who.member.is_empty() && who.generation < 0 {
            return Ok(());
        }
        let member = self.known_member(&who.member)?;
        let (received, known) = (who.generation, member.current.epoch);
        if received == known {
            return Ok(());
        }
        Err(match member.is_classic() {
            true => ConsumerGroupError::IllegalGeneration(format!(
                "The received generation id {received} does not match the expected member epoch {known}."
            )),
            false => ConsumerGroupError::StaleMemberEpoch(format!(
                "The received member epoch {received} does not match the expected member epoch {known}."
            )),
        })
    }
}
