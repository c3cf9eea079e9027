//! `tidelog produce`: lines become records, records become batches, batches go to the leaders of their partitions.
//!
//! Invariant: a batch is sent again only after an answer that says it was not written, so nothing is doubled; of a
//! batch that was never answered the command says so and fails. At most one request per leader is under way.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::mpsc;

use bytes::Bytes;
use clap::Args;
use net::cluster::{Cluster, Connection, Topic, partition_of_key};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;
use net::records::{BatchBuilder, Compression};
use net::wire::{Records, Uuid};

use super::{
    ConnectArguments, Failure, Outcome, PATIENCE, RETRY_PAUSE, error_name, error_text,
    is_stale_metadata, topic_with_leaders,
};

/// Bytes of a batch before compression; brokers refuse more than 1 MiB by default.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// What is read before it is sent.
const CHUNK_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;
/// Longest line: a broker takes no larger request by default.
const LINE_BYTES_MAX: usize = 100 << 20;

/// What to send and how.
#[derive(Debug, Clone, Args)]
pub struct ProduceArguments {
    /// Topic to write to; the broker may create it.
    #[arg(required_unless_present = "flagged")]
    topic: Option<String>,
    /// The same, as Kafka's tools want it.
    #[arg(long = "topic", value_name = "TOPIC", conflicts_with = "topic")]
    flagged: Option<String>,
    /// What a line looks like: %k key, %v value, %%, and what stands between them, as in '%k %v'.
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "key_separator", value_parser = LineFormat::parse)]
    format: Option<LineFormat>,
    /// A header of every record; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// What stands between key and value of a line; without it lines are values.
    #[arg(short, long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Partition for all records; else by key as Kafka's producers do, and in turn without a key.
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// Codec: none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none", value_parser = codec)]
    compression: Compression,
    /// Who has to have the records before the broker answers: 0, 1 or all.
    #[arg(long, value_name = "WHO", default_value = "all", value_parser = acks)]
    acks: i16,
    #[command(flatten)]
    connect: ConnectArguments,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn codec(name: &str) -> Result<Compression, String> {
    Compression::from_name(name)
        .ok_or_else(|| "none of none, gzip, snappy, lz4 and zstd".to_owned())
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("none of 0, 1 and all".to_owned()),
    }
}

impl ProduceArguments {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(&runtime).await?;
        let name = self.topic.as_ref().or(self.flagged.as_ref());
        let name = name.expect("one of them is required");
        let topic = topic_with_leaders(&mut cluster, name, true).await?;
        let count = i32::try_from(topic.partitions.len()).expect("partition counts are 32-bit");
        if let Some(partition) = self
            .partition
            .filter(|partition| !(0..count).contains(partition))
        {
            return Err(Failure::Said(format!(
                "topic {name} has no partition {partition}"
            )));
        }
        let start = i32::try_from(runtime.random_u64() % u64::from(count.unsigned_abs().max(1)))
            .unwrap_or(0);
        let mut batcher = Batcher::new(&self, count, start);
        let mut sender = Sender {
            cluster,
            topic,
            acks: self.acks,
        };
        let mut lines = Lines::default();
        let mut reading = Some(spawn_reader());
        while let Some(chunks) = reading.take() {
            // What waits is read in one go, so that a fast source makes large batches and a slow one is not kept.
            let (chunks, chunk) = runtime.run_blocking(move || next_chunk(chunks)).await;
            let more = chunk
                .map_err(|error| Failure::Said(format!("the input cannot be read: {error}")))?;
            let now_ms = runtime.wall_clock_ms();
            match &more {
                Some(chunk) => lines.feed(chunk, |line| batcher.add(line, now_ms))?,
                None => lines.finish(|line| batcher.add(line, now_ms)),
            }
            sender.send_all(batcher.seal()).await?;
            reading = more.map(|_| chunks);
        }
        Ok(())
    }
}

type Chunks = mpsc::Receiver<std::io::Result<Vec<u8>>>;

/// Reads the standard input on a thread of its own: it may wait for a person.
fn spawn_reader() -> Chunks {
    let (sender, chunks) = mpsc::sync_channel(CHUNK_BYTES_MAX / READ_BYTES);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut chunk = vec![0; READ_BYTES];
            let read = input.read(&mut chunk);
            let last = !matches!(read, Ok(count) if count > 0);
            chunk.truncate(*read.as_ref().unwrap_or(&0));
            let told = match read {
                Ok(0) => Ok(()),
                Ok(_) => sender.send(Ok(chunk)),
                Err(error) => sender.send(Err(error)),
            };
            if last || told.is_err() {
                return;
            }
        }
    });
    chunks
}

/// Waits for input and takes what is there; `None` at its end.
fn next_chunk(chunks: Chunks) -> (Chunks, std::io::Result<Option<Vec<u8>>>) {
    let mut all = match chunks.recv() {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => return (chunks, Err(error)),
        Err(mpsc::RecvError) => return (chunks, Ok(None)),
    };
    while all.len() < CHUNK_BYTES_MAX {
        match chunks.try_recv() {
            Ok(Ok(next)) => all.extend_from_slice(&next),
            Ok(Err(error)) => return (chunks, Err(error)),
            Err(_) => break,
        }
    }
    (chunks, Ok(Some(all)))
}

/// Cuts bytes into lines; keeps what has no end yet.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Outcome<()> {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let ends = pieces.peek().is_some();
            if self.rest.len() + piece.len() > LINE_BYTES_MAX {
                return Err(Failure::Said(format!(
                    "a line is longer than {LINE_BYTES_MAX} bytes"
                )));
            }
            match (ends, self.rest.is_empty()) {
                (true, true) => take(piece),
                (true, false) => {
                    self.rest.extend_from_slice(piece);
                    take(&std::mem::take(&mut self.rest));
                }
                (false, _) => self.rest.extend_from_slice(piece),
            }
        }
        Ok(())
    }

    /// The last line, if it lacks its end.
    fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            take(&std::mem::take(&mut self.rest));
        }
    }
}

/// Sealed batches by partition, oldest first.
type Sealed = BTreeMap<i32, VecDeque<Bytes>>;

/// Sorts records into batches.
struct Batcher {
    format: Option<LineFormat>,
    headers: Vec<(String, String)>,
    fixed: Option<i32>,
    compression: Compression,
    partitions: i32,
    /// Where records without a key go, until that batch is full (KIP-480).
    sticky: i32,
    open: BTreeMap<i32, BatchBuilder>,
    sealed: Sealed,
}

impl Batcher {
    fn new(arguments: &ProduceArguments, partitions: i32, first: i32) -> Batcher {
        Batcher {
            format: match &arguments.key_separator {
                Some(separator) => Some(LineFormat::key_and_value(separator)),
                None => arguments.format.clone(),
            },
            headers: arguments.headers.clone(),
            fixed: arguments.partition,
            compression: arguments.compression,
            partitions,
            sticky: first,
            open: BTreeMap::new(),
            sealed: BTreeMap::new(),
        }
    }

    fn add(&mut self, line: &[u8], now_ms: i64) {
        let (key, value) = match &self.format {
            Some(format) => format.split(line),
            None => (None, Some(line)),
        };
        let partition = match (self.fixed, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, self.partitions),
            (None, None) => self.sticky,
        };
        let codec = self.compression;
        let builder = self
            .open
            .entry(partition)
            .or_insert_with(|| BatchBuilder::new().compression(codec, None));
        if !builder.is_empty() && builder.size_in_bytes() + line.len() > BATCH_BYTES_MAX {
            let batch = Bytes::from(builder.build(0, -1));
            self.sealed.entry(partition).or_default().push_back(batch);
            if partition == self.sticky {
                self.sticky = (self.sticky + 1) % self.partitions;
            }
        }
        let headers: Vec<(&[u8], Option<&[u8]>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        builder.append(key, value, &headers, now_ms);
    }

    /// Every batch that holds something.
    fn seal(&mut self) -> Sealed {
        for (partition, builder) in self
            .open
            .iter_mut()
            .filter(|(_, builder)| !builder.is_empty())
        {
            self.sealed
                .entry(*partition)
                .or_default()
                .push_back(Bytes::from(builder.build(0, -1)));
        }
        self.sticky = (self.sticky + 1) % self.partitions.max(1);
        std::mem::take(&mut self.sealed)
    }
}

/// Where key and value stand in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LineFormat {
    /// Which field, and what follows it; the last field takes the rest where nothing follows.
    fields: Vec<(Field, Vec<u8>)>,
    /// What stands before the first field.
    lead: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Key,
    Value,
}

impl LineFormat {
    /// Lines of a key, a separator, and a value; without the separator a line is a value.
    fn key_and_value(separator: &str) -> LineFormat {
        let fields = match separator.is_empty() {
            true => vec![(Field::Value, Vec::new())],
            false => vec![
                (Field::Key, separator.as_bytes().to_vec()),
                (Field::Value, Vec::new()),
            ],
        };
        LineFormat {
            fields,
            lead: Vec::new(),
        }
    }

    fn parse(format: &str) -> Result<LineFormat, String> {
        let mut found = LineFormat {
            fields: Vec::new(),
            lead: Vec::new(),
        };
        // A record is a line, so the newline at the end of a format says nothing new.
        let format = format.strip_suffix("\\n").unwrap_or(format);
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            let literal = match letter {
                '%' => match letters.next() {
                    Some('%') => '%',
                    Some('k') => {
                        found.fields.push((Field::Key, Vec::new()));
                        continue;
                    }
                    Some('v' | 's') => {
                        found.fields.push((Field::Value, Vec::new()));
                        continue;
                    }
                    _ => return Err("want %k, %v or %%".to_owned()),
                },
                '\\' => match letters.next() {
                    Some('t') => '\t',
                    Some('\\') => '\\',
                    _ => return Err("want \\t or \\\\; a record is a line".to_owned()),
                },
                other => other,
            };
            let place = match found.fields.last_mut() {
                Some((_, behind)) => behind,
                None => &mut found.lead,
            };
            place.extend_from_slice(literal.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let inner = found.fields.len().saturating_sub(1);
        if found.fields.is_empty()
            || found.fields[..inner]
                .iter()
                .any(|(_, behind)| behind.is_empty())
        {
            return Err("want %k and %v with something between them".to_owned());
        }
        Ok(found)
    }

    /// Key and value. A line that lacks what the format has between its fields is all value.
    fn split<'a>(&self, line: &'a [u8]) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
        let whole = (None, Some(line));
        let Some(mut rest) = line.strip_prefix(&self.lead[..]) else {
            return whole;
        };
        let (mut key, mut value) = (None, None);
        for (field, behind) in &self.fields {
            let end = match behind.is_empty() {
                true => Some(rest.len()),
                false => rest
                    .windows(behind.len())
                    .position(|window| window == &behind[..]),
            };
            let Some(end) = end else { return whole };
            match field {
                Field::Key => key = Some(&rest[..end]),
                Field::Value => value = Some(&rest[..end]),
            }
            rest = &rest[end + behind.len()..];
        }
        (key, value)
    }
}

/// Brings batches to the leaders.
struct Sender {
    cluster: Cluster,
    topic: Topic,
    acks: i16,
}

impl Sender {
    async fn send_all(&mut self, mut sealed: Sealed) -> Outcome<()> {
        let started = self.cluster.runtime().monotonic();
        // A request holds one batch per partition, so a partition's batches go one after the other.
        loop {
            sealed.retain(|_, batches| !batches.is_empty());
            if sealed.is_empty() {
                return Ok(());
            }
            let mut by_leader: BTreeMap<i32, Vec<(i32, Bytes)>> = BTreeMap::new();
            for (partition, batches) in &sealed {
                let leader = self
                    .topic
                    .partitions
                    .iter()
                    .find(|known| known.index == *partition);
                let leader = leader.map_or(-1, |known| known.leader);
                let batch = batches.front().expect("empty queues were dropped").clone();
                by_leader
                    .entry(leader)
                    .or_default()
                    .push((*partition, batch));
            }
            let mut stale = None;
            for (leader, batches) in by_leader {
                let connection = self.cluster.broker(leader).await?;
                for (partition, code) in send(connection, &self.topic, self.acks, &batches).await? {
                    if code == 0 {
                        sealed.get_mut(&partition).and_then(VecDeque::pop_front);
                    } else {
                        stale = Some((partition, code));
                    }
                }
            }
            if let Some((partition, code)) = stale {
                if self.cluster.runtime().monotonic() - started > PATIENCE {
                    return Err(Failure::Said(format!(
                        "{}-{partition}: {}",
                        self.topic.name,
                        error_name(code)
                    )));
                }
                self.cluster.runtime().sleep(RETRY_PAUSE).await;
                self.topic = topic_with_leaders(&mut self.cluster, &self.topic.name, false).await?;
            }
        }
    }
}

/// One request; each partition with 0 or a code that says nothing was written and the metadata is old.
async fn send(
    connection: &Connection,
    topic: &Topic,
    acks: i16,
    batches: &[(i32, Bytes)],
) -> Outcome<Vec<(i32, i16)>> {
    let data = |(index, batch): &(i32, Bytes)| PartitionProduceData {
        index: *index,
        records: Some(Records::from(batch.clone())),
        ..Default::default()
    };
    let request = Request::Produce(ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX),
        topic_data: vec![TopicProduceData {
            name: &topic.name,
            topic_id: topic.id,
            partition_data: batches.iter().map(data).collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    // Version 13 names topics by id alone.
    let version_max = if topic.id == Uuid::ZERO { 12 } else { i16::MAX };
    let version = connection.version_up_to(ApiKey::Produce, version_max)?;
    if acks == 0 {
        connection.tell(&request, version).await?;
        return Ok(batches
            .iter()
            .map(|(partition, _)| (*partition, 0))
            .collect());
    }
    let answer = connection.call(&request, version).await?;
    let response = answer.decode(ProduceResponse::decode)?;
    let mut results = Vec::new();
    for partition in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
    {
        let (index, code) = (partition.index, partition.error_code);
        if code != 0 && !is_stale_metadata(code) {
            let text = error_text(code, partition.error_message);
            return Err(Failure::Said(format!("{}-{index}: {text}", topic.name)));
        }
        results.push((index, code));
    }
    if results.len() != batches.len() {
        return Err(Failure::new("Produce: the answer leaves partitions out"));
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::{Batch, Decompressor};

    fn cut(pieces: &[&str]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines
                .feed(piece.as_bytes(), |line| {
                    found.push(String::from_utf8_lossy(line).into_owned())
                })
                .expect("short");
        }
        lines.finish(|line| found.push(String::from_utf8_lossy(line).into_owned()));
        found
    }

    #[test]
    fn lines_are_whole_however_the_input_is_cut() {
        let whole = ["a", "", "bc", "d"];
        assert_eq!(cut(&["a\n\nbc\nd"]), whole);
        assert_eq!(cut(&["a", "\n", "\nb", "c", "\nd", "\n"]), whole);
        assert_eq!(cut(&[]), Vec::<String>::new());
        assert_eq!(cut(&["\n"]), [""]);
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        let split = |format: &LineFormat, line: &'static str| {
            let text =
                |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
            let (key, value) = format.split(line.as_bytes());
            (text(key), text(value))
        };
        let pair = |key: &str, value: &str| (Some(key.to_owned()), Some(value.to_owned()));
        let separated = LineFormat::key_and_value("::");
        assert_eq!(split(&separated, "k::v::w"), pair("k", "v::w"));
        assert_eq!(split(&separated, "v"), (None, Some("v".to_owned())));
        assert_eq!(
            split(&LineFormat::key_and_value(""), "v"),
            (None, Some("v".to_owned()))
        );
        let formatted = LineFormat::parse("[%v] %k\\n").expect("good");
        assert_eq!(split(&formatted, "[a b] key"), pair("key", "a b"));
        assert_eq!(
            split(&formatted, "no form"),
            (None, Some("no form".to_owned()))
        );
        let tombstone = LineFormat::parse("%k").expect("good");
        assert_eq!(split(&tombstone, "key"), (Some("key".to_owned()), None));
        for wrong in ["", "text", "%k%v", "%x", "%k\\n%v"] {
            assert!(LineFormat::parse(wrong).is_err(), "{wrong}");
        }
    }

    fn batcher(key_separator: Option<&str>, fixed: Option<i32>) -> Batcher {
        Batcher {
            format: key_separator.map(LineFormat::key_and_value),
            headers: Vec::new(),
            fixed,
            compression: Compression::None,
            partitions: 3,
            sticky: 1,
            open: BTreeMap::new(),
            sealed: BTreeMap::new(),
        }
    }

    fn counts(sealed: &Sealed) -> Vec<(i32, Vec<i32>)> {
        let count = |batch: &Bytes| {
            let batch = Batch::parse(batch).expect("a batch");
            assert!(batch.crc_is_valid());
            batch
                .records(&mut Decompressor::default())
                .expect("records")
                .filter(Result::is_ok)
                .count() as i32
        };
        sealed
            .iter()
            .map(|(partition, batches)| (*partition, batches.iter().map(count).collect()))
            .collect()
    }

    #[test]
    fn records_with_a_key_stay_together_and_others_stick_for_a_batch() {
        let mut batcher = batcher(Some(":"), None);
        for line in ["21:a", "21:b", "x", "y"] {
            batcher.add(line.as_bytes(), 0);
        }
        let keyed = partition_of_key(b"21", 3);
        assert_eq!(
            keyed, 0,
            "murmur2(21) & 0x7fffffff = 1173551340, a multiple of 3"
        );
        assert_eq!(counts(&batcher.seal()), [(0, vec![2]), (1, vec![2])]);
        batcher.add(b"z", 0);
        assert_eq!(counts(&batcher.seal()), [(2, vec![1])]);
    }

    #[test]
    fn a_full_batch_is_sealed_and_the_next_partition_takes_over() {
        let mut batcher = batcher(None, None);
        let line = vec![b'x'; BATCH_BYTES_MAX / 2];
        for _ in 0..3 {
            batcher.add(&line, 0);
        }
        assert_eq!(counts(&batcher.seal()), [(1, vec![1, 1]), (2, vec![1])]);
    }

    #[test]
    fn a_chosen_partition_takes_everything() {
        let mut batcher = batcher(Some(":"), Some(2));
        batcher.add(b"21:a", 0);
        batcher.add(b"b", 0);
        assert_eq!(counts(&batcher.seal()), [(2, vec![2])]);
    }
}
