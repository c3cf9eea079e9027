//! What the seam cannot see of its backend: each kind of ring, memory that the kernel still holds, the end of an executor.

use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use io_uring::{opcode, types::Fd};

use super::executor::run_here;
use super::ring::{Operation, Ring, Setup};
use super::timers::{Timers, after};
use super::{AlignedMemory, DirectFile, Placement, block_on, spawn_executor};
use crate::platform::Runtime;
use crate::platform::tests::{pair, read_to_end};

/// Longer than anything here takes; a test that waits for so long has hung.
const HUNG: Duration = Duration::from_secs(20);

/// Counts how many of its kind were dropped.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a read owns while it is under way.
struct Reading {
    source: UnixStream,
    memory: Vec<u8>,
    _counted: Counted,
}

fn start_reading(
    runtime: &Runtime,
    source: UnixStream,
    drops: &Arc<AtomicU32>,
) -> Operation<Reading> {
    let mut reading = Reading {
        source,
        memory: vec![0; 16],
        _counted: Counted(drops.clone()),
    };
    let room = reading.memory.len() as u32;
    let source = Fd(reading.source.as_raw_fd());
    let entry = opcode::Read::new(source, reading.memory.as_mut_ptr(), room).build();
    // SAFETY: the descriptor and the memory, which lies on the heap, are owned by the operation.
    unsafe { runtime.uring().ring().start(entry, reading) }
}

async fn until(runtime: &Runtime, what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            runtime.sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(runtime.timeout(HUNG, waiting).await.is_ok(), "it hung");
}

/// A file, a pair of sockets, a timer and a wake from another thread.
async fn use_everything(runtime: &Runtime, name: &str) {
    let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    let file = DirectFile::open(runtime, &path, flags, 0o600).await;
    let file = file.unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut memory = AlignedMemory::zeroed(8192);
    memory.fill(7);
    assert_eq!(file.write(memory, 4096, 4096).await.0.unwrap(), 4096);
    file.fdatasync().await.unwrap();
    let (read, memory) = file.read(AlignedMemory::zeroed(8192), 0).await;
    assert_eq!(read.unwrap(), 8192);
    assert!(memory[..4096] == [0; 4096] && memory[4096..] == [7; 4096]);

    let (server, client) = pair(runtime, "127.0.0.1:0").await;
    let (mut read, mut write) = server.split();
    let here = runtime.clone();
    runtime.spawn(async move {
        here.sleep(Duration::from_millis(2)).await;
        let (mut read, mut write) = client.split();
        let mut buffer = [0; 4];
        assert_eq!(read.read(&mut buffer).await.unwrap(), 4);
        write.write_all(&[buffer.to_vec().into()]).await.unwrap();
    });
    write
        .write_all(&[Bytes::from_static(b"ping")])
        .await
        .unwrap();
    let mut buffer = [0; 8];
    assert_eq!(read.read(&mut buffer).await.unwrap(), 4);
    assert_eq!(read.read(&mut buffer).await.unwrap(), 0);

    let before = runtime.monotonic();
    runtime.sleep(Duration::from_millis(3)).await;
    assert!(runtime.monotonic() - before >= Duration::from_millis(3));

    let woken = runtime.run_blocking(|| {
        std::thread::sleep(Duration::from_millis(3));
        5
    });
    assert_eq!(woken.await, 5);
}

#[test]
fn every_kind_of_ring_serves_files_sockets_timers_and_wakes_from_other_threads() {
    for setup in [Setup::Deferred, Setup::Cooperative, Setup::Plain] {
        let ring = match Ring::with(setup) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                assert_ne!(setup, Setup::Plain, "every kernel knows the plain kind");
                eprintln!("this kernel does not know {setup:?}");
                continue;
            }
            ring => ring.unwrap(),
        };
        let body = move |runtime: Runtime| async move {
            let name = format!("tidelog-{setup:?}");
            let work = use_everything(&runtime, &name);
            let done = runtime.timeout(HUNG, work).await;
            assert!(done.is_ok(), "{setup:?} hung");
        };
        run_here(ring, body).unwrap();
    }
}

#[test]
fn an_operation_dropped_early_keeps_its_memory_until_the_kernel_is_done() {
    block_on(async |runtime| {
        let ring = runtime.uring().ring();
        for submitted in [false, true] {
            let drops = Arc::new(AtomicU32::new(0));
            let (here, mut there) = UnixStream::pair().unwrap();
            let mut reading = start_reading(&runtime, here, &drops);
            if submitted {
                // Polled, too: then it has a waker to forget.
                let late = runtime.timeout(Duration::from_millis(2), &mut reading);
                assert!(late.await.is_err());
            }
            drop(reading);
            runtime.sleep(Duration::from_millis(2)).await;
            assert_eq!(
                drops.load(Ordering::SeqCst),
                0,
                "the kernel may still write"
            );
            assert_eq!(ring.operations(), 1);
            there.write_all(b"late").unwrap();
            until(&runtime, || drops.load(Ordering::SeqCst) == 1).await;
            assert_eq!(ring.operations(), 0);
        }
    });
}

#[test]
fn an_operation_dropped_after_its_completion_frees_its_memory_at_once() {
    block_on(async |runtime| {
        let drops = Arc::new(AtomicU32::new(0));
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"early").unwrap();
        let reading = start_reading(&runtime, here, &drops);
        until(&runtime, || runtime.uring().ring().operations() == 0).await;
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(reading);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_executor_ends_only_when_the_kernel_is_done() {
    let drops = Arc::new(AtomicU32::new(0));
    let (here, mut there) = UnixStream::pair().unwrap();
    let counted = drops.clone();
    let body = move |runtime: Runtime| async move {
        let reading = start_reading(&runtime, here, &counted);
        runtime.spawn(async move { drop(reading.await) });
        runtime.sleep(Duration::from_millis(2)).await;
    };
    let executor = spawn_executor("ends", Placement::Unpinned, body).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!executor.is_finished());
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    there.write_all(b"late").unwrap();
    executor.join().unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

/// The other thread wakes them while the executor runs, while it ends, and after it is gone.
#[test]
fn an_executor_that_ends_drops_tasks_that_another_thread_is_waking() {
    const ROUNDS: u32 = 200;
    const TASKS: u32 = 20;
    let stop = Arc::new(AtomicBool::new(false));
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let (stopped, known) = (stop.clone(), wakers.clone());
    let waking = std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            let wakers = known.lock().unwrap().clone();
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    });
    let drops = Arc::new(AtomicU32::new(0));
    for round in 1..=ROUNDS {
        let (known, drops_here) = (wakers.clone(), drops.clone());
        let body = move |runtime: Runtime| async move {
            for task in 0..TASKS {
                let counted = Counted(drops_here.clone());
                let known = known.clone();
                runtime.spawn(async move {
                    let _counted = counted;
                    // Some are woken before they ever waited for long, some only sleep.
                    poll_fn(|context| {
                        if task % 4 != 0 {
                            known.lock().unwrap().push(context.waker().clone());
                        }
                        Poll::<()>::Pending
                    })
                    .await;
                });
            }
            runtime.yield_now().await;
        };
        run_here(Ring::new().unwrap(), body).unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), round * TASKS);
        wakers.lock().unwrap().clear();
    }
    stop.store(true, Ordering::SeqCst);
    waking.join().unwrap();
}

/// The last bytes and the end may be told as one change: nothing else is told after it.
#[test]
fn what_a_peer_sent_before_it_closed_is_read_whole_and_then_the_end() {
    const ROUNDS: usize = 1_000;
    let length = |round: usize| [1, 100, 10_000, 9_999, 70_000][round % 5];
    block_on(move |runtime: Runtime| async move {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = runtime.listen(any).await.unwrap();
        let address = listener.local_address().unwrap();
        let peer = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                let mut stream = TcpStream::connect(address).unwrap();
                if round % 3 == 0 {
                    // The reader waits by then.
                    std::thread::sleep(Duration::from_micros(300));
                }
                stream.write_all(&vec![round as u8; length(round)]).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let reading = async {
                let stream = runtime.attach(listener.accept().await.unwrap()).unwrap();
                read_to_end(stream).await
            };
            let content = runtime.timeout(HUNG, reading).await;
            let content = content.unwrap_or_else(|_| panic!("no end in round {round}"));
            assert!(content == vec![round as u8; length(round)], "round {round}");
        }
        peer.join().unwrap();
    });
}

#[test]
fn a_sleep_dropped_early_leaves_no_timer() {
    #[expect(clippy::disallowed_methods, reason = "timers are told the time")]
    let now = Instant::now();
    let timers = Rc::new(Timers::default());
    let mut context = Context::from_waker(Waker::noop());
    let (soon, late) = (after(now, Duration::from_secs(1)), after(now, HUNG));
    {
        let mut first = pin!(timers.sleep_until(soon));
        assert!(first.as_mut().poll(&mut context).is_pending());
        {
            let mut second = pin!(timers.sleep_until(late));
            assert!(
                timers.next() == Some(soon),
                "a sleep begins when it is polled"
            );
            assert!(second.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(timers.next(), Some(soon));
        timers.fire(late);
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert_eq!(timers.next(), None);
        let mut third = pin!(timers.sleep_until(late));
        assert!(third.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(timers.next(), None);
}
