//! Kafka's own way to call its tools, as fingers know it: `--create` instead of `create`, and the tools' names.
//!
//! `tidelog topic --create --topic T` is `tidelog topic create --topic T`; a link to the binary that is called
//! `kafka-topics.sh` (or `kafka-topics`) is `tidelog topic`. Pure.

use std::ffi::OsString;
use std::path::Path;

/// A tool of Kafka's and what it is here.
struct Tool {
    name: &'static str,
    command: &'static str,
    /// Flags that are verbs here.
    verbs: &'static [(&'static str, &'static str)],
    /// Flags that are needless here.
    dropped: &'static [&'static str],
}

const TOOLS: [Tool; 6] = [
    Tool {
        name: "kafka-topics",
        command: "topic",
        verbs: &[
            ("--create", "create"),
            ("--list", "list"),
            ("--describe", "describe"),
            ("--alter", "alter"),
            ("--delete", "delete"),
        ],
        dropped: &[],
    },
    Tool {
        name: "kafka-consumer-groups",
        command: "group",
        verbs: &[
            ("--list", "list"),
            ("--describe", "describe"),
            ("--reset-offsets", "reset-offsets"),
            ("--delete-offsets", "delete-offsets"),
            ("--delete", "delete"),
        ],
        dropped: &[],
    },
    Tool {
        name: "kafka-configs",
        command: "config",
        verbs: &[("--describe", "describe"), ("--alter", "alter")],
        dropped: &[],
    },
    Tool {
        name: "kafka-broker-api-versions",
        command: "broker",
        verbs: &[("", "api-versions")],
        dropped: &[],
    },
    Tool {
        name: "kafka-cluster",
        command: "cluster",
        verbs: &[],
        dropped: &[],
    },
    Tool {
        name: "kafka-dump-log",
        command: "log",
        verbs: &[("", "dump")],
        dropped: &["--deep-iteration"],
    },
];

/// The arguments as our own parser wants them.
#[must_use]
pub fn translate(arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let called = called.unwrap_or_default().to_string_lossy();
    let called = called.strip_suffix(".sh").unwrap_or(&called);
    if let Some(tool) = TOOLS.iter().find(|tool| tool.name == called) {
        return tool.translate(arguments.into_iter().skip(1).collect(), true);
    }
    let command = arguments
        .get(1)
        .map(|word| word.to_string_lossy().into_owned());
    let tool = TOOLS
        .iter()
        .find(|tool| Some(tool.command) == command.as_deref());
    let verb_is_flag = arguments
        .get(2)
        .is_some_and(|word| word.to_string_lossy().starts_with("--"));
    match tool {
        Some(tool) if verb_is_flag => {
            tool.translate(arguments.into_iter().skip(2).collect(), false)
        }
        _ => arguments,
    }
}

impl Tool {
    /// Puts command and verb first; the rest stays in its order. `as_kafka`: called by Kafka's name.
    fn translate(&self, mut rest: Vec<OsString>, as_kafka: bool) -> Vec<OsString> {
        let mut verb = None;
        let is = |word: &OsString, flag: &str| word.to_string_lossy() == flag;
        for (flag, name) in self.verbs {
            if flag.is_empty() && as_kafka {
                verb = Some(*name);
            } else if let Some(at) = rest.iter().position(|word| is(word, flag)) {
                rest.remove(at);
                verb = Some(*name);
                break;
            }
        }
        if as_kafka {
            rest.retain(|word| !self.dropped.iter().any(|flag| is(word, flag)));
        }
        let mut translated: Vec<OsString> = vec!["tidelog".into(), self.command.into()];
        translated.extend(verb.map(OsString::from));
        // Kafka's tools print names alone, and scripts read them so.
        let state_asked = rest
            .iter()
            .any(|word| is(word, "--state") || is(word, "--type"));
        if as_kafka && verb == Some("list") && !state_asked {
            translated.push("--names-only".into());
        }
        translated.append(&mut rest);
        translated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(words: &str) -> String {
        let arguments = words.split(' ').map(OsString::from).collect();
        let words: Vec<String> = translate(arguments)
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }

    #[test]
    fn a_link_with_kafkas_name_is_our_command() {
        for (kafka, ours) in [
            (
                "/opt/kafka/bin/kafka-topics.sh --bootstrap-server a:1 --create --topic t --partitions 3",
                "tidelog topic create --bootstrap-server a:1 --topic t --partitions 3",
            ),
            ("kafka-topics --list", "tidelog topic list --names-only"),
            (
                "kafka-consumer-groups.sh --bootstrap-server a:1 --group g --reset-offsets --to-earliest --execute",
                "tidelog group reset-offsets --bootstrap-server a:1 --group g --to-earliest --execute",
            ),
            (
                "kafka-consumer-groups.sh --list --state",
                "tidelog group list --state",
            ),
            (
                "kafka-broker-api-versions.sh --bootstrap-server a:1",
                "tidelog broker api-versions --bootstrap-server a:1",
            ),
            (
                "kafka-dump-log.sh --deep-iteration --files f",
                "tidelog log dump --files f",
            ),
            ("kafka-cluster.sh cluster-id", "tidelog cluster cluster-id"),
        ] {
            assert_eq!(translated(kafka), ours);
        }
    }

    #[test]
    fn kafkas_flags_after_our_command_are_verbs_and_everything_else_stays() {
        assert_eq!(
            translated("tidelog topic --describe --topic t"),
            "tidelog topic describe --topic t"
        );
        assert_eq!(
            translated("tidelog config --alter --topic t"),
            "tidelog config alter --topic t"
        );
        for same in [
            "tidelog",
            "tidelog --set a=b",
            "tidelog topic create --topic list",
            "tidelog topic --help",
            "tidelog config alter --delete x",
        ] {
            assert_eq!(translated(same), same);
        }
    }
}
