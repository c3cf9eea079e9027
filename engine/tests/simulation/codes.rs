//! Kafka's error codes as far as the workload meets them.

pub const NONE: i16 = 0;
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const CORRUPT_MESSAGE: i16 = 2;
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const REQUEST_TIMED_OUT: i16 = 7;
pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
pub const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const TOPIC_ALREADY_EXISTS: i16 = 36;
pub const INVALID_PARTITIONS: i16 = 37;
pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub const KAFKA_STORAGE_ERROR: i16 = 56;
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
pub const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const GROUP_ID_NOT_FOUND: i16 = 69;
pub const MEMBER_ID_REQUIRED: i16 = 79;
pub const FENCED_INSTANCE_ID: i16 = 82;
pub const FENCED_MEMBER_EPOCH: i16 = 110;
pub const UNRELEASED_INSTANCE_ID: i16 = 111;
pub const STALE_MEMBER_EPOCH: i16 = 113;

/// What a broker may answer at any time, when its disk fails or it stops; the client tries again.
pub fn expect_retriable(what: &str, code: i16) {
    let known = [
        NOT_LEADER_OR_FOLLOWER,
        REQUEST_TIMED_OUT,
        KAFKA_STORAGE_ERROR,
    ];
    assert!(known.contains(&code), "{what} was answered {code}");
}

/// What a member of a group may be told at any time; it joins again.
pub fn expect_of_group(what: &str, code: i16) {
    let known = [
        COORDINATOR_LOAD_IN_PROGRESS,
        COORDINATOR_NOT_AVAILABLE,
        NOT_COORDINATOR,
        ILLEGAL_GENERATION,
        UNKNOWN_MEMBER_ID,
        REBALANCE_IN_PROGRESS,
        FENCED_INSTANCE_ID,
    ];
    assert!(known.contains(&code), "{what} was answered {code}");
}

/// What a member of a group of the consumer protocol may be told at any time.
pub fn expect_of_consumer_group(what: &str, code: i16) {
    let known = [
        COORDINATOR_LOAD_IN_PROGRESS,
        COORDINATOR_NOT_AVAILABLE,
        NOT_COORDINATOR,
        UNKNOWN_MEMBER_ID,
        GROUP_ID_NOT_FOUND,
        FENCED_INSTANCE_ID,
        FENCED_MEMBER_EPOCH,
        UNRELEASED_INSTANCE_ID,
        STALE_MEMBER_EPOCH,
    ];
    assert!(known.contains(&code), "{what} was answered {code}");
}
