//! The table of APIs in `net/API.md`: which versions the codec knows, the broker serves, and who proved it.
//!
//! Known comes from the schemas, served from the engine's table (`ApiKey::Name` and its numbers, one API a
//! line), proven is written by hand and kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::files::api_name;
use crate::schema::Message;

const BEGIN: &str = "<!-- api table: begin (cargo run -p generator -- api-table) -->\n";
const END: &str = "<!-- api table: end -->\n";

/// The document with its table made new; `served` is the engine's source.
pub fn update(
    document: &str,
    schemas: &[(String, Message)],
    served: &str,
) -> Result<String, String> {
    let (before, rest) = document.split_once(BEGIN).ok_or("API.md has no table")?;
    let (old, after) = rest.split_once(END).ok_or("API.md's table has no end")?;
    let proven = proven(old);
    let served = served_versions(served);
    let mut requests: Vec<(i16, &Message)> = schemas
        .iter()
        .filter(|(_, message)| message.kind == "request")
        .filter_map(|(_, message)| Some((message.api_key?, message)))
        .collect();
    requests.sort_by_key(|(key, _)| *key);
    let mut table =
        String::from("| key | API | known | served | proven by |\n|---|---|---|---|---|\n");
    for (key, message) in requests {
        let name = api_name(&message.name);
        let unstable = if message.latest_version_unstable {
            " (last unreleased)"
        } else {
            ""
        };
        let served = served.get(name).map_or("", String::as_str);
        let proven = proven.get(name).map_or("", String::as_str);
        let _ = writeln!(
            table,
            "| {key} | {name} | {}{unstable} | {served} | {proven} |",
            message.versions
        );
    }
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// The last column of the table as it stands, by API.
fn proven(table: &str) -> BTreeMap<String, String> {
    let mut proven = BTreeMap::new();
    for line in table.lines().skip(2) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, _, name, _, _, by, _] = cells.as_slice() {
            proven.insert((*name).to_owned(), (*by).to_owned());
        }
    }
    proven
}

/// Versions by API: two numbers are first and last; two more are what is handled beyond what is advertised.
fn served_versions(source: &str) -> BTreeMap<String, String> {
    let mut served = BTreeMap::new();
    let table = source.split("#[cfg(test)]").next().unwrap_or_default();
    for line in table
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        let Some((_, rest)) = line.split_once("ApiKey::") else {
            continue;
        };
        let name: String = rest
            .chars()
            .take_while(|character| character.is_alphanumeric())
            .collect();
        let numbers: Vec<i16> = rest[name.len()..]
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect();
        let text = match numbers.as_slice() {
            [low, high] => format!("{low}-{high}"),
            [low, high, first, last] if (low, high) == (first, last) => format!("{low}-{high}"),
            [low, high, first, last] => format!("{low}-{high} (answers {first}-{last})"),
            _ => continue,
        };
        served.insert(name, text);
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_versions_are_read_from_the_engines_table() {
        let source = "served(ApiKey::Metadata, 0, 8),\n// ApiKey::Vote, 1, 2\n\
                      Served { key: ApiKey::Fetch, advertised: (4, 11), handled: (4, 12) },";
        let served = served_versions(source);
        assert_eq!(served["Metadata"], "0-8");
        assert_eq!(served["Fetch"], "4-11 (answers 4-12)");
        assert_eq!(served.len(), 2);
    }

    #[test]
    fn proof_written_by_hand_is_kept() {
        let table = format!(
            "head\n{BEGIN}| key | API | known | served | proven by |\n|---|---|---|---|---|\n| 3 | Metadata | x | y | kcat 1.7.1 |\n{END}tail\n"
        );
        let message = Message::parse(
            r#"{"apiKey":3,"type":"request","name":"MetadataRequest","validVersions":"0-13","fields":[]}"#,
        );
        let schemas = [("message".to_owned(), message.unwrap())];
        let document = update(&table, &schemas, "").unwrap();
        assert!(
            document.contains("| 3 | Metadata | 0-13 |  | kcat 1.7.1 |\n"),
            "{document}"
        );
        assert!(document.starts_with("head\n") && document.ends_with("tail\n"));
    }
}
