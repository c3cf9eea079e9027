//! `tidelog consume`: reads partitions from their leaders and prints the records.
//!
//! Invariant: a partition's records are printed in order, each once, starting at the offset asked for; a batch whose
//! CRC does not hold is never printed.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use net::cluster::{Cluster, ClusterError, Topic};
use net::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;
use net::records::{BatchError, Decompressor, split_batches};
use net::wire::{Records, Uuid};

use super::offsets::{self, EARLIEST, LATEST};
use super::template::Template;
use super::{
    ConnectArguments, Failure, Outcome, PATIENCE, RETRY_PAUSE, error_name, is_stale_metadata,
    output, time, topic_with_leaders,
};

/// Bytes of records in one answer, and of one partition in it.
const ANSWER_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 4 << 20;
/// How long a broker may wait for records; with several leaders each waits less, since they are asked in turn.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Printed bytes that are gathered before they are written.
const PRINT_BYTES: usize = 256 << 10;

/// What to read and how to print it.
#[derive(Debug, Clone, Args)]
pub struct ConsumeArguments {
    /// Topic to read.
    #[arg(required_unless_present = "flagged")]
    topic: Option<String>,
    /// The same, as Kafka's tools want it.
    #[arg(long = "topic", value_name = "TOPIC", conflicts_with = "topic")]
    flagged: Option<String>,
    /// Where to begin: start, end, an offset, -N (N before the end), +N (N behind the start) or @TIME; with :WHERE also where to end, as in 5:10 or :end.
    #[arg(short, long, value_name = "WHERE", default_value = "start", value_parser = Span::parse, allow_hyphen_values = true)]
    offset: Span,
    /// Only this partition; may be given several times.
    #[arg(short, long = "partition", value_name = "N")]
    partitions: Vec<i32>,
    /// Stop after this many records.
    #[arg(short, long, value_name = "N", visible_alias = "max-messages")]
    num: Option<u64>,
    /// How a record is printed: %t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %v value, %V its length, %h headers, %%, and \n \t \r \0 \\; or json.
    #[arg(short, long, value_name = "FORMAT", default_value = "%v\\n", value_parser = Template::parse)]
    format: Template,
    /// Stop at what was the end when the command began.
    #[arg(short = 'e', long)]
    until_end: bool,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: Place,
    end: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    End,
    At(i64),
    BeforeEnd(i64),
    AfterStart(i64),
    /// The first record of this time or later, in milliseconds.
    Time(i64),
}

impl Span {
    fn parse(text: &str) -> Result<Span, String> {
        // A time has colons of its own: only one before another time separates.
        let (begin, end) = match text.strip_prefix('@') {
            Some(time) => time.split_once(":@").map_or((text, None), |(first, _)| {
                (&text[..=first.len()], Some(&text[first.len() + 2..]))
            }),
            None => text
                .split_once(':')
                .map_or((text, None), |(begin, end)| (begin, Some(end))),
        };
        let begin = if begin.is_empty() {
            Place::Start
        } else {
            Place::parse(begin)?
        };
        Ok(Span {
            begin,
            end: end.map(Place::parse).transpose()?,
        })
    }
}

impl Place {
    fn parse(text: &str) -> Result<Place, String> {
        let number = |digits: &str| digits.parse().ok().filter(|number: &i64| *number >= 0);
        let wrong = || "want start, end, an offset, -N, +N or @TIME".to_owned();
        if let Some(time) = text.strip_prefix('@') {
            return match number(time) {
                // Ten digits are seconds until the year 2286, thirteen are milliseconds.
                Some(seconds) if time.len() <= 11 => Ok(Place::Time(seconds.saturating_mul(1_000))),
                Some(milliseconds) => Ok(Place::Time(milliseconds)),
                None => time::parse_datetime_ms(time).map(Place::Time),
            };
        }
        match (text, text.strip_prefix('-'), text.strip_prefix('+')) {
            ("start" | "beginning" | "earliest", ..) => Ok(Place::Start),
            ("end" | "latest", ..) => Ok(Place::End),
            (_, Some(back), _) => number(back).map(Place::BeforeEnd).ok_or_else(wrong),
            (.., Some(on)) => number(on).map(Place::AfterStart).ok_or_else(wrong),
            _ => number(text).map(Place::At).ok_or_else(wrong),
        }
    }

    /// The offset in each partition.
    async fn find(
        self,
        cluster: &mut Cluster,
        topic: &Topic,
        partitions: &[i32],
    ) -> Outcome<BTreeMap<i32, i64>> {
        let at = |offset: i64| {
            partitions
                .iter()
                .map(|partition| (*partition, offset))
                .collect()
        };
        let timestamp = match self {
            Place::At(offset) => return Ok(at(offset)),
            Place::Start => return offsets::list(cluster, topic, partitions, EARLIEST).await,
            Place::End => return offsets::list(cluster, topic, partitions, LATEST).await,
            Place::BeforeEnd(_) | Place::AfterStart(_) => None,
            Place::Time(time) => Some(time),
        };
        let starts = offsets::list(cluster, topic, partitions, EARLIEST).await?;
        let ends = offsets::list(cluster, topic, partitions, LATEST).await?;
        let by_time = match timestamp {
            Some(time) => offsets::list(cluster, topic, partitions, time).await?,
            None => BTreeMap::new(),
        };
        let place = |(partition, start): (i32, i64)| {
            let end = ends[&partition];
            let offset = match self {
                Place::BeforeEnd(count) => end.saturating_sub(count).max(start),
                Place::AfterStart(count) => start.saturating_add(count).min(end),
                // All records are older.
                _ => by_time
                    .get(&partition)
                    .copied()
                    .filter(|offset| *offset >= 0)
                    .unwrap_or(end),
            };
            (partition, offset)
        };
        Ok(starts.into_iter().map(place).collect())
    }
}

impl ConsumeArguments {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        let name = self
            .topic
            .or(self.flagged)
            .expect("one of them is required");
        let mut cluster = self.connect.connect(&runtime).await?;
        let topic = topic_with_leaders(&mut cluster, &name, false).await?;
        let partitions = match self.partitions.is_empty() {
            true => topic
                .partitions
                .iter()
                .map(|partition| partition.index)
                .collect(),
            false => self.partitions.clone(),
        };
        let begin = self
            .offset
            .begin
            .find(&mut cluster, &topic, &partitions)
            .await?;
        let end = self.offset.end.or(self.until_end.then_some(Place::End));
        let ends = match end {
            Some(end) => Some(end.find(&mut cluster, &topic, &partitions).await?),
            None => None,
        };
        let printer = Printer {
            template: self.format,
            topic: name,
            left: self.num.unwrap_or(u64::MAX),
            positions: begin,
            ends,
            decompressor: Decompressor::default(),
            out: Vec::new(),
        };
        consume(cluster, topic, printer).await
    }
}

async fn consume(mut cluster: Cluster, mut topic: Topic, mut printer: Printer) -> Outcome<()> {
    let mut well = cluster.runtime().monotonic();
    loop {
        let wanted = printer.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut by_leader: BTreeMap<i32, Vec<(i32, i64)>> = BTreeMap::new();
        for partition in &topic.partitions {
            if let Some(position) = wanted.get(&partition.index) {
                by_leader
                    .entry(partition.leader)
                    .or_default()
                    .push((partition.index, *position));
            }
        }
        let leaders = u32::try_from(by_leader.len()).unwrap_or(u32::MAX).max(1);
        let mut trouble = None;
        for (leader, positions) in by_leader {
            match fetch(
                &mut cluster,
                &topic,
                leader,
                &positions,
                WAIT_MAX / leaders,
                &mut printer,
            )
            .await?
            {
                Fetched::Well => {}
                Fetched::Trouble(why) => trouble = Some(why),
            }
        }
        let now = cluster.runtime().monotonic();
        match trouble {
            None => well = now,
            Some(why) if now - well > PATIENCE => return Err(Failure::Said(why)),
            Some(_) => {
                cluster.runtime().sleep(RETRY_PAUSE).await;
                // A broker that restarts is asked until the patience ends.
                if let Ok(newer) = topic_with_leaders(&mut cluster, &topic.name, false).await {
                    topic = newer;
                }
            }
        }
    }
}

enum Fetched {
    Well,
    /// May pass: another leader, a broker that restarts.
    Trouble(String),
}

async fn fetch(
    cluster: &mut Cluster,
    topic: &Topic,
    leader: i32,
    positions: &[(i32, i64)],
    wait: Duration,
    printer: &mut Printer,
) -> Outcome<Fetched> {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..Default::default()
    };
    let request = Request::Fetch(FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: ANSWER_BYTES_MAX,
        topics: vec![FetchTopic {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: positions.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let answered = async {
        let connection = cluster.broker(leader).await?;
        // Version 13 names topics by id alone.
        let version_max = if topic.id == Uuid::ZERO { 12 } else { i16::MAX };
        let version = connection.version_up_to(ApiKey::Fetch, version_max)?;
        connection.call(&request, version).await
    };
    let answer = match answered.await {
        Ok(answer) => answer,
        Err(
            error @ (ClusterError::Client { .. }
            | ClusterError::Connect { .. }
            | ClusterError::UnknownBroker(_)),
        ) => {
            return Ok(Fetched::Trouble(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let response = answer.decode(FetchResponse::decode)?;
    if response.error_code != 0 {
        return Err(Failure::Said(format!(
            "Fetch: {}",
            error_name(response.error_code)
        )));
    }
    let mut fetched = Fetched::Well;
    for partition in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
    {
        let code = partition.error_code;
        if code == 0 {
            printer.take(partition)?;
            continue;
        }
        let why = format!(
            "{}-{}: {}",
            topic.name,
            partition.partition_index,
            error_name(code)
        );
        if !is_stale_metadata(code) {
            printer.write()?;
            return Err(Failure::Said(why));
        }
        fetched = Fetched::Trouble(why);
    }
    printer.write()?;
    Ok(fetched)
}

/// Where each partition stands, and what was printed.
struct Printer {
    template: Template,
    topic: String,
    /// Records that may still be printed.
    left: u64,
    positions: BTreeMap<i32, i64>,
    /// Where each partition ends for us.
    ends: Option<BTreeMap<i32, i64>>,
    decompressor: Decompressor,
    out: Vec<u8>,
}

impl Printer {
    /// The partitions that are not done, with their next offsets.
    fn wanted(&self) -> BTreeMap<i32, i64> {
        if self.left == 0 {
            return BTreeMap::new();
        }
        let end = |partition: &i32| self.ends.as_ref().map_or(i64::MAX, |ends| ends[partition]);
        self.positions
            .iter()
            .filter(|(partition, next)| **next < end(partition))
            .map(|(p, next)| (*p, *next))
            .collect()
    }

    fn take(&mut self, data: &PartitionData<'_>) -> Outcome<()> {
        let Some(Records::Borrowed(bytes)) = data.records else {
            return Ok(());
        };
        let index = data.partition_index;
        let Some(position) = self.positions.get_mut(&index) else {
            return Ok(());
        };
        let end = self.ends.as_ref().map_or(i64::MAX, |ends| ends[&index]);
        let damaged = |offset: i64, what: &dyn std::fmt::Display| {
            Failure::Said(format!("{}-{index} at offset {offset}: {what}", self.topic))
        };
        for batch in split_batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // A broker may cut the answer within a batch.
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(damaged(*position, &error)),
            };
            if !batch.crc_is_valid() {
                return Err(damaged(
                    batch.header().base_offset,
                    &"the batch's checksum does not hold",
                ));
            }
            if !batch.header().is_control() {
                let records = batch.records(&mut self.decompressor);
                for record in records.map_err(|error| damaged(*position, &error))? {
                    let record = record.map_err(|error| damaged(*position, &error))?;
                    if record.offset < *position || record.offset >= end {
                        continue;
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                    self.left -= 1;
                    self.template
                        .print(&self.topic, index, &record, &mut self.out);
                    if self.out.len() >= PRINT_BYTES {
                        output::write(&self.out)?;
                        self.out.clear();
                    }
                }
            }
            *position = batch.header().next_offset().max(*position);
        }
        Ok(())
    }

    fn write(&mut self) -> Outcome<()> {
        if !self.out.is_empty() {
            output::write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::BatchBuilder;

    fn printer(position: i64, end: Option<i64>, left: u64) -> Printer {
        Printer {
            template: Template::parse("%o=%v ").expect("a good format"),
            topic: "t".into(),
            left,
            positions: BTreeMap::from([(0, position)]),
            ends: end.map(|end| BTreeMap::from([(0, end)])),
            decompressor: Decompressor::default(),
            out: Vec::new(),
        }
    }

    fn batch(base_offset: i64, values: &[&str], control: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new().control(control);
        for value in values {
            builder.append(None, Some(value.as_bytes()), &[], 0);
        }
        builder.build(base_offset, 0)
    }

    fn taken(printer: &mut Printer, bytes: &[u8]) -> Outcome<String> {
        let data = PartitionData {
            records: Some(Records::Borrowed(bytes)),
            ..Default::default()
        };
        printer.take(&data)?;
        Ok(String::from_utf8_lossy(&std::mem::take(&mut printer.out)).into_owned())
    }

    #[test]
    fn printing_begins_and_ends_inside_batches() {
        let log = [
            batch(3, &["a", "b", "c"], false),
            batch(6, &["marker"], true),
            batch(7, &["d", "e"], false),
        ]
        .concat();
        let mut all = printer(0, None, 99);
        assert_eq!(taken(&mut all, &log).expect("good"), "3=a 4=b 5=c 7=d 8=e ");
        assert_eq!(all.wanted(), BTreeMap::from([(0, 9)]));
        let mut middle = printer(4, Some(8), 99);
        assert_eq!(taken(&mut middle, &log).expect("good"), "4=b 5=c 7=d ");
        assert!(middle.wanted().is_empty());
        let mut few = printer(5, None, 2);
        assert_eq!(taken(&mut few, &log).expect("good"), "5=c 7=d ");
        assert!(few.wanted().is_empty());
        // Nothing but a marker before the end: still done.
        assert!(printer(9, Some(9), 1).wanted().is_empty());
    }

    #[test]
    fn a_cut_batch_waits_and_a_damaged_one_is_not_printed() {
        let mut log = [batch(0, &["a"], false), batch(1, &["b"], false)].concat();
        let mut cut = printer(0, None, 99);
        assert_eq!(
            taken(&mut cut, &log[..log.len() - 3]).expect("good"),
            "0=a "
        );
        assert_eq!(cut.wanted(), BTreeMap::from([(0, 1)]));
        let last = log.len() - 3;
        log[last] ^= 1;
        assert!(
            matches!(taken(&mut cut, &log), Err(Failure::Said(why)) if why.contains("offset 1: the batch's checksum"))
        );
    }

    #[test]
    fn a_span_begins_and_ends_where_kcat_and_rpk_say() {
        let span = |begin, end| Ok(Span { begin, end });
        for (text, expected) in [
            ("start", span(Place::Start, None)),
            ("end", span(Place::End, None)),
            ("42", span(Place::At(42), None)),
            ("-10", span(Place::BeforeEnd(10), None)),
            ("+3", span(Place::AfterStart(3), None)),
            (":end", span(Place::Start, Some(Place::End))),
            ("5:10", span(Place::At(5), Some(Place::At(10)))),
            ("@1700000000", span(Place::Time(1_700_000_000_000), None)),
            ("@1700000000000", span(Place::Time(1_700_000_000_000), None)),
            (
                "@2023-11-14T22:13:20",
                span(Place::Time(1_700_000_000_000), None),
            ),
            (
                "@2023-11-14T22:13:20:@1700000001",
                span(
                    Place::Time(1_700_000_000_000),
                    Some(Place::Time(1_700_000_001_000)),
                ),
            ),
        ] {
            assert_eq!(Span::parse(text), expected, "{text}");
        }
        for wrong in ["soon", "--1", "@soon", "5:", "1:2:3"] {
            assert!(Span::parse(wrong).is_err(), "{wrong}");
        }
    }
}
