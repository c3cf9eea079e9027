//! What the admin APIs' answers have in common: one result per element, also when all fail together.

use std::collections::BTreeSet;

use crate::cluster::{ControlError, ControlErrorKind, ControlResponse};

/// The keys in order of first appearance; Kafka answers an element that is named twice once.
pub(super) fn once_each<K: Ord + Clone>(keys: impl Iterator<Item = K>) -> Vec<K> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(key.clone())).collect()
}

/// The same failure for each of `count` elements: the metadata log failed, or the controller is gone.
pub(super) fn all_failed<T>(
    answer: Result<ControlResponse, ControlError>,
    count: usize,
) -> Vec<Result<T, ControlError>> {
    let error = match answer {
        Err(error) | Ok(ControlResponse::Failed(error)) => error,
        Ok(_) => ControlError::new(
            ControlErrorKind::UnknownServerError,
            "the controller answered something else",
        ),
    };
    (0..count).map(|_| Err(error.clone())).collect()
}

/// As Kafka answers a request whose deadline has passed before it was looked at.
pub(super) fn timed_out<T>(count: usize) -> Vec<Result<T, ControlError>> {
    (0..count)
        .map(|_| Err(ControlError::bare(ControlErrorKind::RequestTimedOut)))
        .collect()
}
