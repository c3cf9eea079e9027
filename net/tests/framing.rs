//! Frames out of a byte stream: whole ones whatever the chunks, none beyond the limit, and no memory on credit.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use net::platform::sim::Simulation;
use net::platform::{Runtime, Stream};
use net::server::{FrameError, FrameReader, ReceiveBudget};

const LIMIT: usize = 100_000;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("an address")
}

/// Runs `sender` against `receiver` on two nodes of a simulation that cuts streams into chunks.
fn run<T: 'static, R: Future<Output = T> + 'static, S: Future<Output = ()> + 'static>(
    seed: u64,
    receiver: impl FnOnce(Runtime, Stream) -> R + 'static,
    sender: impl FnOnce(Runtime, Stream) -> S + 'static,
) -> T {
    let simulation = Simulation::new(seed);
    let (broker, client) = (simulation.node("broker"), simulation.node("client"));
    let (broker_runtime, client_runtime) = (broker.runtime(), client.runtime());
    simulation.block_on(&broker, async move {
        let listener = broker_runtime.listen(address()).await.expect("listens");
        client_runtime.clone().spawn(async move {
            let stream = client_runtime.connect(address()).await.expect("connects");
            sender(client_runtime, stream).await;
        });
        let stream = broker_runtime
            .attach(listener.accept().await.expect("accepts"))
            .expect("attaches");
        receiver(broker_runtime, stream).await
    })
}

fn frame(length: usize) -> Bytes {
    let mut bytes = u32::try_from(length).expect("small").to_be_bytes().to_vec();
    bytes.extend((0..length).map(|index| index as u8));
    bytes.into()
}

#[test]
fn frames_come_whole_and_in_order_whatever_the_chunks() {
    for seed in 0..20 {
        let lengths = [0, 1, 7, 5_000, 70_000, 3, LIMIT, 12];
        let received = run(
            seed,
            move |_, stream| async move {
                let (read, _write) = stream.split();
                let mut reader = FrameReader::new(read, LIMIT);
                let budget = ReceiveBudget::new(1 << 20);
                let mut received = Vec::new();
                while let Some(frame) = reader.next(&budget).await.expect("good frames") {
                    received.push(frame.bytes.clone());
                    drop(frame);
                }
                assert_eq!(budget.used(), 0);
                received
            },
            move |_, stream| async move {
                let (_read, mut write) = stream.split();
                for length in lengths {
                    write.write_all(&[frame(length)]).await.expect("sent");
                }
                write.shutdown();
            },
        );
        let expected: Vec<Bytes> = lengths
            .iter()
            .map(|length| frame(*length).slice(4..))
            .collect();
        assert_eq!(received, expected, "seed {seed}");
    }
}

#[test]
fn a_length_outside_the_limits_or_a_cut_frame_is_an_error() {
    let outcome = |sent: Vec<u8>| {
        run(
            1,
            |_, stream| async move {
                let (read, _write) = stream.split();
                FrameReader::new(read, LIMIT)
                    .next(&ReceiveBudget::new(1 << 20))
                    .await
                    .map(|frame| frame.is_some())
            },
            |_, stream| async move {
                let (_read, mut write) = stream.split();
                write.write_all(&[Bytes::from(sent)]).await.expect("sent");
                write.shutdown();
            },
        )
    };
    assert!(matches!(
        outcome(vec![0xff, 0xff, 0xff, 0xff]),
        Err(FrameError::Length(-1, LIMIT))
    ));
    assert!(matches!(
        outcome((LIMIT as u32 + 1).to_be_bytes().to_vec()),
        Err(FrameError::Length(..))
    ));
    assert!(matches!(outcome(vec![0, 0]), Err(FrameError::Truncated)));
    assert!(matches!(
        outcome(vec![0, 0, 0, 9, 1]),
        Err(FrameError::Truncated)
    ));
    assert!(matches!(outcome(Vec::new()), Ok(false)));
}

#[test]
fn an_announced_length_costs_no_memory_until_its_bytes_arrive() {
    let used = run(
        1,
        |runtime, stream| async move {
            let (read, _write) = stream.split();
            let budget = ReceiveBudget::new(1 << 30);
            let watched = budget.clone();
            let mut reader = FrameReader::new(read, 1 << 30);
            let waiting = async move {
                let _ = reader.next(&budget).await;
                unreachable!("the frame never arrives");
            };
            let look = async {
                runtime.sleep(Duration::from_secs(5)).await;
                watched.used()
            };
            futures_lite::future::or(waiting, look).await
        },
        |runtime, stream| async move {
            let (_read, mut write) = stream.split();
            write
                .write_all(&[Bytes::from_static(&[0x20, 0, 0, 0, 1, 2, 3])])
                .await
                .expect("sent");
            runtime.sleep(Duration::from_secs(60)).await;
        },
    );
    assert!(used <= 512 * 1024, "{used} bytes held for 3 that arrived");
}

#[test]
fn a_spent_budget_lets_one_request_through_after_the_other() {
    use futures_lite::future::{block_on, poll_once};
    block_on(async {
        let budget = ReceiveBudget::new(10);
        let mut first = budget.permit();
        first.grow_to(8).await;
        let mut second = budget.permit();
        second.grow_to(50).await;
        second.grow_to(60).await;
        let mut third = budget.permit();
        assert!(
            poll_once(third.grow_to(5)).await.is_none(),
            "somebody exceeds the budget already"
        );
        drop(second);
        third.grow_to(5).await;
        assert_eq!(budget.used(), 13);
        drop((first, third));
        assert_eq!(budget.used(), 0);
    });
}
