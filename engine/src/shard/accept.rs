//! Accepting connections on shard 0 and giving each to the shard that has the fewest.
//!
//! Invariant: a connection is counted from before it is handed over until its last task ends, on whichever shard, by
//! the [`Ticket`] that travels with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use net::platform::Listener;
use tracing::{debug, warn};

use super::message::{Accepted, ShardRequest};
use super::{Shard, connection};
use crate::limits::PEER_ADDRESSES_MAX;
use crate::types::ShardId;

/// Counts one connection until it is dropped.
pub struct Ticket {
    counters: [Arc<AtomicUsize>; 2],
}

impl Drop for Ticket {
    fn drop(&mut self) {
        for counter in &self.counters {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How many connections there are, by shard and by peer address.
pub struct ConnectionCounts {
    shards: Vec<Arc<AtomicUsize>>,
    peers: BTreeMap<IpAddr, Arc<AtomicUsize>>,
    connections_max: usize,
    per_peer_max: usize,
}

impl ConnectionCounts {
    /// No connection yet; the limits are Kafka's `max.connections` and `max.connections.per.ip`.
    #[must_use]
    pub fn new(shards: u16, connections_max: usize, per_peer_max: usize) -> ConnectionCounts {
        ConnectionCounts {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            peers: BTreeMap::new(),
            connections_max,
            per_peer_max,
        }
    }

    /// New limits, for connections that come from now on.
    pub fn limit(&mut self, connections_max: usize, per_peer_max: usize) {
        self.connections_max = connections_max;
        self.per_peer_max = per_peer_max;
    }

    /// Admits a connection from `peer` and picks its shard; `None` at a limit.
    pub fn admit(&mut self, peer: IpAddr) -> Option<(ShardId, Ticket)> {
        let total: usize = self
            .shards
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        if self.peers.len() >= PEER_ADDRESSES_MAX {
            self.peers
                .retain(|_, count| count.load(Ordering::Relaxed) > 0);
        }
        let from_peer = self
            .peers
            .get(&peer)
            .map_or(0, |count| count.load(Ordering::Relaxed));
        if total >= self.connections_max
            || from_peer >= self.per_peer_max
            || self.peers.len() >= PEER_ADDRESSES_MAX
        {
            return None;
        }
        let (index, shard) = self
            .shards
            .iter()
            .enumerate()
            .min_by_key(|(_, count)| count.load(Ordering::Relaxed))?;
        let counters = [shard.clone(), self.peers.entry(peer).or_default().clone()];
        for counter in &counters {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Some((
            ShardId(u16::try_from(index).expect("shards are counted in 16 bits")),
            Ticket { counters },
        ))
    }
}

/// Accepts until the shard drains.
pub(super) async fn accept(shard: Shard, listener: Listener, index: usize) {
    let settings = shard.settings().clone();
    loop {
        let accepted = super::signal::unless(listener.accept(), shard.draining().wait()).await;
        let (stream, peer) = match accepted {
            None => return,
            Some(Ok(stream)) => match stream.peer_address() {
                Ok(peer) => (stream, peer),
                Err(error) => {
                    debug!(%error, "connection lost before it began");
                    continue;
                }
            },
            Some(Err(error)) => {
                warn!(%error, listener = settings.listeners[index].name, "accepting a connection failed");
                continue;
            }
        };
        let Some((owner, ticket)) = shard.admit(peer.ip()) else {
            debug!(%peer, "connection refused: too many");
            continue;
        };
        let accepted = Accepted {
            stream,
            peer,
            listener: index,
            ticket,
        };
        if owner == shard.id() {
            connection::serve(&shard, accepted);
        } else {
            let answer = shard
                .mesh()
                .send(owner, ShardRequest::Connection(accepted))
                .await;
            drop(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_and_limits_hold_until_a_ticket_is_dropped() {
        let mut counts = ConnectionCounts::new(2, 3, 2);
        let [a, b] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let (first, ticket) = counts.admit(a).expect("below the limits");
        let (second, _kept) = counts.admit(a).expect("below the limits");
        assert_ne!(first, second);
        assert!(counts.admit(a).is_none(), "per address");
        let (_, _third) = counts.admit(b).expect("below the limits");
        assert!(counts.admit(b).is_none(), "in total");
        drop(ticket);
        assert_eq!(counts.admit(a).map(|(shard, _)| shard), Some(first));
    }
}
