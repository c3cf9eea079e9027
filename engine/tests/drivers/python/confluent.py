"""confluent-kafka (librdkafka) against HOST:PORT."""
import sys, time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)
from report import Report

ADDRESS = sys.argv[1]
BASE = {"bootstrap.servers": ADDRESS, "broker.address.family": "v4", "log_level": 0}
TOPIC = f"confluent-{time.time_ns()}"
START = int(time.time()) * 1000 - 3600000       # an hour ago: recent enough for retention, whole seconds
admin, report = AdminClient(BASE), Report("confluent-kafka")


def produce(topic, count, **config):
    answers, producer = [], Producer({**BASE, **config})
    for n in range(count):
        producer.produce(topic, b"v%d" % n, b"k%d" % n, 0, on_delivery=lambda e, m: answers.append((e, m.offset())),
                         headers=[("h", b"x")], timestamp=START + n * 1000)
    assert producer.flush(20) == 0, "not flushed"
    assert len(answers) == count and all(e is None for e, _ in answers), answers[:3]
    return [o for _, o in answers]


def consume(topic, offset, count, partition=0, **config):
    c = Consumer({**BASE, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error", **config})
    try:
        c.assign([TopicPartition(topic, partition, offset)])
        out, end = [], time.monotonic() + 20
        while len(out) < count and time.monotonic() < end:
            m = c.poll(0.5)
            if m is not None:
                if m.error():
                    raise KafkaException(m.error())
                out.append(m)
        assert len(out) == count, f"{len(out)} of {count} records"
        return out
    finally:
        c.close()


def create():
    admin.create_topics([NewTopic(TOPIC, 2, 1, config={"segment.bytes": "1048576"})])[TOPIC].result(20)
    assert len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == 2
    try:
        admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result(20)
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, e
    else:
        raise AssertionError("created twice")


def codec(name):
    topic = f"{TOPIC}-{name}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    offsets = produce(topic, 200, **{"compression.type": name, "linger.ms": 50})
    assert sorted(offsets) == list(range(200)), offsets[:5]
    got = consume(topic, 0, 200)
    assert [(m.key(), m.value(), m.headers()) for m in got] == [(b"k%d" % n, b"v%d" % n, [("h", b"x")]) for n in range(200)]
    assert [m.timestamp()[1] for m in got] == [START + n * 1000 for n in range(200)]


def acks(value):
    produce(TOPIC, 10, acks=value, **{"enable.idempotence": False})


def idempotent():
    first = produce(TOPIC, 100, **{"enable.idempotence": True, "linger.ms": 0, "batch.num.messages": 3})
    assert first == list(range(first[0], first[0] + 100)), first


def seek():
    c = Consumer({**BASE, "group.id": "none", "enable.auto.commit": False})
    c.assign([TopicPartition(f"{TOPIC}-zstd", 0, 5)])
    assert c.poll(10).offset() == 5
    c.seek(TopicPartition(f"{TOPIC}-zstd", 0, 150))
    assert c.poll(10).offset() == 150
    assert c.get_watermark_offsets(TopicPartition(f"{TOPIC}-zstd", 0), timeout=10) == (0, 200)
    c.close()


def times():
    c = Consumer({**BASE, "group.id": "none"})
    ask = [TopicPartition(f"{TOPIC}-gzip", 0, t) for t in (START + 50000, 0, START + 50001)]
    assert [c.offsets_for_times([a], 10)[0].offset for a in ask] == [50, 0, 51]
    assert c.offsets_for_times([TopicPartition(f"{TOPIC}-gzip", 0, 4102444800000)], 10)[0].offset == -1
    c.close()


def list_offsets():
    for spec, want in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 200), (OffsetSpec.for_timestamp(START + 7000), 7)):
        tp = TopicPartition(f"{TOPIC}-lz4", 0)
        assert admin.list_offsets({tp: spec})[tp].result(20).offset == want


def partitions():
    admin.create_partitions([NewPartitions(TOPIC, 5)])[TOPIC].result(20)
    until(lambda: len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == 5)


def until(holds, seconds=10):
    """Kafka applies changes to its metadata a little after the answer."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not become true"
        time.sleep(0.2)


def config_value(resource, name):
    return admin.describe_configs([resource])[resource].result(20)[name].value


def configs():
    topic = ConfigResource(ResourceType.TOPIC, TOPIC)
    assert config_value(topic, "segment.bytes") == "1048576"
    change = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[
        ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)])
    admin.incremental_alter_configs([change])[change].result(20)
    until(lambda: config_value(topic, "retention.ms") == "3600000")
    broker = next(iter(admin.list_topics(timeout=10).brokers))
    assert config_value(ConfigResource(ResourceType.BROKER, str(broker)), "num.partitions")


def bad_config():
    change = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[
        ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)])
    try:
        admin.incremental_alter_configs([change])[change].result(20)
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.INVALID_CONFIG, e
    else:
        raise AssertionError("accepted")


def cluster():
    c = admin.describe_cluster().result(20)
    assert c.cluster_id and len(c.nodes) == 1


def delete_records():
    tp = TopicPartition(f"{TOPIC}-snappy", 0, 120)
    assert admin.delete_records([tp])[tp].result(20).low_watermark == 120
    try:
        consume(f"{TOPIC}-snappy", 0, 1)
    except KafkaException:
        pass
    else:
        raise AssertionError("a deleted offset was served")
    assert consume(f"{TOPIC}-snappy", 120, 80)[0].offset() == 120


def delete():
    admin.delete_topics([TOPIC])[TOPIC].result(20)
    until(lambda: TOPIC not in admin.list_topics(timeout=10).topics)


def member(group, topic, **config):
    c = Consumer({**BASE, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, **config})
    c.subscribe([topic])
    return c


def poll_all(members, holds, seconds=40):
    got, end = [], time.monotonic() + seconds
    while not holds(got):
        assert time.monotonic() < end, "did not become true"
        for c in members:
            m = c.poll(0.1)
            if m is not None:
                if m.error():
                    raise KafkaException(m.error())
                got.append(m)
    return got


def group(strategy):
    topic, name = f"{TOPIC}-{strategy}", f"{TOPIC}-{strategy}-g"
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(20)
    producer = Producer(BASE)
    for n in range(80):
        producer.produce(topic, b"v%d" % n, partition=n % 4)
    assert producer.flush(20) == 0
    how = {"partition.assignment.strategy": strategy}
    first = member(name, topic, **how)
    try:
        got = poll_all([first], lambda got: len(got) >= 80)
        assert len({m.value() for m in got}) == 80
        first.commit(asynchronous=False)
        second = member(name, topic, **how)
        poll_all([first, second], lambda _: len(first.assignment()) == 2 and len(second.assignment()) == 2)
        both = {p.partition for p in first.assignment()} | {p.partition for p in second.assignment()}
        assert both == {0, 1, 2, 3}, both
        second.close()
        poll_all([first], lambda _: len(first.assignment()) == 4)
    finally:
        first.close()
    again = member(name, topic, **how)
    try:
        poll_all([again], lambda got: len(again.assignment()) == 4 and not got)
        assert again.poll(1) is None, "a committed record came again"
        done = again.committed([TopicPartition(topic, p) for p in range(4)], timeout=10)
        assert [t.offset for t in done] == [20] * 4, done
    finally:
        again.close()


def static_member():
    topic, name = f"{TOPIC}-range", f"{TOPIC}-static"
    how = {"group.instance.id": "one", "session.timeout.ms": 10000}
    c = member(name, topic, **how)
    poll_all([c], lambda _: len(c.assignment()) == 4)
    generation = admin.describe_consumer_groups([name])[name].result(20).members[0].member_id
    c.close()                                      # a static member does not leave
    c = member(name, topic, **how)
    poll_all([c], lambda _: len(c.assignment()) == 4)
    now = admin.describe_consumer_groups([name])[name].result(20).members
    assert len(now) == 1 and now[0].group_instance_id == "one" and now[0].member_id != generation, now
    c.close()


def group_admin():
    topic, name = f"{TOPIC}-range", f"{TOPIC}-range-g"
    listed = admin.list_consumer_groups().result(20)
    assert not listed.errors and name in [g.group_id for g in listed.valid]
    described = admin.describe_consumer_groups([name])[name].result(20)
    assert described.state.name == "EMPTY" and described.group_id == name, described.state
    ask = lambda: admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])[name].result(20).topic_partitions
    assert sorted((t.partition, t.offset) for t in ask()) == [(p, 20) for p in range(4)]
    change = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 1, 7)])
    admin.alter_consumer_group_offsets([change])[name].result(20)
    assert {t.partition: t.offset for t in ask()}[1] == 7
    admin.delete_consumer_groups([name])[name].result(20)
    assert name not in [g.group_id for g in admin.list_consumer_groups().result(20).valid]
    try:
        admin.delete_consumer_groups([name])[name].result(20)
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND, e
    else:
        raise AssertionError("deleted twice")


report.run("create-topics", create)
for c in ("none", "gzip", "snappy", "lz4", "zstd"):
    report.run(f"codec-{c}", codec, c)
for a in ("0", "1", "all"):
    report.run(f"acks-{a}", acks, a)
for strategy in ("range", "roundrobin", "cooperative-sticky"):
    report.run(f"group-{strategy}", group, strategy)
for check in (static_member, group_admin, idempotent, seek, times, list_offsets, partitions, configs, bad_config, cluster, delete_records, delete):
    report.run(check.__name__.replace("_", "-"), check)
report.close()
