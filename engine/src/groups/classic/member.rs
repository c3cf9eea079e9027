//! A member of a classic group.

use std::sync::Arc;

use bytes::Bytes;

use super::super::request::{DescribedMember, Join};
use super::super::turn::Token;

/// A member in the record of its group: the lengths of four strings and two byte strings, and two timeouts.
const MEMBER_FIXED_BYTES: usize = 4 * 2 + 2 * 4 + 2 * 4;

/// A member: what it brought, what it got, and whether it waits for an answer.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub id: Arc<str>,
    /// Its instance id, if it is static (KIP-345).
    pub instance: Option<Arc<str>>,
    /// The client's name for itself.
    pub client: Arc<str>,
    /// Its address.
    pub host: Arc<str>,
    /// Milliseconds of silence after which it is gone.
    pub session_timeout_ms: i32,
    /// Milliseconds it has to join again.
    pub rebalance_timeout_ms: i32,
    /// What it can do, best first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// What it shall do; empty until the leader said so.
    pub assignment: Bytes,
    /// It has not been part of a generation.
    pub is_new: bool,
    /// Waits for the generation to begin.
    pub awaiting_join: Option<Token>,
    /// Waits for its assignment.
    pub awaiting_sync: Option<Token>,
}

impl Member {
    /// The member that `join` describes, under `id`.
    #[must_use]
    pub fn new(id: Arc<str>, join: &Join) -> Member {
        Member {
            id,
            instance: join.who.instance.clone(),
            client: join.client.clone(),
            host: join.host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    /// What it said about the protocol.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols
            .iter()
            .find(|(name, _)| **name == *protocol)
            .map(|(_, metadata)| metadata)
    }

    /// What it takes in the record of its group while `protocol` is in force.
    #[must_use]
    pub fn record_bytes(&self, protocol: &str) -> usize {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let metadata = self.metadata(protocol).map_or(0, Bytes::len);
        MEMBER_FIXED_BYTES
            + self.id.len()
            + instance
            + self.client.len()
            + self.host.len()
            + metadata
            + self.assignment.len()
    }

    /// Its description, with subscription and assignment only where a protocol is chosen and in force.
    #[must_use]
    pub fn describe(&self, protocol: Option<&str>) -> DescribedMember {
        let metadata = protocol.and_then(|protocol| self.metadata(protocol));
        DescribedMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client: self.client.clone(),
            host: self.host.clone(),
            metadata: metadata.cloned().unwrap_or_default(),
            assignment: protocol.map_or_else(Bytes::new, |_| self.assignment.clone()),
        }
    }
}
