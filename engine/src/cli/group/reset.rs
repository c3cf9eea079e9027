//! `tidelog group reset-offsets` and `seek`: asks what is, decides ([`super::plan`]), and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use net::cluster::Cluster;
use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use net::messages::{ApiKey, Request};
use net::platform::Runtime;

use super::super::offsets::{self, EARLIEST, LATEST};
use super::super::output::{self, OutputArguments};
use super::super::time;
use super::facts::{Group, Place, committed};
use super::plan::{Known, Scope, Target, parse_offsets};
use super::{ConnectArguments, Failure, Outcome, ask, comes_later, error_name, list};

/// Above this OffsetCommit names topics by id alone.
const OFFSET_COMMIT_BY_NAME: i16 = 9;

/// Which groups, where to.
#[derive(Debug, Clone, Args)]
pub struct ResetArguments {
    /// Names of groups.
    #[arg(value_name = "GROUP")]
    names: Vec<String>,
    /// The same, as Kafka's tools want it; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    flagged: Vec<String>,
    /// All groups.
    #[arg(long)]
    all_groups: bool,
    /// Topic, or topic and partitions: t, t:0,1; may be given several times.
    #[arg(short, long = "topic", value_name = "TOPIC[:N,N]")]
    topics: Vec<String>,
    /// All topics that the group has offsets for.
    #[arg(long)]
    all_topics: bool,
    /// To the first offset.
    #[arg(long, group = "target")]
    to_earliest: bool,
    /// To the end.
    #[arg(long, group = "target")]
    to_latest: bool,
    /// Where the group is.
    #[arg(long, group = "target")]
    to_current: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET", group = "target")]
    to_offset: Option<i64>,
    /// By so many records, back if negative.
    #[arg(long, value_name = "N", group = "target", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the records that are not older than this: P7D, PT2H30M.
    #[arg(long, value_name = "DURATION", group = "target", value_parser = time::parse_duration_ms)]
    by_duration: Option<i64>,
    /// To the first record of this time or later: 2026-01-31T12:00:00.000, UTC unless it says otherwise.
    #[arg(long, value_name = "TIME", group = "target", value_parser = time::parse_datetime_ms)]
    to_datetime: Option<i64>,
    /// To the offsets in this file: topic,partition,offset lines, or group,topic,partition,offset.
    #[arg(long, value_name = "FILE", group = "target")]
    from_file: Option<PathBuf>,
    /// Only show what would be; the same as neither this nor --execute.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    execute: bool,
    /// Print what --from-file reads.
    #[arg(long)]
    export: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Which group, where to, in rpk's words.
#[derive(Debug, Clone, Args)]
pub struct SeekArguments {
    /// Name of the group.
    group: String,
    /// start, end, or a time: seconds or milliseconds since 1970, or 2026-01-31T12:00:00.
    #[arg(long, value_name = "WHERE", group = "target", required_unless_present_any = ["to_group", "to_file"])]
    to: Option<String>,
    /// Where that group is.
    #[arg(long, value_name = "GROUP", group = "target")]
    to_group: Option<String>,
    /// To the offsets in this file: topic, partition, offset.
    #[arg(long, value_name = "FILE", group = "target")]
    to_file: Option<PathBuf>,
    /// Only these topics; all that the group has offsets for if none is named.
    #[arg(long, value_name = "TOPICS", value_delimiter = ',')]
    topics: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// Where one group goes on.
type Plan = BTreeMap<Place, i64>;

impl ResetArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let scope = Scope::parse(&self.topics).map_err(Failure::usage)?;
        if scope.is_empty() && !self.all_topics && self.from_file.is_none() {
            return Err(Failure::usage(
                "say which topics: --topic, --all-topics or --from-file",
            ));
        }
        let mut cluster = self.connect.connect(runtime).await?;
        let mut names: Vec<String> = self.names.iter().chain(&self.flagged).cloned().collect();
        if self.all_groups {
            names.extend(list::groups(&mut cluster).await?.into_keys());
        } else if names.is_empty() {
            return Err(Failure::usage("name a group, or say --all-groups"));
        }
        let listed = match &self.from_file {
            Some(path) => Some(read_offsets(path)?),
            None => None,
        };
        let mut plans = Vec::new();
        for name in &names {
            let target = self.target(runtime, name, listed.as_ref())?;
            plans.push((
                name.clone(),
                plan(&mut cluster, name, &scope, &target).await?,
            ));
        }
        if self.execute {
            for (name, plan) in &plans {
                commit(&mut cluster, name, plan).await?;
            }
        }
        show(self.output, self.export, &plans)
    }

    fn target(
        &self,
        runtime: &Runtime,
        group: &str,
        listed: Option<&BTreeMap<String, Plan>>,
    ) -> Outcome<Target> {
        if let Some(listed) = listed {
            let own = listed.get(group).or_else(|| listed.get(""));
            let own = own.ok_or_else(|| {
                Failure::Said(format!("the file says nothing about group {group}"))
            })?;
            return Ok(Target::Listed(own.clone()));
        }
        let choices = [
            self.to_earliest.then_some(Target::Earliest),
            self.to_latest.then_some(Target::Latest),
            self.to_current.then_some(Target::Current),
            self.to_offset.map(Target::At),
            self.shift_by.map(Target::Shift),
            self.to_datetime.map(Target::Time),
            self.by_duration
                .map(|duration| Target::Time(runtime.wall_clock_ms().saturating_sub(duration))),
        ];
        let chosen = choices.into_iter().flatten().next();
        chosen.ok_or_else(|| Failure::usage("say where to: --to-earliest, --to-latest, --to-current, --to-offset, --shift-by, --by-duration, --to-datetime or --from-file"))
    }
}

impl SeekArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let scope = Scope::parse(&self.topics).map_err(Failure::usage)?;
        let mut cluster = self.connect.connect(runtime).await?;
        let target = match (&self.to, &self.to_group, &self.to_file) {
            (Some(to), ..) => seek_target(to).map_err(Failure::usage)?,
            (_, Some(other), _) => Target::Listed(committed(&mut cluster, other).await?),
            (.., Some(path)) => Target::Listed(read_offsets(path)?.remove("").unwrap_or_default()),
            _ => unreachable!("one of them is required"),
        };
        let plan = plan(&mut cluster, &self.group, &scope, &target).await?;
        commit(&mut cluster, &self.group, &plan).await?;
        show(self.output, false, &[(self.group, plan)])
    }
}

fn seek_target(text: &str) -> Result<Target, String> {
    match text {
        "start" => return Ok(Target::Earliest),
        "end" => return Ok(Target::Latest),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        // Ten digits are seconds until the year 2286, thirteen are milliseconds.
        let milliseconds = if text.len() <= 11 {
            number.saturating_mul(1_000)
        } else {
            number
        };
        return Ok(Target::Time(milliseconds));
    }
    time::parse_datetime_ms(text).map(Target::Time)
}

fn read_offsets(path: &PathBuf) -> Outcome<BTreeMap<String, Plan>> {
    let told = |problem: String| Failure::Said(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    parse_offsets(&text).map_err(told)
}

/// Asks what is and decides.
async fn plan(cluster: &mut Cluster, group: &str, scope: &Scope, target: &Target) -> Outcome<Plan> {
    let described = Group::ask(cluster, group).await?;
    if !described.is_inactive() {
        let state = &described.state;
        return Err(Failure::Said(format!(
            "group {group}: offsets can be set only while it has no members; it is {state}"
        )));
    }
    let current = committed(cluster, group).await?;
    let mut names: BTreeSet<String> = scope.topics().into_iter().map(str::to_owned).collect();
    if let (Target::Listed(offsets), true) = (target, scope.is_empty()) {
        names.extend(offsets.keys().map(|(topic, _)| topic.clone()));
    } else if scope.is_empty() {
        names.extend(current.keys().map(|(topic, _)| topic.clone()));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut plan = Plan::new();
    if names.is_empty() {
        return Ok(plan);
    }
    for topic in cluster.topics(Some(&names), false).await? {
        if topic.error_code != 0 {
            return Err(Failure::Said(format!(
                "topic {}: {}",
                topic.name,
                error_name(topic.error_code)
            )));
        }
        let indexes = topic.partitions.iter().map(|partition| partition.index);
        let in_scope = |index: &i32| {
            let place = (topic.name.clone(), *index);
            match scope.is_empty() {
                // Only where the group is; a file says itself where.
                true => matches!(target, Target::Listed(_)) || current.contains_key(&place),
                false => scope.contains(&place),
            }
        };
        let indexes: Vec<i32> = indexes.filter(in_scope).collect();
        let starts = offsets::list(cluster, &topic, &indexes, EARLIEST).await?;
        let ends = offsets::list(cluster, &topic, &indexes, LATEST).await?;
        let times = match target {
            Target::Time(time) => offsets::list(cluster, &topic, &indexes, *time).await?,
            _ => BTreeMap::new(),
        };
        for index in indexes {
            let place = (topic.name.clone(), index);
            let known = Known {
                start: starts[&index],
                end: ends[&index],
                current: current.get(&place).copied(),
                by_time: times.get(&index).copied().filter(|offset| *offset >= 0),
            };
            if let Some(offset) = target.offset(&place, known).map_err(Failure::Said)? {
                plan.insert(place, offset);
            }
        }
    }
    Ok(plan)
}

/// Commits as nobody's member, which a coordinator takes while the group is empty.
async fn commit(cluster: &mut Cluster, group: &str, plan: &Plan) -> Outcome<()> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
    for ((topic, index), offset) in plan {
        topics
            .entry(topic)
            .or_default()
            .push(OffsetCommitRequestPartition {
                partition_index: *index,
                committed_offset: *offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(""),
                ..Default::default()
            });
    }
    let topics: Vec<OffsetCommitRequestTopic<'_>> = topics
        .into_iter()
        .map(|(name, partitions)| OffsetCommitRequestTopic {
            name,
            partitions,
            ..Default::default()
        })
        .collect();
    let request = |_| {
        Request::OffsetCommit(OffsetCommitRequest {
            group_id: group,
            generation_id_or_member_epoch: -1,
            member_id: "",
            retention_time_ms: -1,
            topics: topics.clone(),
            ..Default::default()
        })
    };
    ask(
        cluster,
        group,
        (ApiKey::OffsetCommit, OFFSET_COMMIT_BY_NAME),
        request,
        |answer, _| {
            let response = answer.decode(OffsetCommitResponse::decode)?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let code = partition.error_code;
                    if comes_later(code) {
                        return Ok((code, ()));
                    }
                    if code != 0 {
                        let (index, name) = (partition.partition_index, error_name(code));
                        return Err(Failure::Said(format!(
                            "group {group}: {}-{index}: {name}",
                            topic.name
                        )));
                    }
                }
            }
            Ok((0, ()))
        },
    )
    .await
}

fn show(output: OutputArguments, export: bool, plans: &[(String, Plan)]) -> Outcome<()> {
    let rows: Vec<Vec<String>> = plans
        .iter()
        .flat_map(|(group, plan)| {
            plan.iter().map(|((topic, index), offset)| {
                vec![
                    group.clone(),
                    topic.clone(),
                    index.to_string(),
                    offset.to_string(),
                ]
            })
        })
        .collect();
    if export && !output.is_json() {
        let skipped = if plans.len() == 1 { 1 } else { 0 };
        let lines: String = rows
            .iter()
            .map(|row| format!("{}\n", row[skipped..].join(",")))
            .collect();
        return output::write(lines.as_bytes());
    }
    output.rows(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &rows)
}
