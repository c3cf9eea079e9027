//! Metrics and readiness over HTTP, on shard 0's executor: `/metrics`, `/health/ready`, `/health/live`.
//!
//! As little of HTTP/1.1 as a scraper needs: one request a connection, bounded in size and time.

use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::platform::{DetachedStream, Listener};
use tracing::debug;

use crate::api::versions;
use crate::consumer_lag;
use crate::log::RecoveryReport;
use crate::metrics::ShardMetrics;
use crate::shard::Shard;
use crate::shard::signal::unless;

const REQUEST_BYTES_MAX: usize = 8 * 1024;
const CONNECTIONS_MAX: usize = 16;
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Answers scrapers until the shard stops.
pub async fn serve(shard: Shard, listener: Listener, found: Rc<RecoveryReport>) {
    let open = net::platform::sync::Semaphore::new(CONNECTIONS_MAX);
    loop {
        let permit = open.acquire(1).await;
        let stream = match unless(listener.accept(), shard.stopped().wait()).await {
            None => return,
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                debug!(%error, "accepting a scraper failed");
                continue;
            }
        };
        let (answering, found) = (shard.clone(), found.clone());
        shard.runtime().spawn(async move {
            let _ = answering
                .runtime()
                .timeout(ANSWER_MAX, answer(&answering, stream, &found))
                .await;
            drop(permit);
        });
    }
}

async fn answer(shard: &Shard, stream: DetachedStream, found: &RecoveryReport) -> io::Result<()> {
    let (mut read_half, mut write_half) = shard.runtime().attach(stream)?.split();
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = read_half.read(&mut chunk).await?;
        if count == 0 || request.len() + count > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
    }
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let path = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        b"/metrics" => ("200 OK", text(shard, found).await),
        b"/health/live" => ("200 OK", "alive\n".to_owned()),
        b"/health/ready" if shard.gather_metrics().await.storage.is_ready() => {
            ("200 OK", "ready\n".to_owned())
        }
        b"/health/ready" => (
            "503 Service Unavailable",
            "the journal failed; see the log\n".to_owned(),
        ),
        _ => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    write_half
        .write_all(&[Bytes::from(head), Bytes::from(body)])
        .await?;
    write_half.shutdown();
    Ok(())
}

async fn text(shard: &Shard, found: &RecoveryReport) -> String {
    let metrics = shard.gather_metrics().await;
    let image = shard.image();
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, value: u64| {
        let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
    };
    own(&metrics, &mut put);
    metrics.groups.for_each(|name, is_counter, value| {
        put(name, if is_counter { "counter" } else { "gauge" }, value)
    });
    put(
        "tidelog_recoveries_total",
        "counter",
        u64::from(!found.fresh && !found.clean),
    );
    put(
        "tidelog_torn_groups_discarded_total",
        "counter",
        found.torn_groups,
    );
    put(
        "tidelog_rotten_groups_total",
        "counter",
        found.rotten_groups,
    );
    let partitions = image.partition_count() as u64;
    for (name, value) in [
        ("kafka_server_replicamanager_partitioncount", partitions),
        ("kafka_server_replicamanager_leadercount", partitions),
        ("kafka_server_replicamanager_underreplicatedpartitions", 0),
        (
            "kafka_server_socket_server_metrics_connection_count",
            metrics.connections,
        ),
        ("kafka_controller_kafkacontroller_activecontrollercount", 1),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", 0),
    ] {
        put(name, "gauge", value);
    }
    let _ = writeln!(out, "# TYPE tidelog_requests_total counter");
    for (key, requests) in &metrics.requests {
        let api = versions::find(*key)
            .map_or_else(|| key.to_string(), |served| format!("{:?}", served.key));
        let _ = writeln!(out, "tidelog_requests_total{{api=\"{api}\"}} {requests}");
    }
    consumer_lag::write(shard, &mut out).await;
    out
}

fn own(metrics: &ShardMetrics, put: &mut impl FnMut(&str, &str, u64)) {
    metrics.storage.for_each(|name, is_counter, value| {
        put(name, if is_counter { "counter" } else { "gauge" }, value)
    });
    put("tidelog_connections", "gauge", metrics.connections);
    put(
        "tidelog_request_errors_total",
        "counter",
        metrics.request_errors,
    );
    put("tidelog_stalls_total", "counter", metrics.stalls);
    let requests = |key: i16| metrics.requests.get(&key).copied().unwrap_or(0);
    for (name, value) in [
        ("messagesin", metrics.messages_in),
        ("bytesin", metrics.bytes_in),
        ("bytesout", metrics.bytes_out),
        ("totalproducerequests", requests(0)),
        ("totalfetchrequests", requests(1)),
        ("failedproducerequests", metrics.failed_produce),
        ("failedfetchrequests", metrics.failed_fetch),
    ] {
        put(
            &format!("kafka_server_brokertopicmetrics_{name}_total"),
            "counter",
            value,
        );
    }
}
