//! `tidelog consume --group`: reads what the group gives us, and commits what was printed.
//!
//! Invariant: an offset is committed only after the records before it were written to the standard output, so every
//! record is printed by some member at least once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_lite::future;
use net::platform::Runtime;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::super::group::committed;
use super::super::offsets::{self, EARLIEST, LATEST};
use super::super::{Failure, Outcome};
use super::fetch::Source;
use super::member::{Member, Standing};
use super::place::{Place, Span};
use super::printer::Printer;

/// Often enough that a rebalance does not wait for us.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Kafka's `auto.commit.interval.ms`.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How often the partitions are counted: new ones have to be shared out.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);
/// Pause of a member that has nothing to read.
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// How often a signal is looked for.
const SIGNAL_PAUSE: Duration = Duration::from_millis(50);

/// Whether these options make sense together.
pub(super) fn check(group: &str, span: Span) -> Outcome<()> {
    if group.is_empty() {
        return Err(Failure::usage("--group needs a name"));
    }
    let begins = matches!(span.begin, Place::Start | Place::End);
    if !begins || !matches!(span.end, None | Some(Place::End)) {
        return Err(Failure::usage(
            "with --group the committed offsets say where to begin; --offset may be start or end, for partitions without one, and :end. \
             To move a group use tidelog group seek",
        ));
    }
    Ok(())
}

/// Reads as a member of `group` until the printer is done or a signal comes. `begin`: where to begin in a partition
/// without a committed offset.
pub(super) async fn consume(
    source: Source,
    printer: Printer,
    group: String,
    begin: Place,
) -> Outcome<()> {
    let stop = Stop::on_signals()?;
    let runtime = source.cluster.runtime().clone();
    let member = Member::new(group, source.topic.name.clone());
    let mut reader = Reader {
        source,
        printer,
        member,
        begin,
        committed: BTreeMap::new(),
    };
    let read = future::or(stop.wait(&runtime), reader.read()).await;
    let committed = match &read {
        // How much of it was seen is not known: the next member shows it again.
        Err(Failure::OutputClosed) => Ok(Standing::Holds),
        _ => reader.commit().await,
    };
    let group = reader.member.group().to_owned();
    // A coordinator that does not hear it waits for our session's end.
    let _ = reader.member.leave(&mut reader.source.cluster).await;
    read?;
    if committed? == Standing::Rejoin {
        eprintln!(
            "tidelog: group {group} went on without us: what was printed last may be read again"
        );
    }
    Ok(())
}

struct Reader {
    source: Source,
    printer: Printer,
    member: Member,
    begin: Place,
    /// What the coordinator has of our partitions.
    committed: BTreeMap<i32, i64>,
}

impl Reader {
    /// Joins, reads until the group is rebalanced, and so on.
    async fn read(&mut self) -> Outcome<()> {
        loop {
            self.printer.positions.clear();
            let partitions = self.member.join(&mut self.source.cluster).await?;
            self.source.refresh().await;
            self.begin_at(&partitions).await?;
            if self.read_on().await? == Standing::Holds {
                return Ok(());
            }
        }
    }

    /// Prints our partitions until the printer is done or the group is to be joined again.
    async fn read_on(&mut self) -> Outcome<Standing> {
        let runtime = self.source.cluster.runtime().clone();
        let started = runtime.monotonic();
        let (mut heartbeat, mut commit, mut metadata) = (started, started, started);
        let count = self.source.topic.partitions.len();
        while !self.printer.is_done() {
            if self.printer.wanted().is_empty() {
                runtime.sleep(IDLE_PAUSE).await;
            } else if let Some(partition) = self.source.print_more(&mut self.printer).await? {
                self.begin_at(&[partition]).await?;
            }
            let now = runtime.monotonic();
            if now - heartbeat >= HEARTBEAT_INTERVAL {
                heartbeat = now;
                if self.member.heartbeat(&mut self.source.cluster).await? == Standing::Rejoin {
                    // The coordinator still takes offsets while it waits for the members.
                    self.commit().await?;
                    return Ok(Standing::Rejoin);
                }
            }
            if now - commit >= COMMIT_INTERVAL {
                commit = now;
                if self.commit().await? == Standing::Rejoin {
                    return Ok(Standing::Rejoin);
                }
            }
            if now - metadata >= METADATA_INTERVAL {
                metadata = now;
                self.source.refresh().await;
                if self.source.topic.partitions.len() != count {
                    self.commit().await?;
                    return Ok(Standing::Rejoin);
                }
            }
        }
        Ok(Standing::Holds)
    }

    /// Sets the positions of these partitions: what the group committed, if the log has it, else where `--offset` says.
    async fn begin_at(&mut self, partitions: &[i32]) -> Outcome<()> {
        let Source { cluster, topic, .. } = &mut self.source;
        let starts = offsets::list(cluster, topic, partitions, EARLIEST).await?;
        let ends = offsets::list(cluster, topic, partitions, LATEST).await?;
        let mut committed = committed(cluster, self.member.group()).await?;
        for partition in partitions {
            let (start, end) = (starts[partition], ends[partition]);
            let last = committed.remove(&(topic.name.clone(), *partition));
            let otherwise = match self.begin {
                Place::End => end,
                _ => start,
            };
            let position = last.filter(|offset| (start..=end).contains(offset));
            let position = position.unwrap_or(otherwise);
            self.printer.positions.insert(*partition, position);
            match last {
                Some(last) => self.committed.insert(*partition, last),
                None => self.committed.remove(partition),
            };
        }
        Ok(())
    }

    /// Commits what was printed since the last time.
    async fn commit(&mut self) -> Outcome<Standing> {
        let news: BTreeMap<i32, i64> = self
            .printer
            .positions
            .iter()
            .filter(|(partition, next)| self.committed.get(partition) != Some(next))
            .map(|(partition, next)| (*partition, *next))
            .collect();
        if news.is_empty() {
            return Ok(Standing::Holds);
        }
        let standing = self.member.commit(&mut self.source.cluster, &news).await?;
        if standing == Standing::Holds {
            self.committed.extend(news);
        }
        Ok(standing)
    }
}

/// A wish to end, from the terminal or the system; the second one ends the process at once.
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn on_signals() -> Outcome<Stop> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first one finds the flag down.
            flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()))
                .map_err(|error| Failure::Said(format!("signals cannot be handled: {error}")))?;
        }
        Ok(Stop(asked))
    }

    async fn wait(&self, runtime: &Runtime) -> Outcome<()> {
        while !self.0.load(Ordering::Relaxed) {
            runtime.sleep(SIGNAL_PAUSE).await;
        }
        Ok(())
    }
}
