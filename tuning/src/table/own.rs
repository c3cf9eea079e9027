//! Settings that only Tidelog has.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::words::*;
use crate::setting::Check::*;

table! { Broker;
    "cache.bytes": Long = "134217728", ReadOnly, AtLeast(0), [honoured],
        "Memory per shard for recent batches, from which consumers at the tail are served.";
    "checkpoint.interval.ms": Long = "10000", ReadOnly, AtLeast(100), [honoured],
        "Longest time between two checkpoints of a shard that has something to write; more bytes in the journal make them more frequent.";
    "cluster.id": String = null, ReadOnly, Any, [honoured],
        "Cluster id given to the data directory when it is formatted; a random one when not set. CLUSTER_ID sets it too.";
    "direct.run.bytes.min": Long = "262144", ReadOnly, Blocks(4_096, 1_073_741_824), [honoured],
        "Bytes of one partition in one journal group from which they go straight to the segment instead of through the journal.";
    "durability": String = "flush", ReadOnly, OneOf(DURABILITY), [honoured],
        "When a record is acknowledged: `flush`, once it is on stable storage; `os`, once the operating system has it, so that a power cut loses acknowledged records.";
    "insecure": Boolean = "false", ReadOnly, Any, [honoured],
        "Allows PLAINTEXT listeners that other machines can reach.";
    "journal.dirty.bytes.max": Long = "268435456", ReadOnly, AtLeast(4_194_304), [honoured],
        "Bytes per shard that are in the journal and not yet in segments; beyond them appends wait.";
    "journal.file.bytes": Long = "67108864", ReadOnly, Blocks(1_048_576, 4_294_967_296), [honoured],
        "Size of a journal file.";
    "metrics.listener": String = null, ReadOnly, Any, [honoured],
        "Address, host:port, at which metrics are served over HTTP; not served when not set.";
    "shard.fetch.bytes.max": Long = "134217728", ReadOnly, AtLeast(1_048_576), [honoured],
        "Bytes of unsent fetch responses per shard; beyond them a fetch gets one batch, then waits.";
    "shards": Int = null, ReadOnly, Between(1, 1024), [honoured],
        "Number of shards, each an executor pinned to a core; as many as there are cores when not set.";
}
