//! Kafka's message definitions: the JSON form, read and checked. Plain data, used by every mode of the
//! generator and by `net`'s tests, which encode messages from the definitions alone.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// An inclusive range of versions; `"none"` is the empty range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub low: i16,
    /// Last version (`i16::MAX` for "and all later").
    pub high: i16,
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self { low: 0, high: -1 };

    /// Reads `3+`, `0-5`, `2` or `none`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<i16>()
                .map_err(|_| format!("bad versions {text:?}"))
        };
        let range = match (text.strip_suffix('+'), text.split_once('-')) {
            _ if text == "none" => Self::NONE,
            (Some(low), _) => Self {
                low: number(low)?,
                high: i16::MAX,
            },
            (None, Some((low, high))) => Self {
                low: number(low)?,
                high: number(high)?,
            },
            (None, None) => Self {
                low: number(text)?,
                high: number(text)?,
            },
        };
        Ok(range)
    }

    /// Whether `version` lies in the range.
    pub fn contains(self, version: i16) -> bool {
        (self.low..=self.high).contains(&version)
    }

    /// Whether no version lies in the range.
    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// The versions in both ranges.
    pub fn intersect(self, other: Self) -> Self {
        let both = Self {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
        };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// Whether every version of `other` is in this range.
    pub fn covers(self, other: Self) -> bool {
        other.is_empty() || self.low <= other.low && other.high <= self.high
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            _ if self.is_empty() => write!(formatter, "none"),
            (low, i16::MAX) => write!(formatter, "{low}+"),
            (low, high) if low == high => write!(formatter, "{low}"),
            (low, high) => write!(formatter, "{low}-{high}"),
        }
    }
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the schema's own.
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Self {
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element))),
                None => Self::Struct(text.to_owned()),
            },
        }
    }

    /// Bytes on the wire, for types that always have the same.
    pub fn fixed_size(&self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 => Some(1),
            Self::Int16 | Self::Uint16 => Some(2),
            Self::Int32 | Self::Uint32 => Some(4),
            Self::Int64 | Self::Float64 => Some(8),
            Self::Uuid => Some(16),
            _ => None,
        }
    }

    /// The structure this type is, or is an array of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Struct(name) => write!(formatter, "{name}"),
            Self::Array(element) => write!(formatter, "[]{element}"),
            plain => write!(formatter, "{}", format!("{plain:?}").to_lowercase()),
        }
    }
}

/// One field of a structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name as in the schema (`ThrottleTimeMs`).
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Versions that have the field.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// Tag number, for a tagged field.
    pub tag: Option<u32>,
    /// Default value; empty: the type's own.
    pub default: String,
    /// Whether a value may be dropped in versions without the field.
    pub ignorable: bool,
    /// Part of the key of the collection it stands in.
    pub map_key: bool,
    /// Overrides the message's flexible versions.
    pub flexible: Option<Versions>,
    /// Fields of the structure declared in place.
    pub fields: Vec<Field>,
}

/// A structure that several fields share.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonStruct {
    /// Name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// One message definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Name (`ProduceRequest`).
    pub name: String,
    /// `request`, `response`, `header`, `metadata`, `coordinator-key`, `coordinator-value` or `data`.
    pub kind: String,
    /// API key, or record type.
    pub api_key: Option<i16>,
    /// Which listeners answer it (requests).
    pub listeners: Vec<String>,
    /// Versions that exist.
    pub versions: Versions,
    /// Versions with compact lengths and tagged fields.
    pub flexible: Versions,
    /// The last version is not released yet.
    pub latest_version_unstable: bool,
    /// Fields.
    pub fields: Vec<Field>,
    /// Shared structures.
    pub common: Vec<CommonStruct>,
}

impl Message {
    /// Reads a definition (JSON without comments).
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let common = json["commonStructs"].as_array().into_iter().flatten();
        Ok(Self {
            name: string(&json, "name")?,
            kind: string(&json, "type")?,
            api_key: json["apiKey"].as_i64().map(|key| key as i16),
            listeners: json["listeners"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            versions: Versions::parse(&string(&json, "validVersions")?)?,
            flexible: Versions::parse(json["flexibleVersions"].as_str().unwrap_or("none"))?,
            latest_version_unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
            fields: fields(&json)?,
            common: common
                .map(|one| {
                    Ok(CommonStruct {
                        name: string(one, "name")?,
                        fields: fields(one)?,
                    })
                })
                .collect::<Result<_, String>>()?,
        })
    }

    /// The fields of the structure `name`, declared in place or shared.
    pub fn struct_fields(&self, name: &str) -> Option<&[Field]> {
        fn find<'m>(fields: &'m [Field], name: &str) -> Option<&'m [Field]> {
            fields
                .iter()
                .find_map(|field| match field.ty.struct_name() {
                    Some(found) if found == name && !field.fields.is_empty() => {
                        Some(field.fields.as_slice())
                    }
                    _ => find(&field.fields, name),
                })
        }
        let shared = self
            .common
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.fields.as_slice());
        shared
            .or_else(|| find(&self.fields, name))
            .or_else(|| self.common.iter().find_map(|one| find(&one.fields, name)))
    }
}

fn string(json: &Value, key: &str) -> Result<String, String> {
    json[key]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no {key} in {json}"))
}

fn fields(json: &Value) -> Result<Vec<Field>, String> {
    json["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(field)
        .collect()
}

fn field(json: &Value) -> Result<Field, String> {
    let versions = |key: &str| json[key].as_str().map(Versions::parse).transpose();
    let default = match &json["default"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let field = Field {
        name: string(json, "name")?,
        ty: Type::parse(&string(json, "type")?),
        versions: versions("versions")?.ok_or_else(|| format!("no versions in {json}"))?,
        nullable: versions("nullableVersions")?.unwrap_or(Versions::NONE),
        tag: json["tag"].as_u64().map(|tag| tag as u32),
        default,
        ignorable: json["ignorable"].as_bool().unwrap_or(false),
        map_key: json["mapKey"].as_bool().unwrap_or(false),
        flexible: versions("flexibleVersions")?,
        fields: fields(json)?,
    };
    if field.tag.is_some() && versions("taggedVersions")? != Some(field.versions) {
        return Err(format!(
            "{}: a field that is tagged in some versions only is not supported",
            field.name
        ));
    }
    Ok(field)
}

/// Reads every definition below `folder`, by sub-folder (the part of Kafka it comes from) and name.
pub fn load(folder: &Path) -> Result<Vec<(String, Message)>, String> {
    let mut messages = Vec::new();
    for origin in sorted_entries(folder)? {
        for file in sorted_entries(&folder.join(&origin))? {
            let path = folder.join(&origin).join(&file);
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let message =
                Message::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            messages.push((origin.clone(), message));
        }
    }
    Ok(messages)
}

/// Names in a folder, sorted.
pub fn sorted_entries(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(
            entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}
