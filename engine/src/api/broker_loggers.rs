//! The BROKER_LOGGER resource of DescribeConfigs and IncrementalAlterConfigs: the levels at which this process logs.

use std::collections::BTreeMap;

use super::ErrorCode;
use crate::cluster::configs::AlterConfig;
use crate::loggers::{self, LEVELS, LevelChange, ROOT};

pub(super) type Refusal = (ErrorCode, String);

/// The loggers of this node with their levels; an empty or absent filter chooses all.
pub(super) fn describe(
    node_id: i32,
    name: &str,
    filter: Option<&[&str]>,
) -> Result<BTreeMap<String, &'static str>, Refusal> {
    if name.is_empty() {
        return Err(invalid("Broker id must not be empty"));
    }
    match name.parse::<i32>() {
        Err(_) => {
            return Err(invalid(format!(
                "Broker id must be an integer, but it is: {name}"
            )));
        }
        Ok(id) if id != node_id => {
            let message = format!("Unexpected broker id, expected {node_id} but received {id}");
            return Err(invalid(message));
        }
        Ok(_) => {}
    }
    let mut levels = loggers::levels();
    if let Some(names) = filter.filter(|names| !names.is_empty()) {
        levels.retain(|logger, _| names.contains(&logger.as_str()));
    }
    Ok(levels)
}

/// Judges the changes and, unless they are only to be judged, makes them: all or none.
pub(super) fn alter(
    node_id: i32,
    name: &str,
    changes: &[AlterConfig],
    validate_only: bool,
) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Err(_) => {
            return Err(invalid(format!(
                "Node id must be an integer, but it is: {name}"
            )));
        }
        Ok(id) if id != node_id => {
            let message = format!("Unexpected node id. Expected {node_id}, but received {id}");
            return Err(invalid(message));
        }
        Ok(_) => {}
    }
    let changes = changes
        .iter()
        .map(level_change)
        .collect::<Result<Vec<_>, _>>()?;
    if !validate_only {
        loggers::change(&changes);
    }
    Ok(())
}

fn level_change(change: &AlterConfig) -> Result<LevelChange, Refusal> {
    let logger = change.name.clone();
    let not_known = || {
        let message = format!("Logger {logger} does not exist!");
        (ErrorCode::InvalidConfig, message)
    };
    let level = match change.operation {
        0 => {
            let level = change.value.clone().unwrap_or_default();
            if !loggers::is_known(&logger) {
                return Err(not_known());
            }
            if !LEVELS.contains(&level.as_str()) {
                let message = format!(
                    "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log \
                     levels are {}",
                    LEVELS.join(", ")
                );
                return Err((ErrorCode::InvalidConfig, message));
            }
            Some(level)
        }
        1 if !loggers::is_known(&logger) => return Err(not_known()),
        1 if logger == ROOT => {
            return Err(invalid(
                "Removing the log level of the root logger is not allowed",
            ));
        }
        1 => None,
        2 => {
            return Err(invalid(
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ));
        }
        3 => {
            return Err(invalid(
                "SUBTRACT operation is not allowed for the BROKER_LOGGER resource",
            ));
        }
        other => {
            let message = format!("Unknown configuration operation {other}");
            return Err((ErrorCode::UnknownServerError, message));
        }
    };
    Ok(LevelChange { logger, level })
}

fn invalid(message: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, message.into())
}
