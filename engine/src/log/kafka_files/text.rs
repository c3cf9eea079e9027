//! `leader-epoch-checkpoint` and the `*-offset-checkpoint` files: a version line, a line with the number of entries,
//! then one line each. The first has "epoch offset", the others "topic partition offset".

use crate::log::error::FormatError;
use crate::types::{LeaderEpoch, Offset};
use std::fmt::Write;

/// `leader-epoch-checkpoint`.
pub fn encode_epoch_checkpoint(entries: &[(LeaderEpoch, Offset)]) -> String {
    let mut file = format!("0\n{}\n", entries.len());
    for (epoch, start) in entries {
        writeln!(file, "{epoch} {start}").expect("writing to a string succeeds");
    }
    file
}

/// Reads `leader-epoch-checkpoint`.
pub fn decode_epoch_checkpoint(file: &[u8]) -> Result<Vec<(LeaderEpoch, Offset)>, FormatError> {
    const FILE: &str = "leader-epoch-checkpoint";
    entries(FILE, file, |line| {
        let (epoch, start) = line.split_once(' ')?;
        Some((
            LeaderEpoch(epoch.parse().ok()?),
            Offset(start.parse().ok()?),
        ))
    })
}

/// `log-start-offset-checkpoint`, `recovery-point-offset-checkpoint` and `replication-offset-checkpoint`.
pub fn encode_offset_checkpoint<'a>(
    entries: impl IntoIterator<Item = (&'a str, i32, Offset)>,
) -> String {
    let mut lines = String::new();
    let mut count = 0;
    for (topic, partition, offset) in entries {
        writeln!(lines, "{topic} {partition} {offset}").expect("writing to a string succeeds");
        count += 1;
    }
    format!("0\n{count}\n{lines}")
}

/// Reads one of the offset checkpoints.
pub fn decode_offset_checkpoint(file: &[u8]) -> Result<Vec<(String, i32, Offset)>, FormatError> {
    entries("offset checkpoint", file, |line| {
        let mut words = line.split(' ');
        let entry = (
            words.next()?.to_owned(),
            words.next()?.parse().ok()?,
            Offset(words.next()?.parse().ok()?),
        );
        words.next().is_none().then_some(entry)
    })
}

fn entries<T>(
    name: &'static str,
    file: &[u8],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FormatError> {
    let malformed = |problem: &str| FormatError::Malformed {
        file: name,
        problem: problem.to_owned(),
    };
    let text = std::str::from_utf8(file).map_err(|_| malformed("not text"))?;
    let mut lines = text.lines();
    let version: i64 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| malformed("no version line"))?;
    if version != 0 {
        return Err(FormatError::UnknownVersion {
            file: name,
            version,
        });
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| malformed("no line with the number of entries"))?;
    let mut entries = Vec::new();
    for line in lines {
        entries.push(parse(line).ok_or_else(|| malformed(&format!("unreadable line {line:?}")))?);
    }
    if entries.len() == count {
        Ok(entries)
    } else {
        Err(malformed(&format!(
            "{} entries instead of {count}",
            entries.len()
        )))
    }
}
