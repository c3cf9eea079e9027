//! The data directory as a whole: whose it is, and whether it was closed cleanly.
//!
//! `meta.properties` has Kafka's keys and form. Invariant: a directory that is not ours, or of a version we do not
//! know, is refused before anything in it is changed (RELIABILITY R12).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use net::platform::Runtime;
use tuning::BrokerConfig;

use crate::cluster::MetadataImage;
use crate::log::{StoppedShard, StorageError};
use crate::platform::Disk;

/// Kafka's description of a data directory.
const META_PROPERTIES: &str = "meta.properties";
/// The same with a checksum: `meta.properties` has none.
const META_COPY: &str = "tidelog/meta.properties";
const META_BYTES_MAX: usize = 64 * 1024;
const META_VERSION: &str = "1";
/// Written last by a clean stop; Kafka then trusts the segments.
const CLEAN_MARK: &str = ".kafka_cleanshutdown";
/// Where everything of our own lies.
const OWN_DIRECTORY: &str = "tidelog";
/// What only Kafka itself leaves in a data directory.
const KAFKAS_OWN: &str = "__cluster_metadata-0";

/// What `meta.properties` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster.
    pub cluster_id: String,
    /// The node.
    pub node_id: i32,
    /// The directory.
    pub directory_id: String,
    /// What was wrong with the file or its copy when it was read; repaired.
    pub findings: Vec<String>,
}

impl MetaProperties {
    /// The directory's id as bytes; all zero if it is not one of Kafka's ids.
    #[must_use]
    pub fn directory_id_bytes(&self) -> [u8; 16] {
        from_base64(&self.directory_id)
            .unwrap_or_default()
            .to_be_bytes()
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// The operating system refused.
    #[error("data directory, {file}: {source}")]
    Io {
        /// What was used.
        file: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// It belongs to another node, cluster, version or program.
    #[error("data directory: {0}")]
    NotOurs(String),
}

fn failed(file: &'static str) -> impl Fn(io::Error) -> DataDirectoryError {
    move |source| DataDirectoryError::Io { file, source }
}

/// Reads who the directory belongs to, or makes it ours if it is new.
pub async fn open(
    disk: &Disk,
    runtime: &Runtime,
    broker: &BrokerConfig,
) -> Result<MetaProperties, DataDirectoryError> {
    let file = read_small(disk, META_PROPERTIES).await?;
    let copy = read_small(disk, META_COPY).await?;
    let Some(found) = settle(file.as_deref(), copy.as_deref())? else {
        return format(disk, runtime, broker).await;
    };
    if found.node_id != broker.node_id() {
        return Err(DataDirectoryError::NotOurs(format!(
            "it belongs to node {}, this node is {}; set node.id={} or another log.dirs",
            found.node_id,
            broker.node_id(),
            found.node_id
        )));
    }
    if let Some(wanted) = broker.cluster_id()
        && wanted != found.cluster_id
    {
        return Err(DataDirectoryError::NotOurs(format!(
            "it belongs to cluster {}, cluster.id says {wanted}; remove cluster.id or set another log.dirs",
            found.cluster_id
        )));
    }
    if disk.exists(KAFKAS_OWN).await.map_err(failed(KAFKAS_OWN))? {
        return Err(DataDirectoryError::NotOurs(
            "it is a data directory of Apache Kafka; start on a fresh log.dirs and bring partitions over with \
             `tidelog log import`"
                .to_owned(),
        ));
    }
    make_own_directory(disk).await?;
    if file.as_deref() != Some(render(&found).as_bytes()) && !found.findings.is_empty() {
        write_meta(disk, META_PROPERTIES, &render(&found)).await?;
    }
    if copy.as_deref() != Some(render_copy(&found).as_bytes()) {
        write_meta(disk, META_COPY, &render_copy(&found)).await?;
    }
    Ok(found)
}

async fn read_small(
    disk: &Disk,
    path: &'static str,
) -> Result<Option<Vec<u8>>, DataDirectoryError> {
    match disk.read_small(path, META_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

async fn write_meta(disk: &Disk, path: &'static str, text: &str) -> Result<(), DataDirectoryError> {
    disk.write_small(path, text.as_bytes())
        .await
        .map_err(failed(path))
}

/// What `meta.properties` and its copy say together; `None` if there is neither. Kafka's file has no checksum, its copy
/// has one: where they differ and the checksum holds, the copy is right, so that no flipped bit gives the directory to
/// another node or keeps it from starting.
fn settle(
    file: Option<&[u8]>,
    copy: Option<&[u8]>,
) -> Result<Option<MetaProperties>, DataDirectoryError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let of_file = file.map(|bytes| parse(&text(bytes)));
    let of_copy = copy.map(|bytes| parse_copy(&text(bytes)));
    match (of_file, of_copy) {
        (None, None | Some(Err(_))) => Ok(None),
        (Some(Ok(found)), Some(Ok(copy))) if found == copy => Ok(Some(found)),
        (Some(Ok(mut found)), copy) if !matches!(copy, Some(Ok(_))) => {
            if copy.is_some() {
                let finding = format!("{META_COPY}: damaged, made again");
                found.findings.push(finding);
            }
            Ok(Some(found))
        }
        (_, Some(Ok(mut found))) => {
            let finding = format!(
                "{META_PROPERTIES}: missing, damaged or changed, written again from {META_COPY} (remove that one first to \
                 change the other)"
            );
            found.findings.push(finding);
            Ok(Some(found))
        }
        (Some(Err(problem)), _) => Err(DataDirectoryError::NotOurs(problem)),
        (Some(Ok(found)), _) => Ok(Some(found)),
    }
}

async fn format(
    disk: &Disk,
    runtime: &Runtime,
    broker: &BrokerConfig,
) -> Result<MetaProperties, DataDirectoryError> {
    let meta = MetaProperties {
        cluster_id: broker.cluster_id().unwrap_or_else(|| random_id(runtime)),
        node_id: broker.node_id(),
        directory_id: random_id(runtime),
        findings: Vec::new(),
    };
    make_own_directory(disk).await?;
    write_meta(disk, META_COPY, &render_copy(&meta)).await?;
    write_meta(disk, META_PROPERTIES, &render(&meta)).await?;
    Ok(meta)
}

async fn make_own_directory(disk: &Disk) -> Result<(), DataDirectoryError> {
    disk.create_directory(OWN_DIRECTORY)
        .await
        .map_err(failed(OWN_DIRECTORY))?;
    disk.sync_directory("").await.map_err(failed(OWN_DIRECTORY))
}

fn render(meta: &MetaProperties) -> String {
    let MetaProperties {
        cluster_id,
        node_id,
        directory_id,
        ..
    } = meta;
    format!(
        "#\nnode.id={node_id}\ndirectory.id={directory_id}\nversion={META_VERSION}\ncluster.id={cluster_id}\n"
    )
}

/// The same with a last line that holds a CRC-32C of everything before it.
fn render_copy(meta: &MetaProperties) -> String {
    let text = render(meta);
    let checksum = crc32c::crc32c(text.as_bytes());
    format!("{text}#{checksum:08x}\n")
}

fn parse_copy(text: &str) -> Result<MetaProperties, String> {
    let found = parse(text)?;
    let whole = render_copy(&found) == text;
    whole
        .then_some(found)
        .ok_or_else(|| "its checksum does not hold".to_owned())
}

fn parse(text: &str) -> Result<MetaProperties, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let values: BTreeMap<&str, &str> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let value = |key: &str| {
        values
            .get(key)
            .copied()
            .ok_or_else(|| format!("{META_PROPERTIES} has no {key}"))
    };
    let version = value("version")?;
    if version != META_VERSION {
        return Err(format!(
            "{META_PROPERTIES} has version {version}, this program knows {META_VERSION}"
        ));
    }
    let node_id = value("node.id")?;
    Ok(MetaProperties {
        cluster_id: value("cluster.id")?.to_owned(),
        node_id: node_id
            .parse()
            .map_err(|_| format!("{META_PROPERTIES}: node.id={node_id} is not a number"))?,
        directory_id: values
            .get("directory.id")
            .copied()
            .unwrap_or_default()
            .to_owned(),
        findings: Vec::new(),
    })
}

/// 16 random bytes as Kafka writes its ids: url-safe base64 without padding.
fn random_id(runtime: &Runtime) -> String {
    let value = (u128::from(runtime.random_u64()) << 64) | u128::from(runtime.random_u64());
    base64(value)
}

fn base64(value: u128) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 22 digits of 6 bits: 128 bits and 4 zero bits at the end.
    let digit = |index: u32| {
        let bits = if index < 21 {
            value >> (122 - 6 * index)
        } else {
            value << 4
        };
        char::from(DIGITS[usize::try_from(bits & 63).expect("six bits")])
    };
    (0..22).map(digit).collect()
}

fn from_base64(text: &str) -> Option<u128> {
    let digits = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    });
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let (last, first) = digits.split_last()?;
    let high = first
        .iter()
        .fold(0_u128, |value, digit| (value << 6) | u128::from(*digit));
    (digits.len() == 22).then(|| (high << 2) | u128::from(last >> 4))
}

/// A start takes the clean mark away before it appends anything (STORAGE C12b).
pub async fn remove_clean_mark(disk: &Disk) -> Result<(), DataDirectoryError> {
    if disk.exists(CLEAN_MARK).await.map_err(failed(CLEAN_MARK))? {
        disk.remove_file(CLEAN_MARK)
            .await
            .map_err(failed(CLEAN_MARK))?;
        disk.sync_directory("").await.map_err(failed(CLEAN_MARK))?;
    }
    Ok(())
}

/// Kafka's four node-wide checkpoints, then the clean mark.
pub async fn mark_clean(
    disk: &Disk,
    image: &MetadataImage,
    stopped: &[StoppedShard],
) -> Result<(), StorageError> {
    let mut log_starts = BTreeMap::new();
    let mut ends = BTreeMap::new();
    let mut cleaned = BTreeMap::new();
    for partition in stopped.iter().flat_map(|shard| &shard.partitions) {
        let Some(topic) = image.topic_by_id(partition.id.topic_id) else {
            continue;
        };
        let key = (topic.name.to_string(), partition.id.index);
        if partition.offsets.log_start().0 > 0 {
            log_starts.insert(key.clone(), partition.offsets.log_start().0);
        }
        if let Some(first_dirty) = partition.first_dirty {
            cleaned.insert(key.clone(), first_dirty.0);
        }
        ends.insert(key, partition.offsets.high_watermark().0);
    }
    write(
        disk,
        "log-start-offset-checkpoint",
        &offset_checkpoint(&log_starts),
    )
    .await?;
    write(
        disk,
        "recovery-point-offset-checkpoint",
        &offset_checkpoint(&ends),
    )
    .await?;
    write(
        disk,
        "replication-offset-checkpoint",
        &offset_checkpoint(&ends),
    )
    .await?;
    write(
        disk,
        "cleaner-offset-checkpoint",
        &offset_checkpoint(&cleaned),
    )
    .await?;
    let mark = format!("{{\"version\":0,\"brokerEpoch\":{}}}", image.broker_epoch);
    write(disk, CLEAN_MARK, &mark).await
}

async fn write(disk: &Disk, file: &'static str, text: &str) -> Result<(), StorageError> {
    disk.write_small(file, text.as_bytes())
        .await
        .map_err(|source| StorageError::io(file, source))
}

/// Kafka's form: version 0, number of entries, then `topic partition offset` lines.
fn offset_checkpoint(offsets: &BTreeMap<(String, i32), i64>) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            assert_eq!(from_base64(&base64(value)), Some(value));
        }
        assert_eq!(from_base64("d"), None);
    }

    #[test]
    fn meta_properties_are_read_back_and_other_versions_refused() {
        let meta = MetaProperties {
            cluster_id: "c".into(),
            node_id: 3,
            directory_id: "d".into(),
            findings: Vec::new(),
        };
        assert_eq!(parse(&render(&meta)), Ok(meta.clone()));
        let newer = render(&meta).replace("version=1", "version=2");
        assert!(parse(&newer).is_err_and(|error| error.contains("version 2")));
        assert!(parse("version=1\nnode.id=1\n").is_err());
    }

    #[test]
    fn a_copy_that_holds_overrules_the_file_and_nothing_else_does() {
        let meta = MetaProperties {
            cluster_id: "c".into(),
            node_id: 1,
            directory_id: "d".into(),
            findings: Vec::new(),
        };
        let (file, copy) = (render(&meta).into_bytes(), render_copy(&meta).into_bytes());
        let settled = |file: Option<&[u8]>, copy: Option<&[u8]>| settle(file, copy).ok().flatten();
        assert_eq!(settled(Some(&file), Some(&copy)), Some(meta.clone()));
        assert_eq!(settled(Some(&file), None), Some(meta.clone()));
        assert_eq!(settled(None, None), None);
        for at in 0..copy.len() {
            let mut bad = copy.clone();
            bad[at] ^= 1;
            let found = settled(Some(&file), Some(&bad)).expect("the file is good");
            assert_eq!((found.node_id, found.findings.len()), (1, 1), "byte {at}");
        }
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            let found = settled(Some(&bad), Some(&copy)).expect("the copy is good");
            assert_eq!(
                (found.node_id, found.cluster_id.as_str()),
                (1, "c"),
                "byte {at}"
            );
        }
        assert!(settle(Some(b"damaged"), Some(b"too")).is_err());
    }

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        assert_eq!(base64(0), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64(u128::MAX), "_____________________w");
        assert_eq!(base64(1), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn an_offset_checkpoint_is_kafkas() {
        let offsets = BTreeMap::from([(("a".to_owned(), 0), 5), (("b".to_owned(), 1), 7)]);
        assert_eq!(offset_checkpoint(&offsets), "0\n2\na 0 5\nb 1 7\n");
    }
}
