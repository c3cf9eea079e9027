//! Our own file form: TOML with Kafka's names.
//!
//! Tables join with dots, so `[log]` with `retention.ms = 1` is `log.retention.ms`. Where one name is the beginning
//! of another (`log.dir`, `log.dir.failure.timeout.ms`) quotes help: `"log.dir" = "..."`.

use crate::error::ConfigError;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The names and values of a file, sorted by name.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let table: Table = text
        .parse()
        .map_err(|error| ConfigError::config(format!("{file} is not valid TOML: {error}")))?;
    let mut values = BTreeMap::new();
    flatten(file, "", &table, &mut values)?;
    Ok(values.into_iter().collect())
}

fn flatten(
    file: &str,
    prefix: &str,
    table: &Table,
    values: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if let Value::Table(inner) = value {
            flatten(file, &name, inner, values)?;
            continue;
        }
        let Some(text) = print(value) else {
            return Err(ConfigError::config(format!(
                "{file}: {name} must be a text, number, boolean or list of those"
            )));
        };
        if values.insert(name.clone(), text).is_some() {
            return Err(ConfigError::config(format!("{file}: {name} is set twice")));
        }
    }
    Ok(())
}

/// A plain value as Kafka writes it.
fn print(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(parts) => {
            let parts: Option<Vec<String>> = parts
                .iter()
                .map(|part| if part.is_array() { None } else { print(part) })
                .collect();
            parts.map(|parts| parts.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_dotted_names_and_quoted_names_are_the_same() {
        let text = "num.partitions = 3\n\"log.dir\" = \"a\"\n[log]\nretention.ms = 1\n[log.cleanup]\npolicy = [\"compact\", \"delete\"]\n";
        let expected = [
            ("log.cleanup.policy", "compact,delete"),
            ("log.dir", "a"),
            ("log.retention.ms", "1"),
            ("num.partitions", "3"),
        ];
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(parse("f", text), Ok(expected));
    }

    #[test]
    fn one_setting_said_twice_is_an_error() {
        let error = parse("f", "\"log.retention.ms\" = 1\n[log]\nretention.ms = 2\n").unwrap_err();
        assert_eq!(error.message, "f: log.retention.ms is set twice");
        assert!(parse("f", "a = 2020-01-01").is_err());
    }
}
