//! Why a configuration is refused.

use thiserror::Error;

/// Which of Kafka's two errors for configurations an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// INVALID_CONFIG, 40.
    InvalidConfig,
    /// INVALID_REQUEST, 42.
    InvalidRequest,
}

/// A refused configuration; the message names the setting and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ConfigError {
    /// Which of Kafka's errors it is.
    pub kind: ConfigErrorKind,
    /// What to tell the user.
    pub message: String,
}

impl ConfigError {
    /// An INVALID_CONFIG.
    pub fn config(message: impl Into<String>) -> ConfigError {
        ConfigError {
            kind: ConfigErrorKind::InvalidConfig,
            message: message.into(),
        }
    }

    /// An INVALID_REQUEST.
    pub fn request(message: impl Into<String>) -> ConfigError {
        ConfigError {
            kind: ConfigErrorKind::InvalidRequest,
            message: message.into(),
        }
    }
}
