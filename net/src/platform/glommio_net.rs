//! The glommio backend's sockets.
//!
//! A listening socket is made here and not by glommio, whose `bind` would let a second broker share the port. A
//! stream's halves share one glommio stream, borrowed only inside a poll. Runs on the executor that made it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_lite::{AsyncRead, AsyncWrite};

use super::glommio::to_io_error;

const BACKLOG: libc::c_int = 4096;
/// How many slices one system call takes (the kernel's bound is 1,024).
const SLICES_PER_CALL: usize = 64;
/// glommio reads into initialised memory only: so much comes through the stack, the rest of what is there directly.
const FIRST_BYTES: usize = 64;
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(50);

pub(super) struct GlommioListener {
    socket: TcpListener,
}

impl GlommioListener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(GlommioListener {
            socket: listening_socket(address)?,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => self.readable().await?,
                    // The client gave up before we came; the next may be waiting.
                    Some(libc::ECONNABORTED | libc::EINTR) => {}
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        glommio::timer::sleep(PAUSE_WHEN_EXHAUSTED).await;
                        return Err(error);
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Waits until a connection may be waiting. glommio offers no wait for readiness but inside a stream's read: a
    /// stream on a copy of the descriptor polls once and then finds that a listening socket cannot be read.
    async fn readable(&self) -> io::Result<()> {
        let descriptor = match self.socket.try_clone() {
            Ok(copy) => copy.into_raw_fd(),
            Err(error) => {
                glommio::timer::sleep(PAUSE_WHEN_EXHAUSTED).await;
                return Err(error);
            }
        };
        // SAFETY: the descriptor is open, was just made, and its ownership moves into the stream.
        let mut poller = unsafe { glommio::net::TcpStream::from_raw_fd(descriptor) };
        let _not_connected =
            poll_fn(|context| Pin::new(&mut poller).poll_read(context, &mut [0])).await;
        Ok(())
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A non-blocking listening socket, with SO_REUSEADDR but without SO_REUSEPORT.
fn listening_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket takes no pointers.
    let descriptor = unsafe {
        libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made the descriptor, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let on: libc::c_int = 1;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, on)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    bind_socket(&socket, address)?;
    // SAFETY: listen takes no pointers.
    if unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpListener::from(socket))
}

fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn bind_socket(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let result = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: the pointer and length describe `raw`, which outlives the call.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) }
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            let length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: the pointer and length describe `raw`, which outlives the call.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) }
        }
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A connection bound to this executor; both halves hold it.
#[derive(Clone)]
pub(super) struct GlommioStream {
    shared: Rc<SharedStream>,
}

struct SharedStream {
    stream: RefCell<glommio::net::TcpStream>,
}

impl Drop for SharedStream {
    /// The ring holds the socket open until it has dropped the poll it still has; the other end shall know now.
    fn drop(&mut self) {
        shut_down(&self.stream.borrow());
    }
}

impl GlommioStream {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = glommio::net::TcpStream::connect(address)
            .await
            .map_err(to_io_error)?;
        stream.set_nodelay(true).map_err(to_io_error)?;
        Ok(GlommioStream {
            shared: Rc::new(SharedStream {
                stream: RefCell::new(stream),
            }),
        })
    }

    pub(super) fn attach(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        // SAFETY: the descriptor is a connected socket, owned by `socket` and given away whole.
        let stream = unsafe { glommio::net::TcpStream::from_raw_fd(socket.into_raw_fd()) };
        Ok(GlommioStream {
            shared: Rc::new(SharedStream {
                stream: RefCell::new(stream),
            }),
        })
    }

    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.shared.stream.borrow().peer_addr().map_err(to_io_error)
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared
            .stream
            .borrow()
            .local_addr()
            .map_err(to_io_error)
    }

    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| {
            Pin::new(&mut *self.shared.stream.borrow_mut()).poll_read(context, buffer)
        })
        .await
    }

    /// Reads into the spare capacity, which is neither zeroed before nor copied to after.
    pub(super) async fn read_into(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let mut first = [0; FIRST_BYTES];
        let first = &mut first[..FIRST_BYTES.min(room)];
        let count = self.read(first).await?;
        buffer.extend_from_slice(&first[..count]);
        // Nothing is awaited from here on, so that a dropped future loses no bytes.
        if count < first.len() || count == room {
            return Ok(count);
        }
        Ok(count + receive_now(&self.shared.stream.borrow(), buffer))
    }

    pub(super) async fn write_all(&self, slices: &[Bytes]) -> io::Result<()> {
        let mut first = 0;
        let mut offset = 0;
        while first < slices.len() {
            if offset == slices[first].len() {
                first += 1;
                offset = 0;
                continue;
            }
            let mut sent =
                poll_fn(|context| self.poll_send(context, &slices[first..], offset)).await?;
            while sent > 0 {
                let rest = slices[first].len() - offset;
                if sent < rest {
                    offset += sent;
                    break;
                }
                sent -= rest;
                first += 1;
                offset = 0;
            }
        }
        Ok(())
    }

    pub(super) fn shutdown(&self) {
        shut_down(&self.shared.stream.borrow());
    }

    /// Sends from `slices` (from `offset` in the first, which has bytes there) what the socket takes.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[Bytes],
        offset: usize,
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.shared.stream.borrow_mut();
        match send_now(&stream, slices, offset) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Pin::new(&mut *stream).poll_write(context, &slices[0][offset..])
            }
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => Poll::Ready(result),
        }
    }
}

/// Receives what is there into the spare capacity. An end or an error is left for the next read to find.
fn receive_now(stream: &glommio::net::TcpStream, buffer: &mut BytesMut) -> usize {
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the pointer and length describe memory that `buffer` owns and nobody else sees; the call only writes it.
    let received = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            spare.as_mut_ptr().cast(),
            spare.len(),
            libc::MSG_DONTWAIT,
        )
    };
    let received = usize::try_from(received).unwrap_or(0);
    // SAFETY: the kernel wrote so many bytes behind the present end.
    unsafe { buffer.set_len(buffer.len() + received) };
    received
}

/// One gathering send that does not wait.
fn send_now(
    stream: &glommio::net::TcpStream,
    slices: &[Bytes],
    offset: usize,
) -> io::Result<usize> {
    let empty = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut vectors = [empty; SLICES_PER_CALL];
    let mut used = 0;
    for (position, slice) in slices.iter().take(SLICES_PER_CALL).enumerate() {
        let bytes = if position == 0 {
            &slice[offset..]
        } else {
            &slice[..]
        };
        vectors[used] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        used += 1;
    }
    // SAFETY: msghdr is plain data for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = used;
    loop {
        // SAFETY: the message and everything it points to outlive the call, which only reads the slices.
        let sent = unsafe {
            libc::sendmsg(
                stream.as_raw_fd(),
                &message,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn shut_down(stream: &glommio::net::TcpStream) {
    // SAFETY: shutdown takes no pointers. It fails only if the other end is gone already.
    unsafe { libc::shutdown(stream.as_raw_fd(), libc::SHUT_RDWR) };
}
