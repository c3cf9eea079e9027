//! The runtime half on io_uring: sockets over loopback, timers, executors that talk to each other.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::sync::{oneshot, queue};
use super::{Placement, Runtime, Stream, block_on, spawn_executor};

pub(super) async fn pair(runtime: &Runtime, address: &str) -> (Stream, Stream) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = runtime.listen(address).await.unwrap();
    let (sender, receiver) = oneshot::channel();
    let (here, to) = (runtime.clone(), listener.local_address().unwrap());
    runtime.spawn(async move {
        let _ = sender.send(here.connect(to).await.unwrap());
    });
    let accepted = runtime.attach(listener.accept().await.unwrap()).unwrap();
    (accepted, receiver.await.unwrap())
}

pub(super) async fn read_to_end(stream: Stream) -> Vec<u8> {
    let (mut read, _write) = stream.split();
    let mut content = Vec::new();
    let mut buffer = vec![0; 10_000];
    loop {
        let count = read.read(&mut buffer).await.unwrap();
        if count == 0 {
            return content;
        }
        content.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn many_slices_arrive_whole_and_in_order() {
    block_on(async |runtime| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (server, client) = pair(&runtime, address).await;
            let slices: Vec<Bytes> = (0..3_000usize)
                .map(|i| vec![i as u8; [0, 1, 13, 4_096, 70_000][i % 5]].into())
                .collect();
            let expected: Vec<u8> = slices.iter().flatten().copied().collect();
            let (read, mut write) = client.split();
            drop(read);
            runtime.spawn(async move { write.write_all(&slices).await.unwrap() });
            assert!(read_to_end(server).await == expected);
        }
    });
}

#[test]
fn shutdown_ends_the_other_halfs_read() {
    block_on(async |runtime| {
        let (server, client) = pair(&runtime, "127.0.0.1:0").await;
        let (mut read, write) = server.split();
        let (sender, receiver) = oneshot::channel();
        runtime.spawn(async move {
            let _ = sender.send(read.read(&mut [0; 16]).await);
        });
        runtime.sleep(Duration::from_millis(5)).await;
        write.shutdown();
        assert_eq!(receiver.await.unwrap().unwrap(), 0);
        assert!(read_to_end(client).await.is_empty());
    });
}

#[test]
fn dropping_both_halves_closes_the_connection_while_a_read_was_waiting() {
    block_on(async |runtime| {
        let (server, client) = pair(&runtime, "127.0.0.1:0").await;
        let (mut read, write) = server.split();
        let waited = runtime
            .timeout(Duration::from_millis(5), read.read(&mut [0; 16]))
            .await;
        assert!(waited.is_err());
        drop((read, write));
        assert!(read_to_end(client).await.is_empty());
    });
}

#[test]
fn a_writer_that_waits_for_space_does_not_hold_back_the_reader() {
    block_on(async |runtime| {
        let (server, client) = pair(&runtime, "127.0.0.1:0").await;
        let (mut read, mut write) = server.split();
        let done = Rc::new(Cell::new(false));
        let writer_done = done.clone();
        runtime.spawn(async move {
            write.write_all(&[vec![7; 64 << 20].into()]).await.unwrap();
            writer_done.set(true);
        });
        let (mut client_read, mut client_write) = client.split();
        client_write
            .write_all(&[Bytes::from_static(b"ping")])
            .await
            .unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read.read(&mut buffer).await.unwrap(), 4);
        assert!(!done.get(), "64 MiB fit into the socket");
        let mut buffer = vec![0; 1 << 20];
        let mut left = 64 << 20;
        while left > 0 {
            let count = client_read.read(&mut buffer).await.unwrap();
            assert!(buffer[..count].iter().all(|byte| *byte == 7));
            left -= count;
        }
    });
}

#[test]
fn a_second_listener_on_the_same_port_is_refused() {
    block_on(async |runtime| {
        let first = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let second = runtime.listen(first.local_address().unwrap()).await;
        assert_eq!(second.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    });
}

// A ring that watched the listening socket itself kept its port taken until it had let go of it, and that of a killed
// process did so for some time after the next one had started.
#[test]
fn a_port_is_free_as_soon_as_its_listener_is_closed() {
    block_on(async |runtime| {
        let listener = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_address().unwrap();
        let waited = runtime
            .timeout(Duration::from_millis(5), listener.accept())
            .await;
        assert!(waited.is_err());
        drop(listener);
        runtime.listen(address).await.unwrap();
    });
}

#[test]
fn a_refused_connection_says_so() {
    block_on(async |runtime| {
        let listener = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_address().unwrap();
        drop(listener);
        let refused = runtime.connect(address).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connection_moves_to_another_executor() {
    let (to_second, mut from_first) = queue::bounded(4);
    let second = spawn_executor("second", Placement::Unpinned, move |runtime| async move {
        let stream = runtime.attach(from_first.recv().await.unwrap()).unwrap();
        let (mut read, mut write) = stream.split();
        let mut buffer = [0; 64];
        let count = read.read(&mut buffer).await.unwrap();
        write
            .write_all(&[Bytes::copy_from_slice(&buffer[..count])])
            .await
            .unwrap();
    })
    .unwrap();
    let echoed = block_on(async move |runtime| {
        let listener = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let stream = runtime
            .connect(listener.local_address().unwrap())
            .await
            .unwrap();
        assert!(to_second.try_send(listener.accept().await.unwrap()).is_ok());
        let (mut read, mut write) = stream.split();
        write
            .write_all(&[Bytes::from_static(b"echo")])
            .await
            .unwrap();
        let mut buffer = [0; 64];
        let count = read.read(&mut buffer).await.unwrap();
        buffer[..count].to_vec()
    });
    second.join().unwrap();
    assert_eq!(echoed, b"echo");
}

#[test]
fn two_executors_exchange_messages_without_losing_a_wake_up() {
    const MESSAGES: u64 = 100_000;
    let (to_second, mut at_second) = queue::bounded::<u64>(8);
    let (to_first, mut at_first) = queue::bounded::<u64>(8);
    let second = spawn_executor("second", Placement::Unpinned, move |_| async move {
        while let Some(message) = at_second.recv().await {
            to_first.send(message + 1).await.unwrap();
        }
    })
    .unwrap();
    block_on(async move |runtime| {
        // One at a time, both sides going to sleep between, and then as many as fit.
        for message in 0..MESSAGES / 10 {
            to_second.send(message).await.unwrap();
            assert_eq!(at_first.recv().await, Some(message + 1));
        }
        runtime.spawn(async move {
            for message in 0..MESSAGES {
                to_second.send(message).await.unwrap();
            }
        });
        for message in 0..MESSAGES {
            assert_eq!(at_first.recv().await, Some(message + 1));
        }
        assert_eq!(at_first.recv().await, None);
    });
    second.join().unwrap();
}

#[test]
fn blocking_work_runs_beside_the_executor() {
    block_on(async |runtime| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let ticked = Rc::new(Cell::new(false));
        let (other, ticking) = (ticked.clone(), runtime.clone());
        runtime.spawn(async move {
            ticking.sleep(Duration::from_millis(1)).await;
            other.set(true);
            sender.send(()).unwrap();
        });
        runtime.run_blocking(move || receiver.recv().unwrap()).await;
        assert!(ticked.get());
    });
}

#[test]
fn a_timeout_drops_the_work_and_clocks_go_forward() {
    block_on(async |runtime| {
        let before = runtime.monotonic();
        let late = runtime
            .timeout(Duration::from_millis(3), std::future::pending::<()>())
            .await;
        assert!(late.is_err());
        assert!(runtime.monotonic() - before >= Duration::from_millis(3));
        assert_eq!(
            runtime.timeout(Duration::from_secs(60), async { 5 }).await,
            Ok(5)
        );
        assert!(runtime.wall_clock_ms() > 1_700_000_000_000);
        assert_ne!(runtime.random_u64(), runtime.random_u64());
    });
}

#[test]
fn yielding_lets_the_other_task_run() {
    block_on(async |runtime| {
        let turns = Rc::new(Cell::new(0));
        let other = turns.clone();
        runtime.spawn(async move { other.set(other.get() + 1) });
        runtime.yield_now().await;
        assert_eq!(turns.get(), 1);
    });
}

/// Prints what two executors cost that wait for a connection, a message and a long timer.
#[test]
#[ignore = "measures"]
fn idle_executors_sleep() {
    fn processor_time() -> Duration {
        // SAFETY: rusage is plain data for which all zeros is a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is writable and outlives the call.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
        let time = |value: libc::timeval| {
            Duration::from_secs(value.tv_sec as u64) + Duration::from_micros(value.tv_usec as u64)
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    }
    let executors: Vec<_> = (0..2)
        .map(|core| {
            spawn_executor("idle", Placement::Core(core), async |runtime| {
                let listener = runtime
                    .listen("127.0.0.1:0".parse().unwrap())
                    .await
                    .unwrap();
                let (_sender, mut receiver) = queue::bounded::<u32>(1);
                let waiting = runtime.clone();
                runtime.spawn(async move { drop(listener.accept().await) });
                runtime.spawn(async move {
                    let _ = receiver.recv().await;
                });
                runtime.run_blocking(|| ()).await;
                waiting.sleep(Duration::from_secs(10)).await;
            })
            .unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    let before = processor_time();
    std::thread::sleep(Duration::from_secs(8));
    let used = processor_time() - before;
    println!("{:.3} % of one core", used.as_secs_f64() / 8.0 * 100.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap()
    );
    executors
        .into_iter()
        .for_each(|executor| executor.join().unwrap());
}
