//! The way of one member to its target: the heart of KIP-848.
//!
//! Invariant: a partition is given to a member only when no other member holds it, and a partition leaves a member only
//! when the member no longer reports it as owned. Plain decisions, called by the heartbeat.

use super::error::ConsumerGroupError;
use super::member::{CurrentAssignment, MemberState};
use super::partitions::{OwnedPartitions, PartitionSet};
use crate::types::PartitionId;

/// The target and what it is measured against.
pub struct Target<'a> {
    /// Epoch of the target assignment.
    pub epoch: i32,
    /// What the member is to own.
    pub partitions: &'a PartitionSet,
    /// Whether the member still asks for the partition's topic; the target may be older than its subscription.
    pub wanted: &'a dyn Fn(PartitionId) -> bool,
    /// Whether somebody else holds the partition.
    pub held_by_another: &'a dyn Fn(PartitionId) -> bool,
    /// What the member says it owns; `None` if it did not say.
    pub reported: Option<&'a PartitionSet>,
}

impl CurrentAssignment {
    /// The next step towards `target`; equal to `self` if none can be made now.
    ///
    /// # Errors
    /// The member is in a state that this version does not know and has to rejoin without partitions.
    pub fn step(&self, target: &Target<'_>) -> Result<Self, ConsumerGroupError> {
        match self.state {
            MemberState::Stable if self.epoch == target.epoch => {
                let unwanted = |(partition, _): (PartitionId, i32)| !(target.wanted)(partition);
                if self.assigned.iter().any(unwanted) {
                    Ok(self.towards(self.epoch, target))
                } else {
                    Ok(self.clone())
                }
            }
            MemberState::Stable | MemberState::UnreleasedPartitions => {
                Ok(self.towards(self.epoch, target))
            }
            MemberState::UnrevokedPartitions => {
                if target.reports_any(&self.revoking) {
                    return Ok(self.clone());
                }
                // It gave up what it had to: one epoch on, even if the target is further ahead by now.
                let next = (self.epoch + 1).min(target.epoch).max(self.epoch);
                Ok(self.towards(next, target))
            }
            MemberState::Unknown => {
                if target.reported.is_none_or(|reported| !reported.is_empty()) {
                    return Err(ConsumerGroupError::UnknownMemberState);
                }
                Ok(self.towards(target.epoch, target))
            }
        }
    }

    fn towards(&self, epoch: i32, target: &Target<'_>) -> Self {
        let goal = |partition| target.partitions.contains(partition) && (target.wanted)(partition);
        let (kept, revoking): (Vec<_>, Vec<_>) = self
            .assigned
            .iter()
            .partition(|(partition, _)| goal(*partition));
        let revoking: OwnedPartitions = revoking.into_iter().collect();
        if !revoking.is_empty() && target.reports_any(&revoking) {
            return self.at(
                epoch,
                MemberState::UnrevokedPartitions,
                kept.into_iter().collect(),
                revoking,
            );
        }
        let missing = target
            .partitions
            .iter()
            .filter(|partition| (target.wanted)(*partition) && !self.assigned.contains(*partition));
        let (unreleased, free): (Vec<_>, Vec<_>) =
            missing.partition(|partition| (target.held_by_another)(*partition));
        let state = if unreleased.is_empty() {
            MemberState::Stable
        } else {
            MemberState::UnreleasedPartitions
        };
        let granted = free.into_iter().map(|partition| (partition, target.epoch));
        let assigned = kept.into_iter().chain(granted).collect();
        self.at(target.epoch, state, assigned, OwnedPartitions::default())
    }

    fn at(
        &self,
        epoch: i32,
        state: MemberState,
        assigned: OwnedPartitions,
        revoking: OwnedPartitions,
    ) -> Self {
        let previous_epoch = if epoch == self.epoch {
            self.previous_epoch
        } else {
            self.epoch
        };
        Self {
            epoch,
            previous_epoch,
            state,
            assigned,
            revoking,
        }
    }
}

impl Target<'_> {
    /// Whether the member may still own one of `partitions`: it says so, or says nothing.
    fn reports_any(&self, partitions: &OwnedPartitions) -> bool {
        self.reported.is_none_or(|reported| {
            reported
                .iter()
                .any(|partition| partitions.contains(partition))
        })
    }
}
