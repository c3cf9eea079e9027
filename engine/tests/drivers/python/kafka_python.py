"""kafka-python against HOST:PORT."""
import sys, time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from report import Report

ADDRESS = sys.argv[1]
TOPIC = f"kafka-python-{time.time_ns()}"
START = int(time.time()) * 1000 - 3600000       # an hour ago: recent enough for retention, whole seconds
report = Report("kafka-python")
admin = None


def create():
    global admin
    admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
    admin.create_topics([NewTopic(TOPIC, num_partitions=2, replication_factor=1)])
    assert TOPIC in until(lambda: [t for t in admin.list_topics() if t == TOPIC])


def until(get, seconds=10):
    end = time.monotonic() + seconds
    while True:
        got = get()
        if got or time.monotonic() > end:
            return got
        time.sleep(0.2)


def produce(topic, count, **config):
    p = KafkaProducer(bootstrap_servers=ADDRESS, **config)
    futures = [p.send(topic, key=b"k%d" % n, value=b"v%d" % n, partition=0, headers=[("h", b"x")],
                      timestamp_ms=START + n * 1000) for n in range(count)]
    p.flush(20)
    out = [f.get(20).offset for f in futures]
    p.close(10)
    return out


def consume(topic, offset, count):
    c = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=None, enable_auto_commit=False, auto_offset_reset="none",
                      consumer_timeout_ms=10000)
    try:
        c.assign([TopicPartition(topic, 0)])
        c.seek(TopicPartition(topic, 0), offset)
        out = []
        for m in c:
            out.append(m)
            if len(out) == count:
                break
        assert len(out) == count, f"{len(out)} of {count} records"
        return out
    finally:
        c.close()


def codec(name):
    topic = f"{TOPIC}-{name}"
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    offsets = produce(topic, 100, compression_type=None if name == "none" else name, linger_ms=20)
    assert offsets == list(range(100)), offsets[:5]
    got = consume(topic, 0, 100)
    assert [(m.key, m.value) for m in got] == [(b"k%d" % n, b"v%d" % n) for n in range(100)]
    assert all(list(m.headers) == [("h", b"x")] for m in got)


def acks(value):
    produce(TOPIC, 10, acks=value, enable_idempotence=False)


def idempotent():
    got = produce(TOPIC, 50, enable_idempotence=True, linger_ms=0, batch_size=64)
    assert got == list(range(got[0], got[0] + 50)), got


def seek():
    assert [m.offset for m in consume(f"{TOPIC}-gzip", 40, 5)] == [40, 41, 42, 43, 44]


def times():
    c = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=None)
    tp = TopicPartition(f"{TOPIC}-lz4", 0)
    try:
        assert c.offsets_for_times({tp: START + 30000})[tp].offset == 30
        assert c.beginning_offsets([tp])[tp] == 0
        assert c.end_offsets([tp])[tp] == 100
    finally:
        c.close()


def member(group, **config):
    return KafkaConsumer(f"{TOPIC}-none", bootstrap_servers=ADDRESS, group_id=group, enable_auto_commit=False,
                         auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500, **config)


def group():
    name, tp = f"{TOPIC}-g", TopicPartition(f"{TOPIC}-none", 0)
    c = member(name)
    try:
        got, end = 0, time.monotonic() + 30
        while got < 100 and time.monotonic() < end:
            got += sum(map(len, c.poll(500).values()))
        assert got == 100, got
        c.commit()
        assert c.committed(tp) == 100
    finally:
        c.close()
    c = member(name)
    try:
        end = time.monotonic() + 20
        while not c.assignment() and time.monotonic() < end:
            assert not c.poll(500), "a committed record came again"
        assert c.position(tp) == 100
    finally:
        c.close()
    assert name in [g[0] if isinstance(g, tuple) else g["group_id"] for g in until(admin.list_groups if hasattr(admin, "list_groups") else admin.list_consumer_groups)]


def describe():
    assert len(admin.describe_topics([TOPIC])[0]["partitions"]) == 2
    assert admin.describe_cluster()["brokers"]


def delete():
    admin.delete_topics([TOPIC])
    assert until(lambda: TOPIC not in admin.list_topics())


report.run("create-topics", create)
for c in ("none", "gzip", "snappy", "lz4", "zstd"):
    report.run(f"codec-{c}", codec, c)
for a in (0, 1, "all"):
    report.run(f"acks-{a}", acks, a)
for check in (idempotent, seek, times, group, describe, delete):
    report.run(check.__name__.replace("_", "-"), check)
report.close()
