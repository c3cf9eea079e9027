//! The waiting primitives, driven by hand on one thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{Closed, Mutex, Notify, Semaphore, channel, oneshot, queue, remote_oneshot};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(count.clone())))
}

fn woken(count: &Arc<Count>) -> usize {
    count.0.load(Ordering::Relaxed)
}

#[test]
fn a_oneshot_delivers_or_closes() {
    let count = Arc::new(Count::default());
    let (sender, receiver) = oneshot::channel();
    let mut receiver = pin!(receiver);
    assert!(poll(receiver.as_mut(), &count).is_pending());
    assert!(sender.send(3).is_ok());
    assert_eq!(woken(&count), 1);
    assert_eq!(poll(receiver.as_mut(), &count), Poll::Ready(Ok(3)));

    let (sender, receiver) = oneshot::channel::<i32>();
    let mut receiver = pin!(receiver);
    assert!(poll(receiver.as_mut(), &count).is_pending());
    drop(sender);
    assert_eq!(woken(&count), 2);
    assert_eq!(poll(receiver.as_mut(), &count), Poll::Ready(Err(Closed)));

    let (sender, receiver) = oneshot::channel();
    drop(receiver);
    assert_eq!(sender.send(4), Err(4));
}

#[test]
fn a_remote_oneshot_delivers_or_closes() {
    let count = Arc::new(Count::default());
    let (sender, receiver) = remote_oneshot::channel();
    let mut receiver = pin!(receiver);
    assert!(poll(receiver.as_mut(), &count).is_pending());
    std::thread::spawn(move || sender.send(3).unwrap())
        .join()
        .unwrap();
    assert_eq!(woken(&count), 1);
    assert_eq!(poll(receiver.as_mut(), &count), Poll::Ready(Ok(3)));

    let (sender, receiver) = remote_oneshot::channel::<i32>();
    drop(sender);
    assert_eq!(poll(pin!(receiver), &count), Poll::Ready(Err(Closed)));
}

#[test]
fn a_notification_between_making_and_awaiting_counts() {
    let count = Arc::new(Count::default());
    let notify = Notify::new();
    let mut waiting = pin!(notify.notified());
    notify.notify_all();
    assert!(poll(waiting.as_mut(), &count).is_ready());
    let mut next = pin!(notify.notified());
    assert!(poll(next.as_mut(), &count).is_pending());
    notify.notify_one();
    assert_eq!(woken(&count), 1);
    assert!(poll(next.as_mut(), &count).is_ready());
    notify.notify_one();
    assert!(poll(pin!(notify.notified()), &count).is_ready());
    assert!(poll(pin!(notify.notified()), &count).is_pending());
}

#[test]
fn a_large_request_is_not_overtaken() {
    let count = Arc::new(Count::default());
    let budget = Semaphore::new(10);
    let small = budget.try_acquire(4).unwrap();
    let mut large = pin!(budget.acquire(100));
    assert!(poll(large.as_mut(), &count).is_pending());
    assert!(budget.try_acquire(1).is_none());
    {
        let mut late = pin!(budget.acquire(1));
        assert!(poll(late.as_mut(), &count).is_pending());
    }
    drop(small);
    assert_eq!(woken(&count), 1);
    let Poll::Ready(mut permit) = poll(large.as_mut(), &count) else {
        panic!("not given")
    };
    assert_eq!((permit.count(), budget.available()), (10, 0));
    permit.shrink_to(3);
    assert_eq!(budget.available(), 7);
    drop(permit);
    assert_eq!(budget.available(), 10);
}

#[test]
fn giving_up_the_first_place_lets_the_second_go() {
    let count = Arc::new(Count::default());
    let budget = Semaphore::new(2);
    let held = budget.try_acquire(1).unwrap();
    let mut second = pin!(budget.acquire(1));
    {
        let mut first = pin!(budget.acquire(2));
        assert!(poll(first.as_mut(), &count).is_pending());
        assert!(poll(second.as_mut(), &count).is_pending());
    }
    assert_eq!(woken(&count), 1);
    assert!(poll(second.as_mut(), &count).is_ready());
    drop(held);
}

#[test]
fn a_mutex_lets_one_in() {
    let count = Arc::new(Count::default());
    let mutex = Mutex::new(1);
    let mut guard = mutex.try_lock().unwrap();
    let mut waiting = pin!(mutex.lock());
    assert!(poll(waiting.as_mut(), &count).is_pending());
    *guard += 1;
    drop(guard);
    let Poll::Ready(guard) = poll(waiting.as_mut(), &count) else {
        panic!("not given")
    };
    assert_eq!(*guard, 2);
}

#[test]
fn a_full_channel_makes_the_sender_wait_and_closing_ends_both() {
    let count = Arc::new(Count::default());
    let (sender, mut receiver) = channel::bounded(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(2));
    {
        let mut sending = pin!(sender.send(3));
        assert!(poll(sending.as_mut(), &count).is_pending());
        assert_eq!(receiver.try_recv(), Some(1));
        assert!(poll(sending.as_mut(), &count).is_ready());
    }
    drop(sender);
    assert_eq!(poll(pin!(receiver.recv()), &count), Poll::Ready(Some(3)));
    assert_eq!(poll(pin!(receiver.recv()), &count), Poll::Ready(None));
    let (sender, receiver) = channel::bounded(1);
    drop(receiver);
    assert_eq!(poll(pin!(sender.send(1)), &count), Poll::Ready(Err(Closed)));
}

#[test]
fn a_full_queue_makes_the_sender_wait_and_closing_ends_both() {
    let count = Arc::new(Count::default());
    let (sender, mut receiver) = queue::bounded(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(2));
    {
        let mut sending = pin!(sender.send(3));
        assert!(poll(sending.as_mut(), &count).is_pending());
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!(woken(&count), 1);
        assert!(poll(sending.as_mut(), &count).is_ready());
    }
    drop(sender);
    assert_eq!(poll(pin!(receiver.recv()), &count), Poll::Ready(Some(3)));
    assert_eq!(poll(pin!(receiver.recv()), &count), Poll::Ready(None));
    let (sender, receiver) = queue::bounded(1);
    drop(receiver);
    assert_eq!(poll(pin!(sender.send(1)), &count), Poll::Ready(Err(Closed)));
}

/// The receiver goes to sleep again and again just as an item comes.
#[test]
fn an_item_that_comes_while_the_receiver_falls_asleep_wakes_it() {
    const ITEMS: u64 = 30_000;
    const SPINS_MAX: u64 = 200_000_000;
    let (sender, mut receiver) = queue::bounded(1);
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    let thread = std::thread::spawn(move || {
        while futures_lite::future::block_on(receiver.recv()).is_some() {
            count.fetch_add(1, Ordering::Release);
        }
    });
    for item in 1..=ITEMS {
        for _ in 0..item * 7 % 199 {
            std::hint::spin_loop();
        }
        sender.try_send(item).unwrap();
        let mut spins = 0;
        while received.load(Ordering::Acquire) < item {
            spins += 1;
            assert!(spins < SPINS_MAX, "the wake-up for item {item} was lost");
            if spins % 1_000 == 0 {
                std::thread::yield_now();
            }
        }
    }
    drop(sender);
    thread.join().unwrap();
}
