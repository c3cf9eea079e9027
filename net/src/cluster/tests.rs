//! The client against brokers that behave in ways a real one seldom shows.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::messages::{
    ApiKey, Request, RequestHeader, Response, ResponseHeader, response_header_version,
};
use crate::platform::{Listener, Runtime, Stream, block_on};
use crate::wire::{Reader, Writer};

fn settings() -> ClientSettings {
    ClientSettings {
        client_id: "test".into(),
        timeout: Duration::from_secs(20),
    }
}

/// What a fake broker does with a request: the answer and the version it is written in, or nothing.
type Behaviour = Rc<dyn Fn(ApiKey, i16) -> Option<(Response<'static>, i16)>>;

/// Serves until the client closes; returns every (api, version) that was asked.
fn serve(
    runtime: &Runtime,
    listener: Listener,
    behaviour: Behaviour,
) -> Rc<RefCell<Vec<(ApiKey, i16)>>> {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let (here, seen) = (runtime.clone(), asked.clone());
    runtime.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let stream = here.attach(stream).unwrap();
            here.spawn(answer_all(stream, behaviour.clone(), seen.clone()));
        }
    });
    asked
}

async fn answer_all(stream: Stream, behaviour: Behaviour, seen: Rc<RefCell<Vec<(ApiKey, i16)>>>) {
    let (mut read, mut write) = stream.split();
    loop {
        let mut length = [0; 4];
        if !read_exactly(&mut read, &mut length).await {
            return;
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        assert!(read_exactly(&mut read, &mut frame).await);
        let header = RequestHeader::decode(&mut Reader::new(&frame), 1).unwrap();
        assert_eq!(header.client_id, Some("test"));
        let (api, version) = (
            ApiKey::from_code(header.request_api_key).unwrap(),
            header.request_api_version,
        );
        seen.borrow_mut().push((api, version));
        let Some((response, version)) = behaviour(api, version) else {
            continue;
        };
        let mut writer = Writer::new();
        let mark = writer.begin_frame();
        let correlation_id = header.correlation_id;
        let head = ResponseHeader {
            correlation_id,
            unknown_tagged_fields: Vec::new(),
        };
        head.encode(&mut writer, response_header_version(api, version))
            .unwrap();
        response.encode(&mut writer, version).unwrap();
        writer.end_frame(mark).unwrap();
        // In small pieces, so that lengths and bodies arrive torn.
        let bytes = writer.take_chain().concat();
        for piece in bytes.chunks(7) {
            write
                .write_all(&[Bytes::copy_from_slice(piece)])
                .await
                .unwrap();
        }
    }
}

async fn read_exactly(read: &mut crate::platform::ReadHalf, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    while filled < buffer.len() {
        match read.read(&mut buffer[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            _ => return false,
        }
    }
    true
}

fn versions(error_code: i16, apis: &[(ApiKey, i16, i16)]) -> Response<'static> {
    let api = |&(api, min_version, max_version): &(ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version,
        max_version,
        ..Default::default()
    };
    Response::ApiVersions(ApiVersionsResponse {
        error_code,
        api_keys: apis.iter().map(api).collect(),
        ..Default::default()
    })
}

async fn listen(runtime: &Runtime) -> (Listener, String) {
    let listener = runtime
        .listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_address().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_broker_with_older_api_versions_is_asked_again_in_its_own_version() {
    block_on(async |runtime| {
        let (listener, address) = listen(&runtime).await;
        let behaviour: Behaviour = Rc::new(|api, version| match version {
            _ if api != ApiKey::ApiVersions => None,
            0..=2 => Some((
                versions(
                    0,
                    &[
                        (ApiKey::ApiVersions, 0, 2),
                        (ApiKey::Fetch, 0, 99),
                        (ApiKey::Vote, 50, 60),
                    ],
                ),
                version,
            )),
            _ => Some((versions(35, &[(ApiKey::ApiVersions, 0, 2)]), 0)),
        });
        let asked = serve(&runtime, listener, behaviour);
        let connection = Connection::open(&runtime, &address, &settings())
            .await
            .unwrap();
        assert_eq!(
            *asked.borrow(),
            [(ApiKey::ApiVersions, 4), (ApiKey::ApiVersions, 2)]
        );
        assert_eq!(
            connection.version(ApiKey::Fetch).unwrap(),
            *ApiKey::Fetch.versions().end()
        );
        assert_eq!(connection.version_up_to(ApiKey::Fetch, 12).unwrap(), 12);
        // Below what our codec knows, above it, and not served at all.
        assert!(connection.version_up_to(ApiKey::Fetch, 3).is_err());
        assert!(connection.version(ApiKey::Vote).is_err());
        assert!(connection.version(ApiKey::Produce).is_err());
    });
}

#[test]
fn a_broker_that_names_no_version_is_asked_in_version_0() {
    block_on(async |runtime| {
        let (listener, address) = listen(&runtime).await;
        let behaviour: Behaviour = Rc::new(|_, version| match version {
            0 => Some((versions(0, &[(ApiKey::Metadata, 0, 1)]), 0)),
            _ => Some((versions(35, &[]), 0)),
        });
        let asked = serve(&runtime, listener, behaviour);
        let connection = Connection::open(&runtime, &address, &settings())
            .await
            .unwrap();
        assert_eq!(asked.borrow().len(), 2);
        assert_eq!(connection.version(ApiKey::Metadata).unwrap(), 1);
    });
}

#[test]
fn a_request_without_answer_ends_in_time() {
    block_on(async |runtime| {
        let (listener, address) = listen(&runtime).await;
        let behaviour: Behaviour = Rc::new(|api, version| {
            (api == ApiKey::ApiVersions)
                .then(|| (versions(0, &[(ApiKey::Metadata, 0, 13)]), version))
        });
        serve(&runtime, listener, behaviour);
        let impatient = ClientSettings {
            timeout: Duration::from_millis(300),
            ..settings()
        };
        let connection = Connection::open(&runtime, &address, &impatient)
            .await
            .unwrap();
        let request = Request::Metadata(MetadataRequest::default());
        assert!(matches!(
            connection.call(&request, 13).await,
            Err(ClusterError::TimedOut("Metadata"))
        ));
        // A late answer would carry its own correlation id, so the connection still serves.
        let again = Request::ApiVersions(ApiVersionsRequest::default());
        assert!(connection.call(&again, 3).await.is_ok());
    });
}

#[test]
fn a_partition_is_asked_for_at_its_leader() {
    block_on(async |runtime| {
        let (first, first_address) = listen(&runtime).await;
        let (second, second_address) = listen(&runtime).await;
        let port: i32 = second_address.rsplit_once(':').unwrap().1.parse().unwrap();
        let metadata = move || {
            let partition = |partition_index, leader_id| MetadataResponsePartition {
                partition_index,
                leader_id,
                ..Default::default()
            };
            Response::Metadata(MetadataResponse {
                brokers: vec![MetadataResponseBroker {
                    node_id: 7,
                    host: "127.0.0.1",
                    port,
                    ..Default::default()
                }],
                controller_id: 7,
                topics: vec![MetadataResponseTopic {
                    name: Some("t"),
                    partitions: vec![partition(1, 7), partition(0, 8)],
                    ..Default::default()
                }],
                ..Default::default()
            })
        };
        let behaviour: Behaviour = Rc::new(move |api, version| match api {
            ApiKey::ApiVersions => Some((versions(0, &[(ApiKey::Metadata, 0, 12)]), version)),
            _ => Some((metadata(), version)),
        });
        let at_first = serve(&runtime, first, behaviour.clone());
        let at_second = serve(&runtime, second, behaviour);
        let bootstrap = format!("127.0.0.1:1, {first_address}");
        let mut cluster = Cluster::connect(&runtime, &bootstrap, settings())
            .await
            .unwrap();
        let topics = cluster.topics(Some(&["t"]), false).await.unwrap();
        assert_eq!(
            topics[0]
                .partitions
                .iter()
                .map(|p| (p.index, p.leader))
                .collect::<Vec<_>>(),
            [(0, 8), (1, 7)]
        );
        cluster.broker(7).await.unwrap();
        cluster.controller().await.unwrap();
        assert_eq!(
            *at_first.borrow(),
            [(ApiKey::ApiVersions, 4), (ApiKey::Metadata, 12)]
        );
        assert_eq!(*at_second.borrow(), [(ApiKey::ApiVersions, 4)]);
        assert!(matches!(
            cluster.broker(8).await,
            Err(ClusterError::UnknownBroker(8))
        ));
    });
}
