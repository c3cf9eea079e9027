//! `meta.properties`, `partition.metadata` and `.kafka_cleanshutdown`.

use crate::log::error::FormatError;
use crate::types::TopicId;

/// Identity of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// Cluster id as Kafka writes it (22 characters of URL-safe base64).
    pub cluster_id: String,
    /// The node's number.
    pub node_id: i32,
    /// Id of this directory, written like the cluster id.
    pub directory_id: String,
}

impl MetaProperties {
    /// The file; Kafka's has two comment lines (an empty one and the date) in front, which say nothing.
    pub fn encode(&self) -> String {
        format!(
            "#\nnode.id={}\ndirectory.id={}\nversion=1\ncluster.id={}\n",
            self.node_id, self.directory_id, self.cluster_id
        )
    }

    /// Reads the file; other keys are ignored as Kafka ignores them.
    pub fn decode(file: &[u8]) -> Result<MetaProperties, FormatError> {
        const FILE: &str = "meta.properties";
        let text = std::str::from_utf8(file).map_err(|_| malformed(FILE, "not text"))?;
        let value = |key: &str| {
            text.lines()
                .filter(|line| !line.starts_with(['#', '!']))
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().to_owned())
        };
        let version: i64 = value("version")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| malformed(FILE, "no version"))?;
        if version != 1 {
            return Err(FormatError::UnknownVersion {
                file: FILE,
                version,
            });
        }
        Ok(MetaProperties {
            cluster_id: value("cluster.id").ok_or_else(|| malformed(FILE, "no cluster.id"))?,
            node_id: value("node.id")
                .and_then(|value| value.parse().ok())
                .ok_or_else(|| malformed(FILE, "no node.id"))?,
            directory_id: value("directory.id")
                .ok_or_else(|| malformed(FILE, "no directory.id"))?,
        })
    }
}

/// `partition.metadata`: which incarnation of its topic a partition directory belongs to. Kafka ends it without a
/// newline.
pub fn encode_partition_metadata(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", encode_topic_id(id))
}

/// Reads `partition.metadata`.
pub fn decode_partition_metadata(file: &[u8]) -> Result<TopicId, FormatError> {
    const FILE: &str = "partition.metadata";
    let text = std::str::from_utf8(file).map_err(|_| malformed(FILE, "not text"))?;
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.trim())
    };
    let version: i64 = value("version")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| malformed(FILE, "no version"))?;
    if version != 0 {
        return Err(FormatError::UnknownVersion {
            file: FILE,
            version,
        });
    }
    value("topic_id")
        .and_then(decode_topic_id)
        .ok_or_else(|| malformed(FILE, "no topic id"))
}

/// The mark of a clean stop: `{"version":0,"brokerEpoch":22}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// Epoch under which the broker was registered when it stopped; −1 if unknown.
    pub broker_epoch: i64,
}

impl CleanShutdown {
    /// The file.
    pub fn encode(&self) -> String {
        format!("{{\"version\":0,\"brokerEpoch\":{}}}", self.broker_epoch)
    }

    /// Reads the file. Older brokers left it empty.
    pub fn decode(file: &[u8]) -> Result<CleanShutdown, FormatError> {
        const FILE: &str = ".kafka_cleanshutdown";
        let text = std::str::from_utf8(file)
            .map_err(|_| malformed(FILE, "not text"))?
            .trim();
        if text.is_empty() {
            return Ok(CleanShutdown { broker_epoch: -1 });
        }
        let fields = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .ok_or_else(|| malformed(FILE, "not an object"))?;
        let value = |key: &str| {
            fields
                .split(',')
                .filter_map(|field| field.split_once(':'))
                .find(|(name, _)| name.trim().trim_matches('"') == key)
                .and_then(|(_, value)| value.trim().parse::<i64>().ok())
        };
        match value("version") {
            Some(0) => Ok(CleanShutdown {
                broker_epoch: value("brokerEpoch").unwrap_or(-1),
            }),
            Some(version) => Err(FormatError::UnknownVersion {
                file: FILE,
                version,
            }),
            None => Err(malformed(FILE, "no version")),
        }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic id (or any of Kafka's ids) in Kafka's spelling: URL-safe base64 without padding, 22 characters.
pub fn encode_topic_id(id: TopicId) -> String {
    let number = u128::from_be_bytes(id.0);
    // 22 characters hold 132 bits: the last one ends in four zero bits.
    (0..22)
        .map(|index| {
            let bits = if index < 21 {
                (number >> (122 - 6 * index)) & 63
            } else {
                (number << 4) & 63
            };
            char::from(ALPHABET[bits as usize])
        })
        .collect()
}

/// Reads an id in Kafka's spelling.
pub fn decode_topic_id(text: &str) -> Option<TopicId> {
    if text.len() != 22 {
        return None;
    }
    let mut number = 0u128;
    for (index, character) in text.bytes().enumerate() {
        let bits = ALPHABET.iter().position(|letter| *letter == character)? as u128;
        number = if index < 21 {
            number << 6 | bits
        } else {
            number << 2 | bits >> 4
        };
    }
    Some(TopicId(number.to_be_bytes()))
}

fn malformed(file: &'static str, problem: &str) -> FormatError {
    FormatError::Malformed {
        file,
        problem: problem.to_owned(),
    }
}
