//! The body of a checkpoint file: partitions as one rkyv archive, read by checked access. Pure, any thread.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::partition_checkpoint::{PartitionCheckpoint, QuarantinedRange};
use super::producer_state::{ProducerBatch, ProducerEntry};
use super::segment::SegmentInfo;
use super::transactions::AbortedTransaction;
use crate::types::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId,
};

#[derive(Archive, Serialize, Deserialize)]
struct Body {
    partitions: Vec<Partition>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Partition {
    topic_id: [u8; 16],
    index: i32,
    leader_epoch: i32,
    directory: String,
    log_start: i64,
    end_offset: i64,
    segments: Vec<Segment>,
    epochs: Vec<(i32, i64)>,
    producers: Vec<Producer>,
    aborted: Vec<Aborted>,
    /// First and last offset; those that readers step over once more, with the last offset's complement.
    quarantined: Vec<(i64, i64)>,
    end_unproved: bool,
}

#[derive(Archive, Serialize, Deserialize)]
struct Segment {
    base_offset: i64,
    size: u32,
    max_timestamp: i64,
    offset_of_max_timestamp: i64,
    first_timestamp: i64,
    created_ms: i64,
}

#[derive(Archive, Serialize, Deserialize)]
struct Producer {
    producer_id: i64,
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    last_active_ms: i64,
    transaction_first_offset: Option<i64>,
    batches: Vec<Batch>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Batch {
    last_sequence: i32,
    offset_delta: i32,
    last_offset: i64,
    timestamp: i64,
}

#[derive(Archive, Serialize, Deserialize)]
struct Aborted {
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

/// The body for these partitions.
pub fn encode_body(partitions: &[PartitionCheckpoint]) -> AlignedVec {
    let body = Body {
        partitions: partitions.iter().map(to_archive).collect(),
    };
    rkyv::to_bytes::<Error>(&body).expect("plain values can always be archived")
}

/// The partitions of a body whose checksum held; the error says what is malformed.
pub fn decode_body(body: &[u8]) -> Result<Vec<PartitionCheckpoint>, String> {
    let mut aligned = AlignedVec::<16>::with_capacity(body.len());
    aligned.extend_from_slice(body);
    let body = rkyv::from_bytes::<Body, Error>(&aligned).map_err(|error| error.to_string())?;
    if let Some(partition) = body.partitions.iter().find(|one| has_inverted_range(one)) {
        return Err(format!(
            "{} has a damaged range that ends before it begins",
            partition.directory
        ));
    }
    Ok(body.partitions.into_iter().map(from_archive).collect())
}

fn to_archive(partition: &PartitionCheckpoint) -> Partition {
    Partition {
        topic_id: partition.id.topic_id.0,
        index: partition.id.index,
        leader_epoch: partition.leader_epoch.0,
        directory: partition.directory.clone(),
        log_start: partition.log_start.0,
        end_offset: partition.end_offset.0,
        segments: partition
            .segments
            .iter()
            .map(|segment| Segment {
                base_offset: segment.base_offset.0,
                size: segment.size,
                max_timestamp: segment.max_timestamp,
                offset_of_max_timestamp: segment.offset_of_max_timestamp.0,
                first_timestamp: segment.first_timestamp,
                created_ms: segment.created_ms,
            })
            .collect(),
        epochs: partition
            .epochs
            .iter()
            .map(|(epoch, offset)| (epoch.0, offset.0))
            .collect(),
        producers: partition
            .producers
            .iter()
            .map(|(id, entry)| producer_to_archive(*id, entry))
            .collect(),
        aborted: partition
            .aborted
            .iter()
            .map(|aborted| Aborted {
                producer_id: aborted.producer_id.0,
                first_offset: aborted.first_offset.0,
                last_offset: aborted.last_offset.0,
                last_stable_offset: aborted.last_stable_offset.0,
            })
            .collect(),
        quarantined: partition
            .quarantined
            .iter()
            .map(|range| (range.first.0, range.last.0))
            .chain(
                partition
                    .stepped_over
                    .iter()
                    .map(|range| (range.first.0, !range.last.0)),
            )
            .collect(),
        end_unproved: partition.end_unproved,
    }
}

fn producer_to_archive(id: ProducerId, entry: &ProducerEntry) -> Producer {
    Producer {
        producer_id: id.0,
        epoch: entry.epoch.0,
        coordinator_epoch: entry.coordinator_epoch,
        last_timestamp: entry.last_timestamp,
        last_active_ms: entry.last_active_ms,
        transaction_first_offset: entry.transaction_first_offset.map(|offset| offset.0),
        batches: entry
            .batches()
            .iter()
            .map(|batch| Batch {
                last_sequence: batch.last_sequence.0,
                offset_delta: batch.offset_delta,
                last_offset: batch.last_offset.0,
                timestamp: batch.timestamp,
            })
            .collect(),
    }
}

fn from_archive(partition: Partition) -> PartitionCheckpoint {
    PartitionCheckpoint {
        id: PartitionId {
            topic_id: TopicId(partition.topic_id),
            index: partition.index,
        },
        directory: partition.directory,
        leader_epoch: LeaderEpoch(partition.leader_epoch),
        log_start: Offset(partition.log_start),
        end_offset: Offset(partition.end_offset),
        segments: partition
            .segments
            .into_iter()
            .map(|segment| SegmentInfo {
                base_offset: Offset(segment.base_offset),
                size: segment.size,
                max_timestamp: segment.max_timestamp,
                offset_of_max_timestamp: Offset(segment.offset_of_max_timestamp),
                first_timestamp: segment.first_timestamp,
                created_ms: segment.created_ms,
            })
            .collect(),
        epochs: partition
            .epochs
            .into_iter()
            .map(|(epoch, offset)| (LeaderEpoch(epoch), Offset(offset)))
            .collect(),
        producers: partition
            .producers
            .into_iter()
            .map(producer_from_archive)
            .collect(),
        aborted: partition
            .aborted
            .into_iter()
            .map(|aborted| AbortedTransaction {
                producer_id: ProducerId(aborted.producer_id),
                first_offset: Offset(aborted.first_offset),
                last_offset: Offset(aborted.last_offset),
                last_stable_offset: Offset(aborted.last_stable_offset),
            })
            .collect(),
        quarantined: ranges(&partition.quarantined, |last| last),
        stepped_over: ranges(&partition.quarantined, |last| !last),
        end_unproved: partition.end_unproved,
    }
}

fn producer_from_archive(producer: Producer) -> (ProducerId, ProducerEntry) {
    let batches: Vec<ProducerBatch> = producer
        .batches
        .iter()
        .map(|batch| ProducerBatch {
            last_sequence: Sequence(batch.last_sequence),
            last_offset: Offset(batch.last_offset),
            offset_delta: batch.offset_delta,
            timestamp: batch.timestamp,
        })
        .collect();
    let entry = ProducerEntry::restore(
        ProducerEpoch(producer.epoch),
        producer.coordinator_epoch,
        producer.last_timestamp,
        producer.last_active_ms,
        producer.transaction_first_offset.map(Offset),
        &batches,
    );
    (ProducerId(producer.producer_id), entry)
}

fn has_inverted_range(partition: &Partition) -> bool {
    let ends = |last: i64| if last < 0 { !last } else { last };
    let mut ranges = partition.quarantined.iter();
    ranges.any(|(first, last)| *first < 0 || ends(*last) < *first)
}

/// The ranges whose last offset is not negative once `read`.
fn ranges(stored: &[(i64, i64)], read: fn(i64) -> i64) -> Vec<QuarantinedRange> {
    let found = stored.iter().filter(|(_, last)| read(*last) >= 0);
    let range = |(first, last): &(i64, i64)| QuarantinedRange {
        first: Offset(*first),
        last: Offset(read(*last)),
    };
    found.map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_before_it_begins_makes_the_checkpoint_damaged() {
        let id = PartitionId {
            topic_id: TopicId([1; 16]),
            index: 0,
        };
        let range = |first, last| QuarantinedRange {
            first: Offset(first),
            last: Offset(last),
        };
        let mut checkpoint = PartitionCheckpoint::empty(id, "orders-0", LeaderEpoch(0), 0);
        for (first, last, good) in [(3, 3, true), (3, 2, false), (-1, 2, false)] {
            for steps_over in [false, true] {
                let (list, other) = match steps_over {
                    false => (&mut checkpoint.quarantined, &mut checkpoint.stepped_over),
                    true => (&mut checkpoint.stepped_over, &mut checkpoint.quarantined),
                };
                *list = vec![range(0, 1), range(first, last)];
                other.clear();
                let body = encode_body(std::slice::from_ref(&checkpoint));
                assert_eq!(decode_body(&body).is_ok(), good, "{first} to {last}");
            }
        }
    }
}
