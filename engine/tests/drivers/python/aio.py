"""aiokafka against HOST:PORT."""
import asyncio, sys, time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import OffsetOutOfRangeError
from report import Report

ADDRESS = sys.argv[1]
TOPIC = f"aiokafka-{time.time_ns()}"
START = int(time.time()) * 1000 - 3600000       # an hour ago: recent enough for retention, whole seconds
report = Report("aiokafka")


async def produce(topic, count, **config):
    p = AIOKafkaProducer(bootstrap_servers=ADDRESS, **config)
    await p.start()
    try:
        futures = [await p.send(topic, b"v%d" % n, key=b"k%d" % n, partition=0, headers=[("h", b"x")],
                                timestamp_ms=START + n * 1000) for n in range(count)]
        return [await asyncio.wait_for(f, 20) for f in futures]
    finally:
        await p.stop()


async def consumer(topic, **config):
    c = AIOKafkaConsumer(bootstrap_servers=ADDRESS, group_id=None, enable_auto_commit=False, **config)
    await c.start()
    c.assign([TopicPartition(topic, 0)])
    return c


async def consume(topic, offset, count, **config):
    c = await consumer(topic, auto_offset_reset="none", **config)
    try:
        c.seek(TopicPartition(topic, 0), offset)
        return [await asyncio.wait_for(c.getone(), 15) for _ in range(count)]
    finally:
        await c.stop()


async def admin(do):
    a = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await a.start()
    try:
        return await do(a)
    finally:
        await a.close()


async def create():
    await admin(lambda a: a.create_topics([NewTopic(TOPIC, 2, 1)] + [
        NewTopic(f"{TOPIC}-{c}", 1, 1) for c in ("none", "gzip", "snappy", "lz4", "zstd")]))


async def codec(name):
    topic = f"{TOPIC}-{name}"
    got = await produce(topic, 100, compression_type=None if name == "none" else name, linger_ms=20)
    assert [m.offset for m in got] == list(range(100))
    back = await consume(topic, 0, 100)
    assert [(m.key, m.value, m.headers) for m in back] == [(b"k%d" % n, b"v%d" % n, (("h", b"x"),)) for n in range(100)]


async def acks(value):
    await produce(TOPIC, 10, acks=value)


async def idempotent():
    got = [m.offset for m in await produce(TOPIC, 50, enable_idempotence=True, max_batch_size=200)]
    assert got == list(range(got[0], got[0] + 50)), got


async def seek():
    assert [m.offset for m in await consume(f"{TOPIC}-gzip", 40, 3)] == [40, 41, 42]


async def read_committed():
    assert len(await consume(f"{TOPIC}-lz4", 0, 100, isolation_level="read_committed")) == 100


async def times():
    c, tp = await consumer(f"{TOPIC}-zstd"), TopicPartition(f"{TOPIC}-zstd", 0)
    try:
        assert (await c.offsets_for_times({tp: START + 30000}))[tp].offset == 30
        assert (await c.beginning_offsets([tp]))[tp] == 0
        assert (await c.end_offsets([tp]))[tp] == 100
    finally:
        await c.stop()


async def out_of_range():
    try:
        await consume(f"{TOPIC}-zstd", 5000, 1)
    except OffsetOutOfRangeError:
        return
    raise AssertionError("no error for offset 5000 of 100")


async def member(name, topic):
    c = AIOKafkaConsumer(topic, bootstrap_servers=ADDRESS, group_id=name, enable_auto_commit=False,
                         auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500)
    await c.start()
    return c


async def group():
    name, topic = f"{TOPIC}-g", f"{TOPIC}-group"
    await admin(lambda a: a.create_topics([NewTopic(topic, 4, 1)]))
    p = AIOKafkaProducer(bootstrap_servers=ADDRESS)
    await p.start()
    for n in range(80):
        await p.send_and_wait(topic, b"v%d" % n, partition=n % 4)
    await p.stop()
    first = await member(name, topic)
    try:
        got = [await asyncio.wait_for(first.getone(), 20) for _ in range(80)]
        assert len({m.value for m in got}) == 80
        await first.commit()
        second = await member(name, topic)
        for _ in range(100):
            both = [c.assignment() for c in (first, second)]
            if [len(a) for a in both] == [2, 2]:
                break
            await asyncio.sleep(0.2)
        assert both[0] | both[1] == {TopicPartition(topic, n) for n in range(4)} and not both[0] & both[1], both
        assert await second.committed(TopicPartition(topic, 3)) == 20
        await second.stop()
    finally:
        await first.stop()
    listed = await admin(lambda a: a.list_consumer_groups())
    assert name in [g[0] for g in listed], listed
    offsets = await admin(lambda a: a.list_consumer_group_offsets(name))
    assert {tp.partition: o.offset for tp, o in offsets.items()} == {n: 20 for n in range(4)}, offsets


async def partitions():
    await admin(lambda a: a.create_partitions({TOPIC: NewPartitions(total_count=4)}))
    for _ in range(50):
        if len((await admin(lambda a: a.describe_topics([TOPIC])))[0]["partitions"]) == 4:
            return
        await asyncio.sleep(0.2)
    raise AssertionError("still not 4 partitions")


async def delete():
    await admin(lambda a: a.delete_topics([TOPIC]))
    for _ in range(50):
        if TOPIC not in await admin(lambda a: a.list_topics()):
            return
        await asyncio.sleep(0.2)
    raise AssertionError("still listed")


def run(name, check, *args):
    report.run(name, lambda: asyncio.run(asyncio.wait_for(check(*args), 60)))


run("create-topics", create)
for c in ("none", "gzip", "snappy", "lz4", "zstd"):
    run(f"codec-{c}", codec, c)
for a in (0, 1, "all"):
    run(f"acks-{a}", acks, a)
for check in (group, idempotent, seek, read_committed, times, out_of_range, partitions, delete):
    run(check.__name__.replace("_", "-"), check)
report.close()
