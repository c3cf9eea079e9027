//! One client connection: a reader, a dispatcher and a writer, all on the connection's core.
//!
//! The dispatcher takes requests in the order they arrived. Invariant: only consecutive Produce requests overlap; any
//! other request waits until everything before it is answered, and holds back what follows; answers leave in the
//! order of requests (DESIGN §3, RELIABILITY P15). Memory is bounded: frames by the shard's receive budget, answers by
//! what is in flight, and a peer that does not read is cut off (N6).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::platform::WriteHalf;
use net::platform::sync::{Permit, channel};
use net::server::{Frame, FrameReader, ReceivePermit, ReceiveProgress, write_chain};
use tracing::debug;

use super::Shard;
use super::accept::Ticket;
use super::message::Accepted;
use super::signal::{Outstanding, Signal, unless};
use crate::api;
use crate::limits::{FRAMES_AHEAD_MAX, PRODUCE_IN_FLIGHT_MAX, WRITE_TOGETHER_BYTES};
use crate::node::ListenerSettings;

/// How long a peer may take to read one piece of an answer, or to send one more byte of a request it began.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// What the tasks of one connection share.
pub struct Connection {
    shard: Shard,
    number: u64,
    peer: SocketAddr,
    listener: usize,
    /// The connection ends now, whatever is under way.
    closing: Signal,
    /// No further request comes: the peer closed, or the node drains.
    last_request_read: Signal,
    outstanding: Outstanding,
    last_active: Cell<Duration>,
    writing_since: Cell<Option<Duration>>,
    receiving: Rc<ReceiveProgress>,
    /// Bytes of an unfinished request when last looked at, and since when there were no more.
    received: Cell<(u64, Duration)>,
    /// Name and version from ApiVersions, the best telemetry of who our clients are.
    software: RefCell<Option<(String, String)>>,
    _ticket: Ticket,
}

/// What leaves for one request.
#[derive(Default)]
pub struct Outgoing {
    /// The whole frame with its length; empty when the request gets no answer.
    pub chain: Vec<Bytes>,
    /// Close the connection instead of answering, after everything before it was written.
    pub close: bool,
    /// Given back once written.
    pub permits: (Option<ReceivePermit>, Option<Permit>),
}

impl Outgoing {
    /// An answer.
    pub fn frame(chain: Vec<Bytes>) -> Outgoing {
        Outgoing {
            chain,
            ..Outgoing::default()
        }
    }

    /// No answer; the connection ends.
    pub fn close() -> Outgoing {
        Outgoing {
            close: true,
            ..Outgoing::default()
        }
    }
}

/// An answer in its place in the order.
pub enum Answer {
    /// Complete.
    Ready(Outgoing),
    /// Produce: complete when its appends are durable.
    Later(Pin<Box<dyn Future<Output = Outgoing>>>),
}

impl Connection {
    /// The shard that serves it.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The listener it came in on.
    pub fn listener(&self) -> &ListenerSettings {
        &self.shard.settings().listeners[self.listener]
    }

    /// Resolves when no further request will come, so that waiting for more data makes no sense.
    pub async fn ending(&self) {
        self.last_request_read.wait().await;
    }

    /// Remembers what the client calls itself.
    pub fn set_software(&self, name: &str, version: &str) {
        debug!(peer = %self.peer, name, version, "client");
        self.software
            .replace(Some((name.to_owned(), version.to_owned())));
    }

    /// Number on this shard.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Takes no further request; ends when those it has are answered.
    pub(super) fn drain(&self) {
        self.last_request_read.raise();
    }

    /// Ends it if it has been idle, or its peer has not read, for too long.
    pub(super) fn check_deadlines(&self, now: Duration, idle_max: Duration) {
        let unread = self
            .writing_since
            .get()
            .is_some_and(|since| now.saturating_sub(since) > STALL_MAX);
        let stuck = unread || self.stopped_sending(now);
        let idle =
            self.outstanding.count() == 0 && now.saturating_sub(self.last_active.get()) > idle_max;
        if stuck || idle {
            debug!(peer = %self.peer, stuck, idle, "closing connection");
            self.closing.raise();
        }
    }

    /// Whether a request began and nothing more of it has come for too long. It holds memory that others wait for.
    fn stopped_sending(&self, now: Duration) -> bool {
        let Some(bytes) = self.receiving.unfinished() else {
            self.received.set((0, now));
            return false;
        };
        let (before, since) = self.received.get();
        if bytes != before {
            self.received.set((bytes, now));
            return false;
        }
        now.saturating_sub(since) > STALL_MAX
    }

    /// Ends it now.
    pub(super) fn close(&self) {
        self.closing.raise();
    }
}

/// Serves an accepted connection until it ends.
pub(super) fn serve(shard: &Shard, accepted: Accepted) {
    let stream = match shard.runtime().attach(accepted.stream) {
        Ok(stream) => stream,
        Err(error) => {
            debug!(peer = %accepted.peer, %error, "connection lost before it began");
            return;
        }
    };
    let (read_half, write_half) = stream.split();
    let reader = FrameReader::new(read_half, shard.settings().request_bytes_max);
    let connection = Rc::new(Connection {
        shard: shard.clone(),
        number: shard.next_connection_number(),
        peer: accepted.peer,
        listener: accepted.listener,
        closing: Signal::default(),
        last_request_read: Signal::default(),
        outstanding: Outstanding::default(),
        last_active: Cell::new(shard.runtime().monotonic()),
        writing_since: Cell::new(None),
        receiving: reader.progress(),
        received: Cell::default(),
        software: RefCell::default(),
        _ticket: accepted.ticket,
    });
    shard.register(&connection);
    let (frame_sender, frame_receiver) = channel::bounded(FRAMES_AHEAD_MAX);
    let (answer_sender, answer_receiver) = channel::bounded(PRODUCE_IN_FLIGHT_MAX);
    let runtime = shard.runtime();
    runtime.spawn(read(connection.clone(), reader, frame_sender));
    let dispatching = connection.clone();
    runtime.spawn(async move {
        unless(
            dispatch(&dispatching, frame_receiver, answer_sender),
            dispatching.closing.wait(),
        )
        .await;
    });
    runtime.spawn(async move {
        write(&connection, write_half, answer_receiver).await;
        connection.closing.raise();
        connection.shard.unregister(&connection);
    });
}

async fn read(connection: Rc<Connection>, mut reader: FrameReader, frames: channel::Sender<Frame>) {
    let shard = &connection.shard;
    let over = || {
        futures_lite::future::or(
            connection.closing.wait(),
            connection.last_request_read.wait(),
        )
    };
    while let Some(received) = unless(reader.next(shard.receive_budget()), over()).await {
        match received {
            Ok(Some(frame)) => {
                connection.last_active.set(shard.runtime().monotonic());
                let sent = unless(frames.send(frame), over()).await;
                if !matches!(sent, Some(Ok(()))) {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                debug!(peer = %connection.peer, %error, "closing connection");
                break;
            }
        }
    }
    connection.last_request_read.raise();
}

async fn dispatch(
    connection: &Rc<Connection>,
    mut frames: channel::Receiver<Frame>,
    answers: channel::Sender<Answer>,
) {
    while let Some(frame) = frames.recv().await {
        let Some(request) = api::Request::parse(frame) else {
            break;
        };
        if !request.may_overlap() {
            connection.outstanding.none().await;
        }
        connection.outstanding.add();
        let answer = api::dispatch(connection, request).await;
        let ends = matches!(&answer, Answer::Ready(outgoing) if outgoing.close);
        if answers.send(answer).await.is_err() || ends {
            return;
        }
    }
}

async fn write(
    connection: &Rc<Connection>,
    mut half: WriteHalf,
    mut answers: channel::Receiver<Answer>,
) {
    unless(
        write_answers(connection, &mut half, &mut answers),
        connection.closing.wait(),
    )
    .await;
    half.shutdown();
}

/// Writes answers in order until one closes the connection, a write fails, or no more come. Answers that are complete
/// are written together.
async fn write_answers(
    connection: &Rc<Connection>,
    half: &mut WriteHalf,
    answers: &mut channel::Receiver<Answer>,
) {
    let runtime = connection.shard.runtime();
    let mut held = None;
    loop {
        let next = match held.take() {
            Some(answer) => answer,
            None => match answers.recv().await {
                Some(answer) => answer,
                None => return,
            },
        };
        let mut batch = vec![match next {
            Answer::Ready(outgoing) => outgoing,
            Answer::Later(pending) => pending.await,
        }];
        let mut bytes = length(&batch[0]);
        while bytes < WRITE_TOGETHER_BYTES && !batch.last().is_some_and(|outgoing| outgoing.close) {
            match answers.try_recv() {
                Some(Answer::Ready(outgoing)) => batch.push(outgoing),
                Some(Answer::Later(mut pending)) => {
                    match futures_lite::future::poll_once(&mut pending).await {
                        Some(outgoing) => batch.push(outgoing),
                        None => {
                            held = Some(Answer::Later(pending));
                            break;
                        }
                    }
                }
                None => break,
            }
            bytes += batch.last().map_or(0, length);
        }
        let chain: Vec<Bytes> = batch
            .iter_mut()
            .flat_map(|outgoing| std::mem::take(&mut outgoing.chain))
            .collect();
        if !chain.is_empty() {
            let progress = || connection.writing_since.set(Some(runtime.monotonic()));
            progress();
            let written = write_chain(half, &chain, progress).await;
            connection.writing_since.set(None);
            connection.last_active.set(runtime.monotonic());
            if let Err(error) = written {
                debug!(peer = %connection.peer, %error, "connection broke");
                return;
            }
        }
        for outgoing in &batch {
            connection.outstanding.remove();
            if outgoing.close {
                return;
            }
        }
    }
}

fn length(outgoing: &Outgoing) -> usize {
    outgoing.chain.iter().map(Bytes::len).sum()
}
