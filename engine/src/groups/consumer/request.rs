//! What is asked of a group of the consumer protocol, and its answers.

use super::super::request::MemberAt;

/// ConsumerGroupHeartbeat.
#[derive(Debug, Clone)]
pub struct ConsumerHeartbeat {
    /// Who; the generation is the member epoch.
    pub who: MemberAt,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerHeartbeatReply {}

/// ConsumerGroupDescribe, of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerDescription {}
