//! The built-in profiles: named sets of values, as data in `profiles/*.toml`.

use crate::error::ConfigError;

/// Names and texts of the profiles.
pub const PROFILES: &[(&str, &str)] = &[
    ("default", include_str!("../profiles/default.toml")),
    ("low-latency", include_str!("../profiles/low-latency.toml")),
    ("throughput", include_str!("../profiles/throughput.toml")),
    ("dev", include_str!("../profiles/dev.toml")),
];

/// The text of a profile.
pub(crate) fn text(name: &str) -> Result<&'static str, ConfigError> {
    if let Some((_, text)) = PROFILES.iter().find(|(profile, _)| *profile == name) {
        return Ok(text);
    }
    let names: Vec<&str> = PROFILES.iter().map(|(profile, _)| *profile).collect();
    Err(ConfigError::config(format!(
        "unknown profile {name}; there are {}",
        names.join(", ")
    )))
}
