//! What to do: phases one after the other, each with workloads that run at the same time.
//!
//! Flags and TOML files make the same [`Plan`], and every report carries it. Unknown keys are refused.

use net::records::Compression;
use serde::{Deserialize, Serialize};

use crate::identity::IDENTITY_BYTES;
use crate::schedule::Shape;

mod values;

pub(crate) use values::{Rate, RecordSize};

/// Everything a run does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Plan {
    /// Comma-separated `host:port`.
    #[serde(default = "default_bootstrap")]
    pub(crate) bootstrap: String,
    /// Draws arrivals, keys, sizes and contents.
    #[serde(default = "default_seed")]
    pub(crate) seed: u64,
    /// Executors, each on a core of its own; 0: one per core that the process may use.
    #[serde(default)]
    pub(crate) threads: usize,
    /// Topics are created if they are missing.
    #[serde(default = "yes")]
    pub(crate) create_topics: bool,
    /// Existing topics are deleted first.
    #[serde(default)]
    pub(crate) recreate_topics: bool,
    /// Topics are deleted at the end.
    #[serde(default)]
    pub(crate) delete_topics: bool,
    /// Of topics that are created; −1: the broker's default.
    #[serde(default = "minus_one")]
    pub(crate) replication_factor: i16,
    /// Configuration of topics that are created.
    #[serde(default)]
    pub(crate) topic_config: std::collections::BTreeMap<String, String>,
    /// Later than this at the 99th percentile, and the generator did not hold its own schedule.
    #[serde(default = "default_lateness")]
    pub(crate) lateness_max_ms: f64,
    /// How long answers and unread records are waited for once the schedule has ended.
    #[serde(default = "default_drain")]
    pub(crate) drain_seconds: u64,
    /// The phases, in order.
    #[serde(rename = "phase")]
    pub(crate) phases: Vec<Phase>,
}

/// Workloads that run at the same time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Phase {
    /// Shown in reports.
    #[serde(default = "default_phase_name")]
    pub(crate) name: String,
    /// Seconds that schedules run, warm-up included.
    #[serde(default = "default_duration")]
    pub(crate) duration: u64,
    /// The first seconds, which count for nothing.
    #[serde(default)]
    pub(crate) warmup: u64,
    /// Producers.
    #[serde(default)]
    pub(crate) produce: Vec<Produce>,
    /// Consumers.
    #[serde(default)]
    pub(crate) consume: Vec<Consume>,
}

/// Which topics a workload uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Topics {
    /// Name; of several topics, what stands before `-0`, `-1`, ….
    pub(crate) topic: String,
    /// Number of topics.
    #[serde(default = "one_u32")]
    pub(crate) topics: u32,
    /// Partitions of each.
    #[serde(default = "one_u32")]
    pub(crate) partitions: u32,
}

impl Topics {
    /// The topics' names.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.topics == 1 {
            return vec![self.topic.clone()];
        }
        (0..self.topics)
            .map(|number| format!("{}-{number}", self.topic))
            .collect()
    }
}

/// What values look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Payload {
    /// Bytes.
    #[serde(default = "default_size")]
    pub(crate) size: RecordSize,
    /// Share of the bytes that repeat one text; the rest is random.
    #[serde(default = "half")]
    pub(crate) compressibility: f64,
    /// `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    #[serde(default, with = "codec")]
    pub(crate) codec: Compression,
    /// The codec's own level.
    #[serde(default)]
    pub(crate) level: Option<i32>,
}

/// Keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct KeySpace {
    /// Different keys.
    pub(crate) count: u64,
    /// Exponent of the power law by which they are chosen; 0: uniform.
    #[serde(default)]
    pub(crate) skew: f64,
    /// Length of a key: its number in decimal.
    #[serde(default = "default_key_bytes")]
    pub(crate) bytes: usize,
}

/// Which partition a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Partitioner {
    /// One partition until its batch is sent, then the next (KIP-480).
    Sticky,
    /// The next partition for every record.
    RoundRobin,
    /// Any partition for every record.
    Random,
    /// By the key, as Kafka's clients do.
    Key,
}

/// Who must have a batch before the broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acks {
    /// Nobody; there is no answer.
    #[serde(rename = "0")]
    None,
    /// The leader.
    #[serde(rename = "1")]
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    /// The number in a request.
    pub(crate) fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Producers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Produce {
    /// Shown in reports.
    #[serde(default = "produce_name")]
    pub(crate) name: String,
    /// Where.
    #[serde(flatten)]
    pub(crate) topics: Topics,
    /// How fast.
    pub(crate) rate: Rate,
    /// In which shape.
    #[serde(default = "constant")]
    pub(crate) arrivals: Shape,
    /// Latency counts from when a record was really sent, and a stall delays all that follow: what other tools do.
    #[serde(default)]
    pub(crate) closed_loop: bool,
    /// Stop after this many records.
    #[serde(default)]
    pub(crate) records: Option<u64>,
    /// Values.
    #[serde(default)]
    pub(crate) value: Payload,
    /// Keys, if there are any.
    #[serde(default)]
    pub(crate) keys: Option<KeySpace>,
    /// Which partition.
    #[serde(default = "sticky")]
    pub(crate) partitioner: Partitioner,
    /// Bytes of a batch; it holds at least one record.
    #[serde(default = "default_batch_bytes")]
    pub(crate) batch_bytes: usize,
    /// How long a batch waits for more records.
    #[serde(default)]
    pub(crate) linger_ms: f64,
    /// Who must have it.
    #[serde(default = "all")]
    pub(crate) acks: Acks,
    /// With producer ids and sequence numbers.
    #[serde(default)]
    pub(crate) idempotent: bool,
    /// Connections.
    #[serde(default = "one_u32")]
    pub(crate) connections: u32,
    /// Unanswered requests per connection.
    #[serde(default)]
    pub(crate) in_flight: Option<usize>,
}

impl Produce {
    /// Unanswered requests per connection: as Kafka's producers where that limit shapes the result, else many, so that
    /// the schedule is not held up by the generator.
    pub(crate) fn in_flight_max(&self) -> usize {
        match (self.in_flight, self.idempotent, self.rate) {
            (Some(given), ..) => given,
            (None, true, _) | (None, _, Rate::Max) => 5,
            (None, false, Rate::PerSecond(_)) => 1000,
        }
    }
}

/// Where consumers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Start {
    /// At the oldest record: catch-up.
    Earliest,
    /// At the end: tail.
    Latest,
}

/// Consumers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Consume {
    /// Shown in reports.
    #[serde(default = "consume_name")]
    pub(crate) name: String,
    /// From where.
    #[serde(flatten)]
    pub(crate) topics: Topics,
    /// Connections that share the partitions.
    #[serde(default = "one_u32")]
    pub(crate) connections: u32,
    /// How many times every record is read, by connections of their own.
    #[serde(default = "one_u32")]
    pub(crate) fan_out: u32,
    /// Where they begin.
    #[serde(default = "latest")]
    pub(crate) from: Start,
    /// End at what was the end of the log at the start.
    #[serde(default)]
    pub(crate) until_end: bool,
    /// Stop after this many records.
    #[serde(default)]
    pub(crate) records: Option<u64>,
    /// Check every record.
    #[serde(default = "yes")]
    pub(crate) verify: bool,
    /// How long a fetch may wait.
    #[serde(default = "default_fetch_wait")]
    pub(crate) fetch_wait_ms: i32,
    /// How many bytes a fetch waits for.
    #[serde(default = "one_i32")]
    pub(crate) fetch_bytes_min: i32,
    /// How many bytes a fetch brings at most.
    #[serde(default = "default_fetch_bytes")]
    pub(crate) fetch_bytes_max: i32,
    /// The same per partition.
    #[serde(default = "default_partition_bytes")]
    pub(crate) partition_bytes_max: i32,
}

/// What one plan may ask for; each of these costs memory in the generator before anything is sent.
const THREADS_MAX: usize = 1024;
const PARTITIONS_MAX: u64 = 1_000_000;
const CONNECTIONS_MAX: u64 = 100_000;
/// Connections times the partitions that each of them writes to.
const TARGETS_MAX: u64 = 1 << 25;

/// A plan that cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PlanError(String);

impl Plan {
    /// Reads a TOML file's text.
    pub(crate) fn parse(text: &str) -> Result<Plan, PlanError> {
        let plan: Plan = toml::from_str(text).map_err(|error| PlanError(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// Says what cannot work before anything is sent.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let refuse = |name: &str, what: &str| Err(PlanError(format!("{name}: {what}")));
        if self.phases.is_empty() {
            return Err(PlanError("a plan needs a [[phase]]".into()));
        }
        if self.threads > THREADS_MAX {
            return refuse("threads", "there are at most 1,024");
        }
        if self.recreate_topics && !self.create_topics {
            return refuse("recreate-topics", "it needs create-topics");
        }
        // Not a number would be on time whatever happens.
        if self.lateness_max_ms.is_nan() || self.lateness_max_ms < 0.0 {
            return refuse("lateness-max-ms", "it must be 0 or more");
        }
        for phase in &self.phases {
            let name = &phase.name;
            if phase.produce.is_empty() && phase.consume.is_empty() {
                return refuse(
                    name,
                    "a phase needs a [[phase.produce]] or a [[phase.consume]]",
                );
            }
            if phase.duration == 0 || phase.duration > 31_536_000 {
                return refuse(name, "duration must be 1 to 31,536,000 seconds");
            }
            if phase.warmup >= phase.duration {
                return refuse(name, "warmup must be shorter than the duration");
            }
            for produce in &phase.produce {
                produce.check()?;
            }
            for consume in &phase.consume {
                consume.check()?;
            }
        }
        Ok(())
    }
}

impl Topics {
    fn check(&self, name: &str) -> Result<(), PlanError> {
        if self.topic.is_empty() || self.topics == 0 || self.partitions == 0 {
            return Err(PlanError(format!(
                "{name}: topic, topics and partitions must be given"
            )));
        }
        if self.count() > PARTITIONS_MAX {
            return Err(PlanError(format!(
                "{name}: there are at most {PARTITIONS_MAX} partitions, all topics together"
            )));
        }
        Ok(())
    }

    /// Partitions of all of them.
    fn count(&self) -> u64 {
        u64::from(self.topics) * u64::from(self.partitions)
    }
}

impl Consume {
    fn check(&self) -> Result<(), PlanError> {
        self.topics.check(&self.name)?;
        let refuse = |what: &str| Err(PlanError(format!("{}: {what}", self.name)));
        if self.connections == 0 || self.fan_out == 0 {
            return refuse("connections and fan-out must be at least 1");
        }
        if u64::from(self.connections) > self.topics.count() {
            return refuse(
                "there are more connections than partitions; use fan-out to read partitions several times",
            );
        }
        if u64::from(self.connections) * u64::from(self.fan_out) > CONNECTIONS_MAX
            || self.topics.count() * u64::from(self.fan_out) > TARGETS_MAX
        {
            return refuse("connections times fan-out, or partitions times fan-out, are too many");
        }
        if self.fetch_wait_ms < 0
            || self.fetch_bytes_min < 0
            || self.fetch_bytes_max < 1
            || self.partition_bytes_max < 1
        {
            return refuse(
                "fetch-wait-ms, fetch-bytes-min, fetch-bytes-max and partition-bytes-max must not be negative",
            );
        }
        Ok(())
    }
}

impl Produce {
    fn check(&self) -> Result<(), PlanError> {
        self.topics.check(&self.name)?;
        let refuse = |what: &str| Err(PlanError(format!("{}: {what}", self.name)));
        if let Rate::PerSecond(rate) = self.rate
            && !(rate > 0.0 && rate <= 1e9)
        {
            return refuse("rate must be above 0 and at most 1e9, or max");
        }
        match self.arrivals {
            Shape::Bursts(0) => return refuse("a burst needs a record"),
            Shape::RampTo(last) if !(last > 0.0 && last <= 1e9) => {
                return refuse("a ramp's last rate must be above 0 and at most 1e9");
            }
            Shape::Constant => {}
            _ if self.rate == Rate::Max => {
                return refuse("arrivals have a shape only at a rate, not at max");
            }
            _ => {}
        }
        if self.connections == 0 || self.in_flight_max() == 0 {
            return refuse("connections and in-flight must be at least 1");
        }
        let connections = u64::from(self.connections);
        if connections > CONNECTIONS_MAX || connections * self.topics.count() > TARGETS_MAX {
            return refuse("connections, or connections times partitions, are too many");
        }
        if self.closed_loop && self.rate == Rate::Max {
            return refuse("closed-loop needs a rate: at max there is no schedule to close");
        }
        if self.acks == Acks::None && self.in_flight.is_some() {
            return refuse("in-flight counts unanswered requests, and acks 0 has no answers");
        }
        if self.idempotent && (self.in_flight_max() > 5 || self.acks != Acks::All) {
            return refuse("idempotent needs acks all and at most 5 requests in flight");
        }
        if !(0.0..=1.0).contains(&self.value.compressibility) {
            return refuse("compressibility is a share, 0 to 1");
        }
        if self.partitioner == Partitioner::Key && self.keys.is_none() {
            return refuse("the partitioner key needs keys");
        }
        if let Some(keys) = &self.keys
            && (keys.count == 0
                || !(1..=1024).contains(&keys.bytes)
                || !(0.0..=100.0).contains(&keys.skew))
        {
            return refuse("keys need a count, 1 to 1024 bytes, and a skew of 0 to 100");
        }
        let size = self.value.size;
        if size.min() < IDENTITY_BYTES && size.max() >= IDENTITY_BYTES {
            return refuse(
                "values from 32 bytes on carry an identity; give sizes on one side of that",
            );
        }
        if self.value.size.max() > 256 << 20 || self.batch_bytes > 256 << 20 {
            return refuse("records and batches are at most 256 MiB");
        }
        if !(0.0..=3_600_000.0).contains(&self.linger_ms) {
            return refuse("linger-ms must be 0 to 3,600,000");
        }
        Ok(())
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            size: default_size(),
            compressibility: half(),
            codec: Compression::None,
            level: None,
        }
    }
}

mod codec {
    use net::records::Compression;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(codec: &Compression, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(codec.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Compression, D::Error> {
        let name = String::deserialize(d)?;
        Compression::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("there is no codec {name:?}")))
    }
}

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        pub(crate) fn $name() -> $type {
            $value
        }
    )*};
}

defaults! {
    default_bootstrap: String = "127.0.0.1:9092".into();
    default_seed: u64 = 1;
    default_lateness: f64 = 10.0;
    default_drain: u64 = 30;
    default_phase_name: String = "load".into();
    default_duration: u64 = 10;
    produce_name: String = "produce".into();
    consume_name: String = "consume".into();
    default_size: RecordSize = RecordSize::Fixed(1024);
    default_key_bytes: usize = 16;
    default_batch_bytes: usize = 16_384;
    default_fetch_wait: i32 = 500;
    default_fetch_bytes: i32 = 52_428_800;
    default_partition_bytes: i32 = 1_048_576;
    half: f64 = 0.5;
    constant: Shape = Shape::Constant;
    sticky: Partitioner = Partitioner::Sticky;
    all: Acks = Acks::All;
    latest: Start = Start::Latest;
    yes: bool = true;
    one_u32: u32 = 1;
    one_i32: i32 = 1;
    minus_one: i16 = -1;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        bootstrap = "127.0.0.1:9092"
        [[phase]]
        name = "warm"
        duration = 5
        [[phase.produce]]
        topic = "a"
        rate = "max"
        value = { size = "100..200", codec = "lz4" }
        keys = { count = 1000, skew = 1.1 }
        partitioner = "key"
        [[phase]]
        duration = 20
        warmup = 5
        [[phase.produce]]
        topic = "a"
        partitions = 4
        rate = 50000
        arrivals = { bursts = 100 }
        acks = "1"
        [[phase.consume]]
        topic = "a"
        partitions = 4
        from = "earliest"
        fan-out = 2
    "#;

    #[test]
    fn a_plan_is_read_from_toml_and_survives_being_written_as_json() {
        let plan = Plan::parse(TEXT).unwrap();
        assert_eq!(plan.phases[0].produce[0].rate, Rate::Max);
        assert_eq!(
            plan.phases[0].produce[0].value.size,
            RecordSize::Uniform(100, 200)
        );
        assert_eq!(plan.phases[1].produce[0].arrivals, Shape::Bursts(100));
        assert_eq!(plan.phases[1].produce[0].in_flight_max(), 1000);
        let json = serde_json::to_value(&plan).unwrap();
        let again: Plan = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), json);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        for (from, to, reason) in [
            ("rate = \"max\"", "rate = -1", "rate must be"),
            ("rate = 50000", "rate = \"max\"", "shape only at a rate"),
            ("partitioner = \"key\"", "no-such = 1", "no-such"),
            (
                "acks = \"1\"",
                "acks = \"1\"\nidempotent = true",
                "idempotent needs",
            ),
            ("warmup = 5", "warmup = 20", "warmup must be"),
            (
                "fan-out = 2",
                "connections = 5",
                "more connections than partitions",
            ),
            ("100..200", "200..100", "not a size"),
            ("skew = 1.1", "skew = nan", "a skew of 0"),
            ("fan-out = 2", "fan-out = 4000000000", "too many"),
            ("fan-out = 2", "fetch-wait-ms = -1", "must not be negative"),
            (
                "rate = 50000",
                "rate = 1\nconnections = 4000000000",
                "too many",
            ),
            (
                "partitions = 4\n        rate",
                "topics = 70000\npartitions = 70000\nrate",
                "at most 1000000 partitions",
            ),
            (
                "bootstrap =",
                "lateness-max-ms = nan\nbootstrap =",
                "0 or more",
            ),
            (
                "bootstrap =",
                "threads = 1000000\nbootstrap =",
                "at most 1,024",
            ),
            (
                "rate = \"max\"",
                "rate = \"max\"\nclosed-loop = true",
                "no schedule",
            ),
            ("acks = \"1\"", "acks = \"0\"\nin-flight = 5", "no answers"),
            (
                "bootstrap =",
                "recreate-topics = true\ncreate-topics = false\nbootstrap =",
                "needs create-topics",
            ),
        ] {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT);
            let error = Plan::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{from}: {error}");
        }
    }
}
