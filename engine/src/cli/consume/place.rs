//! Where reading begins and ends: what `--offset` says.

use std::collections::BTreeMap;

use net::cluster::{Cluster, Topic};

use super::super::offsets::{self, EARLIEST, LATEST};
use super::super::{Outcome, time};

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: Place,
    pub(super) end: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    At(i64),
    BeforeEnd(i64),
    AfterStart(i64),
    /// The first record of this time or later, in milliseconds.
    Time(i64),
}

impl Span {
    pub(super) fn parse(text: &str) -> Result<Span, String> {
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
    pub(super) async fn find(
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

#[cfg(test)]
mod tests {
    use super::*;

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
