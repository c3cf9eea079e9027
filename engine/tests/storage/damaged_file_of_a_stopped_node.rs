//! After a clean stop, damage to any one file is named, never served, costs nothing innocent, and the node starts.

use crate::rig::Machine;

fn stopped() -> Machine {
    let mut machine = Machine::new(12, 2, &[("internal.segment.bytes", "40000")]);
    machine.run(async |started| {
        for number in 0..60 {
            started
                .append((number % 2) as i32, number, 2_000)
                .await
                .unwrap();
        }
        Machine::stop_clean(&started).await;
    });
    machine.kill();
    machine
}

/// Every file of our directory and of the partitions', with its length.
fn files(machine: &mut Machine) -> Vec<(String, u64)> {
    let mut paths = Vec::new();
    for directory in ["tidelog", "orders-0", "orders-1"] {
        let names = machine.run_raw(async move |_, disk| disk.list(directory).await.unwrap());
        let files = names.into_iter().filter(|entry| entry.length > 0);
        paths.extend(files.map(|entry| (format!("{directory}/{}", entry.name), entry.length)));
    }
    assert!(paths.len() > 20, "{paths:?}");
    paths
}

/// Whether damage to the file has to be noticed: the others are made again, or hold nothing after a clean stop.
fn is_needed(path: &str) -> bool {
    path.starts_with("tidelog/checkpoint-start")
        || path.ends_with("partition.metadata")
        || is_segment(path)
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".log") && path.starts_with("orders")
}

/// Starts on the damaged directory, reads everything there is, and appends: `lost` records at most may be missing.
fn judge(mut machine: Machine, what: &str, lost: usize, must_be_named: bool) {
    let what = what.to_owned();
    machine.run(async move |started| {
        let mut served = 0;
        for index in 0..2 {
            served += served_records(&started, index).await;
            started.append(index, 100, 10).await.unwrap();
        }
        assert!(
            (60 - lost..=60).contains(&served),
            "{what}: {served} records served"
        );
        let quarantined = started.storage.metrics().quarantined_ranges;
        let named = !started.report.damage.is_empty() || quarantined > 0;
        assert!(named || !must_be_named, "{what}: not named");
        assert!(served == 60 || named, "{what}: lost without a word");
    });
}

#[test]
fn a_flipped_bit_in_any_file_is_never_served_and_never_stops_the_start() {
    for (path, length) in files(&mut stopped()) {
        for part in [0, length / 3, length / 2, length - 1] {
            let machine = stopped();
            machine.disk.rot(&path, part, 1 << (part % 8)).unwrap();
            let checked = !path.starts_with("tidelog/checkpoint-start") || part < 88;
            judge(
                machine,
                &format!("{path}, a bit at {part}"),
                usize::from(is_segment(&path)),
                is_needed(&path) && checked,
            );
        }
    }
}

#[test]
fn a_truncation_of_any_file_costs_nothing_innocent_and_never_stops_the_start() {
    for (path, length) in files(&mut stopped()) {
        for kept in [0, length / 2, length - 1] {
            let mut machine = stopped();
            let mut content = machine.disk.content(&path).unwrap();
            content.truncate(kept as usize);
            machine.overwrite(&path, content);
            // A batch takes about 2,100 bytes: what was cut off, and the one that was cut into.
            let lost = if is_segment(&path) {
                (length - kept).div_ceil(2_000) as usize + 1
            } else {
                0
            };
            // A checkpoint's file is longer than what it holds.
            let held = !path.starts_with("tidelog/checkpoint-start") || kept == 0;
            judge(
                machine,
                &format!("{path}, {kept} of {length} bytes"),
                lost,
                is_needed(&path) && held,
            );
        }
    }
}

#[test]
fn a_zeroed_block_in_any_file_is_never_served_and_never_stops_the_start() {
    for (path, length) in files(&mut stopped()) {
        for start in [0, length / 2 / 4096 * 4096, (length - 1) / 4096 * 4096] {
            let mut machine = stopped();
            let mut content = machine.disk.content(&path).unwrap();
            let end = (start + 4096).min(length);
            let zeroed = &mut content[start as usize..end as usize];
            let changed = zeroed.iter().any(|byte| *byte != 0);
            zeroed.fill(0);
            machine.overwrite(&path, content);
            let lost = if is_segment(&path) { 4 } else { 0 };
            let needed = is_needed(&path) && changed;
            judge(
                machine,
                &format!("{path}, zeros from {start}"),
                lost,
                needed,
            );
        }
    }
}

/// Records that can be read, stepping over quarantined ranges; each is what was sent.
async fn served_records(started: &crate::rig::Started, index: i32) -> usize {
    let mut next = 0;
    let mut served = 0;
    for _ in 0..40 {
        match started.read_all(index, next).await {
            Ok(found) => {
                for (offset, number) in &found {
                    assert_eq!(*number, *offset as u64 * 2 + index as u64);
                }
                served += found.len();
                next = found.last().map_or(next, |(offset, _)| offset + 1);
                if next >= 30 || found.is_empty() {
                    break;
                }
            }
            Err(engine::log::ReadError::Quarantined { last, .. }) => {
                next = last.0 + 1;
                if next >= 30 {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    served
}
