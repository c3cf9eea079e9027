//! The runtime half of the platform seam: spawning, time, randomness, sockets.
//!
//! Each resource is one concrete type with two variants: io_uring, and (feature `sim`) a deterministic
//! simulator. Nothing outside the backend files names either.
//!
//! Invariant: a [`Runtime`], and everything made from it except [`DetachedStream`], stays on the thread of the
//! executor it was made on.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

mod blocking;
mod memory;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;
#[cfg(test)]
mod tests;
mod uring;

pub use memory::decline_huge_pages;
pub use uring::{AlignedMemory, DirectFile, ExecutorHandle, Placement, block_on, spawn_executor};

/// Handle to the executor this code runs on. Cheap to clone, never leaves its thread.
#[derive(Clone)]
pub struct Runtime {
    backend: RuntimeBackend,
}

#[derive(Clone)]
enum RuntimeBackend {
    Uring(uring::UringRuntime),
    #[cfg(feature = "sim")]
    Sim(sim::SimRuntime),
}

/// The time given to [`Runtime::timeout`] passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

impl Runtime {
    /// Starts `task` on this executor and detaches it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime.spawn(task),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.spawn(task),
        }
    }

    /// Time since an arbitrary fixed start; never goes back. For timeouts.
    pub fn monotonic(&self) -> Duration {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime.monotonic(),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.monotonic(),
        }
    }

    /// Milliseconds since the Unix epoch; may jump. For record timestamps and retention.
    pub fn wall_clock_ms(&self) -> i64 {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime.wall_clock_ms(),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.wall_clock_ms(),
        }
    }

    /// 64 random bits (from the operating system, or the simulator's seed).
    pub fn random_u64(&self) -> u64 {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime.random_u64(),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.random_u64(),
        }
    }

    /// Resolves after `duration` of monotonic time.
    pub async fn sleep(&self, duration: Duration) {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime.sleep(duration).await,
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.sleep(duration).await,
        }
    }

    /// Lets every other ready task of this executor run once.
    pub async fn yield_now(&self) {
        match &self.backend {
            RuntimeBackend::Uring(_) => uring::yield_now().await,
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => runtime.yield_now().await,
        }
    }

    /// Drives `work` for at most `duration`; past that the work is dropped.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let late = async {
            self.sleep(duration).await;
            Err(Elapsed)
        };
        futures_lite::future::or(async { Ok(work.await) }, late).await
    }

    /// Runs `work` on a thread of its own (io_uring) or at once (simulator) and waits for its result. Dropping the
    /// future does not stop the work.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match &self.backend {
            RuntimeBackend::Uring(_) => blocking::run(work).await,
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => {
                runtime.yield_now().await;
                work()
            }
        }
    }

    /// Listens on `address` (port 0: chosen by the system).
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => Ok(Listener {
                backend: ListenerBackend::Uring(uring::UringListener::bind(runtime, address)?),
            }),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => Ok(Listener {
                backend: ListenerBackend::Sim(sim::SimListener::bind(runtime, address)?),
            }),
        }
    }

    /// Opens a connection to `address`, with TCP_NODELAY.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => Ok(Stream {
                backend: StreamBackend::Uring(uring::UringStream::connect(runtime, address).await?),
            }),
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(runtime) => Ok(Stream {
                backend: StreamBackend::Sim(sim::SimStream::connect(runtime, address).await?),
            }),
        }
    }

    /// Takes over a connection that another executor accepted. Panics on one of the other backend.
    pub fn attach(&self, stream: DetachedStream) -> io::Result<Stream> {
        match (&self.backend, stream.backend) {
            (RuntimeBackend::Uring(runtime), DetachedBackend::Uring(socket)) => Ok(Stream {
                backend: StreamBackend::Uring(uring::UringStream::attach(runtime, socket)?),
            }),
            #[cfg(feature = "sim")]
            (RuntimeBackend::Sim(runtime), DetachedBackend::Sim(detached)) => Ok(Stream {
                backend: StreamBackend::Sim(sim::SimStream::attach(runtime, detached)),
            }),
            #[cfg(feature = "sim")]
            _ => panic!("a connection of the other backend"),
        }
    }

    /// The executor behind it. Panics on a simulated one.
    fn uring(&self) -> &uring::UringRuntime {
        match &self.backend {
            RuntimeBackend::Uring(runtime) => runtime,
            #[cfg(feature = "sim")]
            RuntimeBackend::Sim(_) => panic!("the simulator has no ring"),
        }
    }
}

/// A listening socket.
pub struct Listener {
    backend: ListenerBackend,
}

enum ListenerBackend {
    Uring(uring::UringListener),
    #[cfg(feature = "sim")]
    Sim(sim::SimListener),
}

impl Listener {
    /// Waits for the next connection; it is not yet bound to this executor. When descriptors or memory run out
    /// the error comes after a short pause, so that a caller's loop does not spin.
    pub async fn accept(&self) -> io::Result<DetachedStream> {
        match &self.backend {
            ListenerBackend::Uring(listener) => Ok(DetachedStream {
                backend: DetachedBackend::Uring(listener.accept().await?),
            }),
            #[cfg(feature = "sim")]
            ListenerBackend::Sim(listener) => Ok(DetachedStream {
                backend: DetachedBackend::Sim(listener.accept().await?),
            }),
        }
    }

    /// The address clients connect to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.backend {
            ListenerBackend::Uring(listener) => listener.local_address(),
            #[cfg(feature = "sim")]
            ListenerBackend::Sim(listener) => Ok(listener.local_address()),
        }
    }
}

/// A connection between executors: `Send`, not yet usable. Closes when dropped.
pub struct DetachedStream {
    backend: DetachedBackend,
}

enum DetachedBackend {
    Uring(std::net::TcpStream),
    #[cfg(feature = "sim")]
    Sim(sim::SimDetached),
}

impl DetachedStream {
    /// The other end's address.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        match &self.backend {
            DetachedBackend::Uring(socket) => socket.peer_addr(),
            #[cfg(feature = "sim")]
            DetachedBackend::Sim(detached) => detached.peer_address(),
        }
    }
}

/// A connection. Reading and writing halves may be used by different tasks of the same executor.
pub struct Stream {
    backend: StreamBackend,
}

enum StreamBackend {
    Uring(uring::UringStream),
    #[cfg(feature = "sim")]
    Sim(sim::SimStream),
}

impl Stream {
    /// Splits into two independently owned halves. The connection closes when both are dropped.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        match self.backend {
            StreamBackend::Uring(stream) => (
                ReadHalf {
                    backend: StreamBackend::Uring(stream.clone()),
                },
                WriteHalf {
                    backend: StreamBackend::Uring(stream),
                },
            ),
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => (
                ReadHalf {
                    backend: StreamBackend::Sim(stream.clone()),
                },
                WriteHalf {
                    backend: StreamBackend::Sim(stream),
                },
            ),
        }
    }

    /// The other end's address.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        match &self.backend {
            StreamBackend::Uring(stream) => stream.peer_address(),
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => Ok(stream.addresses()?.1),
        }
    }

    /// This end's address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.backend {
            StreamBackend::Uring(stream) => stream.local_address(),
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => Ok(stream.addresses()?.0),
        }
    }
}

/// The receiving half of a [`Stream`].
pub struct ReadHalf {
    backend: StreamBackend,
}

impl ReadHalf {
    /// Reads at least one byte into `buffer`; 0 means the other end closed. Dropping the future loses no bytes.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.backend {
            StreamBackend::Uring(stream) => stream.read(buffer).await,
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => stream.read(buffer).await,
        }
    }
}

impl ReadHalf {
    /// As [`ReadHalf::read`], into the spare capacity of `buffer`, which must have some; the memory need not be
    /// initialised.
    pub async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match &mut self.backend {
            StreamBackend::Uring(stream) => stream.read_into(buffer).await,
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => {
                let mut bytes = vec![0; buffer.capacity() - buffer.len()];
                let count = stream.read(&mut bytes).await?;
                buffer.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }
}

/// The sending half of a [`Stream`].
pub struct WriteHalf {
    backend: StreamBackend,
}

impl WriteHalf {
    /// Writes every byte of every slice, in order, without copying them first. After an error, or when the future
    /// was dropped midway, the connection is good for nothing but [`WriteHalf::shutdown`].
    pub async fn write_all(&mut self, slices: &[Bytes]) -> io::Result<()> {
        match &mut self.backend {
            StreamBackend::Uring(stream) => stream.write_all(slices).await,
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => stream.write_all(slices).await,
        }
    }

    /// Closes both directions, also for the other half; pending reads return.
    pub fn shutdown(&self) {
        match &self.backend {
            StreamBackend::Uring(stream) => stream.shutdown(),
            #[cfg(feature = "sim")]
            StreamBackend::Sim(stream) => stream.shutdown(),
        }
    }
}
