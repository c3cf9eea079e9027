//! Produce requests encoded once: only correlation id, partition and batch change from one to the next.
//!
//! The frame is made by the codec with marks in the places that change, and the places are found by looking for the
//! marks; so what stands around them is the codec's, in any version. Pure computation.

use bytes::BytesMut;
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::messages::{ApiKey, request_header_version};
use net::wire::{EncodeError, Records, Uuid, Writer};

/// The name that brokers see.
pub(crate) const CLIENT_ID: &str = "loadgen";
/// Where the correlation id stands in every frame: behind length, API key and version.
const CORRELATION_AT: usize = 8;
/// Newer versions name topics by id; this one, flexible, is served by every broker from 2.4 to today.
pub(crate) const PRODUCE_VERSION_MAX: i16 = 12;
const FLEXIBLE_FROM: i16 = 9;
const PARTITION_MARK: i32 = 0x7a6b_5c4d;
const RECORDS_MARK: &[u8; 8] = b"\xa7records";

/// What stands before and behind the batch in a request for one topic.
#[derive(Debug, Clone)]
pub(crate) struct ProduceFrame {
    head: Vec<u8>,
    partition_at: usize,
    tail: Vec<u8>,
    flexible: bool,
}

impl ProduceFrame {
    /// Requests for `topic` in `version` with these acks.
    pub(crate) fn new(
        topic: &str,
        topic_id: Uuid,
        version: i16,
        acks: i16,
        timeout_ms: i32,
    ) -> Result<Self, EncodeError> {
        let request = ProduceRequest {
            transactional_id: None,
            acks,
            timeout_ms,
            topic_data: vec![TopicProduceData {
                name: topic,
                topic_id,
                partition_data: vec![PartitionProduceData {
                    index: PARTITION_MARK,
                    records: Some(Records::Borrowed(RECORDS_MARK)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let frame = frame(ApiKey::Produce, version, 0, |writer| {
            request.encode(writer, version)
        })?;
        let records_at = frame
            .windows(RECORDS_MARK.len())
            .rposition(|window| window == RECORDS_MARK)
            .expect("the records are in the frame");
        let flexible = version >= FLEXIBLE_FROM;
        let length_bytes = if flexible { 1 } else { 4 };
        let head = frame[..records_at - length_bytes].to_vec();
        let partition_at = head.len() - 4;
        assert_eq!(head[partition_at..], PARTITION_MARK.to_be_bytes());
        Ok(Self {
            head,
            partition_at,
            tail: frame[records_at + RECORDS_MARK.len()..].to_vec(),
            flexible,
        })
    }

    /// The most that a request takes beside its batch.
    pub(crate) fn overhead(&self) -> usize {
        self.head.len() + 5 + self.tail.len()
    }

    /// Appends everything before the batch, which will have `batch_bytes` bytes.
    pub(crate) fn begin(
        &self,
        out: &mut BytesMut,
        correlation_id: i32,
        partition: i32,
        batch_bytes: usize,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        if self.flexible {
            put_varint(
                out,
                u32::try_from(batch_bytes + 1).expect("a batch is below 2 GiB"),
            );
        } else {
            let length = i32::try_from(batch_bytes).expect("a batch is below 2 GiB");
            out.extend_from_slice(&length.to_be_bytes());
        }
        let length = out.len() - start - 4 + batch_bytes + self.tail.len();
        let length = i32::try_from(length).expect("a request is below 2 GiB");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.address(&mut out[start..], correlation_id, partition);
    }

    /// Gives a request that was begun another number and partition.
    pub(crate) fn address(&self, request: &mut [u8], correlation_id: i32, partition: i32) {
        request[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        request[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
    }

    /// The batch in a request that holds nothing else.
    pub(crate) fn batch_mut<'a>(&self, request: &'a mut [u8], batch_bytes: usize) -> &'a mut [u8] {
        let end = request.len() - self.tail.len();
        &mut request[end - batch_bytes..end]
    }

    /// Appends everything behind the batch.
    pub(crate) fn end(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.tail);
    }
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.extend_from_slice(&[value as u8 | 0x80]);
        value >>= 7;
    }
    out.extend_from_slice(&[value as u8]);
}

/// Any request as one frame.
pub(crate) fn frame(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    let mark = writer.begin_frame();
    writer.put_i16(api.code());
    writer.put_i16(version);
    writer.put_i32(correlation_id);
    writer.put_nullable_string(Some(CLIENT_ID), false, true)?;
    if request_header_version(api, version) >= 2 {
        writer.put_unsigned_varint(0);
    }
    encode(&mut writer)?;
    writer.end_frame(mark)?;
    Ok(writer.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::messages::RequestHeader;
    use net::wire::Reader;

    #[test]
    fn every_version_is_what_the_codec_reads() {
        for version in 3..=PRODUCE_VERSION_MAX {
            let produce =
                ProduceFrame::new("a topic", Uuid::default(), version, -1, 30_000).unwrap();
            for batch in [vec![7u8; 90], vec![8; 200], vec![9; 70_000]] {
                let mut out = BytesMut::from(&b"previous"[..]);
                produce.begin(&mut out, 77, 5, batch.len());
                out.extend_from_slice(&batch);
                produce.end(&mut out);
                let frame = &out[8..];
                let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
                assert_eq!(length as usize, frame.len() - 4);
                assert!(frame.len() <= batch.len() + produce.overhead());
                let mut reader = Reader::new(&frame[4..]);
                let header = request_header_version(ApiKey::Produce, version);
                let header = RequestHeader::decode(&mut reader, header).unwrap();
                assert_eq!(
                    (header.correlation_id, header.client_id),
                    (77, Some(CLIENT_ID))
                );
                let request = ProduceRequest::decode(&mut reader, version).unwrap();
                assert!(reader.rest().is_empty());
                assert_eq!(request.topic_data[0].name, "a topic");
                let partition = &request.topic_data[0].partition_data[0];
                assert_eq!(partition.index, 5);
                assert_eq!(partition.records.as_ref().unwrap().to_vec(), batch);
            }
        }
    }
}
