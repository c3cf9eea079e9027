//! The settings table as a document, so that what users read and what the broker does cannot differ.

use crate::setting::{Check, Dynamic, Scope, Setting, Support};
use crate::table::settings;
use std::fmt::Write as _;

/// All settings as Markdown, one table for each scope.
pub fn markdown() -> String {
    let mut text = String::from("# Settings\n");
    for (scope, title) in [
        (Scope::Broker, "Broker"),
        (Scope::Topic, "Topics"),
        (Scope::Group, "Groups"),
        (Scope::ClientMetrics, "Clients' metrics"),
    ] {
        let _ = write!(
            text,
            "\n## {title}\n\n| setting | type | default | values | changes | support | meaning |\n\
             |---|---|---|---|---|---|---|\n"
        );
        for setting in settings().iter().filter(|setting| setting.scope == scope) {
            let _ = writeln!(
                text,
                "| `{}`{} | {} | {} | {} | {} | {} | {} |",
                setting.name,
                if setting.own { " (Tidelog)" } else { "" },
                setting.kind.to_string().to_lowercase(),
                default(setting),
                values(setting.check),
                changes(setting),
                support(setting.support),
                setting.doc
            );
        }
    }
    text
}

fn default(setting: &Setting) -> String {
    match setting.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

fn values(check: Check) -> String {
    match check {
        Check::Any => "any".to_owned(),
        Check::AtLeast(min) => format!("at least {min}"),
        Check::Between(min, max) => format!("{min} to {max}"),
        Check::BetweenOr { min, max, or } => format!("{or}, {min} to {max}"),
        Check::BetweenReal(min, max) => format!("{min} to {max}"),
        Check::NonZero => "not 0".to_owned(),
        Check::Blocks(min, max) => format!("multiples of 4096 from {min} to {max}"),
        Check::OneOf(words) => words.join(", "),
        Check::ListOf(words) => format!("list of {}", words.join(", ")),
        Check::ThrottledReplicas => "`*` or partition:broker,...".to_owned(),
        Check::OffsetReset => "earliest, latest, by_duration:...".to_owned(),
        Check::ClientMatch => "name=pattern,...".to_owned(),
    }
}

fn changes(setting: &Setting) -> &'static str {
    match (setting.scope, setting.dynamic) {
        (Scope::Broker, Dynamic::ReadOnly) => "at start",
        (Scope::Broker, Dynamic::PerBroker) => "for one broker",
        _ => "any time",
    }
}

fn support(support: Support) -> String {
    match support {
        Support::Honoured => "honoured".to_owned(),
        Support::Inert { reason } => format!("no effect: {reason}"),
        Support::Pending { reason } => format!("no effect yet: {reason}"),
        Support::Refused { why, allowed: [] } => format!("only the default: {why}"),
        Support::Refused { why, allowed } => {
            format!("only the default or {}: {why}", allowed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_line_with_as_many_cells_as_the_head() {
        let text = markdown();
        for setting in settings() {
            assert!(
                text.contains(&format!("| `{}`", setting.name)),
                "{}",
                setting.name
            );
        }
        let rows = text.lines().filter(|line| line.starts_with('|'));
        assert!(rows.clone().count() > settings().len());
        for row in rows {
            assert_eq!(row.matches('|').count(), 8, "{row}");
        }
    }
}
