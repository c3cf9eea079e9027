//! Producers: idempotent ones, which resend until they are answered, and plain ones with every kind of acks. Up to five
//! requests of several partitions each are under way on a connection.

use std::collections::VecDeque;

use net::messages::ApiKey;
use net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::platform::Runtime;
use net::records::Batch;
use net::wire::{Reader, Records};

use crate::batches::{self, Made};
use crate::codes;
use crate::oracle::{Floor, PartitionKey};
use crate::shared::Shared;
use crate::wire::{Call, Lost, Wire};

/// Requests under way on one connection; Kafka remembers as many batches per producer.
const IN_FLIGHT_MAX: usize = 5;

/// What a producer promises and is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Exactly once.
    Idempotent,
    /// At least once (it sends again what was not answered) or at most once.
    Plain {
        /// Acks of its requests.
        acks: i16,
        /// Whether it sends again.
        again: bool,
    },
}

struct Waiting {
    order: u64,
    made: Made,
    /// What was known when it left.
    floor: Option<Floor>,
}

/// One partition that the producer writes to.
struct Lane {
    key: PartitionKey,
    next_order: u64,
    next_sequence: i32,
    /// To be sent (again), in order.
    queue: VecDeque<Waiting>,
    in_flight: usize,
    /// Something failed: nothing is sent until all that is under way is answered.
    blocked: bool,
}

struct Flight {
    call: Call,
    parts: Vec<(usize, Waiting)>,
}

/// A client that produces.
pub struct Producer {
    shared: Shared,
    runtime: Runtime,
    name: String,
    style: Style,
    identity: Option<(i64, i16)>,
    /// Changes with the identity: order is kept within one.
    incarnation: u32,
    lanes: Vec<Lane>,
    flights: VecDeque<Flight>,
}

impl Producer {
    /// A producer to these partitions.
    pub fn new(
        shared: &Shared,
        runtime: Runtime,
        number: usize,
        style: Style,
        keys: Vec<PartitionKey>,
    ) -> Producer {
        let lane = |key| Lane {
            key,
            next_order: 0,
            next_sequence: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            blocked: false,
        };
        Producer {
            shared: shared.clone(),
            runtime,
            name: format!("producer-{number}"),
            style,
            identity: None,
            incarnation: 0,
            lanes: keys.into_iter().map(lane).collect(),
            flights: VecDeque::new(),
        }
    }

    /// Produces until told to finish, then until everything is answered.
    pub async fn run(mut self) {
        loop {
            if let Ok(mut wire) = Wire::connect(&self.shared, &self.runtime).await {
                match self.session(&mut wire).await {
                    Ok(()) => break,
                    Err(Lost) => self.connection_lost(),
                }
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        self.shared.client_done();
    }

    async fn session(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let mut sent = 0;
        loop {
            if self.style == Style::Idempotent
                && (self.identity.is_none() || (self.is_idle() && self.shared.chance(0.004)))
            {
                self.take_identity(wire).await?;
            }
            if self.shared.is_finishing() && self.is_idle() {
                return Ok(());
            }
            while self.flights.len() < IN_FLIGHT_MAX && self.shared.chance(0.8) {
                if !self.send(wire).await? {
                    break;
                }
                sent += 1;
            }
            match self.flights.pop_front() {
                Some(flight) => self.receive(wire, flight).await?,
                None => self.runtime.sleep(self.shared.up_to_ms(6)).await,
            }
            if sent > 40 && self.flights.is_empty() && self.shared.chance(0.05) {
                return Err(Lost); // Some clients come and go.
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.lanes.iter().all(|lane| lane.queue.is_empty())
    }

    async fn take_identity(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let body = wire
            .call(ApiKey::InitProducerId, 4, |writer, version| {
                request.encode(writer, version)
            })
            .await?;
        let response = InitProducerIdResponse::decode(&mut Reader::new(&body), 4)
            .expect("a well-formed answer");
        if response.error_code != codes::NONE {
            codes::expect_retriable("InitProducerId", response.error_code);
            self.runtime.sleep(self.shared.up_to_ms(50)).await;
            return Ok(());
        }
        self.shared.oracle().producer_id(response.producer_id);
        self.identity = Some((response.producer_id, response.producer_epoch));
        self.incarnation += 1;
        for lane in &mut self.lanes {
            lane.next_order = 0;
            // Without any state a broker accepts any first sequence (I7); some soon wrap (I4).
            lane.next_sequence = if self.shared.chance(0.2) {
                i32::MAX - self.shared.below(40) as i32
            } else {
                0
            };
        }
        Ok(())
    }

    /// Sends one request; false if there is nothing to send.
    async fn send(&mut self, wire: &mut Wire) -> Result<bool, Lost> {
        if self.style == Style::Idempotent && self.identity.is_none() {
            return Ok(false);
        }
        let width = self.shared.pick(&[1, 1, 2, 3]);
        let first = self.shared.below(self.lanes.len() as u64) as usize;
        let count = self.lanes.len();
        let mut parts = Vec::new();
        for number in (0..count).map(|step| (first + step) % count) {
            if parts.len() < width
                && let Some(waiting) = self.next_of(number)
            {
                parts.push((number, waiting));
            }
        }
        if parts.is_empty() {
            return Ok(false);
        }
        let acks = match self.style {
            Style::Idempotent => -1,
            Style::Plain { acks, .. } => acks,
        };
        let label = self.label();
        for (number, waiting) in &mut parts {
            waiting.floor = Some(self.shared.oracle().floor(&self.lanes[*number].key));
            let order = (self.style == Style::Idempotent).then_some(waiting.order);
            let batch = Batch::parse(&waiting.made.bytes).expect("made whole");
            let lane = &mut self.lanes[*number];
            self.shared
                .oracle()
                .partition(&lane.key)
                .sends(waiting.made.id, &label, order, &batch);
            lane.in_flight += 1;
        }
        let sent = send_batches(wire, &self.lanes, &parts, acks).await;
        if acks == 0 {
            parts
                .iter()
                .for_each(|(number, _)| self.lanes[*number].in_flight -= 1);
            sent?;
            self.runtime.sleep(self.shared.up_to_ms(4)).await;
            return Ok(true);
        }
        match sent {
            Ok(call) => self.flights.push_back(Flight { call, parts }),
            Err(Lost) => {
                self.give_back(parts);
                return Err(Lost);
            }
        }
        Ok(true)
    }

    fn label(&self) -> String {
        format!("{}.{}", self.name, self.incarnation)
    }

    /// The next batch for a lane.
    fn next_of(&mut self, number: usize) -> Option<Waiting> {
        let label = self.label();
        let lane = &mut self.lanes[number];
        if lane.blocked || lane.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        if let Some(waiting) = lane.queue.pop_front() {
            return Some(waiting);
        }
        if self.shared.is_finishing() {
            return None;
        }
        let order = lane.next_order;
        let stamp = self
            .identity
            .map(|(id, epoch)| (id, epoch, lane.next_sequence));
        let name = format!("{label}/{}-{}/{order}", lane.key.0, lane.key.1);
        let made = batches::make(&self.shared, &name, self.runtime.wall_clock_ms(), stamp);
        lane.next_order += 1;
        // Sequence numbers wrap to 0 (I4).
        let next = i64::from(lane.next_sequence) + i64::from(made.records);
        lane.next_sequence = (next & i64::from(i32::MAX)) as i32;
        Some(Waiting {
            order,
            made,
            floor: None,
        })
    }

    async fn receive(&mut self, wire: &mut Wire, flight: Flight) -> Result<(), Lost> {
        let body = match wire.receive(flight.call).await {
            Ok(body) => body,
            Err(Lost) => {
                self.flights.push_front(flight);
                return Err(Lost);
            }
        };
        let response = ProduceResponse::decode(&mut Reader::new(&body), PRODUCE_VERSION)
            .expect("a well-formed answer");
        let mut troubled = false;
        for (number, waiting) in flight.parts {
            let lane = &mut self.lanes[number];
            lane.in_flight -= 1;
            let answer = response
                .responses
                .iter()
                .filter(|topic| topic.name == lane.key.0)
                .flat_map(|topic| &topic.partition_responses)
                .find(|part| part.index == lane.key.1)
                .expect("every partition is answered");
            let (code, base_offset, log_start) = (
                answer.error_code,
                answer.base_offset,
                answer.log_start_offset,
            );
            self.shared.note(format!(
                "{} {}-{} order {}: {code} at {base_offset}",
                self.name, lane.key.0, lane.key.1, waiting.order
            ));
            troubled |= code != codes::NONE;
            match code {
                codes::NONE => {
                    let mut oracle = self.shared.oracle();
                    oracle.acknowledged += 1;
                    let model = oracle.partition(&lane.key);
                    model.acknowledged(waiting.made.id, base_offset);
                    model.append_time(base_offset, answer.log_append_time_ms);
                    model.log_start(log_start, waiting.floor.expect("it was sent"));
                }
                codes::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                    let behind = lane
                        .queue
                        .front()
                        .is_some_and(|first| first.order < waiting.order);
                    assert!(
                        behind,
                        "{}: {:?}: the next batch in order is out of order",
                        self.name, lane.key
                    );
                    self.shared
                        .oracle()
                        .partition(&lane.key)
                        .refused(waiting.made.id);
                    self.shared.count("answered out of order", 1);
                    requeue(lane, waiting);
                }
                code => {
                    codes::expect_retriable("Produce", code);
                    match self.style {
                        Style::Plain { again: false, .. } => {}
                        _ => requeue(lane, waiting),
                    }
                }
            }
            lane.blocked = (lane.blocked || code != codes::NONE) && lane.in_flight > 0;
        }
        if troubled {
            self.runtime.sleep(self.shared.up_to_ms(30)).await;
        }
        Ok(())
    }

    fn connection_lost(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.give_back(flight.parts);
        }
        for lane in &mut self.lanes {
            assert_eq!(lane.in_flight, 0, "everything under way was given back");
            lane.blocked = false;
        }
    }

    fn give_back(&mut self, parts: Vec<(usize, Waiting)>) {
        for (number, waiting) in parts {
            let lane = &mut self.lanes[number];
            lane.in_flight -= 1;
            if !matches!(self.style, Style::Plain { again: false, .. }) {
                requeue(lane, waiting);
            }
        }
    }
}

/// The version that producers speak.
pub const PRODUCE_VERSION: i16 = 9;

fn requeue(lane: &mut Lane, waiting: Waiting) {
    let at = lane
        .queue
        .iter()
        .position(|other| other.order > waiting.order)
        .unwrap_or(lane.queue.len());
    lane.queue.insert(at, waiting);
}

async fn send_batches(
    wire: &mut Wire,
    lanes: &[Lane],
    parts: &[(usize, Waiting)],
    acks: i16,
) -> Result<Call, Lost> {
    let topic_data = parts
        .iter()
        .map(|(number, waiting)| TopicProduceData {
            name: &lanes[*number].key.0,
            partition_data: vec![PartitionProduceData {
                index: lanes[*number].key.1,
                records: Some(Records::Chain(vec![waiting.made.bytes.clone()])),
                ..Default::default()
            }],
            ..Default::default()
        })
        .collect();
    let request = ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data,
        ..Default::default()
    };
    wire.send(ApiKey::Produce, PRODUCE_VERSION, |writer, version| {
        request.encode(writer, version)
    })
    .await
}
