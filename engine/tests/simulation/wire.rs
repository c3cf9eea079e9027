//! A client connection of the workload: frames out, frames in, nothing more. It pipelines as its user likes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use net::messages::ApiKey;
use net::messages::header::{RequestHeader, ResponseHeader};
use net::messages::{request_header_version, response_header_version};
use net::platform::{ReadHalf, Runtime, WriteHalf};
use net::wire::{EncodeError, Reader, Writer};

use crate::shared::Shared;

/// Where the broker listens.
pub const BROKER: &str = "127.0.0.1:9092";
/// How long a client waits for anything before it gives the connection up.
const PATIENCE: Duration = Duration::from_secs(4);

/// The connection is good for nothing any more, and what was under way on it may or may not have happened.
#[derive(Debug)]
pub struct Lost;

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Lost {
        Lost
    }
}

/// A connection to the broker.
pub struct Wire {
    shared: Shared,
    runtime: Runtime,
    read: ReadHalf,
    write: WriteHalf,
    received: BytesMut,
    correlation_id: i32,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Wire {
    /// Connects, or does not.
    pub async fn connect(shared: &Shared, runtime: &Runtime) -> Result<Wire, Lost> {
        let address: SocketAddr = BROKER.parse().expect("a constant");
        let stream = runtime
            .timeout(PATIENCE, runtime.connect(address))
            .await
            .map_err(|_| Lost)??;
        let (read, write) = stream.split();
        let (shared, runtime) = (shared.clone(), runtime.clone());
        Ok(Wire {
            shared,
            runtime,
            read,
            write,
            received: BytesMut::new(),
            correlation_id: 0,
        })
    }

    /// Sends a request.
    pub async fn send(
        &mut self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
    ) -> Result<Call, Lost> {
        self.correlation_id += 1;
        let call = Call {
            key,
            version,
            correlation_id: self.correlation_id,
        };
        let header = RequestHeader {
            request_api_key: key.code(),
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("simulation"),
            unknown_tagged_fields: Vec::new(),
        };
        let mut writer = Writer::new();
        let mark = writer.begin_frame();
        header
            .encode(&mut writer, request_header_version(key, version))
            .expect("a header the schema allows");
        encode(&mut writer, version).expect("a request the schema allows");
        writer.end_frame(mark).expect("a frame below 2 GiB");
        let chain = writer.into_chain();
        self.shared.count_operation(key);
        self.runtime
            .timeout(PATIENCE, self.write.write_all(&chain))
            .await
            .map_err(|_| Lost)??;
        Ok(call)
    }

    /// The body of the next answer, which must be the one to `call`.
    pub async fn receive(&mut self, call: Call) -> Result<Bytes, Lost> {
        let runtime = self.runtime.clone();
        let frame = runtime
            .timeout(PATIENCE, self.frame())
            .await
            .map_err(|_| Lost)??;
        let mut reader = Reader::new(&frame);
        let header =
            ResponseHeader::decode(&mut reader, response_header_version(call.key, call.version));
        let header = header.expect("an answer begins with its header");
        assert_eq!(
            header.correlation_id, call.correlation_id,
            "answers keep the order of requests"
        );
        let body = frame.len() - reader.remaining();
        Ok(frame.slice(body..))
    }

    /// Sends a request and waits for its answer.
    pub async fn call(
        &mut self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer, i16) -> Result<(), EncodeError>,
    ) -> Result<Bytes, Lost> {
        let call = self.send(key, version, encode).await?;
        self.receive(call).await
    }

    async fn frame(&mut self) -> Result<Bytes, Lost> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(length) = self.received.get(..4) {
                let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
                let total = 4 + usize::try_from(length).expect("a length is not negative");
                if self.received.len() >= total {
                    let mut frame = self.received.split_to(total).freeze();
                    frame.advance(4);
                    return Ok(frame);
                }
            }
            match self.read.read(&mut buffer).await? {
                0 => return Err(Lost),
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
