"""confluent-kafka (librdkafka) with group.protocol=consumer (KIP-848) against HOST:PORT, also beside classic members."""
import sys, time

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from report import Report

ADDRESS = sys.argv[1]
BASE = {"bootstrap.servers": ADDRESS, "broker.address.family": "v4", "log_level": 0,
        "topic.metadata.refresh.interval.ms": 500}
RUN = f"modern-{time.time_ns()}"
PARTITIONS = 4
admin, report = AdminClient(BASE), Report("confluent-kafka, consumer protocol")


class Member:
    """A consumer that knows what it owns."""

    def __init__(self, group, topics, **config):
        self.seen, self.error = [], None
        modern = config.get("group.protocol", "consumer") == "consumer"
        own = {} if modern else {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300,
                                 "partition.assignment.strategy": "cooperative-sticky"}
        self.consumer = Consumer({**BASE, "group.id": group, "group.protocol": "consumer", "auto.offset.reset": "earliest",
                                  "enable.auto.commit": False, **own, **config})
        self.consumer.subscribe(topics)

    def poll(self, seconds=0.05):
        m = self.consumer.poll(seconds)
        if m is not None:
            # The client asks for offsets of a topic that was just deleted.
            if m.error() and m.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return
            if m.error():
                raise KafkaException(m.error())
            self.seen.append((m.topic(), m.partition(), m.value()))

    def owned(self):
        return sorted((t.topic, t.partition) for t in self.consumer.assignment())

    def close(self):
        self.consumer.close()


def until(members, condition, what, seconds=60):
    """Polls everybody until the condition holds; nobody may own what another owns."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for member in members:
            member.poll()
        owned = [p for member in members for p in member.owned()]
        assert len(owned) == len(set(owned)), f"owned twice: {owned}"
        if condition():
            return
    raise AssertionError(f"{what}: {[member.owned() for member in members]}")


def create(topic, partitions=PARTITIONS):
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)
    return [(topic, p) for p in range(partitions)]


def produce(topic, count, first=0):
    producer = Producer(BASE)
    for n in range(first, first + count):
        producer.produce(topic, b"%d" % n)
    assert producer.flush(20) == 0


def sizes(*members):
    return sorted(len(member.owned()) for member in members)


def describe(group):
    return admin.describe_consumer_groups([group])[group].result(20)


def balance():
    topic = group = f"{RUN}-balance"
    everything = create(topic)
    produce(topic, 100)
    first = Member(group, [topic])
    until([first], lambda: first.owned() == everything and len(first.seen) == 100, "one member owns all")
    first.consumer.commit(asynchronous=False)
    second, third = Member(group, [topic]), Member(group, [topic])
    until([first, second, third], lambda: sizes(first, second, third) == [1, 1, 2], "three members share")
    found = describe(group)
    assert found.state == ConsumerGroupState.STABLE and found.type == ConsumerGroupType.CONSUMER, found.state
    assert sorted((t.topic, t.partition) for m in found.members for t in m.assignment.topic_partitions) == everything
    listed = {g.group_id: g for g in admin.list_consumer_groups().result().valid}
    assert listed[group].type == ConsumerGroupType.CONSUMER, listed[group].type
    second.close()
    third.close()
    until([first], lambda: first.owned() == everything, "what the others had comes back")
    assert second.seen == third.seen == [], "committed records were read again"
    first.close()
    again = Member(group, [topic])
    until([again], lambda: again.owned() == everything, "a new member owns all")
    produce(topic, 7)
    until([again], lambda: len(again.seen) == 7, "it goes on behind the commit")
    again.close()


def topics_change():
    topic = f"{RUN}-grow"
    everything = create(topic, 1)
    member, follower = Member(topic, [topic]), Member(f"{topic}-pattern", [f"^{topic}.*"])
    until([member], lambda: member.owned() == everything, "one partition")
    until([follower], lambda: follower.owned() == everything, "the pattern's one partition")
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    more = create(f"{topic}-more", 2)
    everything = [(topic, p) for p in range(3)]
    until([member], lambda: member.owned() == everything, "new partitions")
    until([follower], lambda: follower.owned() == sorted(everything + more), "the pattern's new topic")
    admin.delete_topics([f"{topic}-more"])[f"{topic}-more"].result(20)
    until([follower], lambda: follower.owned() == everything, "the deleted topic")
    member.close()
    follower.close()


def static():
    topic = group = f"{RUN}-static"
    everything = create(topic)
    a, b = (Member(group, [topic], **{"group.instance.id": name}) for name in "ab")
    until([a, b], lambda: sizes(a, b) == [2, 2], "two static members share")
    before = b.owned()
    kept = a.owned()
    b.close()
    for _ in range(20):
        a.poll()
    assert a.owned() == kept, "a static member that left for a while keeps its partitions"
    b = Member(group, [topic], **{"group.instance.id": "b"})
    until([a, b], lambda: b.owned() == before, "the static member comes back to what it had")
    assert sorted(a.owned() + b.owned()) == everything
    a.close()
    b.close()


def assignors():
    one, two = create(f"{RUN}-r1", 4), create(f"{RUN}-r2", 4)
    topics = [one[0][0], two[0][0]]
    members = [Member(f"{RUN}-range", topics, **{"group.remote.assignor": "range"}) for _ in range(2)]
    until(members, lambda: sizes(*members) == [4, 4], "range shares")
    for member in members:
        runs = [[p for t, p in member.owned() if t == topic] for topic in topics]
        assert runs[0] == runs[1] and runs[0] in ([0, 1], [2, 3]), runs
    assert describe(f"{RUN}-range").partition_assignor == "range"
    for member in members:
        member.close()


def migration():
    topic = group = f"{RUN}-migration"
    everything = create(topic)
    produce(topic, 40)
    old = Member(group, [topic], **{"group.protocol": "classic"})
    until([old], lambda: old.owned() == everything, "a classic member owns all")
    assert describe(group).type == ConsumerGroupType.CLASSIC
    new = Member(group, [topic])
    until([old, new], lambda: sizes(old, new) == [2, 2], "both protocols share")
    assert describe(group).type == ConsumerGroupType.CONSUMER
    third = Member(group, [topic], **{"group.protocol": "classic"})
    until([old, new, third], lambda: sizes(old, new, third) == [1, 1, 2], "another classic member joins")
    new.close()
    until([old, third], lambda: sizes(old, third) == [2, 2], "classic members are left")
    assert describe(group).type == ConsumerGroupType.CLASSIC
    produce(topic, 40, first=40)
    new_values = {b"%d" % n for n in range(40, 80)}
    until([old, third], lambda: new_values <= {v for m in (old, third) for _, _, v in m.seen}, "they read what comes")
    old.close()
    third.close()


for name in ("balance", "topics_change", "static", "assignors", "migration"):
    report.run(name, globals()[name])
report.close()
