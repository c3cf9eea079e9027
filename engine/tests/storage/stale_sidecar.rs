//! A sidecar that was written before a crash may cover batches that recovery did not bring back and that others replaced.
//! It is not believed then: nothing good is called damaged.

use crate::rig::Machine;

#[test]
fn a_sidecar_of_another_tail_is_rebuilt() {
    let mut machine = Machine::new(21, 1, &[]);
    machine.run(async |started| {
        for number in 0..30 {
            started.append(0, number, 3_000).await.unwrap();
        }
        started.storage.stop().await.unwrap();
    });
    machine.kill();
    let path = "orders-0/00000000000000000000.tidx";
    // The same offsets with other content: what a start may find after an unjournaled tail was replaced.
    let mut other = Machine::new(22, 1, &[]);
    other.run(async |started| {
        for number in 0..20 {
            started.append(0, number, 3_000).await.unwrap();
        }
        for number in 100..106 {
            started.append(0, number, 3_100).await.unwrap();
        }
        started.storage.stop().await.unwrap();
    });
    let sidecar = other.disk.content(path).unwrap();
    machine.run_raw(async move |_, disk| disk.write_small(path, &sidecar).await.unwrap());
    machine.kill();
    machine.run(async |started| {
        let found = started.read_all(0, 0).await.unwrap();
        assert_eq!(found.len(), 30);
        assert!(
            found
                .iter()
                .all(|(offset, number)| *offset as u64 == *number)
        );
        assert_eq!(started.storage.metrics().quarantined_ranges, 0);
    });
}
