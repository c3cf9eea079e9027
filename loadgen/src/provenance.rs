//! Where numbers come from: command, machine, kernel, file system, commit, profile, broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::clock;
use crate::topics::BrokerFacts;

/// Everything that a reader needs to judge a number, or to get it again.
pub(crate) fn collect(
    facts: &BrokerFacts,
    broker_pid: Option<u32>,
    broker_name: Option<&str>,
) -> Value {
    json!({
        "command": std::env::args().collect::<Vec<_>>(),
        "time": utc(clock::wall_us(clock::now()) / 1_000_000),
        "generator": {
            "version": env!("CARGO_PKG_VERSION"),
            "commit": env!("LOADGEN_COMMIT"),
            "profile": env!("LOADGEN_PROFILE"),
        },
        "machine": machine(),
        "kernel": kernel(),
        "broker": broker(facts, broker_pid, broker_name),
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn machine() -> Value {
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, model)| model.trim());
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = read("/proc/meminfo");
    let memory_kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let load = read("/proc/loadavg");
    json!({
        "cpu": model,
        "cores": cores,
        "cores_allowed": crate::process::allowed_cores(),
        "memory_bytes": memory_kib * 1024,
        "load_average": load.split_whitespace().next().and_then(|one| one.parse::<f64>().ok()),
    })
}

fn kernel() -> String {
    format!(
        "{} {}",
        read("/proc/sys/kernel/ostype").trim(),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

fn broker(facts: &BrokerFacts, pid: Option<u32>, name: Option<&str>) -> Value {
    let command: Vec<String> = pid
        .map(|pid| read(&format!("/proc/{pid}/cmdline")))
        .unwrap_or_default()
        .split('\0')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let is_tidelog = facts.configs.contains_key("durability")
        || command
            .first()
            .is_some_and(|program| program.ends_with("tidelog"));
    let is_kafka = command.iter().any(|word| word == "kafka.Kafka")
        || facts.configs.contains_key("log.flush.interval.messages") && !is_tidelog;
    let detected = match (is_tidelog, is_kafka) {
        (true, _) => "Tidelog",
        (_, true) => "Apache Kafka",
        _ => "unknown",
    };
    let data = data_directory(&command);
    json!({
        "name": name.unwrap_or(detected),
        "version": version(pid, &command, is_tidelog),
        "durability": durability(facts, &command, is_tidelog, is_kafka),
        "cluster_id": facts.cluster_id,
        "brokers": facts.brokers,
        "configs": facts.configs,
        "pid": pid,
        "command": command,
        "data_directory": data,
        "file_system": data.as_deref().and_then(file_system),
    })
}

/// The program's own word, or the version in the name of Kafka's jar.
fn version(pid: Option<u32>, command: &[String], is_tidelog: bool) -> Option<String> {
    if is_tidelog {
        let program = fs::read_link(format!("/proc/{}/exe", pid?)).ok()?;
        let said = Command::new(program).arg("--version").output().ok()?;
        return Some(String::from_utf8_lossy(&said.stdout).trim().to_owned());
    }
    let paths = command.iter().flat_map(|word| word.split(':'));
    for path in paths {
        let path = path.strip_suffix("/*").unwrap_or(path);
        let names = match fs::read_dir(path) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => vec![PathBuf::from(path)],
        };
        let version = names.iter().find_map(|name| {
            let name = name.file_name()?.to_str()?;
            name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")
        });
        if let Some(version) = version {
            return Some(version.to_owned());
        }
    }
    None
}

/// When an acknowledged record is on stable storage, in the broker's own words.
fn durability(
    facts: &BrokerFacts,
    command: &[String],
    is_tidelog: bool,
    is_kafka: bool,
) -> Option<String> {
    let told = |key: &str| {
        let set = command
            .iter()
            .find_map(|word| Some(word.strip_prefix(key)?.strip_prefix('=')?.to_owned()));
        set.or_else(|| property(command, key))
            .or_else(|| facts.configs.get(key).cloned())
    };
    if is_tidelog {
        return Some(told("durability").unwrap_or_else(|| "flush before acknowledge".into()));
    }
    if !is_kafka {
        return None;
    }
    Some(match told("log.flush.interval.messages").as_deref() {
        None | Some("9223372036854775807") => "page cache".into(),
        Some("1") => "fsync of every append".into(),
        Some(messages) => format!("fsync every {messages} messages"),
    })
}

/// A key of the properties file that the broker was started with.
fn property(command: &[String], key: &str) -> Option<String> {
    let file = command
        .iter()
        .rev()
        .find(|word| word.ends_with(".properties"))?;
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix(key)?
            .trim_start()
            .strip_prefix('=')
    })?;
    Some(line.trim().to_owned())
}

fn data_directory(command: &[String]) -> Option<String> {
    let set = command
        .iter()
        .find_map(|word| word.strip_prefix("log.dirs=").map(str::to_owned));
    set.or_else(|| property(command, "log.dirs"))
}

/// Type and device of the file system that holds `path`.
fn file_system(path: &str) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = read("/proc/mounts");
    let (device, kind, ..) = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
            path.starts_with(Path::new(at))
                .then_some((device, kind, at.len()))
        })
        .max_by_key(|(.., length)| *length)?;
    Some(format!("{kind} on {device}"))
}

/// A time as `2026-01-31T12:00:00Z` (the algorithm for civil dates of H. Hinnant).
pub(crate) fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_785_542_400), "2026-08-01T00:00:00Z");
    }

    #[test]
    fn the_file_system_of_the_root_is_known() {
        assert!(file_system("/").is_some());
    }
}
