//! The disk is full: what would let the checkpoints grow is refused, while log starts, checkpoints and the next start go on
//! from the reserve; appends resume when space returns (STORAGE C12c).

use engine::log::AppendError;
use engine::types::Offset;

use crate::rig::{Machine, batch, partition};

#[test]
fn partitions_are_refused_and_everything_that_frees_space_goes_on() {
    let mut machine = Machine::new(51, 2, &[("internal.segment.bytes", "40000")]);
    let disk = machine.disk.clone();
    let appended = machine.run(async move |started| {
        let reserve = crate::rig::small_settings().reserve_bytes;
        started.append(0, 0, 1_000).await.unwrap();
        started
            .storage
            .check_room_for_partitions(100)
            .await
            .unwrap();
        let mut options = disk.options();
        options.quota_bytes = Some(disk.used_bytes() + reserve + (1 << 20));
        disk.set_options(options);
        started.storage.check_room_for_partitions(10).await.unwrap();
        started
            .storage
            .check_room_for_partitions(1_000)
            .await
            .unwrap_err();
        let mut number = 1;
        let refused = loop {
            match started.append(0, number, 20_000).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::OutOfSpace), "{refused}");
        let error = started
            .storage
            .check_room_for_partitions(20)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("No space"), "{error}");
        assert_eq!(started.read_all(0, 0).await.unwrap().len() as u64, number);
        // Log starts and checkpoints go on, and none of it fails the journal.
        let before = started.storage.metrics().checkpoints;
        for start in 1..4 {
            started
                .storage
                .delete_records(partition(0), Offset(start))
                .await
                .unwrap();
            started
                .runtime
                .sleep(std::time::Duration::from_millis(900))
                .await;
        }
        assert!(started.storage.metrics().checkpoints > before);
        assert!(started.storage.is_writable());
        number
    });
    machine.kill();
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        assert!(started.report.damage.is_empty(), "{}", started.report);
        assert_eq!(
            started.read_all(0, 3).await.unwrap().len() as u64,
            appended - 3
        );
        let mut options = disk.options();
        options.quota_bytes = None;
        disk.set_options(options);
        started
            .storage
            .check_room_for_partitions(1_000)
            .await
            .unwrap();
        let next = started.append(0, appended, 20_000).await.unwrap();
        assert_eq!(next.base_offset.0 as u64, appended);
    });
}

/// A batch was written and its answer lost; on the full disk its resend was refused while smaller ones behind it were
/// taken, until it was no longer remembered and the producer stood still for ever (RELIABILITY I2).
#[test]
fn a_resend_of_what_the_log_has_needs_no_space() {
    let mut machine = Machine::new(52, 1, &[]);
    let disk = machine.disk.clone();
    machine.run(async move |started| {
        let send = |number, size, sequence| {
            started
                .storage
                .append(partition(0), batch(number, size, Some((5, sequence))))
        };
        let first = send(0, 600_000, 0).await.unwrap();
        let mut options = disk.options();
        options.quota_bytes = Some(disk.used_bytes());
        disk.set_options(options);
        let no_space = send(1, 600_000, 1).await;
        assert!(
            matches!(no_space, Err(AppendError::OutOfSpace)),
            "{no_space:?}"
        );
        let again = send(0, 600_000, 0).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.base_offset, first.base_offset);
        assert_eq!(send(1, 10, 1).await.unwrap().base_offset, Offset(1));
    });
}
