//! Broker settings of connections: listeners, limits, buffers, threads.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use crate::setting::Check::*;

table! { Broker;
    "advertised.listeners": List = null, ReadOnly, Any, [honoured],
        "Addresses told to clients; the same as `listeners` when not set.";
    "background.threads": Int = "10", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads for work in the background.";
    "connection.failed.authentication.delay.ms": Int = "100", ReadOnly, AtLeast(0), [refused SECURITY],
        "How long an answer to a failed login is held back.";
    "connections.max.idle.ms": Long = "600000", ReadOnly, Any, [honoured],
        "Idle time after which a connection is closed; negative is never.";
    "connections.max.reauth.ms": Long = "0", ReadOnly, Any, [refused SECURITY],
        "Time after which a connection must log in again.";
    "delete.records.purgatory.purge.interval.requests": Int = "1", ReadOnly, Any, [refused PURGATORY],
        "Clean-up of waiting DeleteRecords requests.";
    "early.start.listeners": List = null, ReadOnly, Any, [refused ONE_NODE],
        "Listeners opened before the broker is ready.";
    "fetch.max.bytes": Int = "57671680", ReadOnly, AtLeast(1024), [honoured],
        "Upper bound on one fetch response, whatever the client asks for.";
    "fetch.purgatory.purge.interval.requests": Int = "1000", ReadOnly, Any, [refused PURGATORY],
        "Clean-up of waiting fetches.";
    "inter.broker.listener.name": String = null, ReadOnly, Any, [inert ONE_NODE_LISTENER],
        "Listener for traffic between brokers.";
    "listener.security.protocol.map": String = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", ReadOnly, Any, [honoured],
        "Security protocol of each listener name. Only PLAINTEXT is served.";
    "listeners": List = "PLAINTEXT://127.0.0.1:9092", ReadOnly, Any, [honoured],
        "Addresses the broker listens on, NAME://host:port. Only PLAINTEXT, and only loopback unless `insecure` is set.";
    "max.connection.creation.rate": Int = "2147483647", ClusterWide, AtLeast(1), [refused QUOTAS],
        "New connections per second.";
    "max.connections": Int = "2147483647", ClusterWide, AtLeast(1), [honoured],
        "Connections open at a time.";
    "max.connections.per.ip": Int = "2147483647", ClusterWide, AtLeast(1), [honoured],
        "Connections open at a time from one address.";
    "max.connections.per.ip.overrides": String = "", ClusterWide, Any, [refused CONNECTION_OVERRIDES],
        "Connections open at a time from particular addresses.";
    "max.incremental.fetch.session.cache.slots": Int = "1000", ReadOnly, AtLeast(0), [honoured],
        "Fetch sessions kept.";
    "max.request.partition.size.limit": Int = "2000", ReadOnly, AtLeast(1), [refused FIXED],
        "Partitions in one answer to DescribeTopicPartitions.";
    "num.io.threads": Int = "8", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads that handle requests.";
    "num.network.threads": Int = "3", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads that move bytes.";
    "producer.purgatory.purge.interval.requests": Int = "1000", ReadOnly, Any, [refused PURGATORY],
        "Clean-up of waiting produce requests.";
    "queued.max.request.bytes": Long = "-1", ReadOnly, Any, [refused QUEUE],
        "Bytes of requests waiting to be handled.";
    "queued.max.requests": Int = "500", ReadOnly, AtLeast(1), [refused QUEUE],
        "Requests waiting to be handled.";
    "request.timeout.ms": Int = "30000", ReadOnly, Any, [refused OUTBOUND],
        "How long the broker waits for an answer of another one.";
    "share.fetch.purgatory.purge.interval.requests": Int = "1000", ReadOnly, Any, [refused PURGATORY],
        "Clean-up of waiting share fetches.";
    "socket.connection.setup.timeout.max.ms": Long = "30000", ReadOnly, Any, [refused OUTBOUND],
        "Longest wait for a connection to another broker.";
    "socket.connection.setup.timeout.ms": Long = "10000", ReadOnly, Any, [refused OUTBOUND],
        "First wait for a connection to another broker.";
    "socket.listen.backlog.size": Int = "50", ReadOnly, AtLeast(1), [refused SOCKET],
        "Connections waiting to be accepted.";
    "socket.receive.buffer.bytes": Int = "102400", ReadOnly, Any, [refused SOCKET],
        "Kernel buffer for what is received.";
    "socket.request.max.bytes": Int = "104857600", ReadOnly, AtLeast(1), [honoured],
        "Largest request frame; a longer one closes the connection.";
    "socket.send.buffer.bytes": Int = "102400", ReadOnly, Any, [refused SOCKET],
        "Kernel buffer for what is sent.";
}
