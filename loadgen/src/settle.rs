//! Holds what producers wrote against what consumers read, once both have ended. Pure.

use std::collections::BTreeMap;

use crate::consumer::ReadBack;
use crate::plan::Phase;
use crate::producer::Ledger;

/// Records that each consuming workload lost, by workload of the phase. A record counts as lost for every copy that
/// misses it. What the broker refused, or never answered, is not missed.
pub(crate) fn settle(
    phase: &Phase,
    ledgers: &[(usize, Ledger)],
    read_back: &[(usize, ReadBack)],
) -> BTreeMap<usize, u64> {
    let mut lost: BTreeMap<usize, u64> = BTreeMap::new();
    let mut by_place: BTreeMap<(&str, i32), Vec<(usize, &ReadBack)>> = BTreeMap::new();
    let is_own = |run: u32| ledgers.iter().any(|(_, ledger)| ledger.run == run);
    for (workload, read) in read_back {
        if !phase.consume[workload - phase.produce.len()].verify {
            continue;
        }
        *lost.entry(*workload).or_default() += read.found.gaps(is_own);
        by_place
            .entry((&read.topic, read.partition))
            .or_default()
            .push((*workload, read));
    }
    for (workload, ledger) in ledgers {
        let produce = &phase.produce[*workload];
        // Values that are too short carry no identity.
        if produce.value.size.min() < crate::identity::IDENTITY_BYTES {
            continue;
        }
        let names = produce.topics.names();
        let mut failed: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
        for (target, first, count) in &ledger.failed {
            failed.entry(*target).or_default().push((*first, *count));
        }
        for (target, (topic, partition, written)) in ledger.written.iter().enumerate() {
            let excused = failed.get(&target).map_or(&[][..], Vec::as_slice);
            let readers = by_place.get(&(names[*topic].as_str(), *partition));
            for (reader, read) in readers.into_iter().flatten() {
                let key = (ledger.run, ledger.producer);
                let stream = read.found.streams.get(&key).cloned().unwrap_or_default();
                let expected = if read.complete {
                    *written
                } else {
                    stream.next.min(*written)
                };
                *lost.entry(*reader).or_default() += stream.lost(expected, excused);
            }
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::verify::Partition;

    fn phase() -> Phase {
        let text =
            "[[phase]]\n[[phase.produce]]\ntopic='t'\nrate=1\n[[phase.consume]]\ntopic='t'\n";
        Plan::parse(text).unwrap().phases.remove(0)
    }

    fn ledger(written: u64, failed: Vec<(usize, u64, u64)>) -> (usize, Ledger) {
        let written = vec![(0, 0, written)];
        (
            0,
            Ledger {
                run: 7,
                producer: 3,
                written,
                failed,
                behind: 0,
            },
        )
    }

    fn read(sequences: impl Iterator<Item = u64>, complete: bool) -> (usize, ReadBack) {
        let mut found = Partition::default();
        for sequence in sequences {
            found.take(7, 3, sequence, true);
        }
        (
            1,
            ReadBack {
                topic: "t".into(),
                partition: 0,
                found,
                complete,
                fell_short: !complete,
            },
        )
    }

    #[test]
    fn what_was_acknowledged_and_not_read_is_lost() {
        let settled = |ledger, read| settle(&phase(), &[ledger], &[read])[&1];
        assert_eq!(settled(ledger(10, vec![]), read(0..10, true)), 0);
        assert_eq!(settled(ledger(10, vec![]), read(0..8, true)), 2);
        assert_eq!(settled(ledger(10, vec![(0, 8, 2)]), read(0..8, true)), 0);
        assert_eq!(
            settled(ledger(10, vec![]), read((0..8).filter(|n| *n != 4), true)),
            3
        );
        assert_eq!(
            settled(ledger(10, vec![]), read((0..8).filter(|n| *n != 4), false)),
            1
        );
        assert_eq!(settled(ledger(10, vec![]), read(0..0, true)), 10);
    }
}
