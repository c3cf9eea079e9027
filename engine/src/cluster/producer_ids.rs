//! Producer ids: unique for ever, because a block is durable before its first id is used (RELIABILITY I9).

use super::record::Record;
use crate::types::ProducerId;

/// Ids in one block, as in Kafka.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// A range of producer ids that nobody else uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerIdBlock {
    next: i64,
    end: i64,
}

impl ProducerIdBlock {
    /// The block of [`PRODUCER_ID_BLOCK`] ids from `first` on.
    #[must_use]
    pub fn starting_at(first: ProducerId) -> Self {
        Self {
            next: first.0,
            end: first.0 + PRODUCER_ID_BLOCK,
        }
    }

    /// The next id of the block; `None` when it is used up.
    pub fn take(&mut self) -> Option<ProducerId> {
        (self.next < self.end).then(|| {
            self.next += 1;
            ProducerId(self.next - 1)
        })
    }
}

/// Decides AllocateProducerIds: the block's first id and the record that reserves it.
#[must_use]
pub fn allocate(next_producer_id: i64, node_id: i32, broker_epoch: i64) -> (ProducerId, Record) {
    let next = next_producer_id + PRODUCER_ID_BLOCK;
    (
        ProducerId(next_producer_id),
        Record::ProducerIds {
            node_id,
            broker_epoch,
            next,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_without_overlap() {
        let (first, record) = allocate(3000, 1, 7);
        assert_eq!(
            (first, record),
            (
                ProducerId(3000),
                Record::ProducerIds {
                    node_id: 1,
                    broker_epoch: 7,
                    next: 4000
                }
            )
        );
        let mut block = ProducerIdBlock::starting_at(first);
        let ids: Vec<i64> = std::iter::from_fn(|| block.take()).map(|id| id.0).collect();
        assert_eq!(ids, (3000..4000).collect::<Vec<i64>>());
    }
}
