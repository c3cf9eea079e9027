//! `tidelog group describe`: offsets with lag, members, or state.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use net::cluster::Cluster;
use net::platform::Runtime;
use serde_json::{Value, json};

use super::super::offsets::{self, LATEST};
use super::super::output::{self, NOTHING, OutputArguments, table};
use super::facts::{Group, Member, Place, committed};
use super::{ConnectArguments, Failure, Outcome, list};

/// Which groups, and what of them.
#[derive(Debug, Clone, Args)]
pub struct DescribeArguments {
    /// Names of groups.
    #[arg(value_name = "GROUP")]
    names: Vec<String>,
    /// The same, as Kafka's tools want it; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    flagged: Vec<String>,
    /// All groups.
    #[arg(long)]
    all_groups: bool,
    /// Offsets and lag by partition; this is what is shown if nothing else is asked for.
    #[arg(long, group = "what")]
    offsets: bool,
    /// The members.
    #[arg(long, group = "what")]
    members: bool,
    /// The state.
    #[arg(long, group = "what")]
    state: bool,
    /// With --members: which partitions each has.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    connect: ConnectArguments,
}

/// A partition of a group.
struct Line<'a> {
    place: Place,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<&'a Member>,
}

impl Line<'_> {
    /// Records that the group has not read. Nothing committed is nothing known.
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

impl DescribeArguments {
    pub(super) async fn run(self, runtime: &Runtime) -> Outcome<()> {
        let mut cluster = self.connect.connect(runtime).await?;
        let mut names: Vec<String> = self.names.iter().chain(&self.flagged).cloned().collect();
        if self.all_groups {
            names.extend(list::groups(&mut cluster).await?.into_keys());
        } else if names.is_empty() {
            return Err(Failure::usage("name a group, or say --all-groups"));
        }
        let (mut told, mut failed) = (Vec::new(), false);
        for (index, name) in names.iter().enumerate() {
            let group = Group::ask(&mut cluster, name).await?;
            let committed = committed(&mut cluster, name).await?;
            if group.is_absent() && committed.is_empty() {
                eprintln!("tidelog: group {name} does not exist");
                failed = true;
                continue;
            }
            let lines = lines(&mut cluster, &group, &committed).await?;
            if self.output.is_json() {
                told.push(json(name, &group, &lines));
                continue;
            }
            let separator = if index > 0 { "\n" } else { "" };
            let text = match (self.members, self.state) {
                (true, _) => members(name, &group, self.verbose),
                (_, true) => state(name, &group),
                _ => offsets_text(name, &group, &lines),
            };
            output::write(format!("{separator}{text}").as_bytes())?;
        }
        if self.output.is_json() {
            output::json(&Value::Array(told))?;
        }
        if failed { Err(Failure::Shown) } else { Ok(()) }
    }
}

/// Everything that is committed or assigned.
async fn lines<'a>(
    cluster: &mut Cluster,
    group: &'a Group,
    committed: &BTreeMap<Place, i64>,
) -> Outcome<Vec<Line<'a>>> {
    let mut owners: BTreeMap<&Place, &Member> = BTreeMap::new();
    for member in &group.members {
        owners.extend(member.partitions.iter().map(|place| (place, member)));
    }
    let places: BTreeSet<Place> = committed
        .keys()
        .chain(owners.keys().copied())
        .cloned()
        .collect();
    let ends = ends(cluster, &places).await?;
    let line = |place: Place| Line {
        committed: committed.get(&place).copied(),
        end: ends.get(&place).copied(),
        member: owners.get(&place).copied(),
        place,
    };
    Ok(places.into_iter().map(line).collect())
}

/// The log ends of those partitions that exist and have a leader.
async fn ends(cluster: &mut Cluster, places: &BTreeSet<Place>) -> Outcome<BTreeMap<Place, i64>> {
    let topics: BTreeSet<&str> = places.iter().map(|(topic, _)| topic.as_str()).collect();
    let names: Vec<&str> = topics.into_iter().collect();
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    for topic in cluster.topics(Some(&names), false).await? {
        let led = topic
            .partitions
            .iter()
            .filter(|partition| partition.leader >= 0);
        let wanted: Vec<i32> = led
            .map(|partition| partition.index)
            .filter(|index| places.contains(&(topic.name.clone(), *index)))
            .collect();
        let ends = offsets::list(cluster, &topic, &wanted, LATEST).await?;
        found.extend(
            ends.into_iter()
                .map(|(index, end)| ((topic.name.clone(), index), end)),
        );
    }
    Ok(found)
}

fn shown(number: Option<i64>) -> String {
    number.map_or(NOTHING.to_owned(), |number| number.to_string())
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() {
        NOTHING.to_owned()
    } else {
        text.to_owned()
    }
}

fn offsets_text(name: &str, group: &Group, lines: &[Line<'_>]) -> String {
    let lag: i64 = lines.iter().filter_map(Line::lag).sum();
    let mut text = format!(
        "group        {name}\ntype         {}\nstate        {}\nassignor     {}\ncoordinator  {}\nmembers      {}\nlag          {lag}\n\n",
        group.kind,
        or_nothing(&group.state),
        or_nothing(&group.assignor),
        group.coordinator,
        group.members.len()
    );
    let row = |line: &Line<'_>| {
        let member = |field: fn(&Member) -> &str| {
            line.member
                .map_or(NOTHING.to_owned(), |member| or_nothing(field(member)))
        };
        vec![
            name.to_owned(),
            line.place.0.clone(),
            line.place.1.to_string(),
            shown(line.committed),
            shown(line.end),
            shown(line.lag()),
            member(|member| &member.id),
            member(|member| &member.host),
            member(|member| &member.client_id),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let head = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    text.push_str(&table(&head, &rows));
    text
}

/// `a(0,1), b(2)`.
fn partitions(member: &Member) -> String {
    let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (topic, index) in &member.partitions {
        by_topic.entry(topic).or_default().push(index.to_string());
    }
    let topics: Vec<String> = by_topic
        .into_iter()
        .map(|(topic, indexes)| format!("{topic}({})", indexes.join(",")))
        .collect();
    or_nothing(&topics.join(", "))
}

fn members(name: &str, group: &Group, verbose: bool) -> String {
    let row = |member: &Member| {
        let mut row = vec![
            name.to_owned(),
            member.id.clone(),
            member
                .instance
                .clone()
                .unwrap_or_else(|| NOTHING.to_owned()),
            or_nothing(&member.host),
            or_nothing(&member.client_id),
            member.partitions.len().to_string(),
        ];
        if verbose {
            row.push(partitions(member));
        }
        row
    };
    let rows: Vec<Vec<String>> = group.members.iter().map(row).collect();
    let mut head = vec![
        "GROUP",
        "CONSUMER-ID",
        "INSTANCE-ID",
        "HOST",
        "CLIENT-ID",
        "#PARTITIONS",
    ];
    if verbose {
        head.push("ASSIGNMENT");
    }
    table(&head, &rows)
}

fn state(name: &str, group: &Group) -> String {
    let row = vec![
        name.to_owned(),
        group.coordinator.to_string(),
        or_nothing(&group.assignor),
        or_nothing(&group.state),
        group.members.len().to_string(),
    ];
    table(
        &[
            "GROUP",
            "COORDINATOR",
            "ASSIGNMENT-STRATEGY",
            "STATE",
            "#MEMBERS",
        ],
        &[row],
    )
}

fn json(name: &str, group: &Group, lines: &[Line<'_>]) -> Value {
    let place = |(topic, index): &Place| json!({"topic": topic, "partition": index});
    let member = |member: &Member| {
        json!({
            "member_id": member.id,
            "instance_id": member.instance,
            "client_id": member.client_id,
            "host": member.host,
            "partitions": member.partitions.iter().map(place).collect::<Vec<_>>(),
        })
    };
    let line = |line: &Line<'_>| {
        json!({
            "topic": line.place.0,
            "partition": line.place.1,
            "current_offset": line.committed,
            "log_end_offset": line.end,
            "lag": line.lag(),
            "member_id": line.member.map(|member| &member.id),
        })
    };
    json!({
        "group": name,
        "type": group.kind,
        "state": group.state,
        "protocol": group.protocol,
        "assignor": group.assignor,
        "coordinator": group.coordinator,
        "lag": lines.iter().filter_map(Line::lag).sum::<i64>(),
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "offsets": lines.iter().map(line).collect::<Vec<_>>(),
    })
}
