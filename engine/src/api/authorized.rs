//! The operations that a client may do, as Kafka packs them into bits. Without an authorizer everybody may everything.

/// What stands in the answer if the client did not ask.
pub(super) const NOT_ASKED: i32 = i32::MIN;
/// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
const CLUSTER_ALL: i32 = 8096;
/// Read, write, create, delete, alter, describe, describe and alter configs.
const TOPIC_ALL: i32 = 3576;
/// Read, delete, describe, describe and alter configs.
const GROUP_ALL: i32 = 3400;

/// On the cluster.
pub(super) fn cluster(asked: bool) -> i32 {
    if asked { CLUSTER_ALL } else { NOT_ASKED }
}

/// On a topic.
pub(super) fn topic(asked: bool) -> i32 {
    if asked { TOPIC_ALL } else { NOT_ASKED }
}

/// On a group.
pub(super) fn group(asked: bool) -> i32 {
    if asked { GROUP_ALL } else { NOT_ASKED }
}
