//! The simulated network: ordered byte streams that are chunked, delayed, stalled, reset and left half open.
//!
//! A connection is two pipes. Bytes keep their order within a pipe; between connections nothing is ordered. All
//! nodes share one address space.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::executor::NodeId;
use super::{SIMULATIONS, SimRuntime, World};

/// What the network does to bytes.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Longest chunk that arrives at once, in bytes; each is from 1 to this many.
    pub chunk_bytes_max: usize,
    /// Longest way of a chunk.
    pub delay_max: Duration,
    /// Probability, per chunk, that it and all behind it wait for up to `stall_max`.
    pub stall: f64,
    /// Longest stall.
    pub stall_max: Duration,
    /// Probability, per write, that the connection is reset.
    pub reset: f64,
    /// Probability, per write, that the connection goes silent: no byte and no end arrives any more, either way.
    pub half_open: f64,
    /// Bytes a pipe holds before the writer waits.
    pub window_bytes: usize,
    /// Connections that wait to be accepted before further ones must wait.
    pub backlog: usize,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        NetworkOptions {
            chunk_bytes_max: 64 << 10,
            delay_max: Duration::from_micros(500),
            stall: 0.0,
            stall_max: Duration::from_secs(2),
            reset: 0.0,
            half_open: 0.0,
            window_bytes: 256 << 10,
            backlog: 128,
        }
    }
}

/// How a node ended, as its peers may notice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeEnd {
    Killed,
    PoweredOff,
}

#[derive(Default)]
pub(super) struct Network {
    options: NetworkOptions,
    next_port: u16,
    listeners: BTreeMap<SocketAddr, ListenerState>,
    connections: BTreeMap<u64, Connection>,
    stalled_until: BTreeMap<NodeId, Duration>,
}

struct ListenerState {
    node: NodeId,
    waiting: VecDeque<u64>,
    acceptor: Option<Waker>,
    /// Connecting tasks that found the backlog full.
    connecting: Vec<Waker>,
}

struct Connection {
    /// The connecting end and the accepting end.
    ends: [End; 2],
    reset: bool,
    silent: bool,
}

struct End {
    node: NodeId,
    address: SocketAddr,
    /// Bytes on their way to this end.
    incoming: Pipe,
    /// This end closed or shut down.
    closed: bool,
    /// Nobody holds this end any more.
    dropped: bool,
}

#[derive(Default)]
struct Pipe {
    chunks: VecDeque<(Duration, Bytes)>,
    bytes: usize,
    /// When the writer's end arrives, once it is sent.
    finished: Option<Duration>,
    last_arrival: Duration,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wakers(&mut self) -> impl Iterator<Item = Waker> + use<> {
        [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
    }
}

impl Network {
    pub(super) fn set_options(&mut self, options: NetworkOptions) {
        self.options = options;
    }
}

fn reset_error() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl World {
    pub(super) fn network_ended(&self, node: NodeId, end: NodeEnd) {
        let mut wakers = Vec::new();
        {
            let mut network = self.network.borrow_mut();
            let listeners = std::mem::take(&mut network.listeners);
            for (address, listener) in listeners {
                if listener.node == node {
                    wakers.extend(listener.connecting);
                } else {
                    network.listeners.insert(address, listener);
                }
            }
            for connection in network.connections.values_mut() {
                if connection.ends.iter().all(|side| side.node != node) {
                    continue;
                }
                match end {
                    NodeEnd::Killed => connection.reset = true,
                    NodeEnd::PoweredOff => connection.silent = true,
                }
                wakers.extend(
                    connection
                        .ends
                        .iter_mut()
                        .flat_map(|side| side.incoming.wakers()),
                );
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn reset_connections(&self, node: NodeId) {
        let numbers: Vec<u64> = {
            let network = self.network.borrow();
            let of_node = network
                .connections
                .iter()
                .filter(|(_, c)| c.ends.iter().any(|end| end.node == node));
            of_node.map(|(number, _)| *number).collect()
        };
        for number in numbers {
            self.count("net_reset");
            self.reset_connection(number);
        }
    }

    pub(super) fn stall_sender(&self, node: NodeId, duration: Duration) {
        self.count("net_stall_sender");
        let until = self.executor.now() + duration;
        let mut network = self.network.borrow_mut();
        let stalled = network.stalled_until.entry(node).or_default();
        *stalled = until.max(*stalled);
    }

    fn reset_connection(&self, number: u64) {
        let mut wakers = Vec::new();
        if let Some(connection) = self.network.borrow_mut().connections.get_mut(&number) {
            connection.reset = true;
            wakers.extend(
                connection
                    .ends
                    .iter_mut()
                    .flat_map(|end| end.incoming.wakers()),
            );
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn count(&self, kind: &'static str) {
        self.random.trace(kind, &[]);
        *self.faults.borrow_mut().entry(kind).or_default() += 1;
    }

    /// One end leaves: the other sees the end of the stream, or a reset if bytes were left unread.
    fn close_end(&self, number: u64, side: usize, dropped: bool) {
        let mut wakers = Vec::new();
        {
            let mut network = self.network.borrow_mut();
            let delay = network.options.delay_max;
            let Some(connection) = network.connections.get_mut(&number) else {
                return;
            };
            self.random.trace("close", &[number, side as u64]);
            let unread = !connection.ends[side].incoming.chunks.is_empty();
            if dropped && unread && !connection.ends[side].closed {
                connection.reset = true;
            }
            connection.ends[side].closed = true;
            connection.ends[side].dropped |= dropped;
            wakers.extend(connection.ends[side].incoming.wakers());
            let outgoing = &mut connection.ends[1 - side].incoming;
            if outgoing.finished.is_none() {
                let arrival =
                    (self.executor.now() + self.random.duration(delay)).max(outgoing.last_arrival);
                outgoing.finished = Some(arrival);
            }
            wakers.extend(outgoing.wakers());
            if connection.ends.iter().all(|end| end.dropped) {
                network.connections.remove(&number);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A listening socket.
pub(in crate::platform) struct SimListener {
    world: Rc<World>,
    node: NodeId,
    address: SocketAddr,
}

impl SimListener {
    pub(in crate::platform) fn bind(
        runtime: &SimRuntime,
        mut address: SocketAddr,
    ) -> io::Result<Self> {
        let world = runtime.world().clone();
        let mut network = world.network.borrow_mut();
        if address.port() == 0 {
            loop {
                network.next_port = network.next_port.wrapping_add(1).max(20_000);
                address.set_port(network.next_port);
                if !network.listeners.contains_key(&address) {
                    break;
                }
            }
        }
        if network.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let state = ListenerState {
            node: runtime.node(),
            waiting: VecDeque::new(),
            acceptor: None,
            connecting: Vec::new(),
        };
        network.listeners.insert(address, state);
        drop(network);
        Ok(SimListener {
            world,
            node: runtime.node(),
            address,
        })
    }

    pub(in crate::platform) async fn accept(&self) -> io::Result<SimDetached> {
        let (number, connecting) = poll_fn(|context| {
            let mut network = self.world.network.borrow_mut();
            let Some(listener) = network.listeners.get_mut(&self.address) else {
                return Poll::Pending;
            };
            match listener.waiting.pop_front() {
                Some(number) => Poll::Ready((number, std::mem::take(&mut listener.connecting))),
                None => {
                    listener.acceptor = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        connecting.into_iter().for_each(Waker::wake);
        self.world.random.trace("accept", &[number]);
        Ok(SimDetached {
            world: self.world.id,
            number,
            attached: false,
        })
    }

    pub(in crate::platform) fn local_address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let removed = {
            let mut network = self.world.network.borrow_mut();
            match network.listeners.get(&self.address) {
                Some(listener) if listener.node == self.node => {
                    network.listeners.remove(&self.address)
                }
                _ => None,
            }
        };
        if let Some(listener) = removed {
            for number in listener.waiting {
                self.world.reset_connection(number);
            }
            listener.connecting.into_iter().for_each(Waker::wake);
        }
    }
}

/// An accepted connection that no executor has taken yet; `Send`, so it knows its simulation by number only.
pub(in crate::platform) struct SimDetached {
    world: u64,
    number: u64,
    attached: bool,
}

impl SimDetached {
    pub(in crate::platform) fn peer_address(&self) -> io::Result<SocketAddr> {
        let world = self.world().ok_or(io::ErrorKind::NotConnected)?;
        let network = world.network.borrow();
        network
            .connections
            .get(&self.number)
            .map(|c| c.ends[0].address)
            .ok_or(io::ErrorKind::NotConnected.into())
    }

    fn world(&self) -> Option<Rc<World>> {
        SIMULATIONS.with_borrow(|all| all.get(&self.world).and_then(Weak::upgrade))
    }
}

impl Drop for SimDetached {
    fn drop(&mut self) {
        if !self.attached
            && let Some(world) = self.world()
        {
            world.close_end(self.number, 1, true);
        }
    }
}

/// One end of a connection; both halves hold it.
#[derive(Clone)]
pub(in crate::platform) struct SimStream {
    end: Rc<StreamEnd>,
}

struct StreamEnd {
    world: Rc<World>,
    number: u64,
    side: usize,
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.world.close_end(self.number, self.side, true);
    }
}

impl SimStream {
    pub(in crate::platform) async fn connect(
        runtime: &SimRuntime,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let world = runtime.world().clone();
        let delay = world
            .random
            .duration(world.network.borrow().options.delay_max);
        runtime.sleep(delay).await;
        let number = poll_fn(|context| {
            let mut network = world.network.borrow_mut();
            let backlog = network.options.backlog;
            let Some(listener) = network.listeners.get_mut(&address) else {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused)));
            };
            if listener.waiting.len() >= backlog {
                listener.connecting.push(context.waker().clone());
                return Poll::Pending;
            }
            let number = world.executor.new_id();
            listener.waiting.push_back(number);
            let acceptor = listener.acceptor.take();
            let here = SocketAddr::new(address.ip(), 40_000 + (number % 20_000) as u16);
            let end = |node, address| End {
                node,
                address,
                incoming: Pipe::default(),
                closed: false,
                dropped: false,
            };
            let ends = [end(runtime.node(), here), end(listener.node, address)];
            network.connections.insert(
                number,
                Connection {
                    ends,
                    reset: false,
                    silent: false,
                },
            );
            drop(network);
            acceptor.into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(number))
        })
        .await?;
        world
            .random
            .trace("connect", &[runtime.node().number(), number]);
        Ok(SimStream {
            end: Rc::new(StreamEnd {
                world,
                number,
                side: 0,
            }),
        })
    }

    pub(in crate::platform) fn attach(runtime: &SimRuntime, mut detached: SimDetached) -> Self {
        detached.attached = true;
        let world = runtime.world().clone();
        SimStream {
            end: Rc::new(StreamEnd {
                world,
                number: detached.number,
                side: 1,
            }),
        }
    }

    pub(in crate::platform) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let network = self.end.world.network.borrow();
        let connection = network
            .connections
            .get(&self.end.number)
            .ok_or(io::ErrorKind::NotConnected)?;
        Ok((
            connection.ends[self.end.side].address,
            connection.ends[1 - self.end.side].address,
        ))
    }

    pub(in crate::platform) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let world = &self.end.world;
        let now = world.executor.now();
        let mut network = world.network.borrow_mut();
        let Some(connection) = network.connections.get_mut(&self.end.number) else {
            return Poll::Ready(Err(reset_error()));
        };
        if connection.reset {
            return Poll::Ready(Err(reset_error()));
        }
        let silent = connection.silent;
        let end = &mut connection.ends[self.end.side];
        let closed = end.closed;
        let pipe = &mut end.incoming;
        let next = match pipe.chunks.front() {
            Some((arrival, _)) => Some(*arrival),
            None => pipe.finished,
        };
        let arrived = next.is_some_and(|arrival| arrival <= now) && !silent;
        if arrived && let Some((_, chunk)) = pipe.chunks.front_mut() {
            let count = chunk.len().min(buffer.len());
            buffer[..count].copy_from_slice(&chunk[..count]);
            chunk.advance(count);
            if chunk.is_empty() {
                pipe.chunks.pop_front();
            }
            pipe.bytes -= count;
            let writer = pipe.writer.take();
            drop(network);
            writer.into_iter().for_each(Waker::wake);
            world.random.trace("read", &[self.end.number, count as u64]);
            return Poll::Ready(Ok(count));
        }
        if arrived || closed {
            return Poll::Ready(Ok(0));
        }
        pipe.reader = Some(context.waker().clone());
        if let Some(arrival) = next.filter(|_| !silent) {
            world.executor.wake_at(arrival, context.waker());
        }
        Poll::Pending
    }

    pub(in crate::platform) async fn write_all(&self, slices: &[Bytes]) -> io::Result<()> {
        for slice in slices {
            let mut rest = slice.clone();
            while !rest.is_empty() {
                let chunk = poll_fn(|context| self.poll_write(context, &rest)).await?;
                rest.advance(chunk);
            }
        }
        Ok(())
    }

    fn poll_write(&self, context: &mut Context<'_>, rest: &Bytes) -> Poll<io::Result<usize>> {
        let world = &self.end.world;
        let now = world.executor.now();
        let mut network = world.network.borrow_mut();
        let Network {
            options,
            connections,
            stalled_until,
            ..
        } = &mut *network;
        let Some(connection) = connections.get_mut(&self.end.number) else {
            return Poll::Ready(Err(reset_error()));
        };
        if connection.reset {
            return Poll::Ready(Err(reset_error()));
        }
        let node = connection.ends[self.end.side].node;
        let stalled_until = stalled_until.get(&node).copied().unwrap_or_default();
        if connection.ends[self.end.side].closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if connection.ends[1 - self.end.side].closed && !connection.silent {
            // The first bytes after the other end left are taken; its answer to them is a reset.
            let noticed = world.random.chance(0.5);
            return Poll::Ready(if noticed {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(rest.len())
            });
        }
        if world.random.chance(options.reset) {
            drop(network);
            world.count("net_reset");
            world.reset_connection(self.end.number);
            return Poll::Ready(Err(reset_error()));
        }
        if !connection.silent && world.random.chance(options.half_open) {
            connection.silent = true;
            world.count("net_half_open");
        }
        let pipe = &mut connection.ends[1 - self.end.side].incoming;
        let space = options.window_bytes.saturating_sub(pipe.bytes);
        if space == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let longest = rest.len().min(space).min(options.chunk_bytes_max.max(1));
        // Often whole, sometimes any size, sometimes a single byte.
        let count = match world.random.below(8) {
            0 => 1,
            1 | 2 => 1 + world.random.below(longest as u64) as usize,
            _ => longest,
        };
        let mut arrival = now + world.random.duration(options.delay_max);
        if world.random.chance(options.stall) {
            world.count("net_stall");
            arrival += world.random.duration(options.stall_max);
        }
        arrival = arrival.max(pipe.last_arrival).max(stalled_until);
        pipe.last_arrival = arrival;
        pipe.chunks.push_back((arrival, rest.slice(..count)));
        pipe.bytes += count;
        let reader = pipe.reader.take();
        drop(network);
        reader.into_iter().for_each(Waker::wake);
        world.random.trace(
            "write",
            &[self.end.number, count as u64, arrival.as_nanos() as u64],
        );
        Poll::Ready(Ok(count))
    }

    pub(in crate::platform) fn shutdown(&self) {
        self.end
            .world
            .close_end(self.end.number, self.end.side, false);
    }
}
