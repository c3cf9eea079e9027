//! The simulator itself: same seed same trace, time, kills, the network's order and faults.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{NetworkOptions, Simulation};
use crate::platform::sync::queue;
use crate::platform::{Listener, Runtime, Stream};

async fn echo(runtime: Runtime, listener: Listener) {
    loop {
        let stream = runtime.attach(listener.accept().await.unwrap()).unwrap();
        runtime.spawn(async move {
            let (mut read, mut write) = stream.split();
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = read.read(&mut buffer).await {
                if write
                    .write_all(&[Bytes::copy_from_slice(&buffer[..count])])
                    .await
                    .is_err()
                {
                    break;
                }
            }
        });
    }
}

/// Sends `content` and reads as much back.
async fn round_trip(
    runtime: Runtime,
    stream: Stream,
    content: Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = stream.split();
    let (expected, content) = (content.len(), Bytes::from(content));
    runtime.spawn(async move {
        for chunk in content.chunks(100_000) {
            if write
                .write_all(&[Bytes::copy_from_slice(chunk)])
                .await
                .is_err()
            {
                break;
            }
        }
    });
    let mut back = Vec::new();
    let mut buffer = vec![0; 10_000];
    while back.len() < expected {
        match read.read(&mut buffer).await? {
            0 => break,
            count => back.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(back)
}

/// Three clients against an echo server; the trace hash and the order in which the clients finished.
fn run_once(seed: u64) -> (u64, Vec<u32>) {
    let simulation = Simulation::new(seed);
    simulation.set_network(NetworkOptions {
        stall: 0.01,
        ..NetworkOptions::default()
    });
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let runtime = server.runtime();
    let listener = simulation.block_on(&server, async move {
        runtime.listen("127.0.0.1:0".parse().unwrap()).await
    });
    let listener = listener.unwrap();
    let address = listener.local_address().unwrap();
    server.runtime().spawn(echo(server.runtime(), listener));
    let order = Rc::new(RefCell::new(Vec::new()));
    let finished = order.clone();
    let runtime = client.runtime();
    simulation.block_on(&client, async move {
        let (sender, mut receiver) = queue::bounded(3);
        for number in 0..3u32 {
            let (runtime, order, sender) = (runtime.clone(), finished.clone(), sender.clone());
            let content: Vec<u8> = (0..300_000u32).map(|i| (i * 31 + number) as u8).collect();
            client_task(runtime, address, content, number, order, sender);
        }
        drop(sender);
        while receiver.recv().await.is_some() {}
    });
    let order = order.take();
    (simulation.trace_hash(), order)
}

fn client_task(
    runtime: Runtime,
    address: std::net::SocketAddr,
    content: Vec<u8>,
    number: u32,
    order: Rc<RefCell<Vec<u32>>>,
    done: queue::Sender<()>,
) {
    runtime.clone().spawn(async move {
        let stream = runtime.connect(address).await.unwrap();
        let back = round_trip(runtime, stream, content.clone()).await.unwrap();
        assert!(back == content, "bytes changed or moved on their way");
        order.borrow_mut().push(number);
        assert!(done.try_send(()).is_ok());
    });
}

#[test]
fn one_seed_gives_one_trace_and_others_give_others() {
    let (first, order) = run_once(7);
    let (again, same_order) = run_once(7);
    assert_eq!((first, &order), (again, &same_order));
    let others: Vec<_> = (8..24).map(run_once).collect();
    assert!(others.iter().all(|(hash, _)| *hash != first));
    assert!(
        others.iter().any(|(_, other)| *other != order),
        "the seed does not reach the schedule"
    );
}

#[test]
fn time_passes_only_by_timers() {
    let simulation = Simulation::new(1);
    let node = simulation.node("node");
    let runtime = node.runtime();
    let (slept, wall) = simulation.block_on(&node, async move {
        let (before, wall) = (runtime.monotonic(), runtime.wall_clock_ms());
        runtime.sleep(Duration::from_secs(86_400)).await;
        assert!(
            runtime
                .timeout(Duration::from_secs(1), std::future::pending::<()>())
                .await
                .is_err()
        );
        (runtime.monotonic() - before, runtime.wall_clock_ms() - wall)
    });
    assert!(slept >= Duration::from_secs(86_401) && slept < Duration::from_secs(86_402));
    assert!((86_401_000..86_402_000).contains(&wall));
    let before = node.runtime().wall_clock_ms();
    node.jump_wall_clock(-3_600_000);
    assert_eq!(node.runtime().wall_clock_ms(), before - 3_600_000);
    assert_eq!(simulation.faults()["clock_jump"], 1);
}

#[test]
#[should_panic(expected = "SEED=3: deadlock")]
fn a_deadlock_names_its_seed() {
    let simulation = Simulation::new(3);
    simulation.block_on(&simulation.node("node"), std::future::pending::<()>());
}

#[test]
fn a_yielding_task_lets_all_others_run_first() {
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let runtime = node.runtime();
        let ran = simulation.block_on(&node, async move {
            let ran = Rc::new(RefCell::new(0));
            for _ in 0..5 {
                let ran = ran.clone();
                runtime.spawn(async move { *ran.borrow_mut() += 1 });
            }
            runtime.yield_now().await;
            *ran.borrow()
        });
        assert_eq!(ran, 5, "SEED={seed}");
    }
}

/// A server that accepts one connection and then waits; the client's read fails or ends.
fn peer_sees(end: impl FnOnce(&Simulation, &super::Node)) -> Option<std::io::Result<usize>> {
    let simulation = Simulation::new(5);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let runtime = server.runtime();
    let address = "127.0.0.1:9092".parse().unwrap();
    server.runtime().spawn(async move {
        let listener = runtime.listen(address).await.unwrap();
        let _stream = runtime.attach(listener.accept().await.unwrap()).unwrap();
        std::future::pending::<()>().await;
    });
    simulation.run_for(Duration::from_millis(1));
    let seen = Rc::new(RefCell::new(None));
    let (runtime, result) = (client.runtime(), seen.clone());
    client.runtime().spawn(async move {
        let (mut read, _write) = runtime.connect(address).await.unwrap().split();
        let count = read.read(&mut [0; 16]).await;
        result.borrow_mut().replace(count);
    });
    simulation.run_for(Duration::from_secs(1));
    assert!(seen.borrow().is_none());
    end(&simulation, &server);
    simulation.run_for(Duration::from_secs(60));
    drop(simulation);
    seen.take()
}

#[test]
fn a_killed_peer_resets_and_a_dark_one_says_nothing() {
    let killed = peer_sees(|simulation, server| simulation.kill(server));
    assert_eq!(
        killed.unwrap().err().unwrap().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(peer_sees(|simulation, server| simulation.power_off(server)).is_none());
    let broken = peer_sees(|simulation, server| simulation.reset_connections(server));
    assert_eq!(
        broken.unwrap().err().unwrap().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[test]
fn a_killed_node_runs_no_more_and_frees_its_port() {
    let simulation = Simulation::new(2);
    let first = simulation.node("broker");
    let address = "127.0.0.1:9092".parse().unwrap();
    let ticks = Rc::new(RefCell::new(0));
    let (runtime, ticking) = (first.runtime(), ticks.clone());
    first.runtime().spawn(async move {
        let _listener = runtime.listen(address).await.unwrap();
        loop {
            runtime.sleep(Duration::from_millis(1)).await;
            *ticking.borrow_mut() += 1;
        }
    });
    simulation.run_for(Duration::from_millis(100));
    simulation.kill(&first);
    let before = *ticks.borrow();
    assert!(before > 50);
    simulation.run_for(Duration::from_millis(100));
    assert_eq!(*ticks.borrow(), before);
    assert!(!first.is_alive());
    let second = simulation.node("broker");
    let runtime = second.runtime();
    let listener = simulation.block_on(&second, async move { runtime.listen(address).await });
    assert!(listener.is_ok());
    assert_eq!(simulation.faults()["kill"], 1);
}

#[test]
fn network_faults_happen_and_are_counted() {
    let options = NetworkOptions {
        reset: 0.02,
        half_open: 0.02,
        stall: 0.05,
        ..NetworkOptions::default()
    };
    let mut counted = std::collections::BTreeMap::new();
    for seed in 0..40 {
        let simulation = Simulation::new(seed);
        simulation.set_network(options.clone());
        let (server, client) = (simulation.node("server"), simulation.node("client"));
        let runtime = server.runtime();
        let listener = simulation
            .block_on(&server, async move {
                runtime.listen("127.0.0.1:0".parse().unwrap()).await
            })
            .unwrap();
        let address = listener.local_address().unwrap();
        server.runtime().spawn(echo(server.runtime(), listener));
        let runtime = client.runtime();
        simulation.block_on(&client, async move {
            let stream = runtime.connect(address).await.unwrap();
            let content = vec![seed as u8; 500_000];
            let trip = round_trip(runtime.clone(), stream, content.clone());
            if let Ok(Ok(back)) = runtime.timeout(Duration::from_secs(600), trip).await {
                assert!(content.starts_with(&back));
            }
        });
        for (kind, count) in simulation.faults() {
            *counted.entry(kind).or_insert(0) += count;
        }
    }
    for kind in ["net_reset", "net_half_open", "net_stall"] {
        assert!(
            counted.get(kind).is_some_and(|count| *count > 0),
            "{kind} never happened: {counted:?}"
        );
    }
}

#[test]
fn a_full_backlog_makes_connecting_wait() {
    let simulation = Simulation::new(4);
    simulation.set_network(NetworkOptions {
        backlog: 1,
        ..NetworkOptions::default()
    });
    let node = simulation.node("node");
    let runtime = node.runtime();
    simulation.block_on(&node, async move {
        let listener = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_address().unwrap();
        let _first = runtime.connect(address).await.unwrap();
        let second = runtime
            .timeout(Duration::from_secs(5), runtime.connect(address))
            .await;
        assert!(second.is_err());
        let detached = listener.accept().await.unwrap();
        assert!(detached.peer_address().is_ok());
        let third = runtime
            .timeout(Duration::from_secs(5), runtime.connect(address))
            .await;
        assert!(third.is_ok());
    });
}
