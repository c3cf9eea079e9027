//! The client's end of a connection: any API at any version, pipelined.
//!
//! For our own command line, the load generator and the simulator's workloads. Runs on one executor. Invariant: every
//! request sent is answered once, by its correlation id, or fails when the connection does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::messages::{ApiKey, request_header_version, response_header_version};
use crate::platform::sync::{Mutex, Notify, oneshot};
use crate::platform::{Runtime, WriteHalf};
use crate::server::{FrameReader, ReceiveBudget, write_chain};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// The longest answer that is taken.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection ended first.
    #[error("the connection was closed")]
    Closed,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The request cannot be written in that version.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The answer cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

#[derive(Default)]
struct Waiting {
    answers: RefCell<BTreeMap<i32, oneshot::Sender<Bytes>>>,
    closed: Cell<bool>,
    ended: Notify,
}

impl Waiting {
    /// Nothing more will come: everybody who waits learns it.
    fn end(&self) {
        self.closed.set(true);
        self.answers.borrow_mut().clear();
        self.ended.notify_all();
    }
}

/// A connection to a broker. Closed on drop; requests may be sent by several tasks.
pub struct Client {
    writer: Mutex<WriteHalf>,
    waiting: Rc<Waiting>,
    client_id: String,
    next_correlation_id: Cell<i32>,
}

/// Resolves to the body of the answer to a request that was sent.
pub struct PendingAnswer {
    key: ApiKey,
    version: i16,
    receiver: oneshot::Receiver<Bytes>,
}

impl Future for PendingAnswer {
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.receiver).poll(context);
        let (key, version) = (self.key, self.version);
        received.map(|frame| body(key, version, &frame.map_err(|_| ClientError::Closed)?))
    }
}

impl Client {
    /// Connects to `address`; the client calls itself `client_id`.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub async fn connect(
        runtime: &Runtime,
        address: SocketAddr,
        client_id: &str,
    ) -> Result<Client, ClientError> {
        let (read_half, write_half) = runtime.connect(address).await?.split();
        let waiting = Rc::new(Waiting::default());
        let receiving = waiting.clone();
        runtime.spawn(async move {
            let mut reader = FrameReader::new(read_half, ANSWER_BYTES_MAX);
            let budget = ReceiveBudget::new(usize::MAX);
            while let Ok(Some(frame)) = reader.next(&budget).await {
                let Ok(correlation_id) = Reader::new(&frame.bytes).get_i32() else {
                    break;
                };
                let sender = receiving.answers.borrow_mut().remove(&correlation_id);
                if let Some(sender) = sender {
                    // Whoever asked may have lost interest.
                    let _ = sender.send(frame.bytes);
                }
            }
            receiving.end();
        });
        Ok(Client {
            writer: Mutex::new(write_half),
            waiting,
            client_id: client_id.to_owned(),
            next_correlation_id: Cell::new(0),
        })
    }

    /// Sends a request whose body `encode` writes; it is with the operating system when this resolves. What comes back
    /// gives the body of the answer.
    ///
    /// # Errors
    /// The request was not sent, or (inner) not answered.
    pub async fn send(
        &self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<PendingAnswer, ClientError> {
        let (correlation_id, chain) = self.frame(key, version, encode)?;
        let (sender, receiver) = oneshot::channel();
        if self.waiting.closed.get() {
            return Err(ClientError::Closed);
        }
        self.waiting
            .answers
            .borrow_mut()
            .insert(correlation_id, sender);
        self.write(&chain).await?;
        Ok(PendingAnswer {
            key,
            version,
            receiver,
        })
    }

    /// Sends a request and waits for the body of its answer.
    ///
    /// # Errors
    /// It was not sent or not answered.
    pub async fn call(
        &self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<Bytes, ClientError> {
        self.send(key, version, encode).await?.await
    }

    /// Sends a request that gets no answer (Produce with acks 0).
    ///
    /// # Errors
    /// It was not sent.
    pub async fn tell(
        &self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), ClientError> {
        let (_, chain) = self.frame(key, version, encode)?;
        self.write(&chain).await
    }

    /// Whether the other end, or the network, closed the connection.
    pub fn is_closed(&self) -> bool {
        self.waiting.closed.get()
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        while !self.waiting.closed.get() {
            self.waiting.ended.notified().await;
        }
    }

    fn frame(
        &self,
        key: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(i32, Vec<Bytes>), ClientError> {
        let correlation_id = self.next_correlation_id.get();
        self.next_correlation_id.set(correlation_id.wrapping_add(1));
        let mut writer = Writer::new();
        let frame = writer.begin_frame();
        writer.put_i16(key as i16);
        writer.put_i16(version);
        writer.put_i32(correlation_id);
        writer.put_nullable_string(Some(&self.client_id), false, true)?;
        if request_header_version(key, version) >= 2 {
            writer.put_unsigned_varint(0);
        }
        encode(&mut writer)?;
        writer.end_frame(frame)?;
        Ok((correlation_id, writer.take_chain()))
    }

    async fn write(&self, chain: &[Bytes]) -> Result<(), ClientError> {
        let mut writer = self.writer.lock().await;
        let written = write_chain(&mut writer, chain, || {}).await;
        if written.is_err() {
            self.waiting.end();
        }
        Ok(written?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.try_lock() {
            writer.shutdown();
        }
    }
}

/// What stands behind the answer's header.
fn body(key: ApiKey, version: i16, frame: &Bytes) -> Result<Bytes, ClientError> {
    let mut reader = Reader::new(frame);
    reader.get_i32()?;
    if response_header_version(key, version) >= 1 {
        for _ in 0..reader.get_unsigned_varint()? {
            reader.get_unsigned_varint()?;
            let length = reader.get_unsigned_varint()?;
            reader.take(length as usize)?;
        }
    }
    Ok(frame.slice_ref(reader.rest()))
}
