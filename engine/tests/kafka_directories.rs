//! Partition directories written by Apache Kafka 4.3.1, cleanly stopped, killed, and recovered by Kafka itself: what
//! we read out of them must be what Kafka has in them.
//!
//! `golden/segments` was captured from a real broker; `kill9` holds logs of a killed one, three of them damaged on
//! purpose, and `recovered` the same logs after Kafka started on them.

#![allow(clippy::unwrap_used)] // helpers of tests may fail like tests

use bytes::Bytes;
use engine::log::import::{Import, ImportError, ImportedLog};
use engine::log::index::{IndexBuilder, LoadedIndex, SegmentIndex};
use engine::log::kafka_files::*;
use engine::log::segment::parse_segment_file_name;
use engine::log::segment_scanner::{Fed, ScanEnd, SegmentScanner};
use engine::log::{LogConfig, PartitionLog, ProducerCount};
use engine::types::{LeaderEpoch, Offset, PartitionId, TopicId};
use std::path::{Path, PathBuf};

const ID: PartitionId = PartitionId {
    topic_id: TopicId([9; 16]),
    index: 0,
};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/segments")
        .join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(golden(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Base offsets and contents of a directory's segments.
fn segments(directory: &str) -> Vec<(Offset, Vec<u8>)> {
    let mut segments: Vec<(Offset, Vec<u8>)> = std::fs::read_dir(golden(directory))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let (base, extension) = parse_segment_file_name(&name)?;
            (extension == "log").then(|| (base, read(&format!("{directory}/{name}"))))
        })
        .collect();
    segments.sort_by_key(|(base, _)| *base);
    segments
}

/// Imports with reads of `step` bytes, growing only when the import asks for more.
fn import_segments(
    segments: &[(Offset, Vec<u8>)],
    log_start: Option<Offset>,
    epochs: Option<Vec<(LeaderEpoch, Offset)>>,
    step: usize,
) -> Result<ImportedLog, ImportError> {
    let mut import = Import::new(ID, "t-0", 1_000);
    for (base, file) in segments {
        import.start_segment(*base, file.len() as u64, 0)?;
        let mut length = step;
        loop {
            let position = import.position().0 as usize;
            let bytes = &file[position..(position + length).min(file.len())];
            match import.feed(bytes)? {
                Fed::More { length: wanted } => {
                    assert!(
                        wanted > 0 && position + wanted <= file.len(),
                        "only bytes that exist are asked for"
                    );
                    length = if import.position().0 as usize == position {
                        length + step
                    } else {
                        step
                    };
                }
                Fed::Complete | Fed::Ended(_) => break,
            }
        }
    }
    import.finish(log_start, epochs)
}

fn import(directory: &str) -> ImportedLog {
    let epochs =
        decode_epoch_checkpoint(&read(&format!("{directory}/leader-epoch-checkpoint"))).unwrap();
    let (set, partition) = directory.split_once('/').unwrap();
    let topic = partition.strip_suffix("-0").unwrap();
    let log_starts =
        decode_offset_checkpoint(&read(&format!("{set}/log-start-offset-checkpoint"))).unwrap();
    let log_start = log_starts
        .iter()
        .find(|(name, _, _)| name == topic)
        .map(|(_, _, offset)| *offset);
    import_segments(&segments(directory), log_start, Some(epochs), 1 << 20).unwrap()
}

const CLEAN: [&str; 7] = [
    "clean/s-none-0",
    "clean/s-txn-0",
    "clean/s-roll-0",
    "clean/s-idem-0",
    "clean/s-lz4-0",
    "clean/s-logappend-0",
    "compacted/s-compact-0",
];
const KILLED: [&str; 5] = ["s-none-0", "s-gzip-0", "s-zstd-0", "s-txn-0", "s-idem-0"];

#[test]
fn every_batch_of_a_clean_directory_is_found_where_kafka_has_it() {
    for directory in CLEAN {
        let expected: serde_json::Value =
            serde_json::from_slice(&read(&format!("{directory}/expected.json"))).unwrap();
        for (base, file) in segments(directory) {
            let name = format!("{:020}.log", base.0);
            let mut found = Vec::new();
            let mut scanner = SegmentScanner::new(base, file.len() as u64, 0, 4096);
            let fed = scanner.feed(&file, |batch, position| {
                let header = batch.header();
                found.push((
                    header.base_offset,
                    header.last_offset(),
                    batch.bytes().len() as i64,
                    i64::from(header.partition_leader_epoch),
                    header.max_timestamp,
                    i64::from(position.0),
                ));
            });
            assert_eq!(fed, Fed::Complete, "{directory}/{name}");
            let mut position = 0;
            let batches: Vec<_> = expected[&name]["batches"]
                .as_array()
                .unwrap()
                .iter()
                .map(|batch| {
                    let number = |key: &str| batch[key].as_i64().unwrap();
                    let entry = (
                        number("baseOffset"),
                        number("lastOffset"),
                        number("sizeInBytes"),
                        number("leaderEpoch"),
                        number("maxTimestamp"),
                        position,
                    );
                    position += number("sizeInBytes");
                    entry
                })
                .collect();
            assert_eq!(found, batches, "{directory}/{name}");
        }
    }
}

#[test]
fn a_clean_directory_gives_kafkas_epochs_producers_and_transactions() {
    for directory in CLEAN {
        let imported = import(directory);
        assert_eq!(imported.cut, None, "{directory}");
        let checkpoint = &imported.checkpoint;
        let epochs = encode_epoch_checkpoint(&checkpoint.epochs);
        assert_eq!(
            epochs.as_bytes(),
            read(&format!("{directory}/leader-epoch-checkpoint")),
            "{directory}"
        );
        if !directory.starts_with("compacted") {
            assert_snapshot(directory, &imported);
        }
        for (number, (base, _)) in segments(directory).iter().enumerate() {
            let log = PartitionLog::restore(
                checkpoint.clone(),
                LogConfig::default(),
                ProducerCount::default(),
            )
            .unwrap();
            let next = log
                .segments()
                .next_base(number)
                .unwrap_or(checkpoint.end_offset);
            let path = format!("{directory}/{:020}.txnindex", base.0);
            if golden(&path).exists() {
                assert_eq!(
                    encode_transaction_index(log.aborted().of_segment(*base, next)),
                    read(&path),
                    "{path}"
                );
            }
        }
    }
}

/// Our snapshot at the log end is Kafka's, byte for byte once it is put in Kafka's order (that of a Java hash map).
fn assert_snapshot(directory: &str, imported: &ImportedLog) {
    let path = format!(
        "{directory}/{:020}.snapshot",
        imported.checkpoint.end_offset.0
    );
    let mut producers: Vec<_> = imported
        .checkpoint
        .producers
        .iter()
        .map(|(id, entry)| (*id, entry))
        .collect();
    let kafkas_order: Vec<_> = decode_snapshot(&read(&path), 0)
        .unwrap()
        .iter()
        .map(|(id, _)| *id)
        .collect();
    producers.sort_by_key(|(id, _)| kafkas_order.iter().position(|other| other == id));
    assert_eq!(encode_snapshot(producers), read(&path), "{path}");
}

#[test]
fn recovery_of_a_killed_kafka_ends_where_kafkas_own_recovery_ends() {
    for partition in KILLED {
        let directory = format!("kill9/{partition}");
        let imported = import(&directory);
        let after = segments(&format!("recovered/{partition}"));
        let sizes: Vec<u32> = imported
            .checkpoint
            .segments
            .iter()
            .map(|segment| segment.size)
            .collect();
        assert_eq!(
            sizes,
            after
                .iter()
                .map(|(_, file)| file.len() as u32)
                .collect::<Vec<_>>(),
            "{partition}"
        );
        for ((base, before), (_, after)) in segments(&directory).iter().zip(&after) {
            assert!(before.starts_with(after), "{partition} {base}");
        }
        assert_snapshot(&format!("recovered/{partition}"), &imported);
    }
}

#[test]
fn the_damage_of_each_killed_log_is_named() {
    let end = |partition: &str| import(&format!("kill9/{partition}")).cut.map(|cut| cut.end);
    assert_eq!(end("s-none-0"), Some(ScanEnd::Torn));
    assert_eq!(end("s-gzip-0"), Some(ScanEnd::Checksum));
    assert_eq!(end("s-zstd-0"), Some(ScanEnd::Structure));
    assert_eq!(end("s-idem-0"), None);
    assert_eq!(end("s-txn-0"), None);
}

#[test]
fn an_epoch_without_records_counts_for_the_next_leader() {
    let checkpoint = import("recovered/s-none-0").checkpoint;
    assert_eq!(checkpoint.end_offset, Offset(40));
    assert_eq!(
        checkpoint.epochs,
        [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(4), Offset(16))]
    );
    assert_eq!(checkpoint.leader_epoch, LeaderEpoch(6));
}

#[test]
fn an_open_transaction_holds_the_last_stable_offset() {
    let imported = import("clean/s-txn-0");
    let log = PartitionLog::restore(
        imported.checkpoint,
        LogConfig::default(),
        ProducerCount::default(),
    )
    .unwrap();
    assert_eq!(log.offsets().high_watermark(), Offset(13));
    assert_eq!(log.offsets().last_stable(), Offset(12));
}

#[test]
fn damage_with_good_segments_behind_it_is_refused() {
    let mut segments = segments("clean/s-roll-0");
    let middle = segments[3].1.len() / 2;
    segments[3].1[middle] ^= 1;
    let error = import_segments(&segments, None, None, 1 << 20).unwrap_err();
    assert!(
        matches!(error, ImportError::Damaged { segment, end: ScanEnd::Checksum, .. } if segment == segments[3].0),
        "{error}"
    );
    assert_eq!(
        import_segments(&[], None, None, 1).unwrap_err(),
        ImportError::NoSegment
    );
}

#[test]
fn the_size_of_the_reads_changes_nothing() {
    let whole = import("clean/s-roll-0");
    let segments = segments("clean/s-roll-0");
    for step in [61, 100, 777] {
        assert_eq!(
            import_segments(&segments, None, None, step)
                .unwrap()
                .checkpoint,
            whole.checkpoint
        );
    }
}

#[test]
fn a_log_cut_anywhere_keeps_exactly_its_whole_batches() {
    let (base, file) = segments("clean/s-txn-0").remove(0);
    let mut ends = vec![0];
    SegmentScanner::new(base, file.len() as u64, 0, 4096).feed(&file, |batch, position| {
        ends.push(position.0 as usize + batch.bytes().len())
    });
    for length in 0..file.len() {
        let imported =
            import_segments(&[(base, file[..length].to_vec())], None, None, 1 << 20).unwrap();
        let valid = *ends.iter().rfind(|end| **end <= length).unwrap();
        assert_eq!(imported.checkpoint.end_position().0 as usize, valid);
        assert_eq!(imported.cut.is_some(), valid != length);
    }
}

fn scan(base: Offset, file: &[u8], interval: u32) -> IndexBuilder {
    let mut scanner = SegmentScanner::new(base, file.len() as u64, 0, interval);
    assert_eq!(scanner.feed(file, |_, _| {}), Fed::Complete);
    scanner.into_index()
}

/// `s-roll` was written with `index.interval.bytes` = 500.
#[test]
fn kafkas_indexes_follow_from_ours() {
    for (directory, interval) in [
        ("clean/s-roll-0", 500),
        ("clean/s-none-0", 4096),
        ("clean/s-txn-0", 4096),
        ("clean/s-idem-0", 4096),
    ] {
        for (base, file) in segments(directory) {
            let builder = scan(base, &file, interval);
            let (offsets, times) = kafka_indexes(&SegmentIndex::Building(builder));
            let path = |extension: &str| format!("{directory}/{:020}.{extension}", base.0);
            assert_eq!(
                encode_offset_index(base, &offsets),
                read(&path("index")),
                "{}",
                path("index")
            );
            assert_eq!(
                encode_time_index(base, &times),
                read(&path("timeindex")),
                "{}",
                path("timeindex")
            );
            assert_eq!(
                decode_offset_index(base, &read(&path("index"))).unwrap(),
                offsets
            );
            assert_eq!(
                decode_time_index(base, &read(&path("timeindex"))).unwrap(),
                times
            );
        }
    }
}

#[test]
fn preallocated_indexes_of_a_killed_broker_end_at_their_last_entry() {
    let file = read("kill9/s-none-0/00000000000000000001.index");
    assert_eq!(file.len(), 4096);
    assert!(decode_offset_index(Offset(1), &file).unwrap().len() < 4096 / 8);
    assert!(decode_offset_index(Offset(1), &file[..4095]).is_err());
}

#[test]
fn the_small_files_come_back_as_kafka_wrote_them() {
    for set in ["clean", "kill9", "recovered"] {
        for name in [
            "log-start-offset-checkpoint",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ] {
            let file = read(&format!("{set}/{name}"));
            let entries = decode_offset_checkpoint(&file).unwrap();
            let again = encode_offset_checkpoint(
                entries
                    .iter()
                    .map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset)),
            );
            assert_eq!(again.as_bytes(), file, "{set}/{name}");
        }
        let file = read(&format!("{set}/meta.properties"));
        let properties = MetaProperties::decode(&file).unwrap();
        assert_eq!(
            (properties.node_id, properties.cluster_id.as_str()),
            (1, "ZOIqHmVnTP2FqKfdPQrp6Q")
        );
        assert_eq!(
            MetaProperties::decode(properties.encode().as_bytes()).unwrap(),
            properties
        );
        let without_date: String = String::from_utf8(file)
            .unwrap()
            .lines()
            .filter(|line| !line.ends_with("UTC 2026"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(properties.encode(), without_date);
    }
    let metadata = read("clean/s-txn-0/partition.metadata");
    let id = decode_partition_metadata(&metadata).unwrap();
    assert_eq!(encode_topic_id(id), "ubI8gr3lSOGx6FCvOggMVg");
    assert_eq!(encode_partition_metadata(id).as_bytes(), metadata);
    let clean = read("clean/.kafka_cleanshutdown");
    assert_eq!(
        CleanShutdown::decode(&clean).unwrap(),
        CleanShutdown { broker_epoch: 22 }
    );
    assert_eq!(
        CleanShutdown { broker_epoch: 22 }.encode().as_bytes(),
        clean
    );
}

#[test]
fn snapshots_come_back_and_a_flipped_bit_is_seen() {
    for path in [
        "clean/s-txn-0/00000000000000000013.snapshot",
        "recovered/s-txn-0/00000000000000000021.snapshot",
        "clean/s-none-0/00000000000000000016.snapshot",
    ] {
        let file = read(path);
        let producers = decode_snapshot(&file, 0).unwrap();
        assert_eq!(
            encode_snapshot(producers.iter().map(|(id, entry)| (*id, entry))),
            file,
            "{path}"
        );
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_snapshot(&damaged, 0).is_err(), "{path} bit {bit}");
        }
        for length in 0..file.len() {
            assert!(decode_snapshot(&file[..length], 0).is_err());
        }
    }
}

#[test]
fn any_flipped_bit_of_a_segment_is_seen_and_pinned_to_its_batch() {
    let (base, file) = segments("clean/s-roll-0").remove(1);
    let mut batches = Vec::new();
    SegmentScanner::new(base, file.len() as u64, 0, 500).feed(&file, |batch, position| {
        batches.push((position.0 as usize, batch.bytes().len()))
    });
    let loaded = SegmentIndex::Loaded(
        LoadedIndex::open(Bytes::from(scan(base, &file, 500).encode())).unwrap(),
    );
    loaded.verify(0, &file).unwrap();
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let damage = loaded
            .verify(0, &damaged)
            .expect_err("a flipped bit is seen");
        let (begin, size) = *batches
            .iter()
            .rfind(|(begin, _)| *begin <= bit / 8)
            .unwrap();
        assert_eq!(damage.position.0 as usize, begin, "bit {bit}: {damage:?}");
        let length_is_intact = !(8..12).contains(&(bit / 8 - begin)) && bit / 8 - begin != 16;
        if length_is_intact {
            assert_eq!(damage.length as usize, size, "bit {bit}: {damage:?}");
        }
    }
}

/// A reader awaits its bytes while the segment grows: what it was told to read must still check out.
#[test]
fn a_run_that_a_reader_was_given_grows_no_more() {
    let (base, file) = segments("clean/s-roll-0").remove(1);
    let mut index = SegmentIndex::Building(IndexBuilder::new(base, 0, 1 << 20));
    let mut position = 0;
    for batch in net::records::split_batches(&file) {
        let batch = batch.unwrap();
        let SegmentIndex::Building(builder) = &mut index else {
            unreachable!()
        };
        builder.push(batch.bytes().first_chunk().unwrap(), batch.header());
        let planned = index.read_range(base, usize::MAX, index.covered()).unwrap();
        let SegmentIndex::Building(builder) = &mut index else {
            unreachable!()
        };
        let mut later = *batch.header();
        later.base_offset += 1_000;
        let before = builder.clone();
        builder.push(batch.bytes().first_chunk().unwrap(), &later);
        position += batch.bytes().len();
        assert_eq!((planned.1.0, planned.2.0 as usize), (0, position));
        index.verify(planned.0, &file[..position]).unwrap();
        index = SegmentIndex::Building(before);
    }
}

#[test]
fn a_damaged_sidecar_is_refused() {
    let (base, file) = segments("clean/s-roll-0").remove(1);
    let sidecar = scan(base, &file, 500).encode();
    let loaded = LoadedIndex::open(Bytes::from(sidecar.clone())).unwrap();
    assert_eq!(loaded.clone().into_builder().encode(), sidecar);
    assert_eq!(loaded.info().size as usize, file.len());
    for bit in 0..sidecar.len() * 8 {
        let mut damaged = sidecar.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(
            LoadedIndex::open(Bytes::from(damaged)).is_err(),
            "bit {bit}"
        );
    }
    for length in 0..sidecar.len() {
        assert!(
            LoadedIndex::open(Bytes::copy_from_slice(&sidecar[..length])).is_err(),
            "length {length}"
        );
    }
}
