//! What a reader is read ahead may be wrong in two ways: it costs the disk more than it saves, or a passing error of a read
//! that nobody asked for yet becomes an answer, or damage for good.

use engine::log::{Isolation, ReadRequest};
use engine::platform::sim::DiskFault;
use engine::types::Offset;

use crate::rig::{Machine, Started, partition};

const RECORDS: u64 = 1_500;
const RECORD_BYTES: usize = 2_000;

/// A machine, started again, whose cache is empty and whose one segment has all records.
fn restarted(seed: u64) -> Machine {
    let mut machine = Machine::new(seed, 1, &[]);
    machine.run(async |started| {
        for number in 0..RECORDS {
            started.append(0, number, RECORD_BYTES).await.unwrap();
        }
        Machine::stop_clean(&started).await;
    });
    machine.kill();
    machine
}

/// One fetch of at most `bytes_max` bytes: the offset behind it.
async fn fetch(started: &Started, offset: i64, bytes_max: usize) -> i64 {
    let request = ReadRequest {
        id: partition(0),
        offset: Offset(offset),
        bytes_max,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    let plan = started.storage.plan_read(&request).unwrap();
    let read = started.storage.execute_read(plan).await.unwrap();
    let bytes = read.chain.concat();
    assert!(bytes.len() <= bytes_max.max(RECORD_BYTES + 200));
    let mut next = offset;
    for batch in net::records::split_batches(&bytes) {
        let batch = batch.unwrap();
        assert_eq!(batch.header().base_offset, next, "in order, without a gap");
        next = batch.header().next_offset();
    }
    next
}

#[test]
fn a_reader_that_goes_on_costs_the_disk_every_byte_once() {
    restarted(51).run(async |started| {
        let before = started.storage.metrics().segment_read_bytes;
        let mut next = 0;
        while next < RECORDS as i64 {
            next = fetch(&started, next, 10_000).await;
        }
        let read = started.storage.metrics().segment_read_bytes - before;
        let written = RECORDS * RECORD_BYTES as u64;
        assert!((written..written * 11 / 10).contains(&read), "{read}");
        assert!(started.storage.metrics().read_ahead_hits > 250);
    });
}

#[test]
fn a_reader_that_jumps_is_not_read_ahead() {
    restarted(52).run(async |started| {
        let before = started.storage.metrics().segment_read_bytes;
        for step in 0..100 {
            fetch(&started, (step * 619) % RECORDS as i64, 10_000).await;
        }
        let read = started.storage.metrics().segment_read_bytes - before;
        assert!(read <= 100 * (2 * (32_768 + 4_000) + 10_000), "{read}");
        assert_eq!(started.storage.metrics().read_ahead_hits, 0);
    });
}

#[test]
fn an_error_of_a_read_ahead_is_no_answer() {
    let mut machine = restarted(53);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        // The second read is known to go on; from then on the disk is asked for nothing that is wanted at once.
        let mut next = fetch(&started, 0, 100_000).await;
        next = fetch(&started, next, 100_000).await;
        disk.fail_next(DiskFault::Read, ".log");
        while next < RECORDS as i64 {
            next = fetch(&started, next, 100_000).await;
            let pause = std::time::Duration::from_millis(50);
            started.runtime.sleep(pause).await;
        }
        assert_eq!(started.storage.metrics().quarantined_ranges, 0);
    });
    assert_eq!(machine.simulation.faults()["disk_read_error"], 1);
}

#[test]
fn damage_in_what_was_read_ahead_is_looked_at_once_more() {
    let mut machine = restarted(54);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        let path = "orders-0/00000000000000000000.log";
        let flip = |position| assert!(disk.rot(path, position, 1).unwrap());
        let first = fetch(&started, 0, 200_000).await;
        // As long as the read ahead takes, the disk gives another byte there.
        let position = 700_000;
        flip(position);
        let second = fetch(&started, first, 200_000).await;
        let pause = std::time::Duration::from_millis(50);
        started.runtime.sleep(pause).await;
        flip(position);
        let mut next = second;
        while next < RECORDS as i64 {
            next = fetch(&started, next, 200_000).await;
        }
        assert_eq!(started.storage.metrics().quarantined_ranges, 0);
    });
}
