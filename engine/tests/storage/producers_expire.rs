//! A producer is forgotten after `producer.id.expiration.ms` of silence: not earlier, not because the node was down, and
//! not because a clock jumped.

use std::time::Duration;

use engine::log::{AppendError, Appended};

use crate::rig::{Machine, Started, batch, partition};

const MINUTE: u64 = 60_000;

async fn append(started: &Started, sequence: i32) -> Result<Appended, AppendError> {
    let mut request = batch(sequence as u64, 100, Some((7, sequence)));
    request.now_ms = started.runtime.wall_clock_ms();
    started.storage.append(partition(0), request).await
}

async fn sleep(started: &Started, milliseconds: u64) {
    started
        .runtime
        .sleep(Duration::from_millis(milliseconds))
        .await;
}

fn machine(seed: u64) -> Machine {
    let mut machine = Machine::new(seed, 1, &[("retention.ms", "-1")]);
    machine.settings.producer_expiration_ms = 30 * MINUTE as i64;
    machine
}

#[test]
fn a_silent_producer_is_forgotten() {
    machine(1).run(async |started| {
        append(&started, 0).await.unwrap();
        sleep(&started, 19 * MINUTE).await;
        assert!(
            matches!(
                append(&started, 5).await,
                Err(AppendError::OutOfOrderSequence { .. })
            ),
            "still known"
        );
        assert!(append(&started, 0).await.unwrap().duplicate);
        sleep(&started, 60 * MINUTE).await;
        assert!(
            !append(&started, 5).await.unwrap().duplicate,
            "any sequence is welcome (I7)"
        );
    });
}

#[test]
fn the_setting_may_change_while_the_node_runs() {
    machine(2).run(async |started| {
        append(&started, 0).await.unwrap();
        started.storage.set_producer_expiration(1_000);
        sleep(&started, 3 * MINUTE).await;
        append(&started, 5).await.unwrap();
    });
}

#[test]
fn neither_a_stop_nor_a_clock_counts_as_silence() {
    let mut machine = machine(3);
    machine.run(async |started| {
        append(&started, 0).await.unwrap();
        started.storage.stop().await.unwrap();
    });
    machine.run_for(120 * MINUTE);
    let node = machine.node.clone();
    machine.run(async move |started| {
        sleep(&started, 15 * MINUTE).await;
        assert!(
            matches!(
                append(&started, 5).await,
                Err(AppendError::OutOfOrderSequence { .. })
            ),
            "down is not silent"
        );
        assert!(append(&started, 0).await.unwrap().duplicate);
        node.jump_wall_clock(48 * 3_600_000);
        sleep(&started, 12 * MINUTE).await;
        assert!(
            append(&started, 0).await.unwrap().duplicate,
            "a jump of the clock is not silence"
        );
    });
}
