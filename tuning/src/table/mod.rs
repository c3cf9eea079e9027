//! The settings table: every setting that Tidelog knows, said once.
//!
//! Parsing, validation, DescribeConfigs, the documentation and the start-up warnings are all derived from these
//! rows. Names, types and defaults of Kafka's settings are those of Kafka 4.3. Built once, read from any core.

/// Turns rows of a table file into a constant slice `ROWS`.
macro_rules! table {
    (@default null) => { None };
    (@default $value:literal) => { Some($value) };
    (@support honoured) => { $crate::setting::Support::Honoured };
    (@support inert $reason:ident) => { $crate::setting::Support::Inert { reason: $reason } };
    (@support pending $reason:ident) => { $crate::setting::Support::Pending { reason: $reason } };
    (@support refused $why:ident) => { $crate::setting::Support::Refused { why: $why, allowed: &[] } };
    (@support allowed $why:ident $allowed:expr) => {
        $crate::setting::Support::Refused { why: $why, allowed: $allowed }
    };
    ($scope:ident; $($name:literal: $kind:ident = $default:tt, $dynamic:ident, $check:expr, [$($support:tt)+],
        $doc:literal;)+) => {
        pub(in crate::table) const ROWS: &[$crate::setting::Setting] = &[$($crate::setting::Setting {
            name: $name,
            kind: $crate::setting::Kind::$kind,
            default: table!(@default $default),
            check: $check,
            scope: $crate::setting::Scope::$scope,
            dynamic: $crate::setting::Dynamic::$dynamic,
            sensitive: matches!($crate::setting::Kind::$kind, $crate::setting::Kind::Password),
            synonyms: &[],
            support: table!(@support $($support)+),
            doc: $doc,
            own: false,
            hidden: false,
        }),+];
    };
}

mod broker_cluster;
mod broker_groups;
mod broker_log;
mod broker_network;
mod broker_remote;
mod broker_security;
mod client_metrics;
mod group;
mod hidden;
mod own;
mod reasons;
mod synonyms;
mod topic;
mod words;

pub(crate) use synonyms::broker_synonyms;

use crate::setting::{Scope, Setting};
use std::sync::LazyLock;

static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let kafka = [
        broker_cluster::ROWS,
        broker_groups::ROWS,
        broker_log::ROWS,
        broker_network::ROWS,
        broker_remote::ROWS,
        broker_security::ROWS,
        client_metrics::ROWS,
        group::ROWS,
        topic::ROWS,
    ];
    let mut settings: Vec<Setting> = kafka.into_iter().flatten().cloned().collect();
    settings.extend(own::ROWS.iter().map(|setting| Setting {
        own: true,
        ..setting.clone()
    }));
    let hidden = hidden::TOPIC_ROWS
        .iter()
        .chain(hidden::BROKER_ROWS)
        .cloned();
    settings.extend(hidden.map(|setting| Setting {
        hidden: true,
        ..setting
    }));
    for setting in &mut settings {
        setting.synonyms = synonyms::of(setting.scope, setting.name);
    }
    settings.sort_by_key(|setting| (setting.scope, setting.name));
    settings
});

/// All settings, sorted by scope and name.
pub fn settings() -> &'static [Setting] {
    &SETTINGS
}

/// The setting of this name in this scope.
pub fn lookup(name: &str, scope: Scope) -> Option<&'static Setting> {
    let at = SETTINGS.binary_search_by_key(&(scope, name), |setting| (setting.scope, setting.name));
    at.ok().map(|index| &SETTINGS[index])
}

/// The broker setting whose name is most like this unknown one, if any is like it at all.
pub fn suggestion(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase().replace(['_', '-'], ".");
    if let Some(topic) = lookup(&lower, Scope::Topic)
        && let Some(synonym) = topic.synonyms.first()
    {
        return Some(synonym.name);
    }
    let limit = (lower.len() / 4).clamp(1, 6);
    SETTINGS
        .iter()
        .filter(|setting| {
            setting.scope == Scope::Broker && setting.name.len().abs_diff(lower.len()) <= limit
        })
        .map(|setting| (edit_distance(&lower, setting.name), setting.name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Fewest insertions, deletions and replacements of bytes that turn one text into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_byte) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_gets_the_nearest_one() {
        assert_eq!(
            suggestion("log.retention.hour"),
            Some("log.retention.hours")
        );
        assert_eq!(
            suggestion("advertised.listener"),
            Some("advertised.listeners")
        );
        assert_eq!(suggestion("num_partitions"), Some("num.partitions"));
        assert_eq!(suggestion("retention.ms"), Some("log.retention.ms"));
        assert_eq!(suggestion("completely.different.thing"), None);
    }

    #[test]
    fn every_default_keeps_its_own_rule_and_every_row_is_unique_and_documented() {
        for pair in settings().windows(2) {
            assert!(
                (pair[0].scope, pair[0].name) < (pair[1].scope, pair[1].name),
                "{} twice",
                pair[1].name
            );
        }
        for setting in settings() {
            assert!(
                setting.doc.ends_with(['.', '*', 'S']),
                "{}: {}",
                setting.name,
                setting.doc
            );
            if let Some(default) = setting.default {
                assert_eq!(
                    setting.accept(default).as_deref(),
                    Ok(default),
                    "{}",
                    setting.name
                );
            }
        }
    }
}
