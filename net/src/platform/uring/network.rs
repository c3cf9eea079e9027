//! Sockets: tried at once, and watched by the ring only when there is nothing, or no room.
//!
//! A stream's halves share one socket. Runs on the executor that made it.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::executor::{UringRuntime, yield_now};
use super::ring::{Watched, Way};

const BACKLOG: libc::c_int = 4096;
/// How many slices one system call takes (the kernel's bound is 1,024).
const SLICES_PER_CALL: usize = 64;
/// How many bytes one system call takes: more would keep the executor's other tasks waiting for a millisecond.
const SEND_BYTES_MAX: usize = 256 << 10;
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(50);

/// A descriptor and its watch. The watch goes first: it names the descriptor.
struct Socket<S> {
    watched: Watched,
    socket: S,
}

impl<S: AsRawFd> Socket<S> {
    fn new(runtime: &UringRuntime, socket: S) -> Socket<S> {
        Socket {
            watched: runtime.ring().watch(socket.as_raw_fd()),
            socket,
        }
    }

    /// Repeats a call that does not wait until it has something to say.
    async fn retry<T>(&self, way: Way, mut call: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        poll_fn(|context| {
            loop {
                match call(&self.socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if !self.watched.clear(way) {
                            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                        }
                        ready!(self.watched.poll_ready(way, context));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }
}

/// The ring watches an epoll instance, and that the socket: a ring holds what it watches open until it is taken apart, which
/// the kernel does some time after a killed process is gone, and so long nobody else could listen on the port.
pub(in crate::platform) struct UringListener {
    runtime: UringRuntime,
    socket: Socket<TcpListener>,
    _epoll: OwnedFd,
}

impl UringListener {
    pub(in crate::platform) fn bind(
        runtime: &UringRuntime,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let socket = listening_socket(address)?;
        let epoll = epoll_of(&socket)?;
        Ok(UringListener {
            runtime: runtime.clone(),
            socket: Socket {
                watched: runtime.ring().watch(epoll.as_raw_fd()),
                socket,
            },
            _epoll: epoll,
        })
    }

    pub(in crate::platform) async fn accept(&self) -> io::Result<TcpStream> {
        loop {
            match self.socket.retry(Way::In, TcpListener::accept).await {
                Ok((stream, _)) => return Ok(stream),
                Err(error) => match error.raw_os_error() {
                    // The client gave up before we came; the next may be waiting.
                    Some(libc::ECONNABORTED) => {}
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.runtime.sleep(PAUSE_WHEN_EXHAUSTED).await;
                        return Err(error);
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    pub(in crate::platform) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket.local_addr()
    }
}

/// An epoll instance that is readable when `socket` is.
fn epoll_of(socket: &TcpListener) -> io::Result<OwnedFd> {
    // SAFETY: epoll_create1 takes no pointers.
    let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    check(descriptor)?;
    // SAFETY: the kernel just made the descriptor, and nobody else owns it.
    let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: `event` outlives the call, which only reads it; both descriptors are open.
    check(unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            socket.as_raw_fd(),
            &raw mut event,
        )
    })?;
    Ok(epoll)
}

/// A non-blocking listening socket, with SO_REUSEADDR but without SO_REUSEPORT.
fn listening_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    let on: libc::c_int = 1;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, on)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    with_raw_address(address, |raw, length| {
        // SAFETY: the pointer and length describe an address that outlives the call.
        check(unsafe { libc::bind(socket.as_raw_fd(), raw, length) })
    })?;
    // SAFETY: listen takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(TcpListener::from(socket))
}

/// A non-blocking TCP socket of the address's family.
fn new_socket(address: SocketAddr) -> io::Result<OwnedFd> {
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
    check(descriptor)?;
    // SAFETY: the kernel just made the descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    })
}

/// Calls `work` with the address as the kernel wants it.
fn with_raw_address<T>(
    address: SocketAddr,
    work: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> T,
) -> T {
    match address {
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
            work((&raw const raw).cast(), length)
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
            work((&raw const raw).cast(), length)
        }
    }
}

/// A connection bound to this executor; both halves hold it.
#[derive(Clone)]
pub(in crate::platform) struct UringStream {
    shared: Rc<Connected>,
}

struct Connected(Socket<TcpStream>);

impl Drop for Connected {
    /// The ring holds the socket open until it has dropped its watch; the other end shall know now.
    fn drop(&mut self) {
        shut_down(&self.0.socket);
    }
}

impl UringStream {
    pub(in crate::platform) async fn connect(
        runtime: &UringRuntime,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let socket = TcpStream::from(new_socket(address)?);
        let stream = UringStream::attach(runtime, socket)?;
        let socket = &stream.shared.0;
        let mut begun = false;
        // The second call asks how the first one went.
        let connecting = socket.retry(Way::Out, |socket| {
            if begun {
                return match socket.take_error()? {
                    Some(error) => Err(error),
                    None => Ok(()),
                };
            }
            begun = true;
            let started = with_raw_address(address, |raw, length| {
                // SAFETY: the pointer and length describe an address that outlives the call.
                check(unsafe { libc::connect(socket.as_raw_fd(), raw, length) })
            });
            match started {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                result => result,
            }
        });
        connecting.await?;
        Ok(stream)
    }

    pub(in crate::platform) fn attach(
        runtime: &UringRuntime,
        socket: TcpStream,
    ) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(UringStream {
            shared: Rc::new(Connected(Socket::new(runtime, socket))),
        })
    }

    pub(in crate::platform) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.shared.0.socket.peer_addr()
    }

    pub(in crate::platform) fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.0.socket.local_addr()
    }

    pub(in crate::platform) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer.as_mut_ptr(), buffer.len()).await
    }

    /// Reads into the spare capacity, which is neither zeroed before nor copied to after.
    pub(in crate::platform) async fn read_into(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let spare = buffer.spare_capacity_mut();
        let (start, room) = (spare.as_mut_ptr().cast(), spare.len());
        let received = self.receive(start, room).await?;
        // SAFETY: the kernel wrote so many bytes behind the present end.
        unsafe { buffer.set_len(buffer.len() + received) };
        Ok(received)
    }

    /// Receives up to `room` bytes to `start`, which its caller has borrowed for as long as the future lives. Once bytes
    /// were received nothing is awaited, so that a dropped future loses none.
    async fn receive(&self, start: *mut u8, room: usize) -> io::Result<usize> {
        let socket = &self.shared.0;
        // Where it is known that there are none they are not asked for in vain.
        poll_fn(|context| socket.watched.poll_ready(Way::In, context)).await;
        let received = socket.retry(Way::In, |socket| {
            // SAFETY: the pointer and length describe memory that the caller of `receive` owns; the call only writes it.
            let received =
                unsafe { libc::recv(socket.as_raw_fd(), start.cast(), room, libc::MSG_DONTWAIT) };
            usize::try_from(received).map_err(|_| io::Error::last_os_error())
        });
        let received = received.await?;
        if received < room {
            // That was all there is; what comes now is told.
            socket.watched.clear(Way::In);
        }
        Ok(received)
    }

    pub(in crate::platform) async fn write_all(&self, slices: &[Bytes]) -> io::Result<()> {
        let mut first = 0;
        let mut offset = 0;
        while first < slices.len() {
            if offset == slices[first].len() {
                first += 1;
                offset = 0;
                continue;
            }
            let rest = &slices[first..];
            let socket = &self.shared.0;
            let sending = socket.retry(Way::Out, |socket| send_now(socket, rest, offset));
            let mut sent = sending.await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if sent == SEND_BYTES_MAX {
                yield_now().await;
            }
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

    pub(in crate::platform) fn shutdown(&self) {
        shut_down(&self.shared.0.socket);
    }
}

/// One gathering send that does not wait, from `offset` in the first slice on.
fn send_now(socket: &TcpStream, slices: &[Bytes], offset: usize) -> io::Result<usize> {
    let empty = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut vectors = [empty; SLICES_PER_CALL];
    let mut used = 0;
    let mut room = SEND_BYTES_MAX;
    for (position, slice) in slices.iter().take(SLICES_PER_CALL).enumerate() {
        let bytes = if position == 0 {
            &slice[offset..]
        } else {
            &slice[..]
        };
        let length = bytes.len().min(room);
        vectors[used] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: length,
        };
        used += 1;
        room -= length;
        if room == 0 {
            break;
        }
    }
    // SAFETY: msghdr is plain data for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = used;
    // SAFETY: the message and everything it points to outlive the call, which only reads the slices.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn shut_down(socket: &impl AsRawFd) {
    let descriptor: RawFd = socket.as_raw_fd();
    // SAFETY: shutdown takes no pointers. It fails only if the other end is gone already.
    unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
}
