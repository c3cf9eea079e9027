//! How a group's leader shares partitions out, and the bytes in which members tell each other: Kafka's consumer
//! protocol and its range assignor, so that every member of the group may be of another client. Pure.

use std::collections::{BTreeMap, BTreeSet};

use net::messages::data::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use net::messages::data::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::wire::{DecodeError, Reader, Writer};

/// Name of the assignor in JoinGroup.
pub(super) const NAME: &str = "range";
/// The version that we write: the first one, which every client reads.
const WRITTEN: i16 = 0;

/// Topics with partitions.
pub(super) type Shares = BTreeMap<String, Vec<i32>>;

/// A member as the leader sees it. In the order in which Kafka's assignors deal: static members first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) is_dynamic: bool,
    pub(super) instance: Option<String>,
    pub(super) id: String,
    pub(super) topics: BTreeSet<String>,
}

/// Each topic's partitions in runs, one for every member that subscribes to it; the first ones get the remainder.
/// Every member is in the answer, with or without partitions.
pub(super) fn share(mut members: Vec<Candidate>, topics: &Shares) -> BTreeMap<String, Shares> {
    members.sort();
    let mut shares: BTreeMap<String, Shares> = members
        .iter()
        .map(|member| (member.id.clone(), Shares::new()))
        .collect();
    for (topic, partitions) in topics {
        let subscribed = members
            .iter()
            .filter(|member| member.topics.contains(topic));
        let subscribed: Vec<&Candidate> = subscribed.collect();
        let mut rest = &partitions[..];
        for (index, member) in subscribed.iter().enumerate() {
            let (run, others) = rest.split_at(rest.len().div_ceil(subscribed.len() - index));
            rest = others;
            if !run.is_empty() {
                let own = shares.entry(member.id.clone()).or_default();
                own.insert(topic.clone(), run.to_vec());
            }
        }
    }
    shares
}

/// What a member that reads `topic` says of itself.
pub(super) fn subscription(topic: &str) -> Vec<u8> {
    let subscription = ConsumerProtocolSubscription {
        topics: vec![topic],
        ..Default::default()
    };
    let mut writer = Writer::new();
    writer.put_i16(WRITTEN);
    subscription
        .encode(&mut writer, WRITTEN)
        .expect("a topic's name fits");
    writer.to_vec()
}

/// The topics that a member reads; none where its bytes are of another form.
pub(super) fn subscribed(bytes: &[u8]) -> BTreeSet<String> {
    let read = read(bytes, ConsumerProtocolSubscription::decode);
    read.map(|subscription| {
        subscription
            .topics
            .iter()
            .map(ToString::to_string)
            .collect()
    })
    .unwrap_or_default()
}

/// What a member is told to read.
pub(super) fn assignment(shares: &Shares) -> Vec<u8> {
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: shares
            .iter()
            .map(|(topic, partitions)| TopicPartition {
                topic,
                partitions: partitions.clone(),
            })
            .collect(),
        user_data: None,
    };
    let mut writer = Writer::new();
    writer.put_i16(WRITTEN);
    assignment
        .encode(&mut writer, WRITTEN)
        .expect("what a broker has fits");
    writer.to_vec()
}

/// The partitions of `topic` that we are told to read. A leader may send nothing at all.
pub(super) fn assigned(bytes: &[u8], topic: &str) -> Result<Vec<i32>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment = read(bytes, ConsumerProtocolAssignment::decode)?;
    let own = assignment
        .assigned_partitions
        .into_iter()
        .filter(|part| part.topic == topic);
    Ok(own.flat_map(|part| part.partitions).collect())
}

/// KIP-429: later versions only append, so that the highest one that we know reads them.
fn read<'a, T>(
    bytes: &'a [u8],
    decode: impl FnOnce(&mut Reader<'a>, i16) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.get_i16()?;
    let known = ConsumerProtocolSubscription::VERSIONS;
    decode(&mut reader, version.clamp(*known.start(), *known.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Candidate {
        Candidate {
            is_dynamic: instance.is_none(),
            instance: instance.map(str::to_owned),
            id: id.to_owned(),
            topics: topics.iter().map(ToString::to_string).collect(),
        }
    }

    fn topics(counts: &[(&str, i32)]) -> Shares {
        counts
            .iter()
            .map(|(topic, count)| ((*topic).to_owned(), (0..*count).collect()))
            .collect()
    }

    #[test]
    fn the_first_members_get_the_remainder_of_every_topic() {
        let members = vec![
            member("c", None, &["t", "u"]),
            member("a", None, &["t"]),
            member("b", None, &["t", "u"]),
        ];
        let shares = share(members, &topics(&[("t", 7), ("u", 1)]));
        assert_eq!(shares["a"], Shares::from([("t".into(), vec![0, 1, 2])]));
        assert_eq!(
            shares["b"],
            Shares::from([("t".into(), vec![3, 4]), ("u".into(), vec![0])])
        );
        assert_eq!(shares["c"], Shares::from([("t".into(), vec![5, 6])]));
    }

    #[test]
    fn static_members_come_first_and_a_member_too_many_gets_nothing() {
        let members = vec![
            member("a", None, &["t"]),
            member("z", Some("one"), &["t"]),
            member("y", Some("two"), &["t"]),
        ];
        let shares = share(members, &topics(&[("t", 2)]));
        assert_eq!(shares["z"], Shares::from([("t".into(), vec![0])]));
        assert_eq!(shares["y"], Shares::from([("t".into(), vec![1])]));
        assert_eq!(shares["a"], Shares::new());
    }

    #[test]
    fn what_is_written_is_read_and_garbage_is_not() {
        assert_eq!(subscribed(&subscription("t")), BTreeSet::from(["t".into()]));
        // Version 0, one topic, no user data: as KafkaConsumer of 0.9 wrote it.
        assert_eq!(
            subscription("t"),
            b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff".to_vec()
        );
        let bytes = assignment(&topics(&[("t", 2), ("u", 1)]));
        assert_eq!(assigned(&bytes, "t").expect("good"), vec![0, 1]);
        assert_eq!(assigned(&bytes, "v").expect("good"), Vec::<i32>::new());
        assert_eq!(assigned(b"", "t").expect("nothing"), Vec::<i32>::new());
        assert!(assigned(&bytes[..9], "t").is_err());
        assert!(subscribed(b"\0").is_empty());
    }
}
