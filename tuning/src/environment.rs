//! Settings in environment variables, by the rule of Apache Kafka's container image (CLIENTS §10).

use crate::setting::Scope;
use crate::table::lookup;

/// Variables that belong to Kafka's scripts and tools; `JMX_` stands for all that begin so.
const TOOLS: &[&str] = &[
    "LIBS",
    "OPTS",
    "HEAP_OPTS",
    "LOG4J_OPTS",
    "HOME",
    "PATH",
    "SCHEMAS",
];

/// The settings found, as (variable, name, value), and the `KAFKA_*` variables that name none; both sorted.
pub(crate) fn settings(
    environment: &[(String, String)],
) -> (Vec<(String, String, String)>, Vec<String>) {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix("KAFKA_") else {
            if variable == "CLUSTER_ID" {
                found.push((variable.clone(), "cluster.id".to_owned(), value.clone()));
            }
            continue;
        };
        if TOOLS.contains(&rest) || rest.starts_with("JMX_") {
            continue;
        }
        let name = setting_name(rest);
        if lookup(&name, Scope::Broker).is_some() {
            found.push((variable.clone(), name, value.clone()));
        } else {
            unknown.push(variable.clone());
        }
    }
    found.sort();
    unknown.sort();
    (found, unknown)
}

/// `_` is a dot, `__` an underscore, `___` a dash; letters become small.
fn setting_name(variable: &str) -> String {
    let mut name = String::with_capacity(variable.len());
    let mut rest = variable;
    while !rest.is_empty() {
        let word = rest.len() - rest.trim_start_matches(|letter| letter != '_').len();
        name.push_str(&rest[..word].to_ascii_lowercase());
        rest = &rest[word..];
        let underscores = rest.len() - rest.trim_start_matches('_').len();
        name.push_str(match underscores {
            0 => "",
            1 => ".",
            2 => "_",
            3 => "-",
            _ => &rest[..underscores],
        });
        rest = &rest[underscores..];
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_stand_for_dots_underscores_and_dashes() {
        assert_eq!(setting_name("LOG_RETENTION_MS"), "log.retention.ms");
        assert_eq!(setting_name("A__B_C___D"), "a_b.c-d");
        let scram = "LISTENER_NAME_SASL_SCRAM___SHA___256_SASL_JAAS_CONFIG";
        assert_eq!(
            setting_name(scram),
            "listener.name.sasl.scram-sha-256.sasl.jaas.config"
        );
    }
}
