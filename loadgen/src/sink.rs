//! A broker that keeps nothing: the null sink for the generator's self-checks.
//!
//! It takes every Produce request whole, looks at nothing in it but the partition, and acknowledges at once. Topics are
//! whatever is asked for. One executor; what is measured against it is the generator's own limit.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use net::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use net::messages::init_producer_id::InitProducerIdResponse;
use net::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use net::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use net::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use net::messages::{
    ApiKey, RequestHeader, ResponseHeader, request_header_version, response_header_version,
};
use net::platform::{Runtime, Stream};
use net::wire::{EncodeError, Reader, Writer};

use crate::link::{Frames, LinkError};

/// What the sink serves: API, lowest and highest version.
const SERVED: [(ApiKey, i16, i16); 7] = [
    (ApiKey::Produce, 3, 12),
    // Clients expect it; the sink has nothing to read.
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 8),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::InitProducerId, 0, 4),
];
const UNSUPPORTED_VERSION: i16 = 35;
/// Topics that are remembered.
const TOPICS_MAX: usize = 10_000;

struct Sink {
    address: SocketAddr,
    partitions: RefCell<BTreeMap<String, i32>>,
    partitions_default: i32,
    delay: Duration,
    next_producer_id: Cell<i64>,
}

/// Listens and acknowledges until the process is ended. `said` is told the address.
pub(crate) async fn serve(
    runtime: Runtime,
    listen: SocketAddr,
    partitions: i32,
    delay: Duration,
    said: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let listener = runtime.listen(listen).await?;
    let address = listener.local_address()?;
    said(address);
    let sink = Rc::new(Sink {
        address,
        partitions: RefCell::default(),
        partitions_default: partitions,
        delay,
        next_producer_id: Cell::new(1),
    });
    loop {
        let Ok(stream) = listener
            .accept()
            .await
            .and_then(|stream| runtime.attach(stream))
        else {
            continue;
        };
        let (sink, here) = (sink.clone(), runtime.clone());
        runtime.spawn(async move {
            // A client that goes away, or that does not speak Kafka, is no concern of the others.
            let _ = sink.connection(&here, stream).await;
        });
    }
}

impl Sink {
    async fn connection(&self, runtime: &Runtime, stream: Stream) -> Result<(), LinkError> {
        let (half, mut writer) = stream.split();
        let mut frames = Frames::new(half);
        let mut out = Writer::new();
        while let Some(frame) = frames.next().await? {
            self.answer(frame, &mut out)?;
            if frames.has_frame() {
                continue;
            }
            if !self.delay.is_zero() {
                runtime.sleep(self.delay).await;
            }
            let chain: Vec<Bytes> = out.take_chain();
            writer.write_all(&chain).await?;
        }
        Ok(())
    }

    fn answer(&self, frame: &[u8], out: &mut Writer) -> Result<(), LinkError> {
        let broken = || LinkError::Io(std::io::ErrorKind::InvalidData.into());
        let key = frame.get(..2).ok_or_else(broken)?;
        let api = ApiKey::from_code(i16::from_be_bytes([key[0], key[1]])).ok_or_else(broken)?;
        let version = frame.get(2..4).ok_or_else(broken)?;
        let version = i16::from_be_bytes([version[0], version[1]]);
        let supported = SERVED
            .iter()
            .any(|(served, low, high)| *served == api && (*low..=*high).contains(&version));
        if !supported && api != ApiKey::ApiVersions {
            return Err(broken());
        }
        let mut reader = Reader::new(frame);
        let header_version = if supported {
            request_header_version(api, version)
        } else {
            1
        };
        let header = RequestHeader::decode(&mut reader, header_version)?;
        let id = header.correlation_id;
        match api {
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut reader, version)?;
                if request.acks != 0 {
                    let response = acknowledge(&request);
                    reply(out, api, version, id, |out| response.encode(out, version))?;
                }
            }
            ApiKey::ApiVersions => {
                let answered = if supported { version } else { 0 };
                let response = versions(supported);
                reply(out, api, answered, id, |out| response.encode(out, answered))?;
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut reader, version)?;
                self.metadata(&request, out, version, id)?;
            }
            ApiKey::CreateTopics => {
                let request = CreateTopicsRequest::decode(&mut reader, version)?;
                let response = self.create(&request);
                reply(out, api, version, id, |out| response.encode(out, version))?;
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(&mut reader, version)?;
                let response = no_records(&request);
                reply(out, api, version, id, |out| response.encode(out, version))?;
            }
            ApiKey::InitProducerId => {
                let producer_id = self.next_producer_id.get();
                self.next_producer_id.set(producer_id + 1);
                let response = InitProducerIdResponse {
                    producer_id,
                    producer_epoch: 0,
                    ..Default::default()
                };
                reply(out, api, version, id, |out| response.encode(out, version))?;
            }
            _ => return Err(broken()),
        }
        Ok(())
    }

    fn create<'a>(&self, request: &CreateTopicsRequest<'a>) -> CreateTopicsResponse<'a> {
        let mut known = self.partitions.borrow_mut();
        for topic in &request.topics {
            if known.len() < TOPICS_MAX {
                known.insert(topic.name.to_owned(), topic.num_partitions.max(1));
            }
        }
        let topics = request.topics.iter().map(|topic| CreatableTopicResult {
            name: topic.name,
            num_partitions: topic.num_partitions,
            ..Default::default()
        });
        CreateTopicsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn metadata(
        &self,
        request: &MetadataRequest<'_>,
        out: &mut Writer,
        version: i16,
        id: i32,
    ) -> Result<(), EncodeError> {
        let host = self.address.ip().to_string();
        let known = self.partitions.borrow();
        let names: Vec<&str> = match &request.topics {
            Some(topics) => topics.iter().filter_map(|topic| topic.name).collect(),
            None => known.keys().map(String::as_str).collect(),
        };
        let topics = names.into_iter().map(|name| {
            let count = known.get(name).copied();
            MetadataResponseTopic {
                // Unknown until it is created, so that its number of partitions is the creator's.
                error_code: if count.is_none() && !request.allow_auto_topic_creation {
                    3
                } else {
                    0
                },
                name: Some(name),
                partitions: (0..count.unwrap_or(self.partitions_default))
                    .map(|partition_index| MetadataResponsePartition {
                        partition_index,
                        leader_id: 1,
                        replica_nodes: vec![1],
                        isr_nodes: vec![1],
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        });
        let response = MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: &host,
                port: self.address.port().into(),
                ..Default::default()
            }],
            cluster_id: Some("sink"),
            controller_id: 1,
            topics: topics.collect(),
            ..Default::default()
        };
        reply(out, ApiKey::Metadata, version, id, |out| {
            response.encode(out, version)
        })
    }
}

fn acknowledge<'a>(request: &ProduceRequest<'a>) -> ProduceResponse<'a> {
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| PartitionProduceResponse {
                index: partition.index,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ProduceResponse {
        responses: topics.collect(),
        ..Default::default()
    }
}

fn no_records<'a>(request: &ListOffsetsRequest<'a>) -> ListOffsetsResponse<'a> {
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                offset: 0,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn versions(supported: bool) -> ApiVersionsResponse<'static> {
    let api = |&(api, min_version, max_version): &(ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version,
        max_version,
        ..Default::default()
    };
    ApiVersionsResponse {
        error_code: if supported { 0 } else { UNSUPPORTED_VERSION },
        api_keys: SERVED.iter().map(api).collect(),
        ..Default::default()
    }
}

fn reply(
    out: &mut Writer,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let mark = out.begin_frame();
    let header = ResponseHeader {
        correlation_id,
        unknown_tagged_fields: Vec::new(),
    };
    header.encode(out, response_header_version(api, version))?;
    encode(out)?;
    out.end_frame(mark)
}
