//! Assignors: who is to own which partition (KIP-848, server side).
//!
//! Pure functions of the subscriptions, the topics and the last target. The same input gives the same output, in
//! whichever order members and topics came to be.

mod balance;
mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::partitions::PartitionSet;
use crate::types::TopicId;

/// The assignors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Spreads partitions evenly and moves as few as possible.
    Uniform,
    /// Gives each member a run of every topic; members with the same run of several topics can join them.
    Range,
}

impl Assignor {
    /// The assignor of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The new target: an entry for every member of `spec`, every partition of a subscribed topic with exactly one
    /// member.
    #[must_use]
    pub fn assign(self, spec: &AssignmentSpec<'_>) -> BTreeMap<Arc<str>, PartitionSet> {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}

/// What an assignor looks at.
#[derive(Debug, Clone, Default)]
pub struct AssignmentSpec<'a> {
    /// All members, in the order of their ids.
    pub members: Vec<AssignmentMember<'a>>,
    /// Number of partitions of every topic that exists and that a member asks for.
    pub topics: BTreeMap<TopicId, i32>,
}

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub struct AssignmentMember<'a> {
    /// Its id.
    pub id: &'a Arc<str>,
    /// Its name, if it is static.
    pub instance_id: Option<&'a Arc<str>>,
    /// The topics of [`AssignmentSpec::topics`] that it asks for, ascending.
    pub topics: Arc<[TopicId]>,
    /// What it was to own so far; may name topics and partitions that are gone.
    pub previous: Option<&'a PartitionSet>,
}

impl AssignmentSpec<'_> {
    /// Whether all members ask for the same topics.
    fn is_homogeneous(&self) -> bool {
        self.members
            .windows(2)
            .all(|pair| pair[0].topics == pair[1].topics)
    }
}
