//! A few requests over a blocking socket: what the load generator does not do for a comparison (topics with settings,
//! one record into and out of every partition after a restart).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use net::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::messages::{ApiKey, request_header_version, response_header_version};
use net::records::BatchBuilder;
use net::wire::{EncodeError, Reader, Records, Writer};

use crate::{Error, Result};

const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection.
pub struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            .map_err(Error::io("connecting"))?;
        stream
            .set_read_timeout(Some(TIMEOUT))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(Error::io("connecting"))?;
        Ok(Wire {
            stream,
            correlation_id: 0,
        })
    }

    fn call(
        &mut self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> std::result::Result<(), EncodeError>,
    ) -> Result<Vec<u8>> {
        let what = || format!("{key:?}");
        let frame = self
            .frame(key, version, encode)
            .map_err(|error| Error::failed(format!("{key:?}: {error}")))?;
        self.stream.write_all(&frame).map_err(Error::io(what()))?;
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .map_err(Error::io(what()))?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let header = if response_header_version(key, version) >= 1 {
            5
        } else {
            4
        };
        if !(header..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(Error::failed(format!(
                "{key:?}: an answer of {length} bytes"
            )));
        }
        let mut answer = vec![0; length];
        self.stream
            .read_exact(&mut answer)
            .map_err(Error::io(what()))?;
        // No broker puts tagged fields into response headers yet, so the flexible header is one zero byte longer.
        Ok(answer.split_off(header))
    }

    fn frame(
        &mut self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> std::result::Result<(), EncodeError>,
    ) -> std::result::Result<Vec<u8>, EncodeError> {
        self.correlation_id += 1;
        let mut writer = Writer::new();
        let frame = writer.begin_frame();
        writer.put_i16(key as i16);
        writer.put_i16(version);
        writer.put_i32(self.correlation_id);
        writer.put_nullable_string(Some("bench"), false, true)?;
        if request_header_version(key, version) >= 2 {
            writer.put_unsigned_varint(0);
        }
        encode(&mut writer)?;
        writer.end_frame(frame)?;
        Ok(writer.to_vec())
    }

    /// Any answer to ApiVersions.
    pub fn api_versions(&mut self) -> Result<()> {
        self.call(ApiKey::ApiVersions, 0, |_| Ok(())).map(drop)
    }

    /// Makes a topic and waits until every partition has a leader.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name,
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name,
                        value: Some(value),
                        ..CreatableTopicConfig::default()
                    })
                    .collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: 60_000,
            ..CreateTopicsRequest::default()
        };
        let answer = self.call(ApiKey::CreateTopics, 4, |writer| request.encode(writer, 4))?;
        let answer =
            CreateTopicsResponse::decode(&mut Reader::new(&answer), 4).map_err(unreadable)?;
        check(
            "creating the topic",
            answer.topics.first().map_or(-1, |topic| topic.error_code),
        )?;
        for _ in 0..600 {
            if self.leaders(name)? == partitions as usize {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(Error::failed(format!(
            "{name} has partitions without a leader"
        )))
    }

    fn leaders(&mut self, name: &str) -> Result<usize> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self.call(ApiKey::Metadata, 4, |writer| request.encode(writer, 4))?;
        let answer = MetadataResponse::decode(&mut Reader::new(&answer), 4).map_err(unreadable)?;
        Ok(answer.topics.first().map_or(0, |topic| {
            let led = |partition: &&_| -> bool {
                let partition: &net::messages::metadata::MetadataResponsePartition<'_> = partition;
                partition.error_code == 0 && partition.leader_id >= 0
            };
            topic.partitions.iter().filter(led).count()
        }))
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest {
            topic_names: vec![name],
            timeout_ms: 60_000,
            ..DeleteTopicsRequest::default()
        };
        let answer = self.call(ApiKey::DeleteTopics, 3, |writer| request.encode(writer, 3))?;
        let answer =
            DeleteTopicsResponse::decode(&mut Reader::new(&answer), 3).map_err(unreadable)?;
        check(
            "deleting the topic",
            answer
                .responses
                .first()
                .map_or(-1, |topic| topic.error_code),
        )
    }

    /// Sends one record to every one of the partitions in one request; how many took it.
    pub fn produce_everywhere(&mut self, topic: &str, partitions: i32) -> Result<usize> {
        let mut builder = BatchBuilder::new();
        builder.append(None, Some(b"first after the restart"), &[], 0);
        let batch = builder.build(0, -1);
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 60_000,
            topic_data: vec![TopicProduceData {
                name: topic,
                partition_data: (0..partitions)
                    .map(|index| PartitionProduceData {
                        index,
                        records: Some(Records::Borrowed(&batch)),
                        ..PartitionProduceData::default()
                    })
                    .collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let answer = self.call(ApiKey::Produce, 8, |writer| request.encode(writer, 8))?;
        let answer = ProduceResponse::decode(&mut Reader::new(&answer), 8).map_err(unreadable)?;
        let all = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses);
        Ok(all.filter(|partition| partition.error_code == 0).count())
    }

    /// Fetches one batch from the start of a partition; whether there was one.
    pub fn fetch_first(&mut self, topic: &str, partition: i32) -> Result<bool> {
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 1000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic,
                partitions: vec![FetchPartition {
                    partition,
                    partition_max_bytes: 64 << 10,
                    ..FetchPartition::default()
                }],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let answer = self.call(ApiKey::Fetch, 7, |writer| request.encode(writer, 7))?;
        let answer = FetchResponse::decode(&mut Reader::new(&answer), 7).map_err(unreadable)?;
        let first = answer
            .responses
            .first()
            .and_then(|topic| topic.partitions.first());
        Ok(first.is_some_and(|partition| {
            partition.error_code == 0
                && partition
                    .records
                    .as_ref()
                    .is_some_and(|records| !records.is_empty())
        }))
    }
}

fn unreadable(error: net::wire::DecodeError) -> Error {
    Error::failed(format!("an answer cannot be read: {error}"))
}

fn check(what: &str, code: i16) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(Error::failed(format!("{what}: error {code}"))),
    }
}
