//! Where a group shall go on: the decisions of a reset, without I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Place;

/// Which partitions are meant: whole topics and single partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    topics: BTreeSet<String>,
    partitions: BTreeSet<Place>,
}

impl Scope {
    /// Parses `t` and `t:0,1`. A topic has no colon in its name.
    pub(super) fn parse(texts: &[String]) -> Result<Scope, String> {
        let mut scope = Scope::default();
        for text in texts {
            let Some((topic, partitions)) = text.split_once(':') else {
                scope.topics.insert(text.clone());
                continue;
            };
            for partition in partitions.split(',') {
                let index = partition.trim().parse();
                let index: i32 =
                    index.map_err(|_| format!("{text}: give partitions as {topic}:0,1"))?;
                scope.partitions.insert((topic.to_owned(), index));
            }
        }
        Ok(scope)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.partitions.is_empty()
    }

    pub(super) fn contains(&self, place: &Place) -> bool {
        self.topics.contains(&place.0) || self.partitions.contains(place)
    }

    /// The partitions that are named one by one.
    pub(super) fn named(&self) -> impl Iterator<Item = Place> + '_ {
        self.partitions.iter().cloned()
    }

    /// All topics that are named.
    pub(super) fn topics(&self) -> BTreeSet<&str> {
        let single = self.partitions.iter().map(|(topic, _)| topic.as_str());
        self.topics
            .iter()
            .map(String::as_str)
            .chain(single)
            .collect()
    }
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    /// Where the group is, or the end where it never was.
    Current,
    At(i64),
    /// Relative to where the group is.
    Shift(i64),
    /// The first record at or after this time, in milliseconds.
    Time(i64),
    /// Offset by offset.
    Listed(BTreeMap<Place, i64>),
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) start: i64,
    pub(super) end: i64,
    /// What the group committed.
    pub(super) current: Option<i64>,
    /// The first offset of the target's time; none if all records are older.
    pub(super) by_time: Option<i64>,
}

impl Target {
    /// Where the group goes on in that partition; `None` leaves it as it is. Never outside of the log.
    pub(super) fn offset(&self, place: &Place, known: Known) -> Result<Option<i64>, String> {
        let wanted = match self {
            Target::Earliest => known.start,
            Target::Latest => known.end,
            Target::Current => known.current.unwrap_or(known.end),
            Target::At(offset) => *offset,
            Target::Shift(by) => match known.current {
                Some(current) => current.saturating_add(*by),
                None => {
                    return Err(format!(
                        "{}-{}: the group has no offset to shift",
                        place.0, place.1
                    ));
                }
            },
            Target::Time(_) => known.by_time.unwrap_or(known.end),
            Target::Listed(offsets) => match offsets.get(place) {
                Some(offset) => *offset,
                None => return Ok(None),
            },
        };
        Ok(Some(wanted.clamp(known.start, known.end)))
    }
}

/// Reads `topic,partition,offset` lines, or the same with the group before them; by group, empty where none is said.
pub(super) fn parse_offsets(text: &str) -> Result<BTreeMap<String, BTreeMap<Place, i64>>, String> {
    let mut found: BTreeMap<String, BTreeMap<Place, i64>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        // rpk separates with spaces, Kafka with commas; neither may stand in a topic's name.
        let fields: Vec<&str> = line
            .split(|letter: char| letter == ',' || letter.is_whitespace())
            .map(|field| field.trim_matches('"'))
            .filter(|field| !field.is_empty())
            .collect();
        let (group, topic, partition, offset) = match fields[..] {
            [] => continue,
            [topic, partition, offset] => ("", topic, partition, offset),
            [group, topic, partition, offset] => (group, topic, partition, offset),
            _ => return Err(format!("line {}: want topic,partition,offset", number + 1)),
        };
        let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
            return Err(format!(
                "line {}: partition and offset are numbers",
                number + 1
            ));
        };
        let places = found.entry(group.to_owned()).or_default();
        places.insert((topic.to_owned(), partition), offset);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        ("t".to_owned(), 0)
    }

    const KNOWN: Known = Known {
        start: 10,
        end: 90,
        current: Some(50),
        by_time: Some(33),
    };

    fn goes(target: Target, known: Known) -> Result<Option<i64>, String> {
        target.offset(&place(), known)
    }

    #[test]
    fn every_target_stays_inside_of_the_log() {
        assert_eq!(goes(Target::Earliest, KNOWN), Ok(Some(10)));
        assert_eq!(goes(Target::Latest, KNOWN), Ok(Some(90)));
        assert_eq!(goes(Target::Current, KNOWN), Ok(Some(50)));
        assert_eq!(goes(Target::At(60), KNOWN), Ok(Some(60)));
        assert_eq!(
            (goes(Target::At(3), KNOWN), goes(Target::At(99), KNOWN)),
            (Ok(Some(10)), Ok(Some(90)))
        );
        assert_eq!(goes(Target::Shift(-5), KNOWN), Ok(Some(45)));
        assert_eq!(goes(Target::Shift(i64::MAX), KNOWN), Ok(Some(90)));
        assert_eq!(goes(Target::Time(7), KNOWN), Ok(Some(33)));
        let young = Known {
            by_time: None,
            current: None,
            ..KNOWN
        };
        assert_eq!(goes(Target::Time(7), young), Ok(Some(90)));
        assert_eq!(goes(Target::Current, young), Ok(Some(90)));
        assert!(goes(Target::Shift(1), young).is_err());
        let listed = Target::Listed(BTreeMap::from([(place(), 20)]));
        assert_eq!(goes(listed.clone(), KNOWN), Ok(Some(20)));
        assert_eq!(listed.offset(&("t".to_owned(), 1), KNOWN), Ok(None));
    }

    #[test]
    fn topics_may_come_with_partitions() {
        let scope = Scope::parse(&["a".to_owned(), "b:0,2".to_owned()]).expect("good");
        assert!(scope.contains(&("a".to_owned(), 7)) && scope.contains(&("b".to_owned(), 2)));
        assert!(!scope.contains(&("b".to_owned(), 1)));
        assert_eq!(scope.topics(), BTreeSet::from(["a", "b"]));
        assert!(Scope::parse(&["b:x".to_owned()]).is_err());
    }

    #[test]
    fn offsets_are_read_as_they_are_exported() {
        let one = parse_offsets("t,0,5\n\n\"u\",1,7\n").expect("good");
        assert_eq!(
            one[""],
            BTreeMap::from([(("t".to_owned(), 0), 5), (("u".to_owned(), 1), 7)])
        );
        let two = parse_offsets("g,t,0,5\nh,t,0,6\n").expect("good");
        assert_eq!((two["g"][&place()], two["h"][&place()]), (5, 6));
        assert_eq!(parse_offsets("t 0 5").expect("rpk's form")[""][&place()], 5);
        assert!(parse_offsets("t,0").is_err() && parse_offsets("t,0,x").is_err());
    }
}
