//! Offsets topics that Apache Kafka 4.3.1 wrote are understood as Kafka's own tools print them.

use engine::groups::load;
use engine::types::Offset;
use net::records::Decompressor;

use crate::world::World;

fn read(partition: &str) -> World {
    let path = format!(
        "{}/tests/golden/segments/clean/{partition}/00000000000000000000.log",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).expect("golden bytes");
    let mut world = World::new(&[]);
    let mut decompressor = Decompressor::default();
    load::replay(&mut world.partition, &bytes, Offset(0), &mut decompressor).expect("readable");
    world
}

fn offset(topic: &str, offset: i64, metadata: &str) -> (String, i32, i64, String) {
    (topic.to_owned(), 0, offset, metadata.to_owned())
}

#[test]
fn classic_groups_and_offsets_of_committed_transactions_are_read() {
    let mut world = read("__consumer_offsets-2");
    assert_eq!(
        world.offsets("seg-classic"),
        [
            offset("s-gzip", 16, ""),
            offset("s-none", 2, "some metadata")
        ]
    );
    // The second transaction was aborted.
    assert_eq!(
        world.offsets("seg-txn-grp"),
        [offset("s-txn", 3, "txn-offset")]
    );
    assert_eq!(
        world.offsets("seg-consumer"),
        [
            offset("s-gzip", 16, ""),
            offset("s-none", 2, "some metadata")
        ]
    );
    let groups = world.groups();
    assert!(
        groups.contains(&("seg-classic".to_owned(), "Empty")),
        "{groups:?}"
    );
}

#[test]
fn deleted_groups_are_gone_and_share_groups_keep_their_names() {
    let mut world = read("__consumer_offsets-3");
    assert_eq!(world.offsets("seg-del"), []);
    assert_eq!(world.groups(), []);
    assert!(world.partition.is_foreign("seg-share"));
}
