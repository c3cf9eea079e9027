//! Counters of the shards, and their text for Prometheus.
//!
//! Each shard counts in plain cells; a scrape adds the shards up. Names: our own `tidelog_…`, and those of Kafka's
//! usual dashboards where they are true (CLIENTS §9).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::groups::coordinator::GroupMetrics;
use crate::log::StorageMetrics;

/// What one shard counts, in place.
#[derive(Default)]
pub struct Counters {
    /// Times a task kept the core too long.
    pub stalls: Cell<u64>,
    /// Requests answered with an error, or by closing the connection.
    pub request_errors: Cell<u64>,
    /// Bytes of accepted record batches.
    pub bytes_in: Cell<u64>,
    /// Record bytes sent.
    pub bytes_out: Cell<u64>,
    /// Records accepted.
    pub messages_in: Cell<u64>,
    /// Partitions' parts of Produce requests that were refused.
    pub failed_produce: Cell<u64>,
    /// Partitions' parts of Fetch requests that were refused.
    pub failed_fetch: Cell<u64>,
    /// Requests by API key.
    requests: RefCell<BTreeMap<i16, u64>>,
}

/// Adds to a counter.
pub fn count(counter: &Cell<u64>, amount: usize) {
    counter.set(counter.get() + amount as u64);
}

impl Counters {
    /// Counts a request.
    pub fn request(&self, api_key: i16) {
        *self.requests.borrow_mut().entry(api_key).or_default() += 1;
    }

    /// The numbers now.
    pub fn snapshot(
        &self,
        storage: StorageMetrics,
        groups: GroupMetrics,
        connections: usize,
    ) -> ShardMetrics {
        ShardMetrics {
            storage,
            groups,
            connections: connections as u64,
            stalls: self.stalls.get(),
            request_errors: self.request_errors.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            messages_in: self.messages_in.get(),
            failed_produce: self.failed_produce.get(),
            failed_fetch: self.failed_fetch.get(),
            requests: self.requests.borrow().clone(),
        }
    }
}

/// The numbers of one shard, or the sum over several.
#[derive(Debug, Clone, Default)]
pub struct ShardMetrics {
    /// Journal, segments, cache.
    pub storage: StorageMetrics,
    /// Groups and their offsets.
    pub groups: GroupMetrics,
    /// Connections open.
    pub connections: u64,
    /// See [`Counters::stalls`].
    pub stalls: u64,
    /// See [`Counters::request_errors`].
    pub request_errors: u64,
    /// See [`Counters::bytes_in`].
    pub bytes_in: u64,
    /// See [`Counters::bytes_out`].
    pub bytes_out: u64,
    /// See [`Counters::messages_in`].
    pub messages_in: u64,
    /// See [`Counters::failed_produce`].
    pub failed_produce: u64,
    /// See [`Counters::failed_fetch`].
    pub failed_fetch: u64,
    /// Requests by API key.
    pub requests: BTreeMap<i16, u64>,
}

impl ShardMetrics {
    /// Adds another shard's numbers.
    pub fn add(&mut self, other: &ShardMetrics) {
        self.storage.add(&other.storage);
        self.groups.add(&other.groups);
        self.connections += other.connections;
        self.stalls += other.stalls;
        self.request_errors += other.request_errors;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.messages_in += other.messages_in;
        self.failed_produce += other.failed_produce;
        self.failed_fetch += other.failed_fetch;
        for (key, requests) in &other.requests {
            *self.requests.entry(*key).or_default() += requests;
        }
    }
}
