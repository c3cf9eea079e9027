//! The removal of `.kafka_cleanshutdown` is durable before anything else is written: a power cut cannot bring it back over
//! torn segments that Kafka, or we, would then trust (STORAGE C12b).

use engine::platform::sim::{CutMode, DiskFault};

use crate::rig::{Machine, batch, partition};

const MARK: &str = ".kafka_cleanshutdown";

fn stopped(seed: u64) -> Machine {
    let mut machine = Machine::new(seed, 1, &[]);
    machine.run(async |started| {
        for number in 0..10 {
            started.append(0, number, 2_000).await.unwrap();
        }
        Machine::stop_clean(&started).await;
    });
    machine.kill();
    machine
}

fn is_marked(machine: &Machine) -> bool {
    machine
        .disk
        .names("")
        .unwrap()
        .iter()
        .any(|name| name == MARK)
}

#[test]
fn a_power_cut_at_any_moment_of_a_start_brings_it_back_only_before_the_first_write() {
    let mut early = 0;
    for step in 0..60 {
        let mut machine = stopped(7);
        let tidelog = machine.disk.names("tidelog").unwrap();
        let before: Vec<Vec<u8>> = tidelog
            .iter()
            .map(|name| machine.disk.content(&format!("tidelog/{name}")).unwrap())
            .collect();
        machine.spawn(async |started| {
            drop(started.storage.append(partition(0), batch(50, 5_000, None)));
        });
        machine
            .simulation
            .run_for(std::time::Duration::from_micros(step * 150));
        machine.cut_power(CutMode::Random(0.0));
        if is_marked(&machine) {
            early += 1;
            let after: Vec<Vec<u8>> = tidelog
                .iter()
                .map(|name| machine.disk.content(&format!("tidelog/{name}")).unwrap())
                .collect();
            assert!(before == after, "step {step}: written to under the mark");
        }
    }
    assert!(
        (1..60).contains(&early),
        "{early} of 60 cuts came before the removal"
    );
}

#[test]
fn a_journal_that_failed_is_no_clean_stop() {
    let mut machine = Machine::new(8, 1, &[]);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        started.append(0, 0, 100).await.unwrap();
        disk.fail_next(DiskFault::Flush, "journal");
        started.append(0, 1, 100).await.unwrap_err();
        started.storage.stop().await.unwrap_err();
    });
    assert!(!is_marked(&machine));
}
