//! `tidelog consume`: reads partitions from their leaders and prints the records, either those that were asked for or
//! those that a consumer group gives us.
//!
//! Invariant: a partition's records are printed in order, each once, starting at the offset asked for; in a group
//! again from the committed offset whenever the partition comes back to us.

mod fetch;
mod group;
mod member;
mod place;
mod printer;
mod range;

use clap::Args;
use net::platform::Runtime;

use self::fetch::Source;
use self::place::{Place, Span};
use self::printer::Printer;
use super::template::Template;
use super::{ConnectArguments, Failure, Outcome, error_name, topic_with_leaders};
use crate::api::error_code::ErrorCode;

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
    /// Read as a member of this consumer group, which shares the partitions out: begins where the group has committed (--offset says where if it has not: start or end), and commits what was printed.
    #[arg(short, long, value_name = "GROUP", conflicts_with = "partitions")]
    group: Option<String>,
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

impl ConsumeArguments {
    pub(super) async fn run(self, runtime: Runtime) -> Outcome<()> {
        let name = self
            .topic
            .or(self.flagged)
            .expect("one of them is required");
        if let Some(group) = &self.group {
            group::check(group, self.offset)?;
        }
        let mut cluster = self.connect.connect(&runtime).await?;
        let topic = topic_with_leaders(&mut cluster, &name, false).await?;
        let partitions = match self.partitions.is_empty() {
            true => topic
                .partitions
                .iter()
                .map(|partition| partition.index)
                .collect(),
            false => self.partitions,
        };
        let end = self.offset.end.or(self.until_end.then_some(Place::End));
        let ends = match end {
            Some(end) => Some(end.find(&mut cluster, &topic, &partitions).await?),
            None => None,
        };
        let mut printer = Printer::new(self.format, &name, self.num, ends);
        let begin = self.offset.begin;
        if let Some(group) = self.group {
            let source = Source::new(cluster, topic);
            return group::consume(source, printer, group, begin).await;
        }
        printer.positions = begin.find(&mut cluster, &topic, &partitions).await?;
        consume(Source::new(cluster, topic), printer).await
    }
}

async fn consume(mut source: Source, mut printer: Printer) -> Outcome<()> {
    while !printer.wanted().is_empty() {
        if let Some(partition) = source.print_more(&mut printer).await? {
            let name = error_name(ErrorCode::OffsetOutOfRange.code());
            return Err(Failure::Said(format!(
                "{}-{partition}: {name}",
                source.topic.name
            )));
        }
    }
    Ok(())
}
