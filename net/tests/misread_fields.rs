//! Every field of every captured frame has the value that Kafka's own classes read.
//!
//! `golden/decoded/*.jsonl` is Kafka's JSON of the frames in `golden/wire`. Ours is compared through its debug
//! form, so that no field can be left out of the comparison.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use generator::names::snake_case;
use net::messages::{
    ApiKey, Request, RequestHeader, Response, ResponseHeader, request_header_version,
    response_header_version,
};
use net::wire::Reader;
use serde_json::Value;

/// A value in its debug form.
#[derive(Debug)]
enum Shown {
    Nothing,
    Structure(BTreeMap<String, Shown>),
    List(Vec<Shown>),
    Text(String),
    Scalar(String),
}

/// Reads the output of `{:?}`.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let is_word = |c: char| c.is_alphanumeric() || "_.-#".contains(c);
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn value(&mut self) -> Shown {
        if self.skip("[") {
            let mut list = Vec::new();
            while !self.skip("]") {
                list.push(self.value());
                self.skip(",");
            }
            return Shown::List(list);
        }
        if self.skip("\"") {
            return Shown::Text(self.text());
        }
        let word = self.word();
        assert!(!word.is_empty(), "cannot read {:?}", self.rest);
        if self.rest.starts_with(" {") {
            self.skip("{");
            let mut fields = BTreeMap::new();
            while !self.skip("}") {
                let name = self.word();
                assert!(self.skip(":"));
                fields.insert(name, self.value());
                self.skip(",");
            }
            return Shown::Structure(fields);
        }
        if self.rest.starts_with('(') {
            self.skip("(");
            let value = self.value();
            assert!(self.skip(")"));
            return value;
        }
        if word == "None" {
            Shown::Nothing
        } else {
            Shown::Scalar(word)
        }
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return text;
                }
                '\\' => match characters.next().unwrap().1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text.push('\0'),
                    'u' => {
                        let hex: String = characters
                            .by_ref()
                            .map(|(_, c)| c)
                            .skip(1)
                            .take_while(|c| *c != '}')
                            .collect();
                        text.push(char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap());
                    }
                    plain => text.push(plain),
                },
                plain => text.push(plain),
            }
        }
        panic!("string without end");
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for character in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6
            | alphabet
                .iter()
                .position(|known| *known == character)
                .unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Compares Kafka's value with ours; counts the scalars compared.
fn compare(path: &str, theirs: &Value, ours: &Shown, compared: &mut usize) {
    *compared += 1;
    match (theirs, ours) {
        (Value::Null, Shown::Nothing) => {}
        (Value::Object(object), Shown::Structure(fields)) => {
            for (key, value) in object {
                let inner = format!("{path}.{key}");
                if let Some(name) = key.strip_suffix("SizeInBytes") {
                    let Shown::List(bytes) = &fields[&snake_case(name)] else {
                        panic!("{inner}: not bytes")
                    };
                    assert_eq!(value.as_u64(), Some(bytes.len() as u64), "{inner}");
                } else {
                    let field = fields
                        .get(&snake_case(key))
                        .unwrap_or_else(|| panic!("{inner}: no such field"));
                    compare(&inner, value, field, compared);
                }
            }
        }
        (Value::Array(values), Shown::List(list)) => {
            assert_eq!(values.len(), list.len(), "{path}");
            for (index, (value, shown)) in values.iter().zip(list).enumerate() {
                compare(&format!("{path}[{index}]"), value, shown, compared);
            }
        }
        (Value::String(text), Shown::Text(shown) | Shown::Scalar(shown)) => {
            assert_eq!(text, shown, "{path}")
        }
        (Value::String(text), Shown::List(list)) => {
            let byte = |shown: &Shown| match shown {
                Shown::Scalar(number) => number.parse::<u8>().unwrap(),
                other => panic!("{path}: {other:?}"),
            };
            assert_eq!(
                from_base64(text),
                list.iter().map(byte).collect::<Vec<u8>>(),
                "{path}"
            );
        }
        (Value::Bool(value), Shown::Scalar(shown)) => {
            assert_eq!(&value.to_string(), shown, "{path}")
        }
        (Value::Number(number), Shown::Scalar(shown)) => {
            let same = number.to_string() == *shown
                || number.as_f64() == shown.parse().ok() && number.is_f64();
            assert!(same, "{path}: {number} is {shown}");
        }
        _ => panic!("{path}: {theirs} is {ours:?}"),
    }
}

fn lines(folder: &str, name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder)
        .join(name);
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Header and body of a captured frame in their debug form.
fn shown(frame: &Value) -> (Shown, Shown) {
    let hex = frame["hex"].as_str().unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let key = ApiKey::from_code(frame["api_key"].as_i64().unwrap() as i16).unwrap();
    let version = frame["api_version"].as_i64().unwrap() as i16;
    let mut reader = Reader::new(&bytes);
    let (header, body) = if frame["direction"] == "request" {
        let header =
            RequestHeader::decode(&mut reader, request_header_version(key, version)).unwrap();
        (
            format!("{header:?}"),
            format!("{:?}", Request::decode(key, version, &mut reader).unwrap()),
        )
    } else {
        let header =
            ResponseHeader::decode(&mut reader, response_header_version(key, version)).unwrap();
        (
            format!("{header:?}"),
            format!("{:?}", Response::decode(key, version, &mut reader).unwrap()),
        )
    };
    (
        Parser { rest: &header }.value(),
        Parser { rest: &body }.value(),
    )
}

#[test]
fn every_field_of_every_captured_frame_is_what_kafka_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    let (mut frames, mut compared) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let decoded = lines("decoded", &name);
        for frame in lines("wire", &name) {
            let theirs = decoded
                .iter()
                .find(|decoded| decoded["seq"] == frame["seq"])
                .unwrap();
            assert_eq!(theirs["body_version"], frame["api_version"]);
            let (header, body) = shown(&frame);
            let path = format!(
                "{name} seq {} {} {}",
                frame["seq"], frame["api_name"], frame["direction"]
            );
            compare(&path, &theirs["header"], &header, &mut compared);
            compare(&path, &theirs["body"], &body, &mut compared);
            frames += 1;
        }
    }
    assert_eq!(frames, 1835);
    assert!(compared > 30_000, "only {compared} values compared");
}
