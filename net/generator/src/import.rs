//! Brings Apache Kafka's definitions into `net/schemas`: names, types, versions, tags and defaults only, at
//! the level of Kafka 4.3.1. Comments and documentation texts stay behind.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::schema::sorted_entries;

/// Keys that are kept, in the order in which they are written.
const MESSAGE_KEYS: [&str; 7] = [
    "apiKey",
    "type",
    "listeners",
    "name",
    "validVersions",
    "flexibleVersions",
    "latestVersionUnstable",
];
const FIELD_KEYS: [&str; 10] = [
    "name",
    "type",
    "versions",
    "nullableVersions",
    "taggedVersions",
    "tag",
    "flexibleVersions",
    "default",
    "ignorable",
    "mapKey",
];

/// Messages of later Kafka versions.
const NOT_IN_LEVEL: [&str; 6] = [
    "StreamsGroupTopologyDescriptionUpdateRequest",
    "StreamsGroupTopologyDescriptionUpdateResponse",
    "UnregisterControllerRequest",
    "UnregisterControllerResponse",
    "UnregisterControllerRecord",
    "AbortedTxn",
];

/// Versions of later Kafka versions: API and its last version in 4.3.1.
const LAST_VERSIONS: [(&str, i64); 5] = [
    ("ApiVersions", 4),
    ("DeleteGroups", 2),
    ("StreamsGroupDescribe", 0),
    ("StreamsGroupHeartbeat", 0),
    ("TxnOffsetCommit", 5),
];

/// Fields that 4.3.1 does not have, or names otherwise (message, field, its name; empty: removed).
const FIELDS: [(&str, &str, &str); 5] = [
    (
        "StreamsGroupMetadataValue",
        "StoredDescriptionTopologyEpoch",
        "",
    ),
    (
        "StreamsGroupMetadataValue",
        "FailedDescriptionTopologyEpoch",
        "",
    ),
    (
        "TxnOffsetCommitRequest",
        "GenerationIdOrMemberEpoch",
        "GenerationId",
    ),
    ("StreamsGroupHeartbeatResponse", "AcceptableRecoveryLag", ""),
    (
        "StreamsGroupHeartbeatResponse",
        "AcceptableRecoveryLagLegacy",
        "AcceptableRecoveryLag",
    ),
];

/// Imports every definition below `from` (one sub-folder per part of Kafka) into `to`.
pub fn import(from: &Path, to: &Path) -> Result<usize, String> {
    let mut count = 0;
    for origin in sorted_entries(from)? {
        let folder = to.join(&origin);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for file in sorted_entries(&from.join(&origin))? {
            let path = from.join(&origin).join(&file);
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            if let Some(json) =
                definition(&text).map_err(|error| format!("{}: {error}", path.display()))?
            {
                fs::write(folder.join(&file), json).map_err(|error| error.to_string())?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// One definition as we keep it, or nothing if 4.3.1 does not have it (or has no version of it left).
fn definition(text: &str) -> Result<Option<String>, String> {
    let json: Value =
        serde_json::from_str(&without_comments(text)).map_err(|error| error.to_string())?;
    let Value::Object(mut message) = json else {
        return Err("not an object".into());
    };
    let name = message["name"].as_str().unwrap_or_default().to_owned();
    if NOT_IN_LEVEL.contains(&name.as_str()) || message["validVersions"] == "none" {
        return Ok(None);
    }
    let api = name
        .trim_end_matches("Request")
        .trim_end_matches("Response");
    if let Some((_, last)) = LAST_VERSIONS.iter().find(|(known, _)| *known == api) {
        let first = message["validVersions"]
            .as_str()
            .and_then(|text| text.split('-').next())
            .unwrap_or("0")
            .to_owned();
        let range = if first == last.to_string() {
            first
        } else {
            format!("{first}-{last}")
        };
        message["validVersions"] = range.into();
    }
    let valid =
        crate::schema::Versions::parse(message["validVersions"].as_str().unwrap_or_default())?;
    let mut out = String::from("{\n");
    for key in MESSAGE_KEYS {
        match message.get(key) {
            Some(Value::Bool(false)) | None => {}
            Some(value) => _ = writeln!(out, "  \"{key}\": {value},"),
        }
    }
    out.push_str("  \"fields\": [");
    write_fields(&mut out, &name, valid, &message["fields"], 2)?;
    out.push(']');
    let mut shared = Vec::new();
    for one in message
        .get("commonStructs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mut text = format!(
            "\n    {{ \"name\": {}, \"versions\": {}, \"fields\": [",
            one["name"], one["versions"]
        );
        write_fields(&mut text, &name, valid, &one["fields"], 4)?;
        text.push_str("] }");
        shared.push((one["name"].as_str().unwrap_or_default(), text));
    }
    let used = used_structures(&out, &shared);
    if !used.is_empty() {
        let _ = write!(out, ",\n  \"commonStructs\": [{}\n  ]", used.join(","));
    }
    out.push_str("\n}\n");
    Ok(Some(out))
}

/// The shared structures that `fields` names, directly or through each other (a later version's structures
/// go with its fields).
fn used_structures(fields: &str, shared: &[(&str, String)]) -> Vec<String> {
    let names = |text: &str, name: &str| {
        text.contains(&format!("\"type\": \"{name}\""))
            || text.contains(&format!("\"type\": \"[]{name}\""))
    };
    let mut used: Vec<bool> = shared.iter().map(|(name, _)| names(fields, name)).collect();
    for _ in 0..shared.len() {
        for index in 0..shared.len() {
            let by_other = (0..shared.len())
                .any(|other| used[other] && names(&shared[other].1, shared[index].0));
            used[index] |= by_other;
        }
    }
    shared
        .iter()
        .zip(used)
        .filter(|(_, used)| *used)
        .map(|((_, text), _)| text.clone())
        .collect()
}

fn write_fields(
    out: &mut String,
    message: &str,
    valid: crate::schema::Versions,
    fields: &Value,
    indent: usize,
) -> Result<(), String> {
    let mut first = true;
    for field in fields.as_array().into_iter().flatten() {
        let mut field = field.as_object().ok_or("field is not an object")?.clone();
        if !field.contains_key("versions") {
            field.insert("versions".into(), field["taggedVersions"].clone());
        }
        let rule = FIELDS
            .iter()
            .find(|(of, name, _)| *of == message && field["name"] == *name);
        match rule {
            Some((_, _, "")) => continue,
            Some((_, _, renamed)) => field["name"] = (*renamed).into(),
            None => {}
        }
        let versions =
            crate::schema::Versions::parse(field["versions"].as_str().unwrap_or_default())?;
        if versions.intersect(valid).is_empty() {
            continue;
        }
        let _ = write!(out, "{}\n{:indent$}  {{ ", if first { "" } else { "," }, "");
        first = false;
        let mut comma = "";
        for key in FIELD_KEYS {
            match field.get(key) {
                Some(Value::Null | Value::Bool(false)) | None => {}
                Some(value) => {
                    let _ = write!(out, "{comma}\"{key}\": {value}");
                    comma = ", ";
                }
            }
        }
        if let Some(nested) = field.get("fields") {
            out.push_str(", \"fields\": [");
            write_fields(out, message, valid, nested, indent + 2)?;
            out.push(']');
        }
        out.push_str(" }");
    }
    Ok(())
}

/// Removes `//` comments that stand outside strings.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut end = line.len();
        for (index, character) in line.char_indices() {
            match character {
                '"' => in_string = !in_string,
                '/' if !in_string && line[index..].starts_with("//") => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}
