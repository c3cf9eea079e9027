//! How `tidelog consume` prints a record: text with `%` fields. Pure.

use net::records::Record;
use serde_json::{Value, json};

/// A parsed `--format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(Field),
    /// Everything, as a JSON object on a line of its own.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

impl Template {
    /// Parses a format: `%t %p %o %T %k %K %v %V %h` and `%%`, `\n \t \r \0 \\`; or the word `json`.
    pub(super) fn parse(format: &str) -> Result<Template, String> {
        if format == "json" {
            return Ok(Template {
                pieces: vec![Piece::Json],
            });
        }
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => text.push(escape(letters.next())?),
                '%' => match letters.next() {
                    Some('%') => text.push(b'%'),
                    name => {
                        let field = field(name)?;
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Piece::Field(field));
                    }
                },
                other => text.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template { pieces })
    }

    /// Appends the record to `out`. What is null prints nothing, and its length is −1.
    pub(super) fn print(
        &self,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
        out: &mut Vec<u8>,
    ) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field(Field::Topic) => out.extend_from_slice(topic.as_bytes()),
                Piece::Field(Field::Partition) => number(out, i64::from(partition)),
                Piece::Field(Field::Offset) => number(out, record.offset),
                Piece::Field(Field::Timestamp) => number(out, record.timestamp),
                Piece::Field(Field::Key) => out.extend_from_slice(record.key.unwrap_or_default()),
                Piece::Field(Field::KeyLength) => number(out, length(record.key)),
                Piece::Field(Field::Value) => {
                    out.extend_from_slice(record.value.unwrap_or_default())
                }
                Piece::Field(Field::ValueLength) => number(out, length(record.value)),
                Piece::Field(Field::Headers) => headers(out, record),
                Piece::Json => json(topic, partition, record, out),
            }
        }
    }
}

fn escape(letter: Option<char>) -> Result<u8, String> {
    match letter {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some(other) => Err(format!("\\{other} is none of \\n \\t \\r \\0 \\\\")),
        None => Err("a lone \\ at the end; write \\\\ for it".to_owned()),
    }
}

fn field(name: Option<char>) -> Result<Field, String> {
    Ok(match name {
        Some('t') => Field::Topic,
        Some('p') => Field::Partition,
        Some('o') => Field::Offset,
        Some('T') => Field::Timestamp,
        Some('k') => Field::Key,
        Some('K') => Field::KeyLength,
        // kcat's letters for it, too.
        Some('v' | 's') => Field::Value,
        Some('V' | 'S') => Field::ValueLength,
        Some('h') => Field::Headers,
        Some(other) => {
            return Err(format!(
                "%{other} is none of %t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %v value, \
                 %V its length, %h headers, %%"
            ));
        }
        None => return Err("a lone % at the end; write %% for it".to_owned()),
    })
}

fn number(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(value.to_string().as_bytes());
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

fn json(topic: &str, partition: i32, record: &Record<'_>, out: &mut Vec<u8>) {
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!({"key": String::from_utf8_lossy(name), "value": text(*value)}))
        .collect();
    let object = json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "value": text(record.value),
        "headers": headers,
    });
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

fn headers(out: &mut Vec<u8>, record: &Record<'_>) {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: &str) -> String {
        let record = Record {
            offset: 5,
            timestamp: 1_700_000_000_000,
            sequence: -1,
            key: None,
            value: Some(b"v\xff"),
            headers: vec![(b"a", Some(b"1")), (b"b", None)],
        };
        let mut out = Vec::new();
        Template::parse(format)
            .expect("a good format")
            .print("t", 3, &record, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_field_is_printed() {
        assert_eq!(printed("%t-%p@%o %T"), "t-3@5 1700000000000");
        assert_eq!(printed("[%k] %K %v %V\\n"), "[] -1 v\u{fffd} 2\n");
        assert_eq!(printed("%s|%S"), "v\u{fffd}|2");
        assert_eq!(
            printed("json"),
            "{\"topic\":\"t\",\"partition\":3,\"offset\":5,\"timestamp\":1700000000000,\"key\":null,\"value\":\"v\u{fffd}\",\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":null}]}\n"
        );
        assert_eq!(printed("%h ä%%\\t\\\\"), "a=1,b= ä%\t\\");
    }

    #[test]
    fn a_bad_format_is_refused_with_what_is_known() {
        for (format, said) in [
            ("%x", "%k key"),
            ("a%", "%%"),
            ("\\q", "\\t"),
            ("\\", "\\\\"),
        ] {
            let problem = Template::parse(format).expect_err("a bad format");
            assert!(problem.contains(said), "{format}: {problem}");
        }
    }
}
