//! What one decision sees and what it leaves: the time, the settings, the timers, and its effects.

use bytes::Bytes;

use super::record::GroupRecord;
use super::request::GroupReply;
use super::settings::GroupSettings;
use super::timers::Timers;
use crate::cluster::MetadataImage;

/// The time of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines, in milliseconds; never goes back.
    pub monotonic_ms: i64,
    /// For what is written, in milliseconds since 1970.
    pub wall_ms: i64,
}

/// Names a caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A record as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The key.
    pub key: Bytes,
    /// The value; a tombstone has none.
    pub value: Option<Bytes>,
    /// Whether memory follows by replaying it. False where the decision changed the memory itself (the classic
    /// protocol, whose members know more than the log).
    pub replay: bool,
}

/// Bytes of a batch without its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a record in a batch beside key and value, at most.
pub const RECORD_OVERHEAD_BYTES: usize = 32;

impl EncodedRecord {
    /// A record of a change that the decision made itself.
    #[must_use]
    pub fn of_change(record: &GroupRecord<'_>) -> EncodedRecord {
        let (key, value) = record.encode();
        EncodedRecord {
            key,
            value,
            replay: false,
        }
    }

    /// What it takes in a batch, at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD_BYTES
    }
}

/// What a batch of these records takes, at most.
#[must_use]
pub fn batch_bytes(records: &[EncodedRecord]) -> usize {
    BATCH_HEADER_BYTES + records.iter().map(EncodedRecord::bytes).sum::<usize>()
}

/// What a decision wants done.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be appended, in order, as one batch: after a crash there are all of them or none.
    pub records: Vec<EncodedRecord>,
    /// The records may become several batches: what any first part of them says is a state that may be.
    pub divisible: bool,
    /// To be sent when everything appended so far is durable. A caller without an answer here waits.
    pub replies: Vec<(Token, GroupReply)>,
}

impl Effects {
    /// A record that changes the memory when it is replayed, right after the decision.
    pub fn record(&mut self, record: &GroupRecord<'_>) {
        self.push(record, true);
    }

    /// A record of what the decision did to the memory.
    pub fn record_of_change(&mut self, record: &GroupRecord<'_>) {
        self.push(record, false);
    }

    /// An answer.
    pub fn reply(&mut self, token: Token, reply: GroupReply) {
        self.replies.push((token, reply));
    }

    fn push(&mut self, record: &GroupRecord<'_>, replay: bool) {
        let (key, value) = record.encode();
        self.records.push(EncodedRecord { key, value, replay });
    }
}

/// What a decision works with.
pub struct Turn<'t> {
    /// The time.
    pub now: Now,
    /// The broker's settings for groups.
    pub settings: &'t GroupSettings,
    /// The cluster.
    pub image: &'t MetadataImage,
    /// The partition's timers.
    pub timers: &'t mut Timers,
    /// What it wants done.
    pub effects: &'t mut Effects,
}
