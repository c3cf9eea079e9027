//! Turns a connection's batches into requests: sequence numbers, identities, frames.
//!
//! Runs on one executor. Invariant: per target, sequence numbers go up by one per record, in the order of requests.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use net::wire::EncodeError;

use crate::accumulator::Batch;
use crate::clock;
use crate::link::REQUEST_TIMEOUT;
use crate::producer::ProducerJob;
use crate::request::ProduceFrame;
use crate::template::{Stamp, Template};

/// Requests are gathered up to this many bytes before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// One connection's requests.
pub(crate) struct Sealer {
    run: u32,
    producer: u32,
    /// Topic and partition of each target.
    targets: Vec<(usize, i32)>,
    template: Rc<Template>,
    /// By topic.
    frames: Vec<ProduceFrame>,
    /// Next sequence number by target, of identities.
    sequences: Vec<u64>,
    /// Next sequence number by target, of Kafka's idempotence; none without it.
    batch_sequences: Vec<i32>,
    producer_id: (i64, i16),
    next_correlation_id: i32,
    /// Requests that are not written, one behind the other.
    bytes: BytesMut,
    /// They are one request for this topic, whose batch is full and fills a write by itself.
    whole: Option<usize>,
    /// The last one of that kind that was written: the next one is made in its place, without copying its records.
    written: Option<(usize, BytesMut)>,
}

/// What a batch became.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    /// Which request it is in.
    pub(crate) correlation_id: i32,
    /// Sequence number of its first record.
    pub(crate) first_sequence: u64,
}

impl Sealer {
    /// For a connection that does `job`. An error: a topic's name is too long for a request.
    pub(crate) fn new(job: &ProducerJob, template: Rc<Template>) -> Result<Sealer, EncodeError> {
        let timeout_ms = REQUEST_TIMEOUT.as_millis() as i32;
        let acks = job.plan.acks.code();
        let frame = |(name, id): &(String, _)| {
            ProduceFrame::new(name, *id, job.produce_version, acks, timeout_ms)
        };
        Ok(Sealer {
            run: job.run,
            producer: job.share.index as u32,
            targets: job.targets.clone(),
            template,
            frames: job.topics.iter().map(frame).collect::<Result<_, _>>()?,
            sequences: vec![0; job.targets.len()],
            batch_sequences: Vec::new(),
            producer_id: (-1, -1),
            next_correlation_id: 0,
            bytes: BytesMut::new(),
            whole: None,
            written: None,
        })
    }

    /// Kafka's producer id and epoch for what follows, whose sequence numbers begin at 0.
    pub(crate) fn be_idempotent(&mut self, producer_id: i64, epoch: i16) {
        self.producer_id = (producer_id, epoch);
        self.batch_sequences = vec![0; self.targets.len()];
    }

    /// Topic, partition and number of records given a sequence number, by target.
    pub(crate) fn records(&self) -> Vec<(usize, i32, u64)> {
        let targets = self.targets.iter().zip(&self.sequences);
        targets
            .map(|(&(topic, partition), &next)| (topic, partition, next))
            .collect()
    }

    /// Whether another batch should be sealed before the next write.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < WRITE_BYTES
    }

    /// What is to be written now, if anything is.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let some = !self.bytes.is_empty();
        some.then(|| match self.whole {
            Some(_) => std::mem::take(&mut self.bytes).freeze(),
            None => self.bytes.split().freeze(),
        })
    }

    /// What [`Self::take`] gave is written.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        if let Some(topic) = self.whole.take()
            && let Ok(bytes) = bytes.try_into_mut()
        {
            self.written = Some((topic, bytes));
        }
    }

    /// Forgets what was not written, or only in part: its connection is gone.
    pub(crate) fn clear(&mut self) {
        self.whole = None;
        self.bytes.clear();
    }

    /// Puts the batch's request behind the others. `start`: the phase's, on the clock.
    pub(crate) fn seal(&mut self, batch: &Batch, start: u64) -> Sealed {
        let (topic, partition) = self.targets[batch.target];
        let sealed = Sealed {
            correlation_id: self.next_correlation_id,
            first_sequence: self.sequences[batch.target],
        };
        self.next_correlation_id = sealed.correlation_id.wrapping_add(1);
        self.sequences[batch.target] += batch.count as u64;
        let stamp = Stamp {
            run: self.run,
            producer: self.producer,
            first_sequence: sealed.first_sequence,
            idempotence: (
                self.producer_id.0,
                self.producer_id.1,
                self.next_base_sequence(batch),
            ),
            timestamp_ms: clock::wall_us(clock::now()) / 1000,
        };
        let due_us = |index| clock::wall_us(start + batch.due(index));
        if self.template.is_compressed() {
            self.seal_compressed(batch, &sealed, &stamp, due_us);
            return sealed;
        }
        let frame = &self.frames[topic];
        let size = self.template.batch_bytes(batch.count);
        let is_full = batch.count == self.template.records_max();
        let is_whole = is_full && size >= WRITE_BYTES && self.bytes.is_empty();
        self.whole = is_whole.then_some(topic);
        let again = self.written.take_if(|(of, _)| is_whole && *of == topic);
        if let Some((_, mut request)) = again {
            frame.address(&mut request, sealed.correlation_id, partition);
            let place = frame.batch_mut(&mut request, size);
            self.template.stamp(place, &stamp, due_us, &batch.keys);
            self.bytes = request;
        } else {
            let out = &mut self.bytes;
            out.reserve(size + frame.overhead());
            frame.begin(out, sealed.correlation_id, partition, size);
            self.template
                .seal_into(out, batch.count, &stamp, due_us, &batch.keys);
            frame.end(out);
        }
        sealed
    }

    fn seal_compressed(
        &mut self,
        batch: &Batch,
        sealed: &Sealed,
        stamp: &Stamp,
        due_us: impl Fn(usize) -> i64,
    ) {
        let (topic, partition) = self.targets[batch.target];
        let mut plain = Vec::new();
        self.template
            .seal_into(&mut plain, batch.count, stamp, due_us, &batch.keys);
        let packed = self.template.compress(&plain);
        let (frame, out) = (&self.frames[topic], &mut self.bytes);
        out.reserve(packed.len() + frame.overhead());
        frame.begin(out, sealed.correlation_id, partition, packed.len());
        out.extend_from_slice(&packed);
        frame.end(out);
    }

    /// Kafka's sequence number of the batch; −1 without idempotence.
    fn next_base_sequence(&mut self, batch: &Batch) -> i32 {
        let Some(next) = self.batch_sequences.get_mut(batch.target) else {
            return -1;
        };
        let base = *next;
        // Sequence numbers go from 2^31-1 to 0.
        *next = ((i64::from(base) + batch.count as i64) & i64::from(i32::MAX)) as i32;
        base
    }
}
