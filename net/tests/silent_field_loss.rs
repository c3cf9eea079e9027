//! Encoding never drops what it was told: a set field that a version lacks is refused, unless the schema
//! lets it go; tagged fields appear only when set; record bytes leave as the slices they came in.

use bytes::Bytes;
use net::messages::fetch::{
    FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use net::messages::metadata::MetadataRequest;
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::messages::txn_offset_commit::TxnOffsetCommitRequest;
use net::wire::{EncodeError, RawTaggedField, Reader, Records, Uuid, Writer};

#[test]
fn a_set_field_that_the_version_lacks_is_refused() {
    let request = TxnOffsetCommitRequest {
        member_id: "m",
        ..Default::default()
    };
    let mut writer = Writer::new();
    let refused = EncodeError::FieldNotInVersion {
        field: "TxnOffsetCommitRequest.member_id",
        version: 2,
    };
    assert_eq!(request.encode(&mut writer, 2), Err(refused));
    assert_eq!(request.encode(&mut writer, 3), Ok(()));
    assert_eq!(
        TxnOffsetCommitRequest::default().encode(&mut writer, 2),
        Ok(())
    );
}

#[test]
fn an_ignorable_field_is_dropped() {
    let topic = TopicProduceData {
        name: "t",
        topic_id: Uuid::ONE,
        ..Default::default()
    };
    let request = ProduceRequest {
        topic_data: vec![topic],
        ..Default::default()
    };
    let mut writer = Writer::new();
    request.encode(&mut writer, 12).unwrap();
    let bytes = writer.to_vec();
    let decoded = ProduceRequest::decode(&mut Reader::new(&bytes), 12).unwrap();
    assert_eq!(
        (decoded.topic_data[0].name, decoded.topic_data[0].topic_id),
        ("t", Uuid::ZERO)
    );
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let mut writer = Writer::new();
    assert_eq!(
        request.encode(&mut writer, 0),
        Err(EncodeError::UnexpectedNull)
    );
    assert_eq!(request.encode(&mut writer, 1), Ok(()));
}

#[test]
fn a_string_beyond_the_length_field_is_refused() {
    let long = "x".repeat(40_000);
    let request = ProduceRequest {
        transactional_id: Some(&long),
        ..Default::default()
    };
    for version in [8, 9] {
        assert_eq!(
            request.encode(&mut Writer::new(), version),
            Err(EncodeError::TooLong(40_000))
        );
    }
}

#[test]
fn defaults_are_the_schemas() {
    let request = net::messages::fetch::FetchRequest::default();
    assert_eq!(
        (request.replica_id, request.max_bytes, request.session_epoch),
        (-1, i32::MAX, -1)
    );
    assert_eq!(request.cluster_id, None);
    assert_eq!(MetadataRequest::default().topics, Some(Vec::new()));
    assert!(MetadataRequest::default().allow_auto_topic_creation);
}

#[test]
fn tagged_fields_are_written_when_set_and_merged_in_order_with_unknown_ones() {
    let partition = PartitionData {
        current_leader: LeaderIdAndEpoch {
            leader_id: 3,
            leader_epoch: 9,
            ..Default::default()
        },
        unknown_tagged_fields: vec![RawTaggedField {
            tag: 900,
            data: b"later",
        }],
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        partitions: vec![partition],
        ..Default::default()
    };
    let response = FetchResponse {
        responses: vec![topic],
        ..Default::default()
    };
    let mut writer = Writer::new();
    response.encode(&mut writer, 13).unwrap();
    let bytes = writer.to_vec();
    // Two tagged fields: 1 (leader, 9 bytes), then 900.
    let expected = [
        &[2, 1, 9, 0, 0, 0, 3, 0, 0, 0, 9, 0][..],
        &[0x84, 0x07, 5],
        b"later",
    ]
    .concat();
    assert!(
        bytes
            .windows(expected.len())
            .any(|window| window == expected),
        "{bytes:02x?}"
    );
    assert_eq!(
        FetchResponse::decode(&mut Reader::new(&bytes), 13).unwrap(),
        response
    );
    writer.clear();
    assert_eq!(
        response.encode(&mut writer, 11),
        Err(EncodeError::FieldNotInVersion {
            field: "PartitionData.current_leader",
            version: 11
        })
    );
}

#[test]
fn a_long_tagged_field_gets_a_long_length() {
    let mut writer = Writer::new();
    let mark = writer.begin_tagged(4);
    writer.put_slice(&[7; 300]);
    writer.end_tagged(mark).unwrap();
    assert_eq!(writer.to_vec(), [&[4, 0xac, 0x02][..], &[7; 300]].concat());
}

#[test]
fn record_slices_leave_uncopied_and_in_order() {
    let batch = Bytes::from(vec![0xbb; 5000]);
    let small = Bytes::from_static(b"small");
    let partition = |records: Vec<Bytes>| PartitionData {
        records: Some(Records::Chain(records)),
        ..Default::default()
    };
    let partitions = vec![
        partition(vec![batch.slice(..3000), batch.slice(3000..)]),
        partition(vec![small.clone()]),
    ];
    let topic = FetchableTopicResponse {
        topic: "t",
        partitions,
        ..Default::default()
    };
    let response = FetchResponse {
        responses: vec![topic],
        ..Default::default()
    };
    let mut writer = Writer::new();
    let frame = writer.begin_frame();
    response.encode(&mut writer, 11).unwrap();
    writer.end_frame(frame).unwrap();
    let (length, whole) = (writer.len(), writer.to_vec());
    let chain = writer.take_chain();
    assert_eq!(chain.concat(), whole);
    assert_eq!((length, writer.len()), (whole.len(), 0));
    assert_eq!(whole[..4], (whole.len() as i32 - 4).to_be_bytes());
    assert_eq!(chain[1].as_ptr(), batch.as_ptr());
    assert_eq!(
        chain.len(),
        4,
        "two slices and what stands before and after them"
    );
    let decoded = FetchResponse::decode(&mut Reader::new(&whole[4..]), 11).unwrap();
    let Some(Records::Borrowed(found)) = decoded.responses[0].partitions[0].records else {
        panic!("no records")
    };
    assert!(
        whole.as_ptr_range().contains(&found.as_ptr()),
        "decoded records are a slice of the frame"
    );
    assert_eq!(found, batch);
}

#[test]
fn null_and_empty_records_stay_apart() {
    for records in [None, Some(Records::Borrowed(&[][..]))] {
        let partition = PartitionProduceData {
            index: 1,
            records,
            ..Default::default()
        };
        let topic = TopicProduceData {
            name: "t",
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            topic_data: vec![topic],
            ..Default::default()
        };
        for version in [3, 9] {
            let mut writer = Writer::new();
            request.encode(&mut writer, version).unwrap();
            let bytes = writer.to_vec();
            assert_eq!(
                ProduceRequest::decode(&mut Reader::new(&bytes), version).unwrap(),
                request
            );
        }
    }
}
