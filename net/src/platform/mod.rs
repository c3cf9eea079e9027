//! The runtime half of the platform seam: spawning, time, randomness, sockets.
//!
//! Each resource is one concrete type with two variants: glommio, and (feature `sim`) a deterministic
//! simulator. Nothing outside the backend files names glommio.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

/// Handle to the executor this code runs on. Cheap to clone, never leaves its thread.
#[derive(Clone)]
pub struct Runtime {
    _backend: std::rc::Rc<()>,
}

impl Runtime {
    /// Starts `task` on this executor and detaches it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(task);
        unreachable!("platform backend not landed")
    }
    /// Time since an arbitrary fixed start; never goes back. For timeouts.
    pub fn monotonic(&self) -> Duration {
        unreachable!("platform backend not landed")
    }
    /// Milliseconds since the Unix epoch; may jump. For record timestamps and retention.
    pub fn wall_clock_ms(&self) -> i64 {
        unreachable!("platform backend not landed")
    }
    /// 64 random bits (from the operating system, or the simulator's seed).
    pub fn random_u64(&self) -> u64 {
        unreachable!("platform backend not landed")
    }
    /// Resolves after `duration` of monotonic time.
    pub async fn sleep(&self, duration: Duration) {
        let _ = duration;
        unreachable!("platform backend not landed")
    }
    /// Lets every other ready task of this executor run once.
    pub async fn yield_now(&self) {
        unreachable!("platform backend not landed")
    }
    /// Runs `work` on a thread of its own (glommio) or at once (simulator) and waits for its result.
    pub async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _ = work;
        unreachable!("platform backend not landed")
    }
    /// Listens on `address` (port 0: chosen by the system).
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let _ = address;
        unreachable!("platform backend not landed")
    }
    /// Opens a connection to `address`, with TCP_NODELAY.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let _ = address;
        unreachable!("platform backend not landed")
    }
    /// Takes over a connection that another executor accepted.
    pub fn attach(&self, stream: DetachedStream) -> io::Result<Stream> {
        let _ = stream;
        unreachable!("platform backend not landed")
    }
}

/// A listening socket.
pub struct Listener {
    _backend: (),
}

impl Listener {
    /// Waits for the next connection; it is not yet bound to this executor.
    pub async fn accept(&self) -> io::Result<DetachedStream> {
        unreachable!("platform backend not landed")
    }
    /// The address clients connect to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        unreachable!("platform backend not landed")
    }
}

/// A connection between executors: `Send`, not yet usable. Closes when dropped.
pub struct DetachedStream {
    _backend: (),
}

/// A connection. Reading and writing halves may be used by different tasks of the same executor.
pub struct Stream {
    _backend: (),
}

impl Stream {
    /// Splits into two independently owned halves.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        unreachable!("platform backend not landed")
    }
    /// The other end's address.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        unreachable!("platform backend not landed")
    }
}

/// The receiving half of a [`Stream`].
pub struct ReadHalf {
    _backend: (),
}

impl ReadHalf {
    /// Reads at least one byte into `buffer`; 0 means the other end closed.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        unreachable!("platform backend not landed")
    }
}

/// The sending half of a [`Stream`].
pub struct WriteHalf {
    _backend: (),
}

impl WriteHalf {
    /// Writes every byte of every slice, in order.
    pub async fn write_all(&mut self, slices: &[Bytes]) -> io::Result<()> {
        let _ = slices;
        unreachable!("platform backend not landed")
    }
    /// Closes both directions, also for the other half; pending reads return.
    pub fn shutdown(&self) {
        unreachable!("platform backend not landed")
    }
}
