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
        started.storage.stop().await.unwrap();
        // What the node writes last.
        started
            .disk
            .write_small(".kafka_cleanshutdown", b"{\"version\":0,\"brokerEpoch\":1}")
            .await
            .unwrap();
    });
    machine.kill();
    machine
}

#[test]
fn a_flipped_bit_in_any_file_is_never_served_and_never_stops_the_start() {
    let mut machine = stopped();
    let mut paths = Vec::new();
    for directory in ["tidelog", "orders-0", "orders-1"] {
        let names = machine.run_raw(async move |_, disk| disk.list(directory).await.unwrap());
        paths.extend(
            names
                .into_iter()
                .filter(|entry| entry.length > 0)
                .map(|entry| (format!("{directory}/{}", entry.name), entry.length)),
        );
    }
    assert!(paths.len() > 20, "{paths:?}");
    for (path, length) in paths {
        for part in [0, length / 3, length / 2, length - 1] {
            let mut machine = stopped();
            println!("{path} at {part}");
            machine.disk.rot(&path, part, 1 << (part % 8)).unwrap();
            let named = path.clone();
            machine.run(async move |started| {
                let mut served = 0;
                for index in 0..2 {
                    served += served_records(&started, index).await;
                    started.append(index, 100, 10).await.unwrap();
                }
                let is_segment = named.ends_with(".log") && named.starts_with("orders");
                assert_eq!(
                    served,
                    if is_segment { 59 } else { 60 },
                    "{named} at {part}"
                );
                if named.starts_with("tidelog/checkpoint-start") && part < 88 {
                    assert!(
                        !started.report.damage.is_empty(),
                        "{named} at {part}: not named"
                    );
                }
            });
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
                if next >= 30 {
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
