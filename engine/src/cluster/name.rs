//! Which topic names are legal, with Kafka's own messages.

/// The longest topic name, in characters.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;
/// The topic that Kafka's controllers replicate; never a client's.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
const INTERNAL_TOPICS: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// Why `name` cannot be a topic's name, or `None` if it can.
#[must_use]
pub fn reason_invalid(name: &str) -> Option<String> {
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.chars().count() > TOPIC_NAME_LENGTH_MAX => {
            format!(
                "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LENGTH_MAX}"
            )
        }
        _ if !name.bytes().all(is_legal) => {
            format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            )
        }
        _ => return None,
    };
    Some(format!("Topic name is invalid: {reason}"))
}

/// Whether clients must not create, delete or write the topic.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Names with the same collision key share metric names in Kafka (`.` becomes `_`), so only one may exist.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_border_are_judged_as_kafka_judges_them() {
        assert_eq!(reason_invalid(&"a".repeat(249)), None);
        for bad in ["", ".", "..", "bad name", "a,b", "bad/slash", "t\u{e4}st"] {
            assert!(reason_invalid(bad).is_some(), "{bad} passed");
        }
        assert!(reason_invalid(&"a".repeat(250)).is_some());
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
    }
}
