//! The mesh: typed requests from shard to shard, and their answers.
//!
//! Each shard owns one [`Mesh`]. Invariant: a call takes a slot of its destination before its request is sent, and
//! both the request lane and the answer lane have room for every slot, so neither the sender of an answer nor the
//! receiving loop ever waits and two full lanes cannot wait for each other (DESIGN §6). Calls to one destination
//! arrive in the order they were sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use net::platform::sync::queue::{self, Receiver, Sender};
use net::platform::sync::{Closed, Permit, Semaphore, oneshot};

use super::message::{ShardRequest, ShardResponse};
use crate::limits::MESH_CALLS_MAX;
use crate::types::ShardId;

struct RequestEnvelope {
    from: ShardId,
    call: u64,
    request: ShardRequest,
}

struct ResponseEnvelope {
    call: u64,
    response: ShardResponse,
}

/// What a shard needs to join the mesh; made for all shards at once, then handed to their executors.
pub struct MeshSeat {
    shard: ShardId,
    requests: Receiver<RequestEnvelope>,
    responses: Receiver<ResponseEnvelope>,
    to: Vec<(Sender<RequestEnvelope>, Sender<ResponseEnvelope>)>,
}

impl MeshSeat {
    /// The seats of a node with `shards` shards.
    pub fn for_shards(shards: u16) -> Vec<MeshSeat> {
        let capacity = usize::from(shards) * MESH_CALLS_MAX;
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..shards {
            let (request_sender, requests) = queue::bounded(capacity);
            let (response_sender, responses) = queue::bounded(capacity);
            senders.push((request_sender, response_sender));
            receivers.push((requests, responses));
        }
        (0..shards)
            .zip(receivers)
            .map(|(shard, (requests, responses))| MeshSeat {
                shard: ShardId(shard),
                requests,
                responses,
                to: senders.clone(),
            })
            .collect()
    }

    /// Takes the seat on the shard's executor: the calling side and the receiving side.
    pub fn take(self) -> (Mesh, MeshReceiver) {
        let slots = self
            .to
            .iter()
            .map(|_| Semaphore::new(MESH_CALLS_MAX))
            .collect();
        let calls = Rc::new(Calls {
            next: Cell::new(0),
            waiting: RefCell::default(),
        });
        let mesh = Mesh {
            shard: self.shard,
            to: Rc::new(self.to),
            slots,
            calls: calls.clone(),
        };
        let receiver = MeshReceiver {
            requests: self.requests,
            responses: self.responses,
            calls,
            mesh: mesh.clone(),
        };
        (mesh, receiver)
    }
}

struct Calls {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, (Permit, oneshot::Sender<ShardResponse>)>>,
}

/// The calling side. Cheap to clone, never leaves its executor.
#[derive(Clone)]
pub struct Mesh {
    shard: ShardId,
    to: Rc<Vec<(Sender<RequestEnvelope>, Sender<ResponseEnvelope>)>>,
    slots: Rc<[Semaphore]>,
    calls: Rc<Calls>,
}

impl Mesh {
    /// The shard this side belongs to.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// All shards of the node, this one too.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..u16::try_from(self.to.len()).expect("shards are counted in 16 bits")).map(ShardId)
    }

    /// Waits for a slot and sends; the request is on its way, in order, when this resolves. The answer is what the
    /// inner future gives. Dropping either takes nothing back: the request is carried out.
    pub async fn send(
        &self,
        to: ShardId,
        request: ShardRequest,
    ) -> impl Future<Output = Result<ShardResponse, Closed>> + 'static + use<> {
        let permit = self.slots[usize::from(to.0)].acquire(1).await;
        let call = self.calls.next.get();
        self.calls.next.set(call + 1);
        let (sender, receiver) = oneshot::channel();
        self.calls
            .waiting
            .borrow_mut()
            .insert(call, (permit, sender));
        let envelope = RequestEnvelope {
            from: self.shard,
            call,
            request,
        };
        if self.to[usize::from(to.0)].0.try_send(envelope).is_err() {
            // The lane has room for every slot, so the other shard is gone: the caller sees `Closed`.
            self.calls.waiting.borrow_mut().remove(&call);
        }
        receiver
    }

    /// Sends and waits for the answer.
    pub async fn call(&self, to: ShardId, request: ShardRequest) -> Result<ShardResponse, Closed> {
        self.send(to, request).await.await
    }

    fn answer(&self, to: ShardId, call: u64, response: ShardResponse) {
        // Fails only when the caller's shard is gone: then nobody waits.
        let _ = self.to[usize::from(to.0)]
            .1
            .try_send(ResponseEnvelope { call, response });
    }
}

/// The receiving side of a shard's mesh.
pub struct MeshReceiver {
    requests: Receiver<RequestEnvelope>,
    responses: Receiver<ResponseEnvelope>,
    calls: Rc<Calls>,
    mesh: Mesh,
}

/// Where the answer to one received request goes.
pub struct ReturnAddress {
    mesh: Mesh,
    to: ShardId,
    call: u64,
}

impl ReturnAddress {
    /// Sends the answer. Never waits: its slot was reserved by the caller.
    pub fn answer(self, response: ShardResponse) {
        self.mesh.answer(self.to, self.call, response);
    }
}

impl MeshReceiver {
    /// Splits into the loop that takes requests and the loop that takes answers; both run until the node ends.
    /// `handle` is called in order of arrival and must not wait: it starts the work and returns.
    pub fn into_loops(
        self,
        mut handle: impl FnMut(ShardRequest, ReturnAddress) + 'static,
    ) -> (
        impl Future<Output = ()> + 'static,
        impl Future<Output = ()> + 'static,
    ) {
        let MeshReceiver {
            mut requests,
            mut responses,
            calls,
            mesh,
        } = self;
        let taking_requests = async move {
            while let Some(envelope) = requests.recv().await {
                let back = ReturnAddress {
                    mesh: mesh.clone(),
                    to: envelope.from,
                    call: envelope.call,
                };
                handle(envelope.request, back);
            }
        };
        let taking_responses = async move {
            while let Some(envelope) = responses.recv().await {
                let waiting = calls.waiting.borrow_mut().remove(&envelope.call);
                if let Some((_permit, sender)) = waiting {
                    // The caller may have gone (its connection closed): the answer is dropped.
                    let _ = sender.send(envelope.response);
                }
            }
        };
        (taking_requests, taking_responses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Offset, PartitionId, TopicId};
    use futures_lite::future::{block_on, or, yield_now};

    fn request(number: i64) -> ShardRequest {
        ShardRequest::DeleteRecords(vec![(
            PartitionId {
                topic_id: TopicId::default(),
                index: 0,
            },
            Offset(number),
        )])
    }

    fn number(request: &ShardRequest) -> i64 {
        match request {
            ShardRequest::DeleteRecords(list) => list[0].1.0,
            _ => panic!("only these are sent"),
        }
    }

    #[test]
    fn calls_arrive_in_order_are_bounded_and_each_gets_its_own_answer() {
        let mut seats = MeshSeat::for_shards(2).into_iter();
        let (caller, caller_side) = seats.next().expect("two").take();
        let (_callee, callee_side) = seats.next().expect("two").take();
        let held: Rc<RefCell<Vec<(i64, ReturnAddress)>>> = Rc::default();
        let taking = held.clone();
        let (requests, _) = callee_side.into_loops(move |request, back| {
            taking.borrow_mut().push((number(&request), back));
        });
        let (_, responses) = caller_side.into_loops(|_, _| panic!("nobody calls the caller"));
        let count = 2 * MESH_CALLS_MAX as i64 + 3;
        let sending = async {
            let mut answers = Vec::new();
            for number in 0..count {
                answers.push((number, caller.send(ShardId(1), request(number)).await));
            }
            for (number, answer) in answers {
                match answer.await {
                    Ok(ShardResponse::DeleteRecords(list)) => {
                        assert_eq!(list, [Ok(Offset(number))])
                    }
                    _ => panic!("call {number} is not answered"),
                }
            }
        };
        // Answers what was received, newest first, whenever the lane is as full as it may get.
        let answering = async {
            let mut seen = 0;
            while seen < count {
                let expected = usize::try_from(count - seen)
                    .expect("positive")
                    .min(MESH_CALLS_MAX);
                while held.borrow().len() < expected {
                    yield_now().await;
                }
                let mut batch = std::mem::take(&mut *held.borrow_mut());
                assert_eq!(
                    batch.len(),
                    expected,
                    "no more calls are under way than there are slots"
                );
                assert!(
                    batch
                        .iter()
                        .zip(seen..)
                        .all(|((number, _), place)| *number == place),
                    "in order"
                );
                seen += batch.len() as i64;
                while let Some((number, back)) = batch.pop() {
                    back.answer(ShardResponse::DeleteRecords(vec![Ok(Offset(number))]));
                }
            }
            std::future::pending::<()>().await;
        };
        block_on(or(sending, or(answering, or(requests, responses))));
    }

    #[test]
    fn a_call_to_a_shard_that_is_gone_fails() {
        let mut seats = MeshSeat::for_shards(2).into_iter();
        let (caller, _caller_side) = seats.next().expect("two").take();
        drop(seats);
        assert!(block_on(caller.call(ShardId(1), request(1))).is_err());
    }
}
