//! From measurements to settings: a profile that says for each value which measurement it follows from. Pure.
//!
//! Only settings that a node really follows are written, and the text is loaded once before it is handed out, so it is
//! valid by the settings table.

use std::fmt::Write as _;

use super::{Measured, SMALL_BYTES};
use crate::{ConfigError, NamedText, Sources, Support, load, lookup, setting::Scope};

const MIB: f64 = 1_048_576.0;
/// A journal file takes about this long to fill at full speed.
const JOURNAL_FILE_SECONDS: f64 = 0.25;
/// A restart reads the bytes that are only in journals in about this time.
const REPLAY_SECONDS: f64 = 1.0;

/// A value that follows from a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// Name of the setting.
    pub setting: &'static str,
    /// Value, in TOML.
    pub value: String,
    /// The measurement it follows from, and how.
    pub reason: String,
}

/// The values for a node with that many shards on that disk.
#[must_use]
pub fn recommend(measured: &Measured, shards: u64) -> Vec<Recommendation> {
    let write = measured.write_bytes_per_s.preallocated;
    let read = measured.read_bytes_per_s;
    let small = measured
        .flush
        .iter()
        .find(|flush| flush.bytes == SMALL_BYTES);
    let flush_us = small.map_or(0.0, |flush| flush.p50_us);
    // A direct run costs one more flush and saves writing its bytes a second time.
    let direct = blocks(flush_us / 1e6 * write, 64.0 * 1024.0, 4.0 * MIB);
    let file = power_of_two(write * JOURNAL_FILE_SECONDS, 16.0 * MIB, 256.0 * MIB);
    let shares = shards.max(1) as f64;
    let dirty = read * REPLAY_SECONDS / shares;
    let dirty = (dirty.clamp(64.0 * MIB, 1024.0 * MIB) / MIB).round() as u64 * (1 << 20);
    let dirty = dirty.max(2 * file);
    let recommendation = |setting, value: String, reason| Recommendation {
        setting,
        value,
        reason,
    };
    vec![
        recommendation(
            "durability",
            "\"flush\"".to_owned(),
            "An acknowledged record survives a power cut; no disk is fast enough to give that up unasked.".to_owned(),
        ),
        recommendation(
            "direct.run.bytes.min",
            grouped(direct),
            format!(
                "A flush takes {flush_us:.0} µs (p50); in that time the disk writes {:.0} KiB. Smaller runs go through \
                 the journal, larger ones are cheaper with a flush of their own.",
                flush_us / 1e6 * write / 1024.0
            ),
        ),
        recommendation(
            "journal.file.bytes",
            grouped(file),
            format!("At {:.0} MiB/s a file of this size fills in about {:.2} s.", write / MIB, file as f64 / write.max(1.0)),
        ),
        recommendation(
            "journal.dirty.bytes.max",
            grouped(dirty),
            format!(
                "A restart reads at most this from each of {shards} shards' journals, together in about {:.1} s at {:.0} MiB/s.",
                dirty as f64 * shares / read.max(1.0),
                read / MIB
            ),
        ),
    ]
}

/// The profile as TOML.
///
/// # Errors
/// A value is against the settings table: a mistake of ours that must not reach a file.
pub fn write_profile(measured: &Measured, shards: u64) -> Result<String, ConfigError> {
    let mut text = String::new();
    let place = measured
        .filesystem
        .as_deref()
        .unwrap_or("an unknown file system");
    let kernel = measured.kernel.as_deref().unwrap_or("unknown");
    let flush = measured.flush.first();
    let _ = writeln!(
        text,
        "# Measured by `tidelog tune disk` in {} ({place}, kernel {kernel}).",
        measured.directory
    );
    let _ = writeln!(
        text,
        "# write {:.0} MiB/s (fresh extents {:.0}), read {:.0} MiB/s, 4 KiB write + fdatasync p50 {:.0} µs, p99 {:.0} µs",
        measured.write_bytes_per_s.preallocated / MIB,
        measured.write_bytes_per_s.fresh / MIB,
        measured.read_bytes_per_s / MIB,
        flush.map_or(0.0, |flush| flush.p50_us),
        flush.map_or(0.0, |flush| flush.p99_us),
    );
    let _ = writeln!(text, "# Use it with `tidelog --profile FILE`.");
    for recommendation in recommend(measured, shards) {
        let Recommendation {
            setting,
            value,
            reason,
        } = &recommendation;
        let honoured =
            lookup(setting, Scope::Broker).is_some_and(|known| known.support == Support::Honoured);
        if !honoured {
            return Err(ConfigError::config(format!(
                "{setting} is not followed by a node"
            )));
        }
        let _ = writeln!(text, "\n# {reason}\n{setting} = {value}");
    }
    let name = "the measured profile".to_owned();
    let sources = Sources {
        profile_file: Some(NamedText {
            name,
            text: text.clone(),
        }),
        ..Sources::default()
    };
    load(sources)?;
    Ok(text)
}

/// Whole blocks within bounds.
fn blocks(bytes: f64, min: f64, max: f64) -> u64 {
    (bytes.clamp(min, max) / 4_096.0).round() as u64 * 4_096
}

/// The power of two nearest in ratio, within bounds that are powers of two.
fn power_of_two(bytes: f64, min: f64, max: f64) -> u64 {
    1 << bytes.clamp(min, max).log2().round() as u32
}

/// `67108864` as `67_108_864`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}
