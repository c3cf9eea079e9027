//! A wall clock that is wrong, or becomes it, takes nothing before it is believed.

use engine::platform::sim::DiskFault;

use super::{HOUR, MINUTE, fill, fill_at, log_start, machine, sleep};

#[test]
fn a_clock_that_jumps_deletes_nothing_for_an_hour() {
    let mut machine = machine(4, &[("retention.ms", "86400000")]);
    let node = machine.node.clone();
    machine.run(async move |started| {
        fill(&started, 0..25).await;
        sleep(&started, MINUTE).await;
        node.jump_wall_clock(48 * HOUR);
        sleep(&started, 50 * MINUTE).await;
        assert_eq!(log_start(&started), 0);
        sleep(&started, 11 * MINUTE).await;
        assert_eq!(log_start(&started), 25, "believed by then");
    });
}

/// At a first start the present time is all there is to believe. It was read behind the mark on disk, the monotonic clock
/// before: a jump in between, while the disk looked for the mark, was believed at once (found by the simulator).
#[test]
fn a_clock_that_jumps_while_its_mark_is_looked_for_deletes_nothing_for_an_hour() {
    let mut machine = machine(6, &[("retention.ms", "86400000")]);
    let node = machine.node.clone();
    machine.run(async move |started| {
        let before_ms = started.runtime.wall_clock_ms();
        // The loops begin, and their first operation on the disk takes longer than this.
        started.runtime.yield_now().await;
        node.jump_wall_clock(48 * HOUR);
        fill_at(&started, 0..25, before_ms).await;
        sleep(&started, 50 * MINUTE).await;
        assert_eq!(log_start(&started), 0);
    });
}

#[test]
fn a_start_with_a_wrong_clock_deletes_nothing_for_an_hour() {
    let mut machine = machine(5, &[("retention.ms", "86400000")]);
    machine.run(async |started| {
        fill(&started, 0..25).await;
        sleep(&started, 2 * MINUTE).await;
    });
    machine.kill();
    machine.node.jump_wall_clock(48 * HOUR);
    machine.run(async |started| {
        sleep(&started, 50 * MINUTE).await;
        assert_eq!(log_start(&started), 0);
        sleep(&started, 11 * MINUTE).await;
        assert_eq!(log_start(&started), 25);
    });
}

/// What an earlier run wrote down of the clock may be of another shard, damaged, or in a block that cannot be read.
#[test]
fn a_wrong_clock_is_doubted_whatever_became_of_the_last_mark() {
    const MARK: &str = "tidelog/clock-0";
    for way in 0..3 {
        let mut machine = machine(12, &[("retention.ms", "86400000")]);
        machine.run(async |started| {
            fill(&started, 0..25).await;
            sleep(&started, 2 * MINUTE).await;
        });
        machine.kill();
        match way {
            0 => machine
                .run_raw(async |_, disk| disk.rename(MARK, "tidelog/clock-3").await)
                .unwrap(),
            1 => machine.overwrite(MARK, b"yesterday".to_vec()),
            _ => (0..5).for_each(|_| machine.disk.fail_next(DiskFault::Read, "clock-0")),
        }
        machine.node.jump_wall_clock(48 * HOUR);
        machine.run(async move |started| {
            sleep(&started, 50 * MINUTE).await;
            assert_eq!(log_start(&started), 0, "way {way}");
        });
    }
}
